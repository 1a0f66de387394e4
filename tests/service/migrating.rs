//! The steps of `docs/migrating.md`, each run against real servers. A step that did not compile
//! would not be here, and what the page shows is part of it.

use std::sync::OnceLock;

use connection_factory::FactoryConfig;

use crate::support::servers;

#[path = "../../docs/migrating/advise.rs"]
mod advise;
#[path = "../../docs/migrating/before.rs"]
mod before;
#[path = "../../docs/migrating/from_bb8.rs"]
mod from_bb8;
#[path = "../../docs/migrating/from_typescript.rs"]
mod from_typescript;
#[path = "../../docs/migrating/step_1.rs"]
mod step_1;
#[path = "../../docs/migrating/step_2.rs"]
mod step_2;
#[path = "../../docs/migrating/step_3.rs"]
mod step_3;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Where the servers are, for code that gets it from nowhere: what a migration starts from.
struct Place {
    postgres: String,
    mongodb: String,
}

impl Place {
    fn cell() -> &'static OnceLock<Self> {
        static PLACE: OnceLock<Place> = OnceLock::new();
        &PLACE
    }

    fn get() -> &'static Self {
        Self::cell().get().expect("it was told")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_serves_what_the_one_before_it_served() {
    let Some(servers) = servers() else { return };
    // In a schema of its own, which a URL can say.
    let schema = format!("migrating_{}", std::process::id());
    let separator = if servers.postgres.contains('?') {
        '&'
    } else {
        '?'
    };
    let postgres = format!(
        "{}{separator}options=-c%20search_path%3D{schema}",
        servers.postgres
    );
    let make = format!(
        "drop schema if exists {schema} cascade; create schema {schema}; \
         create table {schema}.migrating (symbol text, price float8)"
    );
    servers.run(make).await;
    let mongodb = servers.mongodb.clone();
    let place = Place::cell().get_or_init(|| Place { postgres, mongodb });

    let served = (5.0, 3);
    let symbol = |step: &str| format!("{schema}-{step}");
    assert_eq!(before::serve(&symbol("before")).await.unwrap(), served);
    assert_eq!(step_1::serve(&symbol("step-1")).await.unwrap(), served);
    assert_eq!(step_2::serve(&symbol("step-2")).await.unwrap(), served);
    let last = symbol("step-3");
    assert_eq!(step_3::serve(&last).await.unwrap(), served);
    // Those that come from elsewhere find what the last step has left.
    assert_eq!(from_typescript::serve(&last).await.unwrap(), served);
    assert_eq!(from_bb8::serve(&last).await.unwrap(), served.0);
    advise::serve().await.unwrap();

    servers.run(format!("drop schema {schema} cascade")).await;
    let client = mongodb::Client::with_uri_str(&place.mongodb).await.unwrap();
    let mine = mongodb::bson::doc! { "symbol": { "$regex": format!("^{schema}-") } };
    let notes = client.database("migrating");
    let notes = notes.collection::<mongodb::bson::Document>("notes");
    notes.delete_many(mine).await.unwrap();
}

/// Configurations that the page shows are taken as they stand.
#[test]
fn the_page_shows_configurations_that_are_taken() {
    let page = include_str!("../../docs/migrating.md");
    let mut taken = 0;
    for block in page.split("```toml\n").skip(1) {
        let (block, _) = block.split_once("```").expect("a block ends");
        let sources = FactoryConfig::sources().toml("docs/migrating.md", block);
        let config = sources
            .load()
            .unwrap_or_else(|error| panic!("{error}: {block}"));
        assert!(
            block.contains("[budgets.main]") && config.budgets["main"].max_connections.get() == 40
        );
        taken += 1;
    }
    assert_eq!(taken, 1);
}

/// The page shows pieces of the steps' files, and nothing that is not there.
#[test]
fn the_page_shows_what_is_run() {
    let page = include_str!("../../docs/migrating.md");
    let steps = [
        include_str!("../../docs/migrating/advise.rs"),
        include_str!("../../docs/migrating/before.rs"),
        include_str!("../../docs/migrating/from_bb8.rs"),
        include_str!("../../docs/migrating/from_typescript.rs"),
        include_str!("../../docs/migrating/step_1.rs"),
        include_str!("../../docs/migrating/step_2.rs"),
        include_str!("../../docs/migrating/step_3.rs"),
    ];
    // However they are laid out.
    let words = |text: &str| text.split_whitespace().collect::<String>();
    let steps: Vec<_> = steps.iter().map(|step| words(step)).collect();
    let mut pieces = 0;
    for block in page.split("```rust\n").skip(1) {
        let (block, _) = block.split_once("```").expect("a block ends");
        for piece in block.split("\n// ...\n") {
            pieces += 1;
            let piece = words(piece);
            assert!(
                steps.iter().any(|step| step.contains(&piece)),
                "no step has this: {piece}"
            );
        }
    }
    assert!(pieces >= 7, "{pieces}");
}
