//! Server addresses as users write them: taken apart enough to reach the server, and never printed
//! with a password in them.

use std::fmt;

/// The parts of a database URL that a health check needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) scheme: String,
    pub(crate) user: String,
    pub(crate) hosts: Vec<(String, u16)>,
    pub(crate) database: String,
    pub(crate) options: Vec<(String, String)>,
}

impl Address {
    /// Takes `url` apart; the error says what is wrong without repeating the URL.
    pub(crate) fn parse(url: &str, schemes: &[&str], port: u16) -> Result<Self, String> {
        let expected = || format!("expected {}://user:password@host:port/database", schemes[0]);
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(format!("it has no `://`; {}", expected()));
        };
        if !schemes.contains(&scheme) {
            return Err(format!("its scheme is {scheme:?}; {}", expected()));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (user_info, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (hosts, database) = rest.split_once('/').unwrap_or((rest, ""));
        let hosts = match hosts {
            "" => Vec::new(),
            hosts => hosts
                .split(',')
                .map(|host| parse_host(host, port))
                .collect::<Result<_, _>>()?,
        };
        let user = user_info
            .split_once(':')
            .map_or(user_info, |(user, _)| user);
        Ok(Self {
            scheme: scheme.to_owned(),
            user: percent_decode(user),
            hosts,
            database: percent_decode(database),
            options: query
                .split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (name.to_owned(), percent_decode(value)))
                .collect(),
        })
    }

    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.options
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }
}

fn parse_host(host: &str, default_port: u16) -> Result<(String, u16), String> {
    let (name, port) = match host.rsplit_once(':') {
        // A bare IPv6 address ends with `]`.
        Some((name, port)) if !port.ends_with(']') => {
            // What stands here may be a password whose host was forgotten: it is not repeated.
            (
                name,
                port.parse()
                    .map_err(|_| "its port is not a number below 65536".to_owned())?,
            )
        }
        _ => (host, default_port),
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    if name.is_empty() {
        return Err("it has an empty host name".to_owned());
    }
    Ok((percent_decode(name), port))
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        at += if hex.is_some() { 3 } else { 1 };
        out.push(hex.unwrap_or_else(|| bytes[at - 1]));
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Prints a URL with the password, and any option that holds one, replaced by `***`.
///
/// It errs on the side of hiding: an `@` or `/` that should have been escaped stays hidden, and so
/// does a port that is no number, which is a password whose host was forgotten.
pub(crate) struct Redacted<'a>(pub(crate) &'a str);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = match self.0.split_once("://") {
            Some((scheme, rest)) => (format!("{scheme}://"), rest),
            None => (String::new(), self.0),
        };
        f.write_str(&scheme)?;
        let rest = match rest.rsplit_once('@') {
            Some((user_info, rest)) => {
                let user = user_info
                    .split_once(':')
                    .map_or(user_info, |(user, _)| user);
                let hidden = if user_info.contains(':') { ":***" } else { "" };
                write!(f, "{user}{hidden}@")?;
                rest
            }
            None => rest,
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, path) = path.split_at(path.find('/').unwrap_or(path.len()));
        for (at, host) in hosts.split(',').enumerate() {
            let separator = if at == 0 { "" } else { "," };
            match host.rsplit_once(':') {
                Some((name, port)) if !port.ends_with(']') && port.parse::<u32>().is_err() => {
                    write!(f, "{separator}{name}:***")?;
                }
                _ => write!(f, "{separator}{host}")?,
            }
        }
        f.write_str(path)?;
        for (at, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
            let name = pair.split_once('=').map_or(pair, |(name, _)| name);
            let separator = if at == 0 { '?' } else { '&' };
            if name.to_ascii_lowercase().contains("password") {
                write!(f, "{separator}{name}=***")?;
            } else {
                write!(f, "{separator}{pair}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_redacted(url: &str, expected: &str) {
        assert_eq!(Redacted(url).to_string(), expected);
        assert!(!expected.contains("canary"));
    }

    #[test]
    fn passwords_are_never_printed() {
        check_redacted("postgres://u:canary@h:1/d", "postgres://u:***@h:1/d");
        check_redacted("postgres://u@h/d", "postgres://u@h/d");
        check_redacted(
            "postgres://h/d?password=canary&x=1",
            "postgres://h/d?password=***&x=1",
        );
        check_redacted("postgres://u:can/ary@canary@h/d", "postgres://u:***@h/d");
        check_redacted("u:canary@h", "u:***@h");
        check_redacted("postgres://u:canary/d", "postgres://u:***/d");
        check_redacted("postgres://u:canary?x=1@h/d", "postgres://u:***@h/d");
        check_redacted(
            "mongodb://u:canary@a:1,b:2/?replicaSet=r",
            "mongodb://u:***@a:1,b:2/?replicaSet=r",
        );
    }

    #[test]
    fn an_address_is_taken_apart() {
        let address = Address::parse(
            "mongodb://us%40er:p%3Aw@one:1,[::1]:2,three/db?replicaSet=rs0",
            &["mongodb"],
            27017,
        )
        .unwrap();
        assert_eq!(address.user, "us@er");
        assert_eq!(
            address.hosts,
            [
                ("one".to_owned(), 1),
                ("::1".to_owned(), 2),
                ("three".to_owned(), 27017)
            ]
        );
        assert_eq!(address.database, "db");
        assert_eq!(address.option("replicaset"), Some("rs0"));
    }

    #[track_caller]
    fn check_refused(url: &str, expected: &str) {
        let problem = Address::parse(url, &["postgres", "postgresql"], 5432).unwrap_err();
        assert!(problem.contains(expected), "{problem}");
    }

    #[test]
    fn a_malformed_url_says_what_is_wrong() {
        check_refused("localhost:5432", "no `://`");
        check_refused("mysql://h", "scheme is \"mysql\"");
        check_refused("postgres://h:port/d", "port is not");
        check_refused("postgres://h:70000/d", "port is not");
        check_refused("postgres://:5432/d", "empty host");
    }
}
