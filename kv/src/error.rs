//! What can go wrong for a user of the cache, operation by operation.

use crate::checksum::ChecksumMismatch;
use crate::key::Key;
use onecopy_shm::SlotRef;
use onecopy_transport::guest::{AttachError, CallError, LeaseError, ReserveError, Torn};
use thiserror::Error;

/// A request that got no answer, or none that can be read.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum AskError {
    /// The request failed as a whole: deadline, host gone, refused.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The host answered in another form than this build expects.
    #[error("the answer to frame kind {kind} has {found_bytes} bytes, expected {expected_bytes}")]
    AnswerLength {
        /// Kind of the request.
        kind: u8,
        /// Bytes of the answer.
        found_bytes: usize,
        /// Bytes expected.
        expected_bytes: usize,
    },
    /// The host answered with a code that this build does not know.
    #[error("the answer to frame kind {kind} has the unknown code {code}")]
    AnswerCode {
        /// Kind of the request.
        kind: u8,
        /// The code.
        code: u64,
    },
    /// The frames of this segment are too small for one entry of this request.
    #[error("a request of {wanted_bytes} bytes does not fit a frame of at most {frame_bytes}")]
    FrameTooSmall {
        /// Bytes of the smallest request of this kind.
        wanted_bytes: usize,
        /// Payload bytes that a frame takes.
        frame_bytes: usize,
    },
}

/// Attaching to a cache failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AttachCacheError {
    /// Attaching to the segment failed.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The segment's host serves something else, or another version of the cache.
    #[error("the host serves {found:#018x}, expected the cache, {expected:#018x}")]
    WrongService {
        /// The service's id as the segment says.
        found: u64,
        /// The id of this build's cache.
        expected: u64,
    },
}

/// A lookup failed. A key that is not there is no error.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum LookupError {
    /// The request got no usable answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The block was found and could not be leased.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The slot that the host named holds another key. Nothing of it was handed out.
    #[error("{slot} was named for key {wanted} and holds key {found}")]
    WrongKey {
        /// The slot.
        slot: SlotRef,
        /// The key asked for.
        wanted: Key,
        /// The key in its note.
        found: Key,
    },
    /// The payload is not what its checksum says. The host was told and has retired the block.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

/// A block whose payload is not what its checksum says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("block {key} in {slot} is corrupt: {mismatch}")]
pub struct Corrupt {
    /// Name of the block.
    pub key: Key,
    /// Where it stands.
    pub slot: SlotRef,
    /// Expected and found checksum.
    pub mismatch: ChecksumMismatch,
}

/// Checking a block failed.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The payload is wrong; the host was told.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// The file of the pool was cut: nothing can be said of the payload.
    #[error(transparent)]
    Torn(#[from] Torn),
    /// The payload is wrong, and the host could not be told.
    #[error("{corrupt}; the host could not be told: {error}")]
    NotReported {
        /// What was found.
        corrupt: Corrupt,
        /// Why the report failed.
        #[source]
        error: AskError,
    },
}

/// A block was not published. That its key was there already is no error.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The request got no usable answer. Unless it was refused as a whole, the block may have been
    /// published all the same.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// `store`: no slot could be had.
    #[error(transparent)]
    Reserve(#[from] ReserveError),
    /// More bytes than the slot has.
    #[error("{length_bytes} bytes do not fit the slot of {slot_bytes} bytes")]
    TooLong {
        /// Bytes of the block.
        length_bytes: u64,
        /// Bytes of the slot.
        slot_bytes: u64,
    },
    /// The host knows no grant of this slot to this guest.
    #[error("{slot:#x} (slot and generation) is not granted to this guest")]
    BadSlot {
        /// The slot reference as a word.
        slot: u64,
    },
    /// The slot alone is larger than the cache may become.
    #[error("a slot of {slot_bytes} bytes is larger than the cache's capacity of {capacity_bytes}")]
    LargerThanCapacity {
        /// Bytes of the slot.
        slot_bytes: u64,
        /// Capacity in bytes (0 with a capacity of 0 blocks).
        capacity_bytes: u64,
    },
    /// What would have to go is pinned.
    #[error("{pinned_blocks} blocks of {pinned_bytes} bytes are pinned and leave no room")]
    AllPinned {
        /// Blocks pinned, of all peers.
        pinned_blocks: u64,
        /// Bytes of their slots.
        pinned_bytes: u64,
    },
    /// Every block in the key's part of the index is pinned.
    #[error("all {neighbours} blocks in the key's part of the index are pinned")]
    IndexFull {
        /// Blocks there.
        neighbours: u64,
    },
}

/// A delete failed. A key that is not there is no error.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum DeleteError {
    /// The request got no usable answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// Somebody has it pinned.
    #[error("key {key} is busy: it is pinned {pins} times")]
    Busy {
        /// The key.
        key: Key,
        /// Pins on it, of all peers.
        pins: u32,
    },
    /// The host was restarted a moment ago, and a guest that may have it pinned has not come back.
    #[error(
        "key {key} may be pinned by a guest that has not come back since the host was restarted"
    )]
    Guarded {
        /// The key.
        key: Key,
    },
}

/// A pin failed.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum PinError {
    /// The request got no usable answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// There is no such block.
    #[error("key {key} is not there")]
    NotFound {
        /// The key.
        key: Key,
    },
    /// This guest has as many blocks pinned as it may.
    #[error("key {key} was not pinned: this guest has its most of {pins_max} blocks pinned")]
    Quota {
        /// The key.
        key: Key,
        /// The most blocks it may have pinned.
        pins_max: u32,
    },
}

/// An unpin failed.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum UnpinError {
    /// The request got no usable answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// There is no such block (its time may be over, or it was found corrupt).
    #[error("key {key} is not there")]
    NotFound {
        /// The key.
        key: Key,
    },
    /// This guest has no pin on it.
    #[error("key {key} is not pinned by this guest")]
    NotPinned {
        /// The key.
        key: Key,
    },
}
