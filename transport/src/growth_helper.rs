//! Taking memory in a process that may die of it.
//!
//! Where a control group has no memory left, a process that reserves blocks on tmpfs is not refused:
//! the kernel kills one of the group, and the host is likely the largest. So the reserving is done by
//! a process of its own that the kernel takes first, in the same group, on the host's open file. It
//! is this very program, started anew with an argument that [`GrowthHelper::register`] looks for, or
//! another program that does the same.

mod child;
mod report;

use crate::memory::MemoryOptions;
use crate::segment::{Span, Taking};
pub(crate) use report::RefusedCall;
use report::{Refusal, Report, ReportError};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use std::ffi::OsString;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use thiserror::Error;

/// First argument of a program that is to be the helper.
const ARGUMENT: &str = "onecopy-growth-helper";
/// How often a wait for the helper looks whether it is still wanted.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// A helper that reports nothing for so long is ended. One step takes well under a second.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// This program has said at its start that it can be the helper.
static REGISTERED: AtomicBool = AtomicBool::new(false);

/// A program that reserves memory for a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrowthHelper {
    program: PathBuf,
}

/// Why a helper did not reserve all of it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum HelperError {
    /// It could not be started.
    #[error("the growth helper cannot be started: {0}")]
    Start(Errno),
    /// The system refused it a call.
    #[error("span {span}: {call}: {source}")]
    Refused { span: usize, call: RefusedCall, source: Errno },
    /// It ended without a word.
    #[error("the growth helper was killed")]
    Died,
    /// It said something that is no report, or nothing for a minute.
    #[error("the growth helper does not answer as one")]
    Silent,
    /// It was not wanted any more.
    #[error("given up")]
    GivenUp,
}

impl GrowthHelper {
    /// Says that this program can be started as the helper. To be called first in `main`, before
    /// arguments are parsed and anything is opened: if the process *was* started as the helper, this
    /// does its work, and `main` has to return the exit code at once.
    #[must_use = "where there is an exit code, main has to return it"]
    pub fn register() -> Option<ExitCode> {
        let mut arguments = std::env::args_os().skip(1);
        if arguments.next().is_some_and(|first| first == ARGUMENT) {
            return Some(child::run(arguments));
        }
        REGISTERED.store(true, Ordering::Relaxed);
        None
    }

    /// This program, if it has said that it can be the helper.
    pub fn of_this_program() -> Option<GrowthHelper> {
        let registered = REGISTERED.load(Ordering::Relaxed);
        registered.then(|| GrowthHelper::program(Path::new("/proc/self/exe")))
    }

    /// Another program whose `main` calls [`GrowthHelper::register`], such as `onecopy`.
    pub fn program(program: &Path) -> GrowthHelper {
        GrowthHelper { program: program.to_owned() }
    }

    /// Has it reserve these spans of a file, one after the other. Ends it when it is not wanted any
    /// more.
    // r[impl resources.helper]
    pub(crate) fn reserve(
        &self,
        file: BorrowedFd<'_>,
        spans: &[Span],
        (memory, taking): (&MemoryOptions, Taking<'_>),
    ) -> Result<(), HelperError> {
        let mut child = self.start(file, spans, memory).map_err(HelperError::Start)?;
        let outcome = match child.stdout.take() {
            Some(mut reports) => follow(&mut reports, taking),
            None => Err(HelperError::Silent),
        };
        end(child);
        outcome
    }

    fn start(
        &self,
        file: BorrowedFd<'_>,
        spans: &[Span],
        memory: &MemoryOptions,
    ) -> Result<Child, Errno> {
        let own = rustix::process::getpid().as_raw_nonzero();
        let spans = spans.iter().map(|span| format!("{}:{}", span.from_bytes, span.to_bytes));
        let mut command = Command::new(&self.program);
        let [flags, mode, nodes] = memory.words();
        command.arg(ARGUMENT).arg(own.to_string()).arg(format!("{flags}:{mode}:{nodes}"));
        command.args(spans.map(OsString::from));
        // What a terminal sends is for the host, which ends its helper itself.
        command.process_group(0);
        command.stdin(Stdio::from(rustix::io::fcntl_dupfd_cloexec(file, 0)?));
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }
}

/// Reads what the helper reports until it is done. Its exit code says nothing that this does not,
/// and another part of the program may have taken it.
fn follow(reports: &mut ChildStdout, taking: Taking<'_>) -> Result<(), HelperError> {
    let mut report = Report::default();
    let mut heard = Instant::now();
    let mut bytes = [0; 64];
    loop {
        if !(taking.is_wanted)() {
            return Err(HelperError::GivenUp);
        }
        if heard.elapsed() > SILENCE_MAX {
            return Err(HelperError::Silent);
        }
        match wait_readable(reports.as_fd()) {
            Ok(true) => {}
            Ok(false) | Err(Errno::INTR) => continue,
            Err(_) => return Err(HelperError::Silent),
        }
        let count = match reports.read(&mut bytes) {
            Ok(0) => return Err(HelperError::Died),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return Err(HelperError::Silent),
        };
        heard = Instant::now();
        let taken = report.take(&bytes[..count]);
        report.take_steps().into_iter().for_each(taking.step_done);
        match taken {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(ReportError::Refused(Refusal { span, call, errno })) => {
                return Err(HelperError::Refused { span, call, source: errno });
            }
            Err(ReportError::Malformed) => return Err(HelperError::Silent),
        }
    }
}

fn wait_readable(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    let timeout = Timespec { tv_sec: 0, tv_nsec: LOOK_INTERVAL.subsec_nanos().into() };
    let mut watched = [PollFd::from_borrowed_fd(file, PollFlags::IN)];
    Ok(rustix::event::poll(&mut watched, Some(&timeout))? != 0)
}

/// Ends the helper, whatever it is doing, and takes its exit code, unless another part of the program
/// (or a SIGCHLD that is ignored) has.
fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests;
