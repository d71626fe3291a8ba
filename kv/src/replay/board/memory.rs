//! Words that several processes of one replay share. The only unsafe code of the board.
#![expect(unsafe_code, reason = "turns mapped memory into a slice of atomics")]

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

const WORD_BYTES: u64 = size_of::<AtomicU64>() as u64;

/// A file without a name, mapped whole. Its size is sealed, so no process can take the memory away
/// from under another.
#[derive(Debug)]
pub(super) struct Memory {
    file: File,
    mapping: MmapRaw,
}

impl Memory {
    /// Zeroed memory of this size, rounded up to whole words.
    pub(super) fn create(size_bytes: u64) -> io::Result<Memory> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(memfd_create("onecopy-replay", flags)?);
        file.set_len(size_bytes.next_multiple_of(WORD_BYTES))?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Memory::open(file)
    }

    /// The memory behind a descriptor that was made by [`Memory::create`].
    pub(super) fn open(file: File) -> io::Result<Memory> {
        let seals = rustix::fs::fcntl_get_seals(&file)?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(io::Error::other("its size is not sealed"));
        }
        let mapping = MmapOptions::new().map_raw(&file)?;
        Ok(Memory { file, mapping })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.mapping.len() as u64
    }

    /// A word; one outside reads as 0.
    pub(super) fn load(&self, word: u64, ordering: Ordering) -> u64 {
        self.word(word).map_or(0, |word| word.load(ordering))
    }

    /// Stores a word; one outside is not stored.
    pub(super) fn store(&self, word: u64, value: u64, ordering: Ordering) {
        if let Some(word) = self.word(word) {
            word.store(value, ordering);
        }
    }

    /// Counts a word up by 1 and gives what it was.
    pub(super) fn count_up(&self, word: u64) -> u64 {
        // No edge: the number says nothing about other words.
        self.word(word).map_or(u64::MAX, |word| word.fetch_add(1, Ordering::Relaxed))
    }

    /// Stores `to` if the word is `from`. Whether it was.
    pub(super) fn swap(&self, word: u64, from: u64, to: u64) -> bool {
        // edge: the caller's, in both directions.
        self.word(word).is_some_and(|word| {
            word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    }

    fn word(&self, word: u64) -> Option<&AtomicU64> {
        self.words().get(usize::try_from(word).ok()?)
    }

    fn words(&self) -> &[AtomicU64] {
        let first = self.mapping.as_ptr().cast::<AtomicU64>();
        let count = self.mapping.len() / size_of::<AtomicU64>();
        // SAFETY: the mapping is `mapping.len()` bytes from a page boundary, so it is aligned for
        // words and holds `count` of them; it lives as long as `self` and is mapped readable and
        // writable. The file cannot shrink: `open` saw that seal, and seals are not taken away.
        // Every bit pattern is a word. All processes touch this memory through this function only,
        // that is with atomics.
        unsafe { std::slice::from_raw_parts(first, count) }
    }
}
