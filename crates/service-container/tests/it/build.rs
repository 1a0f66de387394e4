//! What `build()` reports.

use std::sync::Arc;

use service_container::{
    BuildProblem, Container, ContainerBuilder, Dependencies, Inject, Lazy, NameKey, Named,
    ResolveError, Resolver, sync,
};

struct A;
struct B;
struct C;
struct D;
trait Greet: Send + Sync {}
impl Greet for A {}
impl Greet for B {}

struct Billing;
impl NameKey for Billing {
    const NAME: &'static str = "billing";
}

/// Each problem as it reads, without the place it names.
#[track_caller]
fn check(register: impl FnOnce(&mut ContainerBuilder), expected: &[&str]) {
    let mut builder = Container::builder();
    register(&mut builder);
    let problems = match builder.build() {
        Ok(_) => Vec::new(),
        Err(error) => error.problems().iter().map(shown).collect(),
    };
    assert_eq!(problems, expected);
}

fn shown(problem: &BuildProblem) -> String {
    let text = problem.to_string().replace("it::build::", "");
    let place = text
        .find(" (crates")
        .or_else(|| text.find(" is registered at"));
    text[..place.unwrap_or(text.len())].to_owned()
}

#[test]
fn missing_dependencies_name_who_needs_them_and_what_there_is() {
    check(
        |builder| {
            builder.singleton(sync(|_: Arc<B>, _: Arc<dyn Greet>| A));
        },
        &[
            "missing: A needs B, which nothing provides",
            "missing: A needs dyn Greet, which nothing provides",
        ],
    );
    check(
        |builder| {
            builder.named("orders").value(B);
            builder.named("billing").value(B);
            builder.singleton(sync(|_: Arc<B>| A));
        },
        &["missing: A needs B, which nothing provides; names it has: billing, orders"],
    );
    check(
        |builder| {
            builder.named("orders").value(B);
            builder.singleton(sync(|_: Named<B, Billing>| A));
        },
        &["missing: A needs B[billing], which nothing provides; names it has: orders"],
    );
    check(
        |builder| {
            builder.singleton(sync(|_: Lazy<B>| A));
        },
        &["missing: A needs B, which nothing provides"],
    );
}

#[test]
fn what_may_be_absent_is_not_missing() {
    check(
        |builder| {
            builder.singleton(sync(
                |_: Option<Arc<B>>, _: Option<Named<B, Billing>>, _: Vec<Arc<dyn Greet>>| A,
            ));
        },
        &[],
    );
}

#[test]
fn what_a_scope_is_given_is_not_missing() {
    check(
        |builder| {
            builder.scope_input::<B>();
            builder.scoped(sync(|_: Arc<B>| A));
        },
        &[],
    );
}

#[test]
fn one_of_many_without_a_name_is_ambiguous_and_all_of_them_are_not() {
    let register = |builder: &mut ContainerBuilder| {
        builder.value(A).provides::<dyn Greet>(|it| it);
        builder.value(B).provides::<dyn Greet>(|it| it);
    };
    check(
        |builder| {
            register(builder);
            builder.singleton(sync(|_: Arc<dyn Greet>| C));
        },
        &["ambiguous: C needs dyn Greet, provided by A, B"],
    );
    check(
        |builder| {
            register(builder);
            builder.singleton(sync(|_: Vec<Arc<dyn Greet>>| C));
        },
        &[],
    );
}

#[test]
fn registering_twice_is_a_problem_of_its_own() {
    check(
        |builder| {
            builder.value(A);
            builder.singleton(sync(|| A));
            builder.named("x").value(B);
            builder.named("x").value(B);
            builder.named("y").value(B);
            builder.singleton(sync(|_: Arc<A>| C));
        },
        &["duplicate: A", "duplicate: B[x]"],
    );
}

#[test]
fn every_cycle_is_reported_whatever_it_goes_through() {
    check(
        |builder| {
            builder.singleton(sync(|_: Arc<A>| A));
            builder.singleton(sync(|_: Arc<dyn Greet>| C));
            builder
                .transient(sync(|_: Option<Arc<C>>| B))
                .provides::<dyn Greet>(|it| it);
            builder.singleton(sync(|_: Vec<Arc<D>>| D));
        },
        &["cycle: A -> A", "cycle: C -> B -> C", "cycle: D -> D"],
    );
}

#[test]
fn two_cycles_through_one_service_are_two_problems() {
    check(
        |builder| {
            builder.singleton(sync(|_: Arc<B>, _: Arc<C>| A));
            builder.singleton(sync(|_: Arc<A>| B));
            builder.singleton(sync(|_: Arc<A>| C));
        },
        &["cycle: A -> B -> A", "cycle: A -> C -> A"],
    );
}

#[test]
fn a_lazy_dependency_breaks_a_cycle() {
    check(
        |builder| {
            builder.singleton(sync(|_: Lazy<B>| A));
            builder.singleton(sync(|_: Arc<A>| B));
        },
        &[],
    );
}

#[test]
fn every_problem_is_in_one_error_with_its_place() {
    struct Config;
    let mut builder = Container::builder();
    builder.name("shop");
    builder.scoped(sync(|| D));
    builder.singleton(sync(|_: Arc<Config>, _: Arc<B>, _: Arc<D>| A));
    builder.singleton(sync(|_: Arc<A>| B));
    builder.replace(sync(|| C));
    let line = line!() - 1;
    let error = builder.build().unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("cannot build container `shop`: 4 problems\n"),
        "{text}"
    );
    for part in [
        "nothing to replace: it::build::C is not registered",
        "missing: it::build::A needs it::build::every_problem_is_in_one_error_with_its_place::Config",
        "cycle: it::build::A -> it::build::B -> it::build::A",
        "captive: a singleton would keep a scoped service: it::build::A -> it::build::D",
        &format!("{}:{line}:", file!()),
    ] {
        assert!(text.contains(part), "`{part}` not in {text}");
    }
    assert_eq!(error.problems().len(), 4);
}

#[tokio::test]
async fn a_group_of_dependencies_is_checked_like_its_members() {
    struct Common {
        _a: Arc<A>,
    }
    impl Inject for Common {
        fn declare(dependencies: &mut Dependencies) {
            dependencies
                .require::<A>()
                .optional_named::<B>("x")
                .lazy::<C>()
                .all::<D>();
        }

        async fn inject(resolver: &Resolver) -> Result<Self, ResolveError> {
            Ok(Self {
                _a: resolver.get().await?,
            })
        }
    }
    check(
        |builder| {
            builder.singleton(sync(|_: Common| D));
        },
        &[
            "missing: D needs A, which nothing provides",
            "missing: D needs C, which nothing provides",
            "cycle: D -> D",
        ],
    );
}

#[tokio::test]
async fn twelve_arguments_are_resolved_from_left_to_right() {
    struct Many;
    let mut builder = Container::builder();
    builder.value(1_u8).on_dispose(|_| async {});
    builder.value(1_u16);
    builder.value(1_u32);
    builder.value(1_u64);
    builder.singleton(sync(
        |_: Arc<u8>,
         _: Arc<u16>,
         _: Arc<u32>,
         _: Arc<u64>,
         _: Option<Arc<i8>>,
         _: Option<Arc<i16>>,
         _: Vec<Arc<i32>>,
         _: Lazy<u8>,
         _: Resolver,
         _: tokio_util::sync::CancellationToken,
         _: service_container::ScopeInfo,
         _: Option<Arc<i64>>| Many,
    ));
    let container = builder.build().unwrap();
    container.get::<Many>().await.unwrap();
    container.dispose().await.unwrap();
}
