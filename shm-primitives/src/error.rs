//! What can go wrong, one enum per operation.

use std::io;

use rustix::io::Errno;

use crate::mapping::Access;
use crate::slot::{SlotRef, SlotState};

/// Why memory could not be mapped or allocated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// A mapping of 0 bytes was asked for.
    #[error("a mapping needs at least 1 byte, 0 were asked for")]
    SizeZero,
    /// More was asked for than one mapping can ever hold.
    #[error("a mapping holds at most {size_bytes_max} bytes, {size_bytes} were asked for")]
    TooLarge {
        /// Bytes asked for.
        size_bytes: u64,
        /// The most that can be asked for, in bytes.
        size_bytes_max: u64,
    },
    /// The descriptor (or a seal on the file) does not allow this access.
    #[error("the file does not allow to be mapped {access}: {source}")]
    Refused {
        /// Access asked for.
        access: Access,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The descriptor is of a kind that has no bytes to map: a pipe, a socket, a directory.
    #[error("this kind of file cannot be mapped: {source}")]
    NotMappable {
        /// What the kernel answered.
        source: io::Error,
    },
    /// The file system could not be asked for its mapping granularity.
    #[error("cannot ask the file system of the file for its block size: {source}")]
    FileSystem {
        /// What the kernel answered.
        source: io::Error,
    },
    /// The kernel refused for another reason (address space, limits).
    #[error("the kernel refused to map {size_bytes} bytes: {source}")]
    Kernel {
        /// Bytes asked for.
        size_bytes: u64,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The mapping could not be kept out of core dumps.
    #[error("cannot keep {size_bytes} mapped bytes out of core dumps: {source}")]
    DontDump {
        /// Bytes mapped.
        size_bytes: u64,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The mapping could not be kept from forked children.
    #[error("cannot keep {size_bytes} mapped bytes from forked children: {source}")]
    DontFork {
        /// Bytes mapped.
        size_bytes: u64,
        /// What the kernel answered.
        source: io::Error,
    },
    /// No private memory left.
    #[error("no memory for {size_bytes} bytes")]
    OutOfMemory {
        /// Bytes asked for.
        size_bytes: u64,
    },
    /// The process could not be marked, so a forked child could not be told apart.
    #[error(transparent)]
    ForkGuard(#[from] ForkGuardError),
}

/// Why a mapping could not be guarded against its file being cut.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// The kernel refused the handler.
    #[error("cannot install a handler for SIGBUS: {source}")]
    Handler {
        /// What the kernel answered.
        source: io::Error,
    },
    /// As many mappings of this process are guarded as can be.
    #[error("{guarded_max} mappings of this process are guarded, which is the most")]
    Full {
        /// The most mappings that can be guarded at once.
        guarded_max: u32,
    },
}

/// Why the word that tells a forked child apart could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForkGuardError {
    /// No memory for it.
    #[error("cannot map the {size_bytes} bytes that are wiped on fork: {source}")]
    Map {
        /// Bytes asked for.
        size_bytes: usize,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The kernel does not wipe memory on fork (before Linux 4.14).
    #[error("the kernel does not wipe memory on fork (Linux 4.14 does): {source}")]
    WipeOnFork {
        /// What the kernel answered.
        source: io::Error,
    },
}

/// Why a window of a mapping, or a view in it, could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegionError {
    /// The end lies outside of what it is taken from.
    #[error("{size_bytes} bytes at offset {offset} do not lie within {size_bytes_available} bytes")]
    OutOfRange {
        /// Bytes from the start of what it is taken from.
        offset: u64,
        /// Bytes asked for.
        size_bytes: u64,
        /// Bytes there are.
        size_bytes_available: u64,
    },
    /// The offset is not a multiple of what the view needs.
    #[error("offset {offset} is not a multiple of {alignment_bytes} bytes")]
    Misaligned {
        /// Bytes from the start of what it is taken from.
        offset: u64,
        /// What it has to be a multiple of.
        alignment_bytes: u64,
    },
    /// A writable view of memory that is mapped read-only.
    #[error("a writable view at offset {offset} of a mapping that is read-only")]
    ReadOnly {
        /// Bytes from the start of what it is taken from.
        offset: u64,
    },
    /// Only heap memory is backed by the model checker's words.
    #[cfg(loom)]
    #[error("the model checker backs heap memory only, not a mapped file")]
    NotModelled,
}

/// An element number beyond the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("word {index} of {count}")]
pub struct IndexOutOfRange {
    /// Element number asked for, from 0.
    pub index: u64,
    /// Number of elements.
    pub count: u64,
}

/// Why memory could not be made real ahead of its use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PopulateError {
    /// The region is mapped read-only.
    #[error("{size_bytes} bytes that are mapped read-only cannot be populated for writing")]
    ReadOnly {
        /// Bytes of the region.
        size_bytes: u64,
    },
    /// The region ends beyond the end of its file.
    #[error("{size_bytes} bytes reach beyond the end of the mapped file: {source}")]
    BeyondFile {
        /// Bytes of the region.
        size_bytes: u64,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The kernel cannot do it (before Linux 5.14).
    #[error("the kernel cannot populate memory (Linux 5.14 can): {source}")]
    Unsupported {
        /// What the kernel answered.
        source: io::Error,
    },
    /// The kernel refused for another reason (no memory, no blocks).
    #[error("the kernel refused to populate {size_bytes} bytes: {source}")]
    Kernel {
        /// Bytes of the region.
        size_bytes: u64,
        /// What the kernel answered.
        source: io::Error,
    },
}

impl PopulateError {
    /// The error number that says it best. A touch beyond the end of a file would be SIGBUS: the file
    /// system is full, or somebody has cut the file.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            PopulateError::ReadOnly { .. } => Errno::INVAL,
            PopulateError::BeyondFile { .. } => Errno::NOSPC,
            PopulateError::Unsupported { .. } => Errno::OPNOTSUPP,
            PopulateError::Kernel { source, .. } => {
                source.raw_os_error().map_or(Errno::NOMEM, Errno::from_raw_os_error)
            }
        }
    }
}

/// A slot state word that no host can have written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("slot state word {bits:#018x} is corrupt: {fault}")]
pub struct CorruptSlotWord {
    /// The word as it was read.
    pub bits: u64,
    /// What is wrong with it.
    pub fault: SlotWordFault,
}

/// What makes a slot state word corrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SlotWordFault {
    /// The state is none of the known ones.
    #[error("state {state} is not one of 0 to 5")]
    UnknownState {
        /// The four bits of the state.
        state: u8,
    },
    /// The generation is 0 where the slot has been carved.
    #[error("generation 0 in state {state}")]
    GenerationZero {
        /// The state found with it.
        state: SlotState,
    },
    /// There is an owner where the state has none.
    #[error("owner {owner} in state {state}, which has none")]
    Owner {
        /// The serial found.
        owner: u32,
        /// The state found with it.
        state: SlotState,
    },
}

/// A change of a slot's state that the life of a slot does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IllegalTransition {
    /// No arrow leads from the one state to the other.
    #[error("a slot that is {from} cannot become {wanted}")]
    State {
        /// The state the slot is in.
        from: SlotState,
        /// The state that was wanted.
        wanted: SlotState,
    },
    /// The serial does not fit into the word.
    #[error("serial {serial} is beyond the last one, {serial_max}")]
    Serial {
        /// The serial of the new owner.
        serial: u32,
        /// The largest that fits.
        serial_max: u32,
    },
    /// A slot that is written off stays so for as long as the segment is there.
    #[error("a slot that is written off is never used again")]
    WrittenOff,
}

/// The kernel carried out no fence for others (membarrier).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no fence in the threads that read: {source}")]
pub struct NoFence {
    /// What the kernel said.
    pub source: Errno,
}

/// Why a lease table could not be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseTableError {
    /// The capacity is 0 or no whole number of cache lines.
    #[error("a lease table has a multiple of {multiple} cells and at least one, not {capacity}")]
    Capacity {
        /// Cells asked for.
        capacity: u32,
        /// What the capacity has to be a multiple of.
        multiple: u32,
    },
    /// The region ends before the table does.
    #[error("a lease table of {capacity} cells needs {needed_bytes} bytes, not {size_bytes}")]
    TooSmall {
        /// Cells asked for.
        capacity: u32,
        /// Bytes of such a table.
        needed_bytes: u64,
        /// Bytes of the region.
        size_bytes: u64,
    },
    /// Another process, or another handle of this one, has taken this table.
    #[error("the lease table was taken already (its first word is {taken}), a fresh one is needed")]
    NotFresh {
        /// The word found where a fresh table has 0.
        taken: u64,
    },
    /// The region does not begin at a cache line, or is read-only.
    #[error("the lease table cannot be viewed: {0}")]
    Region(#[from] RegionError),
    /// The process could not be marked, so a forked child could not be told apart.
    #[error(transparent)]
    ForkGuard(#[from] ForkGuardError),
}

/// No cell is left for the thread that asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeasesFull {
    /// Every cell holds a lease, or is another thread's.
    #[error("all of the {capacity} leases that this table holds are taken")]
    Taken {
        /// Cells in the table.
        capacity: u32,
    },
    /// The next cells of the table have no memory, and the system gives none.
    #[error(
        "{cells} of the {capacity} leases of this table have memory, for more there is none: {source}"
    )]
    NoMemory {
        /// Cells that have memory: all of them hold a lease, or are another thread's.
        cells: u32,
        /// Cells in the table.
        capacity: u32,
        /// What the system said.
        source: Errno,
    },
}

/// Why a slot could not be leased for reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// No cell is left.
    #[error(transparent)]
    Full(#[from] LeasesFull),
    /// The slot is in another state, or another block is published in it.
    #[error("{slot} is not published, its state word is {bits:#018x}")]
    NotPublished {
        /// What was to be leased.
        slot: SlotRef,
        /// The state word found.
        bits: u64,
    },
    /// The host no longer looks at the leases of this guest.
    #[error("this guest was cut off: attached is {attached}, not {attached_value}")]
    CutOff {
        /// The word found.
        attached: u64,
        /// The word of a guest that is attached.
        attached_value: u64,
    },
}
