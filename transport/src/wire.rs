//! What host and guest say to each other: the records of the attach handshake on the socket, and
//! the frame kinds, flags and payloads that the transport itself uses on the rings.
//!
//! All numbers are little-endian. A service owns the frame kinds from [`SERVICE_KIND_MIN`] up.

mod handshake;
mod peers;
mod quota;

pub use handshake::{
    HANDSHAKE_MAGIC, Hello, PARTING_BYTE, PROTOCOL_VERSION, Refusal, Welcome, hello_field,
};
pub use peers::{
    PeerInfo, PeerRecord, PeersAfter, Settle, SettleError, Settled, SettledWords, Settlement,
    SuspectInfo,
};
pub use quota::QuotaError;
use quota::other_refusal;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, little_endian as le};

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

#[cfg(test)]
mod tests;
