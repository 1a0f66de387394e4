//! Reading the connection string without ever repeating what is secret in it.

use std::time::Duration;

use mongodb::options::{ConnectionString, HostInfo, ServerAddress};

use crate::config::Settings;
use crate::error::SettingProblem;
use crate::made::Made;

/// The port of a host that names none.
const DEFAULT_PORT: u16 = 27_017;

/// What is wrong with a connection string. Never contains a password or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriProblem {
    /// It does not begin with `mongodb://` or `mongodb+srv://`.
    #[error("want mongodb://… or mongodb+srv://…")]
    Scheme,
    /// The user name or the password has a character that must be written as `%xx`.
    #[error("the user name or password has a character that must be percent-encoded")]
    UserInfo,
    /// There is no host.
    #[error("no host")]
    NoHost,
    /// A host has a port that is no number between 1 and 65,535.
    #[error("host `{host}`: the port is not a number between 1 and 65535")]
    #[non_exhaustive]
    Port {
        /// The host without the port.
        host: String,
    },
    /// An option is not of the form `name=value`.
    #[error("option {at} is not of the form name=value")]
    #[non_exhaustive]
    Option {
        /// Its place, counted from 1.
        at: usize,
    },
    /// Something else, in the driver's words.
    #[error("{0}")]
    Other(String),
}

/// Reads `uri`.
///
/// The checks here come before the driver's own because its messages repeat pieces of the string,
/// and what looks like an option may be the end of a password that has a `?` in it.
pub(crate) fn parse(uri: &str) -> Result<ConnectionString, UriProblem> {
    check(uri)?;
    ConnectionString::parse(uri).map_err(|error| {
        let text = match &*error.kind {
            mongodb::error::ErrorKind::InvalidArgument { message, .. } => message.clone(),
            kind => kind.to_string(),
        };
        UriProblem::Other(redact(&text, uri))
    })
}

/// The servers that `uri` names: `host:port`, or the one name of `mongodb+srv://`.
pub(crate) fn servers(uri: &str) -> Vec<String> {
    match parse(uri).map(|parsed| parsed.host_info) {
        Ok(HostInfo::HostIdentifiers(hosts)) => hosts
            .iter()
            .map(|host| match host {
                ServerAddress::Tcp { host, port } => {
                    format!("{host}:{}", port.unwrap_or(DEFAULT_PORT))
                }
                other => other.to_string(),
            })
            .collect(),
        Ok(HostInfo::DnsRecord(name)) => vec![name],
        Ok(_) | Err(_) => Vec::new(),
    }
}

fn check(uri: &str) -> Result<(), UriProblem> {
    let rest = ["mongodb://", "mongodb+srv://"]
        .iter()
        .find_map(|scheme| uri.strip_prefix(scheme))
        .ok_or(UriProblem::Scheme)?;
    let (authority, options) = match rest.split_once('?') {
        Some((authority, options)) => (authority, Some(options)),
        None => (rest, None),
    };
    if options.is_some_and(|options| options.contains('@')) {
        // The last `@` ends the user information, so a `?` before it belongs to a password.
        return Err(UriProblem::UserInfo);
    }
    let (user_info, hosts) = match authority.rsplit_once('@') {
        Some((user_info, hosts)) => (Some(user_info), hosts),
        None => (None, authority),
    };
    if user_info.is_some_and(|info| !is_encoded(info)) {
        return Err(UriProblem::UserInfo);
    }
    let hosts = hosts.split_once('/').map_or(hosts, |(hosts, _)| hosts);
    for host in hosts.split(',') {
        check_host(host, user_info.is_some())?;
    }
    for (at, option) in options.unwrap_or("").split('&').enumerate() {
        if !option.is_empty() && !option.contains('=') {
            return Err(UriProblem::Option { at: at + 1 });
        }
    }
    Ok(())
}

fn check_host(host: &str, has_user: bool) -> Result<(), UriProblem> {
    if host.is_empty() || host.starts_with(':') {
        return Err(UriProblem::NoHost);
    }
    if host.starts_with('[') || host.ends_with(".sock") {
        return Ok(());
    }
    let Some((host, port)) = host.split_once(':') else {
        return Ok(());
    };
    if port.parse::<u16>().is_ok_and(|port| port > 0) {
        Ok(())
    } else if has_user || port.is_empty() {
        let host = host.to_owned();
        Err(UriProblem::Port { host })
    } else {
        // `user:password` without `@host` reads like a host with a port.
        Err(UriProblem::NoHost)
    }
}

/// Whether user information keeps to the characters that need no encoding, and `%xx`.
fn is_encoded(info: &str) -> bool {
    let mut bytes = info.bytes();
    let mut colons = 0;
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits = [bytes.next(), bytes.next()];
                if !digits
                    .iter()
                    .all(|digit| digit.is_some_and(|digit| digit.is_ascii_hexdigit()))
                {
                    return false;
                }
            }
            b':' => colons += 1,
            b'/' | b'?' | b'#' | b'[' | b']' | b'@' => return false,
            _ => {}
        }
    }
    colons <= 1
}

/// Options whose values are secrets.
const SECRET_OPTIONS: [&str; 3] = [
    "authmechanismproperties",
    "proxypassword",
    "tlscertificatekeyfilepassword",
];

/// Takes everything out of `text` that `uri` gives as a secret.
fn redact(text: &str, uri: &str) -> String {
    let mut secrets = Vec::new();
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let (authority, options) = rest.split_once('?').unwrap_or((rest, ""));
    if let Some((user_info, _)) = authority.rsplit_once('@') {
        secrets.extend(user_info.split_once(':').map(|(_, password)| password));
    }
    for option in options.split('&') {
        if let Some((name, value)) = option.split_once('=')
            && SECRET_OPTIONS.contains(&name.to_ascii_lowercase().as_str())
        {
            secrets.push(value);
            secrets.extend(value.split([',', ':']));
        }
    }
    let mut secrets: Vec<String> = secrets
        .into_iter()
        .flat_map(|secret| [secret.to_owned(), percent_decoded(secret)])
        // A shorter one would be taken out of the middle of words, and show itself by that.
        .filter(|secret| secret.len() > 3)
        .collect();
    // The longest first, so that a short one does not leave the rest of a long one behind.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.iter().fold(text.to_owned(), |text, secret| {
        text.replace(secret.as_str(), "***")
    })
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| {
            tail.get(at)
                .and_then(|byte| char::from(*byte).to_digit(16))
                .and_then(|digit| u8::try_from(digit).ok())
        };
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(high * 16 + low);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Takes from the URI what the pool does not say, and reports what both say differently.
///
/// Sizes give way as little as they must: a default maximum is lowered to the URI's `maxPoolSize`,
/// and raised to its `minPoolSize`.
pub(crate) fn settle(uri: &ConnectionString, settings: &mut Settings) -> Vec<SettingProblem> {
    let mut problems = Vec::new();
    settle_sizes(uri, settings, &mut problems);
    settle_rest(uri, settings, &mut problems);
    if let Some(selection) = uri.server_selection_timeout
        && selection > settings.acquire_timeout
        && (settings.made.has(Made::ACQUIRE_TIMEOUT) || uri.wait_queue_timeout().is_some())
    {
        problems.push(SettingProblem::ServerSelection {
            selection: selection.as_millis(),
            acquire: settings.acquire_timeout.as_millis(),
        });
    }
    if let (Some(in_uri), Some(database)) = (&uri.default_database, &settings.database)
        && in_uri != database
        && !names_users(uri)
    {
        problems.push(conflict("database", in_uri, "database", database));
    }
    problems
}

fn settle_sizes(
    uri: &ConnectionString,
    settings: &mut Settings,
    problems: &mut Vec<SettingProblem>,
) {
    let made = settings.made;
    // The largest maximum that somebody has asked for.
    let wanted = match settings.dynamic {
        Some(dynamic) => Some(("maxSize", dynamic.max_size)),
        None if made.has(Made::MAX) => Some(("max", settings.limits.1)),
        None => None,
    };
    if let Some(size) = uri.max_pool_size {
        match (settings.ceiling, wanted) {
            (Some(ceiling), _) if made.has(Made::CEILING) => {
                if ceiling != size {
                    problems.push(conflict("maxPoolSize", &size, "ceiling", &ceiling));
                }
            }
            (_, Some((setting, max))) if max > size => {
                problems.push(conflict("maxPoolSize", &size, setting, &max));
            }
            _ => settings.ceiling = Some(size),
        }
        if wanted.is_none() {
            settings.limits.1 = settings.limits.1.min(size);
        }
    }
    let Some(size) = uri.min_pool_size.filter(|_| !made.has(Made::RUNNING)) else {
        return;
    };
    match (settings.dynamic, settings.limits) {
        (Some(dynamic), _) if dynamic.min_size != size => {
            problems.push(conflict("minPoolSize", &size, "minSize", &dynamic.min_size));
        }
        (Some(_), _) => {}
        (None, (min, _)) if made.has(Made::MIN) => {
            if min != size {
                problems.push(conflict("minPoolSize", &size, "min", &min));
            }
        }
        (None, (_, max)) if made.has(Made::MAX) && size > max => {
            problems.push(conflict("minPoolSize", &size, "max", &max));
        }
        (None, (_, max)) => settings.limits = (size, max.max(size)),
    }
}

fn settle_rest(
    uri: &ConnectionString,
    settings: &mut Settings,
    problems: &mut Vec<SettingProblem>,
) {
    let made = settings.made;
    if let Some(sockets) = uri.max_connecting {
        if !made.has(Made::MAX_CONNECTING) {
            settings.max_connecting = sockets;
        } else if sockets != settings.max_connecting {
            let ours = settings.max_connecting;
            problems.push(conflict("maxConnecting", &sockets, "max_connecting", &ours));
        }
    }
    let mut time = |option, in_uri: Option<Duration>, bit, setting, ours: &mut Duration| {
        let Some(in_uri) = in_uri else { return };
        if !made.has(bit) {
            *ours = in_uri;
        } else if in_uri.as_millis() != ours.as_millis() {
            let (theirs, ours) = (in_uri.as_millis(), ours.as_millis());
            problems.push(conflict(option, &theirs, setting, &ours));
        }
    };
    // Zero is the driver's word for never.
    let mut idle = settings.idle_timeout.unwrap_or_default();
    time(
        "maxIdleTimeMS",
        uri.max_idle_time,
        Made::IDLE_TIMEOUT,
        "idle_timeout",
        &mut idle,
    );
    if uri.max_idle_time.is_some() && !made.has(Made::IDLE_TIMEOUT) {
        settings.idle_timeout = Some(idle).filter(|idle| !idle.is_zero());
    }
    time(
        "waitQueueTimeoutMS",
        uri.wait_queue_timeout(),
        Made::ACQUIRE_TIMEOUT,
        "acquire_timeout",
        &mut settings.acquire_timeout,
    );
    time(
        "connectTimeoutMS",
        uri.connect_timeout,
        Made::CONNECT_TIMEOUT,
        "connect_timeout",
        &mut settings.connect_timeout,
    );
}

fn conflict(
    uri_option: &'static str,
    uri_value: &impl ToString,
    setting: &'static str,
    value: &impl ToString,
) -> SettingProblem {
    SettingProblem::Conflict {
        uri_option,
        uri_value: uri_value.to_string(),
        setting,
        value: value.to_string(),
    }
}

/// Whether the database in the URI says where the user is looked up. Then the pool may use another.
fn names_users(uri: &ConnectionString) -> bool {
    uri.credential
        .as_ref()
        .is_some_and(|credential| credential.source.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "c4n4ry";

    #[track_caller]
    fn check(uri: &str, wanted: &str) {
        let problem = parse(uri).unwrap_err();
        let (text, debug) = (problem.to_string(), format!("{problem:?}"));
        assert!(text.contains(wanted), "{uri}: {text}");
        for shown in [text, debug] {
            assert!(!shown.contains(CANARY), "{uri}: {shown}");
        }
    }

    #[test]
    fn each_malformed_uri_is_named_without_its_password() {
        check("", "mongodb://");
        check("postgres://u:c4n4ry@h/db", "mongodb://");
        check("mongodb:/u:c4n4ry@h", "mongodb://");
        check("mongodb://u:c4n4ry", "no host");
        check("mongodb://u:c4n4ry@", "no host");
        check("mongodb://u:c4n4ry@/db", "no host");
        check("mongodb://u:c4n4ry@h:port/db", "host `h`");
        check("mongodb://u:c4n4ry@h:70000/db", "host `h`");
        check("mongodb://u:c4n4ry@h,:27017", "no host");
        check("mongodb://u:c4n4ry?x@h/db", "percent-encoded");
        check("mongodb://u:c4n4ry?x=c4n4ry@h/db", "percent-encoded");
        check("mongodb://u:c4n4ry@c4n4ry@h/db", "percent-encoded");
        check("mongodb://u:c4n4ry%zz@h/db", "percent-encoded");
        check("mongodb://u:c4n4ry/x@h/db", "percent-encoded");
        check("mongodb://u:c4n4ry:c4n4ry@h/db", "percent-encoded");
        check("mongodb://u:c4n4ry@h/db?retryWrites", "option 1");
        check("mongodb://u:c4n4ry@h/db?retryWrites=maybe", "retrywrites");
        check("mongodb://u:c4n4ry@h/db?poolSize=5", "poolsize");
        check("mongodb://u:c4n4ry@h/db?maxPoolSize=c4n4ry", "maxpoolsize");
        check(
            "mongodb://u:p@h/?authMechanismProperties=c4n4ry",
            "authMechanismProperties",
        );
    }

    #[test]
    fn what_the_driver_accepts_is_accepted() {
        for uri in [
            "mongodb://localhost",
            "mongodb://u:p%40ss@h1:27017,h2:27018/db?replicaSet=rs0",
            "mongodb://[::1]:27017/db",
            "mongodb://%2Ftmp%2Fmongodb-27017.sock/db",
        ] {
            assert!(parse(uri).is_ok(), "{uri}");
        }
    }

    #[test]
    fn a_secret_is_taken_out_in_both_spellings() {
        let uri = "mongodb://u:aa%40bb@h/?proxyPassword=wxyz";
        let text = redact("aa@bb and aa%40bb and wxyz", uri);
        assert_eq!(text, "*** and *** and ***");
    }
}
