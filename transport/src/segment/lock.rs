//! One host at a time: an flock on the file `lock`.

use super::dir::SegmentDir;
use super::error::SystemError;
use super::file::{FileError, LOCK, check_file};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use thiserror::Error;

/// How often a lock file that is replaced under our hands is opened again.
const TRIES_MAX: u32 = 16;
/// Pause between two tries while another process holds the lock.
const PAUSE: Duration = Duration::from_millis(5);
/// Bytes of the holder's process id in the file: digits, spaces, a line feed.
const HINT_BYTES: usize = 12;

/// Why a segment cannot be locked.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockError {
    /// A live host (or a look at the lock by another process, for a moment) holds it.
    #[error("a host already serves the segment at {path}{}", hint(*pid))]
    AlreadyHeld {
        /// The segment.
        path: PathBuf,
        /// Process id that the holder wrote, in its own PID namespace: for people.
        pid: Option<u32>,
    },
    /// The directory was removed meanwhile.
    #[error("the segment at {path} was removed meanwhile")]
    DirectoryGone {
        /// The segment.
        path: PathBuf,
    },
    /// Somebody replaces the lock file again and again.
    #[error("{path} was replaced {tries} times while it was being locked")]
    Replaced {
        /// The lock file.
        path: PathBuf,
        /// How often we tried.
        tries: u32,
    },
    /// What stands there is no lock file of ours.
    #[error(transparent)]
    File(#[from] FileError),
    /// The system refused.
    #[error(transparent)]
    System(#[from] SystemError),
}

fn hint(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

/// The right to be the host of a segment. Ends when it is dropped or the process dies.
///
/// The descriptor is close-on-exec and never handed out. A child made by `fork` alone shares it: the
/// child's drop releases nothing, but the lock then lasts as long as the child.
#[derive(Debug)]
pub struct SegmentLock {
    file: OwnedFd,
    holder: rustix::process::Pid,
}

impl SegmentLock {
    /// Takes the lock or says who has it.
    // r[impl segment.lock]
    pub fn try_lock(directory: &SegmentDir) -> Result<SegmentLock, LockError> {
        for _ in 0..TRIES_MAX {
            let file = open_lock(directory)?;
            if let Some(lock) = Self::try_lock_file(directory, file)? {
                return Ok(lock);
            }
        }
        Err(LockError::Replaced { path: directory.path_of(LOCK), tries: TRIES_MAX })
    }

    /// Takes the lock on an opened file; `None` if that is no longer the one of the name, or a
    /// signal came between.
    fn try_lock_file(
        directory: &SegmentDir,
        file: OwnedFd,
    ) -> Result<Option<SegmentLock>, LockError> {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::INTR) => return Ok(None),
            Err(Errno::WOULDBLOCK) => {
                let path = directory.path().as_path().to_owned();
                return Err(LockError::AlreadyHeld { path, pid: read_hint(&file) });
            }
            Err(source) => {
                return Err(SystemError::on("lock", &directory.path_of(LOCK))(source).into());
            }
        }
        if !is_current(directory, &file)? {
            return Ok(None);
        }
        write_hint(&file);
        Ok(Some(SegmentLock { file, holder: rustix::process::getpid() }))
    }

    /// Takes the lock, waiting for its holder until the deadline: a host that was killed keeps it
    /// until the kernel has taken down its mappings.
    pub fn lock(directory: &SegmentDir, deadline: Instant) -> Result<SegmentLock, LockError> {
        loop {
            match Self::try_lock(directory) {
                Err(LockError::AlreadyHeld { .. }) if Instant::now() < deadline => {
                    std::thread::sleep(PAUSE);
                }
                result => return result,
            }
        }
    }

    /// Whether somebody holds the lock, and whom the file names. Looks through a shared lock held
    /// for an instant, so that two who look do not see each other.
    pub(crate) fn holder(directory: &SegmentDir) -> Result<Option<Holder>, LockError> {
        let path = directory.path_of(LOCK);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(directory, LOCK, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(source) => return Err(SystemError::on("open", &path)(source).into()),
        };
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
                Ok(()) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return Ok(Some(Holder { pid: read_hint(&file) })),
                Err(source) => return Err(SystemError::on("look at", &path)(source).into()),
            }
        }
    }
}

impl Drop for SegmentLock {
    fn drop(&mut self) {
        // A forked child shares the lock; only its taker gives it back for everybody. Closing the
        // descriptor releases the lock too, unless such a child lives.
        if self.holder == rustix::process::getpid() {
            let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
        }
    }
}

/// Who holds a lock.
pub(crate) struct Holder {
    /// Process id from the file.
    pub(crate) pid: Option<u32>,
}

fn open_lock(directory: &SegmentDir) -> Result<OwnedFd, LockError> {
    let path = directory.path_of(LOCK);
    let flags =
        OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::openat(directory, LOCK, flags, Mode::from_raw_mode(0o600)) {
        Ok(file) => file,
        Err(Errno::NOENT) => {
            let path = directory.path().as_path().to_owned();
            return Err(LockError::DirectoryGone { path });
        }
        Err(source) => return Err(SystemError::on("open", &path)(source).into()),
    };
    let stat = rustix::fs::fstat(&file).map_err(SystemError::on("look at", &path))?;
    check_file(&stat, &path)?;
    Ok(file)
}

/// Whether the file we locked is still the one of that name: `destroy` may have removed it between
/// our opening and our locking it.
fn is_current(directory: &SegmentDir, file: &OwnedFd) -> Result<bool, LockError> {
    let path = directory.path_of(LOCK);
    let refused = SystemError::on("look at", &path);
    let ours = rustix::fs::fstat(file).map_err(&refused)?;
    let same = |other: &Stat| other.st_ino == ours.st_ino && other.st_dev == ours.st_dev;
    match rustix::fs::statat(directory, LOCK, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok(same(&named)),
        Err(Errno::NOENT) => Ok(false),
        Err(source) => Err(refused(source).into()),
    }
}

/// Always the same number of bytes, so that nothing has to be truncated. Only a hint: failing to
/// write it is no failure.
fn write_hint(file: &OwnedFd) {
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    let text = format!("{pid:<width$}\n", width = HINT_BYTES - 1);
    let _ = rustix::io::pwrite(file, text.as_bytes(), 0);
}

fn read_hint(file: impl AsFd) -> Option<u32> {
    let mut bytes = [0_u8; HINT_BYTES];
    let length = rustix::io::pread(file, &mut bytes, 0).ok()?;
    std::str::from_utf8(bytes.get(..length)?).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests;
