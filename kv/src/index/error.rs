//! What can be wrong with an index.

use onecopy_shm::error::RegionError;

/// Why no index can be made in a region.
#[derive(Debug, thiserror::Error)]
pub enum CreateIndexError {
    /// Not a number of buckets that an index can have.
    #[error(
        "an index of {buckets} buckets is not possible, expected a power of two from {min} to \
         {max}, which the region of {size_bytes} bytes has room for"
    )]
    Buckets {
        /// Buckets asked for.
        buckets: u64,
        /// Fewest possible.
        min: u64,
        /// Most that fit the region.
        max: u64,
        /// Size of the region in bytes.
        size_bytes: u64,
    },
    /// The region cannot be written or is misaligned.
    #[error("the region of the index cannot be used: {0}")]
    Region(#[from] RegionError),
}

/// Why a region is not taken for an index.
#[derive(Debug, thiserror::Error)]
pub enum OpenIndexError {
    /// Something else stands there, or an index whose making was cut short.
    #[error("the index begins with {found:#018x}, expected {expected:#018x}")]
    Magic {
        /// First word of the region.
        found: u64,
        /// First word of an index.
        expected: u64,
    },
    /// Laid out by another version of this program.
    #[error("the index has format version {found}, this program reads version {expected}")]
    FormatVersion {
        /// Version in the header.
        found: u64,
        /// Version of this program.
        expected: u64,
    },
    /// Numbers of buckets that contradict each other or the region.
    #[error(
        "the index says that {buckets} of {buckets_max} buckets are in use, expected powers of two \
         from {min} to {max}, which the region has room for"
    )]
    Buckets {
        /// Buckets in use, as the header says.
        buckets: u64,
        /// Buckets there is room for, as the header says.
        buckets_max: u64,
        /// Fewest possible.
        min: u64,
        /// Most that fit the region.
        max: u64,
    },
    /// The region cannot be accessed this way or is misaligned.
    #[error("the region of the index cannot be used: {0}")]
    Region(#[from] RegionError),
}

/// Why an entry could not be put in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// Every bucket that the key may be in is full. Remove one of these and insert again.
    #[error("all {} entries that this key may have are taken", candidates.len())]
    Full {
        /// The slots in these buckets.
        candidates: Vec<u32>,
    },
    /// 0 names no slot.
    #[error("slot 0 cannot be indexed: slot ids start at 1")]
    SlotZero,
}
