//! Reading a connection URL without ever repeating what is secret in it.

use std::net::IpAddr;
use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx_core::Url;

use crate::target::{Target, TargetSessionAttrs};

/// The parameters that sqlx understands. It logs others with their values, which may be secrets,
/// so they are turned down before it sees them.
const PARAMETERS: [&str; 19] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    TARGET_SESSION_ATTRS,
    "user",
];

/// Ours: sqlx knows one host and nothing to choose by.
const TARGET_SESSION_ATTRS: &str = "target_session_attrs";

/// What is wrong with a connection URL. The text never repeats the URL or its password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlProblem {
    /// It is not a URL at all.
    #[error("not a URL: {what}; want postgres://user:password@host:port/database")]
    Malformed {
        /// What the parser stumbled over.
        what: String,
    },
    /// Its scheme is not PostgreSQL's.
    #[error("the scheme is `{scheme}`: want postgres:// or postgresql://")]
    Scheme {
        /// The scheme that was given.
        scheme: String,
    },
    /// A character of the user name or password was taken for the URL's own punctuation.
    #[error(
        "there is a bare `{character}` before the end of the host: percent-encode it as \
         {encoded} in the user name and password"
    )]
    Unescaped {
        /// The character.
        character: char,
        /// How it is written in a password.
        encoded: &'static str,
    },
    /// A parameter is not known, and would have been ignored.
    #[error("unknown parameter `{name}`")]
    UnknownParameter {
        /// Its name.
        name: String,
    },
    /// A parameter has a value that cannot be used.
    #[error("a parameter cannot be used: {what}")]
    Parameter {
        /// What is wrong with it.
        what: String,
    },
}

/// Reads a URL, or says what is malformed.
pub(crate) fn parse(url: &str) -> Result<Target, UrlProblem> {
    let mut hosts = Vec::new();
    let mut attrs = TargetSessionAttrs::Any;
    let mut tls_by_default = true;
    for url in each_host(url) {
        let one = parse_one(&url)?;
        hosts.push(one.options);
        (attrs, tls_by_default) = (one.attrs, one.tls_by_default);
    }
    Ok(Target {
        hosts,
        attrs,
        tls_by_default,
    })
}

/// A URL for each host of `scheme://user@host:port,host:port/rest`.
fn each_host(url: &str) -> Vec<String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return vec![url.to_owned()];
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), authority),
    };
    hosts
        .split(',')
        .map(|host| format!("{scheme}://{user}{host}{rest}"))
        .collect()
}

/// What stands in a URL with one host.
struct One {
    options: PgConnectOptions,
    attrs: TargetSessionAttrs,
    tls_by_default: bool,
}

fn parse_one(url: &str) -> Result<One, UrlProblem> {
    let mut parsed = Url::parse(url).map_err(|error| UrlProblem::Malformed {
        what: error.to_string(),
    })?;
    if !matches!(parsed.scheme(), "postgres" | "postgresql") {
        return Err(UrlProblem::Scheme {
            scheme: parsed.scheme().to_owned(),
        });
    }
    if parsed.fragment().is_some() {
        return Err(UrlProblem::Unescaped {
            character: '#',
            encoded: "%23",
        });
    }
    if parsed.path().contains('@') {
        return Err(UrlProblem::Unescaped {
            character: '/',
            encoded: "%2F",
        });
    }
    if parsed.query().is_some_and(|query| query.contains('@')) {
        return Err(UrlProblem::Unescaped {
            character: '?',
            encoded: "%3F",
        });
    }
    for (name, _) in parsed.query_pairs() {
        if !PARAMETERS.contains(&&*name) && !name.starts_with("options[") {
            return Err(UrlProblem::UnknownParameter {
                name: name.into_owned(),
            });
        }
    }
    let mut attrs = TargetSessionAttrs::Any;
    let ours = |name: &str| name == TARGET_SESSION_ATTRS;
    if parsed.query_pairs().any(|(name, _)| ours(&name)) {
        let mut kept = Vec::new();
        for (name, value) in parsed.query_pairs() {
            if ours(&name) {
                attrs = TargetSessionAttrs::parse(&value).ok_or_else(|| UrlProblem::Parameter {
                    what: format!("unknown value {value:?} for `{TARGET_SESSION_ATTRS}`"),
                })?;
            } else {
                kept.push((name.into_owned(), value.into_owned()));
            }
        }
        parsed.query_pairs_mut().clear().extend_pairs(kept);
    }
    let says = |wanted: &[&str]| {
        parsed
            .query_pairs()
            .find(|(name, _)| wanted.contains(&&**name))
    };
    if says(&["statement-cache-capacity"]).is_some_and(|(_, value)| value.parse() == Ok(0_usize)) {
        return Err(UrlProblem::Parameter {
            what: NO_STATEMENT_CACHE.to_owned(),
        });
    }
    let tls_by_default =
        says(&["sslmode", "ssl-mode"]).is_none() && std::env::var_os("PGSSLMODE").is_none();
    match PgConnectOptions::from_str(parsed.as_str()) {
        Ok(options) if tls_by_default => Ok(One {
            options: verified(options),
            attrs,
            tls_by_default,
        }),
        Ok(options) => Ok(One {
            options,
            attrs,
            tls_by_default,
        }),
        Err(error) => Err(UrlProblem::Parameter {
            what: cause(&error),
        }),
    }
}

/// Why a cache of nothing is turned down.
pub(crate) const NO_STATEMENT_CACHE: &str = "a statement cache of 0 leaves each statement prepared at the server until its connection ends, \
     since sqlx gives names to statements that it does not keep: want at least 1, or \
     `query.persistent(false)`";

/// Verifies the server in full, where nobody says otherwise, if the way there leaves this machine.
///
/// What sqlx and libpq do without `sslmode`, `prefer`, takes any certificate, and plain text from
/// whoever answers that it has no TLS.
pub(crate) fn verified(options: PgConnectOptions) -> PgConnectOptions {
    let mode = match is_local(&options) {
        true => PgSslMode::Prefer,
        false => PgSslMode::VerifyFull,
    };
    options.ssl_mode(mode)
}

/// Whether a connection stays on this machine: over a socket, or loopback.
fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    options.get_socket().is_some()
        || host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || address.is_some_and(|address| address.is_loopback())
}

/// The URL without its password, of several hosts one for each; as it is, if it cannot be read.
pub(crate) fn without_password(url: &str) -> Vec<String> {
    let hosts = each_host(url);
    hosts.iter().map(|url| one_without_password(url)).collect()
}

fn one_without_password(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else {
        return url.to_owned();
    };
    // A URL without a host has no password either.
    let _ = parsed.set_password(None);
    let others: Vec<_> = parsed
        .query_pairs()
        .filter(|(name, _)| name != "password")
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    parsed.query_pairs_mut().clear().extend_pairs(others);
    parsed.to_string()
}

/// The text of the innermost error, without sqlx's own preamble.
fn cause(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Configuration(inner) => inner.to_string(),
        other => other.to_string(),
    }
}

/// Where the options lead, for errors and names: `host:port/database`.
pub(crate) fn address(options: &PgConnectOptions) -> String {
    format!("{}/{}", server(options), database(options))
}

/// The database: named like the user, unless the options say otherwise.
pub(crate) fn database(options: &PgConnectOptions) -> &str {
    options
        .get_database()
        .unwrap_or_else(|| options.get_username())
}

/// The server alone: `host:port`, or the folder of its socket in place of the host.
pub(crate) fn server(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(socket) => format!("{}:{}", socket.display(), options.get_port()),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "canary-93";

    #[track_caller]
    fn check(url: &str, wanted: &str) {
        let text = parse(url).expect_err(url).to_string();
        assert!(text.contains(wanted), "{url}: {text}");
        assert!(!text.contains("93"), "the password shows: {text}");
    }

    #[test]
    fn each_problem_is_named_without_the_password() {
        check("not a url canary-93", "not a URL");
        check(&format!("mysql://u:{CANARY}@h/db"), "`mysql`");
        check(
            &format!("postgres://u:{CANARY}@h:70000/db"),
            "invalid port number",
        );
        check(&format!("postgres://u:x@{CANARY}#y@h/db"), "%23");
        check(&format!("postgres://u:1/{CANARY}@h/db"), "%2F");
        check(&format!("postgres://u:1?{CANARY}@h/db"), "%3F");
        check(
            &format!("postgres://u:{CANARY}@h/db?sslmod=require"),
            "`sslmod`",
        );
        check(
            &format!("postgres://u:{CANARY}@h/db?sslmode=maybe"),
            "maybe",
        );
        check(
            &format!("postgres://u:{CANARY}@h/db?port=http"),
            "invalid digit",
        );
        check(
            &format!("postgres://u:{CANARY}@h,i/db?target_session_attrs=leader"),
            "\"leader\"",
        );
        check(
            &format!("postgres://u:{CANARY}@h:1,i:70000/db"),
            "invalid port number",
        );
    }

    #[test]
    fn a_good_url_is_read_and_located() {
        let target = parse("postgresql://alice:p%40ss@db.example:6432/market").unwrap();
        assert_eq!(target.address(), "db.example:6432/market");
        assert_eq!(target.hosts[0].get_username(), "alice");
        let target = parse("postgres://alice@h?options[search_path]=app").unwrap();
        assert!(target.address().ends_with(":5432/alice"));
    }

    #[track_caller]
    fn check_verified(url: &str, wanted: &[&str]) {
        let target = parse(url).unwrap();
        let modes = target.hosts.iter().map(PgConnectOptions::get_ssl_mode);
        let modes: Vec<_> = modes.map(|mode| format!("{mode:?}")).collect();
        assert_eq!(modes, wanted, "{url}");
    }

    #[test]
    fn a_server_elsewhere_is_verified_unless_the_url_says_otherwise() {
        check_verified("postgres://u@db.example/d", &["VerifyFull"]);
        check_verified("postgres://u@10.0.0.7/d", &["VerifyFull"]);
        check_verified(
            "postgres://u@localhost,[::1],127.0.0.9,h/d",
            &["Prefer", "Prefer", "Prefer", "VerifyFull"],
        );
        check_verified("postgres:///d?host=/run/postgresql&user=u", &["Prefer"]);
        check_verified("postgres://u@h/d?host=127.0.0.1", &["Prefer"]);
        check_verified("postgres://u@127.0.0.1/d?host=db.example", &["VerifyFull"]);
        for (said, mode) in [
            ("disable", "Disable"),
            ("allow", "Allow"),
            ("prefer", "Prefer"),
            ("require", "Require"),
            ("verify-ca", "VerifyCa"),
        ] {
            check_verified(&format!("postgres://u@h/d?sslmode={said}"), &[mode]);
            check_verified(&format!("postgres://u@h/d?ssl-mode={said}"), &[mode]);
        }
    }

    #[test]
    fn several_hosts_share_all_else() {
        let target = parse(
            "postgres://a:p%2Cq@one:5433,two,[::1]:5434/market?sslmode=require\
             &target_session_attrs=read-write&application_name=x",
        )
        .unwrap();
        assert_eq!(target.attrs, TargetSessionAttrs::ReadWrite);
        assert_eq!(target.address(), "one:5433,two:5432,[::1]:5434/market");
        for options in &target.hosts {
            assert_eq!(options.get_application_name(), Some("x"));
            assert_eq!(options.get_username(), "a");
        }
    }

    #[test]
    fn two_urls_that_differ_in_their_password_lead_to_the_same_place() {
        let plain = without_password("postgres://u@h/d?sslmode=require");
        for same in [
            "postgres://u:canary-93@h/d?sslmode=require",
            "postgres://u@h/d?password=canary-93&sslmode=require",
        ] {
            assert_eq!(without_password(same), plain);
        }
        for other in ["postgres://v@h/d?sslmode=require", "postgres://u@h/d"] {
            assert_ne!(without_password(other), plain);
        }
        let several = without_password("postgres://u@h:1,i:2/d");
        assert_eq!(
            without_password("postgres://u:canary-93@h:1,i:2/d"),
            several
        );
        assert_ne!(without_password("postgres://u@i:2,h:1/d"), several);
    }

    #[test]
    fn a_socket_is_located_by_its_folder() {
        let target = parse("postgres:///market?host=/run/postgresql&user=u").unwrap();
        assert_eq!(target.address(), "/run/postgresql:5432/market");
    }
}
