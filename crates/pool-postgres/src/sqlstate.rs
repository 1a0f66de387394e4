//! What PostgreSQL's error codes mean for a connection and for its pool.
//!
//! Source: "Appendix A. PostgreSQL Error Codes" of the PostgreSQL documentation.

use std::io::ErrorKind;

use pool_core::ConnectFault;
use sqlx::Error;
use sqlx::postgres::PgDatabaseError;

/// The connection, or its server, is going away: class 08, `admin_shutdown`, `crash_shutdown`,
/// `cannot_connect_now`, `database_dropped`, `idle_session_timeout`.
const GONE: [&str; 5] = ["57P01", "57P02", "57P03", "57P04", "57P05"];

/// The transaction cannot write: after a failover the old primary says this.
const READ_ONLY: &str = "25006";

/// `protocol_violation`.
const PROTOCOL_VIOLATION: &str = "08P01";

/// `too_many_connections`.
const TOO_MANY_CONNECTIONS: &str = "53300";

/// Classes of errors that the same attempt meets again until somebody changes something.
const FAULTS_OF_OURS: [&str; 4] = ["22", "28", "3D", "42"];

/// `in_failed_sql_transaction`.
const FAILED_TRANSACTION: &str = "25P02";

/// What an error that a caller met says of the connection it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The statement failed; the connection is as good as before.
    Fine,
    /// The connection must not be lent again.
    Evict,
    /// The server has become read-only: no connection to it may be lent again.
    ReadOnly,
}

/// Judges a connection by an error that a statement on it met.
pub(crate) fn judge(error: &Error) -> Verdict {
    match error {
        Error::Database(error) => match error.code().as_deref() {
            Some(READ_ONLY) => Verdict::ReadOnly,
            Some(code) if code.starts_with("08") || GONE.contains(&code) => Verdict::Evict,
            _ => Verdict::Fine,
        },
        Error::Io(_) | Error::Tls(_) | Error::Protocol(_) => Verdict::Evict,
        _ => Verdict::Fine,
    }
}

/// Says what a failed attempt to connect means for the next one.
///
/// Permanent: a wrong password or user (class 28), no such database (`3D000`), no right to it
/// (`42501`) or any other fault in a start-up statement (classes 22 and 42), what a pooler refuses
/// for good, TLS and configuration. Saturated: `53300`, and a pooler that has no room. All else
/// passes: refused, unresolved, reset, timed out, starting up (`57P03`), a pooler that cannot reach
/// its server.
pub(crate) fn classify(error: &Error) -> ConnectFault {
    match error {
        Error::Database(error) => match error.code().as_deref() {
            Some(TOO_MANY_CONNECTIONS) => ConnectFault::Saturated,
            Some(PROTOCOL_VIOLATION) => what_a_pooler_means(error.message()),
            Some(code) if FAULTS_OF_OURS.iter().any(|class| code.starts_with(class)) => {
                ConnectFault::Permanent
            }
            _ => ConnectFault::Transient,
        },
        Error::Configuration(_) | Error::Tls(_) | Error::Protocol(_) => ConnectFault::Permanent,
        // rustls hands a certificate that it does not trust over as invalid data.
        Error::Io(error) if error.kind() == ErrorKind::InvalidData => ConnectFault::Permanent,
        _ => ConnectFault::Transient,
    }
}

/// PgBouncer has one code, `08P01`, for all that it refuses on its own; the text tells which.
///
/// Source: `disconnect_client` in PgBouncer's `client.c` and `objects.c`, 1.18 to 1.24.
fn what_a_pooler_means(message: &str) -> ConnectFault {
    const FOR_GOOD: [&str; 7] = [
        "unsupported startup parameter",
        "authentication failed",
        "no such database",
        "no such user",
        "not allowed",
        "SSL required",
        "protocol",
    ];
    const NO_ROOM: [&str; 2] = ["no more connections allowed", "connections exceeded"];
    let says = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    if says(&NO_ROOM) {
        ConnectFault::Saturated
    } else if says(&FOR_GOOD) {
        ConnectFault::Permanent
    } else {
        ConnectFault::Transient
    }
}

/// What a failed attempt to connect is counted under: the SQLSTATE, or what went wrong below it.
pub(crate) fn code(error: &Error) -> &str {
    match error {
        Error::Database(error) => match error.try_downcast_ref::<PgDatabaseError>() {
            Some(error) => error.code(),
            None => "database",
        },
        Error::Io(error) => match error.kind() {
            ErrorKind::ConnectionRefused => "connection_refused",
            ErrorKind::ConnectionReset => "connection_reset",
            ErrorKind::InvalidData => "tls",
            ErrorKind::TimedOut => "timeout",
            _ => "io",
        },
        Error::Tls(_) => "tls",
        Error::Configuration(_) => "configuration",
        Error::Protocol(_) => "protocol",
        _ => "driver",
    }
}

/// Whether a statement failed only because one before it had.
pub(crate) fn is_failed_transaction(error: &Error) -> bool {
    let error = error.as_database_error();
    error.is_some_and(|error| error.code().as_deref() == Some(FAILED_TRANSACTION))
}

/// Whether the server may well accept the same transaction when it is run again:
/// `serialization_failure` and `deadlock_detected`.
pub(crate) fn is_worth_another_run(error: &Error) -> bool {
    let error = error.as_database_error();
    error.is_some_and(|error| matches!(error.code().as_deref(), Some("40001" | "40P01")))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::error::Error as StdError;
    use std::io;

    use sqlx::error::{DatabaseError, ErrorKind};

    use super::{Error, *};

    /// What a server says, as sqlx hands it on.
    #[derive(Debug, thiserror::Error)]
    #[error("{message} ({code})")]
    struct Said {
        code: &'static str,
        message: &'static str,
    }

    impl DatabaseError for Said {
        fn message(&self) -> &str {
            self.message
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.code.into())
        }

        fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    fn said(code: &'static str) -> Error {
        let message = "as the server says it";
        Error::Database(Box::new(Said { code, message }))
    }

    #[test]
    fn each_code_says_what_becomes_of_the_connection_and_of_the_next_connect() {
        use ConnectFault::{Permanent, Saturated, Transient};
        use Verdict::{Evict, Fine, ReadOnly};
        for (code, verdict, fault) in [
            ("08000", Evict, Transient),
            ("08001", Evict, Transient),
            ("08003", Evict, Transient),
            ("08004", Evict, Transient),
            ("08006", Evict, Transient),
            ("08007", Evict, Transient),
            ("08P01", Evict, Transient),
            ("57P01", Evict, Transient),
            ("57P02", Evict, Transient),
            ("57P03", Evict, Transient),
            ("57P04", Evict, Transient),
            ("57P05", Evict, Transient),
            ("57014", Fine, Transient),
            ("25006", ReadOnly, Transient),
            ("25P02", Fine, Transient),
            ("53300", Fine, Saturated),
            ("53200", Fine, Transient),
            ("28000", Fine, Permanent),
            ("28P01", Fine, Permanent),
            ("3D000", Fine, Permanent),
            ("22023", Fine, Permanent),
            ("42501", Fine, Permanent),
            ("42601", Fine, Permanent),
            ("23505", Fine, Transient),
            ("40001", Fine, Transient),
            ("40P01", Fine, Transient),
        ] {
            let error = said(code);
            assert_eq!(
                (judge(&error), classify(&error)),
                (verdict, fault),
                "{code}"
            );
            let again = matches!(code, "40001" | "40P01");
            assert_eq!(is_worth_another_run(&error), again, "{code}");
            assert_eq!(is_failed_transaction(&error), code == "25P02", "{code}");
        }
    }

    #[test]
    fn what_is_no_answer_of_a_server_is_judged_by_its_kind() {
        use ConnectFault::{Permanent, Transient};
        use Verdict::{Evict, Fine};
        let io = |kind: io::ErrorKind| Error::Io(kind.into());
        for (error, verdict, fault) in [
            (io(io::ErrorKind::ConnectionRefused), Evict, Transient),
            (io(io::ErrorKind::UnexpectedEof), Evict, Transient),
            (io(io::ErrorKind::InvalidData), Evict, Permanent),
            (Error::Tls("no".into()), Evict, Permanent),
            (Error::Protocol("no".to_owned()), Evict, Permanent),
            (Error::Configuration("no".into()), Fine, Permanent),
            (Error::RowNotFound, Fine, Transient),
        ] {
            assert_eq!(
                (judge(&error), classify(&error)),
                (verdict, fault),
                "{error}"
            );
        }
    }

    #[track_caller]
    fn check(message: &str, wanted: ConnectFault) {
        assert_eq!(what_a_pooler_means(message), wanted, "{message}");
    }

    #[test]
    fn a_pooler_is_understood_by_its_text() {
        use ConnectFault::{Permanent, Saturated, Transient};
        check("unsupported startup parameter: x", Permanent);
        check("password authentication failed", Permanent);
        check("no such database: market", Permanent);
        check("no such user: app", Permanent);
        check("no more connections allowed (max_client_conn)", Saturated);
        check("database \"d\" client connections exceeded", Saturated);
        check("server login has been failing, try again later", Transient);
        check("server conn crashed?", Transient);
        check("query_wait_timeout", Transient);
        check("pgbouncer cannot connect to server", Transient);
    }
}
