#![expect(unsafe_code, reason = "typed views of the shared bytes of one ring")]
//! The memory of one ring: header words, payload bytes and the read position, each by position.
//!
//! Having a [`RingMemory`] proves that its region holds a whole ring, may be written, is aligned for
//! words and stays mapped. A position is masked into the data, so that no position, whoever made it
//! up, leads outside.

use super::error::RingError;
use super::layout::{DATA_OFFSET, HEADER_BYTES, READ_POSITION_OFFSET, ring_layout};
use crate::fault::shared_store;
use crate::region::Region;
use crate::sync::{AtomicU64, Ordering};
use core::ptr::NonNull;

/// The bytes and words of one ring.
#[derive(Debug)]
pub(super) struct RingMemory {
    data: NonNull<u8>,
    read_position: NonNull<AtomicU64>,
    mask: u64,
    /// Keeps the pointers valid.
    _region: Region,
    /// Stores until this side dies, for tests of death.
    #[cfg(test)]
    pub(super) stores_left: core::cell::Cell<u64>,
}

// SAFETY: both pointers lead into `_region`, which may be used from any thread. What this type does
// through them by itself is atomic; what is not is `unsafe` and asks the caller for its proof.
unsafe impl Send for RingMemory {}

impl RingMemory {
    pub(super) fn new(region: &Region, capacity_bytes: u64) -> Result<RingMemory, RingError> {
        let layout = ring_layout(capacity_bytes)?;
        let region = region.subregion(0, layout.size_bytes)?;
        // Taken for what they prove: aligned and writable. What follows is inside by `subregion`.
        region.word(READ_POSITION_OFFSET)?;
        region.word(DATA_OFFSET)?;
        let start = NonNull::new(region.address()).ok_or(RingError::Capacity { capacity_bytes })?;
        // SAFETY: `READ_POSITION_OFFSET` is less than the size of the region, checked by `subregion`.
        let read_position = unsafe { start.byte_add(READ_POSITION_OFFSET as usize) };
        // SAFETY: `DATA_OFFSET` is less than the size of the region, checked by `subregion`.
        let data = unsafe { start.byte_add(DATA_OFFSET as usize) };
        let mask = capacity_bytes - 1;
        Ok(RingMemory {
            data,
            read_position: read_position.cast(),
            mask,
            _region: region,
            #[cfg(test)]
            stores_left: core::cell::Cell::new(u64::MAX),
        })
    }

    /// Bytes of data, a power of two.
    #[inline]
    pub(super) fn capacity_bytes(&self) -> u64 {
        self.mask + 1
    }

    /// Bytes from the start of the data to this position.
    #[inline]
    pub(super) fn offset(&self, position: u64) -> u64 {
        position & self.mask
    }

    /// Loads the header word at a position.
    #[inline]
    pub(super) fn load_header(&self, position: u64, ordering: Ordering) -> u64 {
        self.data_word(position).load(ordering)
    }

    /// Stores the header word at a position. The producer's alone.
    #[inline]
    pub(super) fn store_header(&self, position: u64, word: u64, ordering: Ordering) {
        #[cfg(test)]
        match self.stores_left.get().checked_sub(1) {
            Some(left) => self.stores_left.set(left),
            None => return,
        }
        shared_store();
        self.data_word(position).store(word, ordering);
    }

    /// Loads the consumer's read position.
    #[inline]
    pub(super) fn load_read_position(&self, ordering: Ordering) -> u64 {
        self.read_position_word().load(ordering)
    }

    /// Stores the read position. The consumer's alone.
    #[inline]
    pub(super) fn store_read_position(&self, position: u64, ordering: Ordering) {
        shared_store();
        self.read_position_word().store(position, ordering);
    }

    /// Asks for the cache line at a position, to be written soon. Changes nothing.
    #[inline]
    pub(super) fn prefetch_for_write(&self, position: u64) {
        prefetch_for_write(self.data_pointer(position).as_ptr());
    }

    /// The payload bytes of a grant.
    ///
    /// # Safety
    /// The bytes lie inside the data without a wrap, and until the return value is gone nobody but
    /// its owner touches them.
    #[inline]
    pub(super) unsafe fn grant_bytes(&self, position: u64, length: u32) -> GrantBytes {
        GrantBytes { start: self.data_pointer(position), length: length as usize }
    }

    /// The payload bytes of a frame.
    ///
    /// # Safety
    /// The bytes, rounded up to whole words, lie inside the data without a wrap, and the ring's
    /// protocol keeps its producer from writing them until the return value is gone.
    #[inline]
    pub(super) unsafe fn frame_bytes(&self, position: u64, length: u32) -> FrameBytes {
        FrameBytes { start: self.data_pointer(position), length: length as usize }
    }

    #[inline]
    fn data_pointer(&self, position: u64) -> NonNull<u8> {
        let offset = self.offset(position) as usize;
        // SAFETY: `offset` is at most `mask`, so less than the capacity; the data is that long.
        unsafe { self.data.byte_add(offset) }
    }

    #[inline]
    fn data_word(&self, position: u64) -> &AtomicU64 {
        // A word that begins inside the data at a multiple of 8 ends inside it: so is the capacity.
        let word = self.data_pointer(position & !(HEADER_BYTES - 1)).cast();
        // SAFETY: inside the data, aligned (the data begins at a word, the offset is a multiple of 8),
        // mapped as long as `self`, and never accessed as anything but an atomic while it may hold a
        // header: payload slices exist only over bytes that the protocol gave to one side.
        unsafe { word.as_ref() }
    }

    #[inline]
    fn read_position_word(&self) -> &AtomicU64 {
        // SAFETY: inside the region and aligned, as `new` checked; mapped as long as `self`; never
        // accessed as anything but an atomic.
        unsafe { self.read_position.as_ref() }
    }
}

/// Bytes of a ring that belong to a grant.
#[derive(Debug)]
pub(super) struct GrantBytes {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: as for `RingMemory`; the bytes have one owner.
unsafe impl Send for GrantBytes {}

impl GrantBytes {
    #[inline]
    pub(super) fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: `grant_bytes` was promised that these bytes are inside the data, which stays mapped
        // under the producer that the grant borrows, and that nobody else touches them.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }

    /// The end of writing: what was written is in the ring from here on.
    #[inline]
    pub(super) fn finish(&mut self) {}
}

/// Bytes of a ring that belong to a frame.
#[derive(Debug)]
pub(super) struct FrameBytes {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: as for `RingMemory`; the bytes are only read.
unsafe impl Send for FrameBytes {}

impl FrameBytes {
    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        // SAFETY: `frame_bytes` was promised that these bytes are inside the data, which stays mapped
        // under the consumer that the frame borrows, and that its producer leaves them alone. A
        // producer that breaks the protocol is why `Frame::word` and the copies exist beside this.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// One load of the word at `offset`, a multiple of 8 less than the length. Bytes behind the
    /// payload are whatever stands there.
    #[inline]
    pub(super) fn word(&self, offset: usize) -> Option<u64> {
        if offset >= self.length || !offset.is_multiple_of(8) {
            return None;
        }
        // SAFETY: `offset` is less than the length.
        let word = unsafe { self.start.byte_add(offset) }.cast::<AtomicU64>();
        // SAFETY: the payload begins at a multiple of 8 and is inside the data up to whole words, as
        // `frame_bytes` was promised; mapped under the consumer that the frame borrows.
        let word = unsafe { word.as_ref() };
        // Relaxed: the commit edge was taken with the header.
        Some(word.load(Ordering::Relaxed))
    }

    /// The end of reading: after this the producer may write here again.
    #[inline]
    pub(super) fn finish(&mut self) {}
}

/// Asks for the cache line at `address` in exclusive state. A hint: no address is wrong.
#[inline]
fn prefetch_for_write(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads and writes nothing that the program can see, at whatever address, and
    // is a no-op on processors that lack it.
    unsafe {
        core::arch::asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
