//! What can befall a server.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

macro_rules! scenarios {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Something that can befall a server.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Scenario {
            $($(#[$doc])* $name,)*
        }

        impl Scenario {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name on command lines and in reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

scenarios! {
    /// Killed with -9, and started again.
    KillRestart = "kill-restart",
    /// Frozen with SIGSTOP: sockets stay open, nothing answers.
    Freeze = "freeze",
    /// Packets vanish, also those of connections that exist.
    Blackhole = "blackhole",
    /// All connections are reset, again and again.
    ResetStorm = "reset-storm",
    /// The server's side of each connection, old or new, falls silent after its first bytes.
    HalfOpen = "half-open",
    /// Each packet comes so much later that an operation takes fifty times as long.
    Slow = "slow",
    /// Existing connections are reset and new ones refused.
    Refuse = "refuse",
    /// The server is at its limit: others have all its connections.
    TooManyClients = "too-many-clients",
    /// The password is changed at the server, and changed back.
    BadCredentials = "bad-credentials-rotation",
    /// The primary of a replica set is killed (MongoDB); it refuses writes, and its replica is
    /// promoted and takes its address (PostgreSQL).
    Failover = "failover",
    /// Callers give up at random points.
    CancelStorm = "cancel-storm",
    /// The maximum changes a hundred times a second.
    ResizeStorm = "resize-storm",
    /// A listener never returns, and nobody reads what the exporter sends.
    SlowConsumer = "slow-consumer",
    /// The pool is closed while everybody uses it.
    DrainUnderLoad = "drain-under-load",
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|scenario| scenario.name() == name);
        found
            .copied()
            .ok_or_else(|| format!("no scenario `{name}`"))
    }
}

impl Scenario {
    /// How long the fault lasts where nobody says.
    #[must_use]
    pub const fn usual_time(self) -> Duration {
        match self {
            Self::Freeze => Duration::from_secs(10),
            Self::Blackhole => Duration::from_secs(15),
            _ => Duration::from_secs(5),
        }
    }

    /// As short as it says something: longer than the callers wait for a connection and for an
    /// operation. Where nothing ends by itself, what they have given up by then has had its
    /// cleaning as well.
    #[must_use]
    pub const fn short_time(self) -> Duration {
        match self {
            Self::Blackhole | Self::HalfOpen => Duration::from_secs(5),
            _ => Duration::from_millis(2_500),
        }
    }
}
