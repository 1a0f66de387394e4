//! Every public type and every future can move between tasks.

use std::sync::Arc;
use std::time::Duration;

use service_container::*;

const fn send_sync<T: Send + Sync>() {}
const fn unpin<T: Unpin>() {}
fn send<T: Send>(_: T) {}

struct Key;
impl NameKey for Key {
    const NAME: &'static str = "key";
}

#[test]
fn types_are_send_and_sync() {
    send_sync::<BuildError>();
    send_sync::<BuildProblem>();
    send_sync::<Container>();
    send_sync::<ContainerBuilder>();
    send_sync::<Dependencies>();
    send_sync::<DependencyKind>();
    send_sync::<DisposeError>();
    send_sync::<DisposeOptions>();
    send_sync::<DisposeReport>();
    send_sync::<Disposed>();
    send_sync::<Graph>();
    send_sync::<GraphEdge>();
    send_sync::<GraphService>();
    send_sync::<HealthReport>();
    send_sync::<HealthStatus>();
    send_sync::<InfallibleFactory<fn()>>();
    send_sync::<Lazy<dyn Service>>();
    send_sync::<LeakPolicy>();
    send_sync::<Lifetime>();
    send_sync::<Name>();
    send_sync::<Named<dyn Service, Key>>();
    send_sync::<NamedBuilder<'static>>();
    send_sync::<OpenError>();
    send_sync::<Outcome>();
    send_sync::<Owned<dyn Service>>();
    send_sync::<Registration<'static, dyn Service, SingletonLifetime>>();
    send_sync::<ResolveError>();
    send_sync::<ResolveErrorKind>();
    send_sync::<Resolver>();
    send_sync::<Scope>();
    send_sync::<ScopeBuilder>();
    send_sync::<ScopeError<u8>>();
    send_sync::<ScopeInfo>();
    send_sync::<ServiceHealth>();
    send_sync::<ServiceName>();
    send_sync::<State>();
    send_sync::<SyncFactory<fn()>>();
    send_sync::<WarmUpError>();
    send_sync::<WarmUpReport>();
    send_sync::<Warmed>();
    unpin::<Container>();
    unpin::<Scope>();
    unpin::<Resolver>();
}

#[expect(dead_code, reason = "that it compiles is the test")]
fn futures_are_send(container: &Container, resolver: &Resolver, lazy: &Lazy<u8>, owned: Owned<u8>) {
    send(container.get::<dyn Service>());
    send(container.get_named::<dyn Service>("name"));
    send(container.get_all::<dyn Service>());
    send(container.owned::<dyn Service>());
    send(container.dispose());
    send(container.dispose_with(DisposeOptions::default()));
    send(container.health(Duration::ZERO));
    send(container.warm_up());
    send(container.with_scope(
        "name",
        |scope| async move { scope.get::<u8>().await.map(drop) },
    ));
    send(resolver.get::<dyn Service>());
    send(resolver.get_named::<dyn Service>("name"));
    send(resolver.get_all::<dyn Service>());
    send(lazy.get());
    send(owned.dispose());
    send(<Arc<dyn Service> as Inject>::inject(resolver));
    send(<Option<Arc<dyn Service>> as Inject>::inject(resolver));
    send(<Vec<Arc<dyn Service>> as Inject>::inject(resolver));
    send(<Named<dyn Service, Key> as Inject>::inject(resolver));
}
