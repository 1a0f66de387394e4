//! Counts that are to become zero.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::mongo::MAX_IDLE;

/// How long the server's count may take to follow the pool's: twice as long as MongoDB's driver
/// keeps an idle socket, the slowest that there is to follow.
const QUIET_WITHIN: Duration = Duration::from_secs(2 * MAX_IDLE.as_secs());

/// How long it may take in any case, also where connections are opened all the while.
const AT_THE_LATEST: Duration = Duration::from_secs(60);

/// What is left of a count that is to become zero within [`QUIET_WITHIN`].
pub(crate) async fn until_none(count: impl AsyncFn() -> u32) -> u32 {
    until_none_since(|| 0, count).await
}

/// What is left of a count that is to become zero within [`QUIET_WITHIN`] of the last time that a
/// connection was opened, and within [`AT_THE_LATEST`]. `opened` says how many were, so far.
///
/// MongoDB's driver can open a socket more than there are leases, also where nothing but a semaphore
/// hands them out: it is told by a message that a socket is back, and whoever is next can be ahead of
/// that. Such a socket closes when it has been idle, and that takes its time again.
pub(crate) async fn until_none_since(
    opened: impl Fn() -> usize,
    count: impl AsyncFn() -> u32,
) -> u32 {
    let began = Instant::now();
    let mut last = (opened(), began);
    loop {
        let left = count().await;
        let (now, so_far) = (Instant::now(), opened());
        if so_far != last.0 {
            last = (so_far, now);
        }
        if left == 0 || now > last.1 + QUIET_WITHIN || now > began + AT_THE_LATEST {
            return left;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left, and after what time, of a count of one that lasts until `closes` after the last
    /// of so many connections, one opened `every` so often.
    async fn check(opened: u32, every: Duration, closes: Duration) -> (u32, Duration) {
        let began = Instant::now();
        let so_far = || (1..=opened).take_while(|number| began.elapsed() >= every * *number);
        let so_far = || so_far().count();
        let last = every * opened;
        let left = async || u32::from(began.elapsed() < last + closes);
        (until_none_since(so_far, left).await, began.elapsed())
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn what_is_opened_meanwhile_has_the_same_time() {
        let (left, took) = check(1, 6 * SECOND, 5 * SECOND).await;
        assert_eq!(left, 0);
        assert!(took >= 11 * SECOND && took < 12 * SECOND, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_stays_is_left_over() {
        for opened in [0, 1] {
            let (left, took) = check(opened, SECOND, 100 * SECOND).await;
            let wanted = SECOND * opened + QUIET_WITHIN;
            assert_eq!(left, 1);
            assert!(took > wanted && took < wanted + SECOND, "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_opens_all_the_time_has_an_end_as_well() {
        let (left, took) = check(1_000, SECOND, SECOND).await;
        assert_eq!(left, 1);
        assert!(
            took > AT_THE_LATEST && took < AT_THE_LATEST + SECOND,
            "{took:?}"
        );
    }
}
