//! The file of this process's lease table: mapped whole, and real as far as leases need it.

use super::areas::{Area, AreaError, Descriptors};
use crate::segment::{ATTACH_MARGIN_BYTES, check_memory};
use onecopy_shm::barrier;
use onecopy_shm::sys::populate_write;
use onecopy_shm::{Access, LeaseTable, Region, lease_table_bytes};
use rustix::io::Errno;
use std::ops::Range;

/// Takes the lease table that the host made for this process, which has readers fenced or not.
// r[impl lease.fence]
pub(super) fn open_leases(
    descriptors: &Descriptors,
    leases_max: u64,
    is_fenced_by_host: bool,
) -> Result<LeaseTable, AreaError> {
    let most = u32::MAX;
    let capacity =
        u32::try_from(leases_max).map_err(|_| AreaError::LeasesMax { leases_max, most })?;
    let size_bytes = lease_table_bytes(capacity);
    let leases =
        Area::map("leases", &descriptors.leases, size_bytes, size_bytes, Access::ReadWrite)?;
    let region = leases.region()?;
    let table = region.clone();
    let make_real = Box::new(move |range| make_real(&table, range));
    let table = LeaseTable::with_memory(region, capacity, make_real)?;
    if is_fenced_by_host && let Err(error) = barrier::enlist() {
        tracing::debug!(%error, "each lease has a fence of its own");
    } else if is_fenced_by_host {
        return Ok(table.fenced_by_host());
    }
    Ok(table)
}

/// Gives part of the table memory, which is charged to this process's control group. By the mapping
/// and not by a descriptor: one that a forked child has, too, would keep the host from telling that
/// this process has left.
// r[impl lease.memory]
fn make_real(table: &Region, range: Range<u64>) -> Result<(), Errno> {
    let bytes = range.end.saturating_sub(range.start);
    check_memory(bytes, ATTACH_MARGIN_BYTES).map_err(|no_memory| no_memory.source)?;
    let part = table.subregion(range.start, bytes).map_err(|_| Errno::INVAL)?;
    populate_write(&part).map_err(|refused| refused.errno())
}
