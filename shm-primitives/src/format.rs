//! The bytes of this crate that two processes share and that are not single words.

/// Bytes of a cache line.
pub(crate) const LINE_BYTES: u64 = 64;

/// Cells of a lease table that share a cache line, and so belong to one thread at a time.
/// (Tiny under the model checker, so that lines do fill up.)
pub const LEASE_CELLS_PER_LINE: u32 = if cfg!(loom) { 2 } else { 8 };

/// Bits of a word of a lease table's summary: how many lines, or words of the level below, it is of.
pub(crate) const LEASE_SUMMARY_FANOUT: u32 = if cfg!(loom) { 2 } else { 64 };

/// Words of the summary that are in the head.
pub(crate) const LEASE_ROOT_WORDS: u32 = if cfg!(loom) { 1 } else { 7 };

/// The first cache line of a lease table; the rest of the summary and then the cells follow, a word
/// each, each level of the summary and the cells from a cache line on.
///
/// Every word is written by the guest process alone and read by the host.
#[repr(C, align(64))]
pub struct LeaseTableHead {
    /// 1 once a process has taken the table.
    pub taken: u64,
    /// The top level of the summary: a bit for each word of the level below that is not 0, or for
    /// each line that may hold a lease where there is no level below.
    pub root: [u64; 7],
}

const _: () = assert!(size_of::<LeaseTableHead>() as u64 == LINE_BYTES);
const _: () = assert!(align_of::<LeaseTableHead>() as u64 == LINE_BYTES);
const _: () = assert!(core::mem::offset_of!(LeaseTableHead, taken) == 0);
const _: () = assert!(core::mem::offset_of!(LeaseTableHead, root) == 8);
const _: () = assert!(cfg!(loom) || LEASE_ROOT_WORDS as u64 * 8 + 8 == LINE_BYTES);
const _: () = assert!(cfg!(loom) || LEASE_CELLS_PER_LINE as u64 * 8 == LINE_BYTES);
