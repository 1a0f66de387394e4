//! The reactive path: how many connections a queue is worth, at this moment.
//!
//! Policies look at intervals; a burst does not wait for one. Whenever a caller queues, a connect
//! lands or a connection is lost, the engine asks this function, and so does the simulator.

use std::time::Duration;

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
    /// land. Look again after this time: by then the oldest caller has waited for a whole
    /// connect, and the guess was wrong.
    Insurance(Duration),
}

/// Whether a queue is worth connects, or returns will come sooner.
///
/// With `q` callers in line, `n` connections in use and a hold time of `h`, returns have served the
/// queue after `q·h/n`. Before a connect of `C` could land, there is nothing to gain; otherwise
/// `q·h/C` more connections drain it in the time of one more connect. Source of the rule: the spike
/// of 50 requests in `HikariCP`'s "Welcome to the Jungle".
///
/// While nothing is known of holds they are taken for quick, and while nothing is known of connects
/// the whole queue is worth them.
#[must_use]
pub fn worth(queue: &Queue) -> Worth {
    let &Queue {
        waiting,
        oldest,
        in_use,
        hold,
        connect,
    } = queue;
    if in_use == 0 || connect.is_zero() || oldest >= connect {
        return Worth::Connects(waiting);
    }
    let work = hold.saturating_mul(waiting);
    if work / in_use < connect {
        return Worth::Insurance(connect - oldest);
    }
    let draining = work.as_nanos().div_ceil(connect.as_nanos());
    Worth::Connects(u32::try_from(draining).unwrap_or(u32::MAX).min(waiting))
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
        assert_eq!(worth(&queue), expected, "{queue:?}");
    }

    #[test]
    fn a_spike_of_quick_requests_is_worth_one_connect() {
        check((45, 0, 5, 2, 150), Worth::Insurance(ms(150)));
        check((45, 100, 5, 2, 150), Worth::Insurance(ms(50)));
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
}
