//! Random steps against a reference model, the invariants checked after each.

mod model;
mod world;

use self::world::World;

/// How many steps one run takes.
const STEPS: u64 = if cfg!(miri) { 1_000 } else { 1_200_000 };

/// Replays with `POOL_MODEL_SEED=n cargo test -p pool-core model -- --nocapture`.
#[test]
#[allow(
    clippy::print_stdout,
    reason = "the seed is what a failure is replayed by"
)]
fn the_engine_agrees_with_its_model_over_random_steps() {
    let seed = match std::env::var("POOL_MODEL_SEED") {
        Ok(seed) => seed.parse().expect("POOL_MODEL_SEED is a number"),
        Err(_) if cfg!(miri) => 1,
        Err(_) => fastrand::u64(..),
    };
    println!("POOL_MODEL_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut taken = 0;
    while taken < STEPS {
        // A world now and then begins anew, so that closing is tried often as well.
        let mut world = World::new(&mut rng);
        let length = rng.u64(50..2_000);
        for step in 0..length {
            world.step(&mut rng);
            if let Err(broken) = world.check() {
                panic!(
                    "seed {seed}, step {} (step {step} of its world): {broken}\n{}",
                    taken + step,
                    world.story()
                );
            }
        }
        taken += length;
        if let Err(broken) = world.quiesce() {
            panic!(
                "seed {seed}, after {taken} steps, at rest: {broken}\n{}",
                world.story()
            );
        }
    }
    println!("{taken} steps");
}
