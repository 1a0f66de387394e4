//! What holds for every policy, because it is not an estimate but something that was said.

use super::{Brake, Decision, Direction, Observation, SizingPolicy};

/// Asks a policy, and holds its decision within the limits, within the room that the server has
/// announced, and where it is while connects fail.
///
/// Production and simulation both decide through this function.
pub fn decide(policy: &mut dyn SizingPolicy, seen: &Observation) -> Decision {
    let mut decision = policy.decide(seen);
    decision.target = seen.within(decision.target);
    let base = seen.base();
    if decision.target > seen.server_room.max(seen.min) {
        let (wanted, room) = (decision.target, seen.server_room.max(seen.min));
        hold(&mut decision, room, Brake::ServerFull);
        decision.reason = format!(
            "{}; but the server has no room for more than {}: {room} instead of {wanted}",
            decision.reason, seen.server_room
        );
    } else if seen.connect_failures > 0 && seen.opened == 0 && decision.target > base {
        let wanted = decision.target;
        hold(&mut decision, base, Brake::ConnectFailures);
        decision.reason = format!(
            "{}; but {} connects failed and none succeeded: {base} stays, not {wanted}",
            decision.reason, seen.connect_failures
        );
    }
    // Whatever a policy compares with: what a decision changes is the target in force.
    decision.direction = Direction::between(seen.target, decision.target);
    decision
}

const fn hold(decision: &mut Decision, target: u32, brake: Brake) {
    decision.target = target;
    decision.brake = Some(brake);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Wants(u32);

    impl SizingPolicy for Wants {
        fn decide(&mut self, seen: &Observation) -> Decision {
            Decision::resize(seen.base(), self.0, format!("wants {}", self.0))
        }
    }

    #[track_caller]
    fn check(
        wants: u32,
        change: impl FnOnce(&mut Observation),
        expected: (u32, Direction, Option<Brake>),
        reason: &str,
    ) {
        let mut seen = Observation {
            size: 10,
            target: 10,
            min: 5,
            max: 100,
            server_room: 100,
            ..Observation::default()
        };
        change(&mut seen);
        let decision = decide(&mut Wants(wants), &seen);
        assert_eq!(
            (decision.target, decision.direction, decision.brake),
            expected
        );
        assert!(decision.reason.contains(reason), "{}", decision.reason);
    }

    #[test]
    fn a_decision_stays_within_the_limits_and_the_servers_room() {
        use Direction::{Down, Stay, Up};
        check(20, |_| {}, (20, Up, None), "wants 20");
        check(200, |_| {}, (100, Up, None), "wants 200");
        check(2, |_| {}, (5, Down, None), "wants 2");
        let full = |seen: &mut Observation| seen.server_room = 12;
        check(20, full, (12, Up, Some(Brake::ServerFull)), "more than 12");
        check(12, full, (12, Up, None), "wants 12");
        let fuller = |seen: &mut Observation| seen.server_room = 2;
        check(10, fuller, (5, Down, Some(Brake::ServerFull)), "10");
        let failing = |seen: &mut Observation| seen.connect_failures = 3;
        let held = (10, Stay, Some(Brake::ConnectFailures));
        check(20, failing, held, "3 connects failed");
        check(7, failing, (7, Down, None), "wants 7");
        let mixed = |seen: &mut Observation| {
            seen.connect_failures = 3;
            seen.opened = 1;
        };
        check(20, mixed, (20, Up, None), "wants 20");
        // A burst has opened more than the target, and the policy compares with the size.
        let burst = |seen: &mut Observation| seen.target = 5;
        check(10, burst, (10, Up, None), "wants 10");
        check(5, burst, (5, Stay, None), "wants 5");
    }
}
