//! The touch log: a guest that finds blocks by itself notes which slots it used, the host takes the
//! notes for its order of eviction.
//!
//! It is lossy. The guest never waits and never looks at the host: it overwrites what the host has not
//! taken in time, and two threads that share a shard may overwrite each other's notes. What stands in
//! an entry was a use at some time; what one thread noted is in its order.
//!
//! | edge | store | load |
//! | --- | --- | --- |
//! | touch.note | an entry, then its shard's position (Release) | the position (Acquire), then the entry |
//!
//! Nothing else has to be ordered: a note carries no data but itself, and the host checks each one
//! against its own tables. That a guest's notes are taken before a request that it made after them is
//! carried out follows from `ring.commit`.

use crate::edges::{TOUCH_LOAD, TOUCH_STORE};
use crate::format::{RingsHeader, TOUCH_ENTRIES_MAX, TOUCH_ENTRIES_MIN, TOUCH_SHARDS, TouchShard};
use crate::layout::touch_shard_bytes;
use crate::sync::{AtomicU64, Mutex, Ordering, PoisonError};
use onecopy_shm::error::RegionError;
use onecopy_shm::{ReadWord, ReadWords, Region, SlotRef, Word, Words, crash_point};
use std::cell::Cell;
use std::mem::{offset_of, size_of};
use std::sync::atomic::AtomicU32 as ThreadCounter;

/// Words of a shard before its entries.
const HEAD_WORDS: u64 = (size_of::<TouchShard>() / 8) as u64;
/// How far a position can have come since it was last looked at. Beyond that it is no position that
/// the guest came to by noting uses.
const LEAP_MAX: u64 = u32::MAX as u64;

/// Whether each shard of a touch log can have so many entries.
pub(crate) fn is_touch_entries(entries: u64) -> bool {
    let range = u64::from(TOUCH_ENTRIES_MIN)..=u64::from(TOUCH_ENTRIES_MAX);
    entries.is_power_of_two() && range.contains(&entries)
}

/// Where the words of a log are.
#[derive(Clone, Copy, Debug)]
struct Shape {
    entries: u64,
    shard_words: u64,
}

impl Shape {
    fn new(entries: u32) -> Shape {
        Shape { entries: entries.into(), shard_words: touch_shard_bytes(entries) / 8 }
    }

    fn words(&self) -> u64 {
        self.shard_words * TOUCH_SHARDS as u64
    }

    #[inline]
    fn position(&self, shard: u64) -> u64 {
        shard * self.shard_words
    }

    #[inline]
    fn entry(&self, shard: u64, position: u64) -> u64 {
        shard * self.shard_words + HEAD_WORDS + (position & (self.entries - 1))
    }
}

/// The guest's end.
pub(crate) struct TouchLog {
    /// Which shards are in use, for the host.
    shards: Word,
    /// The same, known without a look at shared memory.
    entered: AtomicU64,
    entering: Mutex<()>,
    logs: Vec<ShardLog>,
    /// A position is that of an entry with what is above these bits cut off.
    mask: u64,
}

/// One shard of it.
struct ShardLog {
    position: Word,
    entries: Words,
}

impl TouchLog {
    /// The log at `offset` of a rings area, with so many entries in each shard.
    ///
    /// # Errors
    /// [`RegionError`]: it does not lie in the area.
    pub(crate) fn new(
        rings: &Region,
        offset: u64,
        touch_entries: u32,
    ) -> Result<TouchLog, RegionError> {
        let shape = Shape::new(touch_entries);
        let log = |shard| {
            Ok(ShardLog {
                position: rings.word(offset + shape.position(shard) * 8)?,
                entries: rings.words(offset + shape.entry(shard, 0) * 8, shape.entries)?,
            })
        };
        Ok(TouchLog {
            shards: rings.word(offset_of!(RingsHeader, touch_shards) as u64)?,
            entered: AtomicU64::new(0),
            entering: Mutex::new(()),
            logs: (0..TOUCH_SHARDS as u64).map(log).collect::<Result<_, RegionError>>()?,
            mask: u64::from(touch_entries) - 1,
        })
    }

    /// Notes that this slot was used.
    #[inline]
    pub(crate) fn note(&self, slot: SlotRef) {
        self.note_in(shard_of_thread(), slot);
    }

    // r[impl touch.lossy]
    // r[impl crash.u1]
    #[inline]
    fn note_in(&self, shard: u64, slot: SlotRef) {
        // Relaxed: a thread finds what it stored itself.
        if self.entered.load(Ordering::Relaxed) & (1 << shard) == 0 {
            self.enter(shard);
        }
        let Some(log) = self.logs.get(shard as usize) else { return };
        let position = log.position.load(Ordering::Relaxed);
        // The mask is below the number of entries, so the store does not fail.
        let _ = log.entries.store(position & self.mask, slot.to_u64(), Ordering::Relaxed);
        crash_point!("touch.entry.stored");
        // edge: touch.note
        log.position.store(position.wrapping_add(1), TOUCH_STORE);
    }

    /// Has the host look at this shard, too.
    #[cold]
    fn enter(&self, shard: u64) {
        let _entering = self.entering.lock().unwrap_or_else(PoisonError::into_inner);
        let shards = self.entered.load(Ordering::Relaxed) | 1 << shard;
        // Relaxed: a host that looks at this shard a little later loses nothing.
        self.shards.store(shards, Ordering::Relaxed);
        self.entered.store(shards, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for TouchLog {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("TouchLog")
            .field("entries", &(self.mask + 1))
            .finish_non_exhaustive()
    }
}

/// The shard that this thread keeps to, in every log of the process.
#[inline]
fn shard_of_thread() -> u64 {
    const NONE: u32 = u32::MAX;
    static THREADS: ThreadCounter = ThreadCounter::new(0);
    std::thread_local! {
        static SHARD: Cell<u32> = const { Cell::new(NONE) };
    }
    let shard = SHARD.try_with(|shard| {
        if shard.get() == NONE {
            shard.set(THREADS.fetch_add(1, Ordering::Relaxed) % TOUCH_SHARDS as u32);
        }
        shard.get()
    });
    // A thread that is ending notes a last use where others do.
    shard.unwrap_or(0).into()
}

/// What came of a look at a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Uses that were handed on.
    pub(crate) touches: u64,
    /// Uses that the guest overwrote before they were taken.
    pub(crate) lost: u64,
}

/// The host's end. Whatever the guest writes, a look ends after as many entries as the log has.
pub(crate) struct TouchReader {
    shards: ReadWord,
    words: ReadWords,
    shape: Shape,
    /// Up to where each shard was taken; the host's own.
    taken: [u64; TOUCH_SHARDS],
    /// Entries that may still be looked at before [`TouchReader::renew`].
    left: u64,
    /// Something was taken since [`TouchReader::has_taken`] was asked.
    has_taken: bool,
}

impl TouchReader {
    /// As for [`TouchLog::new`].
    pub(crate) fn new(
        rings: &Region,
        offset: u64,
        touch_entries: u32,
    ) -> Result<TouchReader, RegionError> {
        let shape = Shape::new(touch_entries);
        Ok(TouchReader {
            shards: rings.read_word(offset_of!(RingsHeader, touch_shards) as u64)?,
            words: rings.read_words(offset, shape.words())?,
            shape,
            taken: [0; TOUCH_SHARDS],
            left: 0,
            has_taken: false,
        })
    }

    /// From here on as many entries may be looked at as the log has.
    pub(crate) fn renew(&mut self) {
        self.left = self.shape.entries * TOUCH_SHARDS as u64;
    }

    /// Hands on what was noted since the last time, each thread's uses in their order.
    #[inline]
    pub(crate) fn take(&mut self, mut each: impl FnMut(SlotRef)) -> Taken {
        let mut taken = Taken::default();
        // Relaxed: a shard that is not seen now is seen the next time.
        let shards = self.shards.load(Ordering::Relaxed);
        if shards != 0 {
            for shard in (0..TOUCH_SHARDS).filter(|shard| shards & (1 << shard) != 0) {
                self.take_shard(shard, &mut taken, &mut each);
            }
        }
        self.has_taken |= taken != Taken::default();
        taken
    }

    /// Whether anything was taken, or lost, since this was last asked.
    pub(crate) fn has_taken(&mut self) -> bool {
        std::mem::take(&mut self.has_taken)
    }

    // r[impl touch.order]
    // r[impl touch.hostile]
    fn take_shard(&mut self, shard: usize, taken: &mut Taken, each: &mut impl FnMut(SlotRef)) {
        let number = shard as u64;
        // edge: touch.note, its other end.
        let loaded = self.words.load(self.shape.position(number), TOUCH_LOAD);
        let Ok(position) = loaded else { return };
        let ahead = position.wrapping_sub(self.taken[shard]);
        if ahead == 0 {
            return;
        }
        // It ran backwards: threads that share a shard can do that, and so can a liar.
        if ahead > LEAP_MAX {
            self.taken[shard] = position;
            return;
        }
        let there = ahead.min(self.shape.entries);
        taken.lost += ahead - there;
        let count = there.min(self.left);
        self.left -= count;
        let first = position.wrapping_sub(there);
        for index in 0..count {
            let entry = self.shape.entry(number, first.wrapping_add(index));
            // Relaxed: touch.note. One that the guest overwrites meanwhile is a use that came later.
            let word = self.words.load(entry, Ordering::Relaxed).unwrap_or(0);
            if let Some(slot) = SlotRef::from_u64(word) {
                taken.touches += 1;
                each(slot);
            }
        }
        self.taken[shard] = first.wrapping_add(count);
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;
