//! The queue of callers that wait for a connection.

use std::collections::VecDeque;
use std::panic::Location;
use std::sync::Arc;
use std::task::Waker;

use crate::clock::{NEVER, Nanos};
use crate::sync::BriefMutex;

/// A first-in, first-out queue from whose middle callers can leave.
///
/// It lies in one ring: who comes writes at one end and who is served is read at the other, so that
/// two processors that do both seldom need the same memory. A caller that gives up leaves a gap; gaps
/// at the ends close at once, and those between when they are more than the callers.
///
/// What a caller is given is put into its [`Mailbox`] after the pool's lock is free, and it looks
/// there without that lock.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct WaitQueue<T> {
    ring: VecDeque<Entry<T>>,
    /// The number of the next caller; numbers grow along the queue.
    next: u64,
    queued: u32,
    /// Queued callers that rely on the pool for their time.
    timed: u32,
    /// The latest time that one of them has had, since there were none.
    latest: Nanos,
    /// The number after that of the last one that has less time than one before it.
    ordered_from: u64,
}

/// How much of the queue whoever takes the lock reads.
#[cfg(target_pointer_width = "64")]
pub(super) const READ_FIRST: usize = std::mem::offset_of!(WaitQueue<()>, latest);

/// Above this many entries the memory of an emptied queue is given back.
const KEEP: usize = 1_024;

/// By how much ends of time may be out of order and still count as in order: a millisecond, by which a
/// caller is then told late.
pub(crate) const A_LITTLE: Nanos = 1_000_000;

#[derive(Debug)]
struct Entry<T> {
    number: u64,
    place: Place,
    /// `None` once the caller has left.
    mailbox: Option<Arc<Mailbox<T>>>,
}

/// When and where a caller began to wait, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) since: Nanos,
    pub(crate) caller: &'static Location<'static>,
    /// When its time is over, on the timer's clock; [`NEVER`] for a caller with a timer of its own.
    ///
    /// These never decrease along the queue, those without left out, because every caller of one
    /// pool has the same time; except where that was shortened, and where a caller was held up
    /// between reading the clock and taking the lock.
    pub(crate) expires: Nanos,
}

/// Where a queued caller finds what it is given.
///
/// Its lock is held for a few instructions; where both are held, the pool's was taken first. Wakers are
/// cloned under it, as tokio's own primitives do.
#[derive(Debug)]
pub(crate) struct Mailbox<T>(BriefMutex<Mail<T>>);

#[derive(Debug)]
enum Mail<T> {
    Awaited(Waker),
    Arrived(T),
    /// The caller has taken what arrived, or has given up.
    Closed,
}

impl<T> Mailbox<T> {
    pub(crate) fn new(waker: Waker) -> Arc<Self> {
        Arc::new(Self(BriefMutex::new(Mail::Awaited(waker))))
    }

    /// Takes what has arrived, once, or leaves `waker`; then the one that was replaced is returned,
    /// to be dropped.
    #[inline]
    pub(crate) fn look(&self, waker: &Waker) -> Result<T, Option<Waker>> {
        let mut mail = self.0.lock();
        match &mut *mail {
            Mail::Awaited(kept) if kept.will_wake(waker) => Err(None),
            Mail::Awaited(kept) => Err(Some(std::mem::replace(kept, waker.clone()))),
            Mail::Arrived(_) | Mail::Closed => match std::mem::replace(&mut *mail, Mail::Closed) {
                Mail::Arrived(outcome) => Ok(outcome),
                Mail::Awaited(_) | Mail::Closed => {
                    unreachable!("a caller does not look again after its end")
                }
            },
        }
    }

    /// Puts an outcome in. Returns the waker to call, or the outcome if the caller has given up.
    #[inline]
    fn put(&self, outcome: T) -> Result<Waker, T> {
        let mut mail = self.0.lock();
        match &*mail {
            Mail::Closed => Err(outcome),
            Mail::Awaited(_) | Mail::Arrived(_) => {
                match std::mem::replace(&mut *mail, Mail::Arrived(outcome)) {
                    Mail::Awaited(waker) => Ok(waker),
                    Mail::Arrived(_) | Mail::Closed => {
                        unreachable!("a caller is given one outcome")
                    }
                }
            }
        }
    }

    fn close(&self) -> Mail<T> {
        std::mem::replace(&mut *self.0.lock(), Mail::Closed)
    }
}

/// An outcome on its way to a caller that has just left the queue for it.
#[derive(Debug)]
#[must_use = "an outcome that is not handed over is lost"]
pub(crate) struct Delivery<T> {
    mailbox: Arc<Mailbox<T>>,
    outcome: T,
}

impl<T> Delivery<T> {
    #[inline]
    pub(crate) const fn new(mailbox: Arc<Mailbox<T>>, outcome: T) -> Self {
        Self { mailbox, outcome }
    }

    /// Outside the pool's lock: returns the waker to call, or the outcome if the caller has given
    /// up meanwhile.
    #[inline]
    pub(crate) fn hand_over(self) -> Result<Waker, T> {
        self.mailbox.put(self.outcome)
    }
}

impl<T> WaitQueue<T> {
    pub(crate) const fn new() -> Self {
        Self {
            ring: VecDeque::new(),
            next: 0,
            queued: 0,
            timed: 0,
            latest: 0,
            ordered_from: 0,
        }
    }

    /// Callers that are queued.
    #[inline]
    pub(crate) const fn len(&self) -> u32 {
        self.queued
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.queued == 0
    }

    /// Whether the next caller whose time is over may stand behind one with more time.
    #[cfg(test)]
    fn shuffled(&self) -> bool {
        let front = self.ring.front();
        front.is_some_and(|entry| entry.number < self.ordered_from)
    }

    /// The oldest caller.
    pub(crate) fn front(&self) -> Option<Place> {
        self.ring.front().map(|entry| entry.place)
    }

    /// Lets a caller in at the end. Returns its number.
    pub(crate) fn push_back(&mut self, mut place: Place, mailbox: Arc<Mailbox<T>>) -> u64 {
        if place.expires != NEVER {
            if self.timed == 0 {
                (self.latest, self.ordered_from) = (0, 0);
            }
            // The clock is read before the lock is taken, so readings can be a little out of order.
            if place.expires.saturating_add(A_LITTLE) >= self.latest {
                self.latest = self.latest.max(place.expires);
                place.expires = self.latest;
            } else {
                // Its thread was held up between the two, or the pool's time was shortened.
                self.ordered_from = self.next + 1;
            }
            self.timed += 1;
        }
        let number = self.next;
        self.next += 1;
        self.ring.push_back(Entry {
            number,
            place,
            mailbox: Some(mailbox),
        });
        self.queued += 1;
        number
    }

    /// Takes the oldest caller out, to give it `outcome`.
    ///
    /// # Panics
    ///
    /// The queue is empty.
    pub(crate) fn settle_front(&mut self, outcome: T) -> Delivery<T> {
        Delivery::new(self.pop_front(), outcome)
    }

    /// Takes the oldest caller out, and says where to put what it is given.
    ///
    /// # Panics
    ///
    /// The queue is empty.
    #[inline]
    pub(crate) fn pop_front(&mut self) -> Arc<Mailbox<T>> {
        let front = self.ring.pop_front().expect(LIVE);
        self.left(&front.place);
        if self.ring.front().is_some_and(Entry::is_gap) {
            self.close_gaps();
        }
        front.mailbox.expect(LIVE)
    }

    /// Gives every caller whose time is over its outcome. Says when the next one's is.
    pub(crate) fn settle_expired(
        &mut self,
        timer: Nanos,
        mut outcome: impl FnMut() -> T,
        mut deliver: impl FnMut(Delivery<T>),
    ) -> Option<Nanos> {
        let mut at = 0;
        let mut next: Option<Nanos> = None;
        while self.timed > 0 && at < self.ring.len() {
            let entry = &mut self.ring[at];
            let place = entry.place;
            if place.expires == NEVER || entry.is_gap() {
                // Not for the pool to look at.
            } else if timer >= place.expires {
                let mailbox = entry.mailbox.take().expect(LIVE);
                self.left(&place);
                deliver(Delivery {
                    mailbox,
                    outcome: outcome(),
                });
            } else {
                next = Some(next.map_or(place.expires, |next| next.min(place.expires)));
                if entry.number >= self.ordered_from {
                    break;
                }
            }
            at += 1;
        }
        self.close_gaps();
        next
    }

    /// Gives up a place, wherever it stands. The owner of `mailbox` calls this once.
    pub(crate) fn remove(&mut self, number: u64, mailbox: &Mailbox<T>) -> Removed<T> {
        let mut queued = false;
        if let Some(at) = self.find(number) {
            let entry = &mut self.ring[at];
            let place = entry.place;
            if entry.mailbox.take().is_some() {
                self.left(&place);
                self.close_gaps();
                queued = true;
            }
        }
        match mailbox.close() {
            Mail::Awaited(waker) if queued => Removed::Left(waker),
            Mail::Awaited(waker) => Removed::OnItsWay(waker),
            Mail::Arrived(outcome) => Removed::Settled(outcome),
            Mail::Closed => unreachable!("a place is given up once, by its owner"),
        }
    }

    /// Where a number stands: as far from the front as it is later, less the gaps that have closed.
    fn find(&self, number: u64) -> Option<usize> {
        let ahead = number.checked_sub(self.ring.front()?.number)?;
        let most = usize::try_from(ahead).ok()?.min(self.ring.len() - 1);
        if self.ring[most].number == number {
            return Some(most);
        }
        self.ring
            .binary_search_by_key(&number, |entry| entry.number)
            .ok()
    }

    fn close_gaps(&mut self) {
        while self.ring.front().is_some_and(Entry::is_gap) {
            self.ring.pop_front();
        }
        while self.ring.back().is_some_and(Entry::is_gap) {
            self.ring.pop_back();
        }
        if self.ring.len() > 2 * self.queued as usize + 64 {
            self.ring.retain(|entry| !entry.is_gap());
        }
        if self.queued == 0 && self.ring.capacity() > KEEP {
            self.ring = VecDeque::new();
        }
    }

    #[inline]
    fn left(&mut self, place: &Place) {
        self.queued -= 1;
        self.timed -= u32::from(place.expires != NEVER);
    }
}

impl<T> Entry<T> {
    const fn is_gap(&self) -> bool {
        self.mailbox.is_none()
    }
}

const LIVE: &str = "what stands at an end of the queue is a caller";

/// What a place held when its owner gave it up.
#[derive(Debug)]
pub(crate) enum Removed<T> {
    /// Nothing. The waker is dropped outside the lock.
    Left(Waker),
    /// Nothing yet; what is on its way will find the mailbox closed.
    OnItsWay(Waker),
    /// It had been settled.
    Settled(T),
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Caller {
        number: u64,
        mailbox: Arc<Mailbox<u32>>,
    }

    fn place(since: Nanos) -> Place {
        Place {
            since,
            caller: Location::caller(),
            expires: since + 100,
        }
    }

    fn come(queue: &mut WaitQueue<u32>, place: Place) -> Caller {
        let mailbox = Mailbox::new(Waker::noop().clone());
        let number = queue.push_back(place, Arc::clone(&mailbox));
        Caller { number, mailbox }
    }

    fn queue(n: u32) -> (WaitQueue<u32>, Vec<Caller>) {
        let mut queue = WaitQueue::new();
        let callers = (0..n).map(|i| come(&mut queue, place(i.into()))).collect();
        (queue, callers)
    }

    fn leave(queue: &mut WaitQueue<u32>, caller: &Caller) -> Removed<u32> {
        queue.remove(caller.number, &caller.mailbox)
    }

    fn order(mut queue: WaitQueue<u32>) -> Vec<Nanos> {
        let mut order = Vec::new();
        while let Some(place) = queue.front() {
            order.push(place.since);
            drop(queue.settle_front(0).hand_over());
        }
        assert!(queue.is_empty());
        order
    }

    #[test]
    fn a_shorter_time_is_over_before_a_longer_one_that_stands_in_front() {
        const S: Nanos = 1_000_000_000;
        let mut queue = WaitQueue::new();
        let mut push = |expires| {
            let place = Place {
                expires,
                ..place(0)
            };
            come(&mut queue, place);
            queue.shuffled()
        };
        assert!(!push(100 * S) && !push(NEVER) && !push(200 * S));
        assert!(push(50 * S) && push(60 * S));
        let mut expire = |timer| {
            let mut over = 0;
            let next = queue.settle_expired(timer, || 0, |_| over += 1);
            (over, next)
        };
        assert_eq!(expire(50 * S), (1, Some(60 * S)));
        assert_eq!(expire(150 * S), (2, Some(200 * S)));
        assert_eq!(expire(250 * S), (1, None));
        let place = Place {
            expires: 260 * S,
            ..place(0)
        };
        come(&mut queue, place);
        assert!(!queue.shuffled(), "the old ones are gone");
    }

    #[test]
    fn the_order_is_whole_again_once_who_disturbed_it_is_served_whoever_else_waits() {
        const MS: Nanos = 1_000_000;
        let mut queue = WaitQueue::new();
        let push = |queue: &mut WaitQueue<u32>, expires| {
            let place = Place {
                expires,
                ..place(0)
            };
            come(queue, place)
        };
        let _callers = [100 * MS, 95 * MS, 110 * MS, 120 * MS].map(|at| push(&mut queue, at));
        assert!(queue.shuffled());
        assert_eq!(queue.settle_expired(0, || 0, |_| {}), Some(95 * MS));
        drop(queue.settle_front(0).hand_over());
        assert!(queue.shuffled());
        drop(queue.settle_front(0).hand_over());
        assert!(
            !queue.shuffled(),
            "two wait, each with more time than the one before"
        );
        assert_eq!(queue.settle_expired(0, || 0, |_| {}), Some(110 * MS));
        // Who stands behind a caller in order is not looked at.
        queue.ring[1].place.expires = 0;
        let nobody = |_| panic!("the first one has time");
        assert_eq!(queue.settle_expired(0, || 0, nobody), Some(110 * MS));
    }

    #[test]
    fn settles_in_order_of_arrival() {
        assert_eq!(order(queue(4).0), [0, 1, 2, 3]);
    }

    #[test]
    fn those_who_leave_from_anywhere_leave_the_order_of_the_others() {
        for first in 0..5 {
            for second in (0..5).filter(|second| *second != first) {
                let (mut queue, callers) = queue(5);
                for gone in [first, second] {
                    assert!(matches!(
                        leave(&mut queue, &callers[gone]),
                        Removed::Left(_)
                    ));
                }
                assert_eq!(queue.len(), 3);
                let expected: Vec<_> = (0..5)
                    .filter(|i| *i != first as u64 && *i != second as u64)
                    .collect();
                assert_eq!(order(queue), expected);
            }
        }
    }

    #[test]
    fn the_front_is_a_caller_after_the_one_before_a_gap_is_served() {
        let (mut queue, callers) = queue(3);
        drop(leave(&mut queue, &callers[1]));
        drop(queue.settle_front(0).hand_over());
        assert_eq!(queue.front().map(|place| place.since), Some(2));
    }

    #[test]
    fn those_whose_time_is_over_leave_and_the_others_keep_their_order() {
        let (mut queue, _callers) = queue(4);
        let own = Place {
            expires: NEVER,
            ..place(4)
        };
        let _own = come(&mut queue, own);
        let mut told = 0;
        let mut tell = |delivery: Delivery<u32>| {
            drop(delivery.hand_over());
            told += 1;
        };
        assert_eq!(queue.settle_expired(99, || 9, &mut tell), Some(100));
        assert_eq!(queue.settle_expired(101, || 9, &mut tell), Some(102));
        assert_eq!(queue.settle_expired(1_000, || 9, &mut tell), None);
        assert_eq!(told, 4);
        assert_eq!(order(queue), [4], "a caller with its own timer stays");
    }

    #[test]
    fn ends_of_time_never_decrease_along_the_queue() {
        let (mut queue, _callers) = queue(0);
        let _late = come(&mut queue, place(10));
        let _early = come(&mut queue, place(9));
        assert_eq!(queue.settle_expired(109, || 9, |_| {}), Some(110));
    }

    #[test]
    fn gaps_do_not_pile_up_behind_a_front_that_waits() {
        let (mut queue, _front) = queue(1);
        let mut back = come(&mut queue, place(1));
        for n in 2..10_000 {
            let next = come(&mut queue, place(n));
            drop(leave(&mut queue, &back));
            back = next;
        }
        assert!(queue.ring.len() < 100, "{}", queue.ring.len());
        assert_eq!(order(queue), [0, 9_999]);
    }

    #[test]
    fn memory_is_given_back() {
        let (mut queue, callers) = queue(5_000);
        for caller in &callers {
            drop(leave(&mut queue, caller));
        }
        assert_eq!(queue.ring.capacity(), 0);
    }

    #[test]
    fn what_is_given_lies_in_the_mailbox_of_its_owner() {
        let (mut queue, callers) = queue(2);
        assert!(queue.settle_front(7).hand_over().is_ok());
        assert_eq!(queue.len(), 1);
        assert!(matches!(callers[0].mailbox.look(Waker::noop()), Ok(7)));
        assert!(callers[1].mailbox.look(Waker::noop()).is_err());
        assert!(queue.settle_front(8).hand_over().is_ok());
        assert!(matches!(
            leave(&mut queue, &callers[1]),
            Removed::Settled(8)
        ));
    }

    #[test]
    fn who_leaves_while_something_is_on_its_way_does_not_get_it() {
        let (mut queue, callers) = queue(2);
        let delivery = queue.settle_front(7);
        assert!(matches!(
            leave(&mut queue, &callers[0]),
            Removed::OnItsWay(_)
        ));
        assert!(matches!(delivery.hand_over(), Err(7)));
        assert_eq!(order(queue), [1]);
    }
}
