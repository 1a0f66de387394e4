//! Pools that are compared, of whatever database.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use pool_core::{DynamicPoolConfig, PoolEvents};

use crate::meter::Meter;

/// The smallest and the largest size of every pool.
pub const MIN: u32 = 5;
pub const MAX: u32 = 100;

/// How many connects the pool under test has under way at once. With the usual four the seventy-five that
/// a step to eighty takes are not there after the grace: each takes as long as a server's new process does.
pub const CONNECTING: u32 = 16;

/// For how long an operation keeps its connection. It waits for the server and burns no processor:
/// what is compared are pools, not two ends of a connection that share a machine.
pub const HOLD: Duration = Duration::from_millis(20);

/// Within so many evaluation intervals after the fall a pool has to be at its minimum.
pub const RELEASED_WITHIN: u32 = 3;

/// How the pool under test sizes itself.
///
/// - `scaleUpThreshold` 90: five callers that pause for a fifth of their time use 80 % of five
///   connections. With the usual 70 % the pool would leave its minimum again, and rightly so.
/// - `scaleDownIncrement` 95: the first evaluation after the fall has still seen the peak, the second
///   has not. To be at the minimum within three, one step has to lead there. It is warned of: a
///   load that falls and rises again within an interval gives back what it then opens anew.
/// - `evaluationInterval` one second: a shorter run shows as many evaluations.
pub const SIZING: DynamicPoolConfig = DynamicPoolConfig {
    enabled: true,
    min_size: MIN,
    max_size: MAX,
    scale_up_threshold: 90.0,
    scale_down_threshold: 30.0,
    scale_up_increment: 9,
    scale_down_increment: 95,
    evaluation_interval: 1_000,
};

/// Which way a pool is sized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This project's pool with [`SIZING`].
    Dynamic,
    /// This project's pool with [`MIN`] connections.
    FixedMin,
    /// This project's pool with [`MAX`] connections.
    FixedMax,
    /// The pool that one would use without this project, from [`MIN`] to [`MAX`].
    Peer,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Dynamic, Self::FixedMax, Self::FixedMin, Self::Peer];

    /// The limits of a fixed pool; `None` of one that moves.
    pub const fn fixed(self) -> Option<u32> {
        match self {
            Self::FixedMin => Some(MIN),
            Self::FixedMax => Some(MAX),
            Self::Dynamic | Self::Peer => None,
        }
    }

    /// The name in reports.
    pub const fn name<S: Subject>(self) -> &'static str {
        match self {
            Self::Dynamic => "dynamic",
            Self::FixedMin => "fixed-min",
            Self::FixedMax => "fixed-max",
            Self::Peer => S::PEER,
        }
    }
}

/// A server that is looked at from beside.
pub trait Server: Send + Sync + Sized + 'static {
    /// Between two counts.
    const PERIOD: Duration;

    /// Connects, and puts there what operations look for.
    fn prepare(url: &str) -> impl Future<Output = Result<Self>> + Send;

    /// How many connections of that name the server has.
    fn count(&self, application: &str) -> impl Future<Output = Result<u32>> + Send;

    /// Removes what was put there.
    fn clear(&self) -> impl Future<Output = Result<()>> + Send;
}

/// A pool.
pub trait Subject: Send + Sync + Sized + 'static {
    /// The database in names of benchmarks.
    const DATABASE: &'static str;

    /// The name of [`Kind::Peer`].
    const PEER: &'static str;

    /// Whether an operation says for how long it waited, all of it. Where a driver below the pool
    /// lends connections as well, it does not.
    const TELLS_ALL_WAITS: bool;

    type Server: Server;

    /// A pool that has its minimum open. The server sees `application`.
    fn open(
        server: &Self::Server,
        kind: Kind,
        application: &str,
        meter: &Arc<Meter>,
    ) -> impl Future<Output = Result<Self>> + Send;

    /// Has the server hold a connection for [`HOLD`], and tells `meter` of it.
    fn operate(&self, meter: &Meter) -> impl Future<Output = Result<()>> + Send;

    /// Makes it a pool of `connections`, all open.
    fn resize(&self, connections: u32) -> impl Future<Output = Result<()>> + Send;

    /// Reads a row and changes another of the few that all change.
    fn contend(&self) -> impl Future<Output = Result<()>> + Send;

    /// Leases, of a pool that lends those.
    fn leases(&self) -> Option<u32>;

    /// What the pool tells of itself; `None` of others' pools.
    fn events(&self) -> Option<PoolEvents>;

    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// How many rows there are to be read.
pub const ROWS: i32 = 1_000;

/// How many rows are changed by all.
pub const HOT: i32 = 8;

/// One of the rows to be read, and one of those that are changed.
pub fn any_rows() -> (i32, i32) {
    (fastrand::i32(0..ROWS), fastrand::i32(0..HOT))
}
