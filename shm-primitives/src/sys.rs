//! The system calls of this crate, each in the smallest wrapper that has a contract.
#![expect(unsafe_code, reason = "memory is mapped, unmapped and advised about here")]

use std::ffi::c_void;
use std::io;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};

use rustix::io::Errno;
use rustix::mm::{self, Advice, MapFlags, ProtFlags};

use crate::error::PopulateError;
use crate::mapping::Access;
use crate::region::Region;

/// What `statfs` says of a hugetlbfs.
const HUGETLBFS_MAGIC: i64 = 0x9584_58f6;

/// Bytes of a page of memory.
pub(crate) fn page_size_bytes() -> usize {
    rustix::param::page_size()
}

/// What sizes of mappings of this file are multiples of: the page, or on hugetlbfs the huge page.
pub(crate) fn granularity_bytes(file: impl AsFd) -> io::Result<usize> {
    let file_system = rustix::io::retry_on_intr(|| rustix::fs::fstatfs(&file))?;
    let huge = file_system.f_type == HUGETLBFS_MAGIC;
    let block_bytes = usize::try_from(file_system.f_bsize).unwrap_or(0);
    Ok(if huge { block_bytes.max(page_size_bytes()) } else { page_size_bytes() })
}

/// Maps the file shared from its start, wherever the kernel likes, reserving no memory.
pub(crate) fn map_shared(
    file: impl AsFd,
    size_bytes: usize,
    access: Access,
) -> Result<NonNull<u8>, Errno> {
    let flags = MapFlags::SHARED | MapFlags::NORESERVE;
    // SAFETY: without an address and without MAP_FIXED the kernel picks a range that nothing in
    // this process uses, so no memory that anybody refers to changes.
    let start =
        unsafe { mm::mmap(ptr::null_mut(), size_bytes, protection(access), flags, file, 0) }?;
    NonNull::new(start.cast()).ok_or(Errno::FAULT)
}

/// Ends the process with nothing run: no destructor, no handler, no other thread.
#[cfg(all(feature = "faults", debug_assertions, not(loom)))]
pub(crate) fn exit_at_once(code: i32) -> ! {
    // SAFETY: it has no preconditions, and does not return.
    unsafe { libc::_exit(code) }
}

/// Stops the process until it is let go on; the calling thread runs nothing more before that.
#[cfg(all(feature = "faults", debug_assertions, not(loom)))]
pub(crate) fn stop_this_process() {
    // SAFETY: sends a signal to the calling thread; nobody can handle it.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// Gives back what [`map_shared`] mapped.
///
/// # Safety
/// The range is one that [`map_shared`] returned in this process, rounded size included, it has
/// not been unmapped, and nothing refers to it any more.
pub(crate) unsafe fn unmap(start: NonNull<u8>, size_bytes: usize) {
    // SAFETY: the caller says that the range is a whole mapping of ours that nobody uses.
    let outcome = unsafe { mm::munmap(start.as_ptr().cast(), size_bytes) };
    // The only errors are a range that was never mapped and a full table of ranges when a hole
    // would be cut; a whole mapping cuts none. There is nobody to tell and nothing to undo.
    debug_assert_eq!(outcome, Ok(()), "munmap of {start:p}, {size_bytes} bytes");
}

/// Puts zeroes of this process alone in place of what is mapped here. Nothing but system calls, so
/// that a signal handler may do it.
///
/// # Safety
/// The range is whole pages of a live mapping of [`map_shared`], and whoever looks at it bears that
/// its bytes become zeroes.
#[cfg(not(loom))]
pub(crate) unsafe fn replace_with_zeroes(
    start: NonNull<u8>,
    size_bytes: usize,
    access: Access,
) -> Result<(), Errno> {
    let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
    // SAFETY: MAP_FIXED replaces what is mapped in the range, which is the caller's to replace.
    unsafe { mm::mmap_anonymous(start.as_ptr().cast(), size_bytes, protection(access), flags) }?;
    // As the mapping was. That a child has the zeroes as well would harm nobody.
    // SAFETY: the range was mapped just now.
    let _ = unsafe { dont_fork(start, size_bytes) };
    Ok(())
}

fn protection(access: Access) -> ProtFlags {
    match access {
        Access::ReadOnly => ProtFlags::READ,
        Access::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
    }
}

/// Keeps a mapping out of core dumps.
///
/// # Safety
/// The range lies in a live mapping of [`map_shared`].
pub(crate) unsafe fn dont_dump(start: NonNull<u8>, size_bytes: usize) -> Result<(), Errno> {
    // SAFETY: the advice changes no bytes and no protection; the caller owns the range.
    unsafe { mm::madvise(start.as_ptr().cast(), size_bytes, Advice::LinuxDontDump) }
}

/// Keeps a mapping from forked children: there the range is not mapped at all.
///
/// # Safety
/// The range lies in a live mapping of [`map_shared`].
pub(crate) unsafe fn dont_fork(start: NonNull<u8>, size_bytes: usize) -> Result<(), Errno> {
    // SAFETY: the advice changes nothing in this process; a child that touches the range faults
    // and reads no foreign bytes. The caller owns the range.
    unsafe { mm::madvise(start.as_ptr().cast(), size_bytes, Advice::LinuxDontFork) }
}

/// A page of zeroes of this process alone, for ever.
pub(crate) fn map_private_page() -> Result<NonNull<u8>, Errno> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    let flags = MapFlags::PRIVATE;
    let size_bytes = page_size_bytes();
    // SAFETY: as in `map_shared`: without an address nothing that is in use is touched.
    let start = unsafe { mm::mmap_anonymous(ptr::null_mut(), size_bytes, protection, flags) }?;
    NonNull::new(start.cast()).ok_or(Errno::FAULT)
}

/// Has the kernel hand a page of zeroes to a forked child in place of this page.
///
/// # Safety
/// `page` came from [`map_private_page`].
#[cfg_attr(miri, expect(dead_code, reason = "no fork under Miri"))]
pub(crate) unsafe fn wipe_on_fork(page: NonNull<u8>) -> Result<(), Errno> {
    let size_bytes = page_size_bytes();
    // SAFETY: the advice changes nothing in this process; the page is the caller's.
    unsafe { mm::madvise(page.as_ptr().cast(), size_bytes, Advice::LinuxWipeOnFork) }
}

/// Makes the memory of a writable region real now, so that the first store into it does not have
/// to wait for the kernel. Bytes do not change. The pages that the region only touches are made
/// real as well. Memory of the heap is left as it is.
///
/// # Errors
/// [`PopulateError`].
// r[impl memory.populate]
pub fn populate_write(region: &Region) -> Result<(), PopulateError> {
    if region.access() == Access::ReadOnly {
        return Err(PopulateError::ReadOnly { size_bytes: region.size_bytes() });
    }
    populate(region, Advice::LinuxPopulateWrite)
}

/// The same by reading, for any region. Memory that is real already is mapped several pages at a time
/// and so sooner than by [`populate_write`]; memory that is not takes longer. In a writable mapping of
/// shared memory a store then does not have to wait either.
///
/// # Errors
/// [`PopulateError`].
// r[impl memory.populate]
pub fn populate_read(region: &Region) -> Result<(), PopulateError> {
    populate(region, Advice::LinuxPopulateRead)
}

fn populate(region: &Region, advice: Advice) -> Result<(), PopulateError> {
    let size_bytes = region.size_bytes();
    if region.is_heap() || size_bytes == 0 {
        return Ok(());
    }
    let (start, pages_bytes) = whole_pages(region);
    // SAFETY: the pages belong to the mapping that `region` keeps alive: a mapping starts and ends
    // at a page, and the region lies inside of it. Populating changes no bytes.
    let outcome = rustix::io::retry_on_intr(|| unsafe { mm::madvise(start, pages_bytes, advice) });
    outcome.map_err(|errno| match errno {
        Errno::FAULT => PopulateError::BeyondFile { size_bytes, source: errno.into() },
        Errno::INVAL => PopulateError::Unsupported { source: errno.into() },
        _ => PopulateError::Kernel { size_bytes, source: errno.into() },
    })
}

/// Whether this kernel can populate memory at all (from Linux 5.14 on).
pub fn can_populate() -> bool {
    let Ok(page) = map_private_page() else { return true };
    let page_bytes = page_size_bytes();
    // SAFETY: the page was mapped just now and nobody else knows of it.
    let outcome =
        unsafe { mm::madvise(page.as_ptr().cast(), page_bytes, Advice::LinuxPopulateRead) };
    // SAFETY: as above; nothing refers to it any more.
    let _ = unsafe { mm::munmap(page.as_ptr().cast(), page_bytes) };
    outcome != Err(Errno::INVAL)
}

/// Asks for huge pages where memory of this region is yet to be made real. What the file system does
/// not give is no error here.
///
/// # Errors
/// What the kernel answered; one without huge pages says EINVAL.
// r[impl memory.huge]
pub fn advise_huge(region: &Region) -> Result<(), Errno> {
    if region.is_heap() || region.size_bytes() == 0 {
        return Ok(());
    }
    let (start, pages_bytes) = whole_pages(region);
    // SAFETY: as in `populate`; the advice changes no bytes.
    unsafe { mm::madvise(start, pages_bytes, Advice::LinuxHugepage) }
}

/// The pages that a region touches: start and bytes.
pub(crate) fn whole_pages(region: &Region) -> (*mut c_void, usize) {
    let page_bytes = page_size_bytes();
    let first = region.address();
    let before = first.addr() % page_bytes;
    // A region lies in a mapping, so its end is an address and fits into usize.
    let used_bytes = before.saturating_add(region.size_bytes() as usize);
    (first.wrapping_byte_sub(before).cast(), used_bytes.next_multiple_of(page_bytes))
}

/// Processor cores that are online on this machine, whichever of them this thread may use; at least
/// 1.
pub fn online_cores() -> usize {
    // SAFETY: sysconf takes a number and returns one; it touches no memory of ours.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    // Where it cannot be told there are likely few.
    usize::try_from(count).unwrap_or(1).max(1)
}
