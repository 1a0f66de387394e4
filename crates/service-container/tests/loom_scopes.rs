//! Every interleaving of opening scopes, closing the one around them, and letting go of it.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p service-container --test loom_scopes --release \
//!     --target-dir target/loom
//! ```
//!
//! What is tried is taken in as source: it is private to the crate and stays so. The parts that
//! threads have to themselves are one here, for all threads of a model are one to the system: what
//! threads do apart cannot go wrong.

#![cfg(loom)]

#[allow(dead_code, unreachable_pub, reason = "the model uses what it needs")]
#[path = "../src/children.rs"]
mod children;
#[allow(dead_code, unreachable_pub, reason = "the model uses what it needs")]
#[path = "../src/ledger.rs"]
mod ledger;
#[allow(dead_code, unreachable_pub, reason = "the model uses what it needs")]
#[path = "../src/shards.rs"]
mod shards;
#[allow(dead_code, unreachable_pub, reason = "the model uses what it needs")]
#[path = "../src/stakes.rs"]
mod stakes;
#[allow(unused_imports, reason = "the model uses what it needs")]
#[path = "../src/sync.rs"]
mod sync;

use std::sync::Arc;

use children::Children;
use ledger::{Joinable, Ledger};
use loom::thread;
use stakes::Stakes;

/// Nothing is created in these models.
#[derive(Debug)]
struct Never;

impl Joinable for Never {
    type Joined = ();

    fn join(&self) -> Option<()> {
        None
    }
}

/// A scope in which scopes are opened.
struct Around {
    ledger: Ledger<Never, ()>,
    children: Children<Child>,
}

#[derive(Debug)]
struct Child;

impl Around {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            ledger: Ledger::new(()),
            children: Children::of_many(),
        })
    }

    fn open(&self) -> Option<(Arc<Child>, usize)> {
        let child = Arc::new(Child);
        let place = self.children.enter(&self.ledger, &child)?;
        Some((child, place))
    }

    /// The scopes that have to be closed with this one.
    fn close(&self) -> Vec<Arc<Child>> {
        let found = self.ledger.close(|(), _| self.children.alive());
        found.expect("one thread closes")
    }
}

#[test]
fn a_scope_that_opens_while_the_one_around_closes_is_refused_or_found() {
    loom::model(|| {
        let around = Around::new();
        let openers: Vec<_> = (0..2)
            .map(|_| {
                let around = Arc::clone(&around);
                thread::spawn(move || around.open())
            })
            .collect();
        let found = around.close();
        let opened: Vec<_> = openers
            .into_iter()
            .filter_map(|opener| opener.join().unwrap())
            .collect();
        for (child, _) in &opened {
            let times = found.iter().filter(|found| Arc::ptr_eq(found, child));
            assert_eq!(times.count(), 1);
        }
        assert_eq!(found.len(), opened.len());
        assert!(around.open().is_none(), "it is closed");
    });
}

#[test]
fn a_scope_that_ends_while_the_one_around_closes_leaves_its_place() {
    loom::model(|| {
        let around = Around::new();
        let (stays, _) = around.open().unwrap();
        let (ends, place) = around.open().unwrap();
        let ending = thread::spawn({
            let around = Arc::clone(&around);
            move || {
                drop(ends);
                around.children.leave(place);
            }
        });
        let found = around.close();
        assert!(found.iter().any(|found| Arc::ptr_eq(found, &stays)));
        ending.join().unwrap();
        drop(found);
        let left = around.children.alive();
        assert!(matches!(&left[..], [left] if Arc::ptr_eq(left, &stays)));
    });
}

struct Container {
    stakes: Stakes<Held>,
}

struct Held {
    container: Arc<Container>,
}

fn open_and_end(container: &Arc<Container>) {
    let stake = container.stakes.take(|| Held {
        container: Arc::clone(container),
    });
    if let Some(stake) = stake {
        assert!(Arc::ptr_eq(&stake.container, container));
    }
}

#[test]
fn a_container_goes_with_the_last_who_holds_it_whatever_opens_meanwhile() {
    loom::model(|| {
        let handle = Arc::new(Container {
            stakes: Stakes::new(),
        });
        let gone = Arc::downgrade(&handle);
        // As resolvers do, which hold it while they open a scope.
        let openers: Vec<_> = (0..2)
            .map(|_| {
                let container = Arc::clone(&handle);
                thread::spawn(move || open_and_end(&container))
            })
            .collect();
        handle.stakes.withdraw();
        drop(handle);
        for opener in openers {
            opener.join().unwrap();
        }
        assert!(gone.upgrade().is_none(), "it keeps itself alive");
    });
}
