//! Opening a connection beside the runtime's queue, instead of through it.

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions as _, PgConnection};
use sqlx_core::net::tls;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Opens a connection on a thread of its own.
///
/// For a password that the server keeps as SCRAM, sqlx hashes 4,096 times and lets all other tasks of
/// the runtime go before it every five times (`hi` in sqlx-postgres 0.9.0, `connection/sasl.rs`). On a
/// runtime with much to do, which is when a pool wants to grow, that is 819 turns of its queue: a
/// connect that takes 4 ms on an idle machine runs into a timeout of seconds. On a thread that does
/// nothing else those turns cost nothing. Sockets stay with the runtime that this is called in.
///
/// # Cancel safety
///
/// Cancel safe: the thread gives the attempt up, and closes what it has opened.
pub(crate) async fn login(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    if let Some(missing) = missing_tls(options.get_ssl_mode(), tls::available()) {
        return Err(sqlx::Error::Configuration(missing.into()));
    }
    let options = options.clone();
    let runtime = Handle::current();
    let (wanted, abandoned) = oneshot::channel::<()>();
    let attempt = tokio::task::spawn_blocking(move || {
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = abandoned => None,
                opened = options.connect() => Some(opened),
            }
        })
    });
    let opened = attempt.await;
    drop(wanted);
    match opened {
        Ok(Some(opened)) => opened,
        // Only who waits here could have abandoned it.
        Ok(None) => Err(ended()),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Err(ended()),
        },
    }
}

fn ended() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::other("the runtime has ended"))
}

/// What is missing for a mode, which sqlx does not call by its name.
fn missing_tls(mode: PgSslMode, available: bool) -> Option<String> {
    let mode = match mode {
        PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer => return None,
        PgSslMode::Require => "require",
        PgSslMode::VerifyCa => "verify-ca",
        PgSslMode::VerifyFull => "verify-full",
    };
    (!available).then(|| {
        format!(
            "`sslmode={mode}`, the default for a server elsewhere being `verify-full`, needs TLS, \
             which this build is without: enable the feature `tls-rustls-ring` of pool-postgres, or \
             say `sslmode=disable`"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_that_needs_tls_is_named_where_there_is_none() {
        use PgSslMode::{Allow, Disable, Prefer, Require, VerifyCa, VerifyFull};
        for mode in [Disable, Allow, Prefer] {
            assert_eq!(missing_tls(mode, false), None);
        }
        for (mode, name) in [
            (Require, "require"),
            (VerifyCa, "verify-ca"),
            (VerifyFull, "verify-full"),
        ] {
            assert_eq!(missing_tls(mode, true), None);
            let missing = missing_tls(mode, false).expect("it cannot do without");
            assert!(
                missing.starts_with(&format!("`sslmode={name}`")),
                "{missing}"
            );
        }
    }
}
