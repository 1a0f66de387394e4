//! The container, seen.

use std::sync::Arc;

use service_container::{BoxError, Container, DependencyKind, Lazy, Lifetime, Resolver, sync};

struct Config;
struct Database;
trait Health: Send + Sync {}
impl Health for Database {}
struct Page;
struct Stopwatch;
struct Plugins;

fn container() -> Container {
    let mut builder = Container::builder();
    builder.value(Config);
    builder
        .singleton(sync(|_: Arc<Config>| Database))
        .provides::<dyn Health>(|it| it)
        .on_dispose(|_| async {});
    builder.transient(sync(|| Stopwatch));
    builder.scoped(sync(
        |_: Arc<dyn Health>, _: Lazy<Plugins>, _: Option<Arc<Stopwatch>>, _: Option<Arc<u8>>| Page,
    ));
    builder
        .named("main")
        .singleton(|resolver: Resolver| async move {
            resolver.get::<Database>().await?;
            Ok::<_, BoxError>(Plugins)
        });
    builder.singleton(sync(|_: Vec<Arc<dyn Health>>| Plugins));
    builder.build().unwrap()
}

#[tokio::test]
async fn the_graph_shows_what_is_declared_and_what_was_seen() {
    let container = container();
    let before = container.graph().to_string().replace("it::graph::", "");
    assert_eq!(
        before,
        "value Config, given\n\
         singleton Database as dyn Health, disposes\n  \
         -> Config\n\
         transient Stopwatch\n\
         scoped Page\n  \
         -> Database\n  \
         -> Stopwatch (optional)\n  \
         -> Plugins (lazy)\n\
         singleton Plugins[main], opaque\n\
         singleton Plugins\n  \
         -> Database (all)"
    );

    container.get_named::<Plugins>("main").await.unwrap();
    let graph = container.graph();
    let observed: Vec<_> = graph.edges.iter().filter(|edge| edge.observed).collect();
    assert_eq!(observed.len(), 2);
    assert_eq!(observed[0].kind, DependencyKind::Required);
    assert_eq!(observed[0].to.short(), "Config");
    assert_eq!(observed[1].kind, DependencyKind::Observed);
    assert_eq!(observed[1].from.short(), "Plugins[main]");
    let created: Vec<_> = graph
        .services
        .iter()
        .filter(|node| node.created.is_some())
        .map(|node| (node.service.short(), node.lifetime))
        .collect();
    assert_eq!(
        created,
        [
            ("Config".to_owned(), Lifetime::Value),
            ("Database".to_owned(), Lifetime::Singleton),
            ("Plugins[main]".to_owned(), Lifetime::Singleton)
        ]
    );
    assert!(graph.services[1].location.file().ends_with("graph.rs"));
    assert!(
        graph
            .to_string()
            .contains("Database as dyn it::graph::Health, created in ")
    );
}

#[tokio::test]
async fn the_picture_has_every_node_and_every_arrow() {
    let container = container();
    container.get_named::<Plugins>("main").await.unwrap();
    let dot = container.graph().to_dot();
    assert!(dot.starts_with("digraph container {\n") && dot.ends_with("}\n"));
    for line in [
        "n0 [label=\"Config\"",
        "shape=box, style=filled];",
        "n2 [label=\"Stopwatch\"",
        "shape=ellipse, style=dashed];",
        "n4 [label=\"Plugins[main]\"",
        "n1 -> n0 [style=solid];",
        "n3 -> n5 [style=dashed];",
        "n4 -> n1 [style=dotted];",
        "n5 -> n1 [style=solid];",
    ] {
        assert!(dot.contains(line), "`{line}` not in\n{dot}");
    }
    assert_eq!(dot.lines().filter(|line| line.contains("->")).count(), 6);
}
