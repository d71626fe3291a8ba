//! What a host tells of its peers, and how a peer is settled by hand.

use crate::Serial;
use crate::format::{PeerState, Role, SuspectReason};
use crate::pool::Holding;
use std::time::Duration;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, little_endian as le};

/// Most bytes of text that travel with a peer; longer ones are cut.
const TEXT_BYTES_MAX: usize = 80;

/// One peer, as its host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Which attach.
    pub serial: Serial,
    /// Its process, in the host's PID namespace; 0 where it has no number there.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// What it may do.
    pub role: Role,
    /// Where it stands.
    pub state: PeerState,
    /// Whether it has a link to this host.
    pub attached: bool,
    /// Why and since when it is suspect, if it is.
    pub suspected: Option<SuspectInfo>,
    /// Slots granted to it.
    pub granted: Holding,
    /// Slots of it that wait for the proof of its death.
    pub quarantined: Holding,
    /// Leases in the lease table of its process.
    pub leases: u64,
    /// What the service keeps for it: pinned blocks, in a cache.
    pub held: u64,
}

/// Why and since when a peer is suspect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuspectInfo {
    /// Why.
    pub reason: SuspectReason,
    /// For how long, as the host's clock says.
    pub since: Duration,
    /// What it was cut off for, in words of at most 80 bytes; else empty.
    pub text: String,
}

/// Asks for the peers whose serials come after this one.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PeersAfter {
    /// The last serial that is known, 0 at first.
    pub serial: le::U64,
}

/// One peer as it travels. An answer has as many as fit, by serial; none means that there are no
/// more.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PeerRecord {
    serial: le::U64,
    pid: le::U64,
    uid: le::U64,
    role: le::U64,
    state: le::U64,
    attached: le::U64,
    suspect_reason: le::U64,
    suspect_ms: le::U64,
    granted: [le::U64; 2],
    quarantined: [le::U64; 2],
    leases: le::U64,
    held: le::U64,
    text_length: le::U64,
    text: [u8; TEXT_BYTES_MAX],
}

impl PeerRecord {
    /// As it travels.
    pub fn encode(peer: &PeerInfo) -> PeerRecord {
        let holding = |held: Holding| [held.slots, held.bytes].map(le::U64::new);
        let mut record = PeerRecord::new_zeroed();
        record.serial = u64::from(peer.serial).into();
        record.pid = u64::from(peer.pid).into();
        record.uid = u64::from(peer.uid).into();
        record.role = peer.role.bits().into();
        record.state = peer.state.bits().into();
        record.attached = u64::from(peer.attached).into();
        record.granted = holding(peer.granted);
        record.quarantined = holding(peer.quarantined);
        record.leases = peer.leases.into();
        record.held = peer.held.into();
        if let Some(suspected) = &peer.suspected {
            record.suspect_reason = suspected.reason.bits().into();
            let ms = u64::try_from(suspected.since.as_millis()).unwrap_or(u64::MAX);
            record.suspect_ms = ms.into();
            let text = cut(&suspected.text).as_bytes();
            record.text_length = (text.len() as u64).into();
            record.text[..text.len()].copy_from_slice(text);
        }
        record
    }

    /// The peer, if this is one that this build knows.
    pub fn decode(&self) -> Option<PeerInfo> {
        let holding =
            |[slots, bytes]: [le::U64; 2]| Holding { slots: slots.get(), bytes: bytes.get() };
        let suspected = match self.suspect_reason.get() {
            0 => None,
            reason => Some(SuspectInfo {
                reason: SuspectReason::decode(reason)?,
                since: Duration::from_millis(self.suspect_ms.get()),
                text: self.text()?,
            }),
        };
        Some(PeerInfo {
            serial: narrow(self.serial)?,
            pid: narrow(self.pid)?,
            uid: narrow(self.uid)?,
            role: Role::decode(self.role.get())?,
            state: PeerState::decode(self.state.get())?,
            attached: self.attached.get() != 0,
            suspected,
            granted: holding(self.granted),
            quarantined: holding(self.quarantined),
            leases: self.leases.get(),
            held: self.held.get(),
        })
    }

    fn text(&self) -> Option<String> {
        let length = usize::try_from(self.text_length.get()).ok()?;
        Some(String::from_utf8_lossy(self.text.get(..length)?).into_owned())
    }
}

fn narrow(word: le::U64) -> Option<u32> {
    u32::try_from(word.get()).ok()
}

/// As much of a text as travels.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What is to become of a peer whose death nobody has proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Settlement {
    /// SIGKILL through the pidfd that the host holds; what it held comes back with the proof.
    Kill,
    /// What it held is never used again in this segment, and the peer is forgotten.
    WriteOff,
}

/// Asks for a peer to be settled.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Settle {
    /// Serial of the peer.
    pub serial: le::U64,
    how: le::U64,
    /// How long the host waits for a proof of death, in milliseconds.
    pub patience_ms: le::U64,
}

impl Settle {
    /// As it travels.
    pub fn new(serial: Serial, how: Settlement, patience: Duration) -> Settle {
        let how: u64 = match how {
            Settlement::Kill => 1,
            Settlement::WriteOff => 2,
        };
        let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        Settle {
            serial: u64::from(serial).into(),
            how: how.into(),
            patience_ms: patience_ms.into(),
        }
    }

    /// What is asked for; `None` for what this build does not know.
    pub fn how(&self) -> Option<Settlement> {
        match self.how.get() {
            1 => Some(Settlement::Kill),
            2 => Some(Settlement::WriteOff),
            _ => None,
        }
    }
}

/// What became of a settled peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Its death is proven and its slots came back; else they are written off.
    pub proven: bool,
    /// Its slots, and what its leases kept from reuse where that is written off.
    pub slots: Holding,
    /// Leases in the lease table of its process.
    pub leases: u64,
    /// What the service kept for it: pinned blocks, in a cache.
    pub held: u64,
}

/// [`Settled`] as it travels.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SettledWords([le::U64; 5]);

impl SettledWords {
    /// As it travels.
    pub fn encode(settled: &Settled) -> SettledWords {
        let Settled { proven, slots, leases, held } = *settled;
        let words = [u64::from(proven), slots.slots, slots.bytes, leases, held];
        SettledWords(words.map(le::U64::new))
    }

    /// What travelled.
    pub fn decode(&self) -> Settled {
        let [proven, slots, bytes, leases, held] = self.0.map(le::U64::get);
        Settled { proven: proven != 0, slots: Holding { slots, bytes }, leases, held }
    }
}

/// Why a peer was not settled. Nothing has changed then, but that one whose death was not seen in
/// time has been sent SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// No peer has this serial.
    #[error("no peer has serial {serial}")]
    UnknownPeer {
        /// The serial.
        serial: u64,
    },
    /// The peer is attached and in good standing.
    #[error("peer {serial} is attached and in good standing, expected a suspect (or a kill)")]
    Healthy {
        /// The serial.
        serial: u64,
    },
    /// The user who asks is neither the host's nor root.
    #[error("user {uid} may not settle peers, expected the host's user {expected} or root")]
    NotAllowed {
        /// Who asks.
        uid: u64,
        /// The host's user.
        expected: u64,
    },
    /// The peer is an attach of the host's own process.
    #[error("peer {serial} is an attach of the host's own process {pid}, which is not killed")]
    HostItself {
        /// The serial.
        serial: u64,
        /// The process.
        pid: u64,
    },
    /// The system does not let the host send SIGKILL.
    #[error("the host cannot send SIGKILL to peer {serial} (system error {errno})")]
    CannotKill {
        /// The serial.
        serial: u64,
        /// The system's error number; 0 where the host holds no pidfd of the process.
        errno: u64,
    },
    /// What the peer's readers still look at cannot be known: they rely on the host for their fences, and the
    /// kernel carried none out. The peer is cut off and stays as it is.
    #[error("the host cannot have the readers of peer {serial} fenced (system error {errno})")]
    NoFence {
        /// The serial.
        serial: u64,
        /// The system's error number.
        errno: u64,
    },
    /// SIGKILL was sent and the process has not ended in time.
    #[error("peer {serial} was sent SIGKILL and has not ended within {waited_ms} ms")]
    NotProven {
        /// The serial.
        serial: u64,
        /// How long was waited, in milliseconds.
        waited_ms: u64,
    },
}

/// First code of [`SettleError`] among those of `RequestError`.
const CODE_FIRST: u64 = 64;

impl SettleError {
    /// Code and numbers as they travel.
    pub(super) fn encode(self) -> (u64, [u64; 4]) {
        let (code, [first, second]) = match self {
            SettleError::UnknownPeer { serial } => (0, [serial, 0]),
            SettleError::Healthy { serial } => (1, [serial, 0]),
            SettleError::NotAllowed { uid, expected } => (2, [uid, expected]),
            SettleError::HostItself { serial, pid } => (3, [serial, pid]),
            SettleError::CannotKill { serial, errno } => (4, [serial, errno]),
            SettleError::NotProven { serial, waited_ms } => (5, [serial, waited_ms]),
            SettleError::NoFence { serial, errno } => (6, [serial, errno]),
        };
        (CODE_FIRST + code, [first, second, 0, 0])
    }

    /// The error that travelled; `None` for a code that is none of these.
    pub(super) fn decode(code: u64, [first, second, ..]: [u64; 4]) -> Option<SettleError> {
        Some(match code.checked_sub(CODE_FIRST)? {
            0 => SettleError::UnknownPeer { serial: first },
            1 => SettleError::Healthy { serial: first },
            2 => SettleError::NotAllowed { uid: first, expected: second },
            3 => SettleError::HostItself { serial: first, pid: second },
            4 => SettleError::CannotKill { serial: first, errno: second },
            5 => SettleError::NotProven { serial: first, waited_ms: second },
            6 => SettleError::NoFence { serial: first, errno: second },
            _ => return None,
        })
    }
}

/// A record has to fit a frame of the smallest ring.
const _: () = assert!(size_of::<PeerRecord>() <= 1024 / 4 - 8);

#[cfg(test)]
mod tests;
