//! Run folders: one per server, with what is needed to clean up after a run that could not.
//!
//! `<runtime root>/run-<pid>-<n>/` holds the server's data, its log and `run.json`, which names the
//! owning process and the server's processes by number and start. A run whose owner is gone is
//! nobody's: whoever comes next ends its processes and removes its folder. A detached run has no
//! owner and is somebody's for as long as one of its processes lives.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::Kind;
use crate::docker::Container;
use crate::error::{IoContext as _, IoError};
use crate::process::{Identity, effective_user, end_all, is_root};

const RECORD: &str = "run.json";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// What a run folder says about itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) kind: String,
    pub(crate) origin: String,
    pub(crate) url: String,
    pub(crate) owner: Option<Identity>,
    pub(crate) processes: Vec<Identity>,
    /// A program that prepares the server.
    #[serde(default)]
    pub(crate) helper: Option<Identity>,
    pub(crate) container: Option<Container>,
}

impl Record {
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(folder.join(RECORD)).ok()?).ok()
    }

    /// Replaces the record in one step. It holds the password of a test server, so only its owner
    /// may read it.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), IoError> {
        let next = folder.join("run.json.next");
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new()
                .create(true)
                .write(true)
                .truncate(true)
                .mode(0o600)
                .open(&next)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            fs::rename(&next, folder.join(RECORD))
        };
        write().context("write", &next)
    }

    pub(crate) fn server_is_alive(&self) -> bool {
        self.processes.iter().any(Identity::is_alive)
            || self.container.as_ref().is_some_and(Container::is_running)
    }

    /// Whether the process that answers for this run is there, or the run stands on its own feet.
    fn is_somebodys(&self) -> bool {
        match &self.owner {
            Some(owner) => owner.is_alive(),
            None => self.server_is_alive(),
        }
    }

    /// Ends the run's server and removes what it left.
    pub(crate) fn end(&self, folder: &Path) {
        let signal = end_signal(&self.kind);
        let servers = self
            .processes
            .iter()
            .map(|process| (process.clone(), signal));
        let helper = self
            .helper
            .iter()
            .map(|process| (process.clone(), Signal::TERM));
        let processes: Vec<_> = servers.chain(helper).collect();
        end_all(&processes, Duration::from_secs(5));
        if let Some(container) = &self.container {
            container.remove();
        }
        remove(folder);
    }
}

/// How a server whose data nobody needs is told to end: PostgreSQL's immediate shutdown writes
/// nothing but removes its shared memory; MongoDB knows one way.
pub(crate) fn end_signal(slug: &str) -> Signal {
    if slug == Kind::Postgres.slug() {
        Signal::QUIT
    } else {
        Signal::TERM
    }
}

/// Makes a folder for one server, after removing those that a crashed run left behind.
pub(crate) fn create(root: &Path) -> Result<PathBuf, IoError> {
    sweep(root);
    let pid = std::process::id();
    // Under root the server is another user, who has to pass through.
    let mode = if is_root() { 0o711 } else { 0o700 };
    for _ in 0..10_000 {
        make_private(root, mode)?;
        let folder = root.join(format!(
            "run-{pid}-{}",
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        match DirBuilder::new().mode(mode).create(&folder) {
            Ok(()) => {
                fs::set_permissions(&folder, Permissions::from_mode(mode))
                    .context("set the mode of", &folder)?;
                return Ok(folder);
            }
            // A folder of an earlier process with this number, or the root went with the last run.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound
                ) => {}
            Err(error) => return Err(error).context("create", &folder),
        }
    }
    Err(io::Error::from(io::ErrorKind::AlreadyExists)).context("create a run folder in", root)
}

/// Makes a folder whose name others can guess. One that somebody else may write to is not used.
pub(crate) fn make_private(folder: &Path, mode: u32) -> Result<(), IoError> {
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).context("create", parent)?;
    }
    match DirBuilder::new().mode(mode).create(folder) {
        // An unusual umask must not lock the servers' user out.
        Ok(()) => fs::set_permissions(folder, Permissions::from_mode(mode))
            .context("set the mode of", folder),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = fs::symlink_metadata(folder).context("look at", folder)?;
            if found.is_dir() && found.uid() == effective_user() && found.mode() & 0o022 == 0 {
                return Ok(());
            }
            Err(io::Error::other(
                "it is not a folder that this user alone may write to; remove it or set TMPDIR",
            ))
            .context("use", folder)
        }
        Err(error) => Err(error).context("create", folder),
    }
}

/// Ends the servers and removes the folders of runs that ended without doing so themselves.
pub(crate) fn sweep(root: &Path) {
    let Ok(entries) = fs::read_dir(root) else {
        return;
    };
    for folder in entries.flatten().map(|entry| entry.path()) {
        let Some(name) = folder.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let Some(pid) = name
            .strip_prefix("run-")
            .and_then(|rest| rest.split('-').next())
        else {
            continue;
        };
        match Record::read(&folder) {
            Some(record) if record.is_somebodys() => {}
            Some(record) => record.end(&folder),
            // Just made, by a process that lives, or never got further.
            None if pid
                .parse()
                .ok()
                .and_then(Identity::of)
                .is_some_and(|p| p.is_alive()) => {}
            None => remove(&folder),
        }
    }
}

/// Removes a run folder, and the runtime root with the last one.
pub(crate) fn remove(folder: &Path) {
    free_shared_memory(folder);
    // A server that was killed may have children that still write for a moment.
    for _ in 0..20 {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                std::thread::sleep(Duration::from_millis(50));
            }
            _ => break,
        }
    }
    if let Some(root) = folder.parent() {
        // Refused while there are others in it.
        let _ = fs::remove_dir(root);
    }
}

/// PostgreSQL keeps a 56-byte System V segment as an interlock. After `kill -9` it stays in the
/// system; its number is the second on line 7 of `postmaster.pid`, which then stays too.
fn free_shared_memory(folder: &Path) {
    let Ok(pid_file) = fs::read_to_string(folder.join("data/postmaster.pid")) else {
        return;
    };
    if let Some(id) = pid_file
        .lines()
        .nth(6)
        .and_then(|line| line.split_whitespace().nth(1))
    {
        let _ = std::process::Command::new("ipcrm")
            .args(["-m", id])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status();
    }
}

/// Makes a file only its owner may read, with `content`.
pub(crate) fn write_private(path: &Path, content: &[u8], mode: u32) -> Result<File, IoError> {
    let write = || -> io::Result<File> {
        let mut file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(mode)
            .open(path)?;
        file.write_all(content)?;
        Ok(file)
    };
    write().context("write", path)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A place where there is no folder yet; what a test makes there is removed at the end.
    struct Scratch {
        root: PathBuf,
        _around: TempDir,
    }

    impl Scratch {
        fn new() -> Self {
            let around = tempfile::tempdir().unwrap();
            Self {
                root: around.path().join("runs"),
                _around: around,
            }
        }
    }

    fn sleeper() -> (std::process::Child, Identity) {
        use std::os::unix::process::CommandExt as _;
        let mut command = std::process::Command::new("sleep");
        let child = command.arg("600").process_group(0).spawn().unwrap();
        let identity = Identity::of(child.id()).unwrap();
        (child, identity)
    }

    fn gone() -> Identity {
        let (mut child, identity) = sleeper();
        child.kill().unwrap();
        child.wait().unwrap();
        identity
    }

    #[test]
    fn a_run_without_its_owner_is_ended_and_removed() {
        let scratch = Scratch::new();
        let folder = create(&scratch.root).unwrap();
        let (mut child, server) = sleeper();
        let record = Record {
            owner: Some(gone()),
            processes: vec![server],
            ..Record::default()
        };
        record.write(&folder).unwrap();

        sweep(&scratch.root);

        assert!(!folder.exists());
        assert!(!scratch.root.exists(), "the root goes with its last run");
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn a_run_with_an_owner_and_a_detached_one_that_lives_are_left_alone() {
        let scratch = Scratch::new();
        let (mut child, server) = sleeper();
        let owned = create(&scratch.root).unwrap();
        Record {
            owner: Identity::current(),
            ..Record::default()
        }
        .write(&owned)
        .unwrap();
        let detached = create(&scratch.root).unwrap();
        Record {
            processes: vec![server],
            ..Record::default()
        }
        .write(&detached)
        .unwrap();
        let ended = create(&scratch.root).unwrap();
        Record {
            processes: vec![gone()],
            ..Record::default()
        }
        .write(&ended)
        .unwrap();
        let new = create(&scratch.root).unwrap();

        sweep(&scratch.root);

        assert!(owned.exists() && detached.exists() && new.exists());
        assert!(!ended.exists());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_root_others_may_write_to_is_refused() {
        let scratch = Scratch::new();
        fs::create_dir(&scratch.root).unwrap();
        fs::set_permissions(&scratch.root, Permissions::from_mode(0o777)).unwrap();
        let error = create(&scratch.root).unwrap_err();
        assert!(
            std::error::Error::source(&error)
                .unwrap()
                .to_string()
                .contains("TMPDIR")
        );
    }
}
