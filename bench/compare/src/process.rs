//! The processes of a run. None of them outlives it: those of this program end with their input, and
//! all of them are killed by the kernel when the run is.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::error::{CompareError, Step};
use crate::orders::{self, Answer, Order};
use crate::system::System;

/// How long any one order may take: filling ten million blocks is the longest.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long an orderly end may take.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two looks whether a process has ended.
const END_INTERVAL: Duration = Duration::from_millis(2);

/// Another process, which is ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    system: System,
    child: Child,
    /// Where it is told things, if it is one of this program.
    told: Option<(ChildStdin, Receiver<Answer>)>,
}

impl Process {
    /// Starts this program again with these arguments, and waits until it says that it is ready.
    pub(crate) fn start(system: System, arguments: &[OsString]) -> Result<Process, CompareError> {
        let mut command = this_program()?;
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().step("start a process")?;
        let told = match (child.stdin.take(), child.stdout.take()) {
            (Some(input), Some(output)) => Some((input, answers_of(output))),
            _ => None,
        };
        let mut process = Process { system, child, told };
        process.hear()?;
        Ok(process)
    }

    /// Starts a program that nothing is told to.
    pub(crate) fn start_foreign(
        system: System,
        program: &str,
        arguments: &[OsString],
    ) -> Result<Process, CompareError> {
        let mut command = this_program()?;
        command.arg("exec").arg(program).arg("--").args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().step("start a process")?;
        Ok(Process { system, child, told: None })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to do something.
    pub(crate) fn say(&mut self, order: &Order) -> Result<(), CompareError> {
        match &mut self.told {
            Some((input, _)) => orders::say(input, order),
            None => Err(CompareError::WrongOrder { order: format!("{order:?}") }),
        }
    }

    /// Waits until it was done: how many blocks, and in how many nanoseconds.
    pub(crate) fn hear(&mut self) -> Result<(u64, u64), CompareError> {
        let system = self.system;
        let Some((_, answers)) = &self.told else { return Err(CompareError::Ended { system }) };
        match answers.recv_timeout(PATIENCE) {
            Ok(Answer::Done { blocks, nanoseconds }) => Ok((blocks, nanoseconds)),
            Ok(Answer::Failed { text }) => Err(CompareError::Worker { system, text }),
            Err(RecvTimeoutError::Timeout) => {
                Err(CompareError::Silent { system, waited: PATIENCE })
            }
            Err(RecvTimeoutError::Disconnected) => Err(CompareError::Ended { system }),
        }
    }

    pub(crate) fn ask(&mut self, order: &Order) -> Result<(u64, u64), CompareError> {
        self.say(order)?;
        self.hear()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The end of its input tells it to end.
        if self.told.take().is_some() {
            let deadline = Instant::now() + END_PATIENCE;
            while Instant::now() < deadline {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                thread::sleep(END_INTERVAL);
            }
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This program, in a process that Ctrl-C does not reach: whoever started it ends it.
fn this_program() -> Result<Command, CompareError> {
    let mut command = Command::new(std::env::current_exe().step("find this program")?);
    command.args(["--parent", &std::process::id().to_string()]).process_group(0);
    Ok(command)
}

/// What it says, on a thread of its own so that waiting for it can have an end.
fn answers_of(output: ChildStdout) -> Receiver<Answer> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let answer = line.ok().and_then(|line| serde_json::from_str(&line).ok());
            let Some(answer) = answer else { return };
            if sender.send(answer).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Makes the kernel kill this process when its parent ends.
pub(crate) fn end_with_parent(parent: i32) -> Result<(), CompareError> {
    set_parent_process_death_signal(Some(Signal::KILL)).step("die with the parent")?;
    // The parent may have died before that took hold.
    let found = getppid().map_or(0, |process| process.as_raw_nonzero().get());
    if found == parent { Ok(()) } else { Err(CompareError::Orphan { found, expected: parent }) }
}

/// Becomes another program, which is then killed with its parent as well.
pub(crate) fn become_program(program: &str, arguments: &[OsString]) -> Result<(), CompareError> {
    Err(Command::new(program).args(arguments).exec()).step("become another program")
}
