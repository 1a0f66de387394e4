//! Who waits for whom while services are being created.
//!
//! Every creation that waits for another enters an edge here before it waits and takes it out when
//! it stops. All creations of a container, in whatever task they run, share the one graph, so two
//! tasks that would wait for each other find out: the one that would close the circle gets an error.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::registry::ServiceId;

/// An instance to be: the scope it belongs to, and which service it is.
pub(crate) type Slot = (u64, ServiceId);

#[derive(Debug, Default)]
pub(crate) struct Waits {
    edges: Mutex<HashMap<Slot, Vec<Slot>>>,
}

/// Somebody waits for as long as this lives.
#[derive(Debug)]
#[must_use]
pub(crate) struct Waiting<'a> {
    waits: &'a Waits,
    edge: (Slot, Slot),
}

impl Waits {
    /// Enters that `waiter` waits for `wanted`.
    ///
    /// # Errors
    ///
    /// The way from `wanted` back to `waiter`, both included, when there is one.
    pub(crate) fn enter(&self, waiter: Slot, wanted: Slot) -> Result<Waiting<'_>, Vec<Slot>> {
        let mut edges = self.lock();
        if let Some(path) = path(&edges, wanted, waiter) {
            return Err(path);
        }
        edges.entry(waiter).or_default().push(wanted);
        Ok(Waiting {
            waits: self,
            edge: (waiter, wanted),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Slot, Vec<Slot>>> {
        self.edges
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let (waiter, wanted) = self.edge;
        let mut edges = self.waits.lock();
        if let Some(waited) = edges.get_mut(&waiter) {
            if let Some(index) = waited.iter().position(|slot| *slot == wanted) {
                waited.swap_remove(index);
            }
            if waited.is_empty() {
                edges.remove(&waiter);
            }
        }
    }
}

fn path(edges: &HashMap<Slot, Vec<Slot>>, from: Slot, to: Slot) -> Option<Vec<Slot>> {
    let mut came_from: HashMap<Slot, Slot> = HashMap::new();
    let mut unvisited = vec![from];
    while let Some(slot) = unvisited.pop() {
        if slot == to {
            let mut path = vec![slot];
            let mut last = slot;
            while last != from {
                last = came_from[&last];
                path.push(last);
            }
            path.reverse();
            return Some(path);
        }
        for next in edges.get(&slot).into_iter().flatten() {
            if *next != from && !came_from.contains_key(next) {
                came_from.insert(*next, slot);
                unvisited.push(*next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_that_closes_a_circle_is_refused_and_names_it() {
        let waits = Waits::default();
        let [a, b, c] = [(0, 0), (0, 1), (7, 2)];
        let _ab = waits.enter(a, b).unwrap();
        let bc = waits.enter(b, c).unwrap();
        assert_eq!(waits.enter(c, a).unwrap_err(), [a, b, c]);
        assert_eq!(waits.enter(a, a).unwrap_err(), [a]);
        drop(bc);
        let _ca = waits.enter(c, a).unwrap();
    }

    #[test]
    fn nothing_is_kept_of_waits_that_ended() {
        let waits = Waits::default();
        let first = waits.enter((0, 0), (0, 1)).unwrap();
        let second = waits.enter((0, 0), (0, 1)).unwrap();
        drop(first);
        assert_eq!(waits.enter((0, 1), (0, 0)).unwrap_err(), [(0, 0), (0, 1)]);
        drop(second);
        assert!(waits.lock().is_empty());
    }
}
