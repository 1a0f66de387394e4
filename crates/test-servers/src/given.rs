//! A server the user gave: looked at, never touched.

use std::net::TcpStream;
use std::time::Duration;

use crate::Kind;
use crate::error::EnvironmentError;
use crate::url::{Address, Redacted};
use crate::wire::postgres::Answer;
use crate::wire::{self, mongo, postgres};

const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the server at `url` for its first answer. Nothing is authenticated here: whether the
/// password is right, the driver that uses the URL finds out, with TLS and every option it knows.
pub(crate) fn check(kind: Kind, url: &str) -> Result<(), EnvironmentError> {
    let failed = |problem: String, remedy: &str| EnvironmentError {
        variable: kind.variable(),
        value: Redacted(url).to_string(),
        problem,
        remedy: remedy.to_owned(),
    };
    let (schemes, port): (&[&str], _) = match kind {
        Kind::Postgres => (&["postgres", "postgresql"], 5432),
        Kind::Mongo => (&["mongodb", "mongodb+srv"], 27017),
    };
    let address = Address::parse(url, schemes, port)
        .map_err(|problem| failed(problem, "correct it, or unset it to have a server started"))?;
    if address.hosts.is_empty() || address.scheme == "mongodb+srv" {
        // A socket file or a service record: only the driver knows where that leads.
        return Ok(());
    }
    let mut problems = Vec::new();
    for (host, port) in &address.hosts {
        match ask(kind, &address, host, *port) {
            Ok(()) => return Ok(()),
            Err(problem) => problems.push(format!("{host}:{port}: {problem}")),
        }
    }
    Err(failed(
        format!("no server answers there ({})", problems.join("; ")),
        "start that server, or unset the variable to have one started",
    ))
}

fn ask(kind: Kind, address: &Address, host: &str, port: u16) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let mut last = "the name has no address".to_owned();
    for socket in wire::resolve(host, port, PATIENCE).map_err(text)? {
        let answer = match kind {
            Kind::Postgres => {
                match postgres::ask(socket, &address.user, &address.database, PATIENCE) {
                    Ok(Answer::NotYet(message)) => Err(message),
                    Ok(Answer::Accepting | Answer::Refused { .. }) => Ok(()),
                    Err(error) => Err(text(error)),
                }
            }
            Kind::Mongo if uses_tls(address) => TcpStream::connect_timeout(&socket, PATIENCE)
                .map(drop)
                .map_err(text),
            Kind::Mongo => mongo::hello(socket, PATIENCE).map(drop).map_err(text),
        };
        match answer {
            Ok(()) => return Ok(()),
            Err(problem) => last = problem,
        }
    }
    Err(last)
}

fn uses_tls(address: &Address) -> bool {
    ["tls", "ssl"]
        .iter()
        .any(|name| address.option(name) == Some("true"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[track_caller]
    fn check_refused(kind: Kind, url: &str, expected: &[&str]) {
        let said = check(kind, url).unwrap_err().to_string();
        for part in expected {
            assert!(said.contains(part), "{said:?} does not contain {part:?}");
        }
        assert!(!said.contains("canary"), "{said}");
    }

    #[test]
    fn a_url_that_cannot_be_used_names_the_variable_and_hides_the_password() {
        check_refused(
            Kind::Postgres,
            "mysql://u:canary@h/d",
            &["POSTGRES_URL", "u:***@h", "scheme"],
        );
        check_refused(
            Kind::Mongo,
            "postgres://u:canary@h/d",
            &["MONGODB_URL", "scheme"],
        );
        check_refused(
            Kind::Postgres,
            "postgres://u:canary@h:x/d",
            &["port is not"],
        );
    }

    #[test]
    fn a_server_that_does_not_answer_is_named_with_the_remedy() {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let url = format!("postgres://u:canary@127.0.0.1:{port}/d");
        let address = format!("127.0.0.1:{port}: ");
        check_refused(
            Kind::Postgres,
            &url,
            &["POSTGRES_URL", &address, "refused", "unset"],
        );
        let url = format!("mongodb://u:canary@127.0.0.1:{port}/d");
        check_refused(
            Kind::Mongo,
            &url,
            &["MONGODB_URL", &address, "refused", "unset"],
        );
    }
}
