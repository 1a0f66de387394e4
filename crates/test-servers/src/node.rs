//! One server process with its folder: started, waited for, started again.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::error::{IoContext as _, IoError, StartError};
use crate::guardian::Ward;
use crate::log::LogEnd;
use crate::process::{Identity, POLL};
use crate::runs::{self, Record};
use crate::user::Unprivileged;
use crate::{Environment, Kind, port};

/// What a server said when asked whether it is ready.
#[derive(Debug)]
pub(crate) enum Probe {
    Ready,
    NotYet(String),
}

/// The folder of one server and everything in it, ended and removed with this.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) kind: Kind,
    pub(crate) folder: PathBuf,
    pub(crate) record: Record,
    pub(crate) ward: Ward,
}

impl Home {
    pub(crate) fn new(kind: Kind, environment: &Environment) -> Result<Self, StartError> {
        let folder = runs::create(environment.runtime_root())?;
        let ward = Ward::new().context("watch over", &folder)?;
        ward.adopt_folder(folder.clone());
        let record = Record {
            kind: kind.slug().to_owned(),
            owner: Identity::current(),
            ..Record::default()
        };
        record.write(&folder)?;
        Ok(Self {
            kind,
            folder,
            record,
            ward,
        })
    }

    pub(crate) fn save(&self) -> Result<(), IoError> {
        self.record.write(&self.folder)
    }

    /// Adds to the record what a later command has to know.
    pub(crate) fn remember(&mut self, url: &str, origin: &str) -> Result<(), IoError> {
        (self.record.url, self.record.origin) = (url.to_owned(), origin.to_owned());
        self.save()
    }

    /// Runs a program to its end, within `deadline`.
    pub(crate) fn run(
        &mut self,
        command: &mut Command,
        step: &'static str,
        deadline: Deadline,
    ) -> Result<(), StartError> {
        let program = name_of(command);
        let log = self.folder.join(format!("{step}.log"));
        let (mut child, process) = self.spawn(command, &log, Signal::TERM)?;
        // Known to whoever cleans up should this process be killed meanwhile.
        self.record.helper = Some(process.clone());
        self.save()?;
        let ended = loop {
            match child.try_wait().context("wait for", Path::new(&program))? {
                Some(status) => break Ok(status),
                None if deadline.passed() => break Err(()),
                None => thread::sleep(POLL),
            }
        };
        match ended {
            Ok(status) if status.success() => {
                self.ward.forget(&process);
                Ok(())
            }
            Ok(status) => {
                self.ward.forget(&process);
                let (status, log) = (status.to_string(), LogEnd::of(log));
                Err(StartError::Ended {
                    program,
                    step,
                    status,
                    log,
                })
            }
            Err(()) => {
                let (last, log) = ("it still runs".to_owned(), LogEnd::of(log));
                self.ward.end();
                let _ = child.wait();
                Err(StartError::Deadline {
                    program,
                    step,
                    within: deadline.within,
                    last,
                    log,
                })
            }
        }
    }

    fn spawn(
        &self,
        command: &mut Command,
        log: &Path,
        end: Signal,
    ) -> Result<(Child, Identity), StartError> {
        let out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .context("create", log)?;
        let errors = out.try_clone().context("open", log)?;
        command
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(errors);
        let program = name_of(command);
        self.ward
            .spawn(command, end)
            .map_err(|source| StartError::Spawn { program, source })
    }
}

fn name_of(command: &Command) -> String {
    Path::new(command.get_program()).display().to_string()
}

/// A moment by which something must be done, with the time it had in all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    pub(crate) within: Duration,
    at: Instant,
}

impl Deadline {
    pub(crate) fn after(within: Duration) -> Self {
        Self {
            within,
            at: Instant::now() + within,
        }
    }

    fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    pub(crate) fn passed(&self) -> bool {
        Instant::now() >= self.at
    }
}

/// How to start a server, the first time and every other time.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) user: Option<Unprivileged>,
    /// What the arguments before a port are called.
    pub(crate) port_argument: fn(u16) -> Vec<OsString>,
    /// Asks a server that may be starting.
    pub(crate) probe: fn(SocketAddr) -> Probe,
}

/// A server process on its port.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) home: Home,
    launch: Launch,
    port: u16,
    child: Option<(Child, Identity)>,
}

impl Node {
    /// Starts the server on a free port and waits until it accepts connections.
    pub(crate) fn start(
        home: Home,
        launch: Launch,
        deadline: Deadline,
    ) -> Result<Self, StartError> {
        Self::start_on(home, launch, deadline, port::free)
    }

    pub(crate) fn start_on(
        home: Home,
        launch: Launch,
        deadline: Deadline,
        mut next_port: impl FnMut() -> std::io::Result<u16>,
    ) -> Result<Self, StartError> {
        let mut node = Self {
            home,
            launch,
            port: 0,
            child: None,
        };
        for attempt in 1.. {
            node.port = next_port().context("find a free port on", Path::new("127.0.0.1"))?;
            match node.launch(deadline) {
                Err(StartError::Ended { log, .. })
                    if attempt < port::ATTEMPTS
                        && log.lines().contains("Address already in use") => {}
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        Ok(node)
    }

    /// Says what counts as ready from the next start on.
    pub(crate) fn probe_with(&mut self, probe: fn(SocketAddr) -> Probe) {
        self.launch.probe = probe;
    }

    /// Adds arguments, and says what counts as ready, from the next start on.
    pub(crate) fn change_launch(
        &mut self,
        arguments: impl IntoIterator<Item = OsString>,
        probe: fn(SocketAddr) -> Probe,
    ) {
        self.launch.arguments.extend(arguments);
        self.launch.probe = probe;
    }

    /// Has the server end in order and start again.
    pub(crate) fn relaunch(&mut self, deadline: Deadline) -> Result<(), StartError> {
        if let Some(process) = self.process() {
            let _ = process.signal(Signal::INT);
        }
        // One that does not end holds the data, and the next start says so.
        self.wait_until_ended(deadline.left());
        self.launch(deadline)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub(crate) fn process(&self) -> Option<&Identity> {
        self.child.as_ref().map(|(_, process)| process)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.home.folder.join("server.log")
    }

    /// Starts the server on the port it has, on the data it has.
    pub(crate) fn launch(&mut self, deadline: Deadline) -> Result<(), StartError> {
        let mut command = Command::new(&self.launch.program);
        command
            .args(&self.launch.arguments)
            .args((self.launch.port_argument)(self.port));
        clean_environment(&mut command);
        if let Some(user) = &self.launch.user {
            user.run(&mut command);
        }
        let end = runs::end_signal(self.home.kind.slug());
        let (child, process) = self.home.spawn(&mut command, &self.log(), end)?;
        self.home.record.helper = None;
        self.home.record.processes = vec![process.clone()];
        self.child = Some((child, process));
        self.home.save()?;
        self.wait_until("start", deadline, self.launch.probe)
    }

    /// Asks until the answer is ready, the server ends or the time is up.
    pub(crate) fn wait_until(
        &mut self,
        step: &'static str,
        deadline: Deadline,
        probe: impl Fn(SocketAddr) -> Probe,
    ) -> Result<(), StartError> {
        let address = self.address();
        loop {
            let answer = probe(address);
            // Looked at after the answer: another server may hold the port ours did not get.
            if let Some(status) = self.ended() {
                let (program, status) = (self.program(), status.to_string());
                let log = LogEnd::of(self.log());
                return Err(StartError::Ended {
                    program,
                    step,
                    status,
                    log,
                });
            }
            match answer {
                Probe::Ready => return Ok(()),
                Probe::NotYet(last) if deadline.passed() => {
                    let (program, within) = (self.program(), deadline.within);
                    let log = LogEnd::of(self.log());
                    return Err(StartError::Deadline {
                        program,
                        step,
                        within,
                        last,
                        log,
                    });
                }
                Probe::NotYet(_) => thread::sleep(POLL),
            }
        }
    }

    fn program(&self) -> String {
        self.launch.program.display().to_string()
    }

    /// The status of a server that has ended, which is thereby waited for and forgotten.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let (child, process) = self.child.as_mut()?;
        let status = child.try_wait().ok().flatten()?;
        self.home.ward.forget(process);
        self.child = None;
        Some(status)
    }

    /// Waits for the end of a server that was told to end; false when `within` passes first.
    pub(crate) fn wait_until_ended(&mut self, within: Duration) -> bool {
        let deadline = Deadline::after(within);
        while self.child.is_some() && self.ended().is_none() {
            if deadline.passed() {
                return false;
            }
            thread::sleep(POLL);
        }
        true
    }

    /// Every process of the server: the one we started, then those that one started.
    pub(crate) fn family(&self) -> Vec<Identity> {
        let Some(process) = self.process() else {
            return Vec::new();
        };
        std::iter::once(process.clone())
            .chain(process.children())
            .collect()
    }

    /// Leaves the server running without an owner.
    pub(crate) fn detach(mut self) -> Result<PathBuf, IoError> {
        self.home.record.owner = None;
        self.home.save()?;
        self.child = None;
        let folder = self.home.folder.clone();
        self.home.ward.disown();
        Ok(folder)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.home.ward.end();
        if let Some((child, _)) = &mut self.child {
            // It has ended; this takes its entry out of the process table.
            let _ = child.wait();
        }
    }
}

/// The user's own settings for these servers and for locales have no say over a test server.
pub(crate) fn clean_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C");
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn launch(script: &str, probe: fn(SocketAddr) -> Probe) -> Launch {
        Launch {
            program: "/bin/sh".into(),
            arguments: ["-c", script].map(Into::into).to_vec(),
            user: None,
            port_argument: |port| vec![port.to_string().into()],
            probe,
        }
    }

    fn home(scratch: &TempDir) -> Home {
        Home::new(Kind::Mongo, &Environment::for_tests(scratch.path())).unwrap()
    }

    /// Answers late, as a server would that first has to find its port taken.
    fn late(_: SocketAddr) -> Probe {
        thread::sleep(Duration::from_secs(1));
        Probe::Ready
    }

    fn never(_: SocketAddr) -> Probe {
        Probe::NotYet("still starting".to_owned())
    }

    #[test]
    fn a_taken_port_is_replaced_by_another() {
        let scratch = tempfile::tempdir().unwrap();
        let script =
            "[ $0 = 1 ] && { echo 'bind: Address already in use'; exit 1; }; exec sleep 600";
        let mut ports = [1, 1, 2].into_iter();
        let node = Node::start_on(
            home(&scratch),
            launch(script, late),
            Deadline::after(Duration::from_secs(20)),
            || Ok(ports.next().unwrap()),
        )
        .unwrap();
        assert_eq!(node.address().port(), 2);
        let process = node.process().unwrap().clone();
        assert!(process.is_alive());
        drop(node);
        assert!(!process.is_alive());
        assert!(!scratch.path().join("runs").exists());
    }

    #[track_caller]
    fn check_failure(script: &str, within: Duration, expected: &[&str]) {
        let scratch = tempfile::tempdir().unwrap();
        let launch = launch(script, never);
        let error = Node::start(home(&scratch), launch, Deadline::after(within)).unwrap_err();
        let said = error.to_string();
        for part in expected {
            assert!(said.contains(part), "{said:?} does not contain {part:?}");
        }
        assert!(
            !scratch.path().join("runs").exists(),
            "nothing is left of a failed start"
        );
    }

    #[test]
    fn a_failed_start_shows_the_end_of_the_log() {
        let expected = [
            "/bin/sh ended during start",
            "exit status: 3",
            "server.log",
            "no such file",
        ];
        check_failure(
            "echo no such file; exit 3",
            Duration::from_secs(20),
            &expected,
        );
    }

    #[test]
    fn a_start_that_takes_too_long_says_what_was_answered_last() {
        let expected = [
            "did not finish start within 2 s",
            "still starting",
            "server.log",
            "working",
        ];
        check_failure(
            "echo working; exec sleep 600",
            Duration::from_secs(2),
            &expected,
        );
    }
}
