//! Work that is repeated beside the runtime.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// A thread that works once in each interval.
///
/// Not a task: what is done takes locks of foreign recorders or waits for a collector, and a busy
/// runtime shall be seen, not be what stops the seeing.
#[derive(Debug)]
pub(crate) struct Periodic {
    stop: mpsc::Sender<Stop>,
    ended: oneshot::Receiver<()>,
}

struct Stop;

impl Periodic {
    /// Works at once, then once in each `interval`.
    pub(crate) fn start(
        name: &str,
        interval: Duration,
        mut work: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let (end, ended) = oneshot::channel();
        let each = move || {
            // Dropped with the thread, however it ends.
            let _end: oneshot::Sender<()> = end;
            loop {
                let began = Instant::now();
                work();
                match stopped.recv_timeout(interval.saturating_sub(began.elapsed())) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(Stop) => {
                        work();
                        break;
                    }
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        };
        thread::Builder::new().name(name.to_owned()).spawn(each)?;
        Ok(Self { stop, ended })
    }

    /// Works once more and ends.
    pub(crate) async fn stop(self) {
        // It has ended when nobody receives; then there is nothing to wait for.
        let _ = self.stop.send(Stop);
        let _ = self.ended.await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn counting(interval: Duration) -> (Periodic, Arc<AtomicU32>) {
        let count = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&count);
        let work = move || {
            counted.fetch_add(1, Ordering::SeqCst);
        };
        (Periodic::start("counting", interval, work).unwrap(), count)
    }

    #[tokio::test]
    async fn it_works_at_once_and_once_more_at_the_end() {
        let (periodic, count) = counting(Duration::from_secs(3_600));
        periodic.stop().await;
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn it_ends_with_its_owner() {
        let (periodic, count) = counting(Duration::from_millis(1));
        while count.load(Ordering::SeqCst) < 3 {
            thread::sleep(Duration::from_millis(1));
        }
        let Periodic { stop, ended } = periodic;
        drop(stop);
        ended.blocking_recv().unwrap_err();
        let last = count.load(Ordering::SeqCst);
        thread::sleep(Duration::from_millis(20));
        assert_eq!(count.load(Ordering::SeqCst), last);
    }

    #[tokio::test]
    async fn what_panics_has_ended() {
        let periodic = Periodic::start("panics", Duration::from_millis(1), || panic!("no"));
        periodic.unwrap().stop().await;
    }
}
