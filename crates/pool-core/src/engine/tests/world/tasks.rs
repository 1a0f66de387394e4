//! The pool's tasks come to an end, one way or the other.

use std::sync::Arc;

use super::World;
use crate::ConnectFault;
use crate::clock::NEVER;
use crate::engine::tests::model::{Connection, Where};
use crate::engine::{CloseReason, ConnectFailure, ConnectOrder, Landing};

impl World {
    pub(super) fn finish_connect(&mut self, rng: &mut fastrand::Rng) {
        if self.connects.is_empty() {
            return;
        }
        let order = self.connects.swap_remove(rng.usize(0..self.connects.len()));
        self.model.connecting -= 1;
        let fault = match rng.u32(0..20) {
            0..3 => ConnectFault::Transient,
            3 => ConnectFault::Permanent,
            4 => ConnectFault::Saturated,
            _ => {
                self.land(order);
                return;
            }
        };
        self.model.last_fault = Some(fault);
        let hopeless = self.model.open() == 0 && fault == ConnectFault::Permanent;
        self.engine("connect failed", |state, now, fx| {
            let failure = ConnectFailure::new(Arc::new(std::fmt::Error), now, fault);
            state.connect_failed(order, failure, now, fx);
        });
        // Contract 4: with nothing open, a permanent failure is told to all.
        let waiting = self.model.waiting();
        self.expect(!hopeless || waiting == 0, || {
            format!("{waiting} still wait for what cannot be opened")
        });
    }

    pub(super) fn land(&mut self, order: ConnectOrder) {
        let id = self.next_connection;
        self.next_connection += 1;
        let connection = Connection {
            generation: order.generation,
            expires: NEVER,
            place: Where::Recycling,
        };
        self.model.connections.insert(id, connection);
        let landing = Landing {
            order,
            connection: id,
            took: self.connects_take,
        };
        self.engine("landed", |state, now, fx| state.landed(landing, now, fx));
        let slots = self.state.idle.iter().chain(&self.held).chain(&self.checks);
        let expires = slots
            .filter(|slot| slot.connection == id)
            .map(|slot| slot.expires)
            .next();
        if let Some(connection) = self.model.connections.get_mut(&id) {
            connection.expires = expires.unwrap_or(0);
        }
        self.sync_place(id);
        let place = self.place_of(id);
        self.expect(place != Where::Recycling, || {
            format!("connection {id} landed nowhere")
        });
    }

    pub(super) fn finish_check(&mut self, rng: &mut fastrand::Rng) {
        if self.checks.is_empty() {
            return;
        }
        let slot = self.checks.swap_remove(rng.usize(0..self.checks.len()));
        let id = slot.connection;
        if rng.u32(0..6) == 0 {
            self.engine("check failed", |state, now, fx| {
                state.turned_bad(slot, CloseReason::Invalid, String::new(), now, fx);
            });
        } else {
            self.engine("checked", |state, now, fx| state.validated(slot, now, fx));
            self.reorder(id);
        }
    }

    pub(super) fn finish_cleaning(&mut self, rng: &mut fastrand::Rng) {
        if self.cleanings.is_empty() {
            return;
        }
        let slot = self
            .cleanings
            .swap_remove(rng.usize(0..self.cleanings.len()));
        let id = slot.connection;
        if rng.u32(0..4) == 0 {
            self.engine("cleaning failed", |state, now, fx| {
                state.turned_bad(slot, CloseReason::Broken, String::new(), now, fx);
            });
        } else {
            self.engine("cleaned", |state, now, fx| state.recycled(slot, now, fx));
            self.sync_place(id);
        }
    }

    /// A check does not make a connection younger: it goes back to where it was in the stack.
    pub(super) fn reorder(&mut self, id: u64) {
        if self.place_of(id) == Where::Idle {
            self.model.put(id, Where::Idle);
            self.model.idle = self.state.idle.iter().map(|slot| slot.connection).collect();
        }
    }

    pub(super) fn finish_close(&mut self, rng: &mut fastrand::Rng) {
        if self.closings.is_empty() {
            return;
        }
        let (slot, id) = self.closings.swap_remove(rng.usize(0..self.closings.len()));
        self.model.connections.remove(&id);
        let timed_out = rng.bool();
        self.engine("closed", |state, now, fx| {
            state.closed(slot, timed_out, now, fx)
        });
    }
}
