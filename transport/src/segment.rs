//! A segment on the file system: its directory, its lock, its files and where the pool is placed.
//!
//! Nothing here knows what the files hold, but for the first words of `control` and `pool`, which
//! say that they are ours.

mod backing;
mod destroy;
mod dir;
mod error;
mod file;
mod huge;
mod lock;
mod memory_limit;
mod nodes;
mod path;
mod pool_file;
mod room;
mod status;

pub use backing::{Backing, BackingError, BackingKind, FakeBacking, GrowError};
pub(crate) use backing::{Span, Taking};
pub use destroy::{DestroyError, Destroyed, destroy};
pub use dir::{DirError, SegmentDir};
pub use error::{FileKind, SystemError};
pub use file::{AreaFile, FileError, reopen};
pub(crate) use file::{CONTROL, SOCKET, SOCKET_NEW, proc_path, remove_at};
pub use huge::NoHugePages;
pub(crate) use huge::{HugeBytes, check_huge, measure_huge};
pub use lock::{LockError, SegmentLock};
pub(crate) use memory_limit::{
    ATTACH_MARGIN_BYTES, GROWTH_MARGIN_BYTES, MAPPED_BY_BYTE, check_memory,
};
pub use memory_limit::{MemoryLimit, NoMemory};
pub use nodes::NumaError;
pub(crate) use nodes::{check_placeable, place, place_thread, resolve};
pub use path::{PathError, SegmentPath};
pub use pool_file::{PoolFile, PoolFileError, SegmentId};
pub use room::{NoRoom, Room, RoomError, check_room};
pub use status::{Contents, Foreign, SegmentStatus};

#[cfg(test)]
pub(crate) mod tests;
