//! What each scenario does to the server, the network or the pool.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pool_testkit::{Fault, FaultProxy};
use tokio::task::JoinSet;

use crate::consumers::SlowConsumers;
use crate::load::Notes;
use crate::quiet;
use crate::refused;
use crate::run::PAIRS;
use crate::scenario::Scenario;
use crate::stage::Stage;
use crate::subject::{Subject, Witness};

/// The most connections that a subject is given.
pub(crate) const MAX: u32 = 8;

/// What a subject is made as small as, at the end of the storm of resizes.
const FEW: u32 = 2;

/// How many times longer an operation takes in [`Scenario::Slow`].
const SLOWER: u32 = 50;

/// What the time of the fault has shown.
pub(crate) struct Fell {
    /// When the server took writes again; `None` where it never was away.
    pub(crate) accepting: Option<Instant>,
    pub(crate) attempts_per_s: Option<f64>,
    /// Connections beyond a maximum that was lowered for good.
    pub(crate) over_the_maximum: u32,
}

/// A scenario that applies to the subject, with what must be known or made before the load.
pub(crate) struct Prepared {
    scenario: Scenario,
    /// How long an operation takes when nobody else is there.
    usual: Duration,
    consumers: Option<SlowConsumers>,
}

/// `None` where the scenario does not apply to the subject.
pub(crate) async fn prepare<S: Subject>(scenario: Scenario, subject: &S) -> Option<Prepared> {
    let mut prepared = Prepared {
        scenario,
        usual: Duration::ZERO,
        consumers: None,
    };
    match scenario {
        Scenario::ResizeStorm if !subject.resize(MAX) => return None,
        Scenario::SlowConsumer => prepared.consumers = Some(subject.add_slow_consumers().await?),
        Scenario::Slow => prepared.usual = usual(subject).await,
        _ => {}
    }
    Some(prepared)
}

/// The median time of an operation without any load.
async fn usual<S: Subject>(subject: &S) -> Duration {
    let mut times = Vec::new();
    for _ in 0..21 {
        let began = Instant::now();
        if let Ok(mut guard) = subject.acquire().await {
            let _ = subject.read(&mut guard, 0).await;
        }
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2]
}

/// Lets it happen; `None` where the server cannot do that.
pub(crate) async fn befall<S: Subject, W: Witness>(
    Prepared {
        scenario,
        usual,
        consumers,
    }: Prepared,
    stage: &Stage<W>,
    subject: &Arc<S>,
    notes: &Arc<Notes>,
    time: Duration,
) -> Option<Fell> {
    let proxy = &stage.proxy;
    let attempts = Attempts::count(proxy);
    let end = Instant::now() + time;
    let mut fell = Fell {
        accepting: None,
        attempts_per_s: None,
        over_the_maximum: 0,
    };
    match scenario {
        Scenario::KillRestart => {
            stage
                .with_server(|server| server.kill().expect("it is ours"))
                .await;
            fell.attempts_per_s = Some(attempts.after(time).await);
            stage
                .with_server(|server| server.restart().expect("it comes back"))
                .await;
        }
        Scenario::Freeze => {
            stage
                .with_server(|server| server.pause().expect("it is ours"))
                .await;
            fell.attempts_per_s = Some(attempts.after(time).await);
            stage
                .with_server(|server| server.resume().expect("it is ours"))
                .await;
        }
        Scenario::Blackhole => {
            // What is swallowed is gone for good, and nobody says so: neither connections of that
            // time nor those that waited for an answer ever end by themselves.
            proxy.set(Fault::Blackhole).await;
            fell.attempts_per_s = Some(attempts.after(time).await);
            proxy.set(Fault::Pass).await;
        }
        Scenario::ResetStorm => {
            while Instant::now() < end {
                proxy.cut_all().await;
                tokio::time::sleep(Duration::from_millis(fastrand::u64(20..150))).await;
            }
        }
        Scenario::HalfOpen => {
            proxy.set(Fault::HalfOpen(20)).await;
            fell.attempts_per_s = Some(attempts.after(time).await);
            proxy.set(Fault::Pass).await;
        }
        Scenario::Slow => {
            // There and back.
            proxy.set(Fault::Delay(usual * SLOWER / 2)).await;
            tokio::time::sleep(time).await;
            proxy.set(Fault::Pass).await;
        }
        Scenario::Refuse => {
            proxy.set(Fault::Refuse).await;
            proxy.cut_all().await;
            let (before, began) = (refused::connects(), Instant::now());
            tokio::time::sleep(time).await;
            let refused = refused::connects().zip(before);
            let refused = refused.map(|(now, before)| (now - before) as f64);
            let seconds = began.elapsed().as_secs_f64();
            fell.attempts_per_s = refused.map(|refused| refused / seconds);
            proxy.set(Fault::Pass).await;
        }
        Scenario::TooManyClients => {
            // The subject's own connections make room for the others'.
            proxy.set(Fault::Reset).await;
            let is_full = stage.witness.set_full(true).await;
            proxy.set(Fault::Pass).await;
            if !is_full {
                return None;
            }
            let attempts = Attempts::count(proxy);
            fell.attempts_per_s = Some(attempts.after(time).await);
            stage.witness.set_full(false).await;
        }
        Scenario::BadCredentials => {
            stage.witness.set_password(false).await;
            proxy.cut_all().await;
            fell.attempts_per_s = Some(attempts.after(time).await);
            stage.witness.set_password(true).await;
        }
        Scenario::Failover => {
            fell.accepting = Some(stage.fail_over(time).await);
            return Some(fell);
        }
        Scenario::CancelStorm => {
            cancel_storm(subject, notes, end).await;
            return Some(fell);
        }
        Scenario::ResizeStorm => {
            while Instant::now() < end {
                subject.resize(fastrand::u32(1..=MAX));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            // Callers wait all the while, so that there is always a use for one more.
            subject.resize(FEW);
            let over = async || stage.witness.connections().await.saturating_sub(FEW);
            fell.over_the_maximum = if subject.may_open_more() {
                quiet::until_none_since(|| proxy.accepted(), over).await
            } else {
                quiet::until_none(over).await
            };
            subject.resize(MAX);
            return Some(fell);
        }
        Scenario::SlowConsumer => {
            // So many events that whatever keeps them for the listener has run over, some of them
            // connections that are closed and opened.
            let mut few = [FEW, MAX - 1, MAX - 1, MAX - 1].into_iter().cycle();
            while Instant::now() < end {
                subject.resize(few.next().unwrap_or(FEW));
                tokio::time::sleep(Duration::from_millis(1)).await;
                subject.resize(MAX);
            }
            let consumers = consumers.expect("they were added");
            assert_eq!(consumers.calls(), 1, "the listener hangs in its first call");
            consumers.end().await;
            return Some(fell);
        }
        Scenario::DrainUnderLoad => {
            subject.close(Duration::from_secs(5)).await;
            return Some(fell);
        }
    }
    fell.accepting = Some(Instant::now());
    Some(fell)
}

/// Connects that reached the proxy.
struct Attempts<'p> {
    proxy: &'p FaultProxy,
    accepted: usize,
    began: Instant,
}

impl<'p> Attempts<'p> {
    fn count(proxy: &'p FaultProxy) -> Self {
        Self {
            proxy,
            accepted: proxy.accepted(),
            began: Instant::now(),
        }
    }

    /// How many a second, once `time` has passed as well.
    async fn after(&self, time: Duration) -> f64 {
        tokio::time::sleep(time).await;
        let accepted = self.proxy.accepted() - self.accepted;
        accepted as f64 / self.began.elapsed().as_secs_f64()
    }
}

/// Callers beside the load that give up after up to 5 ms, wherever they are then. What was
/// acknowledged before that is noted.
async fn cancel_storm<S: Subject>(subject: &Arc<S>, notes: &Arc<Notes>, until: Instant) {
    let mut callers = JoinSet::new();
    for number in 0..PAIRS {
        let (subject, notes) = (Arc::clone(subject), Arc::clone(notes));
        callers.spawn(async move {
            while Instant::now() < until && !notes.is_stopped() {
                let patience = Duration::from_micros(fastrand::u64(0..5_000));
                let work = async {
                    let mut guard = subject.acquire().await?;
                    if number % 2 == 0 {
                        return subject.read(&mut guard, 0).await.map(drop);
                    }
                    let row = notes.next_row();
                    subject.write(&mut guard, row).await?;
                    notes.acknowledged(row);
                    Ok(())
                };
                let _ = tokio::time::timeout(patience, work).await;
                tokio::task::yield_now().await;
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended.expect("no caller panics");
    }
}
