//! The same twenty services in each container.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use futures_util::FutureExt as _;
use service_container::{Container, Scope, sync};
use shaku::{Component, HasComponent, Interface, module};

/// A service; `N` tells it from the others.
pub(crate) struct Service<const N: usize> {
    pub(crate) value: usize,
}

/// Something that resolves the service `N` and looks at it.
pub(crate) trait Subject: Sync {
    const NAME: &'static str;
    fn new() -> Self;
    fn resolve<const N: usize>(&self) -> impl Future<Output = usize>;

    /// Resolves it so often in a future, as a handler does, which is polled once and goes on until it
    /// has to wait: all subjects alike, whether they ever have to wait or not.
    fn repeat<const N: usize>(&self, ops: u32) {
        let all = async {
            for _ in 0..ops {
                black_box(black_box(self).resolve::<N>().await);
            }
        };
        all.now_or_never().expect("nothing has to wait");
    }
}

macro_rules! with_each {
    ($register:ident) => {
        $register!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19)
    };
}

/// What any container with a lookup by type does at the least.
pub(crate) struct Floor(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl Subject for Floor {
    const NAME: &'static str = "hashmap";

    fn new() -> Self {
        let mut services: HashMap<TypeId, Arc<dyn Any + Send + Sync>> = HashMap::new();
        macro_rules! register {
            ($($n:literal)*) => {$(
                services.insert(TypeId::of::<Service<$n>>(), Arc::new(Service::<$n> { value: $n }));
            )*};
        }
        with_each!(register);
        Self(services)
    }

    async fn resolve<const N: usize>(&self) -> usize {
        let service = Arc::clone(&self.0[&TypeId::of::<Service<N>>()]);
        let service: Arc<Service<N>> = service.downcast().expect("its own type");
        service.value
    }
}

/// What counting costs, without any look for a service: an `Arc` in the hand, up and down.
pub(crate) struct Counted(Arc<Service<0>>, Arc<Service<1>>);

impl Subject for Counted {
    const NAME: &'static str = "arc-in-hand";

    fn new() -> Self {
        Self(
            Arc::new(Service { value: 0 }),
            Arc::new(Service { value: 1 }),
        )
    }

    async fn resolve<const N: usize>(&self) -> usize {
        if N == 0 {
            Arc::clone(&self.0).value
        } else {
            Arc::clone(&self.1).value
        }
    }
}

/// What a checked look at something erased costs, without any look for a service: `Any` in the hand,
/// asked whether it is what is wanted. Whoever keeps services of all types without `unsafe` does it.
pub(crate) struct Erased([Box<dyn Any + Send + Sync>; 2]);

impl Subject for Erased {
    const NAME: &'static str = "any-in-hand";

    fn new() -> Self {
        Self([
            Box::new(Arc::new(Service::<0> { value: 0 })),
            Box::new(Arc::new(Service::<1> { value: 1 })),
        ])
    }

    async fn resolve<const N: usize>(&self) -> usize {
        let service = self.0[N].downcast_ref::<Arc<Service<N>>>();
        service.expect("its own type").value
    }
}

/// Both at once: what a share in something erased costs, without any look for a service. A container
/// that keeps services of all types without `unsafe` gives out shares for hardly less.
pub(crate) struct ErasedShare(Erased);

impl Subject for ErasedShare {
    const NAME: &'static str = "any-arc-in-hand";

    fn new() -> Self {
        Self(Erased::new())
    }

    async fn resolve<const N: usize>(&self) -> usize {
        let service = self.0.0[N].downcast_ref::<Arc<Service<N>>>();
        Arc::clone(service.expect("its own type")).value
    }
}

fn container() -> Container {
    let mut builder = Container::builder();
    macro_rules! register {
        ($($n:literal)*) => {$(
            builder.singleton(sync(|| Service::<$n> { value: $n }));
        )*};
    }
    with_each!(register);
    let container = builder.build().expect("nothing is missing");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let warm = runtime.block_on(container.warm_up());
    warm.expect("nothing can fail");
    container
}

/// A borrow from the container.
pub(crate) struct Borrowed(Container);

impl Subject for Borrowed {
    const NAME: &'static str = "service-container/borrowed";

    fn new() -> Self {
        Self(container())
    }

    async fn resolve<const N: usize>(&self) -> usize {
        self.0.ready::<Service<N>>().expect("it is there").value
    }
}

/// The same from the scope of one request, as a handler has it.
pub(crate) struct BorrowedInScope(Scope);

impl Subject for BorrowedInScope {
    const NAME: &'static str = "service-container/borrowed-in-scope";

    fn new() -> Self {
        let scope = container().child("request").open();
        Self(scope.expect("the container is open"))
    }

    async fn resolve<const N: usize>(&self) -> usize {
        self.0.ready::<Service<N>>().expect("it is there").value
    }
}

/// A share in what is there, through the way that also creates.
pub(crate) struct Shared(Container);

impl Subject for Shared {
    const NAME: &'static str = "service-container/arc";

    fn new() -> Self {
        Self(container())
    }

    async fn resolve<const N: usize>(&self) -> usize {
        let got = self.0.get::<Service<N>>().await;
        got.expect("it is open").value
    }
}

/// The same where nobody would wait for a creation: no future, as peers have none.
pub(crate) struct ReadyShare(Container);

impl Subject for ReadyShare {
    const NAME: &'static str = "service-container/ready-arc";

    fn new() -> Self {
        Self(container())
    }

    async fn resolve<const N: usize>(&self) -> usize {
        let service = self.0.ready_arc::<Service<N>>();
        service.expect("it is there").value
    }
}

pub(crate) struct DependencyInjector(dependency_injector::Container);

impl Subject for DependencyInjector {
    const NAME: &'static str = "dependency-injector";

    fn new() -> Self {
        let container = dependency_injector::Container::new();
        macro_rules! register {
            ($($n:literal)*) => {$(
                container.singleton(Service::<$n> { value: $n });
            )*};
        }
        with_each!(register);
        Self(container)
    }

    async fn resolve<const N: usize>(&self) -> usize {
        self.0.get::<Service<N>>().expect("it is there").value
    }
}

/// shaku resolves interfaces that a module lists at compile time; two of them are enough.
pub(crate) struct Shaku(Module);

trait First: Interface {
    fn value(&self) -> usize;
}

trait Second: Interface {
    fn value(&self) -> usize;
}

#[derive(Component)]
#[shaku(interface = First)]
struct FirstService {
    #[shaku(default = 0)]
    value: usize,
}

#[derive(Component)]
#[shaku(interface = Second)]
struct SecondService {
    #[shaku(default = 1)]
    value: usize,
}

impl First for FirstService {
    fn value(&self) -> usize {
        self.value
    }
}

impl Second for SecondService {
    fn value(&self) -> usize {
        self.value
    }
}

module! {
    Module {
        components = [FirstService, SecondService],
        providers = []
    }
}

impl Subject for Shaku {
    const NAME: &'static str = "shaku";

    fn new() -> Self {
        Self(Module::builder().build())
    }

    async fn resolve<const N: usize>(&self) -> usize {
        if N == 0 {
            let first: Arc<dyn First> = self.0.resolve();
            first.value()
        } else {
            let second: Arc<dyn Second> = self.0.resolve();
            second.value()
        }
    }
}
