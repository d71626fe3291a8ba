//! One peer as the host knows it. All of this is the host's own; shared words are copies.

use super::CutOffReason;
use super::link::Rings;
use crate::Serial;
use crate::format::{PeerState, Role, SuspectReason};
use crate::pool::ClassIndex;
use crate::process::Pidfd;
use crate::socket::{AttachSocket, SendError};
use onecopy_shm::FrameHeader;
use onecopy_shm::crash_point;
use std::os::fd::OwnedFd;
use std::time::Instant;

/// Who a peer is: what never changes in its life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who {
    pub serial: Serial,
    pub row: u32,
    pub role: Role,
    pub process: ProcessName,
    pub uid: u32,
    pub lease_serial: Serial,
}

/// What tells one process from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProcessName {
    /// Process id in the host's PID namespace; 0 where it has none there, or one that was stored by a
    /// host in another namespace.
    pub pid: u32,
    /// Inode of its pidfd; 0 where the kernel has none.
    pub inode: u64,
}

impl ProcessName {
    /// Whether both, of this boot of the machine and not proven dead, are one process for certain. An
    /// inode is the same in every namespace, a process id is not.
    // r[impl process.inode]
    pub fn is_same(&self, other: &ProcessName) -> bool {
        match (self.inode, other.inode) {
            (0, _) | (_, 0) => self.pid != 0 && self.pid == other.pid,
            (inode, other) => inode == other,
        }
    }
}

impl Who {
    /// Whether this is an attach that a guest gave up for `later`: the same process goes on with the
    /// same lease table.
    pub fn is_earlier_of(&self, later: &Who) -> bool {
        self.serial < later.serial
            && self.lease_serial == later.lease_serial
            && self.is_of(&later.process, later.uid)
    }

    /// Whether this is an attach of that very process. One that has changed its user since is taken for
    /// another.
    // r[impl process.same-user]
    pub fn is_of(&self, process: &ProcessName, uid: u32) -> bool {
        self.uid == uid && self.process.is_same(process)
    }
}

/// Why and since when a peer is suspect.
#[derive(Clone, Debug)]
pub(super) struct Suspected {
    pub reason: SuspectReason,
    /// What a cut-off was for, in words; else empty.
    pub text: String,
    pub since: Instant,
    /// The tick at which it became so.
    pub tick: u64,
    /// Killing it was tried for its suspicion.
    pub kill_tried: bool,
}

/// What wakes a guest; only that it comes matters.
const WAKE_BYTE: u8 = 1;

/// One attach of one guest.
pub(super) struct Peer {
    pub who: Who,
    /// Proof of death: readable once the process is gone. `None` for a guest of an earlier host that
    /// has no process id here; that it is gone shows in its lease table.
    pub pidfd: Option<Pidfd>,
    /// Its rings; `None` once the link has ended, and for guests of an earlier host.
    pub link: Option<Link>,
    pub state: PeerState,
    /// There while it is suspect.
    pub suspected: Option<Suspected>,
    /// Magazine targets, one for each class the guest has asked for.
    pub stock: Vec<Stock>,
    /// Last heartbeat seen, and the tick when it last changed.
    pub heartbeat_seen: u64,
    pub heartbeat_tick: u64,
    /// Set when the link has to end; the host's loop then acts on it.
    pub ended: Option<Ended>,
    /// Set when it has said what it still uses of its earlier attaches; the host's loop then ends
    /// those.
    pub settles: bool,
    /// Turns since it asked for something.
    pub quiet_turns: u32,
}

/// Why a link ends.
#[derive(Clone, Debug)]
pub(super) enum Ended {
    /// The guest said goodbye: it touches nothing shared any more.
    Goodbye,
    /// The guest broke the protocol, or the host was told to end it.
    CutOff(CutOffReason),
}

/// The live connection of a peer.
pub(super) struct Link {
    pub socket: AttachSocket,
    /// The guest's own eventfd: watched edge-triggered, never read or written.
    pub doorbell: OwnedFd,
    pub rings: Rings,
    /// The host's own copy of the request at hand.
    pub request_bytes: Vec<u8>,
    /// A text of which the guest has not asked for the end yet; empty otherwise.
    pub text: Vec<u8>,
    /// A request that has been copied out and waits for room for its answer, and how much room.
    pub waiting: Option<(FrameHeader, u32)>,
    /// The far end of the socket was closed; the rings may still be used.
    pub closed: bool,
    /// Frames were committed since the guest was last looked at for waking.
    pub unannounced: bool,
    /// The guest sleeps, was to be woken, and the system had no memory for it.
    pub owes_ring: bool,
}

/// How many free slots of a class a guest is kept supplied with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stock {
    pub class: ClassIndex,
    pub target: u32,
}

impl Peer {
    /// Whether its pidfd says that its process is gone.
    pub fn is_dead(&self) -> bool {
        self.pidfd.as_ref().is_some_and(|pidfd| pidfd.is_dead().unwrap_or(false))
    }

    /// Whether the host has to look at it again though it asks nothing.
    pub fn is_owed(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.owes_ring)
    }

    /// Whether uses were taken from its touch log since this was last asked.
    pub fn has_noted(&mut self) -> bool {
        self.link.as_mut().is_some_and(|link| link.rings.touches.has_taken())
    }

    /// Whether it takes up one of the places for guests.
    pub fn is_linked(&self) -> bool {
        self.link.as_ref().is_some_and(|link| !link.closed)
    }
}

impl Link {
    /// A link on which nothing has been said yet.
    pub fn new(socket: AttachSocket, doorbell: OwnedFd, rings: Rings) -> Link {
        Link {
            socket,
            doorbell,
            rings,
            request_bytes: Vec::new(),
            text: Vec::new(),
            waiting: None,
            closed: false,
            unannounced: false,
            owes_ring: false,
        }
    }

    /// Takes the next request out of the ring into [`Link::request_bytes`].
    ///
    /// # Errors
    /// Says in words how the guest broke the ring.
    // r[impl link.hostile]
    pub fn next_request(&mut self) -> Result<Option<FrameHeader>, String> {
        if let Some((header, _)) = self.waiting.take() {
            return Ok(Some(header));
        }
        match self.rings.requests.try_read() {
            Ok(Some(frame)) => {
                let header = frame.header();
                frame.copy_to(&mut self.request_bytes);
                frame.release();
                Ok(Some(header))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether a request could be carried out now.
    pub fn is_ready(&mut self) -> bool {
        match self.waiting {
            Some((_, bound)) => self.rings.replies.has_room(bound).unwrap_or(true),
            None => self.rings.requests.is_ready(),
        }
    }

    /// Wakes the guest if it sleeps and there is something new for it. Whoever sleeps is to be woken
    /// once, so a ring that the system did not take is owed until the next turn. Returns whether it was
    /// woken.
    // r[impl resources.ring-owed]
    // r[impl crash.s3]
    pub fn announce(&mut self) -> bool {
        if self.unannounced {
            crash_point!("host.reply.committed");
        }
        self.owes_ring |= std::mem::take(&mut self.unannounced) && self.rings.waker.should_ring();
        if self.owes_ring {
            // A full socket buffer already holds bytes that wake it; a closed one is seen by epoll.
            let rung = self.socket.send_byte(WAKE_BYTE);
            self.owes_ring = !matches!(rung, Ok(()) | Err(SendError::Closed));
            return rung.is_ok();
        }
        false
    }
}

/// Raises the target of a class to what the guest asks for, entering the class at first use; returns
/// the target. A guest asks for what its magazine takes, so it is never sent more than it keeps.
pub(super) fn raise_stock(
    stock: &mut Vec<Stock>,
    class: ClassIndex,
    wanted: u32,
    most: u32,
) -> u32 {
    let position = match stock.iter().position(|entry| entry.class == class) {
        Some(position) => position,
        None => {
            stock.push(Stock { class, target: 0 });
            stock.len() - 1
        }
    };
    let entry = &mut stock[position];
    entry.target = entry.target.max(wanted).clamp(1, most.max(1));
    entry.target
}

#[cfg(test)]
mod tests;
