//! One hot entry of the slot table, found once and then read field by field.

use crate::edges::{PUBLISH_LOAD, mutant};
use crate::format::{NOTE_BYTES, SlotEntry};
use crate::sync::fence;
use onecopy_shm::{LINE_WORDS, ReadLine};
use std::mem::{offset_of, size_of};
use std::sync::atomic::Ordering;

use super::NOTE_WORDS;

const WORD: usize = offset_of!(SlotEntry, word) / 8;
const OFFSET: usize = offset_of!(SlotEntry, offset) / 8;
const LENGTH: usize = offset_of!(SlotEntry, length_bytes) / 8;
const NOTE: usize = offset_of!(SlotEntry, note) / 8;

const _: () =
    assert!(size_of::<SlotEntry>() == LINE_WORDS * 8 && NOTE + NOTE_BYTES / 8 == LINE_WORDS);

/// The hot entry of a slot. Each field is loaded when it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct SlotEntryView<'a> {
    pub(super) line: ReadLine<'a>,
}

impl SlotEntryView<'_> {
    /// State word.
    #[inline]
    pub fn word(&self) -> u64 {
        // edge: control.publish
        self.load_word(PUBLISH_LOAD)
    }

    /// State word, for a protocol that says with which ordering.
    #[inline]
    pub(crate) fn load_word(&self, ordering: Ordering) -> u64 {
        self.line.load(WORD, ordering)
    }

    /// The state word once more, after the note was read: where it is the same `Published` as before
    /// ([`SlotEntryView::word`]), the note is of that publication. For those who want to know what is
    /// there and do not read it; whoever reads it leases it.
    // r[impl control.note]
    #[inline]
    pub fn word_after_note(&self) -> u64 {
        if !mutant!("control_note_without_fence") {
            // edge: control.note
            fence(Ordering::Acquire);
        }
        self.load_word(Ordering::Relaxed)
    }

    /// Offset of the slot in the pool, in bytes.
    #[inline]
    pub fn offset(&self) -> u64 {
        self.line.load(OFFSET, Ordering::Relaxed)
    }

    /// Bytes published.
    #[inline]
    pub fn length_bytes(&self) -> u64 {
        self.line.load(LENGTH, Ordering::Relaxed)
    }

    /// One word of the service's note, counted round from 0.
    #[inline]
    pub fn note_word(&self, word: usize) -> u64 {
        self.line.load(NOTE + word % NOTE_WORDS, Ordering::Relaxed)
    }
}
