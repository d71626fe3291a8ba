#![expect(unsafe_code, reason = "the model checker's cells hand out raw pointers")]
//! The memory of one ring as the model checker has it; the interface is that of `memory.rs`.
//!
//! Every word is a pair. The atomic is what a header load sees: payload leaves its values there too, so
//! that old payload can be met where a header belongs. The cell is what payload access is checked
//! with: from grant to commit it is being written, while a frame is held it is being read, and a header
//! store counts as a write, for it must not hit a payload that somebody reads.

use super::error::RingError;
use super::layout::{HEADER_BYTES, ring_layout};
use crate::sync::{AtomicU64, Ordering, UnsafeCell};
use loom::cell::{ConstPtr, MutPtr};
use std::fmt;
use std::sync::Arc;

struct ModelWord {
    atomic: AtomicU64,
    cell: UnsafeCell<u64>,
}

struct Shared {
    words: Vec<ModelWord>,
    read_position: AtomicU64,
}

impl Shared {
    fn word(&self, offset: u64) -> &ModelWord {
        &self.words[(offset / HEADER_BYTES) as usize]
    }
}

/// The bytes and words of one ring. Clones are views of the same ring.
#[derive(Clone)]
pub(super) struct RingMemory {
    shared: Arc<Shared>,
    mask: u64,
}

impl fmt::Debug for RingMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingMemory").field("mask", &self.mask).finish()
    }
}

impl RingMemory {
    /// Fresh memory.
    pub(super) fn model(capacity_bytes: u64) -> Result<RingMemory, RingError> {
        let capacity_bytes = ring_layout(capacity_bytes)?.capacity_bytes;
        let word = |_| ModelWord { atomic: AtomicU64::new(0), cell: UnsafeCell::new(0) };
        let words = (0..capacity_bytes / HEADER_BYTES).map(word).collect();
        let shared = Arc::new(Shared { words, read_position: AtomicU64::new(0) });
        Ok(RingMemory { shared, mask: capacity_bytes - 1 })
    }

    pub(super) fn capacity_bytes(&self) -> u64 {
        self.mask + 1
    }

    pub(super) fn offset(&self, position: u64) -> u64 {
        position & self.mask
    }

    pub(super) fn load_header(&self, position: u64, ordering: Ordering) -> u64 {
        self.word(position).atomic.load(ordering)
    }

    pub(super) fn store_header(&self, position: u64, word: u64, ordering: Ordering) {
        let place = self.word(position);
        // SAFETY: loom has checked that nobody else is at the cell.
        place.cell.with_mut(|value| unsafe { *value = word });
        place.atomic.store(word, ordering);
    }

    pub(super) fn load_read_position(&self, ordering: Ordering) -> u64 {
        self.shared.read_position.load(ordering)
    }

    pub(super) fn store_read_position(&self, position: u64, ordering: Ordering) {
        self.shared.read_position.store(position, ordering);
    }

    pub(super) fn prefetch_for_write(&self, _position: u64) {}

    /// # Safety
    /// None needed: loom checks. The shipped memory has the contract.
    pub(super) unsafe fn grant_bytes(&self, position: u64, length: u32) -> GrantBytes {
        let offset = self.offset(position);
        let held = words_of(offset, length).map(|at| self.shared.word(at).cell.get_mut()).collect();
        let bytes = vec![0; length as usize];
        GrantBytes { shared: Arc::clone(&self.shared), offset, bytes, held }
    }

    /// # Safety
    /// None needed: loom checks. The shipped memory has the contract.
    pub(super) unsafe fn frame_bytes(&self, position: u64, length: u32) -> FrameBytes {
        let offset = self.offset(position);
        let held: Vec<_> =
            words_of(offset, length).map(|at| self.shared.word(at).cell.get()).collect();
        // SAFETY: loom has checked that nobody writes the cell.
        let words = held.iter().map(|cell| cell.with(|value| unsafe { *value }));
        let mut bytes: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
        bytes.truncate(length as usize);
        FrameBytes { shared: Arc::clone(&self.shared), offset, bytes, held }
    }

    fn word(&self, position: u64) -> &ModelWord {
        self.shared.word(self.offset(position))
    }
}

/// Offsets of the words that a payload touches.
fn words_of(offset: u64, length: u32) -> impl Iterator<Item = u64> {
    (offset..offset + u64::from(length)).step_by(HEADER_BYTES as usize)
}

/// Bytes of a ring that belong to a grant. They reach the ring when the grant ends, which is where
/// the shipped memory may have had them since they were written: a commit comes after.
pub(super) struct GrantBytes {
    shared: Arc<Shared>,
    offset: u64,
    bytes: Vec<u8>,
    held: Vec<MutPtr<u64>>,
}

impl fmt::Debug for GrantBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantBytes").field("bytes", &self.bytes).finish()
    }
}

impl GrantBytes {
    pub(super) fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    pub(super) fn finish(&mut self) {
        let offsets = words_of(self.offset, self.bytes.len() as u32);
        for ((cell, part), offset) in self.held.drain(..).zip(self.bytes.chunks(8)).zip(offsets) {
            let mut bytes = [0; 8];
            bytes[..part.len()].copy_from_slice(part);
            let word = u64::from_ne_bytes(bytes);
            // SAFETY: loom has checked that nobody else is at the cell.
            cell.with(|value| unsafe { *value = word });
            // Relaxed: payload has no order of its own.
            self.shared.word(offset).atomic.store(word, Ordering::Relaxed);
        }
    }
}

impl Drop for GrantBytes {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Bytes of a ring that belong to a frame.
pub(super) struct FrameBytes {
    shared: Arc<Shared>,
    offset: u64,
    bytes: Vec<u8>,
    held: Vec<ConstPtr<u64>>,
}

impl fmt::Debug for FrameBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameBytes").field("bytes", &self.bytes).finish()
    }
}

impl FrameBytes {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn word(&self, offset: usize) -> Option<u64> {
        if offset >= self.bytes.len() || !offset.is_multiple_of(8) {
            return None;
        }
        let mut bytes = [0; 8];
        let part = self.bytes[offset..].chunks(8).next()?;
        bytes[..part.len()].copy_from_slice(part);
        Some(u64::from_ne_bytes(bytes))
    }

    pub(super) fn finish(&mut self) {
        self.held.clear();
        for offset in words_of(self.offset, self.bytes.len() as u32) {
            // The last look counts as much as the first.
            self.shared.word(offset).cell.with(|_| ());
        }
    }
}
