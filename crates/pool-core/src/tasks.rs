//! The tasks of a pool: opening, checking, cleaning and closing connections.
//!
//! Each task owns what it works on through a guard whose drop puts the counts right, so that a
//! panic in a manager or the end of the runtime never loses a place in the pool.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;

use crate::clock::between;
use crate::engine::{CloseReason, ClosedSlot, ConnectFailure, ConnectOrder, Landing, Slot, Task};
use crate::error::SharedError;
use crate::shared::{Shared, info};
use crate::{ConnectFault, ConnectionManager, Liveness};

impl<M: ConnectionManager> Shared<M> {
    /// Starts a task of the pool on the pool's runtime.
    pub(crate) fn start(self: &Arc<Self>, task: Task<M::Connection>) {
        let shared = Arc::clone(self);
        match task {
            Task::Close { slot, reason } => {
                let closing = Closing::new(shared, &slot, reason);
                self.tasks.spawn_on(close(closing, slot), &self.runtime);
            }
            Task::Connect(order) => {
                self.tasks
                    .spawn_on(connect(Connecting::new(shared, order)), &self.runtime);
            }
            Task::Recycle(slot) => {
                let work = Working::new(shared, slot);
                self.tasks.spawn_on(recycle(work), &self.runtime);
            }
            Task::Validate(slot) => {
                let work = Working::new(shared, slot);
                self.tasks.spawn_on(validate(work), &self.runtime);
            }
        }
    }
}

async fn connect<M: ConnectionManager>(mut connecting: Connecting<M>) {
    let shared = Arc::clone(&connecting.shared);
    let began = shared.now();
    let id = connecting.order.as_ref().map_or(0, |order| order.id);
    let attempt = async {
        let mut connection = shared.manager.connect().await.map_err(|error| Failed {
            fault: shared.manager.classify(&error),
            code: shared.manager.error_code(&error),
            error: Arc::new(error),
        })?;
        if let Some(hook) = &shared.hooks.after_connect {
            let info = crate::hooks::ConnectionInfo {
                id,
                age: Duration::ZERO,
                idle: Duration::ZERO,
            };
            hook(&mut connection, info)
                .await
                .map_err(|error| Failed::passing("hook", error))?;
        }
        Ok(connection)
    };
    let within = shared.tuned.lock().connect_timeout;
    let outcome = match bounded("connect", within, attempt).await {
        Ok(outcome) => outcome,
        Err(failed) => Err(Failed::passing(failed.code(), Arc::new(failed))),
    };
    match outcome {
        Ok(connection) => {
            let took = shared.now().saturating_sub(began);
            connecting.landed(connection, took);
        }
        Err(failed) => connecting.failed(failed),
    }
}

/// An attempt to connect that came to nothing.
struct Failed {
    fault: ConnectFault,
    code: Option<String>,
    error: SharedError,
}

impl Failed {
    fn passing(code: &str, error: SharedError) -> Self {
        Self {
            fault: ConnectFault::Transient,
            code: Some(code.to_owned()),
            error,
        }
    }
}

async fn validate<M: ConnectionManager>(mut work: Working<M>) {
    let shared = Arc::clone(&work.shared);
    let slot = work
        .slot
        .as_mut()
        .expect("a task that starts has its connection");
    let hook = shared
        .hooks
        .before_acquire
        .as_ref()
        .filter(|_| !slot.own_check);
    let due = match shared.settings.liveness {
        Liveness::Always => true,
        Liveness::IdleFor(window) => between(slot.proven, shared.now()) >= window,
        Liveness::Never => false,
    };
    let check = async {
        // Without a hook a check is always the manager's; a hook comes after it where it is due.
        if hook.is_none() || due {
            let checked = shared.manager.validate(&mut slot.connection).await;
            checked.map_err(|error| (CloseReason::Invalid, error.to_string()))?;
        }
        if let Some(hook) = hook {
            let info = info(slot, shared.now());
            let allowed = hook(&mut slot.connection, info).await;
            allowed.map_err(|error| (CloseReason::Refused, error.to_string()))?;
        }
        Ok(())
    };
    let within = shared.tuned.lock().validate_timeout;
    match bounded("validate", within, check).await {
        Ok(Ok(())) => work.finished(|state, slot, now, fx| state.validated(slot, now, fx)),
        Ok(Err((reason, error))) => work.failed(reason, error),
        Err(failed) => work.failed(CloseReason::Invalid, failed.to_string()),
    }
}

async fn recycle<M: ConnectionManager>(mut work: Working<M>) {
    let shared = Arc::clone(&work.shared);
    let slot = work
        .slot
        .as_mut()
        .expect("a task that starts has its connection");
    let clean = shared.manager.recycle(&mut slot.connection);
    let within = shared.tuned.lock().recycle_timeout;
    match bounded("recycle", within, clean).await {
        Ok(Ok(())) => work.finished(|state, slot, now, fx| state.recycled(slot, now, fx)),
        Ok(Err(error)) => work.failed(CloseReason::Broken, error.to_string()),
        Err(failed) => work.failed(CloseReason::Broken, failed.to_string()),
    }
}

async fn close<M: ConnectionManager>(mut closing: Closing<M>, slot: Box<Slot<M::Connection>>) {
    let shared = Arc::clone(&closing.shared);
    let goodbye = shared.manager.close(slot.connection);
    let within = shared.tuned.lock().close_timeout;
    let outcome = bounded("close", within, goodbye).await;
    closing.timed_out = matches!(outcome, Err(Unfinished::TimedOut { .. }));
    closing.done = true;
}

/// A step that did not come to its end.
#[derive(Debug, thiserror::Error)]
enum Unfinished {
    #[error("{step} panicked")]
    Panicked { step: &'static str },
    #[error("{step} timed out after {after:?}")]
    TimedOut { step: &'static str, after: Duration },
}

impl Unfinished {
    const fn code(&self) -> &'static str {
        match self {
            Self::Panicked { .. } => "panic",
            Self::TimedOut { .. } => "timeout",
        }
    }
}

/// Runs a manager's future under a deadline and behind a wall against panics.
async fn bounded<T>(
    step: &'static str,
    after: Duration,
    future: impl Future<Output = T> + Send,
) -> Result<T, Unfinished> {
    match tokio::time::timeout(after, AssertUnwindSafe(future).catch_unwind()).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(_panic)) => Err(Unfinished::Panicked { step }),
        Err(_elapsed) => Err(Unfinished::TimedOut { step, after }),
    }
}

/// A connect under way. Dropped without an outcome, it has failed.
struct Connecting<M: ConnectionManager> {
    shared: Arc<Shared<M>>,
    order: Option<ConnectOrder>,
}

impl<M: ConnectionManager> Connecting<M> {
    const fn new(shared: Arc<Shared<M>>, order: ConnectOrder) -> Self {
        Self {
            shared,
            order: Some(order),
        }
    }

    fn landed(&mut self, connection: M::Connection, took: u64) {
        if let Some(order) = self.order.take() {
            let landing = Landing {
                order,
                connection,
                took,
            };
            self.shared
                .step(|state, now, fx| state.landed(landing, now, fx));
        }
    }

    fn failed(&mut self, failed: Failed) {
        let Failed { fault, code, error } = failed;
        // What it says is read here, outside the lock and while the order is still kept: the code
        // is the driver's.
        let mut failure = ConnectFailure::new(error, 0, fault).with_code(code);
        if let Some(order) = self.order.take() {
            self.shared.step(|state, now, fx| {
                failure.at = now;
                state.connect_failed(order, failure, now, fx);
            });
        }
    }
}

impl<M: ConnectionManager> Drop for Connecting<M> {
    fn drop(&mut self) {
        if self.order.is_some() {
            self.shared.abandon();
            let error = Arc::new(Abandoned { step: "connect" });
            self.failed(Failed::passing("abandoned", error));
        }
    }
}

/// A connection with a task that checks or cleans it. Dropped without an outcome, it is closed.
struct Working<M: ConnectionManager> {
    shared: Arc<Shared<M>>,
    slot: Option<Box<Slot<M::Connection>>>,
}

impl<M: ConnectionManager> Working<M> {
    const fn new(shared: Arc<Shared<M>>, slot: Box<Slot<M::Connection>>) -> Self {
        Self {
            shared,
            slot: Some(slot),
        }
    }

    fn finished(
        &mut self,
        step: impl FnOnce(
            &mut crate::engine::State<M::Connection>,
            Box<Slot<M::Connection>>,
            u64,
            &mut crate::engine::Effects<M::Connection>,
        ),
    ) {
        if let Some(slot) = self.slot.take() {
            self.shared
                .step(|state, now, fx| step(state, slot, now, fx));
        }
    }

    fn failed(&mut self, reason: CloseReason, error: String) {
        self.finished(|state, slot, now, fx| state.turned_bad(slot, reason, error, now, fx));
    }
}

impl<M: ConnectionManager> Drop for Working<M> {
    fn drop(&mut self) {
        if self.slot.is_some() {
            self.shared.abandon();
            self.failed(CloseReason::Broken, Abandoned { step: "check" }.to_string());
        }
    }
}

/// A connection on its way out. Its drop is the end of it.
struct Closing<M: ConnectionManager> {
    shared: Arc<Shared<M>>,
    slot: ClosedSlot,
    timed_out: bool,
    done: bool,
}

impl<M: ConnectionManager> Closing<M> {
    const fn new(shared: Arc<Shared<M>>, slot: &Slot<M::Connection>, reason: CloseReason) -> Self {
        let slot = ClosedSlot {
            row: slot.row,
            id: slot.id,
            reason,
        };
        Self {
            shared,
            slot,
            timed_out: false,
            done: false,
        }
    }
}

impl<M: ConnectionManager> Drop for Closing<M> {
    fn drop(&mut self) {
        if !self.done {
            self.shared.abandon();
        }
        let (slot, timed_out) = (self.slot, self.timed_out);
        self.shared
            .step(|state, now, fx| state.closed(slot, timed_out, now, fx));
    }
}

/// The runtime ended before the task did.
#[derive(Debug, thiserror::Error)]
#[error("{step} was abandoned because its runtime ended")]
struct Abandoned {
    step: &'static str,
}
