//! Contract 8: warm-up. Parallel, validated, and ready only then.

use pool_core::{ConnectFault, Liveness};
use pool_testkit::{Answer, eventually, in_time, settle};
use tokio::time::Instant;

use crate::support::{check, end, line_up, ms, pool, scripted, secs, served, take};

#[tokio::test(start_paused = true)]
async fn the_minimum_is_opened_in_parallel_and_checked_before_the_pool_is_ready() {
    let (builder, script) = scripted();
    let pool = builder.limits(10, 20).max_connecting(5).build().unwrap();
    script.connect().takes(ms(100));
    script.validate().takes(ms(10));
    let warming = tokio::spawn({
        let pool = pool.clone();
        async move { pool.warmup_pool().await }
    });
    for _ in 0..20 {
        assert!(!pool.ready());
        tokio::time::sleep(ms(10)).await;
    }
    let report = in_time("the warm-up", warming).await.unwrap().unwrap();
    assert!(pool.ready());
    assert_eq!((report.wanted, report.open), (10, 10));
    assert_eq!(
        (report.opened, report.validated, report.failures),
        (10, 10, 0)
    );
    // Two rounds of connects; the checks of the first run beside the second.
    assert!(report.elapsed <= ms(230), "{:?}", report.elapsed);
    assert_eq!(script.connect().peak(), 5);
    assert!(script.validate().peak() <= 5);
    check(&pool, (10, 0, 10, 0, 0, 0));
    end(pool, &script).await;
}

/// HikariCP: `TestConnections.testInitializationFailure1`.
#[tokio::test(start_paused = true)]
async fn a_wrong_password_ends_the_warm_up_with_its_cause() {
    let (builder, script) = scripted();
    let pool = builder.name("orders").limits(5, 10).build().unwrap();
    script.connect().takes(ms(20));
    script
        .connect()
        .always(Answer::Fails(ConnectFault::Permanent));
    let began = Instant::now();
    let error = pool.warmup_pool().await.unwrap_err();
    assert_eq!(began.elapsed(), ms(20), "one attempt is enough");
    assert_eq!((error.wanted, error.ready), (5, 0));
    let text = error.to_string();
    for part in ["`orders`", "0 of 5", "wrong password"] {
        assert!(text.contains(part), "`{part}` is missing: {text}");
    }
    assert!(!pool.ready());

    script.connect().works();
    tokio::time::sleep(secs(1)).await;
    pool.warmup_pool().await.unwrap();
    assert!(pool.ready());
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_that_takes_too_long_says_how_far_it_came() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(6, 10)
        .max_connecting(2)
        .acquire_timeout(secs(3))
        .build()
        .unwrap();
    script.connect().takes(secs(1));
    script.connect().next(4, Answer::Works);
    script.connect().always(Answer::Hangs);
    let error = pool.warmup_pool().await.unwrap_err();
    assert_eq!((error.wanted, error.ready), (6, 4));
    assert!(
        (secs(3)..=ms(3_002)).contains(&error.elapsed),
        "{:?}",
        error.elapsed
    );
    assert!(!pool.ready());
    script.connect().works();
    end(pool, &script).await;
}

/// HikariCP: `TestConnections.testInitializationFailure2`.
#[tokio::test(start_paused = true)]
async fn passing_faults_are_waited_out() {
    let (pool, script) = pool(4, 8);
    script
        .connect()
        .always(Answer::Fails(ConnectFault::Transient));
    let warming = tokio::spawn({
        let pool = pool.clone();
        async move { pool.warmup_pool().await }
    });
    tokio::time::sleep(secs(5)).await;
    assert!(!pool.ready());
    script.connect().works();
    let report = in_time("the warm-up", warming).await.unwrap().unwrap();
    assert_eq!(report.open, 4);
    assert!(report.failures > 4, "{report:?}");
    end(pool, &script).await;
}

/// A connection that opens and does not pass its check is not warm.
#[tokio::test(start_paused = true)]
async fn connections_that_fail_their_check_are_replaced_before_the_pool_is_ready() {
    let (pool, script) = pool(4, 8);
    script
        .validate()
        .next(3, Answer::Fails(ConnectFault::Transient));
    let report = pool.warmup_pool().await.unwrap();
    assert_eq!(report.open, 4);
    assert_eq!(script.opened(), 7);
    assert_eq!(script.open(), 4);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_warm_up_checks_what_is_idle_again() {
    let (pool, script) = pool(3, 8);
    pool.warmup_pool().await.unwrap();
    let report = pool.warmup_pool().await.unwrap();
    assert_eq!((report.opened, report.validated), (0, 3));
    script.cut_all();
    let report = pool.warmup_pool().await.unwrap();
    assert_eq!((report.opened, report.open), (3, 3));
    let mut held = take(&pool, 3).await;
    for guard in &mut held {
        guard.query(ms(1)).await.unwrap();
    }
    drop(held);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_minimum_is_warm_at_once() {
    let (pool, script) = pool(0, 8);
    let report = pool.warmup_pool().await.unwrap();
    assert_eq!((report.wanted, report.open), (0, 0));
    assert!(pool.ready());
    assert_eq!(script.connect().calls(), 0);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_warm_up_loses_nothing_and_does_not_make_the_pool_ready() {
    let (pool, script) = pool(4, 8);
    script.connect().takes(ms(100));
    assert!(
        tokio::time::timeout(ms(50), pool.warmup_pool())
            .await
            .is_err()
    );
    tokio::time::sleep(secs(1)).await;
    assert!(!pool.ready());
    check(&pool, (4, 0, 4, 0, 0, 0));
    assert_eq!(script.connect().calls(), 4);
    pool.warmup_pool().await.unwrap();
    assert!(pool.ready());
    end(pool, &script).await;
}

/// Callers that come during the warm-up are served from what is open already.
#[tokio::test(start_paused = true)]
async fn callers_are_served_during_a_warm_up() {
    let (builder, script) = scripted();
    let pool = builder.limits(8, 8).max_connecting(2).build().unwrap();
    script.connect().takes(ms(100));
    let warming = tokio::spawn({
        let pool = pool.clone();
        async move { pool.warmup_pool().await }
    });
    let began = Instant::now();
    let caller = line_up(&pool, 1).await.remove(0);
    let guard = served(caller).await;
    assert_eq!(began.elapsed(), ms(100));
    let report = in_time("the warm-up", warming).await.unwrap().unwrap();
    assert_eq!(report.open, 8);
    drop(guard);
    end(pool, &script).await;
}

/// Under load with a check before each checkout a warm-up still comes to its end.
#[tokio::test(start_paused = true)]
async fn a_warm_up_under_load_ends() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(4, 4)
        .liveness(Liveness::Always)
        .build()
        .unwrap();
    script.validate().takes(ms(2));
    let users: Vec<_> = (0..6)
        .map(|n| {
            let pool = pool.clone();
            tokio::spawn(async move {
                loop {
                    let mut guard = pool.acquire().await.unwrap();
                    guard.query(ms(3 + n)).await.unwrap();
                    drop(guard);
                    tokio::time::sleep(ms(n)).await;
                }
            })
        })
        .collect();
    let began = Instant::now();
    pool.warmup_pool().await.unwrap();
    assert!(began.elapsed() <= secs(1), "{:?}", began.elapsed());
    users.iter().for_each(tokio::task::JoinHandle::abort);
    settle().await;
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_closed_during_its_warm_up_says_so() {
    let (pool, script) = pool(4, 8);
    script.connect().always(Answer::Hangs);
    let warming = tokio::spawn({
        let pool = pool.clone();
        async move { pool.warmup_pool().await }
    });
    settle().await;
    let closing = pool.close(secs(10)).await;
    assert!(closing.clean, "{closing}");
    let error = in_time("the warm-up", warming).await.unwrap().unwrap_err();
    assert!(
        error.elapsed <= secs(1),
        "told at once: {:?}",
        error.elapsed
    );
    assert!(!pool.ready());
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn a_closed_pool_is_not_ready() {
    let (pool, script) = pool(1, 1);
    pool.warmup_pool().await.unwrap();
    assert!(pool.ready() && pool.pool_metrics().ready);
    pool.close(secs(1)).await;
    assert!(!pool.ready() && !pool.pool_metrics().ready);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_whose_server_has_no_room_for_its_minimum_is_not_ready() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(2, 10)
        .acquire_timeout(secs(3))
        .build()
        .unwrap();
    eventually("two are open", || pool.counts().idle == 2).await;
    script
        .connect()
        .always(Answer::Fails(ConnectFault::Saturated));
    pool.set_limits(10, 10).unwrap();
    let error = pool.warmup_pool().await.unwrap_err();
    assert_eq!((error.ready, error.wanted), (2, 10));
    assert!(error.cause.is_some(), "{error}");
    assert!(!pool.ready());
    script.connect().works();
    end(pool, &script).await;
}

/// A pool that is kept smaller from outside tells whoever keeps it so that it wants more. That must
/// not wake the warm-up that has just asked: it would ask again without end, on a runtime of one
/// thread before anything else runs.
#[test]
fn a_warm_up_of_a_pool_that_wants_more_leaves_others_their_turn() {
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (builder, script) = scripted();
            script.connect().always(Answer::Hangs);
            let pool = builder
                .limits(3, 10)
                .allowance(3)
                .acquire_timeout(ms(200))
                .build()
                .unwrap();
            let _callers = line_up(&pool, 5).await;
            let error = pool.warmup_pool().await.unwrap_err();
            done.send(error.to_string()).unwrap();
        });
    });
    let error = ended.recv_timeout(secs(20));
    assert!(error.is_ok(), "the warm-up never ended");
}
