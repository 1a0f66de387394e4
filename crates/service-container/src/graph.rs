//! What is registered, as text and as a picture.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::dependencies::DependencyKind;
use crate::inner::Inner;
use crate::registry::{Place, ServiceId};
use crate::{Lifetime, ServiceName, validate};

/// What a container holds at one moment; made by [`Container::graph`](crate::Container::graph).
///
/// It displays as text, one service after the other with what it needs, and as a picture by
/// [`to_dot`](Self::to_dot).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Graph {
    /// Every service, in order of registration.
    pub services: Vec<GraphService>,
    /// Who needs whom.
    pub edges: Vec<GraphEdge>,
}

/// One service of a [`Graph`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GraphService {
    /// The service.
    pub service: ServiceName,
    /// How long its instances live.
    pub lifetime: Lifetime,
    /// What else it answers to.
    pub provides: Vec<&'static str>,
    /// Where it is registered.
    pub location: &'static Location<'static>,
    /// How long its factory took, if there is an instance in the container.
    pub created: Option<Duration>,
    /// Whether it has a disposer.
    pub disposes: bool,
    /// Whether its factory resolves what it does not declare.
    pub opaque: bool,
}

/// One arrow of a [`Graph`].
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct GraphEdge {
    /// The service that needs.
    pub from: ServiceName,
    /// The service that is needed.
    pub to: ServiceName,
    /// How it is needed.
    pub kind: DependencyKind,
    /// Whether it has been resolved at least once.
    pub observed: bool,
}

impl Graph {
    /// The graph in the DOT language of Graphviz.
    ///
    /// Singletons and values are boxes, scoped services ellipses, transient ones dashed. What
    /// exists is filled. Lazy and optional arrows are dashed, arrows seen only while running dotted.
    #[must_use]
    pub fn to_dot(&self) -> String {
        let mut dot = String::from("digraph container {\n  rankdir=LR;\n");
        let mut ids = BTreeMap::new();
        for (index, node) in self.services.iter().enumerate() {
            ids.insert(&node.service, index);
            let (shape, style) = match node.lifetime {
                Lifetime::Singleton | Lifetime::Value => ("box", "solid"),
                Lifetime::Scoped => ("ellipse", "solid"),
                Lifetime::Transient => ("ellipse", "dashed"),
            };
            let style = if node.created.is_some() {
                "filled"
            } else {
                style
            };
            let label = escape(&node.service.short());
            let tip = escape(&format!("{} at {}", node.service, node.location));
            let _ = writeln!(
                dot,
                "  n{index} [label=\"{label}\", tooltip=\"{tip}\", shape={shape}, style={style}];"
            );
        }
        for edge in &self.edges {
            let style = match edge.kind {
                DependencyKind::Lazy | DependencyKind::Optional => "dashed",
                DependencyKind::Observed => "dotted",
                DependencyKind::All | DependencyKind::Required => "solid",
            };
            let (from, to) = (ids[&edge.from], ids[&edge.to]);
            let _ = writeln!(dot, "  n{from} -> n{to} [style={style}];");
        }
        dot.push_str("}\n");
        dot
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, node) in self.services.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{} {}", lifetime(node.lifetime), node.service)?;
            if !node.provides.is_empty() {
                write!(f, " as {}", node.provides.join(", "))?;
            }
            if let Some(took) = node.created {
                match node.lifetime {
                    Lifetime::Value => f.write_str(", given")?,
                    _ => write!(f, ", created in {took:.3?}")?,
                }
            }
            if node.disposes {
                f.write_str(", disposes")?;
            }
            if node.opaque {
                f.write_str(", opaque")?;
            }
            for edge in self.edges.iter().filter(|edge| edge.from == node.service) {
                let kind = match edge.kind {
                    DependencyKind::All => " (all)",
                    DependencyKind::Lazy => " (lazy)",
                    DependencyKind::Observed => " (observed)",
                    DependencyKind::Optional => " (optional)",
                    DependencyKind::Required => "",
                };
                write!(f, "\n  -> {}{kind}", edge.to)?;
            }
        }
        Ok(())
    }
}

pub(crate) fn read(root: &Arc<Inner>) -> Graph {
    let registry = root.registry();
    let created: BTreeMap<ServiceId, Duration> = root
        .created()
        .into_iter()
        .map(|created| (created.service, created.took))
        .collect();
    let mut observed = registry.observed.pairs();
    let mut services = Vec::with_capacity(registry.services.len());
    let mut edges = Vec::new();
    for (id, registered) in (0..).zip(&registry.services) {
        services.push(GraphService {
            service: registered.name.clone(),
            lifetime: registered.lifetime,
            provides: registered.views[1..]
                .iter()
                .map(|view| view.type_name)
                .collect(),
            location: registered.location,
            created: match registry.places[id as usize] {
                Place::Root(_) => created.get(&id).copied(),
                Place::Scope(_) | Place::Nowhere => None,
            },
            disposes: registered.dispose.is_some(),
            opaque: registered.dependencies.opaque,
        });
        let mut declared = BTreeMap::new();
        for dependency in &registered.dependencies.declared {
            for provider in validate::providers(registry, dependency) {
                declared.entry(provider).or_insert(dependency.kind);
            }
        }
        for (provider, kind) in declared {
            edges.push(GraphEdge {
                from: registered.name.clone(),
                to: registry.name_of(provider),
                kind,
                observed: observed.remove(&(id, provider)),
            });
        }
    }
    // What is left was resolved without having been declared.
    edges.extend(observed.into_iter().map(|(from, to)| GraphEdge {
        from: registry.name_of(from),
        to: registry.name_of(to),
        kind: DependencyKind::Observed,
        observed: true,
    }));
    Graph { services, edges }
}

fn lifetime(lifetime: Lifetime) -> &'static str {
    match lifetime {
        Lifetime::Scoped => "scoped",
        Lifetime::Singleton => "singleton",
        Lifetime::Transient => "transient",
        Lifetime::Value => "value",
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
