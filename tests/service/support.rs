//! What these suites have in common.

use connection_factory::{ConfigSources, FactoryConfig};
use integration_tests::{mongodb_url, postgres_url};

/// The longest that anything here may take; a test that hits it has found a hang.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// Where the servers are, or `None` after saying that a test is skipped.
pub(crate) fn servers() -> Option<Servers> {
    Some(Servers {
        postgres: postgres_url()?,
        mongodb: mongodb_url()?,
    })
}

pub(crate) struct Servers {
    pub(crate) postgres: String,
    pub(crate) mongodb: String,
}

impl Servers {
    /// Both databases for the service `test`. `name` is what the servers call its connections and
    /// what its MongoDB database is called.
    pub(crate) fn sources(&self, name: &str) -> ConfigSources {
        let name = format!("{name}_{}", std::process::id());
        FactoryConfig::sources()
            .set("services.test.postgres.url", &self.postgres)
            .set("services.test.postgres.name", &name)
            .set("services.test.mongodb.uri", &self.mongodb)
            .set("services.test.mongodb.database", &name)
            .set("services.test.mongodb.name", &name)
    }

    /// The same without MongoDB.
    pub(crate) fn only_postgres(&self, name: &str) -> ConfigSources {
        let name = format!("{name}_{}", std::process::id());
        FactoryConfig::sources()
            .set("services.test.postgres.url", &self.postgres)
            .set("services.test.postgres.name", &name)
            .set("services.test.postgres.min_connections", 2)
    }

    pub(crate) fn config(&self, name: &str) -> FactoryConfig {
        self.sources(name).load().expect("the sources are right")
    }

    /// Runs statements that a test's story needs.
    pub(crate) async fn run(&self, statements: String) {
        use sqlx::Connection as _;

        let mut connection = sqlx::PgConnection::connect(&self.postgres)
            .await
            .expect("the server is up");
        sqlx::raw_sql(sqlx::AssertSqlSafe(statements))
            .execute(&mut connection)
            .await
            .expect("the statements are right");
    }

    /// How many connections called `application` PostgreSQL itself counts, waiting for
    /// `wanted` as long as a test is patient: a backend ends a moment after its client has left.
    pub(crate) async fn count(&self, application: &str, wanted: i64) -> i64 {
        use sqlx::Connection as _;

        let mut connection = sqlx::PgConnection::connect(&self.postgres)
            .await
            .expect("the server is up");
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let counted: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity where application_name = $1",
            )
            .bind(application)
            .fetch_one(&mut connection)
            .await
            .expect("the server counts");
            if counted == wanted || tokio::time::Instant::now() >= deadline {
                return counted;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

/// What the pools of a test are called at the servers.
pub(crate) fn application(name: &str) -> String {
    format!("{name}_{}", std::process::id())
}

/// The error with its causes, as a program would print it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
