//! The task that looks after a pool while time passes.

use std::sync::Arc;
use std::time::Duration;

use crate::ConnectionManager;
use crate::clock::between;
use crate::engine::Gate;
use crate::shared::Shared;

/// However far away the next thing to do is, upkeep looks this often.
const AT_LEAST_EVERY: Duration = Duration::from_secs(60);

/// Upkeep never runs more often than this: it goes through all idle connections.
const AT_MOST_EVERY: Duration = Duration::from_millis(1);

impl<M: ConnectionManager> Shared<M> {
    pub(crate) fn start_upkeep(self: &Arc<Self>) {
        self.tasks.spawn_on(upkeep(Arc::clone(self)), &self.runtime);
    }
}

/// Keeps the pool's memory until the last handle closes the pool, which kicks.
async fn upkeep<M: ConnectionManager>(shared: Arc<Shared<M>>) {
    loop {
        let next = shared.step(|state, now, fx| {
            (state.gate != Gate::Closed).then(|| between(now, state.upkeep(now, fx)))
        });
        let Some(next) = next else { return };
        let wait = next.clamp(AT_MOST_EVERY, AT_LEAST_EVERY);
        tokio::select! {
            () = shared.kick.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}
