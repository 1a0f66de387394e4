//! One thing that a server is asked to do, and how it answers.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pool_core::ConnectFault;
use tokio::sync::watch;
use tokio::time::Instant;

use super::ScriptedError;

/// How the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "the four things that an answer can be"
)]
pub enum Answer {
    /// With an error of this kind.
    Fails(ConnectFault),
    /// Not at all, until [`Act::let_go`]; then it works.
    Hangs,
    /// By a panic in the client.
    Panics,
    /// As it should.
    Works,
}

/// One verb of the manager under script: connect, validate, recycle or close.
#[derive(Debug)]
pub struct Act {
    state: Mutex<State>,
    /// Moves when those that hang are let go.
    gone_on: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    always: Answer,
    next: VecDeque<Answer>,
    takes: Duration,
    under_way: usize,
    peak: usize,
    began: Vec<Instant>,
}

impl Act {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                always: Answer::Works,
                next: VecDeque::new(),
                takes: Duration::ZERO,
                under_way: 0,
                peak: 0,
                began: Vec::new(),
            }),
            gone_on: watch::Sender::new(0),
        }
    }

    /// Answers so from now on.
    pub fn always(&self, answer: Answer) {
        self.lock().always = answer;
    }

    /// Answers so the next `times` times, after what was already asked for.
    pub fn next(&self, times: usize, answer: Answer) {
        self.lock().next.extend(std::iter::repeat_n(answer, times));
    }

    /// Takes this long before it answers, from now on.
    pub fn takes(&self, time: Duration) {
        self.lock().takes = time;
    }

    /// Lets those that hang now go on; they work.
    pub fn let_go(&self) {
        self.gone_on.send_modify(|epoch| *epoch += 1);
    }

    /// Works from now on, at once, also for those that hang.
    pub fn works(&self) {
        {
            let mut state = self.lock();
            state.always = Answer::Works;
            state.next.clear();
            state.takes = Duration::ZERO;
        }
        self.let_go();
    }

    /// How often it has been asked for.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.lock().began.len()
    }

    /// When it was asked for, each time.
    #[must_use]
    pub fn began(&self) -> Vec<Instant> {
        self.lock().began.clone()
    }

    /// How many are under way now.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.lock().under_way
    }

    /// The most that were under way at once.
    #[must_use]
    pub fn peak(&self) -> usize {
        self.lock().peak
    }

    /// Plays one turn.
    pub(super) async fn play(&self) -> Result<(), ScriptedError> {
        let (answer, takes, mut gone_on) = {
            let mut state = self.lock();
            state.began.push(Instant::now());
            state.under_way += 1;
            state.peak = state.peak.max(state.under_way);
            let answer = state.next.pop_front().unwrap_or(state.always);
            (answer, state.takes, self.gone_on.subscribe())
        };
        let _turn = Turn(self);
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        match answer {
            Answer::Works => Ok(()),
            Answer::Fails(fault) => Err(ScriptedError::Told(fault)),
            Answer::Hangs => {
                // The sender lives in `self`.
                let _ = gone_on.changed().await;
                Ok(())
            }
            // Without a report: it is wanted.
            Answer::Panics => std::panic::resume_unwind(Box::new("the script wants a panic")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn under way; over when it is dropped, finished or not.
struct Turn<'a>(&'a Act);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().under_way -= 1;
    }
}
