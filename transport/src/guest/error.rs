//! What can go wrong for a guest, one enum per operation.

use crate::error::Corrupt;
use crate::wire::RequestError;
use onecopy_shm::SlotRef;
use onecopy_shm::{CommitError, GrantError, ReadError};
use rustix::io::Errno;
use thiserror::Error;

/// A link that nothing can travel on any more.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkEnd {
    /// The host died: its end of the socket is closed and it did not say goodbye.
    #[error("the host is gone")]
    HostGone,
    /// The host said goodbye.
    #[error("the host has left")]
    HostLeft,
    /// The host ended the link and goes on without this guest: it broke the protocol, or somebody
    /// had it cut off. What it holds is kept from others until this process ends.
    #[error("the host has cut this guest off")]
    CutOff,
    /// This guest said goodbye.
    #[error("this guest is detached")]
    Detached,
    /// The host sent what no host sends; the link was ended here.
    #[error("the link is broken: {0}")]
    Broken(#[from] LinkError),
}

/// Something in the rings that no host writes.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkError {
    /// What stands in the answer ring is no frame.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The host's position in the request ring is impossible.
    #[error(transparent)]
    Grant(GrantError),
    /// A frame could not be committed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// An answer to something that was never asked, or was answered and taken before.
    #[error("an answer of kind {kind} to request {request_id:#x}, which is not in flight")]
    UnknownRequest {
        /// The request id it carries.
        request_id: u32,
        /// Its kind.
        kind: u8,
    },
    /// A second answer to one request.
    #[error("a second answer of kind {kind} to request {request_id:#x}")]
    AnsweredTwice {
        /// The request id it carries.
        request_id: u32,
        /// Its kind.
        kind: u8,
    },
    /// An answer of another kind than its request.
    #[error("request {request_id:#x} of kind {expected} was answered by kind {found}")]
    WrongKind {
        /// The request id it carries.
        request_id: u32,
        /// Kind of the answer.
        found: u8,
        /// Kind of the request.
        expected: u8,
    },
    /// A frame without a request id whose kind is not one that the host sends by itself.
    #[error("a frame of kind {kind} without a request id")]
    UnknownKind {
        /// Its kind.
        kind: u8,
    },
    /// A file that this guest has mapped was cut.
    #[error(transparent)]
    Torn(#[from] Torn),
    /// A payload whose length is not that of its kind.
    #[error("a frame of kind {kind} with {length} bytes, expected {expected}")]
    WrongLength {
        /// Its kind.
        kind: u8,
        /// Its length, in bytes.
        length: u32,
        /// What was expected.
        expected: &'static str,
    },
    /// A grant of a size class that the segment does not have.
    #[error("a grant of size class {class}, expected less than {class_count}")]
    UnknownClass {
        /// The class.
        class: u64,
        /// Number of classes.
        class_count: u64,
    },
    /// A slot reference that names no slot.
    #[error(
        "slot reference {bits:#x} names no slot, expected one of {slots_ready} and a generation"
    )]
    NoSuchSlot {
        /// As it travelled.
        bits: u64,
        /// Slots that there are.
        slots_ready: u64,
    },
    /// A slot that does not lie within the pool.
    #[error(
        "slot {slot} is said to lie at {offset} with {slot_bytes} bytes, the pool has {pool_bytes}"
    )]
    SlotOutsidePool {
        /// Slot id.
        slot: u32,
        /// Where the control area places it.
        offset: u64,
        /// Its size, in bytes.
        slot_bytes: u64,
        /// Bytes that the pool has.
        pool_bytes: u64,
    },
    /// A slot whose size is not one of the segment's classes.
    #[error("slot {slot} is said to have {slot_bytes} bytes, which is no size class")]
    SlotOfNoClass {
        /// Slot id.
        slot: u32,
        /// Its size, in bytes.
        slot_bytes: u64,
    },
    /// The host did not let this attach take over what the process still uses.
    #[error("the host refused to hand over a slot that is still in use: {0}")]
    HandoverRefused(RequestError),
    /// The host did not answer in time when this attach was to take over what the process still uses.
    #[error("the host did not hand over in time what is still in use")]
    HandoverLate,
    /// An answer that is longer than the slot it stands in.
    #[error("an answer of {length_bytes} bytes in slot {slot} of {slot_bytes} bytes")]
    AnswerBeyondSlot {
        /// Slot id.
        slot: u32,
        /// Length it claims, in bytes.
        length_bytes: u64,
        /// Size of the slot, in bytes.
        slot_bytes: u64,
    },
}

/// A file of the segment was cut while this guest has it mapped. What was lost reads as zeroes from
/// then on, so nothing that was read since this guest was last asked is to be relied on.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the {area} area was cut while it was in use: what it has lost reads as zeroes")]
pub struct Torn {
    /// Which area: `control` or `pool`.
    pub area: &'static str,
}

/// A guest handle was used in a forked child: the attach belongs to the parent.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("this process is a forked child of the guest; attach again to be a guest of its own")]
pub struct Forked;

/// Why a call brought no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// Nothing travels on this link any more.
    #[error(transparent)]
    Link(#[from] LinkEnd),
    /// No answer, or no room for the request, before the deadline.
    #[error("the deadline passed{}", if *.sent { ", the request was sent" } else { " before the request was sent" })]
    DeadlineExceeded {
        /// Whether the host may have seen the request.
        sent: bool,
    },
    /// No room now: the request ring is full or too many requests are in flight.
    #[error("no room for another request now")]
    Full,
    /// The request never fits a frame.
    #[error("a request of {length_bytes} bytes does not fit a frame, at most {max_bytes}")]
    TooLarge {
        /// Length of the request, in bytes.
        length_bytes: u64,
        /// The most that a frame of this link takes, in bytes.
        max_bytes: u64,
    },
    /// The answer does not fit where it was to be put. It is lost.
    #[error(
        "an answer of {length_bytes} bytes does not fit the {capacity_bytes} bytes given for it"
    )]
    ReplyTooLong {
        /// Length of the answer, in bytes.
        length_bytes: u64,
        /// Bytes that were given.
        capacity_bytes: u64,
    },
    /// The host refused the request.
    #[error(transparent)]
    Refused(#[from] RequestError),
    /// The host refused the request for a reason that this build does not know.
    #[error("the host refused the request with code {code}, which this build does not know")]
    UnknownAnswer {
        /// The code.
        code: u64,
    },
    /// The handle was used in a forked child.
    #[error(transparent)]
    Forked(#[from] Forked),
    /// No slot for a payload that does not travel in the frame.
    #[error(transparent)]
    Reserve(#[from] ReserveError),
    /// The reservation belongs to another attach.
    #[error(transparent)]
    Stale(#[from] StaleReservation),
    /// More bytes than the reservation has.
    #[error("{length_bytes} bytes do not lie in slot {slot} of {slot_bytes} bytes")]
    BeyondSlot {
        /// Slot id.
        slot: u32,
        /// Length asked for, in bytes.
        length_bytes: u64,
        /// Size of the slot, in bytes.
        slot_bytes: u64,
    },
    /// A frame kind that is not a service's.
    #[error("frame kind {kind} is not a service's, expected {min} to {max}", min = crate::wire::SERVICE_KIND_MIN, max = crate::wire::SERVICE_KIND_MAX)]
    ReservedKind {
        /// The kind.
        kind: u8,
    },
    /// The answer was taken before.
    #[error("the answer to this request was taken before")]
    Taken,
}

impl CallError {
    /// Whether the host may have seen the request. When it cannot have, whatever the request was to
    /// hand over (a reservation) is still the caller's.
    // r[impl guest.call.sent]
    pub fn request_sent(&self) -> bool {
        match self {
            CallError::Link(_) | CallError::Refused(_) | CallError::UnknownAnswer { .. } => true,
            CallError::DeadlineExceeded { sent } => *sent,
            CallError::ReplyTooLong { .. } | CallError::Taken => true,
            CallError::Full
            | CallError::TooLarge { .. }
            | CallError::Forked(_)
            | CallError::Reserve(_)
            | CallError::Stale(_)
            | CallError::BeyondSlot { .. }
            | CallError::ReservedKind { .. } => false,
        }
    }
}

/// A reservation was made by an attach that is over, or by another one.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("slot {slot:?} was reserved by attach {reserved_by}, this is attach {serial}")]
pub struct StaleReservation {
    /// The slot.
    pub slot: SlotRef,
    /// Serial of the attach that reserved it.
    pub reserved_by: u32,
    /// Serial of the attach it was to be used with.
    pub serial: u32,
}

/// Why no slot could be reserved.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReserveError {
    /// A reader holds no grants to fill.
    #[error("this guest attached as a reader, which cannot reserve a slot")]
    WrongRole,
    /// Larger than the largest slot.
    #[error("{size_bytes} bytes do not fit the largest slot of {slot_bytes_max} bytes")]
    TooLarge {
        /// Bytes asked for.
        size_bytes: u64,
        /// The largest slot, in bytes.
        slot_bytes_max: u64,
    },
    /// None in stock now; more were asked for.
    #[error("no slot of {slot_bytes} bytes is in stock now")]
    NotStocked {
        /// Size of the class, in bytes.
        slot_bytes: u64,
    },
    /// None before the deadline.
    #[error("the deadline passed before a slot of {slot_bytes} bytes was granted")]
    DeadlineExceeded {
        /// Size of the class, in bytes.
        slot_bytes: u64,
    },
    /// The host refused.
    #[error(transparent)]
    Refused(#[from] RequestError),
    /// The host refused for a reason that this build does not know.
    #[error("the host refused the grant with code {code}, which this build does not know")]
    UnknownAnswer {
        /// The code.
        code: u64,
    },
    /// Nothing travels on this link any more.
    #[error(transparent)]
    Link(#[from] LinkEnd),
    /// The handle was used in a forked child.
    #[error(transparent)]
    Forked(#[from] Forked),
}

/// Why a slot could not be leased.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseError {
    /// All cells of the lease table are taken.
    #[error("all {capacity} leases of this process are in use")]
    Full {
        /// Leases that the table holds.
        capacity: u32,
    },
    /// There is no memory for more of the lease table: the segment's file system is full, or a control
    /// group of this process is.
    #[error(
        "{held} of {capacity} leases of this process have memory, for more there is none: {source}"
    )]
    NoMemory {
        /// Leases that the table has memory for, all of which are in use.
        held: u32,
        /// Leases that the table holds.
        capacity: u32,
        /// What the system said.
        source: Errno,
    },
    /// More of the lease table would have to be populated, which this kernel cannot do.
    #[error(
        "{held} of {capacity} leases of this process have memory, and this kernel cannot populate more: \
         Linux 5.14 can"
    )]
    KernelTooOld {
        /// Leases that the table has memory for, all of which are in use.
        held: u32,
        /// Leases that the table holds.
        capacity: u32,
    },
    /// The host has cut this guest off: its leases protect nothing any more.
    #[error("the host has cut this guest off, so its leases protect nothing; attach again")]
    CutOff,
    /// This guest said goodbye.
    #[error("this guest is detached")]
    Detached,
    /// A file that this guest has mapped was cut.
    #[error(transparent)]
    Torn(#[from] Torn),
    /// The slot table says what no host writes.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// A published slot that does not lie within the pool.
    #[error(
        "slot {slot} is published at {offset} with {length_bytes} bytes, the pool has {pool_bytes}"
    )]
    OutsidePool {
        /// Slot id.
        slot: u32,
        /// Where the control area places it.
        offset: u64,
        /// Bytes published.
        length_bytes: u64,
        /// Bytes that the pool has.
        pool_bytes: u64,
    },
    /// The handle was used in a forked child.
    #[error(transparent)]
    Forked(#[from] Forked),
}

/// Why a guest did not detach. Unless the goodbye was sent, it is attached as before.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DetachError {
    /// Something of this attach is still in use.
    #[error(
        "still in use: {leases} leases, {slots} reservations or answers in slots, \
         {requests} requests in flight; drop them first"
    )]
    InUse {
        /// Leases that guards hold.
        leases: u32,
        /// Slots that reservations and answers hold.
        slots: u32,
        /// Requests in flight.
        requests: u32,
    },
    /// Whether anything is leased cannot be known: readers here rely on the host for their fences, and this
    /// process cannot have any carried out.
    #[error("whether anything is leased cannot be known: {0}")]
    NoFence(#[from] onecopy_shm::error::NoFence),
    /// The host did not confirm the goodbye in time.
    #[error("the deadline passed{}", if *.sent { ", the goodbye was sent" } else { " before the goodbye was sent" })]
    DeadlineExceeded {
        /// Whether the goodbye was sent: then this guest is detached.
        sent: bool,
    },
    /// There is nobody to say goodbye to.
    #[error(transparent)]
    Link(#[from] LinkEnd),
    /// The handle was used in a forked child.
    #[error(transparent)]
    Forked(#[from] Forked),
}
