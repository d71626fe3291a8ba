//! Starting, signalling and burying the processes of a soak.

use super::super::SoakError;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// What the processes say on standard error, in the directory of a soak.
pub const LOG_FILE: &str = "log";

/// A process that is killed and buried when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// This program, to be started as something else, for a soak in this directory.
    ///
    /// # Errors
    /// [`SoakError::Process`].
    pub fn command(what: &str, dir: &Path) -> Result<Command, SoakError> {
        // Not by its path: the program may be replaced while this runs.
        let mut command = Command::new("/proc/self/exe");
        let log = OpenOptions::new().create(true).append(true).open(dir.join(LOG_FILE));
        let log = log.map_err(|source| SoakError::Process { what: what.to_owned(), source })?;
        // A group of its own: Ctrl-C is for the supervisor, which ends the others in order.
        command.arg0("onecopy-tests").process_group(0).stderr(Stdio::from(log));
        command.arg(what).arg("--dir").arg(dir);
        command.arg("--supervisor").arg(std::process::id().to_string());
        Ok(command)
    }

    /// Starts it.
    ///
    /// # Errors
    /// [`SoakError::Process`].
    pub fn start(mut command: Command) -> Result<Process, SoakError> {
        let failed = |source| SoakError::Process { what: "start".to_owned(), source };
        Ok(Process { child: command.spawn().map_err(failed)? })
    }

    /// Its ends of the pipes, if it was started with some.
    pub fn child_mut(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal. A process that has ended is still there until it is buried.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// SIGKILL, and waits until nothing of it is left but what it shared.
    ///
    /// # Errors
    /// [`SoakError::Process`].
    pub fn kill(mut self) -> Result<(), SoakError> {
        let failed = |source| SoakError::Process { what: "kill".to_owned(), source };
        self.child.kill().map_err(failed)?;
        self.child.wait().map_err(failed)?;
        Ok(())
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// [`SoakError::Process`].
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, SoakError> {
        let failed = |source| SoakError::Process { what: "wait for".to_owned(), source };
        self.child.try_wait().map_err(failed)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already, or ended now: in both cases nothing of it stays.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
