#![expect(unsafe_code, reason = "tells the kernel on which memory nodes pages are taken")]
//! On which memory nodes (NUMA) pages are taken.

use crate::region::Region;
use crate::sys::whole_pages;
use rustix::io::Errno;

/// How pages are spread over nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NumaMode {
    /// From these nodes and no others.
    Bind,
    /// From one of these nodes after the other.
    Interleave,
}

impl NumaMode {
    fn number(self) -> libc::c_int {
        match self {
            NumaMode::Bind => libc::MPOL_BIND,
            NumaMode::Interleave => libc::MPOL_INTERLEAVE,
        }
    }
}

/// A mode, and a bit for each node from 0 to 63.
pub type NodesOf = (NumaMode, u64);

/// Has pages of this region, as far as they are not there yet, be taken so by whoever comes to touch
/// them; `None`: as each process likes. In shared memory the file keeps it, for as long as it exists;
/// hugetlbfs and disks keep nothing, there it is for this mapping alone.
///
/// # Errors
/// What the kernel answered: EINVAL for nodes that it does not have, ENOSYS where it knows of none.
// r[impl memory.numa]
pub fn set_region_nodes(region: &Region, nodes: Option<NodesOf>) -> Result<(), Errno> {
    if region.is_heap() || region.size_bytes() == 0 {
        return Ok(());
    }
    if nodes.is_none() {
        // The kernel does nothing about a mapping that has no policy of its own, whatever the file has.
        bind_pages(region, (libc::MPOL_LOCAL, 0))?;
    }
    bind_pages(region, numbers(nodes))
}

fn bind_pages(region: &Region, (mode, mask): (libc::c_int, libc::c_ulong)) -> Result<(), Errno> {
    let (start, pages_bytes) = whole_pages(region);
    // SAFETY: the pages belong to the mapping that `region` keeps alive; no bytes change and nothing
    // moves without MPOL_MF_MOVE. The kernel reads one word of the mask, which outlives the call.
    let outcome = unsafe {
        libc::syscall(libc::SYS_mbind, start, pages_bytes, mode, &raw const mask, MASK_BITS, 0)
    };
    result(outcome)
}

/// Has pages that the calling thread is the first to need be taken so, where no file says otherwise;
/// `None`: near the core that it runs on.
///
/// # Errors
/// As for [`set_region_nodes`].
// r[impl memory.numa]
pub fn set_thread_nodes(nodes: Option<NodesOf>) -> Result<(), Errno> {
    let (mode, mask) = numbers(nodes);
    // SAFETY: changes where later pages come from and nothing else. The kernel reads one word of the
    // mask, which outlives the call.
    let outcome =
        unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, &raw const mask, MASK_BITS) };
    result(outcome)
}

/// The kernel takes one from what it is told.
const MASK_BITS: libc::c_ulong = 65;

fn numbers(nodes: Option<NodesOf>) -> (libc::c_int, libc::c_ulong) {
    nodes.map_or((libc::MPOL_DEFAULT, 0), |(mode, nodes)| (mode.number(), nodes))
}

fn result(outcome: libc::c_long) -> Result<(), Errno> {
    if outcome == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOSYS))
}

#[cfg(test)]
#[cfg(not(any(loom, miri)))]
mod tests;
