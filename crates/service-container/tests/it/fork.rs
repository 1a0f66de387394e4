//! The same container, made differently for a test.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use service_container::{BuildProblem, Container, Lifetime, sync};

trait Clock: Send + Sync {
    fn now(&self) -> u64;
}
struct SystemClock;
impl Clock for SystemClock {
    fn now(&self) -> u64 {
        1
    }
}
struct FixedClock;
impl Clock for FixedClock {
    fn now(&self) -> u64 {
        42
    }
}
struct Stamp(u64);
struct Config(&'static str);
struct Client(String);

#[tokio::test]
async fn replacing_an_alias_reaches_everything_built_on_it() {
    let mut builder = Container::builder();
    builder
        .singleton(sync(|| SystemClock))
        .provides::<dyn Clock>(|it| it);
    builder.singleton(sync(|clock: Arc<dyn Clock>| Stamp(clock.now())));
    let container = builder.build().unwrap();
    assert_eq!(container.get::<Stamp>().await.unwrap().0, 1);

    let mut fork = container.fork();
    fork.replace_shared::<dyn Clock>(Arc::new(FixedClock));
    let fork = fork.build().unwrap();
    assert_eq!(fork.get::<Stamp>().await.unwrap().0, 42);
    assert_eq!(fork.get_all::<dyn Clock>().await.unwrap().len(), 1);
    assert!(
        fork.get::<SystemClock>().await.is_ok(),
        "only the alias went elsewhere"
    );
}

#[tokio::test]
async fn a_replaced_service_keeps_its_aliases_its_lifetime_and_its_end() {
    let ended = Arc::new(AtomicUsize::new(0));
    trait Named: Send + Sync {
        fn name(&self) -> String;
    }
    impl Named for Client {
        fn name(&self) -> String {
            self.0.clone()
        }
    }
    let mut builder = Container::builder();
    builder.value(Config("real"));
    let counter = Arc::clone(&ended);
    builder
        .scoped(sync(|config: Arc<Config>| Client(config.0.to_owned())))
        .provides::<dyn Named>(|it| it)
        .on_dispose(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            async {}
        });
    builder.named("x").singleton(sync(|| Stamp(1)));
    let container = builder.build().unwrap();

    let mut fork = container.fork();
    assert!(fork.contains::<dyn Named>() && fork.contains_named::<Stamp>("x"));
    assert!(!fork.contains::<Stamp>());
    // With dependencies of its own, as the one it replaces.
    fork.replace(sync(|config: Arc<Config>| {
        Client(format!("fake of {}", config.0))
    }));
    fork.named("x").replace(sync(|| Stamp(2)));
    let fork = fork.build().unwrap();
    let graph = fork.graph();
    assert_eq!(graph.services[1].lifetime, Lifetime::Scoped);
    let scope = fork.child("test").open().unwrap();
    assert_eq!(
        scope.get::<dyn Named>().await.unwrap().name(),
        "fake of real"
    );
    assert_eq!(scope.get_named::<Stamp>("x").await.unwrap().0, 2);
    scope.dispose().await.unwrap();
    assert_eq!(ended.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn values_stay_with_the_container_they_were_given_to() {
    let ended = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ended);
    let mut builder = Container::builder();
    builder.value(Config("shared")).on_dispose(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        async {}
    });
    let container = builder.build().unwrap();
    let fork = container.fork().build().unwrap();
    assert!(std::ptr::eq(
        fork.ready::<Config>().unwrap(),
        container.ready::<Config>().unwrap()
    ));
    fork.dispose().await.unwrap();
    assert_eq!(ended.load(Ordering::Relaxed), 0);
    container.dispose().await.unwrap();
    assert_eq!(ended.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_value_can_become_a_factory_and_a_factory_a_value() {
    let mut builder = Container::builder();
    builder.value(Config("given"));
    builder.singleton(sync(|config: Arc<Config>| Client(config.0.to_owned())));
    let container = builder.build().unwrap();

    let mut fork = container.fork();
    fork.replace(sync(|| Config("made")));
    let fork = fork.build().unwrap();
    assert!(fork.ready::<Config>().is_none());
    assert_eq!(fork.get::<Client>().await.unwrap().0, "made");

    let mut fork = container.fork();
    fork.replace_shared(Arc::new(Client("given".into())))
        .on_dispose(|_| async {});
    let fork = fork.build().unwrap();
    assert_eq!(fork.ready::<Client>().unwrap().0, "given");
    assert_eq!(fork.dispose().await.unwrap().services.len(), 1);
}

#[test]
fn replacing_nothing_is_a_problem() {
    let mut builder = Container::builder();
    builder.replace(sync(|| Stamp(1)));
    builder.replace_shared::<dyn Clock>(Arc::new(FixedClock));
    builder.named("x").replace_shared(Arc::new(Stamp(2)));
    let error = builder.build().unwrap_err();
    let names: Vec<_> = error
        .problems()
        .iter()
        .map(|problem| match problem {
            BuildProblem::NothingToReplace { service, .. } => service.short(),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(names, ["Stamp", "dyn Clock", "Stamp[x]"]);
}
