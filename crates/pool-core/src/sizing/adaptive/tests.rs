//! The policy on its own, without an engine that would hold it back as well.

use std::time::Duration;

use super::*;

const MAX: u32 = 100;

fn policy() -> AdaptivePolicy {
    AdaptivePolicy::new(AdaptiveConfig::default()).unwrap()
}

/// An interval of 250 ms in which `load` connections were busy on average, for 10 ms each.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count"
)]
fn seen(load: f64, size: u32) -> Observation {
    let returns = (load / 0.010 * 0.250) as u64;
    Observation {
        interval: Duration::from_millis(250),
        average_in_use: load,
        average_size: f64::from(size),
        peak_in_use: size,
        arrivals: returns,
        returns,
        hold: Duration::from_millis(10),
        size,
        target: size,
        min: 5,
        max: MAX,
        // The server says nothing that the engine would know of.
        server_room: MAX,
        ..Observation::default()
    }
}

/// The fewest at which 99 % wait no longer than 5 ms, half a hold.
fn need(load: f64) -> u32 {
    queueing::servers_for(load, 0.5, 0.99, MAX)
}

#[test]
fn settings_that_cannot_be_are_named() {
    #[track_caller]
    fn check(change: impl FnOnce(&mut AdaptiveConfig), expected: &str) {
        let mut config = AdaptiveConfig::default();
        change(&mut config);
        let refused = AdaptivePolicy::new(config).unwrap_err().to_string();
        assert_eq!(refused, expected);
    }
    const LEAST: &str = "is below a millisecond: want at least one";
    check(
        |config| config.wait_target = Duration::ZERO,
        &format!("waitTarget {LEAST}"),
    );
    check(
        |config| config.interval = Duration::from_micros(999),
        &format!("interval {LEAST}"),
    );
    check(
        |config| config.memory = Duration::ZERO,
        &format!("memory {LEAST}"),
    );
    check(
        |config| config.surplus_timeout = Duration::ZERO,
        &format!("surplusTimeout {LEAST}"),
    );
    const SHARE: &str = "want more than 0 and less than 1";
    for value in [0.0, 1.0, -0.5, 99.0, f64::NAN, f64::INFINITY] {
        check(
            |config| config.quantile = value,
            &format!("quantile is {value}: {SHARE}"),
        );
        check(
            |config| config.least_gain = value,
            &format!("leastGain is {value}: {SHARE}"),
        );
    }
}

#[test]
fn it_grows_at_once_and_keeps_what_the_last_minute_needed() {
    let mut policy = policy();
    let (low, high) = (need(2.0), need(20.0));
    assert!(low < high, "{low} {high}");
    for _ in 0..400 {
        assert_eq!(policy.decide(&seen(2.0, low)).target, low);
    }
    // One interval is enough to grow.
    let grown = policy.decide(&seen(20.0, low));
    assert_eq!((grown.target, grown.direction), (high, Direction::Up));
    for _ in 0..40 {
        assert_eq!(policy.decide(&seen(20.0, high)).target, high);
    }
    // It falls in one step, when the last of six parts of a minute has forgotten the peak.
    let kept = policy.decide(&seen(2.0, high));
    assert_eq!((kept.target, kept.direction), (high, Direction::Stay));
    let said = format!("the last 60 s needed {high}: {high} stays");
    assert!(kept.reason.ends_with(&said), "{kept:?}");
    let after = (1_u32..)
        .find(|_| policy.decide(&seen(2.0, high)).target != high)
        .unwrap();
    let seconds = f64::from(after) * 0.25;
    assert!((50.0..=60.0).contains(&seconds), "{seconds} s");
    let fallen = policy.decide(&seen(2.0, high));
    assert_eq!((fallen.target, fallen.direction), (low, Direction::Down));
}

#[test]
fn a_short_peak_is_remembered_as_a_long_one_is() {
    let mut policy = policy();
    let rounds = if cfg!(miri) { 200 } else { 2_000 };
    for round in 0..rounds {
        let load = if round % 160 == 0 { 20.0 } else { 2.0 };
        let target = policy.decide(&seen(load, need(20.0))).target;
        assert_eq!(target, need(20.0), "a peak every 40 s, round {round}");
    }
}

/// A fifth is given back at once; one connection comes back every four intervals.
#[test]
fn a_refusal_takes_a_fifth_away_and_it_comes_back_slowly() {
    let mut policy = policy();
    let full = |refusals| Observation {
        refusals,
        connect_failures: refusals,
        waiting: 9,
        // Not so busy that it would make an experiment.
        ..seen(40.0, 50)
    };
    let refused = policy.decide(&full(1));
    assert_eq!(
        (refused.target, refused.ceiling, refused.brake),
        (40, Some(40), Some(Brake::ServerFull))
    );
    assert!(
        refused.reason.contains("the server has refused connects"),
        "{refused:?}"
    );
    // A second refusal at the size that is left takes a fifth of that.
    let at = |size, refusals| Observation {
        size,
        target: size,
        ..full(refusals)
    };
    assert_eq!(policy.decide(&at(40, 2)).ceiling, Some(32));
    // One at a larger size takes nothing more: that much is given up already.
    assert_eq!(policy.decide(&at(45, 1)).ceiling, Some(32));

    let ceilings: Vec<_> = (0..8)
        .map(|_| policy.decide(&at(32, 0)).ceiling.unwrap())
        .collect();
    assert_eq!(ceilings, [33, 33, 33, 33, 34, 34, 34, 34]);
    // All of it, in the end: 66 connections in four intervals each.
    let recovered = (1..)
        .find(|_| policy.decide(&at(32, 0)).brake.is_none())
        .unwrap();
    assert_eq!(recovered, (MAX - 34) * 4 - 3);
    assert_eq!(policy.decide(&at(32, 0)).ceiling, None);
}

#[test]
fn a_refusal_leaves_the_minimum() {
    let mut policy = policy();
    for _ in 0..20 {
        let refused = Observation {
            refusals: 1,
            waiting: 9,
            ..seen(5.0, 5)
        };
        let decision = policy.decide(&refused);
        assert_eq!((decision.target, decision.ceiling), (5, Some(5)));
    }
}
