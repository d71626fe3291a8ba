//! Why a host could not be started.

use super::memory::MemoryError;
use crate::control::{ControlError, HeaderError, InitialiseError};
use crate::error::{Corrupt, GeometryError};
use crate::format::{TOUCH_ENTRIES_MAX, TOUCH_ENTRIES_MIN};
use crate::pool::RecoverError;
use crate::process::ProcessError;
use crate::segment::{
    BackingError, DestroyError, DirError, FileError, Foreign, GrowError, LockError, PathError,
    PoolFileError, RoomError, SystemError,
};
use crate::service::ServiceError;
use crate::socket::BindError;
use onecopy_shm::error::{MapError, RegionError};
use rustix::io::Errno;
use std::path::PathBuf;
use thiserror::Error;

/// Why a host could not be started. Whatever stood there before still stands.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The path cannot be that of a segment.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The directory cannot be used.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// Another host is there, or the lock cannot be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Something else stands there.
    #[error("this is no segment: {0}")]
    Foreign(Foreign),
    /// A file of the segment cannot be made or opened.
    #[error(transparent)]
    File(#[from] FileError),
    /// The pool's file is not this segment's, or cannot hold a pool.
    #[error(transparent)]
    PoolFile(#[from] PoolFileError),
    /// The pool's file cannot hold a pool.
    #[error(transparent)]
    Backing(#[from] BackingError),
    /// There is no room for the segment.
    #[error(transparent)]
    Room(#[from] RoomError),
    /// The room could not be reserved.
    #[error(transparent)]
    Grow(#[from] GrowError),
    /// Guests of the host before may read without fences of their own, and this process cannot have any
    /// carried out for them.
    #[error(
        "the host before had readers fenced by membarrier, which the kernel or a filter for system calls \
         does not let this process do: allow membarrier, or remove the segment when its guests have ended"
    )]
    NoFence,
    /// Memory cannot be taken as it was asked for.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A geometry that no segment can have.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The control area is not one that this build can use.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The control area cannot be used.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The control area cannot be laid out.
    #[error(transparent)]
    Initialise(#[from] InitialiseError),
    /// The slots that an earlier host left do not make sense.
    #[error(transparent)]
    Pool(#[from] RecoverError),
    /// An earlier host served something else here.
    #[error("this segment was made for service {found:#x}, this host serves {expected:#x}")]
    WrongService {
        /// The service that made it.
        found: u64,
        /// The service of this host.
        expected: u64,
    },
    /// A ring too small or too large, or no power of two, or too small for the inline payloads.
    #[error(
        "ring capacity {capacity_bytes} with inline payloads up to {inline_bytes_max} bytes: \
             expected a power of two from 1024 to 67108864, and at most {frame_length_max} inline"
    )]
    Ring {
        /// Ring capacity asked for, in bytes.
        capacity_bytes: u32,
        /// Inline threshold asked for, in bytes.
        inline_bytes_max: u32,
        /// What a frame of such a ring can hold, in bytes.
        frame_length_max: u32,
    },
    /// A touch log too small or too large, or no power of two.
    #[error(
        "touch_entries is {entries}, expected a power of two from {TOUCH_ENTRIES_MIN} to \
         {TOUCH_ENTRIES_MAX}"
    )]
    TouchEntries {
        /// Entries of each shard that were asked for.
        entries: u32,
    },
    /// Guests allowed is out of range.
    #[error("guests_max is {guests_max}, expected 1 to 2048")]
    GuestsMax {
        /// What was asked for.
        guests_max: u32,
    },
    /// Memory could not be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A window of the control area lies outside of it.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// The lease table of a guest of an earlier host cannot be looked through.
    #[error("the lease table of guest {serial}, which still lives, cannot be used: {reason}")]
    Leases {
        /// Serial of the guest.
        serial: crate::Serial,
        /// What was in the way.
        reason: String,
    },
    /// It cannot be told whether a guest of an earlier host still lives.
    #[error("it cannot be told whether guest {serial}, process {pid}, still lives: {error}")]
    Process {
        /// Serial of the guest.
        serial: crate::Serial,
        /// Its process.
        pid: u32,
        /// What was in the way.
        error: ProcessError,
    },
    /// What an unfinished start left could not be removed.
    #[error(transparent)]
    Destroy(#[from] DestroyError),
    /// A row of the peer table makes no sense.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// Told of another pool than the one that the segment has.
    #[error(
        "the pool of this segment is {}, not {}: leave the path out, or name that one",
        found.display(), named.display()
    )]
    PoolElsewhere {
        /// Where the segment's pool is.
        found: PathBuf,
        /// What was named.
        named: PathBuf,
    },
    /// The pool is smaller than the control area says.
    #[error("{file} has {found_bytes} bytes, expected at least {expected_bytes}")]
    TooSmall {
        /// Which file.
        file: PathBuf,
        /// Its size, in bytes.
        found_bytes: u64,
        /// What the control area says, in bytes.
        expected_bytes: u64,
    },
    /// The control area has holes where its tables should be: to read them would take memory.
    #[error("{file} has {real_bytes} bytes of memory, expected at least {expected_bytes}")]
    Holes {
        /// Which file.
        file: PathBuf,
        /// Bytes of it that have memory.
        real_bytes: u64,
        /// What the control area says, in bytes.
        expected_bytes: u64,
    },
    /// The service's region is not as large as the service lays it out.
    #[error("the service's region has {found_bytes} bytes, expected {expected_bytes}")]
    WrongRegion {
        /// What the control area says, in bytes.
        found_bytes: u64,
        /// What the service asks for, in bytes.
        expected_bytes: u64,
    },
    /// The service refuses its region.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The socket could not be made.
    #[error(transparent)]
    Listen(#[from] BindError),
    /// The system refused a file operation.
    #[error(transparent)]
    System(#[from] SystemError),
    /// The system refused descriptors or randomness.
    #[error("the system refused {what}: {source}")]
    Resources {
        /// What was asked for.
        what: &'static str,
        /// What it said.
        source: Errno,
    },
}
