//! The bytes of this crate that two processes share and that are not single words.

/// Bytes of a cache line.
pub(crate) const LINE_BYTES: u64 = 64;

/// Cells of a lease table that share a cache line, and so belong to one thread at a time.
/// (Tiny under the model checker, so that lines do fill up.)
pub const LEASE_CELLS_PER_LINE: u32 = if cfg!(loom) { 2 } else { 8 };

/// The first cache line of a lease table; the cells follow, a word each.
///
/// Every field and every cell is written by the guest process alone and read by the host.
#[repr(C, align(64))]
pub struct LeaseTableHead {
    /// Cells from here on have never been used. It only ever grows.
    pub high_water: u64,
    /// Zero.
    pub reserved: [u64; 7],
}

const _: () = assert!(size_of::<LeaseTableHead>() as u64 == LINE_BYTES);
const _: () = assert!(align_of::<LeaseTableHead>() as u64 == LINE_BYTES);
const _: () = assert!(core::mem::offset_of!(LeaseTableHead, high_water) == 0);
const _: () = assert!(core::mem::offset_of!(LeaseTableHead, reserved) == 8);
const _: () = assert!(cfg!(loom) || LEASE_CELLS_PER_LINE as u64 * 8 == LINE_BYTES);
