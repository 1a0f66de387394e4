//! What listeners and subscribers are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pool_core::{EventHandlers, PoolEvent};

use crate::server;

#[derive(Default)]
struct Seen {
    created: AtomicU32,
    connected: AtomicU32,
    disconnected: AtomicU32,
    errors: AtomicU32,
}

fn count(seen: &Arc<Seen>, which: fn(&Seen) -> &AtomicU32) -> impl Fn() + Send + Sync + 'static {
    let seen = Arc::clone(seen);
    move || {
        which(&seen).fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn the_four_callbacks_follow_the_connections() {
    let Some((builder, mut server)) = server::pool("events").await else {
        return;
    };
    let seen = Arc::new(Seen::default());
    let error = count(&seen, |seen| &seen.errors);
    let handlers = EventHandlers::new()
        .on_pool_created(count(&seen, |seen| &seen.created))
        .on_connect(count(&seen, |seen| &seen.connected))
        .on_disconnect(count(&seen, |seen| &seen.disconnected))
        .on_error(move |_| error());
    let pool = builder.limits(2, 4).events(handlers).build().unwrap();
    pool.warmup_pool().await.unwrap();
    let read = |which: fn(&Seen) -> &AtomicU32| which(&seen).load(Ordering::SeqCst);
    server::until("two connected", || read(|seen| &seen.connected) == 2).await;
    assert_eq!(read(|seen| &seen.created), 1);

    server
        .execute(&format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = '{}'",
            pool.name()
        ))
        .await;
    tokio::time::sleep(Duration::from_millis(600)).await; // past the liveness window
    sqlx::query("select 1").execute(&pool).await.unwrap();
    server::until("an error was told", || read(|seen| &seen.errors) >= 1).await;
    pool.close(Duration::from_secs(5)).await;
    server::until("each connect has its end", || {
        read(|seen| &seen.disconnected) == read(|seen| &seen.connected)
    })
    .await;
}

#[tokio::test]
async fn a_subscription_tells_the_whole_story() {
    let Some((builder, _server)) = server::pool("subscribe").await else {
        return;
    };
    let pool = builder
        .limits(0, 2)
        .leak_threshold(Duration::from_millis(50))
        .build()
        .unwrap();
    let mut events = pool.subscribe();
    let held = pool.acquire().await.unwrap();
    let line = line!() - 1;
    pool.set_limits(0, 1).unwrap();
    let mut told = Vec::new();
    loop {
        match tokio::time::timeout(server::SOON, events.next())
            .await
            .unwrap()
            .unwrap()
        {
            PoolEvent::LeakSuspected(leak) => {
                assert_eq!((leak.caller.file(), leak.caller.line()), (file!(), line));
                break;
            }
            PoolEvent::Connected { .. } => told.push("connected"),
            PoolEvent::LimitsChanged { to, .. } => {
                assert_eq!(to.max(), 1);
                told.push("limits");
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(told, ["connected", "limits"]);
    drop(held);
}
