//! Why more of a file could not be made real.

use crate::segment::error::SystemError;
use crate::segment::huge::NoHugePages;
use crate::segment::memory_limit::NoMemory;
use crate::segment::nodes::NumaError;
use crate::segment::room::{Bytes, Room};
use rustix::io::Errno;
use std::path::PathBuf;
use thiserror::Error;

/// Why a file could not grow. What was reserved until then stays, beyond any published size: nobody
/// reads it, and the next growth finds it reserved already.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrowError {
    /// The file system is full, or has no memory for more.
    #[error(
        "cannot grow {path} from {} to {}: {source}; {room}; see --size-max and --pool PATH",
        Bytes(*from_bytes), Bytes(*to_bytes)
    )]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// Size it had, in bytes.
        from_bytes: u64,
        /// Size it should get, in bytes.
        to_bytes: u64,
        /// The file system and its room after the failure.
        room: Room,
        /// What the system said.
        source: Errno,
    },
    /// The process may not write files as large as this (`ulimit -f`).
    #[error(
        "cannot grow {path} to {}: files of this process are limited to {} (ulimit -f)",
        Bytes(*to_bytes), Bytes(*limit_bytes)
    )]
    FileSizeLimit {
        /// The file.
        path: PathBuf,
        /// Size it should get, in bytes.
        to_bytes: u64,
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// The file cannot be as large as this.
    #[error("cannot grow {path} to {to_bytes} bytes, the most is {size_bytes_max}")]
    SizeFixed {
        /// The device.
        path: PathBuf,
        /// Size asked for, in bytes.
        to_bytes: u64,
        /// Its size, in bytes.
        size_bytes_max: u64,
    },
    /// A size that the backing cannot have.
    #[error("{value} bytes of {path} are no multiple of {alignment_bytes}")]
    Misaligned {
        /// The file.
        path: PathBuf,
        /// The size.
        value: u64,
        /// What it should be a multiple of.
        alignment_bytes: u64,
    },
    /// The caller gave up.
    #[error("growing {path} to {to_bytes} bytes was given up at {reached_bytes}")]
    GivenUp {
        /// The file.
        path: PathBuf,
        /// Size it should have got, in bytes.
        to_bytes: u64,
        /// Bytes reserved until then.
        reached_bytes: u64,
    },
    /// The file system cannot reserve blocks.
    #[error("{path} cannot reserve blocks up front ({room}): put the pool elsewhere with --pool")]
    NotSupported {
        /// The file.
        path: PathBuf,
        /// The file system.
        room: Room,
    },
    /// A control group leaves too little memory: the kernel would kill a process instead of refusing.
    #[error("cannot grow {path} from {} to {}: {no_memory}", Bytes(*from_bytes), Bytes(*to_bytes))]
    MemoryLimit {
        /// The file.
        path: PathBuf,
        /// Size it had, in bytes.
        from_bytes: u64,
        /// Size it should get, in bytes.
        to_bytes: u64,
        /// Which group, and its numbers.
        #[source]
        no_memory: NoMemory,
    },
    /// The process that reserves memory in the host's place was killed: there was none.
    #[error(
        "cannot grow {path} from {} to {}: the process that reserved the memory was killed, most \
         likely because a memory limit was reached ({room}); raise the limit, or ask for less with \
         --size or --size-max",
        Bytes(*from_bytes), Bytes(*to_bytes)
    )]
    HelperKilled {
        /// The file.
        path: PathBuf,
        /// Size it had, in bytes.
        from_bytes: u64,
        /// Size it should get, in bytes.
        to_bytes: u64,
        /// The file system and its room after the failure.
        room: Room,
    },
    /// The process that reserves memory in the host's place does not do so.
    #[error("cannot grow {path} to {to_bytes} bytes: {reason}")]
    Helper {
        /// The file.
        path: PathBuf,
        /// Size it should get, in bytes.
        to_bytes: u64,
        /// What is wrong with it, in words.
        reason: String,
        /// The nearest error number.
        source: Errno,
    },
    /// It cannot be mapped, which populating it and huge pages need: a limit on this process, and not
    /// on its memory.
    #[error(
        "cannot grow {path} to {}: it cannot be mapped to be populated: {reason}; see ulimit -v",
        Bytes(*to_bytes)
    )]
    Unmapped {
        /// The file.
        path: PathBuf,
        /// Size it should get, in bytes.
        to_bytes: u64,
        /// What was refused, in words.
        reason: String,
        /// The nearest error number.
        source: Errno,
    },
    /// The file did not come in huge pages, which were required.
    #[error(transparent)]
    Small(#[from] NoHugePages),
    /// Its pages cannot be had from the memory nodes that were asked for.
    #[error(transparent)]
    Numa(#[from] NumaError),
    /// The system refused.
    #[error(transparent)]
    System(#[from] SystemError),
}

impl GrowError {
    /// What the system said, or the error number that says it best.
    pub fn errno(&self) -> Errno {
        match self {
            GrowError::NoRoom { source, .. }
            | GrowError::Helper { source, .. }
            | GrowError::Unmapped { source, .. } => *source,
            GrowError::FileSizeLimit { .. } => Errno::FBIG,
            GrowError::SizeFixed { .. } => Errno::NOSPC,
            GrowError::Misaligned { .. } => Errno::INVAL,
            GrowError::GivenUp { .. } => Errno::CANCELED,
            GrowError::NotSupported { .. } => Errno::OPNOTSUPP,
            GrowError::MemoryLimit { no_memory, .. } => no_memory.source,
            GrowError::HelperKilled { .. } | GrowError::Small(_) => Errno::NOMEM,
            GrowError::Numa(
                NumaError::Refused { source, .. } | NumaError::Forbidden { source, .. },
            ) => *source,
            GrowError::Numa(_) => Errno::INVAL,
            GrowError::System(error) => error.source,
        }
    }
}
