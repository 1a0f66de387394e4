//! Every interleaving of creating, giving up and closing.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p service-container --test loom_ledger --release \
//!     --target-dir target/loom
//! ```
//!
//! The ledger is taken in as source: it is private to the crate and stays so.

#![cfg(loom)]

#[allow(dead_code, unreachable_pub, reason = "the model uses what it needs")]
#[path = "../src/ledger.rs"]
mod ledger;
#[allow(unused_imports, reason = "the model uses what it needs")]
#[path = "../src/sync.rs"]
mod sync;

use std::sync::OnceLock;

use ledger::{Begin, Joinable, Ledger, State};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// An attempt that can be joined as long as the one who began it has not given it up.
#[derive(Debug)]
struct Attempt(Arc<AtomicUsize>);

impl Joinable for Attempt {
    type Joined = Arc<AtomicUsize>;

    fn join(&self) -> Option<Arc<AtomicUsize>> {
        (self.0.load(Ordering::Acquire) == RUNNING).then(|| Arc::clone(&self.0))
    }
}

const RUNNING: usize = 0;
const GIVEN_UP: usize = 1;

const SERVICE: u32 = 7;

/// One service of one scope, as the container uses the ledger.
struct Scope {
    ledger: Ledger<Attempt, Vec<usize>>,
    /// Not a loom type: it is written under the ledger's lock.
    cell: OnceLock<usize>,
    made: AtomicUsize,
    running: AtomicUsize,
    disposed: AtomicUsize,
}

#[derive(Debug, PartialEq)]
enum Got {
    Closed,
    Instance(usize),
    Joined,
    Late,
    GivenUp,
}

impl Scope {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            ledger: Ledger::new(Vec::new()),
            cell: OnceLock::new(),
            made: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            disposed: AtomicUsize::new(0),
        })
    }

    /// What a caller does, giving up half-way if `gives_up`.
    fn get(&self, gives_up: bool) -> Got {
        let state = Arc::new(AtomicUsize::new(RUNNING));
        let mut number = 0;
        let begun = self.ledger.begin(
            SERVICE,
            || self.cell.get().is_some(),
            |attempt| {
                number = attempt;
                (Attempt(Arc::clone(&state)), Arc::clone(&state))
            },
        );
        match begun {
            Begin::Closed => Got::Closed,
            Begin::Created => Got::Instance(*self.cell.get().unwrap()),
            Begin::Join(_) => Got::Joined,
            Begin::Started(_) => {
                let others = self.running.fetch_add(1, Ordering::AcqRel);
                assert_eq!(others, 0, "two attempts at once");
                if gives_up {
                    self.running.fetch_sub(1, Ordering::AcqRel);
                    state.store(GIVEN_UP, Ordering::Release);
                    self.ledger.settle(SERVICE, number);
                    return Got::GivenUp;
                }
                let instance = 1 + self.made.fetch_add(1, Ordering::AcqRel);
                self.running.fetch_sub(1, Ordering::AcqRel);
                let published = self
                    .ledger
                    .publish(SERVICE, number, |books: &mut Vec<usize>| {
                        self.cell.set(instance).expect("published once");
                        books.push(instance);
                    });
                let got = match published {
                    Ok(()) => Got::Instance(instance),
                    Err(_) => {
                        self.disposed.fetch_add(1, Ordering::AcqRel);
                        Got::Late
                    }
                };
                self.ledger.settle(SERVICE, number);
                got
            }
        }
    }

    /// What disposing does. Returns whether this caller did it.
    fn close(&self) -> bool {
        let closed = self
            .ledger
            .close(|books, in_flight| (std::mem::take(books), in_flight));
        let Some((created, _)) = closed else {
            return false;
        };
        assert_ne!(self.ledger.state(), State::Open);
        self.disposed.fetch_add(created.len(), Ordering::AcqRel);
        self.ledger.closed();
        true
    }

    /// What must hold when everybody is done and the scope is closed.
    fn check_closed(&self) {
        assert_eq!(self.ledger.state(), State::Closed);
        assert_eq!(self.ledger.in_flight(), 0);
        self.ledger
            .each_attempt(|service, _| panic!("{service} is still being created"));
        assert_eq!(
            self.made.load(Ordering::Acquire),
            self.disposed.load(Ordering::Acquire),
            "whatever was made is disposed of, once"
        );
        assert_eq!(self.get(false), Got::Closed);
    }
}

#[test]
fn what_is_made_is_disposed_of_once_however_closing_falls() {
    loom::model(|| {
        let scope = Scope::new();
        let callers: Vec<_> = (0..2)
            .map(|_| {
                let scope = Arc::clone(&scope);
                thread::spawn(move || scope.get(false))
            })
            .collect();
        assert!(scope.close());
        for caller in callers {
            let got = caller.join().unwrap();
            assert_ne!(got, Got::GivenUp);
        }
        scope.check_closed();
    });
}

#[test]
fn callers_agree_on_the_one_instance() {
    loom::model(|| {
        let scope = Scope::new();
        let callers: Vec<_> = (0..2)
            .map(|_| {
                let scope = Arc::clone(&scope);
                thread::spawn(move || scope.get(false))
            })
            .collect();
        let mine = scope.get(false);
        for got in callers
            .into_iter()
            .map(|caller| caller.join().unwrap())
            .chain([mine])
        {
            assert!(matches!(got, Got::Instance(1) | Got::Joined), "{got:?}");
        }
        assert_eq!(scope.get(false), Got::Instance(1));
        assert!(scope.close());
        scope.check_closed();
    });
}

#[test]
fn an_attempt_given_up_leaves_room_for_the_next() {
    loom::model(|| {
        let scope = Scope::new();
        let gives_up = thread::spawn({
            let scope = Arc::clone(&scope);
            move || scope.get(true)
        });
        let stays = thread::spawn({
            let scope = Arc::clone(&scope);
            move || scope.get(false)
        });
        assert!(scope.close());
        gives_up.join().unwrap();
        stays.join().unwrap();
        scope.check_closed();
    });
}

#[test]
fn after_giving_up_the_next_caller_creates() {
    loom::model(|| {
        let scope = Scope::new();
        let gives_up = thread::spawn({
            let scope = Arc::clone(&scope);
            move || scope.get(true)
        });
        let got = scope.get(false);
        gives_up.join().unwrap();
        // Joining one that is given up gives nothing; the container's waiter drives it instead. The
        // next one begins anew in any case.
        assert!(matches!(got, Got::Instance(1) | Got::Joined), "{got:?}");
        assert_eq!(scope.get(false), Got::Instance(1));
    });
}

#[test]
fn one_of_two_closes() {
    loom::model(|| {
        let scope = Scope::new();
        assert_eq!(scope.get(false), Got::Instance(1));
        let other = thread::spawn({
            let scope = Arc::clone(&scope);
            move || scope.close()
        });
        let mine = scope.close();
        assert!(mine != other.join().unwrap());
        scope.check_closed();
    });
}
