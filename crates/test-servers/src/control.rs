//! Stopping, freezing and restarting a server on purpose, for suites that want to see what breaks.

use std::time::Duration;

use rustix::process::Signal;

use crate::error::ControlError;
use crate::node::{Deadline, Node};
use crate::server::{Backing, Server};

/// How long a server may take to end by itself before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// How long a server may take to come back.
const RESTART_WITHIN: Duration = Duration::from_secs(60);

/// A signal that tells a server to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopSignal {
    /// SIGTERM. PostgreSQL lets its clients finish; MongoDB steps down and ends.
    Terminate,
    /// SIGINT. PostgreSQL disconnects its clients and ends in order; MongoDB as above.
    Interrupt,
    /// SIGQUIT. PostgreSQL ends at once and recovers at the next start; MongoDB dumps core.
    Quit,
}

impl StopSignal {
    fn number(self) -> Signal {
        match self {
            Self::Terminate => Signal::TERM,
            Self::Interrupt => Signal::INT,
            Self::Quit => Signal::QUIT,
        }
    }
}

/// How a server that was told to end did so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stopped {
    /// By itself.
    InOrder,
    /// It was killed, because it had not ended within 20 s.
    Killed,
}

impl Server {
    /// The number of the server's process, while it runs and is ours.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        match &self.backing {
            Backing::Process(node) => node.process().map(|process| process.pid),
            Backing::Given | Backing::Container(_) => None,
        }
    }

    /// Whether the server runs, as far as can be told from here: of a given one nothing is known,
    /// so it counts as running.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        match &mut self.backing {
            Backing::Given => true,
            Backing::Process(node) => node.ended().is_none() && node.process().is_some(),
            Backing::Container(container) => container.is_running(),
        }
    }

    /// Tells the server to end and waits until it has. Its port and data stay, for
    /// [`Self::restart`].
    ///
    /// # Errors
    ///
    /// When the server is not a process of ours, or does not run.
    pub fn stop(&mut self, signal: StopSignal) -> Result<Stopped, ControlError> {
        let node = self.running_node("stop")?;
        signal_family(node, signal.number(), Whom::Leader)?;
        // A frozen server acts on a signal only once it runs again.
        signal_family(node, Signal::CONT, Whom::Family)?;
        if node.wait_until_ended(STOP_WITHIN) {
            return Ok(Stopped::InOrder);
        }
        kill_node(node)?;
        Ok(Stopped::Killed)
    }

    /// Kills the server and the processes it started with SIGKILL and waits until they are gone.
    ///
    /// # Errors
    ///
    /// As [`Self::stop`].
    pub fn kill(&mut self) -> Result<(), ControlError> {
        kill_node(self.running_node("kill")?)
    }

    /// Freezes the server with SIGSTOP: its sockets stay open and nothing answers.
    ///
    /// # Errors
    ///
    /// As [`Self::stop`].
    pub fn pause(&mut self) -> Result<(), ControlError> {
        let node = self.running_node("pause")?;
        // The leader first: it can start no process that would be missed. Signals take effect
        // when the scheduler gets to it, hence the wait.
        signal_family(node, Signal::STOP, Whom::Leader)?;
        wait_until_stopped(node);
        signal_family(node, Signal::STOP, Whom::Family)?;
        wait_until_stopped(node);
        Ok(())
    }

    /// Lets a frozen server run again.
    ///
    /// # Errors
    ///
    /// As [`Self::stop`].
    pub fn resume(&mut self) -> Result<(), ControlError> {
        signal_family(self.running_node("resume")?, Signal::CONT, Whom::Family)
    }

    /// Starts the server again on the same port and the same data and waits until it accepts
    /// connections. One that still runs is stopped first.
    ///
    /// # Errors
    ///
    /// When the server is not a process of ours, or does not come back; the end of its log is in
    /// the error.
    pub fn restart(&mut self) -> Result<(), ControlError> {
        if self.node("restart")?.ended().is_none() && self.pid().is_some() {
            self.stop(StopSignal::Interrupt)?;
        }
        let kind = self.kind;
        let deadline = Deadline::after(RESTART_WITHIN);
        self.node("restart")?
            .launch(deadline)
            .map_err(|source| ControlError::Restart {
                kind,
                source: Box::new(source),
            })
    }

    fn node(&mut self, verb: &'static str) -> Result<&mut Node, ControlError> {
        match &mut self.backing {
            Backing::Process(node) => Ok(node),
            Backing::Given | Backing::Container(_) => Err(ControlError::NotAProcess {
                verb,
                kind: self.kind,
                origin: self.origin.to_string(),
                remedy: "unset its variable, or choose POOL_SERVERS_FROM=machine or package",
            }),
        }
    }

    fn running_node(&mut self, verb: &'static str) -> Result<&mut Node, ControlError> {
        let kind = self.kind;
        let node = self.node(verb)?;
        if node.ended().is_some() || node.process().is_none() {
            return Err(ControlError::State {
                verb,
                kind,
                state: "not running",
            });
        }
        Ok(node)
    }
}

#[derive(Clone, Copy)]
enum Whom {
    Leader,
    Family,
}

fn signal_family(node: &Node, signal: Signal, whom: Whom) -> Result<(), ControlError> {
    let members = match whom {
        Whom::Leader => node.process().cloned().into_iter().collect(),
        Whom::Family => node.family(),
    };
    members.iter().try_for_each(|process| {
        process
            .signal(signal)
            .map_err(|source| ControlError::Signal {
                pid: process.pid,
                source,
            })
    })
}

fn kill_node(node: &mut Node) -> Result<(), ControlError> {
    let family = node.family();
    signal_family(node, Signal::KILL, Whom::Leader)?;
    for process in &family {
        // The children end when their parent is gone; what clings to the data would keep a
        // restart from using it.
        let _ = process.signal(Signal::KILL);
    }
    node.wait_until_ended(STOP_WITHIN);
    for process in &family {
        process.wait_until_ended(STOP_WITHIN);
    }
    Ok(())
}

fn wait_until_stopped(node: &Node) {
    let deadline = Deadline::after(Duration::from_secs(2));
    let Some(leader) = node.process().cloned() else {
        return;
    };
    while !leader.is_stopped() && leader.is_alive() && !deadline.passed() {
        std::thread::sleep(Duration::from_millis(1));
    }
}
