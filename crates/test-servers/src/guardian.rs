//! Ends what this process started, whatever ends this process.
//!
//! A server is not a child that dies with its parent. Three things can end the parent while it
//! lives, and each is met in one place: a drop (success, an error, a panic) ends the [`Ward`]; a
//! signal is taken by one thread, which ends every ward and then the process; `kill -9` leaves a run
//! folder behind, which the next run finds ([`crate::runs`]).
//!
//! One list per process is not a choice: signals belong to the process. The lock is held while
//! wards end, so that no other thread can start a server or leave `main` half way through.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::docker::Container;
use crate::process::{Identity, end_all};

/// How long a server may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(5);

static WATCH: Mutex<Watch> = Mutex::new(Watch {
    wards: Vec::new(),
    next: 0,
    listening: false,
    held_by: None,
});

#[derive(Debug)]
struct Watch {
    wards: Vec<(u64, Belongings)>,
    next: u64,
    listening: bool,
    held_by: Option<Sender<i32>>,
}

/// What has to go when a ward ends.
#[derive(Debug, Default)]
struct Belongings {
    processes: Vec<(Identity, Signal)>,
    containers: Vec<Container>,
    folders: Vec<PathBuf>,
}

impl Belongings {
    fn end(&self) {
        end_all(&self.processes, GRACE);
        self.containers.iter().for_each(Container::remove);
        self.folders
            .iter()
            .for_each(|folder| crate::runs::remove(folder));
    }
}

fn watch() -> MutexGuard<'static, Watch> {
    WATCH.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Processes, containers and folders that end together, at the latest when this is dropped.
#[derive(Debug)]
pub(crate) struct Ward(u64);

impl Ward {
    /// An empty ward. The first one of a process makes it listen to signals.
    pub(crate) fn new() -> io::Result<Self> {
        let mut watch = watch();
        listen(&mut watch)?;
        watch.next += 1;
        let id = watch.next;
        watch.wards.push((id, Belongings::default()));
        Ok(Self(id))
    }

    /// Starts a program in a process group of its own, so that a Ctrl-C in the terminal reaches it
    /// through this process, once, and not beside it.
    pub(crate) fn spawn(
        &self,
        command: &mut Command,
        end: Signal,
    ) -> io::Result<(Child, Identity)> {
        use std::os::unix::process::CommandExt as _;
        // Between the start and the entry in the list no signal can be acted on: the lock is held.
        let mut watch = watch();
        let child = command.process_group(0).spawn()?;
        let process = Identity::of(child.id())
            .ok_or_else(|| io::Error::other("the new process cannot be looked up"))?;
        watch
            .belongings(self.0)
            .processes
            .push((process.clone(), end));
        Ok((child, process))
    }

    /// Forgets a process that has ended.
    pub(crate) fn forget(&self, process: &Identity) {
        watch()
            .belongings(self.0)
            .processes
            .retain(|(known, _)| known != process);
    }

    pub(crate) fn adopt_folder(&self, folder: PathBuf) {
        watch().belongings(self.0).folders.push(folder);
    }

    pub(crate) fn adopt_container(&self, container: Container) {
        watch().belongings(self.0).containers.push(container);
    }

    /// Ends everything now; dropping later does nothing more.
    pub(crate) fn end(&self) {
        let mut watch = watch();
        let belongings = std::mem::take(watch.belongings(self.0));
        belongings.end();
    }

    /// Leaves everything as it is: from now on it lives on its own.
    pub(crate) fn disown(&self) {
        *watch().belongings(self.0) = Belongings::default();
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        self.end();
        watch().wards.retain(|(id, _)| *id != self.0);
    }
}

impl Watch {
    fn belongings(&mut self, id: u64) -> &mut Belongings {
        let at = self.wards.iter().position(|(known, _)| *known == id);
        let at = at.unwrap_or_else(|| {
            self.wards.push((id, Belongings::default()));
            self.wards.len() - 1
        });
        &mut self.wards[at].1
    }
}

fn listen(watch: &mut Watch) -> io::Result<()> {
    if watch.listening {
        return Ok(());
    }
    // Under nohup the hang-up is ignored on purpose; the others are always wanted.
    let wanted = [SIGINT, SIGTERM, SIGHUP];
    let mut signals = Signals::new(
        wanted
            .iter()
            .filter(|signal| **signal != SIGHUP || !is_ignored(SIGHUP)),
    )?;
    thread::Builder::new()
        .name("test-servers-signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                act_on(signal);
            }
        })?;
    watch.listening = true;
    Ok(())
}

fn act_on(signal: i32) {
    let watch = watch();
    if watch
        .held_by
        .as_ref()
        .is_some_and(|holder| holder.send(signal).is_ok())
    {
        return;
    }
    for (_, belongings) in &watch.wards {
        belongings.end();
    }
    // The lock is still held: nobody prints an error about a server that was ended on purpose.
    std::process::exit(128 + signal);
}

fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

/// While this lives, SIGINT, SIGTERM and SIGHUP end nothing: they are handed to [`Self::wait`].
///
/// A command that lets a child finish its report before the servers go holds the signals for that
/// long. Without it, a signal ends the servers and then the process, with 128 + the signal's number.
#[derive(Debug)]
pub struct HeldSignals(Receiver<i32>);

impl HeldSignals {
    /// Takes the signals over.
    ///
    /// # Errors
    ///
    /// When the system refuses to install the handlers.
    pub fn new() -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let mut watch = watch();
        listen(&mut watch)?;
        watch.held_by = Some(sender);
        Ok(Self(receiver))
    }

    /// The next signal's number, or none when `within` passes first.
    #[must_use]
    pub fn wait(&self, within: Duration) -> Option<i32> {
        self.0.recv_timeout(within).ok()
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        watch().held_by = None;
    }
}
