//! The task that looks after a pool while time passes.

use std::sync::Arc;
use std::time::Duration;

use crate::ConnectionManager;
use crate::clock::between;
use crate::engine::Gate;
use crate::shared::Shared;

/// However far away the next thing to do is, upkeep looks this often.
const AT_LEAST_EVERY: Duration = Duration::from_secs(60);

/// Upkeep goes through all idle connections, so time alone does not make it run more often than
/// this; a step that needs it sooner kicks it.
const AT_MOST_EVERY: Duration = Duration::from_millis(1);

impl<M: ConnectionManager> Shared<M> {
    pub(crate) fn start_upkeep(self: &Arc<Self>) {
        self.tasks
            .spawn_on(upkeep(CloseOnDrop(Arc::clone(self))), &self.runtime);
    }
}

/// Keeps the pool's memory until the last handle closes the pool, which kicks.
async fn upkeep<M: ConnectionManager>(pool: CloseOnDrop<M>) {
    let shared = &pool.0;
    loop {
        let timer = shared.timer();
        let next = shared.step(|state, now, fx| {
            if state.gate == Gate::Closed {
                return None;
            }
            let deadline = between(timer, state.expire_all(timer, now, fx));
            Some(between(now, state.upkeep(now, fx)).min(deadline))
        });
        let Some(next) = next else { return };
        let wait = next.clamp(AT_MOST_EVERY, AT_LEAST_EVERY);
        tokio::select! {
            () = shared.kick.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

struct CloseOnDrop<M: ConnectionManager>(Arc<Shared<M>>);

impl<M: ConnectionManager> Drop for CloseOnDrop<M> {
    fn drop(&mut self) {
        self.0.begin_close();
    }
}
