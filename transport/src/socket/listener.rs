//! The host's end where guests come: `host.sock` in the segment's directory.

use super::attach_socket::AttachSocket;
use super::error::SocketError;
use crate::segment::{SOCKET, SOCKET_NEW, proc_path, remove_at};
use crate::segment::{SegmentDir, SegmentLock, SystemError};
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use thiserror::Error;

/// Connections that wait to be accepted; the kernel may allow fewer.
const BACKLOG: i32 = 128;

/// Who can reach the socket, as far as the file system decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketMode {
    /// Its owner alone.
    Private,
    /// Everybody; the host then decides by credentials.
    Everybody,
}

/// Why a host cannot listen.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BindError {
    /// The path is too long for a socket address and `/proc`, through which any length would do, is
    /// not there.
    #[error("{path} is too long for a socket ({length} bytes) and /proc is not mounted")]
    NeedsProc {
        /// The path of the socket.
        path: PathBuf,
        /// Its length, in bytes.
        length: usize,
    },
    /// A file in the segment's directory.
    #[error(transparent)]
    System(#[from] SystemError),
    /// The socket itself.
    #[error(transparent)]
    Socket(#[from] SocketError),
}

/// Why no guest was accepted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcceptError {
    /// No descriptor is left, in this process or on this machine. The guest was turned away: if it
    /// were left waiting, the socket would stay readable and the host never sleep.
    #[error("a guest was turned away, no file descriptor is left for it (ulimit -n): {source}")]
    NoDescriptor {
        /// What the system said.
        source: Errno,
    },
    /// The system refused.
    #[error(transparent)]
    Socket(#[from] SocketError),
}

/// The listening socket of a host. Dropping it removes `host.sock`, if that is still this one and
/// the process is the one that made it.
#[derive(Debug)]
pub struct AttachListener {
    socket: OwnedFd,
    directory: OwnedFd,
    inode: u64,
    /// Given up for a moment to turn a guest away when no descriptor is left.
    spare: Mutex<Option<OwnedFd>>,
    maker: rustix::process::Pid,
}

impl AttachListener {
    /// Listens at `host.sock`, in place of what an earlier host left there. Guests that come from
    /// now on wait; none meets a socket that nobody listens at.
    // r[impl socket.listener]
    pub fn bind(
        directory: &SegmentDir,
        _lock: &SegmentLock,
        mode: SocketMode,
    ) -> Result<AttachListener, BindError> {
        let new = directory.path().as_path().join(SOCKET_NEW);
        let socket = new_socket().map_err(SocketError::on("make a socket"))?;
        // Before the first guest can send anything; what is accepted inherits it.
        rustix::net::sockopt::set_socket_passcred(&socket, true)
            .map_err(SocketError::on("ask a socket for credentials"))?;
        remove_at(directory.as_fd(), SOCKET_NEW, &new)?;
        let address = address(directory.as_fd(), SOCKET_NEW, &new)?;
        rustix::net::bind(&socket, &address).map_err(SystemError::on("bind a socket at", &new))?;
        let bits = match mode {
            SocketMode::Private => 0o600,
            SocketMode::Everybody => 0o666,
        };
        rustix::fs::chmodat(directory, SOCKET_NEW, Mode::from_raw_mode(bits), AtFlags::empty())
            .map_err(SystemError::on("change permissions of", &new))?;
        rustix::net::listen(&socket, BACKLOG).map_err(SocketError::on("listen"))?;
        let stat = rustix::fs::statat(directory, SOCKET_NEW, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(SystemError::on("look at", &new))?;
        rustix::fs::renameat(directory, SOCKET_NEW, directory, SOCKET)
            .map_err(SystemError::on("rename", &new))?;
        let keep = || rustix::io::fcntl_dupfd_cloexec(directory, 0);
        let refused = SystemError::on("keep open", directory.path().as_path());
        let spare = Mutex::new(Some(keep().map_err(&refused)?));
        let directory = keep().map_err(&refused)?;
        let maker = rustix::process::getpid();
        Ok(AttachListener { socket, directory, inode: stat.st_ino, spare, maker })
    }

    /// The next guest that wants to attach, if there is one.
    pub fn try_accept(&self) -> Result<Option<AttachSocket>, AcceptError> {
        loop {
            match rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC) {
                Ok(socket) => return Ok(Some(AttachSocket::new(socket)?)),
                // A guest that went away while it waited is not ours to report.
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(source @ (Errno::MFILE | Errno::NFILE)) => {
                    self.turn_away();
                    return Err(AcceptError::NoDescriptor { source });
                }
                Err(source) => return Err(SocketError::on("accept a guest")(source).into()),
            }
        }
    }
}

impl AttachListener {
    /// Accepts a guest with the spare descriptor and closes it at once.
    // r[impl socket.no-descriptor-left]
    // r[impl resources.descriptors]
    fn turn_away(&self) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        drop(spare.take());
        // Another thread may take the descriptor first: then the guest waits for the next try.
        let turned_away = rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC);
        drop(turned_away);
        *spare = rustix::io::fcntl_dupfd_cloexec(&self.directory, 0).ok();
    }
}

impl AsFd for AttachListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for AttachListener {
    fn drop(&mut self) {
        // A forked child's copy is no host.
        if self.maker != rustix::process::getpid() {
            return;
        }
        let named = rustix::fs::statat(&self.directory, SOCKET, AtFlags::SYMLINK_NOFOLLOW);
        if named.is_ok_and(|stat| stat.st_ino == self.inode) {
            let _ = rustix::fs::unlinkat(&self.directory, SOCKET, AtFlags::empty());
        }
    }
}

/// A socket that never waits.
pub(super) fn new_socket() -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
}

/// The address of a socket in an open directory, however long the path of that is: it leads through
/// `/proc/self/fd`. Where there is no `/proc`, the path itself, if it is short enough.
// r[impl socket.long-path]
pub(super) fn address(
    directory: BorrowedFd<'_>,
    name: &str,
    path: &Path,
) -> Result<SocketAddrUnix, BindError> {
    let through_proc = proc_path(directory);
    if rustix::fs::stat(&through_proc).is_ok() {
        let address = SocketAddrUnix::new(through_proc.join(name));
        return Ok(address.map_err(SocketError::on("name a socket"))?);
    }
    SocketAddrUnix::new(path)
        .map_err(|_| BindError::NeedsProc { path: path.to_owned(), length: path.as_os_str().len() })
}

#[cfg(test)]
mod tests;
