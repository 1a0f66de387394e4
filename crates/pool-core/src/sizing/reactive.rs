//! The reactive path: how many connections a queue is worth, at this moment.
//!
//! Policies look at intervals; a burst does not wait for one. Whenever a caller queues, a connect
//! lands or a connection is lost, the engine asks this function, and so does the simulator.

use std::time::Duration;

/// How soon a guess is looked at again, at the soonest: timers are no finer.
const SOONEST: Duration = Duration::from_millis(1);

/// A queue and what is under way for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "the simulator makes them")]
pub struct Queue {
    /// Callers in line.
    pub waiting: u32,
    /// For how long the oldest of them has waited.
    pub oldest: Duration,
    /// Connections with a caller: each of them is a return to come.
    pub in_use: u32,
    /// How long a connection is held of late; zero while unknown.
    pub hold: Duration,
    /// How long a connect takes of late; zero while unknown.
    pub connect: Duration,
}

/// How many connects may be under way for a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no third answer")]
pub enum Worth {
    /// This many. What is opened drains the queue within the time of a connect, or is due because
    /// waiting for returns has failed.
    Connects(u32),
    /// One, as insurance: returns are likely to have served the queue before a connect could
    /// land. Look again after this time.
    Insurance(Duration),
}

/// A guess that returns will serve the queue, and what speaks against it.
///
/// A guess is looked at again after one and a half hold times. By then as many callers as there are
/// connections in use should have gone; if there are not fewer callers, in line or served, than at
/// their most by half of that, as many come as go, and the guess was wrong. Those who are served count
/// because a queue also becomes shorter by connections that land; one whose connection is lost counts as
/// gone, until the oldest in line has waited for a connect. What has been seen while the
/// queue was worth connects counts as well: a queue that many connections are being opened for need not
/// be waited for again once it has become short.
#[derive(Clone, Copy, Debug, Default)]
pub struct Guess {
    /// Since when callers are watched, in nanoseconds of any one clock; and the number that they have to
    /// fall below, by half the connections in use.
    watched: Option<(u64, u32)>,
}

impl Guess {
    /// No guess.
    #[must_use]
    pub const fn none() -> Self {
        Self { watched: None }
    }

    /// Whether a queue is worth connects, or returns will come sooner.
    ///
    /// With `q` callers in line, `n` connections in use and a hold time of `h`, returns have served
    /// the queue after `q·h/n`. Before a connect of `C` could land, there is nothing to gain;
    /// otherwise `q·h/C` more connections drain it in the time of one more connect. When the oldest
    /// caller has waited for a whole connect, every guess was wrong. Source of the rule: the spike
    /// of 50 requests in `HikariCP`'s "Welcome to the Jungle".
    ///
    /// While nothing is known of holds they are taken for quick, and while nothing is known of
    /// connects the whole queue is worth them.
    ///
    /// `now` is in nanoseconds.
    #[must_use]
    pub fn worth(&mut self, queue: &Queue, now: u64) -> Worth {
        let &Queue {
            waiting,
            oldest,
            in_use,
            hold,
            connect,
        } = queue;
        if in_use == 0 || connect.is_zero() {
            self.watched = None;
            return Worth::Connects(waiting);
        }
        let callers = waiting.saturating_add(in_use);
        let (since, most) = self.watched.unwrap_or((now, callers));
        self.watched = Some((since, most.max(callers)));
        if oldest >= connect {
            return Worth::Connects(waiting);
        }
        let work = hold.saturating_mul(waiting);
        if work / in_use >= connect {
            let draining = work.as_nanos().div_ceil(connect.as_nanos());
            return Worth::Connects(u32::try_from(draining).unwrap_or(u32::MAX).min(waiting));
        }
        let patience = if hold.is_zero() {
            connect
        } else {
            // A little more than a hold time, so that those of one moment have all come back.
            (hold * 3 / 2).max(SOONEST)
        };
        let again = patience.min(connect - oldest);
        let passed = Duration::from_nanos(now.saturating_sub(since));
        if passed >= patience {
            let gone = callers.saturating_add(in_use / 2) <= most;
            self.watched = Some(if gone { (now, callers) } else { (since, most) });
            if !gone {
                return Worth::Connects(waiting);
            }
        }
        Worth::Insurance(again)
    }

    /// The queue is empty: the next one is another one.
    pub const fn forget(&mut self) {
        self.watched = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// (waiting, oldest, in use, hold, connect), all times in ms.
    #[track_caller]
    fn check(queue: (u32, u64, u32, u64, u64), expected: Worth) {
        let (waiting, oldest, in_use, hold, connect) = queue;
        let queue = Queue {
            waiting,
            oldest: ms(oldest),
            in_use,
            hold: ms(hold),
            connect: ms(connect),
        };
        assert_eq!(Guess::none().worth(&queue, 0), expected, "{queue:?}");
    }

    #[test]
    fn a_spike_of_quick_requests_is_worth_one_connect() {
        check((45, 0, 5, 2, 150), Worth::Insurance(ms(3)));
        check((45, 149, 5, 2, 150), Worth::Insurance(ms(1)));
    }

    #[test]
    fn a_queue_that_returns_do_not_drain_is_worth_what_drains_it() {
        check((375, 0, 5, 2, 150), Worth::Connects(5));
        check((1_000, 0, 5, 2, 150), Worth::Connects(14));
        check((10, 0, 2, 5_000, 20), Worth::Connects(10));
    }

    #[test]
    fn a_wait_as_long_as_a_connect_ends_the_guess() {
        check((45, 150, 5, 2, 150), Worth::Connects(45));
    }

    #[test]
    fn what_is_not_known_is_not_waited_for() {
        check((7, 0, 0, 2, 150), Worth::Connects(7));
        check((7, 0, 3, 2, 0), Worth::Connects(7));
        check((7, 0, 3, 0, 10), Worth::Insurance(ms(10)));
    }

    /// Queue lengths, one look after the other, on five connections.
    #[track_caller]
    fn looks(lengths: &[u32], expected: &[bool]) {
        let on_five: Vec<_> = lengths.iter().map(|&waiting| (waiting, 5)).collect();
        looks_on(&on_five, expected);
    }

    /// The same on as many connections as each look says, and whether it takes returns to be enough.
    #[track_caller]
    fn looks_on(looks: &[(u32, u32)], expected: &[bool]) {
        let mut guess = Guess::none();
        let held: Vec<_> = looks
            .iter()
            .zip(0..)
            .map(|(&(waiting, in_use), at)| {
                let queue = Queue {
                    waiting,
                    oldest: ms(2),
                    in_use,
                    hold: ms(2),
                    connect: ms(150),
                };
                matches!(guess.worth(&queue, at * 3_000_000), Worth::Insurance(_))
            })
            .collect();
        assert_eq!(held, expected, "{looks:?}");
    }

    #[test]
    fn a_queue_that_shrinks_as_it_should_keeps_the_guess() {
        looks(&[45, 40, 36, 30, 25], &[true; 5]);
    }

    #[test]
    fn a_queue_that_does_not_shrink_ends_the_guess() {
        looks(&[20, 15, 14, 15], &[true, true, false, false]);
        looks(&[1, 2], &[true, false]);
    }

    #[test]
    fn what_has_landed_does_not_pass_for_what_has_come_back() {
        // Eighty callers who come back at once: what shortens the queue are connections.
        looks_on(&[(60, 20), (40, 40), (20, 60)], &[true, false, false]);
        // As many who do not come back.
        looks_on(&[(60, 20), (40, 20), (20, 20)], &[true, true, true]);
    }

    #[test]
    fn what_was_seen_while_connects_were_worth_it_counts() {
        // 500 callers on five connections are worth connects; a hold time later two are left in line,
        // on connections that have landed meanwhile, and nobody has gone.
        looks_on(&[(500, 5), (2, 503)], &[false, false]);
        looks_on(&[(500, 5), (2, 20)], &[false, true]);
    }

    #[test]
    fn what_comes_within_a_hold_time_is_part_of_the_queue() {
        let queue = |waiting| Queue {
            waiting,
            oldest: ms(0),
            in_use: 5,
            hold: ms(2),
            connect: ms(150),
        };
        let mut guess = Guess::none();
        for waiting in 1..=45 {
            assert_eq!(guess.worth(&queue(waiting), 0), Worth::Insurance(ms(3)));
        }
        assert_eq!(guess.worth(&queue(40), 3_000_000), Worth::Insurance(ms(3)));
    }
}
