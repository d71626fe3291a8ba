//! Checked windows of a [`Mapping`], and the only ways to look at shared bytes: single words that
//! are loaded and stored whole, and byte slices for which the caller proves that they are its own.
#![expect(unsafe_code, reason = "turns checked offsets into references")]

use std::fmt;
use std::slice;
use std::sync::Arc;

use crate::error::{IndexOutOfRange, RegionError};
use crate::fault::shared_store;
use crate::mapping::{Access, Mapping};
use crate::sync::{AtomicU64, Ordering};
use place::{Place, load_read_only};

mod place;

/// Bytes of a word.
const WORD_BYTES: u64 = 8;
/// Words of a cache line, and so of a [`ReadLine`].
pub const LINE_WORDS: usize = 8;

/// A window of a mapping that lies inside of it, begins at a multiple of 8 bytes and keeps the
/// mapping alive.
#[derive(Clone)]
pub struct Region {
    mapping: Arc<Mapping>,
    /// Bytes from the start of the mapping, a multiple of 8.
    offset: u64,
    size_bytes: u64,
}

impl Region {
    // r[impl memory.region-bounds]
    pub(crate) fn new(
        mapping: Arc<Mapping>,
        offset: u64,
        size_bytes: u64,
    ) -> Result<Region, RegionError> {
        check_range(offset, size_bytes, mapping.size_bytes())?;
        check_alignment(offset)?;
        Ok(Region { mapping, offset, size_bytes })
    }

    /// A window of this window: `size_bytes` from `offset` (from the start of this region, a
    /// multiple of 8).
    ///
    /// # Errors
    /// [`RegionError`]: outside of this region, misaligned.
    pub fn subregion(&self, offset: u64, size_bytes: u64) -> Result<Region, RegionError> {
        check_range(offset, size_bytes, self.size_bytes)?;
        check_alignment(offset)?;
        // The sum lies inside of the mapping because this region does.
        Ok(Region { mapping: Arc::clone(&self.mapping), offset: self.offset + offset, size_bytes })
    }

    /// Bytes of the window.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// What this process may do with it.
    #[must_use]
    pub fn access(&self) -> Access {
        self.mapping.access()
    }

    /// The mapping it is a window of.
    #[must_use]
    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// Bytes from the start of the mapping.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Address of the first byte.
    #[must_use]
    pub fn address(&self) -> *mut u8 {
        // In bounds of the mapping, so neither the cast nor the sum loses anything.
        self.mapping.base().wrapping_byte_add(self.offset as usize)
    }

    /// Whether it is memory of this process alone.
    pub(crate) fn is_heap(&self) -> bool {
        self.mapping.is_heap()
    }

    /// The word at `offset`, to load and store.
    ///
    /// # Errors
    /// [`RegionError`]: outside of this region, misaligned, read-only.
    // r[impl memory.read-only]
    pub fn word(&self, offset: u64) -> Result<Word, RegionError> {
        self.check_writable(offset)?;
        Ok(Word { place: self.place(offset, 1)? })
    }

    /// The word at `offset`, to load.
    ///
    /// # Errors
    /// [`RegionError`]: outside of this region, misaligned.
    pub fn read_word(&self, offset: u64) -> Result<ReadWord, RegionError> {
        Ok(ReadWord { place: self.place(offset, 1)? })
    }

    /// `count` words from `offset` on, to load and store.
    ///
    /// # Errors
    /// [`RegionError`]: outside of this region, misaligned, read-only.
    pub fn words(&self, offset: u64, count: u64) -> Result<Words, RegionError> {
        self.check_writable(offset)?;
        Ok(Words { place: self.place(offset, count)?, count })
    }

    /// `count` words from `offset` on, to load.
    ///
    /// # Errors
    /// [`RegionError`]: outside of this region, misaligned.
    pub fn read_words(&self, offset: u64, count: u64) -> Result<ReadWords, RegionError> {
        Ok(ReadWords { place: self.place(offset, count)?, count })
    }

    /// `size_bytes` bytes from `offset` on.
    ///
    /// # Errors
    /// [`RegionError`]: outside of this region.
    ///
    /// # Safety
    /// For as long as the slice lives, no process writes these bytes and none of them is given back
    /// to its file system (truncated): the protocol gave them to the caller to read.
    pub unsafe fn bytes(&self, offset: u64, size_bytes: u64) -> Result<&[u8], RegionError> {
        check_range(offset, size_bytes, self.size_bytes)?;
        let first = self.address().wrapping_byte_add(offset as usize);
        // SAFETY: the range was checked to lie in this region and so in the mapping, which `self`
        // keeps alive; the caller proves that nobody writes it meanwhile. It is at most
        // isize::MAX bytes because the mapping is.
        Ok(unsafe { slice::from_raw_parts(first, size_bytes as usize) })
    }

    /// `size_bytes` bytes from `offset` on, to write.
    ///
    /// # Errors
    /// [`RegionError`]: outside of this region, read-only.
    ///
    /// # Safety
    /// For as long as the slice lives, nobody else, in this process or another, reads or writes
    /// these bytes, and none of them is given back to its file system: the protocol gave them to
    /// the caller alone.
    #[expect(clippy::mut_from_ref, reason = "the caller proves that it alone has these bytes")]
    pub unsafe fn bytes_mut(&self, offset: u64, size_bytes: u64) -> Result<&mut [u8], RegionError> {
        check_range(offset, size_bytes, self.size_bytes)?;
        self.check_writable(offset)?;
        let first = self.address().wrapping_byte_add(offset as usize);
        // SAFETY: as in `bytes`, and the mapping is writable; the caller proves that it alone has
        // these bytes.
        Ok(unsafe { slice::from_raw_parts_mut(first, size_bytes as usize) })
    }

    fn check_writable(&self, offset: u64) -> Result<(), RegionError> {
        match self.mapping.access() {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(RegionError::ReadOnly { offset }),
        }
    }

    /// The place of `count` words from `offset` on.
    // r[impl memory.region-bounds]
    fn place(&self, offset: u64, count: u64) -> Result<Place, RegionError> {
        // A count too large to be said in bytes is outside of every region.
        let size_bytes = count.saturating_mul(WORD_BYTES);
        check_range(offset, size_bytes, self.size_bytes)?;
        check_alignment(offset)?;
        Place::new(self, offset)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("mapping", &self.mapping)
            .field("offset", &self.offset)
            .field("size_bytes", &self.size_bytes)
            .finish()
    }
}

fn check_range(offset: u64, size_bytes: u64, available: u64) -> Result<(), RegionError> {
    match offset.checked_add(size_bytes) {
        Some(end) if end <= available => Ok(()),
        _ => Err(RegionError::OutOfRange { offset, size_bytes, size_bytes_available: available }),
    }
}

fn check_alignment(offset: u64) -> Result<(), RegionError> {
    if offset.is_multiple_of(WORD_BYTES) {
        Ok(())
    } else {
        Err(RegionError::Misaligned { offset, alignment_bytes: WORD_BYTES })
    }
}

/// A shared word that this process alone writes (or whose writers take turns): loads and stores,
/// nothing that reads and writes at once, because no word has two writers.
#[derive(Clone)]
pub struct Word {
    place: Place,
}

impl Word {
    /// The value now. `ordering` is Relaxed, Acquire or SeqCst, as for [`AtomicU64::load`].
    #[inline]
    #[must_use]
    pub fn load(&self, ordering: Ordering) -> u64 {
        self.atomic().load(ordering)
    }

    /// Stores `value`. `ordering` is Relaxed, Release or SeqCst, as for [`AtomicU64::store`].
    #[inline]
    pub fn store(&self, value: u64, ordering: Ordering) {
        shared_store();
        self.atomic().store(value, ordering);
    }

    /// The same word, to load only.
    #[must_use]
    pub fn reader(&self) -> ReadWord {
        ReadWord { place: self.place.clone() }
    }

    #[inline]
    fn atomic(&self) -> &AtomicU64 {
        // SAFETY: `Region::word` checked the place for one word.
        unsafe { self.place.at(0) }
    }
}

/// A shared word that this process only reads; the memory may be mapped read-only.
#[derive(Clone)]
pub struct ReadWord {
    place: Place,
}

impl ReadWord {
    /// The value now. `ordering` is Relaxed or Acquire; any other is taken as SeqCst.
    #[inline]
    #[must_use]
    pub fn load(&self, ordering: Ordering) -> u64 {
        // SAFETY: `Region::read_word` checked the place for one word.
        load_read_only(unsafe { self.place.at(0) }, ordering)
    }
}

impl ReadWords {
    /// The mapping that they lie in.
    #[cfg(not(loom))]
    pub(crate) fn mapping(&self) -> &Arc<Mapping> {
        &self.place.mapping
    }
}

/// An array of shared words that this process alone writes.
#[derive(Clone)]
pub struct Words {
    place: Place,
    count: u64,
}

impl Words {
    /// Number of words.
    #[inline]
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The value of word `index` now.
    ///
    /// # Errors
    /// [`IndexOutOfRange`]: there is no such word.
    #[inline]
    pub fn load(&self, index: u64, ordering: Ordering) -> Result<u64, IndexOutOfRange> {
        Ok(self.atomic(index)?.load(ordering))
    }

    /// Stores `value` in word `index`.
    ///
    /// # Errors
    /// [`IndexOutOfRange`]: there is no such word.
    #[inline]
    pub fn store(&self, index: u64, value: u64, ordering: Ordering) -> Result<(), IndexOutOfRange> {
        shared_store();
        self.atomic(index)?.store(value, ordering);
        Ok(())
    }

    /// The same words, to load only.
    #[must_use]
    pub fn reader(&self) -> ReadWords {
        ReadWords { place: self.place.clone(), count: self.count }
    }

    #[inline]
    fn atomic(&self, index: u64) -> Result<&AtomicU64, IndexOutOfRange> {
        check_index(index, self.count)?;
        // SAFETY: below `count`, for which `Region::words` checked the place.
        Ok(unsafe { self.place.at(index as usize) })
    }
}

/// An array of shared words that this process only reads; the memory may be mapped read-only.
#[derive(Clone)]
pub struct ReadWords {
    place: Place,
    count: u64,
}

impl ReadWords {
    /// Number of words.
    #[inline]
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The value of word `index` now. `ordering` as for [`ReadWord::load`].
    ///
    /// # Errors
    /// [`IndexOutOfRange`]: there is no such word.
    #[inline]
    pub fn load(&self, index: u64, ordering: Ordering) -> Result<u64, IndexOutOfRange> {
        check_index(index, self.count)?;
        // SAFETY: below `count`, for which `Region::read_words` checked the place.
        Ok(load_read_only(unsafe { self.place.at(index as usize) }, ordering))
    }

    /// The [`LINE_WORDS`] words from word `index` on, checked once for all of them.
    ///
    /// # Errors
    /// [`IndexOutOfRange`]: the last of them, or the first, does not exist.
    // r[impl memory.word-bounds]
    #[inline]
    pub fn line(&self, index: u64) -> Result<ReadLine<'_>, IndexOutOfRange> {
        let last = index.saturating_add(LINE_WORDS as u64 - 1);
        check_index(last, self.count)?;
        Ok(ReadLine { place: &self.place, first: index as usize })
    }

    /// Tells the processor that the cache line of word `index` will be loaded soon. Nothing is read, so
    /// nothing can be wrong with it: a word that does not exist is passed by.
    #[inline]
    pub fn prefetch(&self, index: u64) {
        if index < self.count {
            self.place.prefetch(index as usize);
        }
    }
}

/// Eight shared words in a row that this process only reads: an entry of a table, a bucket of an index.
#[derive(Clone, Copy)]
pub struct ReadLine<'a> {
    place: &'a Place,
    first: usize,
}

impl ReadLine<'_> {
    /// The value of word `index` now, counted round from 0. `ordering` as for [`ReadWord::load`].
    #[inline]
    #[must_use]
    pub fn load(&self, index: usize, ordering: Ordering) -> u64 {
        let index = self.first + index % LINE_WORDS;
        // SAFETY: `ReadWords::line` checked all words of the line.
        load_read_only(unsafe { self.place.at(index) }, ordering)
    }
}

// r[impl memory.word-bounds]
#[inline]
fn check_index(index: u64, count: u64) -> Result<(), IndexOutOfRange> {
    if index < count { Ok(()) } else { Err(IndexOutOfRange { index, count }) }
}

macro_rules! debug_view {
    ($($view:ident $(, $count:ident)?;)*) => {$(
        impl fmt::Debug for $view {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($view))
                    .field("first", &self.place.first)
                    .field("mapping", &self.place.mapping)
                    $(.field(stringify!($count), &self.$count))?
                    .finish()
            }
        }
    )*};
}
impl fmt::Debug for ReadLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadLine").field("first", &self.first).finish_non_exhaustive()
    }
}

debug_view! { Word; ReadWord; Words, count; ReadWords, count; }

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
