//! Where the words of a view are, and loading them in a way that is defined for read-only memory.
#![expect(unsafe_code, reason = "keeps the address of checked words, and steps from word to word")]

#[cfg(not(loom))]
use std::ptr::NonNull;
use std::sync::Arc;

use super::{Region, WORD_BYTES};
use crate::error::RegionError;
use crate::mapping::Mapping;
use crate::sync::{AtomicU64, Ordering, fence};

/// Where the words of a view begin. Whoever makes one has checked how many words follow.
#[derive(Clone)]
pub(super) struct Place {
    /// Cached, so that a load is one step from the view.
    #[cfg(not(loom))]
    pub(super) first: NonNull<AtomicU64>,
    /// Under the model checker: the number of the word in the mapping.
    #[cfg(loom)]
    pub(super) first: usize,
    /// Keeps what `first` points into.
    pub(super) mapping: Arc<Mapping>,
}

// SAFETY: a place is an address of memory that belongs to the whole process, and the `Arc` that
// keeps it; it is touched with atomics only.
#[cfg(not(loom))]
unsafe impl Send for Place {}
// SAFETY: as above: atomics may be used from many threads at once.
#[cfg(not(loom))]
unsafe impl Sync for Place {}

impl Place {
    #[cfg(not(loom))]
    pub(super) fn new(region: &Region, offset: u64) -> Result<Place, RegionError> {
        let first = region.address().wrapping_byte_add(offset as usize).cast::<AtomicU64>();
        // Memory that exists does not lie at address 0, so this does not fail.
        let first = NonNull::new(first).ok_or(RegionError::OutOfRange {
            offset,
            size_bytes: WORD_BYTES,
            size_bytes_available: 0,
        })?;
        Ok(Place { first, mapping: Arc::clone(&region.mapping) })
    }

    #[cfg(loom)]
    pub(super) fn new(region: &Region, offset: u64) -> Result<Place, RegionError> {
        if !region.is_heap() {
            return Err(RegionError::NotModelled);
        }
        let first = ((region.offset + offset) / WORD_BYTES) as usize;
        Ok(Place { first, mapping: Arc::clone(&region.mapping) })
    }

    /// The word `index` places on.
    ///
    /// # Safety
    /// `index` is below the count of words that was checked when the place was made.
    #[cfg(not(loom))]
    #[inline]
    pub(super) unsafe fn at(&self, index: usize) -> &AtomicU64 {
        // SAFETY: the caller stays below the checked count, so the sum stays inside of the mapping.
        let word = unsafe { self.first.add(index) };
        // SAFETY: inside of the mapping, which `self` keeps; 8-aligned, since base and offset are;
        // any eight bytes are a word; this crate touches words with atomics only, and bytes that
        // are lent as slices are apart from words by the contract of `bytes` and `bytes_mut`.
        unsafe { word.as_ref() }
    }

    /// Hints at a load of the word `index` places on.
    #[inline]
    pub(super) fn prefetch(&self, index: usize) {
        #[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
        {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let word = self.first.as_ptr().wrapping_add(index);
            // SAFETY: a hint: it reads nothing and faults nowhere, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(word.cast()) };
        }
        // Other processors are left to find out by themselves.
        #[cfg(not(all(target_arch = "x86_64", not(any(loom, miri)))))]
        let _ = index;
    }

    /// The word `index` places on, as the model checker has it.
    #[cfg(loom)]
    pub(super) unsafe fn at(&self, index: usize) -> &AtomicU64 {
        &self.mapping.modelled[self.first + index]
    }
}

/// Loads in a way that is also defined where the memory is mapped read-only.
///
/// The language promises that of relaxed loads only; a stronger one is a relaxed load with a fence
/// behind it (on x86 that costs nothing for Acquire). Whatever is not Relaxed or Acquire is taken
/// as SeqCst.
// r[impl memory.read-only-load]
#[inline]
pub(super) fn load_read_only(word: &AtomicU64, ordering: Ordering) -> u64 {
    match ordering {
        Ordering::Relaxed => word.load(Ordering::Relaxed),
        Ordering::Acquire => {
            let value = word.load(Ordering::Relaxed);
            // edge: slot.publish and whatever else the caller names: makes the load an acquiring one.
            #[cfg(not(onecopy_mutant = "read_word_acquire"))]
            fence(Ordering::Acquire);
            value
        }
        _ => {
            // edge: the caller's. The fence before puts the load into the one order of all fences.
            fence(Ordering::SeqCst);
            let value = word.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            value
        }
    }
}
