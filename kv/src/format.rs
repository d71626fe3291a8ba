//! Bytes that kv shares between processes, in the service's region of the control area.
//!
//! Every field is a little-endian `u64` that is loaded and stored whole; who writes it is said beside
//! it. `spec/index.md` draws the same layout.

use std::mem::{align_of, offset_of, size_of};

/// First word of an index: the bytes `onindex\0`.
pub const INDEX_MAGIC: u64 = u64::from_le_bytes(*b"onindex\0");
/// Version of the index as laid out here; a different one is refused.
pub const INDEX_FORMAT_VERSION: u64 = 2;
/// Entries of a bucket.
pub const BUCKET_ENTRIES: u64 = 8;
/// Buckets that a key can be in: its home and those behind it.
pub const PROBE_BUCKETS_MAX: u64 = 8;
/// In entry 0 of a bucket: some key whose search comes by here is in a later bucket.
pub const OVERFLOW_BIT: u64 = 1 << 63;
/// Bits of a fingerprint; it stands right above the slot id.
pub const FINGERPRINT_BITS: u32 = 31;

/// First cache line of the index. Written by the host alone.
#[repr(C, align(64))]
pub struct IndexHeader {
    /// [`INDEX_MAGIC`], stored last when the index is made.
    pub magic: u64,
    /// [`INDEX_FORMAT_VERSION`].
    pub format_version: u64,
    /// Number of buckets in use, less one. That number is a power of two and only grows.
    pub mask: u64,
    /// Number of buckets that the region has room for; a power of two. Never changes.
    pub buckets_max: u64,
    /// What the hash of a key starts from. Never changes.
    pub seed: u64,
    /// Odd while a new life of the host makes the index anew, and then one more.
    pub life: u64,
    reserved: [u64; 2],
}

/// One bucket, a cache line. Written by the host alone.
///
/// An entry is `fingerprint << 32 | slot id`; slot id 0, and so the word 0, is an empty one. Bit 63 of
/// entry 0 is [`OVERFLOW_BIT`], in the others it is 0.
#[repr(C, align(64))]
pub struct IndexBucket {
    /// The entries, in no order.
    pub entries: [u64; BUCKET_ENTRIES as usize],
}

/// Words before the first bucket.
pub const INDEX_HEADER_WORDS: u64 = (size_of::<IndexHeader>() / size_of::<u64>()) as u64;

const _: () = {
    assert!(size_of::<IndexHeader>() == 64);
    assert!(align_of::<IndexHeader>() == 64);
    assert!(offset_of!(IndexHeader, magic) == 0);
    assert!(offset_of!(IndexHeader, format_version) == 8);
    assert!(offset_of!(IndexHeader, mask) == 16);
    assert!(offset_of!(IndexHeader, buckets_max) == 24);
    assert!(offset_of!(IndexHeader, seed) == 32);
    assert!(offset_of!(IndexHeader, life) == 40);
    assert!(offset_of!(IndexHeader, reserved) == 48);
    assert!(size_of::<IndexBucket>() == 64);
    assert!(align_of::<IndexBucket>() == 64);
    assert!(offset_of!(IndexBucket, entries) == 0);
    assert!(FINGERPRINT_BITS + 32 == OVERFLOW_BIT.trailing_zeros());
};
