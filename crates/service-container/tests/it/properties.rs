//! Random graphs of services that randomly fail, against a model that creates one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use service_container::{
    BoxError, Container, Creation, Dependencies, DisposeOptions, DisposeReport, Factory, Outcome,
    Preparation, ResolveErrorKind, Resolver, Scope,
};
use tokio::time::sleep;

use crate::support::{Log, Oops};

const SERVICES: usize = 10;

/// What one service of a random graph is and does.
#[derive(Clone, Debug)]
struct Plan {
    /// Needed to create it: each comes before it in the graph, if not among the registrations.
    needs: Vec<Need>,
    /// Used once it exists: any service there is.
    uses: Vec<usize>,
    creation: End,
    disposal: Option<End>,
    delay: u64,
}

#[derive(Clone, Copy, Debug)]
struct Need {
    service: usize,
    declared: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Well,
    Error,
    Panic,
    Never,
}

impl End {
    async fn reach(self) -> Result<(), BoxError> {
        match self {
            Self::Well => Ok(()),
            Self::Error => Err(Box::new(Oops("planned"))),
            Self::Panic => panic!("planned"),
            Self::Never => std::future::pending().await,
        }
    }
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        12 => Just(End::Well),
        1 => Just(End::Error),
        1 => Just(End::Panic),
        1 => Just(End::Never),
    ]
}

fn plan(index: usize) -> impl Strategy<Value = Plan> {
    let need =
        (0..index.max(1), any::<bool>()).prop_map(|(service, declared)| Need { service, declared });
    let needs = proptest::collection::vec(need, 0..if index == 0 { 1 } else { 4 });
    let uses = proptest::collection::vec(0..SERVICES, 0..3);
    (
        needs,
        uses,
        end(),
        proptest::option::weighted(0.8, end()),
        0..5_u64,
    )
        .prop_map(|(mut needs, uses, creation, disposal, delay)| {
            let mut seen = BTreeSet::new();
            needs.retain(|need| seen.insert(need.service));
            // Declared ones are the arguments, resolved first.
            needs.sort_by_key(|need| !need.declared);
            Plan {
                needs,
                uses,
                creation,
                disposal,
                delay,
            }
        })
}

#[derive(Clone, Debug)]
struct Case {
    plans: Vec<Plan>,
    /// The order in which the services are registered.
    registered: Vec<usize>,
    requests: Vec<usize>,
    scoped: bool,
}

fn case() -> impl Strategy<Value = Case> {
    let plans: Vec<_> = (0..SERVICES).map(plan).collect();
    let order = Just((0..SERVICES).collect::<Vec<_>>()).prop_shuffle();
    let requests = proptest::collection::vec(0..SERVICES, 1..8);
    (plans, order, requests, any::<bool>()).prop_map(|(plans, registered, requests, scoped)| Case {
        plans,
        registered,
        requests,
        scoped,
    })
}

fn name(index: usize) -> String {
    format!("s{index}")
}

fn number(service: &service_container::ServiceName) -> usize {
    service.name.as_ref().unwrap().as_str()[1..]
        .parse()
        .unwrap()
}

/// A service of the graph.
struct Node {
    resolver: Resolver,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    created: Arc<Mutex<Vec<usize>>>,
    attempts: Arc<Mutex<BTreeMap<usize, usize>>>,
    disposed: Log,
}

struct NodeFactory {
    index: usize,
    plan: Plan,
    seen: Seen,
}

impl Factory<()> for NodeFactory {
    type Service = Node;

    fn declare(&self, dependencies: &mut Dependencies) {
        for need in self.plan.needs.iter().filter(|need| need.declared) {
            dependencies.require_named::<Node>(name(need.service));
        }
        dependencies.opaque();
    }

    fn prepare(self: Arc<Self>, resolver: Resolver) -> Preparation<Node> {
        Box::pin(async move {
            for need in self.plan.needs.iter().filter(|need| need.declared) {
                resolver.get_named::<Node>(&name(need.service)).await?;
            }
            let creation: Creation<Node> = Box::pin(async move {
                for need in self.plan.needs.iter().filter(|need| !need.declared) {
                    resolver.get_named::<Node>(&name(need.service)).await?;
                }
                *self
                    .seen
                    .attempts
                    .lock()
                    .unwrap()
                    .entry(self.index)
                    .or_default() += 1;
                sleep(Duration::from_millis(self.plan.delay)).await;
                self.plan.creation.reach().await?;
                self.seen.created.lock().unwrap().push(self.index);
                Ok(Node { resolver })
            });
            Ok(creation)
        })
    }
}

fn build(case: &Case, seen: &Seen) -> Container {
    let mut builder = Container::builder();
    builder.create_timeout(Duration::from_secs(1));
    builder.dispose_options(DisposeOptions::default().service_timeout(Duration::from_secs(1)));
    for index in case.registered.iter().copied() {
        let plan = case.plans[index].clone();
        let disposal = plan.disposal;
        let factory = NodeFactory {
            index,
            plan,
            seen: seen.clone(),
        };
        let log = seen.disposed.clone();
        let dispose = move |_| {
            let log = log.clone();
            async move {
                log.add(index.to_string());
                disposal.unwrap().reach().await
            }
        };
        let named = builder.named(name(index));
        match (case.scoped, disposal) {
            (false, None) => drop(named.singleton(factory)),
            (false, Some(_)) => drop(named.singleton(factory).on_dispose(dispose)),
            (true, None) => drop(named.scoped(factory)),
            (true, Some(_)) => drop(named.scoped(factory).on_dispose(dispose)),
        }
    }
    builder.build().unwrap()
}

/// Creates like the container does, one request after the other.
#[derive(Default)]
struct Model {
    created: Vec<usize>,
    attempts: BTreeMap<usize, usize>,
}

impl Model {
    fn create(&mut self, plans: &[Plan], index: usize) -> bool {
        if self.created.contains(&index) {
            return true;
        }
        if !plans[index]
            .needs
            .iter()
            .all(|need| self.create(plans, need.service))
        {
            return false;
        }
        *self.attempts.entry(index).or_default() += 1;
        let well = plans[index].creation == End::Well;
        if well {
            self.created.push(index);
        }
        well
    }
}

/// Which can be reached from which, over `edges`.
fn reachable(edges: &BTreeSet<(usize, usize)>) -> BTreeSet<(usize, usize)> {
    let mut reachable = edges.clone();
    loop {
        let further: Vec<_> = reachable
            .iter()
            .flat_map(|(from, through)| {
                let onward = edges.range((*through, 0)..=(*through, SERVICES));
                onward.map(move |(_, to)| (*from, *to))
            })
            .filter(|edge| !reachable.contains(edge))
            .collect();
        if further.is_empty() {
            return reachable;
        }
        reachable.extend(further);
    }
}

/// What holds for every disposal, whatever came before.
fn check_report(
    case: &Case,
    report: &DisposeReport,
    created: &[usize],
    seen: &Seen,
    used: &BTreeSet<(usize, usize)>,
) -> Result<Vec<usize>, TestCaseError> {
    let order: Vec<usize> = report
        .services
        .iter()
        .map(|row| number(&row.service))
        .collect();
    // Every service created that has a disposer is in the report, once, and nothing else is.
    let expected: BTreeSet<_> = created
        .iter()
        .copied()
        .filter(|index| case.plans[*index].disposal.is_some())
        .collect();
    prop_assert_eq!(order.len(), expected.len());
    prop_assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), expected);
    for row in &report.services {
        let planned = case.plans[number(&row.service)].disposal.unwrap();
        let outcome = match &row.outcome {
            Outcome::Clean => End::Well,
            Outcome::Failed(error) => {
                prop_assert!(error.is::<Oops>());
                End::Error
            }
            Outcome::Panicked(message) => {
                prop_assert_eq!(message, "planned");
                End::Panic
            }
            Outcome::TimedOut => {
                prop_assert_eq!(row.elapsed, Duration::from_secs(1));
                End::Never
            }
            other => return Err(TestCaseError::fail(format!("{other}"))),
        };
        prop_assert_eq!(outcome, planned);
    }
    let all_well = order
        .iter()
        .all(|index| case.plans[*index].disposal == Some(End::Well));
    prop_assert_eq!(report.is_clean(), all_well);

    // A user goes before what it used, unless they used each other in a circle; what was needed to
    // create it goes after it in any case.
    let begun: Vec<usize> = seen
        .disposed
        .take()
        .iter()
        .map(|index| index.parse().unwrap())
        .collect();
    let position = |index: usize| begun.iter().position(|begun| *begun == index);
    let needed: BTreeSet<(usize, usize)> = created
        .iter()
        .flat_map(|user| {
            case.plans[*user]
                .needs
                .iter()
                .map(|need| (*user, need.service))
        })
        .collect();
    let edges: BTreeSet<_> = needed.union(used).copied().collect();
    let reach = reachable(&edges);
    for (user, used) in &edges {
        let circle = reach.contains(&(*used, *user));
        if let (Some(user_at), Some(used_at)) = (position(*user), position(*used))
            && user != used
            && (!circle || needed.contains(&(*user, *used)))
        {
            prop_assert!(user_at < used_at, "{user} used {used}: {begun:?}");
        }
    }
    Ok(begun)
}

fn run<F: Future<Output = Result<(), TestCaseError>>>(test: F) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(test)
}

async fn dispose(scope: &Scope, options: Option<DisposeOptions>) -> DisposeReport {
    let disposed = match options {
        Some(options) => scope.dispose_with(options).await,
        None => scope.dispose().await,
    };
    disposed.unwrap_or_else(service_container::DisposeError::into_report)
}

fn scope_of(case: &Case, container: &Container) -> Scope {
    if case.scoped {
        container.child("case").open().unwrap()
    } else {
        (**container).clone()
    }
}

fn quiet_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload().downcast_ref::<&str>() != Some(&"planned") {
                report(panic);
            }
        }));
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    /// One request after the other: exactly what the model says, in exactly its order.
    #[test]
    fn sequential_requests_follow_the_model(case in case()) {
        quiet_panics();
        run(async {
            let seen = Seen::default();
            let container = build(&case, &seen);
            let scope = scope_of(&case, &container);
            let mut model = Model::default();
            for index in case.requests.iter().copied() {
                let got = scope.get_named::<Node>(&name(index)).await;
                prop_assert_eq!(got.is_ok(), model.create(&case.plans, index));
                if let Err(error) = got {
                    // The way leads from what was asked for, need by need, to what failed.
                    let path: Vec<_> = error.path().iter().map(number).collect();
                    prop_assert_eq!(path[0], index);
                    for step in path.windows(2) {
                        let needs = &case.plans[step[0]].needs;
                        prop_assert!(needs.iter().any(|need| need.service == step[1]));
                    }
                    let last = *path.last().unwrap();
                    // What a factory resolves itself counts as its own time.
                    prop_assert!(
                        case.plans[last].creation != End::Well
                            || error.kind() == ResolveErrorKind::TimedOut
                    );
                }
                // What was given up may have begun something that is still waiting for its end.
                sleep(Duration::from_secs(2)).await;
            }
            prop_assert_eq!(&*seen.created.lock().unwrap(), &model.created);
            prop_assert_eq!(&*seen.attempts.lock().unwrap(), &model.attempts);

            let report = dispose(&scope, None).await;
            let begun = check_report(&case, &report, &model.created, &seen, &BTreeSet::new())?;
            // Nothing was used late, so it is exactly the other way round.
            let mut backwards = model.created.clone();
            backwards.reverse();
            backwards.retain(|index| case.plans[*index].disposal.is_some());
            prop_assert_eq!(begun, backwards);
            Ok(())
        })?;
    }

    /// Many requests at once, and uses after creation: each is created once, and the order of
    /// disposal respects who used whom.
    #[test]
    fn concurrent_requests_and_late_uses_keep_the_order(case in case(), together in 1_usize..5) {
        quiet_panics();
        run(async {
            let seen = Seen::default();
            let container = build(&case, &seen);
            let scope = scope_of(&case, &container);
            let callers: Vec<_> = case.requests.iter().map(|index| {
                let (scope, index) = (scope.clone(), *index);
                tokio::spawn(async move { scope.get_named::<Node>(&name(index)).await.is_ok() })
            }).collect();
            let mut got = Vec::new();
            for caller in callers {
                got.push(caller.await.unwrap());
            }
            // Whether it can be created does not depend on when it is asked for.
            for (index, got) in case.requests.iter().zip(&got) {
                prop_assert_eq!(*got, Model::default().create(&case.plans, *index));
            }
            let mut used = BTreeSet::new();
            for (index, plan) in case.plans.iter().enumerate() {
                let Some(node) = scope.ready_named::<Node>(&name(index)) else { continue };
                for other in plan.uses.iter().copied() {
                    if scope.ready_named::<Node>(&name(other)).is_some() {
                        node.resolver.get_named::<Node>(&name(other)).await.unwrap();
                        used.insert((index, other));
                    }
                }
            }
            let created = seen.created.lock().unwrap().clone();
            let distinct: BTreeSet<_> = created.iter().copied().collect();
            prop_assert_eq!(distinct.len(), created.len(), "each is created once");
            for index in &created {
                prop_assert_eq!(seen.attempts.lock().unwrap()[index], 1);
            }
            let options = DisposeOptions::default()
                .service_timeout(Duration::from_secs(1))
                .max_concurrent(NonZeroUsize::new(together).unwrap());
            let report = dispose(&scope, Some(options)).await;
            check_report(&case, &report, &created, &seen, &used)?;
            Ok(())
        })?;
    }
}
