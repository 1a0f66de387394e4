//! The Docker client, as far as starting and removing servers goes.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::guardian::Ward;
use crate::node::Deadline;
use crate::process::POLL;

/// How long the engine may take for an answer that needs no work.
const PROMPT: Duration = Duration::from_secs(5);

/// The client with which an engine is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Engine {
    client: PathBuf,
}

impl Engine {
    /// The engine that answers to the client in `search_path`; if there is none, why.
    pub(crate) fn find(search_path: &[PathBuf]) -> Result<Self, String> {
        let client = search_path.iter().map(|folder| folder.join("docker"));
        let client = client
            .into_iter()
            .find(|path| path.is_file())
            .ok_or("no `docker` in PATH")?;
        let engine = Self { client };
        // The client alone answers too, with an empty version and, in some releases, success.
        match engine
            .ask(&["info", "--format", "{{.ServerVersion}}"], PROMPT)?
            .as_str()
        {
            "" => Err("the Docker client finds no engine".to_owned()),
            _ => Ok(engine),
        }
    }

    /// Runs the client and gives what it printed.
    pub(crate) fn ask(&self, arguments: &[&str], within: Duration) -> Result<String, String> {
        let mut command = self.command(arguments);
        let child = command.spawn().map_err(|error| self.does_not_run(&error))?;
        finish(child, arguments, within)
    }

    /// As [`Self::ask`], for work that a signal must be able to cut short. Values of `variables`
    /// reach the container without standing on a command line that every user can read.
    pub(crate) fn work(
        &self,
        ward: &Ward,
        arguments: &[&str],
        variables: &[(&str, &str)],
        within: Duration,
    ) -> Result<String, String> {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        let (child, process) = ward
            .spawn(&mut command, Signal::TERM)
            .map_err(|error| self.does_not_run(&error))?;
        let answer = finish(child, arguments, within);
        ward.forget(&process);
        answer
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.client);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn does_not_run(&self, error: &io::Error) -> String {
        format!("{} does not run: {error}", self.client.display())
    }
}

fn finish(mut child: Child, arguments: &[&str], within: Duration) -> Result<String, String> {
    let verb = arguments.first().copied().unwrap_or_default();
    let (said, complained) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let deadline = Deadline::after(within);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if !deadline.passed() => thread::sleep(POLL),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                let seconds = within.as_secs();
                return Err(format!("`docker {verb}` did not answer within {seconds} s"));
            }
        }
    };
    let text = |reader: thread::JoinHandle<String>| reader.join().unwrap_or_default();
    if status.success() {
        return Ok(text(said).trim().to_owned());
    }
    let complaint = text(complained);
    let last = complaint.trim().lines().last().unwrap_or("no message");
    Err(format!("`docker {verb}` failed: {last}"))
}

/// Reads on a thread of its own: a client that fills a pipe nobody reads would never end.
fn collect(pipe: Option<impl io::Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A container this crate has started or is about to.
///
/// It is known by its name, which is given before it exists: even a start that is cut short leaves
/// nothing that could not be removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Container {
    pub(crate) engine: Engine,
    pub(crate) name: String,
}

impl Container {
    pub(crate) fn new(engine: Engine, kind: &str, run: &Path) -> Self {
        let run = run
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Self {
            engine,
            name: format!("elastic-pools-{kind}-{run}"),
        }
    }

    /// Removes the container with its volumes, running or not.
    pub(crate) fn remove(&self) {
        let arguments = ["rm", "--force", "--volumes", &self.name];
        let _ = self.engine.ask(&arguments, Duration::from_secs(20));
    }

    pub(crate) fn is_running(&self) -> bool {
        let arguments = ["inspect", "--format", "{{.State.Running}}", &self.name];
        self.engine
            .ask(&arguments, PROMPT)
            .is_ok_and(|answer| answer == "true")
    }

    /// The last lines the server in the container wrote.
    pub(crate) fn log_tail(&self) -> String {
        let arguments = ["logs", "--tail", "20", &self.name];
        self.engine
            .ask(&arguments, PROMPT)
            .unwrap_or_else(|error| error)
    }
}
