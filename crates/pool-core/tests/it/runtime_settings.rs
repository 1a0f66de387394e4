//! Settings that change while the pool runs.

use pool_testkit::{Answer, eventually, settle};
use tokio::time::{Instant, sleep};

use crate::support::{check, denied, end, fill, line_up, ms, pool, refused, scripted, secs, take};

/// HikariCP: `TestMBean.testMBeanConnectionTimeoutChange`.
#[tokio::test(start_paused = true)]
async fn a_shorter_time_holds_for_those_who_come_after_it() {
    let (pool, script) = pool(0, 1);
    let held = take(&pool, 1).await;
    let began = Instant::now();
    let mut settings = pool.runtime_settings();
    assert_eq!(settings.acquire_timeout, secs(30));
    settings.acquire_timeout = secs(10);
    pool.set_runtime_settings(settings).unwrap();
    let patient = line_up(&pool, 2).await;
    settings.acquire_timeout = secs(1);
    pool.set_runtime_settings(settings).unwrap();
    let hasty = line_up(&pool, 2).await;
    for caller in hasty {
        assert!(refused(caller).await.is_timeout());
        assert_eq!(began.elapsed(), secs(1));
    }
    let error = denied(pool.acquire().await);
    assert_eq!((error.waited(), began.elapsed()), (secs(1), secs(2)));
    for caller in patient {
        assert!(refused(caller).await.is_timeout());
        assert_eq!(began.elapsed(), secs(10));
    }
    // And upkeep does not sleep for as long as it used to.
    settings.acquire_timeout = ms(200);
    pool.set_runtime_settings(settings).unwrap();
    let error = denied(pool.acquire().await);
    assert_eq!(error.waited(), ms(200));
    drop(held);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn ages_hold_from_now_on_and_what_is_young_enough_stays() {
    let (pool, script) = pool(0, 3);
    fill(&pool, 3).await;
    sleep(secs(60)).await;
    let kept = take(&pool, 2).await;
    drop(kept);
    let mut settings = pool.runtime_settings();
    settings.idle_timeout = Some(secs(30));
    settings.max_lifetime = Some(secs(5));
    pool.set_runtime_settings(settings).unwrap();
    eventually("the one that was idle for a minute is closed", || {
        pool.counts().total == 2
    })
    .await;
    assert_eq!(pool.pool_metrics().counters.closed.idle, 1);
    // Those that are open keep the lifetime that they were opened with.
    sleep(secs(20)).await;
    check(&pool, (2, 0, 2, 0, 0, 0));
    sleep(secs(20)).await;
    check(&pool, (0, 0, 0, 0, 0, 0));
    assert_eq!(pool.pool_metrics().counters.closed.lifetime, 0);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_connect_and_the_length_of_the_queue_change() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 1).build().unwrap();
    script.connect().always(Answer::Hangs);
    let mut settings = pool.runtime_settings();
    settings.connect_timeout = ms(300);
    settings.max_waiters = Some(1);
    pool.set_runtime_settings(settings).unwrap();
    let began = Instant::now();
    let waiting = line_up(&pool, 2).await;
    assert!(pool.acquire().await.is_err(), "the queue is full");
    eventually("the first connect has failed", || {
        pool.pool_metrics().counters.connect_failures == 1
    })
    .await;
    assert!(began.elapsed() >= ms(300) && began.elapsed() < secs(1));
    for caller in waiting {
        caller.abort();
    }
    settle().await;
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn settings_that_cannot_be_used_change_nothing() {
    let (pool, script) = pool(0, 1);
    let before = pool.runtime_settings();
    let mut settings = before;
    settings.acquire_timeout = secs(0);
    settings.max_connecting = 0;
    let error = pool.set_runtime_settings(settings).unwrap_err();
    assert_eq!(error.problems.len(), 2, "{error}");
    assert_eq!(pool.runtime_settings(), before);
    end(pool, &script).await;
}
