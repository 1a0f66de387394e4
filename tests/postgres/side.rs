//! As whom statements are cancelled.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pool_postgres::{Credentials, PostgresPool};

use crate::server;

/// Leaves a statement of a minute behind.
async fn abandon(pool: &PostgresPool) {
    let query = sqlx::query("select pg_sleep(60)").execute(pool);
    tokio::time::timeout(Duration::from_millis(100), query)
        .await
        .unwrap_err();
}

#[tokio::test]
async fn a_statement_is_cancelled_by_the_user_who_sent_it_though_another_would_log_in_today() {
    let Some((builder, mut server)) = server::pool("today").await else {
        return;
    };
    let users = [1, 2].map(|n| format!("{}-{n}", server.name()));
    for user in &users {
        let sql = format!("create role \"{user}\" login password 'one'");
        server.execute(&sql).await;
    }
    let today = Arc::new(Mutex::new(users[0].clone()));
    let pool = builder
        .limits(0, 1)
        .credentials({
            let today = Arc::clone(&today);
            move || {
                let user = today.lock().unwrap().clone();
                async move { Ok(Credentials::password("one").user(user)) }
            }
        })
        .build()
        .unwrap();
    let user = || sqlx::query_scalar::<_, String>("select current_user::text").fetch_one(&pool);
    assert_eq!(user().await.unwrap(), users[0]);
    *today.lock().unwrap() = users[1].clone();
    abandon(&pool).await;
    assert_eq!(user().await.unwrap(), users[0], "the connection was kept");
    let counters = pool.pool_metrics().counters;
    assert_eq!((counters.opened, counters.recycled), (1, 1));

    // The password has changed, the user has not.
    server
        .execute(&format!("alter role \"{}\" password 'two'", users[1]))
        .await;
    pool.soft_evict();
    user().await.expect_err("nobody has told the pool");
    server
        .execute(&format!("alter role \"{}\" password 'one'", users[1]))
        .await;
    assert_eq!(user().await.unwrap(), users[1]);
    pool.close(server::SOON).await;
    server.settles_at(0).await;
    server.settles_without_any_beside().await;
    for user in &users {
        server.execute(&format!("drop role \"{user}\"")).await;
    }
}
