//! Processes told apart by more than their number, which the system hands out again.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// How often a wait looks again.
pub(crate) const POLL: Duration = Duration::from_millis(15);

/// The numeric id of the user this process acts as.
pub(crate) fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A process: its number and the moment it began.
///
/// A number alone may belong to somebody else by the time it is used; with the moment of its start
/// it names one process for as long as the machine runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) pid: i32,
    started: String,
}

impl Identity {
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let pid = i32::try_from(pid).ok()?;
        let status = Status::of(pid)?;
        Some(Self {
            pid,
            started: status.started,
        })
    }

    pub(crate) fn current() -> Option<Self> {
        Self::of(std::process::id())
    }

    /// Whether this very process still runs. One that has ended but was not yet waited for does not.
    pub(crate) fn is_alive(&self) -> bool {
        Status::of(self.pid).is_some_and(|now| now.started == self.started && !now.ended)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        Status::of(self.pid).is_some_and(|now| now.started == self.started && now.stopped)
    }

    /// Sends `signal` to this process, if it is still there.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        match Pid::from_raw(self.pid) {
            Some(pid) if self.is_alive() => match kill_process(pid, signal) {
                Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
                Err(error) => Err(error.into()),
            },
            _ => Ok(()),
        }
    }

    /// Waits until this process has ended; false when `within` passes first.
    pub(crate) fn wait_until_ended(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while self.is_alive() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(POLL);
        }
        true
    }

    /// The processes this one has started and that still run.
    pub(crate) fn children(&self) -> Vec<Self> {
        Self::all(|status| status.parent == self.pid)
    }

    /// Its children, wherever they went, and everyone in the group it leads, whoever started them.
    fn relatives(&self) -> Vec<Self> {
        let mut found = Self::all(|status| status.parent == self.pid || status.group == self.pid);
        found.retain(|process| process != self);
        found
    }

    fn all(wanted: impl Fn(&Status) -> bool) -> Vec<Self> {
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(|pid: i32| Some((pid, Status::of(pid)?)))
            .filter(|(_, status)| wanted(status) && !status.ended)
            .map(|(pid, status)| Self {
                pid,
                started: status.started,
            })
            .collect()
    }
}

struct Status {
    started: String,
    parent: i32,
    group: i32,
    ended: bool,
    stopped: bool,
}

impl Status {
    fn of(pid: i32) -> Option<Self> {
        if Path::new("/proc/self/stat").exists() {
            Self::from_proc(pid)
        } else {
            Self::from_ps(pid)
        }
    }

    fn from_proc(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self::parse_stat(&stat, boot.trim())
    }

    /// The layout is that of proc_pid_stat(5): the name in parentheses may hold anything, so fields
    /// are counted from the last parenthesis; state is field 3, parent 4, group 5, start 22.
    fn parse_stat(stat: &str, boot: &str) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some(Self {
            started: format!("{} {boot}", fields.get(19)?).trim_end().to_owned(),
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            ended: matches!(*fields.first()?, "Z" | "X"),
            stopped: matches!(*fields.first()?, "T" | "t"),
        })
    }

    /// Systems without `/proc` tell the same through ps.
    fn from_ps(pid: i32) -> Option<Self> {
        let output = Command::new("ps")
            .args(["-o", "stat=,ppid=,pgid=,lstart=", "-p", &pid.to_string()])
            .env("LC_ALL", "C")
            .output()
            .ok()?;
        Self::parse_ps(&String::from_utf8_lossy(&output.stdout))
    }

    fn parse_ps(line: &str) -> Option<Self> {
        let mut fields = line.split_whitespace();
        let (state, parent) = (fields.next()?, fields.next()?.parse().ok()?);
        let group = fields.next()?.parse().ok()?;
        Some(Self {
            started: fields.collect::<Vec<_>>().join(" "),
            parent,
            group,
            ended: state.starts_with('Z'),
            stopped: state.starts_with('T'),
        })
    }
}

/// Asks each process to end with its own signal, all at once, and kills what remains after `grace`.
///
/// Only the process itself is asked. Those it has started it ends in its own way, and that way
/// matters: a PostgreSQL process that is told by anybody else leaves its shared memory behind.
pub(crate) fn end_all(processes: &[(Identity, Signal)], grace: Duration) {
    let deadline = Instant::now() + grace;
    let families: Vec<(&Identity, Vec<Identity>)> = processes
        .iter()
        .filter(|(process, _)| process.is_alive())
        .map(|(process, signal)| {
            let relatives = process.relatives();
            let _ = process.signal(*signal);
            // A stopped process acts on a signal only once it runs again.
            for one in relatives.iter().chain([process]) {
                let _ = one.signal(Signal::CONT);
            }
            (process, relatives)
        })
        .collect();
    for (process, relatives) in families {
        end_in_time(process, deadline);
        relatives.iter().for_each(|one| end_in_time(one, deadline));
        // Somebody may have joined the group after we looked.
        process
            .relatives()
            .iter()
            .for_each(|one| end_in_time(one, deadline));
    }
}

fn end_in_time(process: &Identity, deadline: Instant) {
    if !process.wait_until_ended(deadline.saturating_duration_since(Instant::now())) {
        let _ = process.signal(Signal::KILL);
        process.wait_until_ended(Duration::from_secs(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a) b (c)) T 7 42 42 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 98765 1 2 3";
        let status = Status::parse_stat(stat, "boot").unwrap();
        assert_eq!(status.started, "98765 boot");
        assert_eq!(status.parent, 7);
        assert!(status.stopped && !status.ended);
    }

    #[test]
    fn ps_tells_the_same_as_proc() {
        let pid = i32::try_from(std::process::id()).unwrap();
        if let Some(status) = Status::from_ps(pid) {
            assert!(!status.ended && !status.stopped && !status.started.is_empty());
        }
        let status = Status::parse_ps("Ss   17   19 Mon Jan  5 10:00:00 2026\n").unwrap();
        assert_eq!(
            (status.parent, status.group, status.started.as_str()),
            (17, 19, "Mon Jan 5 10:00:00 2026")
        );
    }

    #[test]
    fn a_recycled_number_is_another_process() {
        let me = Identity::current().unwrap();
        assert!(me.is_alive());
        let before = Identity {
            pid: me.pid,
            started: "1 earlier".to_owned(),
        };
        assert!(!before.is_alive());
        // To a process that is not there any more nothing is sent, or this test would end here.
        before.signal(Signal::KILL).unwrap();
    }
}
