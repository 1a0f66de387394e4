//! Opening a connection beside the runtime's queue, instead of through it.

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
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
