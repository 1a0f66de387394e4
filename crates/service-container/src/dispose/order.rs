//! Which service is disposed of next.

use std::collections::BinaryHeap;

/// Hands out services, numbered in the order of their creation, so that each comes after all that
/// used it, and otherwise the last created first.
///
/// Uses after creation can form a circle. Among services that only wait for each other the last one
/// created goes first: what a factory resolved was created before what it made, so that one is not
/// held by any other through its factory.
#[derive(Debug)]
pub(super) struct Order {
    /// How many services still hold this one, or `None` once it has been handed out.
    users: Vec<Option<usize>>,
    uses: Vec<Vec<usize>>,
    used_by: Vec<Vec<usize>>,
    ready: BinaryHeap<usize>,
    running: usize,
}

impl Order {
    /// Of `count` services, where an edge `(a, b)` says that `a` used `b`.
    pub(super) fn new(count: usize, edges: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut users = vec![0; count];
        let mut uses = vec![Vec::new(); count];
        let mut used_by = vec![Vec::new(); count];
        for (user, used) in edges {
            users[used] += 1;
            uses[user].push(used);
            used_by[used].push(user);
        }
        let ready = (0..count).filter(|service| users[*service] == 0).collect();
        Self {
            users: users.into_iter().map(Some).collect(),
            uses,
            used_by,
            ready,
            running: 0,
        }
    }

    /// The next service, or `None` while all that are left wait for one handed out, or none is left.
    pub(super) fn next(&mut self) -> Option<usize> {
        let next = match self.ready.pop() {
            Some(ready) => ready,
            None if self.running > 0 => return None,
            None => self.last_in_circle()?,
        };
        self.users[next] = None;
        self.running += 1;
        Some(next)
    }

    /// Takes note that a service handed out is gone.
    pub(super) fn gone(&mut self, service: usize) {
        self.running -= 1;
        for used in &self.uses[service] {
            let used = *used;
            if let Some(users) = &mut self.users[used] {
                *users -= 1;
                if *users == 0 {
                    self.ready.push(used);
                }
            }
        }
    }

    /// The last created of those left that are held by nobody but those they hold themselves.
    fn last_in_circle(&self) -> Option<usize> {
        let left = (0..self.users.len())
            .rev()
            .filter(|service| self.users[*service].is_some());
        left.into_iter().find(|service| {
            let held = self.reach(*service, &self.uses);
            let holders = self.reach(*service, &self.used_by);
            holders
                .iter()
                .zip(held)
                .all(|(holder, held)| !holder || held)
        })
    }

    /// Which of those left can be reached from `start`.
    fn reach(&self, start: usize, edges: &[Vec<usize>]) -> Vec<bool> {
        let mut reached = vec![false; self.users.len()];
        let mut unvisited = vec![start];
        while let Some(service) = unvisited.pop() {
            for next in edges[service].iter().copied() {
                if self.users[next].is_some() && !std::mem::replace(&mut reached[next], true) {
                    unvisited.push(next);
                }
            }
        }
        reached
    }

    /// All that were not handed out yet, in order.
    pub(super) fn rest(mut self) -> Vec<usize> {
        let mut rest = Vec::new();
        // What is still running is not waited for any more.
        self.running = 0;
        while let Some(next) = self.next() {
            self.gone(next);
            rest.push(next);
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(count: usize, edges: &[(usize, usize)], expected: &[usize]) {
        assert_eq!(Order::new(count, edges.iter().copied()).rest(), expected);
    }

    #[test]
    fn last_created_first_unless_it_is_still_used() {
        check(0, &[], &[]);
        check(3, &[], &[2, 1, 0]);
        check(3, &[(1, 0), (2, 1)], &[2, 1, 0]);
        // 0 came first but used 2 later on.
        check(3, &[(0, 2)], &[1, 0, 2]);
        check(4, &[(0, 3), (1, 0)], &[2, 1, 0, 3]);
    }

    #[test]
    fn a_circle_is_broken_at_the_last_created() {
        check(2, &[(1, 0), (0, 1)], &[1, 0]);
        check(3, &[(1, 0), (0, 1), (1, 2)], &[1, 2, 0]);
    }

    #[test]
    fn what_is_used_waits_for_what_runs() {
        let mut order = Order::new(3, [(2, 0), (1, 0)]);
        assert_eq!(order.next(), Some(2));
        assert_eq!(order.next(), Some(1));
        assert_eq!(order.next(), None);
        order.gone(2);
        assert_eq!(order.next(), None);
        order.gone(1);
        assert_eq!(order.next(), Some(0));
    }
}
