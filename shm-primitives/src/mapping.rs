//! Memory that other processes may share: owned here, looked at through [`Region`].
#![expect(unsafe_code, reason = "owns memory: maps or allocates it, and gives it back once")]

use std::alloc::{self, Layout};
use std::fmt;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::io::Errno;

#[cfg(not(loom))]
use crate::error::GuardError;
use crate::error::{MapError, RegionError};
use crate::fork::ForkGuard;
use crate::region::Region;
#[cfg(not(loom))]
use crate::sigbus::Guarded;
use crate::sys;
#[cfg(not(loom))]
use std::sync::OnceLock;

/// What this process may do with mapped memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Load; a store is SIGSEGV, and no writable view can be made.
    ReadOnly,
    /// Load and store.
    ReadWrite,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::ReadOnly => "read-only",
            Access::ReadWrite => "writable",
        })
    }
}

/// Alignment in bytes of memory from the heap, that of a page.
const HEAP_ALIGNMENT_BYTES: usize = 4096;

/// An owned range of memory that never moves: a file mapped shared, or memory of this process.
///
/// Having one proves that `size_bytes` bytes from `base` are mapped until it is dropped. It does
/// not prove that the file has them: a touch beyond the end of the file is SIGBUS, unless the mapping
/// is guarded ([`Mapping::guard`]). Nor does it prove that a byte keeps its value: other processes write.
///
/// In a forked child the memory of a file is not mapped; a touch there is SIGSEGV, and dropping
/// the mapping there does nothing.
pub struct Mapping {
    start: NonNull<u8>,
    size_bytes: usize,
    access: Access,
    backing: Backing,
    #[cfg(not(loom))]
    guarded: OnceLock<Guarded>,
    /// Under the model checker the words of heap memory are these.
    #[cfg(loom)]
    pub(crate) modelled: Vec<crate::sync::AtomicU64>,
}

/// Where the memory came from, and so how it goes back.
enum Backing {
    File { mapped_bytes: usize, granularity: usize, process: ForkGuard },
    Heap { layout: Layout },
}

// SAFETY: the memory is not bound to a thread: it is mapped or allocated for the whole process, and
// `drop`, the only thing that ends it, needs the last owner.
unsafe impl Send for Mapping {}
// SAFETY: `&Mapping` hands out addresses and checked windows only; whoever touches bytes through
// them does so with atomics or proves in an unsafe call that nobody else does.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `file` shared, from its first byte.
    ///
    /// `size_bytes` is the largest size ever needed, 1 to `isize::MAX`. It may exceed what the file
    /// has now (a touch there is SIGBUS until the file has grown) and need not be a multiple of the
    /// page size: what is mapped is rounded up, what [`Mapping::size_bytes`] says is what was asked.
    /// No memory is reserved; core dumps and forked children do not get it. `file` may be closed
    /// afterwards.
    ///
    /// # Errors
    /// [`MapError`]: a size out of range, a descriptor that does not allow the access or cannot be
    /// mapped, no address space.
    // r[impl memory.map-once]
    // r[impl memory.map-errors]
    pub fn map(file: impl AsFd, size_bytes: u64, access: Access) -> Result<Arc<Mapping>, MapError> {
        let process = ForkGuard::new()?;
        let size = checked_size(size_bytes)?;
        let granularity =
            sys::granularity_bytes(&file).map_err(|source| MapError::FileSystem { source })?;
        let mapped_bytes = round_up(size, granularity)?;
        let start = sys::map_shared(&file, mapped_bytes, access)
            .map_err(|errno| map_error(errno, size_bytes, access))?;
        let mapping = Mapping {
            start,
            size_bytes: size,
            access,
            backing: Backing::File { mapped_bytes, granularity, process },
            #[cfg(not(loom))]
            guarded: OnceLock::new(),
            #[cfg(loom)]
            modelled: Vec::new(),
        };
        // From here on dropping `mapping` unmaps.
        // SAFETY: the range was mapped above and is owned by `mapping`.
        unsafe { sys::dont_dump(start, mapped_bytes) }
            .map_err(|errno| MapError::DontDump { size_bytes, source: errno.into() })?;
        // SAFETY: the range was mapped above and is owned by `mapping`.
        unsafe { sys::dont_fork(start, mapped_bytes) }
            .map_err(|errno| MapError::DontFork { size_bytes, source: errno.into() })?;
        Ok(Arc::new(mapping))
    }

    /// Zeroed memory of this process alone, aligned to 4096 bytes, with the same interface: for
    /// tests, for use within one process, for private copies of shared tables.
    ///
    /// # Errors
    /// [`MapError`]: a size out of range, no memory.
    // r[impl memory.heap]
    pub fn heap(size_bytes: u64) -> Result<Arc<Mapping>, MapError> {
        let size = checked_size(size_bytes)?;
        // Whole words, so that a view of the last word never reaches beyond the allocation.
        let layout = Layout::from_size_align(round_up(size, 8)?, HEAP_ALIGNMENT_BYTES)
            .map_err(|_| MapError::TooLarge { size_bytes, size_bytes_max: SIZE_BYTES_MAX })?;
        // SAFETY: `layout` has at least 8 bytes: `checked_size` refused 0.
        let start = unsafe { alloc::alloc_zeroed(layout) };
        let start = NonNull::new(start).ok_or(MapError::OutOfMemory { size_bytes })?;
        Ok(Arc::new(Mapping {
            start,
            size_bytes: size,
            access: Access::ReadWrite,
            backing: Backing::Heap { layout },
            #[cfg(not(loom))]
            guarded: OnceLock::new(),
            #[cfg(loom)]
            modelled: (0..layout.size() / 8).map(|_| crate::sync::AtomicU64::new(0)).collect(),
        }))
    }

    /// From now on a touch of what the file has lost (it was cut while it is mapped) is no SIGBUS:
    /// the page becomes zeroes of this process alone, for good, and the mapping counts as torn. See
    /// [`crate::sigbus`]; the first call installs a handler for this process. Doing it again does
    /// nothing, and memory of the heap needs none.
    ///
    /// # Errors
    /// [`GuardError`]: the handler cannot be installed, too many mappings are guarded.
    #[cfg(not(loom))]
    pub fn guard(&self) -> Result<(), GuardError> {
        let Backing::File { mapped_bytes, granularity, .. } = self.backing else { return Ok(()) };
        if self.guarded.get().is_none() {
            // SAFETY: `map` mapped exactly this range, and `drop` gives the guard back before it
            // unmaps. That bytes may become zeroes is what the caller asks for.
            let guarded =
                unsafe { Guarded::new(self.start, mapped_bytes, granularity, self.access) }?;
            // Another thread may have been faster: then this guard is given back.
            let _ = self.guarded.set(guarded);
        }
        Ok(())
    }

    /// Whether the file was cut while it is mapped and guarded, and something touched what was lost.
    ///
    /// Asked after reading: when it says no, every byte that was read was the file's.
    #[cfg(not(loom))]
    #[inline]
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.guarded.get().is_some_and(Guarded::is_torn)
    }

    /// Address of the first byte; it never changes.
    #[must_use]
    pub fn base(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Bytes as asked for, at least 1.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes as u64
    }

    /// What this process may do with it.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access
    }

    /// A window of `size_bytes` from `offset`, which is a multiple of 8.
    ///
    /// # Errors
    /// [`RegionError`]: outside of the mapping, misaligned.
    pub fn region(self: &Arc<Self>, offset: u64, size_bytes: u64) -> Result<Region, RegionError> {
        Region::new(Arc::clone(self), offset, size_bytes)
    }

    /// Whether it is memory of this process alone.
    pub(crate) fn is_heap(&self) -> bool {
        matches!(self.backing, Backing::Heap { .. })
    }
}

impl Drop for Mapping {
    // r[impl memory.drop]
    fn drop(&mut self) {
        match self.backing {
            Backing::File { mapped_bytes, process, .. } => {
                // Before the range is anybody else's.
                #[cfg(not(loom))]
                drop(self.guarded.take());
                // In a forked child the range is not ours: the kernel left it unmapped, and the
                // child may have something else there by now.
                if process.is_this_process() {
                    // SAFETY: `map` mapped exactly this range in this process; every region and
                    // view holds an `Arc` of this mapping, so with the last one gone none is left.
                    unsafe { sys::unmap(self.start, mapped_bytes) };
                }
            }
            Backing::Heap { layout } => {
                // SAFETY: `heap` allocated it with this very layout; no view is left, as above.
                unsafe { alloc::dealloc(self.start.as_ptr(), layout) };
            }
        }
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping")
            .field("base", &self.start)
            .field("size_bytes", &self.size_bytes)
            .field("access", &self.access)
            .field("heap", &self.is_heap())
            .finish()
    }
}

/// The most that one mapping holds: what an offset of a pointer can say.
const SIZE_BYTES_MAX: u64 = isize::MAX as u64;

fn checked_size(size_bytes: u64) -> Result<usize, MapError> {
    if size_bytes == 0 {
        return Err(MapError::SizeZero);
    }
    let too_large = MapError::TooLarge { size_bytes, size_bytes_max: SIZE_BYTES_MAX };
    if size_bytes > SIZE_BYTES_MAX {
        return Err(too_large);
    }
    usize::try_from(size_bytes).map_err(|_| too_large)
}

fn round_up(size: usize, granularity: usize) -> Result<usize, MapError> {
    match size.checked_next_multiple_of(granularity) {
        Some(rounded) if rounded as u64 <= SIZE_BYTES_MAX => Ok(rounded),
        _ => Err(MapError::TooLarge { size_bytes: size as u64, size_bytes_max: SIZE_BYTES_MAX }),
    }
}

fn map_error(errno: Errno, size_bytes: u64, access: Access) -> MapError {
    let source = errno.into();
    match errno {
        // A descriptor not open for the access; a seal or a mount that forbids it.
        Errno::ACCESS | Errno::PERM => MapError::Refused { access, source },
        Errno::NODEV | Errno::BADF => MapError::NotMappable { source },
        _ => MapError::Kernel { size_bytes, source },
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
