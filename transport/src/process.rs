//! Processes by pidfd: proof of death, and what tells one process from a later one of the same id.

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;
use thiserror::Error;

// PID_FS_MAGIC of linux/magic.h: there each process has an inode of its own.
const PID_FILE_SYSTEM: u64 = 0x5049_4446;

/// What can go wrong with a pidfd or with the files under `/proc` that tell about a process.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProcessError {
    /// The process is not there (any more).
    #[error("no process {pid}")]
    NoProcess {
        /// The process id asked for.
        pid: u32,
    },
    /// A process of this id is there, but it started at another time.
    #[error("process {pid} started at tick {found}, expected {expected}: the id was used again")]
    OtherProcess {
        /// The process id asked for.
        pid: u32,
        /// Its start time, in clock ticks after boot.
        found: u64,
        /// The start time asked for.
        expected: u64,
    },
    /// The descriptor is no pidfd of a whole process.
    #[error("the descriptor is {found}, expected a pidfd of a process")]
    NotAPidfd {
        /// What it is.
        found: &'static str,
    },
    /// A file under `/proc` does not read as it should.
    #[error("{file} does not hold {expected}")]
    Unreadable {
        /// The file.
        file: String,
        /// What was looked for.
        expected: &'static str,
    },
    /// The system refused.
    #[error("cannot {operation}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        source: Errno,
    },
}

fn system(operation: &'static str) -> impl Fn(Errno) -> ProcessError {
    move |source| ProcessError::System { operation, source }
}

/// A descriptor that stands for one process and never for a later one of the same id.
#[derive(Debug)]
pub struct Pidfd(OwnedFd);

impl Pidfd {
    /// The calling process.
    pub fn of_self() -> Result<Pidfd, ProcessError> {
        let open = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty());
        Ok(Pidfd(open.map_err(system("open a pidfd of this process"))?))
    }

    /// The process `pid` if it started at `start_time_ticks`. The order matters: the pidfd holds
    /// the process first, so that the start time read afterwards is its own or that of nobody.
    // r[impl process.reused-id]
    pub fn of_process(pid: u32, start_time_ticks: u64) -> Result<Pidfd, ProcessError> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let raw = raw.ok_or(ProcessError::NoProcess { pid })?;
        let open = rustix::process::pidfd_open(raw, PidfdFlags::empty());
        let pidfd = match open {
            Ok(descriptor) => Pidfd(descriptor),
            Err(Errno::SRCH | Errno::INVAL) => return Err(ProcessError::NoProcess { pid }),
            Err(source) => return Err(system("open a pidfd")(source)),
        };
        let found = self::start_time_ticks(pid)?;
        if found != start_time_ticks {
            let expected = start_time_ticks;
            return Err(ProcessError::OtherProcess { pid, found, expected });
        }
        Ok(pidfd)
    }

    /// Takes a descriptor that came from elsewhere, after looking that it is a pidfd.
    ///
    /// A pidfd of a single thread is refused: it becomes readable while the process lives on.
    // r[impl process.pidfd-checked]
    pub fn from_fd(descriptor: OwnedFd) -> Result<Pidfd, ProcessError> {
        if fdinfo_pid(descriptor.as_fd())?.is_none() {
            return Err(ProcessError::NotAPidfd { found: "of another kind" });
        }
        let flags = rustix::fs::fcntl_getfl(&descriptor).map_err(system("read its flags"))?;
        // PIDFD_THREAD is stored as O_EXCL in the flags of the file.
        if flags.contains(rustix::fs::OFlags::EXCL) {
            return Err(ProcessError::NotAPidfd { found: "a pidfd of one thread" });
        }
        Ok(Pidfd(descriptor))
    }

    /// Process id in our PID namespace; `None` once it has been reaped, or where it has none here.
    pub fn pid(&self) -> Result<Option<u32>, ProcessError> {
        let pid = fdinfo_pid(self.0.as_fd())?;
        Ok(pid.and_then(|pid| u32::try_from(pid).ok()).filter(|&pid| pid != 0))
    }

    /// Number of the process among all of this boot of the machine, whatever PID namespace it is in;
    /// `None` where the kernel has none (before Linux 6.9).
    // r[impl process.inode]
    pub fn inode(&self) -> Result<Option<u64>, ProcessError> {
        let system_of = rustix::fs::fstatfs(&self.0).map_err(system("look at a pidfd"))?;
        if u64::try_from(system_of.f_type) != Ok(PID_FILE_SYSTEM) {
            return Ok(None);
        }
        let stat = rustix::fs::fstat(&self.0).map_err(system("look at a pidfd"))?;
        Ok(Some(stat.st_ino))
    }

    /// Whether every thread of the process has ended. A zombie counts as dead.
    // r[impl process.death]
    pub fn is_dead(&self) -> Result<bool, ProcessError> {
        self.poll(Some(Timespec { tv_sec: 0, tv_nsec: 0 }))
    }

    /// Waits until the process is dead or the deadline passes; says whether it is dead.
    pub fn wait(&self, deadline: Instant) -> Result<bool, ProcessError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            if self.poll(timeout)? {
                return Ok(true);
            }
            if left.is_zero() {
                return Ok(false);
            }
        }
    }

    fn poll(&self, timeout: Option<Timespec>) -> Result<bool, ProcessError> {
        let mut polled = [PollFd::new(&self.0, PollFlags::IN)];
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Ok(_) => Ok(polled[0].revents().contains(PollFlags::IN)),
            // Not dead as far as we know: the caller asks again.
            Err(Errno::INTR) => Ok(false),
            Err(source) => Err(system("poll a pidfd")(source)),
        }
    }

    /// Sends a signal; a process that is gone already is no error.
    pub fn send_signal(&self, signal: Signal) -> Result<(), ProcessError> {
        match rustix::process::pidfd_send_signal(&self.0, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(source) => Err(system("send a signal through a pidfd")(source)),
        }
    }

    /// Gives the descriptor away.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The `Pid:` line of a descriptor's fdinfo; only pidfds have one.
fn fdinfo_pid(descriptor: BorrowedFd<'_>) -> Result<Option<i64>, ProcessError> {
    let file = format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd());
    let text = read_proc(&file)?;
    let Some(value) = text.lines().find_map(|line| line.strip_prefix("Pid:")) else {
        return Ok(None);
    };
    let unreadable = |_| ProcessError::Unreadable { file, expected: "a number after Pid:" };
    value.trim().parse().map(Some).map_err(unreadable)
}

/// Start time of a process in clock ticks after boot: field 22 of `/proc/<pid>/stat`.
pub fn start_time_ticks(pid: u32) -> Result<u64, ProcessError> {
    let file = format!("/proc/{pid}/stat");
    let text = match std::fs::read(&file) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => return Err(proc_error(&error, pid)),
    };
    let unreadable = || ProcessError::Unreadable { file, expected: "a start time in field 22" };
    parse_start_time(&text).ok_or_else(unreadable)
}

/// The name in field 2 may hold spaces and parentheses, so the fields are counted after the last
/// parenthesis, from field 3 on.
fn parse_start_time(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

/// Random id of this boot of the machine: a process id and start time mean nothing in another one.
pub fn boot_id() -> Result<u128, ProcessError> {
    let file = "/proc/sys/kernel/random/boot_id";
    let text = read_proc(file)?;
    let digits: String = text.trim().chars().filter(|&c| c != '-').collect();
    let unreadable =
        ProcessError::Unreadable { file: file.to_owned(), expected: "32 hexadecimal digits" };
    if digits.len() != 32 {
        return Err(unreadable);
    }
    u128::from_str_radix(&digits, 16).map_err(|_| unreadable)
}

fn read_proc(file: &str) -> Result<String, ProcessError> {
    std::fs::read_to_string(file).map_err(|error| ProcessError::System {
        operation: "read a file under /proc",
        source: Errno::from_io_error(&error).unwrap_or(Errno::IO),
    })
}

fn proc_error(error: &std::io::Error, pid: u32) -> ProcessError {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::SRCH) => ProcessError::NoProcess { pid },
        other => ProcessError::System {
            operation: "read /proc/<pid>/stat",
            source: other.unwrap_or(Errno::IO),
        },
    }
}

#[cfg(test)]
mod tests;
