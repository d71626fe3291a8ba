//! Looking blocks up in the index that the host publishes: no message, no lock, no wait.
//!
//! A search of the index gives a slot that may have the key. The slot is leased, the lease is checked
//! against its state word, and only then the key in its note is compared: from there on nothing about
//! the block changes for as long as the lease stands. What is not published when it is looked at was not
//! there during the whole call, so it is a miss and not a reason to search again.

use super::{Block, BlockRef, Cache, LookupPath};
use crate::error::LookupError;
use crate::index::IndexReader;
use crate::key::Key;
use crate::note::{EXPIRY_WORD, is_expired, key_words};
use onecopy_shm::SlotWord;
use onecopy_transport::control::{ControlReader, SlotEntryView};
use onecopy_transport::guest::{Guest, LeaseError, SlotGuard};
use std::borrow::Cow;
use std::sync::Arc;

/// Keys that are prefetched together: enough misses in flight to keep the memory busy, few enough that
/// the first is still in the cache when the last was asked for.
pub(super) const BATCH: usize = 64;

/// What a search without the host comes to.
pub(super) enum Direct<T> {
    /// The answer.
    Known(T),
    /// Only the host can tell: there is no index to search or it is made anew, the link to the host is
    /// over (and an attach to the next one is due), or this attach was cut off.
    AskHost,
}

/// Opens the index of a guest's segment; without one every lookup asks the host.
pub(super) fn open_index(guest: &Guest) -> Option<Arc<IndexReader>> {
    match IndexReader::open(&guest.service_region()) {
        Ok(index) => Some(Arc::new(index)),
        Err(error) => {
            tracing::warn!(%error, "the index cannot be searched from here: the host is asked instead");
            None
        }
    }
}

impl Cache {
    /// The block of this key where nothing is out of the ordinary: the first slot that may have it does,
    /// and the host that published it serves. `None` says nothing; then [`Cache::find_direct`] tells.
    // r[impl kv.direct]
    #[inline]
    pub(super) fn find_at_once(&self, key: &Key) -> Option<BlockRef<'_>> {
        if self.guest.is_in_forked_child() {
            return None;
        }
        let index = self.index.as_ref().filter(|_| self.lookup == LookupPath::Direct)?;
        let slot = index.candidate(index.hash(key))?;
        lease_block(&self.guest, slot, key)
    }

    /// The block of this key.
    // r[impl kv.direct]
    pub(super) fn find_direct(
        &self,
        key: &Key,
    ) -> Result<Direct<Option<BlockRef<'_>>>, LookupError> {
        let guest = self.current();
        let Some(index) = self.index_of(&guest) else { return Ok(Direct::AskHost) };
        find_and_note(&guest, &index, index.hash(key), key)
    }

    /// The blocks of these keys, at most [`BATCH`], in their order; with `prefix` nothing behind the
    /// first miss.
    // r[impl kv.direct_batch]
    pub(super) fn find_batch_direct(
        &self,
        keys: &[Key],
        prefix: bool,
    ) -> Result<Direct<Vec<Option<BlockRef<'_>>>>, LookupError> {
        let guest = self.current();
        let Some(index) = self.index_of(&guest) else { return Ok(Direct::AskHost) };
        let mut hashes = [0; BATCH];
        let mut slots = [None; BATCH];
        let count = gather(&guest, &index, keys, &mut hashes, &mut slots);
        let mut blocks = Vec::with_capacity(count);
        for ((key, &hash), &slot) in keys.iter().zip(&hashes).zip(&slots[..count]) {
            let block = match first_block(&guest, slot, key) {
                Some(block) => Some(block),
                None => match find_and_note(&guest, &index, hash, key)? {
                    Direct::Known(block) => block,
                    Direct::AskHost => return Ok(Direct::AskHost),
                },
            };
            let is_end = prefix && block.is_none();
            blocks.push(block);
            if is_end {
                break;
            }
        }
        Ok(Direct::Known(blocks))
    }

    /// Whether each of these keys, at most [`BATCH`], is there; `each` is told in their order until it
    /// says that it has heard enough. Takes no lease.
    // r[impl kv.direct_exists]
    pub(super) fn probe_direct(
        &self,
        keys: &[Key],
        mut each: impl FnMut(bool) -> bool,
    ) -> Result<Direct<()>, LookupError> {
        let guest = self.current();
        let Some(index) = self.index_of(&guest) else { return Ok(Direct::AskHost) };
        let mut hashes = [0; BATCH];
        let mut slots = [None; BATCH];
        gather(&guest, &index, keys, &mut hashes, &mut slots);
        let (control, life) = (guest.control(), index.life());
        for ((key, &hash), &slot) in keys.iter().zip(&hashes).zip(&slots) {
            let is_there = slot.is_some_and(|slot| holds(control, slot, key))
                || index.find(hash, |slot| holds(control, slot, key)).is_some();
            if !is_there && !is_missing(&guest, &index, life)? {
                return Ok(Direct::AskHost);
            }
            if !each(is_there) {
                break;
            }
        }
        guest.check_intact().map_err(LeaseError::Torn)?;
        Ok(Direct::Known(()))
    }

    /// The index that this guest's slots are named by, if lookups may use it: it is not mapped in a forked
    /// child.
    #[inline]
    fn index_of<'a>(&'a self, guest: &Guest) -> Option<Cow<'a, Arc<IndexReader>>> {
        if guest.is_in_forked_child() {
            return None;
        }
        let index = self.index.as_ref().filter(|_| self.lookup == LookupPath::Direct)?;
        if guest.segment_id() == self.guest.segment_id() {
            return Some(Cow::Borrowed(index));
        }
        open_index(guest).map(Cow::Owned)
    }
}

/// The block in this slot if it has this key and nothing is out of the ordinary; its use is noted.
// r[impl kv.used]
#[inline]
fn lease_block<'a>(guest: &'a Guest, slot: u32, key: &Key) -> Option<BlockRef<'a>> {
    let is_wanted = |entry: &SlotEntryView<'_>| {
        has_key(entry, key) && !has_had_its_time(guest.control(), entry.note_word(EXPIRY_WORD))
    };
    guest.lease_for_use(slot, is_wanted).map(Block::new)
}

/// The same of the first slot that may have the key, with a handle that is the present one.
#[inline]
fn first_block<'a>(guest: &Cow<'a, Guest>, slot: Option<u32>, key: &Key) -> Option<BlockRef<'a>> {
    match guest {
        Cow::Borrowed(guest) => lease_block(guest, slot?, key),
        Cow::Owned(_) => None,
    }
}

/// The block of this key, or why there is none; its use is noted.
// r[impl kv.used]
fn find_and_note<'a>(
    guest: &Cow<'a, Guest>,
    index: &IndexReader,
    hash: u64,
    key: &Key,
) -> Result<Direct<Option<BlockRef<'a>>>, LookupError> {
    let found = find_from(guest, index, hash, key)?;
    if let Direct::Known(Some(block)) = &found {
        guest.note_use(block.slot());
    }
    Ok(found)
}

/// The block of this key, or why there is none.
// r[impl kv.direct_expiry]
fn find_from<'a>(
    guest: &Cow<'a, Guest>,
    index: &IndexReader,
    hash: u64,
    key: &Key,
) -> Result<Direct<Option<BlockRef<'a>>>, LookupError> {
    let life = index.life();
    for slot in index.candidates(hash) {
        let mut is_over = false;
        let leased = SlotGuard::lease_current(guest.clone(), slot, |entry| {
            let is_key = has_key(entry, key);
            is_over = is_key && has_had_its_time(guest.control(), entry.note_word(EXPIRY_WORD));
            is_key && !is_over
        });
        match leased {
            Ok(Some(guard)) => return Ok(Direct::Known(Some(Block::new(guard)))),
            Ok(None) if is_over => return Ok(Direct::Known(None)),
            Ok(None) => {}
            Err(error) => return not_leased(error),
        }
    }
    if !is_missing(guest, index, life)? {
        return Ok(Direct::AskHost);
    }
    Ok(Direct::Known(None))
}

/// Whether what was not found is not there. Else the index was made anew meanwhile, or an attach to
/// another host is due. `life` is that of the index before the search.
fn is_missing(guest: &Guest, index: &IndexReader, life: u64) -> Result<bool, LookupError> {
    guest.check_intact().map_err(LeaseError::Torn)?;
    Ok(index.was_whole(life) && !guest.is_known_over())
}

/// An attach that was cut off may have another one behind it.
#[cold]
fn not_leased<T>(error: LeaseError) -> Result<Direct<T>, LookupError> {
    match error {
        LeaseError::CutOff => Ok(Direct::AskHost),
        error => Err(error.into()),
    }
}

/// Finds for each key the slot that most likely has it, with all buckets and then all slot entries on
/// their way at once. Returns the number of keys, at most [`BATCH`].
#[inline]
fn gather(
    guest: &Guest,
    index: &IndexReader,
    keys: &[Key],
    hashes: &mut [u64; BATCH],
    slots: &mut [Option<u32>; BATCH],
) -> usize {
    for (key, hash) in keys.iter().zip(hashes.iter_mut()) {
        *hash = index.hash(key);
        index.prefetch(*hash);
    }
    let control = guest.control();
    let count = keys.len().min(BATCH);
    for (hash, slot) in hashes[..count].iter().zip(slots.iter_mut()) {
        *slot = index.candidate(*hash);
        if let Some(slot) = *slot {
            control.prefetch_slot(slot);
        }
    }
    count
}

/// Whether the note of an entry has this key.
#[inline]
fn has_key(entry: &SlotEntryView<'_>, key: &Key) -> bool {
    (0..).zip(key_words(key)).all(|(word, wanted)| entry.note_word(word) == wanted)
}

/// The clock is looked at only for blocks that have a time.
#[inline]
fn has_had_its_time(control: &ControlReader, expiry_word: u64) -> bool {
    expiry_word as u32 != 0 && is_expired(expiry_word, control.coarse_clock_s())
}

/// Whether this key's block is published in this slot. It may be gone by the time that this is known.
#[inline]
fn holds(control: &ControlReader, slot: u32, key: &Key) -> bool {
    if u64::from(slot) > control.slots_ready() {
        return false;
    }
    let Some(entry) = control.slot_entry(slot) else { return false };
    let word = entry.word();
    SlotWord::published_generation(word).is_some()
        && has_key(&entry, key)
        && !has_had_its_time(control, entry.note_word(EXPIRY_WORD))
        && entry.word_after_note() == word
}
