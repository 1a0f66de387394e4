//! Servers in containers of an engine that answers.

use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::process::POLL;

/// A container this crate has started.
///
/// It is known by its name, which is given before it exists: even a start that is cut short leaves
/// nothing that could not be removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Container {
    pub(crate) name: String,
}

impl Container {
    /// Removes the container with its volumes, running or not.
    pub(crate) fn remove(&self) {
        let _ = docker(
            &["rm", "--force", "--volumes", &self.name],
            &[],
            Duration::from_secs(20),
        );
    }

    pub(crate) fn is_running(&self) -> bool {
        let arguments = ["inspect", "--format", "{{.State.Running}}", &self.name];
        docker(&arguments, &[], Duration::from_secs(5)).is_ok_and(|answer| answer == "true")
    }

    /// The last lines the server in the container wrote.
    pub(crate) fn log_tail(&self) -> String {
        let arguments = ["logs", "--tail", "20", &self.name];
        docker(&arguments, &[], Duration::from_secs(5)).unwrap_or_else(|error| error)
    }
}

/// Whether an engine answers, and if not what the client said.
pub(crate) fn engine_answers() -> Result<(), String> {
    docker(
        &["info", "--format", "{{.ServerVersion}}"],
        &[],
        Duration::from_secs(5),
    )
    .map(drop)
}

/// Runs the client and gives what it printed. Values of `variables` reach the container without
/// standing on a command line that every user of the machine can read.
pub(crate) fn docker(
    arguments: &[&str],
    variables: &[(&str, &str)],
    within: Duration,
) -> Result<String, String> {
    let mut child = Command::new("docker")
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => "no `docker` in PATH".to_owned(),
            _ => format!("`docker` does not run: {error}"),
        })?;
    let deadline = Instant::now() + within;
    loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < deadline => thread::sleep(POLL),
            Ok(Some(_)) => break,
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!(
                    "`docker {}` did not answer within {} s",
                    arguments.first().unwrap_or(&""),
                    within.as_secs()
                ));
            }
        }
    }
    let Output {
        status,
        stdout,
        stderr,
    } = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&stderr);
    let said = said
        .trim()
        .lines()
        .last()
        .unwrap_or("no message")
        .to_owned();
    Err(format!(
        "`docker {}` failed: {said}",
        arguments.first().unwrap_or(&"")
    ))
}
