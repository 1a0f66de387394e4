//! `cargo xtask first-run`: what a newcomer waits for, from the clone to the live page.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::workspace;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Build into this folder instead of an empty one. What it holds already is not compiled again, and
    /// the time is not a newcomer's.
    #[arg(long)]
    target_dir: Option<PathBuf>,
}

/// What the demonstration prints before the address of its page.
const PAGE: &str = "live page: http://";

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let folder = Folder::new()?;
    let clone = folder.0.join("clone");
    let began = Instant::now();
    let mut git = Command::new("git");
    git.args(["clone", "--quiet"])
        .arg(workspace::root())
        .arg(&clone);
    let cloned = git.status().context("could not run git")?;
    ensure!(cloned.success(), "git could not clone the repository");
    let cloning = began.elapsed();

    let mut demo = workspace::cargo();
    demo.current_dir(&clone)
        .args(["xtask", "demo", "--headless", "--seconds", "5"])
        // What cargo has told this command is about another workspace.
        .env_remove("CARGO_MANIFEST_DIR")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    match &arguments.target_dir {
        Some(target) => demo.env("CARGO_TARGET_DIR", std::path::absolute(target)?),
        None => demo.env_remove("CARGO_TARGET_DIR"),
    };
    let mut demo = Demo(demo.spawn().context("could not run cargo")?);
    let output = demo
        .0
        .stdout
        .take()
        .context("the demonstration has no output")?;
    let mut shown = None;
    for line in BufReader::new(output).lines() {
        let line = line.context("could not read what the demonstration prints")?;
        eprintln!("{line}");
        if let Some(page) = line.strip_prefix(PAGE) {
            let page = page.trim_end_matches('/');
            ensure!(is_page(page)?, "there is no page at {page}");
            shown = Some(began.elapsed());
        }
    }
    let ended = demo.0.wait().context("lost the demonstration")?;
    ensure!(ended.success(), "the demonstration failed: {ended}");
    let Some(shown) = shown else {
        bail!("the demonstration has shown no page");
    };
    println!("cloned after    {:>7.1} s", cloning.as_secs_f64());
    println!(
        "live page after {:>7.1} s, with both databases",
        shown.as_secs_f64()
    );
    if let Some(target) = &arguments.target_dir {
        println!("(what {} held was not compiled again)", target.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a browser would get the page there.
fn is_page(address: &str) -> Result<bool> {
    let what = || format!("could not read the page at {address}");
    let mut stream = TcpStream::connect(address).with_context(what)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let request = format!("GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).with_context(what)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(what)?;
    Ok(answer.starts_with("HTTP/1.1 200") && answer.contains("</html>"))
}

/// Ends with this value, whatever went wrong.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // So that it ends its servers.
            let id = rustix::process::Pid::from_child(&self.0);
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
            let _ = self.0.wait();
        }
    }
}

/// A folder that goes with this value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("first-run-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .with_context(|| format!("could not make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
