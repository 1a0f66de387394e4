//! What `build()` checks, on declarations alone.

use std::collections::{BTreeSet, HashMap};

use crate::dependencies::{Dependency, DependencyKind};
use crate::error::BuildProblem;
use crate::registry::{Lookup, Registry, ServiceId};
use crate::{Lifetime, ServiceName};

/// Adds every problem of `registry` to `problems`.
pub(crate) fn check(registry: &Registry, problems: &mut Vec<BuildProblem>) {
    duplicates(registry, problems);
    unanswered(registry, problems);
    cycles(registry, problems);
    captives(registry, problems);
}

/// The services a dependency leads to: none, one, or as many as there are for `All`.
pub(crate) fn providers(registry: &Registry, dependency: &Dependency) -> Vec<ServiceId> {
    if dependency.kind == DependencyKind::All {
        let all = registry.all(dependency.key.type_id).iter();
        return all.map(|target| target.service).collect();
    }
    match registry.lookup_key(&dependency.key) {
        Lookup::Found(target) => vec![target.service],
        Lookup::Ambiguous(_) | Lookup::Missing => Vec::new(),
    }
}

/// The services that must exist before this one, not through others.
pub(crate) fn eager(registry: &Registry, service: ServiceId) -> Vec<ServiceId> {
    let declared = registry.service(service).dependencies.declared.iter();
    let mut eager = Vec::new();
    for dependency in declared.filter(|dependency| dependency.kind != DependencyKind::Lazy) {
        for provider in providers(registry, dependency) {
            if !eager.contains(&provider) {
                eager.push(provider);
            }
        }
    }
    eager
}

fn duplicates(registry: &Registry, problems: &mut Vec<BuildProblem>) {
    let mut seen = HashMap::new();
    for registered in &registry.services {
        // An alias may be shared by several services without a name: whoever wants one of them
        // without choosing is told that it is ambiguous. A name is a choice, so it must be clear.
        let own = registered.views.iter().take(1);
        let aliases = registered
            .views
            .iter()
            .skip(1)
            .filter(|view| view.key.name.is_some());
        for view in own.chain(aliases) {
            if let Some(first) = seen.insert(&view.key, registered.location) {
                let service = ServiceName {
                    type_name: view.type_name,
                    name: view.key.name.clone(),
                };
                let second = registered.location;
                problems.push(BuildProblem::Duplicate {
                    service,
                    first,
                    second,
                });
            }
        }
    }
}

fn unanswered(registry: &Registry, problems: &mut Vec<BuildProblem>) {
    for registered in &registry.services {
        for dependency in &registered.dependencies.declared {
            if dependency.kind == DependencyKind::All {
                continue;
            }
            let service = registered.name.clone();
            let wanted = dependency.service.clone();
            let location = registered.location;
            match registry.lookup_key(&dependency.key) {
                Lookup::Found(_) => {}
                Lookup::Ambiguous(providers) => {
                    // One type registered twice is reported as that.
                    let twice = providers.windows(2).all(|pair| pair[0] == pair[1]);
                    if !twice {
                        problems.push(BuildProblem::Ambiguous {
                            service,
                            dependency: wanted,
                            providers,
                            location,
                        });
                    }
                }
                Lookup::Missing if dependency.kind == DependencyKind::Optional => {}
                Lookup::Missing => {
                    let names = registry.names_of(dependency.key.type_id);
                    problems.push(BuildProblem::Missing {
                        service,
                        dependency: wanted,
                        names,
                        location,
                    });
                }
            }
        }
    }
}

/// Reports one cycle for each edge that leads back into the path being walked. Without those edges
/// no cycle is left, so whoever breaks every cycle reported has broken every cycle.
fn cycles(registry: &Registry, problems: &mut Vec<BuildProblem>) {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        Unseen,
        OnPath,
        Done,
    }

    let mut marks = vec![Mark::Unseen; registry.services.len()];
    for start in 0..registry.services.len() {
        if marks[start] != Mark::Unseen {
            continue;
        }
        marks[start] = Mark::OnPath;
        let start = ServiceId::try_from(start).expect("services are counted in 32 bits");
        let mut path = vec![(start, eager(registry, start).into_iter())];
        while let Some((service, dependencies)) = path.last_mut() {
            let Some(next) = dependencies.next() else {
                marks[*service as usize] = Mark::Done;
                path.pop();
                continue;
            };
            match marks[next as usize] {
                Mark::Unseen => {
                    marks[next as usize] = Mark::OnPath;
                    path.push((next, eager(registry, next).into_iter()));
                }
                Mark::OnPath => {
                    let on_path = path.iter().map(|(service, _)| *service);
                    let cycle = on_path.skip_while(|service| *service != next).chain([next]);
                    let path = cycle.map(|service| registry.name_of(service)).collect();
                    let location = registry.service(next).location;
                    problems.push(BuildProblem::Cycle { path, location });
                }
                Mark::Done => {}
            }
        }
    }
}

/// Reports each scoped service a singleton would reach, itself or through transient services. A
/// lazy dependency counts: it would fail when used.
fn captives(registry: &Registry, problems: &mut Vec<BuildProblem>) {
    for (singleton, registered) in (0..).zip(&registry.services) {
        if registered.lifetime != Lifetime::Singleton {
            continue;
        }
        let mut seen = BTreeSet::new();
        let mut unvisited = vec![vec![singleton]];
        while let Some(path) = unvisited.pop() {
            let service = registry.service(path[path.len() - 1]);
            for dependency in &service.dependencies.declared {
                for provider in providers(registry, dependency) {
                    if !seen.insert(provider) {
                        continue;
                    }
                    let mut path = path.clone();
                    path.push(provider);
                    match registry.service(provider).lifetime {
                        Lifetime::Scoped => problems.push(BuildProblem::Captive {
                            path: path.into_iter().map(|id| registry.name_of(id)).collect(),
                            location: registered.location,
                        }),
                        Lifetime::Transient => unvisited.push(path),
                        Lifetime::Singleton | Lifetime::Value => {}
                    }
                }
            }
        }
    }
}
