//! Who asks: the way from a resolver back to what it was made for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::registry::ServiceId;
use crate::waits::Slot;

/// One creation, and the creation that asked for it.
///
/// It travels with the resolver and so with the request, whatever task or thread that moves to. It
/// refers to no scope: a service may keep its resolver for as long as it likes.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) service: ServiceId,
    /// The scope it is created in.
    scope: u64,
    /// The instance all this is for: itself, or for a transient service the one that will hold it.
    pub(crate) owner: Option<Slot>,
    transient: bool,
    parent: Option<Arc<Self>>,
    done: AtomicBool,
}

/// Ends a creation when dropped, whichever way it went.
#[derive(Debug)]
pub(crate) struct DoneOnDrop(pub(crate) Arc<Node>);

impl Node {
    pub(crate) fn kept(slot: Slot, parent: Option<Arc<Self>>) -> Arc<Self> {
        let (scope, service) = slot;
        Arc::new(Self {
            service,
            scope,
            owner: Some(slot),
            transient: false,
            parent,
            done: AtomicBool::new(false),
        })
    }

    pub(crate) fn transient(
        slot: Slot,
        owner: Option<Slot>,
        parent: Option<Arc<Self>>,
    ) -> Arc<Self> {
        let (scope, service) = slot;
        Arc::new(Self {
            service,
            scope,
            owner,
            transient: true,
            parent,
            done: AtomicBool::new(false),
        })
    }

    /// The creation still running on whose behalf a resolver made for this one asks.
    ///
    /// A finished transient service asks for the one it was made for, which may not be finished. A
    /// finished service that is kept may be used by anybody, so it asks for nobody.
    pub(crate) fn asking(self: &Arc<Self>) -> Option<&Arc<Self>> {
        let mut node = self;
        while node.done.load(Ordering::Acquire) {
            if !node.transient {
                return None;
            }
            node = node.parent.as_ref()?;
        }
        Some(node)
    }

    /// The services from an unfinished creation of the transient service `slot` down to this one,
    /// when there is one.
    pub(crate) fn way_from_transient(&self, slot: Slot) -> Option<Vec<ServiceId>> {
        let mut way = Vec::new();
        let mut node = self;
        loop {
            way.push(node.service);
            let same = (node.scope, node.service) == slot;
            if same && node.transient && !node.done.load(Ordering::Acquire) {
                way.reverse();
                return Some(way);
            }
            node = node.parent.as_deref()?;
        }
    }
}

impl Drop for DoneOnDrop {
    fn drop(&mut self) {
        self.0.done.store(true, Ordering::Release);
    }
}
