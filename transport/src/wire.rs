//! What host and guest say to each other: the records of the attach handshake on the socket, and
//! the frame kinds, flags and payloads that the transport itself uses on the rings.
//!
//! All numbers are little-endian. A service owns the frame kinds from [`SERVICE_KIND_MIN`] up.

mod peers;
mod quota;

pub use peers::{
    PeerInfo, PeerRecord, PeersAfter, Settle, SettleError, Settled, SettledWords, Settlement,
    SuspectInfo,
};

pub use quota::QuotaError;
use quota::other_refusal;

use crate::Serial;
use crate::format::Role;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes, little_endian as le};

/// First word of every handshake record: the bytes `onecopyA`.
pub const HANDSHAKE_MAGIC: u64 = u64::from_le_bytes(*b"onecopyA");
/// A guest whose attach fails after its hello sends this byte over the socket before it closes it:
/// nothing that the host handed out is used. No other byte comes from a guest.
pub const PARTING_BYTE: u8 = 2;

/// Version of the handshake and of the transport's frames.
pub const PROTOCOL_VERSION: u32 = 2;

/// What a [`Refusal::Malformed`] says of a hello's record as a whole, and of its descriptors.
pub mod hello_field {
    /// The size of the record; its value is that size, in bytes.
    pub const RECORD_SIZE: u64 = 100;
    /// The number of descriptors; its value is how many came.
    pub const DESCRIPTOR_COUNT: u64 = 101;
    /// The descriptor that should be a pidfd; its value is its position.
    pub const PIDFD: u64 = 102;
    /// The descriptor that should be an eventfd; its value is its position.
    pub const DOORBELL: u64 = 103;
}

/// What a guest says first. Descriptors: a pidfd of itself, an eventfd of its own (non-blocking).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Hello {
    /// [`HANDSHAKE_MAGIC`].
    pub magic: le::U64,
    /// [`PROTOCOL_VERSION`] of the guest.
    pub version: le::U32,
    /// A [`Role`] value.
    pub role: le::U32,
    /// Serial that names this process's lease table from an earlier attach, or 0.
    pub lease_serial: le::U32,
    /// 0.
    pub reserved: le::U32,
    /// The segment of that earlier attach, low half first, or 0: in another one the same serial
    /// names another lease table.
    pub segment_id: [le::U64; 2],
}

/// The host's answer to a [`Hello`]. When `refusal` is 0 the record carries descriptors:
/// control (read-only), pool (read-only), rings, leases, and for a writer the pool once more,
/// writable.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Welcome {
    /// [`HANDSHAKE_MAGIC`].
    pub magic: le::U64,
    /// [`PROTOCOL_VERSION`] of the host.
    pub version: le::U32,
    /// 0, or a [`Refusal`] code.
    pub refusal: le::U32,
    /// Two numbers that explain a refusal; see [`Refusal`].
    pub detail: [le::U64; 2],
    /// Serial of this attach.
    pub serial: le::U32,
    /// Its row in the peer table.
    pub row: le::U32,
    /// Serial that names the lease table in use.
    pub lease_serial: le::U32,
    /// Data capacity of each ring, in bytes.
    pub ring_capacity_bytes: le::U32,
    /// Payloads of at most this many bytes travel in the frame, larger ones by slot.
    pub inline_bytes_max: le::U32,
    /// A guest changes its heartbeat word at least this often, in milliseconds.
    pub heartbeat_interval_ms: le::U32,
    /// Size of the control mapping, in bytes.
    pub control_bytes: le::U64,
    /// Size of the rings file, in bytes.
    pub rings_bytes: le::U64,
}

/// Why a host refuses an attach. The two numbers of [`Welcome::detail`] are given in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The guest speaks another version.
    #[error("the host speaks protocol version {host}, this guest {guest}")]
    Version {
        /// The host's version.
        host: u64,
        /// The guest's version.
        guest: u64,
    },
    /// As many guests as the segment was started for.
    #[error("the host serves {guests} guests and takes at most {guests_max} (see guests_max)")]
    Full {
        /// Guests attached now.
        guests: u64,
        /// The most the host takes.
        guests_max: u64,
    },
    /// The user is not on the allow list.
    #[error("user {uid} is not allowed to attach, expected user {expected}")]
    NotAllowed {
        /// The guest's user id.
        uid: u64,
        /// The host's user id.
        expected: u64,
    },
    /// The host is on its way out.
    #[error("the host is leaving")]
    Leaving,
    /// The hello was not one: wrong magic, role, size or descriptors.
    #[error("the host could not read this guest's hello (field {field}, value {value})")]
    Malformed {
        /// Which field, counted from 0, or one of [`hello_field`].
        field: u64,
        /// What it held.
        value: u64,
    },
    /// The pidfd does not belong to the process that sent it.
    #[error("the pidfd names process {named}, the record came from process {sender}")]
    WrongPidfd {
        /// Process that the pidfd names.
        named: u64,
        /// Process that sent the record.
        sender: u64,
    },
    /// The host could not make the files or descriptors of this attach.
    #[error("the host ran out of room, files or memory for this attach, as its log says: {}",
        std::io::Error::from_raw_os_error(i32::try_from(*errno).unwrap_or(0)))]
    Resources {
        /// The system's error number.
        errno: u64,
    },
    /// All serials have been used.
    #[error("this segment has given out all of its {serials} serials")]
    SerialsUsedUp {
        /// How many there are.
        serials: u64,
    },
}

impl Refusal {
    /// Code and numbers as they travel.
    pub fn encode(self) -> (u32, [u64; 2]) {
        match self {
            Refusal::Version { host, guest } => (1, [host, guest]),
            Refusal::Full { guests, guests_max } => (2, [guests, guests_max]),
            Refusal::NotAllowed { uid, expected } => (3, [uid, expected]),
            Refusal::Leaving => (4, [0, 0]),
            Refusal::Malformed { field, value } => (5, [field, value]),
            Refusal::WrongPidfd { named, sender } => (6, [named, sender]),
            Refusal::Resources { errno } => (7, [errno, 0]),
            Refusal::SerialsUsedUp { serials } => (8, [serials, 0]),
        }
    }

    /// The refusal that travelled as `code`; `None` for a code this build does not know.
    pub fn decode(code: u32, [first, second]: [u64; 2]) -> Option<Refusal> {
        Some(match code {
            1 => Refusal::Version { host: first, guest: second },
            2 => Refusal::Full { guests: first, guests_max: second },
            3 => Refusal::NotAllowed { uid: first, expected: second },
            4 => Refusal::Leaving,
            5 => Refusal::Malformed { field: first, value: second },
            6 => Refusal::WrongPidfd { named: first, sender: second },
            7 => Refusal::Resources { errno: first },
            8 => Refusal::SerialsUsedUp { serials: first },
            _ => return None,
        })
    }
}

/// Frame kinds of the transport. `R` = answered by a frame of the same kind and request id.
pub mod kind {
    /// Guest, R: [`super::Refill`]; answered by [`super::Grants`] words.
    pub const REFILL: u8 = 1;
    /// Guest, no answer: slot references (u64 each) that it no longer needs.
    pub const GIVE_BACK: u8 = 2;
    /// Guest, R: its serial (u64). The last frame of this attach.
    pub const GOODBYE: u8 = 3;
    /// Guest, R: any bytes, which come back.
    pub const PING: u8 = 4;
    /// Guest, R: [`super::TextAsk`]; answered by [`super::TextHead`] and a piece of the host's stats as
    /// JSON text.
    pub const STATS: u8 = 5;
    /// Guest, R: [`super::TextAsk`]; answered by [`super::TextHead`] and a piece of the audit's findings
    /// as text, first byte 1 when clean.
    pub const AUDIT: u8 = 6;
    /// Guest, R: [`super::Handover`]; answered by nothing. Slots of earlier attaches that it still uses.
    pub const HANDOVER: u8 = 7;
    /// Guest, R: [`super::PeersAfter`]; answered by [`super::PeerRecord`]s, none when there are no
    /// more.
    pub const PEERS: u8 = 10;
    /// Guest of the host's user or of root, R: [`super::Settle`]; answered by
    /// [`super::SettledWords`].
    pub const SETTLE: u8 = 11;
    /// Host, request id 0: [`super::Grants`] words, granted ahead of need.
    pub const GRANTS: u8 = 16;
    /// Host, request id 0: nothing. The host said goodbye and will not answer any more.
    pub const LEAVING: u8 = 17;
}

/// Smallest frame kind that belongs to the service.
pub const SERVICE_KIND_MIN: u8 = 32;
/// Largest frame kind that belongs to the service.
pub const SERVICE_KIND_MAX: u8 = onecopy_shm::FRAME_KIND_MAX;

/// Frame flags.
pub mod flag {
    /// In an answer: the payload is a [`super::ErrorWords`].
    pub const ERROR: u8 = 1;
    /// The payload stands in a slot; the frame holds a [`super::SlotPayload`].
    pub const SLOT: u8 = 2;
}

/// Asks for free slots.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Refill {
    /// Smallest size wanted, in bytes.
    pub size_bytes: le::U64,
    /// How many slots would do good; at least one is granted or an error comes back.
    pub count: le::U64,
}

/// Head of a grant: the class, then a [`GrantedAt`] for each slot up to the end of the frame.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Grants {
    /// Index into the class table.
    pub class: le::U64,
}

/// One granted slot. Its place travels with it: the guest then has no reason to look at the slot's
/// entry, whose cache line the host is about to write when the slot is published.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GrantedAt {
    /// `SlotRef` as u64.
    pub slot: le::U64,
    /// Where the slot lies in the pool, in bytes.
    pub offset: le::U64,
}

/// Head of a handover: then a slot reference (u64) for each slot that was granted to an earlier
/// attach with the same lease table and is still in use, up to the end of the frame. They are
/// granted to this attach from then on.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Handover {
    /// Not 0: that was all. Nothing else of the earlier attaches is in use, and they are over.
    pub last: le::U64,
}

/// A payload that stands in a slot granted to the guest, in either direction.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SlotPayload {
    /// `SlotRef` as u64.
    pub slot: le::U64,
    /// Bytes of payload.
    pub length_bytes: le::U64,
}

/// Asks for a piece of a text, which may be longer than a frame takes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TextAsk {
    /// First byte wanted. With 0 the text is made anew; from there on it stays as it is until its end
    /// was read.
    pub offset: le::U64,
}

/// Head of a piece; its bytes follow up to the end of the frame.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TextHead {
    /// Bytes of the whole text.
    pub text_bytes: le::U64,
}

/// A typed refusal of one request.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ErrorWords {
    /// A [`RequestError`] code.
    pub code: le::U64,
    /// Its numbers, in the order of its fields.
    pub numbers: [le::U64; 4],
}

/// Why the host refused one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No slot of this class can be had.
    #[error(
        "no room for a slot of {slot_bytes} bytes: {free_elsewhere_bytes} bytes are free in other size classes, \
         {limbo_slots} slots wait for their last reader, the pool may still grow by {growable_bytes} bytes"
    )]
    NoRoom {
        /// Size of the class, in bytes.
        slot_bytes: u64,
        /// Free bytes that sit in other classes.
        free_elsewhere_bytes: u64,
        /// Retired slots that a lease still protects.
        limbo_slots: u64,
        /// Bytes that the pool may still grow by.
        growable_bytes: u64,
    },
    /// Larger than the largest slot.
    #[error("{size_bytes} bytes do not fit the largest slot of {slot_bytes_max} bytes")]
    TooLarge {
        /// Bytes asked for.
        size_bytes: u64,
        /// The largest slot, in bytes.
        slot_bytes_max: u64,
    },
    /// The guest holds as much as it may.
    #[error(
        "this guest holds {held_bytes} bytes of grants, wanted {wanted_bytes} more, its quota is {quota_bytes}"
    )]
    Quota {
        /// Bytes of slots granted to it.
        held_bytes: u64,
        /// Bytes that the request would add.
        wanted_bytes: u64,
        /// The most it may hold.
        quota_bytes: u64,
    },
    /// A reader asked for what only a writer may do.
    #[error("this guest attached as a reader, expected a writer")]
    WrongRole,
    /// A slot reference that is not this guest's to use.
    #[error(
        "slot {slot} generation {generation} is not granted to this guest, or is shorter than {length_bytes} bytes"
    )]
    BadSlot {
        /// Slot id.
        slot: u64,
        /// Its generation as the guest knows it.
        generation: u64,
        /// Length asked for, in bytes.
        length_bytes: u64,
    },
    /// The service or the transport does not know this kind of frame.
    #[error("frame kind {kind} is unknown to this host")]
    UnknownKind {
        /// The kind.
        kind: u64,
    },
    /// The payload does not have the form its kind asks for.
    #[error("a frame of kind {kind} with {length_bytes} bytes is malformed (at byte {offset})")]
    Malformed {
        /// The kind.
        kind: u64,
        /// Length of the payload, in bytes.
        length_bytes: u64,
        /// First byte that is wrong.
        offset: u64,
    },
    /// A peer was not settled.
    #[error(transparent)]
    Settle(#[from] SettleError),
    /// The guest has as much of something as it may.
    #[error(transparent)]
    Over(#[from] QuotaError),
}

impl RequestError {
    /// As it travels.
    pub fn encode(self) -> ErrorWords {
        let (code, numbers) = match self {
            RequestError::NoRoom {
                slot_bytes,
                free_elsewhere_bytes,
                limbo_slots,
                growable_bytes,
            } => (1, [slot_bytes, free_elsewhere_bytes, limbo_slots, growable_bytes]),
            RequestError::TooLarge { size_bytes, slot_bytes_max } => {
                (2, [size_bytes, slot_bytes_max, 0, 0])
            }
            RequestError::Quota { held_bytes, wanted_bytes, quota_bytes } => {
                (3, [held_bytes, wanted_bytes, quota_bytes, 0])
            }
            RequestError::WrongRole => (4, [0; 4]),
            RequestError::BadSlot { slot, generation, length_bytes } => {
                (5, [slot, generation, length_bytes, 0])
            }
            RequestError::UnknownKind { kind } => (6, [kind, 0, 0, 0]),
            RequestError::Malformed { kind, length_bytes, offset } => {
                (7, [kind, length_bytes, offset, 0])
            }
            RequestError::Settle(error) => error.encode(),
            RequestError::Over(error) => error.encode(),
        };
        ErrorWords { code: code.into(), numbers: numbers.map(le::U64::new) }
    }

    /// The error that travelled as `words`; `None` for a code this build does not know.
    pub fn decode(words: &ErrorWords) -> Option<RequestError> {
        let [a, b, c, d] = words.numbers.map(le::U64::get);
        Some(match words.code.get() {
            1 => RequestError::NoRoom {
                slot_bytes: a,
                free_elsewhere_bytes: b,
                limbo_slots: c,
                growable_bytes: d,
            },
            2 => RequestError::TooLarge { size_bytes: a, slot_bytes_max: b },
            3 => RequestError::Quota { held_bytes: a, wanted_bytes: b, quota_bytes: c },
            4 => RequestError::WrongRole,
            5 => RequestError::BadSlot { slot: a, generation: b, length_bytes: c },
            6 => RequestError::UnknownKind { kind: a },
            7 => RequestError::Malformed { kind: a, length_bytes: b, offset: c },
            code => return other_refusal(code, [a, b, c, d]),
        })
    }
}

impl Hello {
    /// A hello of this build. `lease_serial` names the lease table of an earlier attach to the
    /// segment `segment_id`; both are 0 at the first attach.
    pub fn new(role: Role, lease_serial: Serial, segment_id: u128) -> Hello {
        Hello {
            magic: HANDSHAKE_MAGIC.into(),
            version: PROTOCOL_VERSION.into(),
            role: (role.bits() as u32).into(),
            lease_serial: lease_serial.into(),
            reserved: 0.into(),
            segment_id: [segment_id as u64, (segment_id >> 64) as u64].map(le::U64::new),
        }
    }

    /// The lease table that the guest asks to go on with in the segment `segment_id`, if any.
    pub fn lease_serial_in(&self, segment_id: u128) -> Option<Serial> {
        let [low, high] = self.segment_id.map(le::U64::get);
        let same = u128::from(high) << 64 | u128::from(low) == segment_id;
        Some(self.lease_serial.get()).filter(|&serial| same && serial != 0)
    }

    /// Reads and checks a record that a guest sent.
    // r[impl attach.hello_checked]
    pub fn parse(record: &[u8]) -> Result<(Hello, Role), Refusal> {
        let malformed = |field: u64, value: u64| Refusal::Malformed { field, value };
        let hello = Hello::try_read_from_bytes(record)
            .map_err(|_| malformed(hello_field::RECORD_SIZE, record.len() as u64))?;
        if hello.magic.get() != HANDSHAKE_MAGIC {
            return Err(malformed(0, hello.magic.get()));
        }
        if hello.version.get() != PROTOCOL_VERSION {
            return Err(Refusal::Version {
                host: PROTOCOL_VERSION.into(),
                guest: hello.version.get().into(),
            });
        }
        let role =
            Role::decode(hello.role.get().into()).ok_or(malformed(2, hello.role.get().into()))?;
        Ok((hello, role))
    }
}

impl Welcome {
    /// A record that refuses.
    pub fn refused(refusal: Refusal) -> Welcome {
        let (code, detail) = refusal.encode();
        let mut welcome = Welcome::blank();
        welcome.refusal = code.into();
        welcome.detail = detail.map(le::U64::new);
        welcome
    }

    /// A record with magic and version and nothing else.
    pub fn blank() -> Welcome {
        let mut welcome = Welcome::new_zeroed_record();
        welcome.magic = HANDSHAKE_MAGIC.into();
        welcome.version = PROTOCOL_VERSION.into();
        welcome
    }

    fn new_zeroed_record() -> Welcome {
        use zerocopy::FromZeros;
        Welcome::new_zeroed()
    }
}

#[cfg(test)]
mod tests;
