//! How far replicas are behind, by what their primary has written and when.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Error, Executor as _, PgConnection, Row as _};

use crate::{PostgresPool, ReplicaState};

/// How many positions are kept; one that is behind the oldest is behind by at least its age.
const KEPT: usize = 1_024;

/// What the primary had written, and when that was known.
///
/// A replica knows what it has received, not what it has not: where the network has parted it from
/// its primary without a word, it has replayed all it knows of, and waits for more.
#[derive(Debug, Default)]
pub(crate) struct Written {
    known: Mutex<VecDeque<(Instant, i64)>>,
}

impl Written {
    /// By `at`, the primary had written as far as `position`.
    fn note(&self, at: Instant, position: i64) {
        let mut known = self.known.lock();
        match known.back() {
            // Since then it has written nothing.
            Some((_, last)) if *last == position => return,
            // Another history: what was known says nothing of it.
            Some((_, last)) if *last > position => known.clear(),
            _ => {}
        }
        if known.len() == KEPT {
            known.pop_front();
        }
        known.push_back((at, position));
    }

    /// For how long the oldest of what a replica lacks, which has replayed as far as `position`, has
    /// been known.
    fn lacking(&self, position: i64, now: Instant) -> Duration {
        let known = self.known.lock();
        // They ascend.
        let lacking = known.partition_point(|(_, written)| *written <= position);
        known.get(lacking).map_or(Duration::ZERO, |(since, _)| {
            now.saturating_duration_since(*since)
        })
    }

    /// Asks the primary again and again how far it has written, over one connection beside its pool.
    /// While it does not answer, nothing is learned.
    pub(crate) async fn follow(&self, primary: PostgresPool, interval: Duration) {
        let mut beside = None;
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let within = interval.max(Duration::from_secs(1));
            // Out of its place while it is used: dropped in the middle, it is not used again.
            let asked = written(&primary, beside.take());
            if let Ok(Ok(Some((connection, position)))) = tokio::time::timeout(within, asked).await
            {
                self.note(Instant::now(), position);
                beside = Some(connection);
            }
        }
    }
}

/// A connection beside the pool, and the host it leads to.
type Beside = (Arc<PgConnectOptions>, PgConnection);

/// How far the server that the pool for writes last connected to has written; nothing, if it is no
/// primary.
async fn written(
    primary: &PostgresPool,
    beside: Option<Beside>,
) -> Result<Option<(Beside, i64)>, Error> {
    let manager = primary.engine().manager();
    let place = manager.options();
    let mut connection = match beside {
        Some((led_to, connection)) if Arc::ptr_eq(&led_to, &place) => connection,
        _ => manager.connect_to_watch(&place).await?,
    };
    let sql = "select case when not pg_is_in_recovery()
                      then (pg_current_wal_lsn() - '0/0')::int8 end";
    let row = connection.fetch_one(sqlx::raw_sql(sql)).await?;
    let position: Option<i64> = row.try_get(0)?;
    Ok(position.map(|position| ((place, connection), position)))
}

/// How far a server is behind.
///
/// One that has replayed all that the primary is known to have written is behind by nothing, however
/// long ago the last transaction was.
pub(crate) async fn state(
    connection: &mut PgConnection,
    written: &Written,
) -> Result<ReplicaState, Error> {
    let sql = "select pg_is_in_recovery(),
                   exists (select from pg_stat_wal_receiver),
                   pg_last_wal_receive_lsn() is not distinct from pg_last_wal_replay_lsn(),
                   extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())::float8,
                   (pg_last_wal_replay_lsn() - '0/0')::int8";
    let row = connection.fetch_one(sqlx::raw_sql(sql)).await?;
    let (standby, receives, replayed): (bool, bool, bool) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let (behind, position): (Option<f64>, Option<i64>) = (row.try_get(3)?, row.try_get(4)?);
    if !standby {
        return Ok(ReplicaState::Promoted);
    }
    if !receives {
        return Ok(ReplicaState::Alone);
    }
    let lacks = written.lacking(position.unwrap_or(0), Instant::now());
    if replayed {
        return Ok(ReplicaState::Follows(lacks));
    }
    let behind = behind.unwrap_or(f64::MAX).max(0.0);
    let behind = Duration::try_from_secs_f64(behind).unwrap_or(Duration::MAX);
    Ok(ReplicaState::Follows(behind.max(lacks)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_replica_lacks_is_as_old_as_the_first_that_was_known_of_it() {
        let written = Written::default();
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let lacking = |position, seconds| written.lacking(position, at(seconds)).as_secs();
        assert_eq!(lacking(0, 9), 0, "nothing is known");
        for (seconds, position) in [(1, 100), (2, 200), (3, 200), (4, 300)] {
            written.note(at(seconds), position);
        }
        assert_eq!(lacking(300, 9), 0);
        assert_eq!(lacking(299, 9), 5);
        assert_eq!(lacking(200, 9), 5);
        assert_eq!(lacking(199, 9), 7, "since it was first known");
        assert_eq!(lacking(99, 9), 8);
        written.note(at(10), 150);
        assert_eq!(lacking(150, 11), 0, "another history began");
        assert_eq!(lacking(100, 11), 1);
        for position in 0..5_000 {
            written.note(at(20), 1_000 + position);
        }
        assert_eq!(written.known.lock().len(), KEPT);
        assert_eq!(lacking(0, 25), 5);
    }
}
