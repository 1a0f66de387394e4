//! Runs another program to its end and hands it every signal this process gets.

use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use test_servers::HeldSignals;

/// How long a program that was told to end may take, for its report.
const GRACE: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(50);

/// Runs `command` and gives its exit code; 128 + n when signal n ended it, or when it was told signal n
/// and ended as if all were well: what it was to do is not done, and nothing may go on from there.
///
/// The program gets a process group of its own, so that a Ctrl-C in the terminal reaches it once,
/// through here, and so that what it has started ends with it. A second signal ends it at once.
pub(crate) fn run(command: &mut Command) -> Result<u8> {
    let signals = HeldSignals::new().context("could not take over the signals")?;
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .with_context(|| format!("could not run {program}"))?;
    let group = Pid::from_child(&child);
    let mut told: Option<(i32, Instant)> = None;
    let status = loop {
        if let Some(status) = child
            .try_wait()
            .with_context(|| format!("lost {program}"))?
        {
            break status;
        }
        if let Some(signal) = signals.wait(POLL) {
            let again = told.replace((signal, Instant::now())).is_some();
            let number = Signal::from_named_raw(signal).filter(|_| !again);
            tell(group, number.unwrap_or(Signal::KILL));
        }
        if told.is_some_and(|(_, since)| since.elapsed() > GRACE) {
            eprintln!(
                "{program} did not end within {} s and is killed",
                GRACE.as_secs()
            );
            tell(group, Signal::KILL);
            break wait(&mut child, &program)?;
        }
    };
    if told.is_some() {
        end_rest(group);
    }
    Ok(code(status, told.map(|(signal, _)| signal)))
}

fn wait(child: &mut Child, program: &str) -> Result<ExitStatus> {
    child.wait().with_context(|| format!("lost {program}"))
}

/// What the program has started gets the signal too and some time to clean up after itself.
fn end_rest(group: Pid) {
    let since = Instant::now();
    while test_kill_process_group(group).is_ok() {
        if since.elapsed() > GRACE / 3 {
            tell(group, Signal::KILL);
            return;
        }
        std::thread::sleep(POLL);
    }
}

fn tell(group: Pid, signal: Signal) {
    // Refused only when nobody is left to be told.
    let _ = kill_process_group(group, signal);
}

fn code(status: ExitStatus, told: Option<i32>) -> u8 {
    let by_signal = status.signal().or(told).map(|signal| 128 + signal);
    let code = match status.code() {
        Some(0) => by_signal.unwrap_or(0),
        Some(code) => code,
        None => by_signal.unwrap_or(1),
    };
    u8::try_from(code).unwrap_or(1)
}

/// [`run`] as a step of a command that goes on only if it succeeds.
pub(crate) fn succeed(command: &mut Command) -> Result<Option<ExitCode>> {
    match run(command)? {
        0 => Ok(None),
        code => Ok(Some(ExitCode::from(code))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_the_programs() {
        let exits = |script: &str| run(Command::new("sh").args(["-c", script])).unwrap();
        assert_eq!(exits("exit 0"), 0);
        assert_eq!(exits("exit 7"), 7);
        assert_eq!(exits("kill -s TERM $$"), 143);
        // This process is told, and hands it on: to one that dies of it, one that ends well, and one
        // that has something to say.
        for (signal, number) in [("INT", 130), ("TERM", 143)] {
            for (answer, code) in [("-", number), ("exit 0", number), ("exit 7", 7)] {
                let script = match answer {
                    "-" => String::new(),
                    answer => format!("trap '{answer}' {signal};"),
                };
                let script = format!("{script} kill -s {signal} $PPID; sleep 20");
                assert_eq!(exits(&script), code, "{script}");
            }
        }
    }
}
