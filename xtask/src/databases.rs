//! `cargo xtask databases up|down|status|env`: the servers on their own.
//!
//! `up` leaves them running in the background and notes their run folders in `.databases/`, where
//! the other subcommands find them from any shell. A note whose server is gone means nothing.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand, ValueEnum};
use test_servers::{Environment, Kind, Running, redacted};

use crate::{servers, workspace};

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start what does not run yet and print the URLs.
    Up {
        #[command(flatten)]
        selection: Selection,
        /// Stay until Ctrl-C and end the servers then.
        #[arg(long)]
        foreground: bool,
    },
    /// End what runs.
    Down(Selection),
    /// List what runs.
    Status(Selection),
    /// Print the URLs of what runs as shell commands: eval "$(cargo xtask databases env)".
    Env(Selection),
}

/// Which servers a command is about.
#[derive(Args, Clone, Copy)]
pub(crate) struct Selection {
    /// Only this one.
    #[arg(long)]
    only: Option<Database>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Database {
    Postgres,
    Mongo,
}

impl Selection {
    pub(crate) fn kinds(self) -> Vec<Kind> {
        match self.only {
            None => Kind::ALL.to_vec(),
            Some(Database::Postgres) => vec![Kind::Postgres],
            Some(Database::Mongo) => vec![Kind::Mongo],
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let notes = Notes(workspace::root().join(".databases"));
    match &arguments.command {
        Command::Up {
            selection,
            foreground,
        } => up(&notes, &selection.kinds(), *foreground),
        Command::Down(selection) => down(&notes, &selection.kinds()),
        Command::Status(selection) => Ok(status(&notes, &selection.kinds())),
        Command::Env(selection) => Ok(env(&notes, &selection.kinds())),
    }
}

fn up(notes: &Notes, kinds: &[Kind], foreground: bool) -> Result<ExitCode> {
    let environment = Environment::from_env()?;
    let mut started = Vec::new();
    let lock = notes.lock()?;
    for &kind in kinds {
        if environment.given(kind).is_none()
            && let Some(running) = notes.running(kind)
        {
            eprintln!("{kind}: already running ({})", running.origin());
            println!("{}={}", kind.variable(), running.url());
            continue;
        }
        let server = servers::start(kind, &environment)?;
        match server.run_folder() {
            // A URL the user gave may hold a password that is worth something.
            None => println!("{}={}", kind.variable(), redacted(server.url())),
            Some(folder) => {
                println!("{}={}", kind.variable(), server.url());
                notes.write(kind, folder)?;
            }
        }
        started.push(server);
    }
    drop(lock);
    if foreground {
        eprintln!("Ctrl-C ends {} server(s)", started.len());
        loop {
            thread::sleep(Duration::from_secs(1));
            for server in &mut started {
                anyhow::ensure!(
                    server.is_running(),
                    "the {} server has ended",
                    server.kind()
                );
            }
        }
    }
    for server in started {
        server.detach()?;
    }
    eprintln!(
        "in a shell: eval \"$(cargo xtask databases env)\"; to end: cargo xtask databases down"
    );
    Ok(ExitCode::SUCCESS)
}

fn down(notes: &Notes, kinds: &[Kind]) -> Result<ExitCode> {
    let _lock = notes.lock()?;
    for &kind in kinds {
        match notes.running(kind) {
            Some(running) => {
                running.end();
                eprintln!("{kind}: ended");
            }
            None => eprintln!("{kind}: not running"),
        }
        notes.remove(kind)?;
    }
    // Also what other runs left that were killed.
    test_servers::clean_up(&Environment::from_env()?);
    Ok(ExitCode::SUCCESS)
}

fn status(notes: &Notes, kinds: &[Kind]) -> ExitCode {
    for &kind in kinds {
        match notes.running(kind) {
            Some(running) => {
                let process = running
                    .pid()
                    .map_or(String::new(), |pid| format!(", process {pid}"));
                let owner = running
                    .owner()
                    .map_or(String::new(), |pid| format!(", ends with {pid}"));
                println!(
                    "{kind}: running at {} ({}{process}{owner})",
                    redacted(running.url()),
                    running.origin()
                );
            }
            None => println!("{kind}: not running"),
        }
    }
    ExitCode::SUCCESS
}

fn env(notes: &Notes, kinds: &[Kind]) -> ExitCode {
    let running: Vec<_> = kinds
        .iter()
        .filter_map(|kind| Some((kind, notes.running(*kind)?)))
        .collect();
    if running.is_empty() {
        eprintln!("no database runs; start one with: cargo xtask databases up");
        return ExitCode::FAILURE;
    }
    for (kind, server) in running {
        println!("export {}='{}'", kind.variable(), server.url());
    }
    ExitCode::SUCCESS
}

/// One file per kind of server, which holds the path of its run folder.
struct Notes(PathBuf);

impl Notes {
    /// Two `up` at once start one server of each kind.
    fn lock(&self) -> Result<File> {
        let folder = &self.0;
        fs::create_dir_all(folder)
            .with_context(|| format!("could not create {}", folder.display()))?;
        let path = folder.join("lock");
        let what = || format!("could not lock {}", path.display());
        let file = File::create(&path).with_context(what)?;
        file.lock().with_context(what)?;
        Ok(file)
    }

    fn running(&self, kind: Kind) -> Option<Running> {
        let folder = fs::read_to_string(self.note(kind)).ok()?;
        Running::open(Path::new(folder.trim_end()))
    }

    fn write(&self, kind: Kind, folder: &Path) -> Result<()> {
        let (note, text) = (self.note(kind), folder.display().to_string());
        fs::write(&note, text).with_context(|| format!("could not write {}", note.display()))
    }

    fn remove(&self, kind: Kind) -> Result<()> {
        let note = self.note(kind);
        match fs::remove_file(&note) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("could not remove {}", note.display()))
            }
            _ => Ok(()),
        }
    }

    fn note(&self, kind: Kind) -> PathBuf {
        self.0.join(kind.slug())
    }
}
