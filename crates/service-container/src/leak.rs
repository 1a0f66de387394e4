//! Scopes that were dropped instead of disposed of.

use std::sync::atomic::Ordering;

use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::dispose::{Deadline, after, plan};
use crate::inner::Inner;

/// What to do about a scope dropped while services in it should still have been disposed of.
///
/// Dropping cannot wait, so it cannot dispose. Whatever the policy, the scope's token is cancelled
/// and the leak is counted in [`Scope::leaked_scopes`](crate::Scope::leaked_scopes). A scope with
/// nothing to dispose of is not a leak.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum LeakPolicy {
    /// Panic, for tests. Falls back to `Warn` when the thread is panicking already.
    Panic,
    /// Warn, and dispose in the background. Falls back to `Warn` outside a tokio runtime.
    SpawnDispose,
    /// Log a warning with the services and the place where the scope was opened.
    #[default]
    Warn,
}

/// Called once for each scope, when nobody holds it any more.
pub(crate) fn scope_dropped(scope: &Inner) {
    let dropped = scope.ledger.close(|books, _| {
        (
            std::mem::take(&mut books.created),
            books.observed.iter().copied().collect::<Vec<_>>(),
        )
    });
    let Some((created, observed)) = dropped else {
        return;
    };
    scope.cancel();
    let plan = plan(scope, &created, &observed, scope.dispose_options);
    let services: Vec<_> = plan.pending().map(ToString::to_string).collect();
    if services.is_empty() {
        return;
    }
    scope
        .registry()
        .leaked_scopes
        .fetch_add(1, Ordering::Relaxed);
    let services = services.join(", ");
    let (name, opened_at) = (&scope.name, scope.opened_at);
    tracing::warn!(
        scope = %name,
        %opened_at,
        %services,
        "a scope was dropped without `dispose()`: its services were not disposed of"
    );
    match scope.registry().settings.on_leak {
        LeakPolicy::Panic if !std::thread::panicking() => {
            panic!(
                "scope `{name}` opened at {opened_at} was dropped without `dispose()`: {services}"
            );
        }
        LeakPolicy::SpawnDispose => {
            let runtime = scope.registry().settings.runtime.clone();
            if let Some(runtime) = runtime.or_else(|| Handle::try_current().ok()) {
                let name = name.clone();
                runtime.spawn(async move {
                    let deadline = after(Instant::now(), plan.options.deadline);
                    let deadline = Deadline::new(deadline, plan.options.grace);
                    for disposed in plan.run(&deadline).await {
                        if !disposed.outcome.is_clean() {
                            tracing::warn!(scope = %name, %disposed, "not disposed of cleanly");
                        }
                    }
                });
            }
        }
        LeakPolicy::Panic | LeakPolicy::Warn => {}
    }
}
