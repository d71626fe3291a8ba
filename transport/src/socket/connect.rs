//! A guest's way to the host of a segment.

use super::attach_socket::AttachSocket;
use super::error::SocketError;
use super::listener::{BindError, address, new_socket};
use crate::segment::{CONTROL, FileKind, SOCKET, SegmentPath, SystemError};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use thiserror::Error;

/// First pause while the host has as many guests waiting as it can; it doubles up to the last.
const PAUSE_FIRST: Duration = Duration::from_micros(200);
const PAUSE_LAST: Duration = Duration::from_millis(20);

/// Why a guest does not reach a host.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nothing is there.
    #[error("there is no segment at {path}: start a host there, or name another with --segment")]
    NoSegment {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Something else is there.
    #[error("{path} is no segment: it is {found}")]
    NotASegment {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// The segment is there, but nobody serves it.
    #[error("the segment at {path} has no host: start one there")]
    NoHost {
        /// The segment.
        path: PathBuf,
    },
    /// This user may not go there.
    #[error("this user (id {uid}) may not attach to the segment at {path}")]
    NotPermitted {
        /// The segment.
        path: PathBuf,
        /// The user.
        uid: u32,
    },
    /// The host did not get round to us.
    #[error("the host of {path} took no guest before the deadline")]
    TimedOut {
        /// The segment.
        path: PathBuf,
    },
    /// The path cannot be given to a socket.
    #[error(transparent)]
    Address(#[from] BindError),
    /// The system refused.
    #[error(transparent)]
    System(#[from] SystemError),
    /// The system refused something to the socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
}

impl AttachSocket {
    /// Connects to the host of a segment. Waits while too many other guests do, until the deadline.
    // r[impl socket.connect]
    pub fn connect(path: &SegmentPath, deadline: Instant) -> Result<AttachSocket, ConnectError> {
        let place = path.as_path();
        let directory = open_directory(place)?;
        find_socket(&directory, place)?;
        let socket = new_socket().map_err(SocketError::on("make a socket"))?;
        // Before the host can send: the credentials of who sends are recorded then.
        let socket = AttachSocket::new(socket)?;
        use std::os::fd::AsFd;
        let address = address(directory.as_fd(), SOCKET, &place.join(SOCKET))?;
        let mut pause = PAUSE_FIRST;
        loop {
            match rustix::net::connect(&socket, &address) {
                Ok(()) => return Ok(socket),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(ConnectError::TimedOut { path: place.to_owned() });
                    }
                    std::thread::sleep(pause.min(left));
                    pause = (pause * 2).min(PAUSE_LAST);
                }
                Err(source) => return Err(connect_error(source, place)),
            }
        }
    }
}

/// Opens the directory far enough to go through it: it may be another user's.
fn open_directory(path: &Path) -> Result<OwnedFd, ConnectError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(directory) => Ok(directory),
        Err(Errno::NOENT) => Err(ConnectError::NoSegment { path: path.to_owned() }),
        Err(Errno::ACCESS) => Err(not_permitted(path)),
        Err(source @ (Errno::NOTDIR | Errno::LOOP)) => match rustix::fs::lstat(path) {
            Ok(stat) => Err(not_a_segment(path, FileKind::of(&stat).to_string())),
            Err(_) => Err(SystemError::on("open directory", path)(source).into()),
        },
        Err(source) => Err(SystemError::on("open directory", path)(source).into()),
    }
}

/// Tells a segment without a host from a directory that is none.
fn find_socket(directory: &OwnedFd, path: &Path) -> Result<(), ConnectError> {
    let look = |name: &str| rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    match look(SOCKET) {
        Ok(stat) if FileKind::of(&stat) == FileKind::Socket => Ok(()),
        Ok(stat) => {
            let found = format!("a directory where {SOCKET} is {}", FileKind::of(&stat));
            Err(not_a_segment(path, found))
        }
        Err(Errno::ACCESS) => Err(not_permitted(path)),
        Err(Errno::NOENT) => match look(CONTROL) {
            Ok(_) => Err(ConnectError::NoHost { path: path.to_owned() }),
            Err(_) => Err(not_a_segment(path, format!("a directory without {CONTROL}"))),
        },
        Err(source) => Err(SystemError::on("look at", &path.join(SOCKET))(source).into()),
    }
}

fn connect_error(source: Errno, path: &Path) -> ConnectError {
    match source {
        // Nobody listens any more; or a host that leaves took the name away just now.
        Errno::CONNREFUSED | Errno::NOENT => ConnectError::NoHost { path: path.to_owned() },
        Errno::ACCESS | Errno::PERM => not_permitted(path),
        Errno::PROTOTYPE => {
            not_a_segment(path, format!("a directory where {SOCKET} is another kind of socket"))
        }
        source => SystemError::on("connect to the host of", path)(source).into(),
    }
}

fn not_a_segment(path: &Path, found: String) -> ConnectError {
    ConnectError::NotASegment { path: path.to_owned(), found }
}

fn not_permitted(path: &Path) -> ConnectError {
    let uid = rustix::process::geteuid().as_raw();
    ConnectError::NotPermitted { path: path.to_owned(), uid }
}

#[cfg(test)]
mod tests;
