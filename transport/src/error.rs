//! Error types shared by more than one module; an operation's own errors stand beside it.

use thiserror::Error;

/// A geometry that no segment can have.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum GeometryError {
    /// A number outside its range.
    #[error("{what} is {value}, expected {min} to {max}")]
    OutOfRange {
        /// Which number.
        what: &'static str,
        /// What it was.
        value: u64,
        /// Smallest allowed.
        min: u64,
        /// Largest allowed.
        max: u64,
    },
    /// A number that must be a power of two.
    #[error("{what} is {value}, expected a power of two")]
    NotAPowerOfTwo {
        /// Which number.
        what: &'static str,
        /// What it was.
        value: u64,
    },
    /// A number that must be a multiple of another.
    #[error("{what} is {value}, expected a multiple of {of}")]
    NotAMultiple {
        /// Which number.
        what: &'static str,
        /// What it was.
        value: u64,
        /// What it must be a multiple of.
        of: u64,
    },
    /// Size classes out of order.
    #[error("slot size {slot_bytes} follows {previous}, expected ascending sizes")]
    ClassesNotAscending {
        /// The size before.
        previous: u64,
        /// The size that is not larger.
        slot_bytes: u64,
    },
    /// A slot size that can never fit.
    #[error(
        "the largest slot of {slot_bytes} bytes does not fit a pool with room for {room} bytes"
    )]
    SlotLargerThanPool {
        /// The slot size.
        slot_bytes: u64,
        /// Bytes the largest pool has for slots.
        room: u64,
    },
}

/// Shared memory holds something that no correct host writes.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{what} {number} holds {found:#x}, expected {expected}")]
pub struct Corrupt {
    /// Which kind of field.
    pub what: &'static str,
    /// Which one of them.
    pub number: u64,
    /// What it held.
    pub found: u64,
    /// What was expected there.
    pub expected: &'static str,
}
