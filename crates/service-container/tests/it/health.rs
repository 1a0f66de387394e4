//! Asking services how they are.

use std::time::Duration;

use service_container::{Container, HealthStatus, sync};
use tokio::time::sleep;

use crate::support::Oops;

struct Well;
struct Ill;
struct Slow;
struct Mad;
struct Unborn;

fn boom() {
    panic!("no idea");
}

#[tokio::test(start_paused = true)]
async fn what_exists_is_asked_at_once_and_in_bounded_time() {
    let mut builder = Container::builder();
    builder
        .value(Well)
        .health(|_| sleep(Duration::from_millis(900)));
    builder
        .value(Ill)
        .health(|_| async { Err::<(), _>(Oops("fever")) });
    builder
        .value(Slow)
        .health(|_| sleep(Duration::from_secs(60)));
    builder.value(Mad).health(|_| async { boom() });
    builder
        .singleton(sync(|| Unborn))
        .health(|_| async { boom() });
    builder.value(1_u8);
    let container = builder.build().unwrap();

    let report = container.health(Duration::from_secs(1)).await;
    assert!(!report.is_healthy());
    assert_eq!(report.elapsed, Duration::from_secs(1));
    let rows: Vec<_> = report
        .services
        .iter()
        .map(|row| {
            format!(
                "{}: {} after {:?}",
                row.service.short(),
                row.status,
                row.elapsed
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            "Well: healthy after 900ms",
            "Ill: unhealthy: fever after 0ns",
            "Slow: timed out after 1s",
            "Mad: panicked: no idea after 0ns"
        ]
    );
    assert!(
        report
            .to_string()
            .starts_with("unhealthy, 4 services asked in 1.000s\n"),
        "{report}"
    );
}

#[tokio::test]
async fn a_scope_answers_for_its_own() {
    let mut builder = Container::builder();
    builder
        .value(Ill)
        .health(|_| async { Err::<(), _>(Oops("fever")) });
    builder.scoped(sync(|| Well)).health(|_| async {});
    let container = builder.build().unwrap();
    let scope = container.child("request").open().unwrap();
    assert!(
        scope
            .health(Duration::from_secs(1))
            .await
            .services
            .is_empty()
    );
    scope.get::<Well>().await.unwrap();
    let report = scope.health(Duration::from_secs(1)).await;
    assert!(report.is_healthy());
    assert!(
        matches!(report.services[..], [ref row] if matches!(row.status, HealthStatus::Healthy))
    );
}
