//! What befalls a database or a fleet.

use super::World;
use crate::workload::Act;

impl World<'_> {
    pub(super) fn act(&mut self, act: Act) {
        let now = self.now;
        match act {
            Act::Slow(times) => self.database.slow_down(times, now),
            Act::Down => {
                self.down = true;
                for pool in &mut self.pools {
                    pool.integrate(now);
                    pool.idle.clear();
                    pool.generation += 1;
                }
                self.connections = 0;
                self.recorder.sized(now, 0);
                for request in self.database.abort(now) {
                    self.gives_back(request);
                }
                (0..self.pools.len()).for_each(|pool| self.grow(pool));
            }
            Act::Up => self.down = false,
            Act::Deploy => {
                let old = self.pools.len();
                self.start_instances();
                (old..self.pools.len()).for_each(|pool| self.grow(pool));
            }
            Act::Retire => {
                for index in 0..self.first {
                    let pool = &mut self.pools[index];
                    pool.integrate(now);
                    pool.retired = true;
                    let idle = u32::try_from(pool.idle.len()).unwrap_or(u32::MAX);
                    pool.idle.clear();
                    self.connections -= idle;
                }
                self.recorder.sized(now, self.connections);
            }
        }
    }
}
