//! Proof that a process has left a segment though it lives: nobody has its lease table mapped.
//!
//! The host locks the open file description of each lease table that it hands out. Such a lock ends
//! with the last descriptor and the last mapping made of it, whichever way that goes: the process ended,
//! executed another program, or let go of its handle. A guest has its lease table mapped for as long as
//! it can touch anything of the segment, so a lock that another can have is a proof. Unlike
//! `/proc/<pid>/maps` it needs neither a process id nor a right to look, and is not fooled by a main
//! thread that has ended, whose list of mappings is empty while others go on.

use super::Host;
use super::liveness::Gone;
use super::peer::Link;
use crate::Serial;
use crate::format::PeerState;
use crate::segment::{AreaFile, FileError, SegmentDir, SystemError};
use crate::service::Service;
use onecopy_shm::Access;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use std::os::fd::OwnedFd;

/// Ticks between two looks at suspects that cannot be reached over a socket.
const TICKS_PER_LOOK: u64 = 8;

/// Locks a description that is about to be handed out.
// r[impl peer.unmapped]
pub(super) fn lock_leases(
    dir: &SegmentDir,
    lease_serial: Serial,
    leases: OwnedFd,
) -> Result<OwnedFd, SystemError> {
    match rustix::fs::flock(&leases, FlockOperation::NonBlockingLockShared) {
        // A guest that locks its own table for itself alone is taken for mapped all the longer.
        Ok(()) | Err(Errno::AGAIN) => Ok(leases),
        Err(source) => {
            let path = dir.path().as_path().join(AreaFile::Leases(lease_serial).to_string());
            Err(SystemError::on("lock", &path)(source))
        }
    }
}

/// Whether nobody has what was handed out of this lease table, neither mapped nor open.
// r[impl peer.unmapped]
pub(super) fn is_unmapped(dir: &SegmentDir, lease_serial: Serial) -> Result<bool, FileError> {
    // A description of its own: the lock that it may get ends with it.
    let file = dir.open_file(AreaFile::Leases(lease_serial), Access::ReadOnly)?;
    // Anything but success proves nothing.
    Ok(rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok())
}

impl<S: Service> Host<S> {
    /// Recovers a suspect that has left the segment. One that can be reached over its socket has not:
    /// it has the descriptor of that, too.
    pub(super) fn recover_if_unmapped(&mut self, index: usize) -> bool {
        let peer = &mut self.peers[index];
        // What it has sent comes first: it may be its goodbye.
        let has_sent = peer.link.as_mut().is_some_and(Link::is_ready);
        let is_candidate = peer.state == PeerState::Suspect && !peer.is_linked() && !has_sent;
        let gone = is_candidate && is_unmapped(&self.dir, peer.who.lease_serial).unwrap_or(false);
        if gone {
            self.recover(index, Gone::Unmapped);
        }
        gone
    }

    /// Looks now and then at every suspect that cannot be reached.
    pub(super) fn look_for_unmapped(&mut self) {
        if !self.core.tick.is_multiple_of(TICKS_PER_LOOK) {
            return;
        }
        let mut index = 0;
        while index < self.peers.len() {
            if !self.recover_if_unmapped(index) {
                index += 1;
            }
        }
    }
}
