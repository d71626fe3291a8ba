//! Why the pool refused.

use super::classes::ClassIndex;
use super::plan::UNIT_COUNT_MAX;
use crate::Serial;
use crate::audit::AuditReport;
use crate::error::Corrupt;
use onecopy_shm::SlotState;
use thiserror::Error;

/// No slot of this class is free, and none can be made now. The numbers say where the room is.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "no slot of {slot_bytes} bytes is free: {free_bytes_elsewhere} bytes are free in slots of \
     other sizes, {uncarved_bytes} bytes in runs that are too short, {limbo_slots} retired slots \
     ({limbo_bytes} bytes) wait for their last lease, {slots_left} slot numbers are left, the pool \
     can grow by {growable_bytes} bytes"
)]
pub struct NoRoom {
    /// Class that was asked for.
    pub class: ClassIndex,
    /// Size of its slots in bytes.
    pub slot_bytes: u64,
    /// Bytes of free slots of other classes, in extents that also have used slots.
    pub free_bytes_elsewhere: u64,
    /// Bytes that belong to no class, in runs too short for one slot of this class (or there are
    /// no slot numbers left).
    pub uncarved_bytes: u64,
    /// Retired slots that wait for their last lease or for [`super::VarSlotPool::reclaim`].
    pub limbo_slots: u64,
    /// Their size in bytes.
    pub limbo_bytes: u64,
    /// Slot numbers that belong to no extent.
    pub slots_left: u64,
    /// Bytes by which the pool may still grow.
    pub growable_bytes: u64,
}

/// Why no slot was granted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrantError {
    /// None is free.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// There is no such class.
    #[error("class {class} of {class_count}")]
    UnknownClass {
        /// Class that was asked for.
        class: ClassIndex,
        /// Number of classes.
        class_count: usize,
    },
    /// The serial does not fit into a slot's word.
    #[error("serial {serial} is beyond the last one, {serial_max}")]
    SerialTooLarge {
        /// The owner.
        serial: Serial,
        /// The largest that fits.
        serial_max: Serial,
    },
}

/// Why something cannot be done with this slot.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlotError {
    /// No slot has this number.
    #[error("slot {slot} is none of the {slots} that were carved")]
    OutOfRange {
        /// The number.
        slot: u32,
        /// Numbers in use, from 1.
        slots: u32,
    },
    /// The slot has been used for something else since.
    #[error("slot {slot} is in generation {found}, expected {expected}")]
    WrongGeneration {
        /// Which slot.
        slot: u32,
        /// Its generation.
        found: u32,
        /// The generation that was named.
        expected: u32,
    },
    /// The slot is in another state.
    #[error("slot {slot} is {found}, expected {expected}")]
    WrongState {
        /// Which slot.
        slot: u32,
        /// Its state.
        found: SlotState,
        /// The state in which this can be done.
        expected: SlotState,
    },
    /// The slot is somebody else's.
    #[error("slot {slot} belongs to serial {found}, expected {expected}")]
    WrongOwner {
        /// Which slot.
        slot: u32,
        /// Its owner.
        found: Serial,
        /// Who was named as the owner.
        expected: Serial,
    },
    /// More is to be published than fits.
    #[error("{length_bytes} bytes in slot {slot}, which has {slot_bytes}")]
    TooLong {
        /// Which slot.
        slot: u32,
        /// Bytes to be published.
        length_bytes: u64,
        /// Size of the slot in bytes.
        slot_bytes: u64,
    },
}

/// Why a pool could not be taken over from an earlier life of the host.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// A word that no host stores, at any instruction it may die at.
    #[error("the pool cannot be recovered: {0}")]
    Corrupt(#[from] Corrupt),
    /// Each word is possible, all together they are not.
    #[error("the recovered pool is not consistent: {0}")]
    Inconsistent(AuditReport),
    /// More units than this build counts.
    #[error("the pool has {units} units, expected at most {UNIT_COUNT_MAX}")]
    TooManyUnits {
        /// Units that were found.
        units: u64,
    },
}
