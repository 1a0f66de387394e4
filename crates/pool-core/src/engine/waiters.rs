//! The queue of callers that wait for a connection.

use std::panic::Location;
use std::task::Waker;

use crate::clock::{NEVER, Nanos};

/// Names a caller's place in the queue. Only its owner may use it, and only until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaiterKey(u32);

/// A first-in, first-out queue with removal from the middle in constant time.
///
/// Nodes live in one vector and are linked by index, so a wait costs no allocation once the
/// vector has grown, and a caller that gives up unlinks itself without a search.
///
/// Invariant: a node is *queued* (linked, counted in `queued`), *settled* (unlinked, holding what
/// its owner will find) or *vacant* (in the free list). It becomes vacant only through its owner,
/// so a key can never name somebody else's node.
#[derive(Debug)]
pub(crate) struct WaitQueue<T> {
    nodes: Vec<Node<T>>,
    free: u32,
    head: u32,
    tail: u32,
    queued: u32,
    /// Queued callers that rely on the pool for their time.
    timed: u32,
    /// The latest time that one of them has.
    latest: Nanos,
    /// Whether one of them has less time than one before it, since the pool's time was shortened.
    shuffled: bool,
    occupied: u32,
}

/// The end of a list.
const NIL: u32 = u32::MAX;

/// Above this many vacant nodes the memory of an emptied queue is given back.
const KEEP: usize = 1_024;

#[derive(Debug)]
struct Node<T> {
    prev: u32,
    next: u32,
    state: NodeState<T>,
}

#[derive(Debug)]
enum NodeState<T> {
    Queued { place: Place, waker: Waker },
    Settled { place: Place, outcome: T },
    Vacant,
}

/// When and where a caller began to wait, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) since: Nanos,
    pub(crate) caller: &'static Location<'static>,
    /// When its time is over, on the timer's clock; [`NEVER`] for a caller with a timer of its own.
    ///
    /// These never decrease along the queue, those without left out, because every caller of one
    /// pool has the same time; except while callers wait that came before that was shortened.
    pub(crate) expires: Nanos,
}

/// What the owner of a place finds.
#[derive(Debug)]
pub(crate) enum Found<T> {
    /// Still in the queue. Carries the waker that was replaced, to be dropped outside the lock.
    Queued(Option<Waker>),
    /// Settled; the place is gone.
    Settled(Place, T),
}

impl<T> WaitQueue<T> {
    pub(crate) const fn new() -> Self {
        Self {
            nodes: Vec::new(),
            free: NIL,
            head: NIL,
            tail: NIL,
            queued: 0,
            timed: 0,
            latest: 0,
            shuffled: false,
            occupied: 0,
        }
    }

    /// Callers that are queued.
    pub(crate) const fn len(&self) -> u32 {
        self.queued
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.queued == 0
    }

    /// Whether the next caller whose time is over may stand behind one with more time.
    pub(crate) const fn shuffled(&self) -> bool {
        self.shuffled
    }

    /// The oldest caller.
    pub(crate) fn front(&self) -> Option<Place> {
        match &self.nodes.get(self.head as usize)?.state {
            NodeState::Queued { place, .. } => Some(*place),
            NodeState::Settled { .. } | NodeState::Vacant => None,
        }
    }

    pub(crate) fn push_back(&mut self, place: Place, waker: Waker) -> WaiterKey {
        let state = NodeState::Queued { place, waker };
        let node = Node {
            prev: self.tail,
            next: NIL,
            state,
        };
        let index = if self.free == NIL {
            let index = u32::try_from(self.nodes.len()).expect("fewer than 2^32 callers wait");
            self.nodes.push(node);
            index
        } else {
            let index = self.free;
            self.free = self.nodes[index as usize].next;
            self.nodes[index as usize] = node;
            index
        };
        match self.tail {
            NIL => self.head = index,
            tail => self.nodes[tail as usize].next = index,
        }
        self.tail = index;
        self.queued += 1;
        if place.expires != NEVER {
            if self.timed == 0 {
                (self.latest, self.shuffled) = (0, false);
            }
            self.shuffled |= place.expires < self.latest;
            self.latest = self.latest.max(place.expires);
            self.timed += 1;
        }
        self.occupied += 1;
        WaiterKey(index)
    }

    /// Gives the oldest caller its outcome. Returns the waker to call after unlocking.
    ///
    /// # Panics
    ///
    /// The queue is empty.
    pub(crate) fn settle_front(&mut self, outcome: T) -> Waker {
        let index = self.head;
        assert!(index != NIL, "only a queue with callers is settled");
        self.settle(index, outcome)
    }

    /// Gives every caller whose time is over its outcome. Says when the next one's is.
    pub(crate) fn settle_expired(
        &mut self,
        timer: Nanos,
        mut outcome: impl FnMut() -> T,
        mut wake: impl FnMut(Waker),
    ) -> Option<Nanos> {
        let mut index = self.head;
        let mut earliest = None;
        while self.timed > 0 && index != NIL {
            let Node {
                next, ref state, ..
            } = self.nodes[index as usize];
            if let NodeState::Queued { place, .. } = state
                && place.expires != NEVER
            {
                if timer >= place.expires {
                    wake(self.settle(index, outcome()));
                } else if self.shuffled {
                    earliest = Some(earliest.map_or(place.expires, |at| place.expires.min(at)));
                } else {
                    return Some(place.expires);
                }
            }
            index = next;
        }
        earliest
    }

    fn settle(&mut self, index: u32, outcome: T) -> Waker {
        self.unlink(index);
        let state = std::mem::replace(&mut self.nodes[index as usize].state, NodeState::Vacant);
        let NodeState::Queued { place, waker } = state else {
            unreachable!("linked nodes are queued");
        };
        self.nodes[index as usize].state = NodeState::Settled { place, outcome };
        waker
    }

    /// Looks at a place; a settled one is removed, a queued one keeps `waker`.
    pub(crate) fn poll(&mut self, key: WaiterKey, waker: &Waker) -> Found<T> {
        if let NodeState::Queued { waker: kept, .. } = &mut self.nodes[key.0 as usize].state {
            if kept.will_wake(waker) {
                return Found::Queued(None);
            }
            return Found::Queued(Some(std::mem::replace(kept, waker.clone())));
        }
        match self.remove(key) {
            Removed::Settled(place, outcome) => Found::Settled(place, outcome),
            Removed::Queued(..) => unreachable!("queued places were answered above"),
        }
    }

    /// Gives up a place, wherever it stands.
    pub(crate) fn remove(&mut self, key: WaiterKey) -> Removed<T> {
        let index = key.0;
        if matches!(self.nodes[index as usize].state, NodeState::Queued { .. }) {
            self.unlink(index);
        }
        let state = std::mem::replace(&mut self.nodes[index as usize].state, NodeState::Vacant);
        let removed = match state {
            NodeState::Queued { waker, .. } => Removed::Queued(waker),
            NodeState::Settled { place, outcome } => Removed::Settled(place, outcome),
            NodeState::Vacant => unreachable!("a place is removed once, by its owner"),
        };
        self.nodes[index as usize].next = self.free;
        self.free = index;
        self.occupied -= 1;
        if self.occupied == 0 && self.nodes.len() > KEEP {
            *self = Self::new();
        }
        removed
    }

    fn unlink(&mut self, index: u32) {
        let Node {
            prev,
            next,
            ref state,
        } = self.nodes[index as usize];
        if let NodeState::Queued { place, .. } = state {
            self.timed -= u32::from(place.expires != NEVER);
        }
        match prev {
            NIL => self.head = next,
            prev => self.nodes[prev as usize].next = next,
        }
        match next {
            NIL => self.tail = prev,
            next => self.nodes[next as usize].prev = prev,
        }
        self.queued -= 1;
    }
}

/// What a place held when its owner gave it up.
#[derive(Debug)]
pub(crate) enum Removed<T> {
    /// It was queued; the waker is dropped outside the lock.
    Queued(Waker),
    /// It had been settled.
    Settled(Place, T),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(since: Nanos) -> Place {
        Place {
            since,
            caller: Location::caller(),
            expires: since + 100,
        }
    }

    fn queue(n: u32) -> (WaitQueue<u32>, Vec<WaiterKey>) {
        let mut queue = WaitQueue::new();
        let keys = (0..n)
            .map(|i| queue.push_back(place(i.into()), Waker::noop().clone()))
            .collect();
        (queue, keys)
    }

    fn order(mut queue: WaitQueue<u32>) -> Vec<Nanos> {
        let mut order = Vec::new();
        while let Some(place) = queue.front() {
            order.push(place.since);
            drop(queue.settle_front(0));
        }
        order
    }

    #[test]
    fn a_shorter_time_is_over_before_a_longer_one_that_stands_in_front() {
        let mut queue = WaitQueue::new();
        let mut push = |expires| {
            let place = Place {
                expires,
                ..place(0)
            };
            queue.push_back(place, Waker::noop().clone());
            queue.shuffled()
        };
        assert!(!push(100) && !push(NEVER) && !push(200));
        assert!(push(50) && push(60));
        let mut expire = |timer| {
            let mut over = 0;
            let next = queue.settle_expired(timer, || 0, |_| over += 1);
            (over, next)
        };
        assert_eq!(expire(50), (1, Some(60)));
        assert_eq!(expire(150), (2, Some(200)));
        assert_eq!(expire(250), (1, None));
        let place = Place {
            expires: 260,
            ..place(0)
        };
        queue.push_back(place, Waker::noop().clone());
        assert!(!queue.shuffled(), "the old ones are gone");
    }

    #[test]
    fn settles_in_order_of_arrival() {
        assert_eq!(order(queue(4).0), [0, 1, 2, 3]);
    }

    #[test]
    fn removal_anywhere_keeps_the_order_of_the_others() {
        for gone in 0..4 {
            let (mut queue, keys) = queue(4);
            assert!(matches!(queue.remove(keys[gone]), Removed::Queued(..)));
            let expected: Vec<_> = (0..4).filter(|i| *i != gone as u64).collect();
            assert_eq!(order(queue), expected);
        }
    }

    #[test]
    fn those_whose_time_is_over_leave_from_the_front_and_the_others_keep_their_order() {
        let (mut queue, _) = queue(4);
        let own = Place {
            expires: NEVER,
            ..place(4)
        };
        queue.push_back(own, Waker::noop().clone());
        let mut woken = 0;
        assert_eq!(queue.settle_expired(99, || 9, |_| woken += 1), Some(100));
        assert_eq!(queue.settle_expired(101, || 9, |_| woken += 1), Some(102));
        assert_eq!(woken, 2);
        assert_eq!(queue.settle_expired(1_000, || 9, |_| woken += 1), None);
        assert_eq!(woken, 4);
        assert_eq!(order(queue), [4], "a caller with its own timer stays");
    }

    #[test]
    fn places_are_reused_and_memory_is_given_back() {
        let (mut queue, keys) = queue(5_000);
        for key in keys {
            drop(queue.remove(key));
        }
        assert_eq!(queue.nodes.capacity(), 0);
        let first = queue.push_back(place(1), Waker::noop().clone());
        drop(queue.remove(first));
        let second = queue.push_back(place(2), Waker::noop().clone());
        assert_eq!(first, second);
        assert_eq!(queue.nodes.len(), 1);
    }

    #[test]
    fn a_settled_place_keeps_its_outcome_for_its_owner() {
        let (mut queue, keys) = queue(2);
        drop(queue.settle_front(7));
        assert_eq!(queue.len(), 1);
        assert!(matches!(
            queue.poll(keys[0], Waker::noop()),
            Found::Settled(Place { since: 0, .. }, 7)
        ));
        assert!(matches!(
            queue.poll(keys[1], Waker::noop()),
            Found::Queued(_)
        ));
    }
}
