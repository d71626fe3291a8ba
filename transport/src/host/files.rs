//! The files of one attach: `rings/<serial>` and the guest process's `leases/<serial>`.

use super::peer::Who;
use crate::layout::RingsLayout;
use crate::segment::{ATTACH_MARGIN_BYTES, AreaFile, Backing, SegmentDir, Span};
use onecopy_shm::sys::populate_write;
use onecopy_shm::{Access, LeaseScan, Mapping, Region, lease_table_bytes, lease_table_fresh_bytes};
use std::error::Error;
use std::os::fd::OwnedFd;

/// Files and mappings of one attach, as the host holds them.
pub(super) struct AttachFiles {
    pub rings: OwnedFd,
    pub leases: OwnedFd,
    /// The whole rings file, writable.
    pub region: Region,
    pub scan: LeaseScan,
}

impl AttachFiles {
    // r[impl resources.full]
    // r[impl pool-memory.prefault]
    /// Makes fresh rings, and a fresh lease table unless the process already has one. Rings are
    /// allocated up front: a full file system is an error here, not SIGBUS later. Of a lease table
    /// that is done for the first cells; the guest does it for those that it comes to use.
    pub fn make(
        dir: &SegmentDir,
        who: &Who,
        layout: &RingsLayout,
        leases_max: u64,
        (guard, prefault): (bool, bool),
    ) -> Result<AttachFiles, Box<dyn Error>> {
        let rings_bytes = layout.size_bytes;
        let rings = make_file(dir, AreaFile::Rings(who.serial), rings_bytes, rings_bytes)?;
        let mapping = Mapping::map(&rings, rings_bytes, Access::ReadWrite)?;
        if guard {
            mapping.guard()?;
        }
        let region = mapping.region(0, rings_bytes)?;
        if prefault {
            populate_write(&region)?;
        }
        let file = AreaFile::Leases(who.lease_serial);
        let leases = if who.lease_serial == who.serial {
            let capacity = u32::try_from(leases_max)?;
            let (fresh_bytes, bytes) =
                (lease_table_fresh_bytes(capacity), lease_table_bytes(capacity));
            make_file(dir, file, fresh_bytes, bytes)?
        } else {
            dir.open_file(file, Access::ReadWrite)?
        };
        let scan = scan_of(&leases, leases_max, guard)?;
        Ok(AttachFiles { rings, leases, region, scan })
    }
}

/// Maps a lease table to look through it. Its guest may cut the file at any time: `guard` says
/// whether that is survived.
pub(crate) fn scan_of(
    leases: &OwnedFd,
    leases_max: u64,
    guard: bool,
) -> Result<LeaseScan, Box<dyn Error>> {
    let capacity = u32::try_from(leases_max)?;
    let size_bytes = lease_table_bytes(capacity);
    let mapping = Mapping::map(leases, size_bytes, Access::ReadOnly)?;
    if guard {
        mapping.guard()?;
    }
    Ok(LeaseScan::new(&mapping.region(0, size_bytes)?, capacity)?)
}

/// Makes a file of `bytes`, of which the first `real_bytes` have memory.
// r[impl lease.memory]
fn make_file(
    dir: &SegmentDir,
    file: AreaFile,
    real_bytes: u64,
    bytes: u64,
) -> Result<OwnedFd, Box<dyn Error>> {
    let created = dir.create_file(file)?;
    let reserved = Backing::detect(&created, &dir.path().as_path().join(file.to_string()))
        .map_err(Box::<dyn Error>::from)
        .and_then(|backing| {
            let span = Span { from_bytes: 0, to_bytes: page_multiple(real_bytes) };
            backing.check_memory(span, span.to_bytes, ATTACH_MARGIN_BYTES)?;
            backing.reserve(&created, 0, span.to_bytes)?;
            Ok(backing.lengthen(&created, page_multiple(bytes))?)
        });
    if let Err(error) = reserved {
        // Half a file is no use to anybody.
        let _ = dir.remove_file(file);
        return Err(error);
    }
    Ok(created)
}

fn page_multiple(bytes: u64) -> u64 {
    bytes.next_multiple_of(rustix::param::page_size() as u64)
}
