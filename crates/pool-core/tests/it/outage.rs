//! The database is down and a thousand tasks wait: connects stay few, and errors reach everybody.

use std::time::Duration;

use pool_core::{AcquireErrorKind, ConnectFault, Step};
use pool_testkit::{Answer, eventually, in_time, settle};
use tokio::time::Instant;

use crate::support::{Pool, check, denied, end, ms, refused, scripted, secs, served, take};

const TASKS: usize = 1_000;

fn crowd(pool: &Pool) -> Vec<crate::support::Caller> {
    (0..TASKS)
        .map(|_| tokio::spawn(pool.acquire_owned()))
        .collect()
}

/// Refused at once: attempts come one at a time, with pauses that grow to half a second.
#[tokio::test(start_paused = true)]
async fn connects_keep_to_the_rate_of_the_backoff_however_many_wait() {
    for seed in 0..10 {
        let (builder, script) = scripted();
        let pool = builder
            .limits(0, 100)
            .max_connecting(4)
            .backoff(ms(10), ms(500))
            .acquire_timeout(secs(60))
            .seed(seed)
            .build()
            .unwrap();
        script
            .connect()
            .always(Answer::Fails(ConnectFault::Transient));
        let callers = crowd(&pool);
        tokio::time::sleep(secs(60)).await;
        for caller in callers {
            assert!(refused(caller).await.is_timeout());
        }
        let attempts = script.connect().began();
        assert!(script.connect().peak() <= 4, "{}", script.connect().peak());

        // Pauses are drawn between zero and their bound: on average half of it. In 60 s at 250 ms
        // that is 240; a third more is luck, and ten times more would be a storm.
        let n = attempts.len();
        assert!(
            (150..=340).contains(&n),
            "seed {seed}: {n} attempts in a minute"
        );
        // After the first round one at a time, though a thousand wait.
        let after = &attempts[4..];
        let together = after
            .windows(2)
            .filter(|pair| pair[1] - pair[0] < ms(1))
            .count();
        assert!(
            together < 10,
            "seed {seed}: {together} attempts at the heels of another"
        );
        end(pool, &script).await;
    }
}

/// Nothing answers: as many attempts as may be under way are, each for its whole time.
#[tokio::test(start_paused = true)]
async fn connects_that_hang_never_exceed_max_connecting() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 100)
        .max_connecting(3)
        .connect_timeout(secs(2))
        .acquire_timeout(secs(30))
        .build()
        .unwrap();
    script.connect().always(Answer::Hangs);
    let callers = crowd(&pool);
    settle().await;
    check(&pool, (3, 0, 0, 3, 0, 1_000));
    tokio::time::sleep(secs(30)).await;
    for caller in callers {
        let error = refused(caller).await;
        assert_eq!(error.kind(), AcquireErrorKind::Timeout(Step::Connect));
    }
    assert_eq!(script.connect().peak(), 3);
    let calls = script.connect().calls();
    assert!(
        calls <= 3 + 15,
        "two seconds each, one at a time after the first three: {calls}"
    );
    end(pool, &script).await;
}

/// A permanent fault reaches every waiter within one connect attempt.
#[tokio::test(start_paused = true)]
async fn a_permanent_fault_reaches_every_waiter_within_one_attempt() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 100).max_connecting(4).build().unwrap();
    script.connect().takes(ms(100));
    script
        .connect()
        .always(Answer::Fails(ConnectFault::Permanent));
    let began = Instant::now();
    let callers = crowd(&pool);
    for caller in callers {
        let error = refused(caller).await;
        assert_eq!(error.kind(), AcquireErrorKind::Connect);
        assert!(error.waited() <= ms(100), "{:?}", error.waited());
        assert!(error.to_string().contains("wrong password"), "{error}");
    }
    assert_eq!(began.elapsed(), ms(100));
    assert!(
        script.connect().calls() <= 4,
        "{}",
        script.connect().calls()
    );
    assert_eq!(pool.pool_metrics().counters.failed_fast, TASKS as u64);
    settle().await;
    end(pool, &script).await;
}

/// Callers that come back at once, again and again, do not make the pool knock more often.
#[tokio::test(start_paused = true)]
async fn callers_that_retry_a_permanent_fault_cause_no_storm() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 10).build().unwrap();
    script
        .connect()
        .always(Answer::Fails(ConnectFault::Permanent));
    let stop = Instant::now() + secs(60);
    let mut asked = 0;
    while Instant::now() < stop {
        denied(in_time("an answer", pool.acquire()).await);
        asked += 1;
        tokio::time::sleep(ms(5)).await;
    }
    let attempts = script.connect().calls();
    assert!(asked > 5_000, "{asked}");
    assert!(
        attempts <= 340,
        "{attempts} attempts in a minute for {asked} callers"
    );

    // Once the password is right, the next attempt says so.
    script.connect().works();
    tokio::time::sleep(ms(510)).await;
    drop(take(&pool, 1).await);
    end(pool, &script).await;
}

/// A timeout names the step, the counts, the oldest holder and the last connect error.
#[tokio::test(start_paused = true)]
async fn a_timeout_during_an_outage_says_everything_there_is_to_say() {
    let (builder, script) = scripted();
    let pool = builder.name("orders").limits(0, 3).build().unwrap();
    let line = line!() + 1;
    let oldest = pool.acquire_owned().await.unwrap();
    tokio::time::sleep(secs(1)).await;
    let younger = take(&pool, 1).await;
    script
        .connect()
        .always(Answer::Fails(ConnectFault::Transient));
    let error = denied(pool.acquire_timeout(secs(4)).await);

    assert!(matches!(error.kind(), AcquireErrorKind::Timeout(_)));
    assert_eq!((error.pool(), error.waited()), ("orders", secs(4)));
    let counts = error.counts();
    assert_eq!((counts.active, counts.idle, counts.max), (2, 0, 3));
    let holder = error.oldest_holder().unwrap();
    assert_eq!(
        (holder.caller.file(), holder.caller.line()),
        (file!(), line)
    );
    assert_eq!(holder.held, secs(5));
    let (_, cause) = error.last_connect_error().unwrap();
    assert_eq!(cause.to_string(), "connection refused, says the script");
    let text = error.to_string();
    for part in [
        "`orders`",
        "timed out after 4.0s waiting for",
        "of at most 3 connections: 2 active",
        &format!("longest held for 5.0s by {}:{line}", file!()),
        "connection refused, says the script",
    ] {
        assert!(text.contains(part), "`{part}` is missing: {text}");
    }
    drop((oldest, younger));
    end(pool, &script).await;
}

/// A connect that succeeds, for somebody else, does not take the reason from those who go on waiting.
#[tokio::test(start_paused = true)]
async fn a_failure_during_the_wait_is_told_though_a_later_connect_worked() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 2).build().unwrap();
    script
        .connect()
        .always(Answer::Fails(ConnectFault::Transient));
    let lucky = tokio::spawn(pool.acquire_owned());
    tokio::time::sleep(ms(1)).await;
    let unlucky = tokio::spawn(pool.acquire_owned_timeout(secs(3)));
    tokio::time::sleep(secs(1)).await;
    script.connect().next(1, Answer::Works);
    script.connect().always(Answer::Hangs);
    let held = in_time("the first in line", lucky).await.unwrap().unwrap();
    let error = denied(in_time("the second in line", unlucky).await.unwrap());
    let (age, cause) = error.last_connect_error().expect("connects failed");
    assert!(age > secs(1) && age < secs(3), "{age:?}");
    assert_eq!(cause.to_string(), "connection refused, says the script");

    // Whoever came after the failures is told what is true now.
    let error = denied(pool.acquire_timeout(secs(1)).await);
    assert!(error.last_connect_error().is_none(), "{error}");
    drop(held);
    script.connect().let_go();
    end(pool, &script).await;
}

/// A server that swallows packets refuses nothing: how long a connect has hung is the reason.
#[tokio::test(start_paused = true)]
async fn a_timeout_behind_connects_that_hang_says_for_how_long() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 2).build().unwrap();
    script.connect().always(Answer::Hangs);
    let earlier = tokio::spawn(pool.acquire_owned_timeout(secs(3)));
    tokio::time::sleep(secs(1)).await;
    let error = denied(pool.acquire_timeout(secs(1)).await);
    assert_eq!(error.kind(), AcquireErrorKind::Timeout(Step::Connect));
    assert_eq!(error.oldest_connect(), Some(secs(2)));
    let text = error.to_string();
    assert!(text.contains("longest under way for 2.0s"), "{text}");

    denied(in_time("the first in line", earlier).await.unwrap());
    script.connect().let_go();
    script.connect().works();
    let held = take(&pool, 2).await;
    let error = denied(pool.acquire_timeout(secs(1)).await);
    assert_eq!(error.oldest_connect(), None);
    drop(held);
    end(pool, &script).await;
}

/// The outage ends: everybody in line is served, and growth is at its full rate at once.
#[tokio::test(start_paused = true)]
async fn the_end_of_an_outage_serves_everybody_in_line() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 20).build().unwrap();
    script
        .connect()
        .always(Answer::Fails(ConnectFault::Transient));
    let callers = crowd(&pool);
    tokio::time::sleep(secs(10)).await;
    script.connect().works();
    script.connect().takes(ms(10));
    let began = Instant::now();
    for caller in callers {
        drop(served(caller).await);
    }
    assert!(began.elapsed() <= ms(520), "{:?}", began.elapsed());
    assert!(script.peak_open() <= 20);
    end(pool, &script).await;
}

/// With connections open, a fault of the next connect is no reason to turn callers away.
#[tokio::test(start_paused = true)]
async fn a_permanent_fault_fails_nobody_while_connections_are_open() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 10).build().unwrap();
    let held = take(&pool, 1).await;
    script
        .connect()
        .always(Answer::Fails(ConnectFault::Permanent));
    let callers = crowd(&pool);
    tokio::time::sleep(secs(5)).await;
    assert_eq!(pool.counts().waiting as usize, TASKS);
    drop(held);
    for caller in callers {
        drop(served(caller).await);
    }
    end(pool, &script).await;
}

/// A proxy that finishes handshakes for a server that is not there: what connects and fails its
/// check must not be opened anew without a pause.
#[tokio::test(start_paused = true)]
async fn connections_that_fail_their_first_check_are_no_storm() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(5, 10)
        .acquire_timeout(secs(30))
        .build()
        .unwrap();
    script.connect().takes(ms(1));
    script
        .validate()
        .always(Answer::Fails(ConnectFault::Transient));
    let error = in_time_of(secs(40), pool.warmup_pool()).await.unwrap_err();
    let text = error.to_string();
    let why = "a new connection did not pass its first check: connection refused, says the script";
    assert!(text.contains(why), "{text}");
    let attempts = script.connect().calls();
    assert!(attempts <= 400, "{attempts} connects in half a minute");
    script.validate().works();
    pool.warmup_pool().await.unwrap();
    eventually("the minimum is there", || pool.counts().idle == 5).await;
    end(pool, &script).await;
}

async fn in_time_of<T>(time: Duration, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(time, future).await.expect("in time")
}

/// The pause is counted from the beginning of the attempt that failed: one that hung for longer than
/// that has waited enough, and the server may be back for most of that time.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_hung_is_its_own_pause() {
    for seed in 0..20 {
        let (builder, script) = scripted();
        let pool = builder
            .limits(0, 1)
            .connect_timeout(ms(800))
            .backoff(ms(500), ms(500))
            .acquire_timeout(secs(60))
            .seed(seed)
            .build()
            .unwrap();
        script.connect().next(3, Answer::Hangs);
        let began = Instant::now();
        let caller = tokio::spawn(pool.acquire_owned());
        drop(served(caller).await);
        let waited = began.elapsed();
        assert!(
            (ms(2_400)..ms(2_410)).contains(&waited),
            "seed {seed}: three attempts of 800 ms, and no pause: {waited:?}"
        );
        end(pool, &script).await;
    }
}

/// Somebody who watches the server has seen it: nobody waits out the pause.
#[tokio::test(start_paused = true)]
async fn a_server_that_is_seen_again_is_asked_at_once() {
    for seed in 0..20 {
        let (builder, script) = scripted();
        let pool = builder
            .limits(0, 10)
            .backoff(secs(20), secs(20))
            .acquire_timeout(secs(60))
            .seed(seed)
            .build()
            .unwrap();
        script
            .connect()
            .always(Answer::Fails(ConnectFault::Transient));
        let caller = tokio::spawn(pool.acquire_owned());
        eventually("an attempt has failed", || {
            script.connect().calls() > 0 && pool.counts().connecting == 0
        })
        .await;
        let calls = script.connect().calls();
        pool.retry_now();
        settle().await;
        assert!(script.connect().calls() > calls, "seed {seed}");
        script.connect().works();
        let began = Instant::now();
        pool.retry_now();
        drop(served(caller).await);
        assert!(began.elapsed() < ms(100), "{:?}", began.elapsed());
        end(pool, &script).await;
    }
}

/// What the last server did says nothing of the one that takes its place.
#[tokio::test(start_paused = true)]
async fn nobody_is_told_of_a_server_that_has_been_left() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 10)
        .backoff(secs(20), secs(20))
        .seed(3)
        .build()
        .unwrap();
    script
        .connect()
        .always(Answer::Fails(ConnectFault::Permanent));
    denied(in_time("an answer", pool.acquire()).await);
    script.connect().works();
    pool.start_over();
    let began = Instant::now();
    drop(take(&pool, 1).await);
    assert!(began.elapsed() < ms(100), "{:?}", began.elapsed());
    end(pool, &script).await;
}

/// The same for an attempt that was under way when the server was left.
#[tokio::test(start_paused = true)]
async fn an_attempt_at_a_server_that_has_been_left_fails_nobody() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 10).build().unwrap();
    script.connect().takes(ms(100));
    script
        .connect()
        .next(1, Answer::Fails(ConnectFault::Permanent));
    let caller = tokio::spawn(pool.acquire_owned());
    settle().await;
    assert_eq!(pool.counts().connecting, 1);
    pool.start_over();
    drop(served(caller).await);
    end(pool, &script).await;
}
