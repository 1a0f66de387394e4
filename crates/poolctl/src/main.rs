//! A console for elastic connection pools: `top`, explanations and operations in a terminal.

mod client;
mod table;

use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use console::Term;
use serde_json::{Value, json};

use crate::client::Client;

#[derive(Parser)]
#[command(name = "poolctl", version, about)]
struct Arguments {
    /// Where the listener of the service is.
    #[arg(
        long,
        env = "POOLCTL_URL",
        default_value = "http://127.0.0.1:9464",
        global = true
    )]
    url: String,
    /// What the listener wants of those who change a pool; best in the environment.
    #[arg(long, env = "POOLCTL_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Close idle connections, or with --all each one that exists now, without interrupting a holder.
    Evict {
        #[command(flatten)]
        pool: Pool,
        /// Those in use as well, when they come back.
        #[arg(long)]
        all: bool,
    },
    /// Say why a pool is as large as it is.
    Explain(Pool),
    /// Print every pool once.
    List {
        /// As JSON, the way the listener tells it.
        #[arg(long)]
        json: bool,
    },
    /// Lend nothing for a while; callers wait.
    Pause {
        #[command(flatten)]
        pool: Pool,
        /// For so long, an hour at the most.
        seconds: f64,
    },
    /// Say what becomes of the sizing policy's decisions.
    Policy {
        #[command(flatten)]
        pool: Pool,
        /// What becomes of them.
        #[arg(value_enum)]
        mode: Mode,
    },
    /// Put new limits in force, at once.
    Resize {
        #[command(flatten)]
        pool: Pool,
        /// Connections kept without demand.
        min: u32,
        /// Connections never exceeded.
        max: u32,
    },
    /// End a pause.
    Resume(Pool),
    /// Draw every pool anew each second, until Ctrl-C.
    Top,
}

#[derive(Args)]
struct Pool {
    /// The pool's name.
    pool: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    Advise,
    Apply,
    Freeze,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let client = Client::new(&arguments.url, arguments.token.as_deref());
    let change = |Pool { pool }: &Pool, operation: &str, body: Value| {
        let after = client.change(pool, operation, &body)?;
        say(table::of(&[after]))?;
        anyhow::Ok(())
    };
    match &arguments.command {
        Command::Evict { pool, all } => {
            let which = if *all { "all" } else { "idle" };
            change(pool, "evict", json!({ "which": which }))
        }
        Command::Explain(pool) => explain(&client.explain(&pool.pool)?),
        Command::List { json } => {
            let told = client.pools()?;
            if *json {
                say(format_args!("{told:#}"))?;
            } else {
                say(table::of(pools(&told)))?;
            }
            Ok(())
        }
        Command::Pause { pool, seconds } => change(pool, "pause", json!({ "seconds": seconds })),
        Command::Policy { pool, mode } => {
            let mode = match mode {
                Mode::Advise => "advise",
                Mode::Apply => "apply",
                Mode::Freeze => "freeze",
            };
            change(pool, "policy", json!({ "mode": mode }))
        }
        Command::Resize { pool, min, max } => {
            change(pool, "resize", json!({ "min": min, "max": max }))
        }
        Command::Resume(pool) => change(pool, "resume", Value::Null),
        Command::Top => top(&client),
    }
}

/// Prints a line. A reader that has gone away has had enough, which is no error.
fn say(line: impl Display) -> io::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(gone) if gone.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn pools(told: &Value) -> &[Value] {
    told["pools"].as_array().map_or(&[], Vec::as_slice)
}

fn explain(told: &Value) -> Result<()> {
    let all = |field: &str| told[field].as_array().cloned().unwrap_or_default();
    for sentence in all("why") {
        say(sentence.as_str().unwrap_or_default())?;
    }
    for warning in all("warnings") {
        say(format_args!(
            "warning: {}",
            warning.as_str().unwrap_or_default()
        ))?;
    }
    let decisions = all("decisions");
    if !decisions.is_empty() {
        say("\nlatest decisions:")?;
    }
    for decision in decisions.iter().take(10) {
        let (direction, reason) = (&decision["direction"], &decision["reason"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        say(format_args!("  {:<5} {}", text(direction), text(reason)))?;
    }
    Ok(())
}

/// Draws until it is interrupted or nobody looks any more. A listener that is away for a moment is
/// waited for.
fn top(client: &Client) -> Result<()> {
    let terminal = Term::stdout();
    let mut drawn = 0;
    let mut seen = false;
    loop {
        let text = match client.pools() {
            Ok(told) => {
                seen = true;
                table::of(pools(&told))
            }
            Err(error) if !seen => return Err(error),
            Err(error) => format!("{error:#}"),
        };
        let written = terminal
            .clear_last_lines(drawn)
            .and_then(|()| terminal.write_line(&text));
        match written {
            Err(gone) if gone.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
        drawn = if terminal.is_term() {
            text.lines().count()
        } else {
            0
        };
        std::thread::sleep(Duration::from_secs(1));
    }
}
