//! Which lines of a lease table may hold leases, so that a look through it costs what is leased and
//! not what the table has room for, nor what was leased once.
//!
//! A bit for each line, in words; above them a bit for each of those words that is not 0, and so on
//! until a level fits the table's head. A line is *listed* when its bit and all bits above are set.
//! The guest process lists a line before it stores leases there and takes it off the list when the
//! line is empty and nobody's; both under its private mutex.

use crate::format::{
    LEASE_CELLS_PER_LINE, LEASE_ROOT_WORDS, LEASE_SUMMARY_FANOUT, LINE_BYTES, LeaseTableHead,
};
use crate::region::{ReadWords, Words};
use crate::sync::Ordering;

/// Levels of the largest table that there can be.
const LEVELS_MAX: usize = if cfg!(loom) { 32 } else { 6 };
const WORD_BYTES: u64 = 8;

/// Where the parts of a table of some capacity are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// From the one whose bits are lines up to the one in the head.
    levels: [Level; LEVELS_MAX],
    count: usize,
    lines: u64,
    /// Bytes before the first cell.
    pub(super) cells_offset: u64,
}

#[derive(Debug, Clone, Copy)]
struct Level {
    /// Number of its first word in the table.
    first: u64,
    words: u64,
}

impl Shape {
    /// The shape of a table of `capacity` cells.
    pub(super) const fn new(capacity: u32) -> Shape {
        let lines = capacity.div_ceil(LEASE_CELLS_PER_LINE) as u64;
        let mut levels = [Level { first: 0, words: 0 }; LEVELS_MAX];
        let mut count = 0;
        let mut below = lines;
        loop {
            let words = below.div_ceil(LEASE_SUMMARY_FANOUT as u64);
            levels[count].words = words;
            count += 1;
            if words <= LEASE_ROOT_WORDS as u64 {
                break;
            }
            below = words;
        }
        // In the file the top comes first: what a look reads first lies together.
        levels[count - 1].first = core::mem::offset_of!(LeaseTableHead, root) as u64 / WORD_BYTES;
        let mut offset = size_of::<LeaseTableHead>() as u64;
        let mut level = count - 1;
        while level > 0 {
            level -= 1;
            levels[level].first = offset / WORD_BYTES;
            offset = (offset + levels[level].words * WORD_BYTES).next_multiple_of(LINE_BYTES);
        }
        Shape { levels, count, lines, cells_offset: offset }
    }

    /// Words before the first cell.
    pub(super) const fn words(&self) -> u64 {
        self.cells_offset / WORD_BYTES
    }

    fn levels(&self) -> &[Level] {
        self.levels.get(..self.count).unwrap_or_default()
    }
}

/// The guest's side. Every call is made under one mutex.
pub(super) struct Summary {
    words: Words,
    shape: Shape,
}

// edge: lease.unlist: whoever meets a line that is off the list, or whatever was stored in that word
// afterwards, has the former reads in it behind itself.
#[cfg(not(onecopy_mutant = "lease_unlist_relaxed"))]
const STORE: Ordering = Ordering::Release;
#[cfg(onecopy_mutant = "lease_unlist_relaxed")]
const STORE: Ordering = Ordering::Relaxed;

impl Summary {
    /// Over the words of a table before its cells.
    pub(super) fn new(words: Words, shape: Shape) -> Summary {
        Summary { words, shape }
    }

    /// Has a look through the table visit this line.
    pub(super) fn list(&self, line: u32) {
        self.climb(line, |word, bit| (word | bit, word != 0));
    }

    /// Has a look through the table pass over this line, which holds no lease.
    pub(super) fn unlist(&self, line: u32) {
        self.climb(line, |word, bit| (word & !bit, word & !bit != 0));
    }

    /// Changes the bit of a line and then those above; `change` says what becomes of a word, and
    /// whether the level above stays as it is.
    fn climb(&self, line: u32, change: impl Fn(u64, u64) -> (u64, bool)) {
        let fanout = u64::from(LEASE_SUMMARY_FANOUT);
        let mut place = u64::from(line);
        for level in self.shape.levels() {
            let (index, bit) = (level.first + place / fanout, 1 << (place % fanout));
            // The line is one of the table's, so its words are there.
            let Ok(word) = self.words.load(index, Ordering::Relaxed) else { return };
            let (changed, is_done) = change(word, bit);
            if changed != word {
                let _ = self.words.store(index, changed, STORE);
            }
            if is_done {
                return;
            }
            place /= fanout;
        }
    }

    /// The same words as a look reads them.
    pub(super) fn reader(&self) -> SummaryReader {
        SummaryReader { words: self.words.reader(), shape: self.shape }
    }
}

/// The host's side: reads, and believes nothing.
#[derive(Debug, Clone)]
pub(super) struct SummaryReader {
    words: ReadWords,
    shape: Shape,
}

impl SummaryReader {
    /// Over the words of a table before its cells.
    pub(super) fn new(words: ReadWords, shape: Shape) -> SummaryReader {
        SummaryReader { words, shape }
    }

    /// Calls `each` with every line that is listed, at most once each, whatever the words are.
    /// Returns how many words it read.
    // r[impl lease.hostile]
    pub(super) fn for_each(&self, each: &mut impl FnMut(u64)) -> u64 {
        let Some(top) = self.shape.levels().last() else { return 0 };
        (0..top.words).map(|word| self.descend(self.shape.count - 1, word, each)).sum()
    }

    /// Visits what is listed in one word and below it.
    fn descend(&self, level: usize, word: u64, each: &mut impl FnMut(u64)) -> u64 {
        let Some(here) = self.shape.levels().get(level).filter(|here| word < here.words) else {
            return 0;
        };
        // Relaxed: that it is not too old is the fences' work (lease.listed), and that it is not too
        // new is that of the fence behind the look (lease.unlist).
        let Ok(mut bits) = self.words.load(here.first + word, Ordering::Relaxed) else { return 0 };
        let mut read = 1;
        while bits != 0 {
            let place = word * u64::from(LEASE_SUMMARY_FANOUT) + u64::from(bits.trailing_zeros());
            bits &= bits - 1;
            match level.checked_sub(1) {
                Some(below) => read += self.descend(below, place, each),
                None if place < self.shape.lines => each(place),
                None => {}
            }
        }
        read
    }
}
