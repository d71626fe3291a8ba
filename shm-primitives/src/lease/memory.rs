//! How far the file behind a lease table has memory. A hole that a store finds no memory for is SIGBUS,
//! so memory is asked for before a line is first used, and a refusal is an error.

use std::fmt;
use std::ops::Range;

use rustix::io::Errno;

use super::lease_table_bytes;
use super::summary::Shape;

/// Makes the bytes of this range of the table real: from then on a touch of them does not fail. Called
/// under a mutex; should take a fraction of a millisecond.
pub type MakeReal = Box<dyn Fn(Range<u64>) -> Result<(), Errno> + Send + Sync>;

/// What a fresh table has for its first cells, at least.
const FRESH_CELLS_BYTES: u64 = 2048;
const PAGE_BYTES: u64 = 4096;
/// What is asked for at once, or else each few leases would be a system call.
const CHUNK_BYTES: u64 = 64 << 10;

/// Bytes from the start of a fresh table of `capacity` cells that whoever makes it has to make real. A
/// hole is enough for the rest, if the table is opened by
/// [`LeaseTable::with_memory`](crate::LeaseTable::with_memory).
#[must_use]
pub const fn lease_table_fresh_bytes(capacity: u32) -> u64 {
    let fresh =
        (Shape::new(capacity).cells_offset + FRESH_CELLS_BYTES).next_multiple_of(PAGE_BYTES);
    let all = lease_table_bytes(capacity);
    if fresh < all { fresh } else { all }
}

/// The memory of one table.
pub(super) struct Memory {
    real_bytes: u64,
    size_bytes: u64,
    cells_offset: u64,
    make_real: Option<MakeReal>,
}

impl Memory {
    /// All of it is there.
    pub(super) fn whole(capacity: u32) -> Memory {
        Memory { real_bytes: lease_table_bytes(capacity), ..Memory::growing(capacity, None) }
    }

    /// What a fresh table has is there.
    pub(super) fn growing(capacity: u32, make_real: Option<MakeReal>) -> Memory {
        Memory {
            real_bytes: lease_table_fresh_bytes(capacity),
            size_bytes: lease_table_bytes(capacity),
            cells_offset: Shape::new(capacity).cells_offset,
            make_real,
        }
    }

    /// Has memory for the first `cells` cells.
    pub(super) fn cover(&mut self, cells: u32) -> Result<(), Errno> {
        let end = self.cells_offset + u64::from(cells) * 8;
        if end > self.real_bytes
            && let Some(make_real) = &self.make_real
        {
            let to = end.next_multiple_of(CHUNK_BYTES).min(self.size_bytes);
            make_real(self.real_bytes..to)?;
            self.real_bytes = to;
        }
        Ok(())
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("real_bytes", &self.real_bytes).finish_non_exhaustive()
    }
}
