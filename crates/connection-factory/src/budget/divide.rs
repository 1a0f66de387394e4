//! Who may have how many connections: the rule by itself, without pools and without time.

/// What one pool has and wants.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Claim {
    /// What it keeps without demand.
    pub(super) min: u32,
    /// What it never exceeds, by its own limits.
    pub(super) max: u32,
    /// What it has a use for: in use, and asked for.
    pub(super) demand: u32,
    /// Connections that are open or being opened.
    pub(super) staying: u32,
    /// Connections that exist in any state.
    pub(super) total: u32,
    /// What it is allowed now.
    pub(super) allowed: u32,
}

impl Claim {
    fn want(&self) -> u32 {
        self.demand.max(self.min).min(self.max)
    }
}

/// What each pool should be allowed of `budget`.
///
/// In this order, each as far as the budget goes and always to the pool that has least so far:
/// the minimums; what there is a use for; what is open; what is left, so that a pool that comes to
/// need more need not ask. That is max-min fairness: a pool gets less than it wants only where no
/// other has more than it, beyond that one's minimum.
///
/// Where the last ones cannot be divided evenly, they go to the pools from `first` on.
pub(super) fn divide(budget: u32, claims: &[Claim], first: usize) -> Vec<u32> {
    let mut parts = vec![0; claims.len()];
    let mut left = budget;
    let stages: [fn(&Claim) -> u32; 4] = [
        |claim| claim.min.min(claim.max),
        Claim::want,
        |claim| claim.want().max(claim.staying.min(claim.max)),
        |claim| claim.max,
    ];
    for stage in stages {
        let caps: Vec<_> = claims.iter().map(stage).collect();
        fill(&mut parts, &caps, &mut left, first);
    }
    parts
}

/// The first step towards `parts` that can be taken at once: who has too much is allowed less now,
/// who has too little is allowed more as far as connections have gone elsewhere.
///
/// Whatever the pools do, they have no more than `budget` together, if that is so before.
pub(super) fn step(budget: u32, claims: &[Claim], parts: &[u32], first: usize) -> Vec<u32> {
    let mut spent: Vec<_> = claims
        .iter()
        .zip(parts)
        .map(|(claim, part)| claim.total.max(claim.allowed.min(*part)))
        .collect();
    let mut left = budget.saturating_sub(spent.iter().sum());
    let caps: Vec<_> = spent.iter().zip(parts).map(|(a, b)| *a.max(b)).collect();
    fill(&mut spent, &caps, &mut left, first);
    spent.iter().zip(parts).map(|(a, b)| *a.min(b)).collect()
}

/// Raises the lowest of `parts` first, none above its cap, until nothing is left.
fn fill(parts: &mut [u32], caps: &[u32], left: &mut u32, first: usize) {
    let cost = |level: u32, parts: &[u32]| -> u64 {
        parts
            .iter()
            .zip(caps)
            .map(|(part, cap)| u64::from(level.min(*cap).saturating_sub(*part)))
            .sum()
    };
    // The highest level to which all can be raised.
    let (mut level, mut above) = (0, caps.iter().max().map_or(1, |cap| cap.saturating_add(1)));
    while above - level > 1 {
        let middle = level + (above - level) / 2;
        if cost(middle, parts) <= u64::from(*left) {
            level = middle;
        } else {
            above = middle;
        }
    }
    *left -= u32::try_from(cost(level, parts)).expect("no more than what is left");
    for (part, cap) in parts.iter_mut().zip(caps) {
        *part = (*part).max(level.min(*cap));
    }
    let members = parts.len();
    for at in (0..members).map(|at| (first + at) % members) {
        if *left > 0 && parts[at] == level && level < caps[at] {
            parts[at] += 1;
            *left -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(min: u32, max: u32, demand: u32) -> Claim {
        Claim {
            min,
            max,
            demand,
            ..Claim::default()
        }
    }

    #[track_caller]
    fn check(budget: u32, claims: &[(u32, u32, u32)], wanted: &[u32]) {
        let claims: Vec<_> = claims
            .iter()
            .map(|&(min, max, demand)| claim(min, max, demand))
            .collect();
        assert_eq!(divide(budget, &claims, 0), wanted);
    }

    /// (minimum, maximum, demand) → parts.
    #[test]
    fn examples() {
        // Without contention everybody can have what it may come to want.
        check(30, &[(2, 10, 5), (0, 20, 0)], &[10, 20]);
        // Nobody wants anything: the room is divided evenly.
        check(10, &[(0, 10, 0), (0, 10, 0)], &[5, 5]);
        // One wants more than its half, and the other does not want its own.
        check(10, &[(0, 10, 100), (0, 10, 2)], &[8, 2]);
        // Both want more than there is.
        check(10, &[(0, 10, 100), (0, 10, 7)], &[5, 5]);
        // A minimum is kept although somebody else waits.
        check(10, &[(4, 10, 0), (0, 10, 100), (0, 10, 100)], &[4, 3, 3]);
        // A small pool is served before a large one gets more than it.
        check(9, &[(0, 8, 8), (0, 2, 2), (0, 8, 8)], &[4, 2, 3]);
        // More minimums than there is room for.
        check(5, &[(4, 9, 9), (4, 9, 0), (1, 9, 0)], &[2, 2, 1]);
        check(1, &[(0, 9, 9), (0, 9, 9)], &[1, 0]);
        check(7, &[], &[]);
    }

    #[test]
    fn the_odd_one_goes_where_it_is_told() {
        let claims = [claim(0, 9, 9), claim(0, 9, 9), claim(0, 9, 9)];
        let given: Vec<_> = (0..3).map(|first| divide(4, &claims, first)).collect();
        assert_eq!(given, [[2, 1, 1], [1, 2, 1], [1, 1, 2]]);
    }

    fn claims() -> impl Strategy<Value = Vec<Claim>> {
        let one =
            (1..40_u32, 0..40_u32, 0..80_u32, 0..40_u32).prop_map(|(max, min, demand, staying)| {
                Claim {
                    min: min.min(max),
                    staying,
                    total: staying,
                    ..claim(0, max, demand)
                }
            });
        proptest::collection::vec(one, 0..7)
    }

    proptest! {
        #[test]
        fn a_division_is_within_bounds_honours_minimums_wastes_nothing_and_is_fair(
            claims in claims(), budget in 0..120_u32, first in 0..7_usize,
        ) {
            let parts = divide(budget, &claims, first);
            let given: u32 = parts.iter().sum();
            let useful: u32 = claims.iter().map(|claim| claim.max).sum();
            prop_assert_eq!(given, budget.min(useful), "nothing is wasted");
            let minimums: u32 = claims.iter().map(|claim| claim.min).sum();
            for (claim, part) in claims.iter().zip(&parts) {
                prop_assert!(*part <= claim.max);
                prop_assert!(minimums > budget || *part >= claim.min, "a minimum is kept");
                if *part >= claim.want() {
                    continue;
                }
                for (other, has) in claims.iter().zip(&parts) {
                    prop_assert!(*has <= (part + 1).max(other.min), "{other:?} has {has} of {parts:?}");
                }
            }
        }
    }

    /// Pools that keep to what they are allowed, as the engine does, and nothing else.
    #[derive(Clone, Debug, Default)]
    struct Pool {
        claim: Claim,
        in_use: u32,
        waiting: u32,
        connecting: u32,
        closing: u32,
    }

    impl Pool {
        fn idle(&self) -> u32 {
            self.claim.total - self.in_use - self.connecting - self.closing
        }

        fn most(&self) -> u32 {
            self.claim.max.min(self.claim.allowed)
        }

        /// What the engine does by itself: serves, connects, and closes what is idle and surplus.
        fn settle(&mut self) {
            let open = self.in_use + self.idle();
            self.closing += open.saturating_sub(self.most()).min(self.idle());
            let served = self.waiting.min(self.idle());
            self.in_use += served;
            self.waiting -= served;
            let short = (self.waiting + self.claim.min.saturating_sub(self.claim.total))
                .saturating_sub(self.connecting);
            let connects = short.min(self.most().saturating_sub(self.claim.total));
            self.connecting += connects;
            self.claim.total += connects;
        }

        fn act(&mut self, what: u8) {
            let claim = &mut self.claim;
            match what % 8 {
                0 | 1 => self.waiting += 3,
                2 | 3 if self.in_use > 0 => self.in_use -= 1,
                4 | 5 if self.connecting > 0 => self.connecting -= 1,
                6 if self.closing > 0 => {
                    self.closing -= 1;
                    claim.total -= 1;
                }
                7 => claim.max = 1 + u32::from(what) % 12,
                _ => {}
            }
            claim.min = claim.min.min(claim.max);
            self.settle();
        }

        fn claim(&self) -> Claim {
            Claim {
                demand: self.in_use + self.waiting,
                staying: self.claim.total - self.closing,
                ..self.claim
            }
        }
    }

    fn pass(budget: u32, pools: &mut [Pool]) -> Vec<u32> {
        let claims: Vec<_> = pools.iter().map(Pool::claim).collect();
        let parts = divide(budget, &claims, 0);
        let lower: Vec<_> = pools
            .iter()
            .zip(&parts)
            .map(|(pool, part)| pool.claim.allowed.min(*part))
            .collect();
        for (pool, allowed) in pools.iter_mut().zip(lower) {
            pool.claim.allowed = allowed;
            pool.settle();
        }
        let claims: Vec<_> = pools.iter().map(Pool::claim).collect();
        for (pool, allowed) in pools.iter_mut().zip(step(budget, &claims, &parts, 0)) {
            pool.claim.allowed = allowed;
            pool.settle();
        }
        parts
    }

    proptest! {
        #[test]
        fn pools_never_have_more_than_the_budget_and_come_to_have_their_parts(
            mins in proptest::collection::vec((0..4_u32, 1..12_u32), 1..6),
            budget in 1..24_u32,
            moves in proptest::collection::vec((0..6_usize, any::<u8>(), any::<bool>()), 0..400),
        ) {
            let mut pools: Vec<_> = mins
                .iter()
                .map(|&(min, max)| Pool { claim: claim(min.min(max), max, 0), ..Pool::default() })
                .collect();
            for (at, what, look) in moves {
                let at = at % pools.len();
                pools[at].act(what);
                if look {
                    pass(budget, &mut pools);
                }
                let total: u32 = pools.iter().map(|pool| pool.claim.total).sum();
                prop_assert!(total <= budget, "{total} of {budget}: {pools:?}");
            }
            // Whatever has happened: callers who return what they have, and come back for more,
            // bring every pool to its part.
            for _ in 0..200 {
                for pool in &mut pools {
                    pool.in_use = pool.in_use.saturating_sub(1);
                    pool.connecting = 0;
                    pool.claim.total -= std::mem::take(&mut pool.closing);
                    pool.waiting = 30;
                    pool.settle();
                }
                pass(budget, &mut pools);
            }
            let parts = pass(budget, &mut pools);
            for (pool, part) in pools.iter().zip(parts) {
                prop_assert_eq!((pool.claim.allowed, pool.in_use + pool.connecting), (part, part));
            }
        }
    }
}
