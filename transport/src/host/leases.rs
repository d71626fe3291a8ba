//! What the host knows of the leases of one attach.

use super::peer::Who;
use onecopy_shm::{LeaseScan, SlotRef};
use std::sync::Arc;

/// The leases of one attach.
pub(super) struct LeasesOf {
    pub who: Who,
    pub leases: Leases,
    /// It attached to an earlier host, and its process is not proven dead.
    pub is_earlier: bool,
}

/// Where it shows what a process may still read.
// r[impl host.take_over.no-table]
#[derive(Clone)]
pub(super) enum Leases {
    /// In its lease table.
    Table(LeaseScan),
    /// Nowhere: somebody took the table away while no host had it open. These are all the slots that
    /// could be read then; it leases no others, because its word `attached` was taken back.
    Lost(Arc<[SlotRef]>),
}

impl Leases {
    /// Calls `each` with every slot that the process may still read. Returns how many words it read
    /// for that.
    pub fn for_each(&self, each: impl FnMut(SlotRef)) -> u64 {
        match self {
            Leases::Table(scan) => scan.for_each(each),
            Leases::Lost(slots) => {
                slots.iter().copied().for_each(each);
                slots.len() as u64
            }
        }
    }

    /// How many it may still read.
    pub fn count(&self) -> u64 {
        match self {
            Leases::Table(scan) => scan.count(),
            Leases::Lost(slots) => slots.len() as u64,
        }
    }

    /// Whether its process has cut the file of the table, as far as has been met.
    pub fn is_torn(&self) -> bool {
        match self {
            Leases::Table(scan) => scan.is_torn(),
            Leases::Lost(_) => false,
        }
    }

    /// Whether there is no table.
    pub fn is_lost(&self) -> bool {
        matches!(self, Leases::Lost(_))
    }
}
