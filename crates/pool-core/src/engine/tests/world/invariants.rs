//! What holds after each step, and at rest.

use super::{Held, Verdict, World};
use crate::engine::tests::model::Where;
use crate::engine::{Gate, Phase};

impl World {
    /// All invariants, by counting twice: the engine's numbers, and the model's.
    pub(in crate::engine::tests) fn check(&mut self) -> Verdict {
        if let Some(broken) = self.broken.take() {
            return Err(broken);
        }
        let (state, model) = (&self.state, &self.model);
        let same = |name: &str, engine: u32, reference: u32| {
            if engine == reference {
                Ok(())
            } else {
                Err(format!(
                    "{name}: the engine says {engine}, the model {reference}"
                ))
            }
        };
        same("total", state.total, model.total())?;
        same("connecting", state.connecting, model.connecting)?;
        same("in use", state.flow.in_use, model.count(Where::Held))?;
        same("idle", state.idle_len(), model.count(Where::Idle))?;
        same(
            "validating",
            state.validating,
            model.count(Where::Validating),
        )?;
        same("recycling", state.recycling, model.count(Where::Recycling))?;
        same("closing", state.closing, model.count(Where::Closing))?;
        same(
            "waiting",
            state.waiters.len(),
            u32::try_from(model.queue.len()).unwrap(),
        )?;
        let counts = state.counts();
        let sum = counts.active + counts.idle + counts.connecting + counts.closing;
        same("sum", counts.total, sum)?;
        let rows = |wanted: fn(&Phase) -> bool| state.slots.count(wanted);
        same(
            "rows in use",
            rows(|p| matches!(p, Phase::Lent { .. })),
            state.flow.in_use,
        )?;
        same(
            "rows idle",
            rows(|p| matches!(p, Phase::Idle)),
            state.idle_len(),
        )?;
        same("rows", rows(|p| !matches!(p, Phase::Free)), state.total)?;
        let mine = |slots: &[Held]| slots.iter().filter(|slot| slot.retiring).count();
        let retiring =
            mine(&state.idle) + mine(&self.held) + mine(&self.checks) + mine(&self.cleanings);
        same("retiring", state.retiring, u32::try_from(retiring).unwrap())?;
        if state
            .idle
            .iter()
            .map(|slot| slot.connection)
            .ne(model.idle.iter().copied())
        {
            return Err("the idle stack is out of order".to_owned());
        }
        if !state.idle.is_sorted_by_key(|slot| slot.idle_since) {
            return Err("idle connections are not ordered by age".to_owned());
        }
        let (open, bound) = (model.open(), model.bound());
        if open > bound && !model.idle.is_empty() {
            return Err(format!("{open} of {bound} are open, and some of them idle"));
        }
        same("ceiling", state.ceiling, bound.min(state.server_room))?;
        if model.closed && !(model.queue.is_empty() && model.idle.is_empty()) {
            return Err("closed, and somebody waits or something is idle".to_owned());
        }
        self.check_progress()?;
        if self.pumped {
            self.check_service()?;
        }
        Ok(())
    }

    /// Nobody waits for something that is there, and nobody waits for nothing.
    fn check_progress(&self) -> Verdict {
        let state = &self.state;
        if state.gate != Gate::Open || state.waiters.is_empty() {
            return Ok(());
        }
        let bypass = state.rules.bypass;
        let fit = |slot: &Held| self.now < slot.expires && self.now - slot.proven < bypass;
        if state.idle.iter().any(fit) {
            return Err("a caller waits beside a fit idle connection".to_owned());
        }
        let helped = state.connecting + state.validating > 0
            || state.total >= state.ceiling
            || state.backoff.failures() > 0;
        if helped {
            Ok(())
        } else {
            Err("callers wait and nothing is being opened".to_owned())
        }
    }

    /// After a step that looked at the queue: every caller has a check under way for it as long as
    /// something is idle, and as many connects as room, `max_connecting` and backoff allow and the
    /// queue is worth.
    fn check_service(&self) -> Verdict {
        let (state, model) = (&self.state, &self.model);
        if state.gate != Gate::Open {
            return Ok(());
        }
        let waiting = model.waiting();
        let checks = model.count(Where::Validating);
        if waiting > checks && !model.idle.is_empty() {
            return Err(format!(
                "{waiting} wait beside idle connections, {checks} of which are being checked"
            ));
        }
        if state.backoff.waits(self.now) {
            return Ok(());
        }
        // After a check that failed, no other one is counted on.
        let demand = waiting.saturating_sub(if state.doubt { 0 } else { checks });
        let replaced = model.open().saturating_sub(state.retiring);
        let shortfall = state.floor().saturating_sub(replaced);
        let room = state.ceiling.saturating_sub(model.total()) + model.connecting;
        let most = if state.backoff.careful(self.now) {
            1
        } else if demand > shortfall {
            let oldest = model
                .queue
                .front()
                .map_or(0, |one| self.now - self.since[one]);
            let (hold, connect) = (state.tally.last_typical_hold(), state.tally.typical_connect);
            let worth = model.worth(oldest, hold, connect);
            worth.max(shortfall).min(state.rules.max_connecting)
        } else {
            state.rules.max_connecting
        };
        let wanted = demand.max(shortfall).min(room).min(most);
        if model.connecting < wanted {
            return Err(format!(
                "{} connects are under way and {wanted} are wanted: {waiting} wait, \
                 {shortfall} are short, there is room for {room}, at most {most} at once",
                model.connecting
            ));
        }
        Ok(())
    }

    /// Lets everything finish. Nothing may be left over, and the last limits hold.
    pub(in crate::engine::tests) fn quiesce(&mut self) -> Verdict {
        let mut rng = fastrand::Rng::with_seed(1);
        self.resume();
        self.model.allowance = u32::MAX;
        self.engine("allow all", |state, now, fx| {
            state.set_allowance(u32::MAX, now, fx)
        });
        for _ in 0..10_000 {
            while let Some(slot) = self.held.pop() {
                self.engine("release", |state, now, fx| state.put_back(slot, now, fx));
                let places: Vec<_> = self.model.connections.keys().copied().collect();
                places
                    .into_iter()
                    .for_each(|id| self.sync_place_quietly(id));
            }
            while let Some(order) = self.connects.pop() {
                self.model.connecting -= 1;
                self.land(order);
            }
            while !self.checks.is_empty() {
                self.finish_check(&mut rng);
            }
            while !self.cleanings.is_empty() {
                self.finish_cleaning(&mut rng);
            }
            while !self.closings.is_empty() {
                self.finish_close(&mut rng);
            }
            self.now += 1;
            self.upkeep();
            let busy = self.connects.len() + self.checks.len() + self.closings.len();
            if self.callers.is_empty() && self.held.is_empty() && busy == 0 {
                break;
            }
        }
        let counts = self.state.counts();
        if counts.waiting > 0 || counts.active > 0 || counts.connecting > 0 || counts.closing > 0 {
            return Err(format!("not at rest: {counts}"));
        }
        if counts.total > self.model.bound() || (self.model.closed && counts.total > 0) {
            return Err(format!("more than the last limits allow: {counts}"));
        }
        if counts.total != u32::try_from(self.model.connections.len()).unwrap() {
            return Err(format!("the server still has others: {counts}"));
        }
        Ok(())
    }

    fn sync_place_quietly(&mut self, id: u64) {
        let idle = self.state.idle.iter().any(|slot| slot.connection == id);
        if idle && self.model.connections[&id].place != Where::Idle {
            self.model.put(id, Where::Idle);
        }
    }
}
