//! The host process as the supervisor has it.

use super::super::SoakError;
use super::super::host::{ASK_CHECK, ASK_LEAVE, HostLine};
use super::super::profile::Profile;
use super::process::Process;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// One life of a host.
#[derive(Debug)]
pub struct HostProcess {
    /// The process.
    pub process: Process,
    orders: ChildStdin,
    lines: Receiver<HostLine>,
    /// When it was started.
    pub started: Instant,
    /// Whether it has said that it serves.
    pub is_ready: bool,
    /// When it was told to leave.
    pub leaving: bool,
    /// Until when it is stopped.
    pub stopped_until: Option<Instant>,
}

impl HostProcess {
    /// Starts a host for the soak in this directory.
    ///
    /// # Errors
    /// [`SoakError::Process`].
    pub fn start(dir: &Path, profile: Profile) -> Result<HostProcess, SoakError> {
        let mut command = Process::command("soak-host", dir)?;
        command.arg("--profile").arg(profile.name());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let started = Instant::now();
        let mut process = Process::start(command)?;
        let pipes = process.child_mut();
        let (Some(orders), Some(said)) = (pipes.stdin.take(), pipes.stdout.take()) else {
            return Err(SoakError::Pipes);
        };
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                // A line that was cut off by a kill says nothing.
                if let Ok(line) = serde_json::from_str(&line)
                    && sender.send(line).is_err()
                {
                    return;
                }
            }
        });
        Ok(HostProcess {
            process,
            orders,
            lines,
            started,
            is_ready: false,
            leaving: false,
            stopped_until: None,
        })
    }

    /// What it has said since the last time.
    pub fn said(&self) -> Option<HostLine> {
        self.lines.try_recv().ok()
    }

    /// What it says until then.
    pub fn says_until(&self, deadline: Instant) -> Option<HostLine> {
        self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
    }

    /// Asks for its figures and its audit. A host that has ended does not answer.
    pub fn ask_check(&mut self) {
        let _ = self.orders.write_all(&[ASK_CHECK]);
    }

    /// Tells it to leave in order.
    pub fn ask_leave(&mut self) {
        let _ = self.orders.write_all(&[ASK_LEAVE]);
        self.leaving = true;
    }
}
