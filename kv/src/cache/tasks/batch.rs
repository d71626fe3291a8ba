//! Many keys at a time, and whether keys are there, for tasks.

use super::AsyncCache;
use crate::cache::direct::{BATCH, Direct};
use crate::cache::keys::{Probed, tell};
use crate::cache::{Block, BlockRef};
use crate::error::LookupError;
use crate::key::Key;
use crate::protocol::{KeyAnswer, LOOKUP_PREFIX, kind, lookup_answer};
use std::time::Instant;
use zerocopy::little_endian as le;

impl AsyncCache {
    /// The blocks of these keys, in their order. A key given twice is found twice.
    ///
    /// # Errors
    /// [`LookupError`]; the first one ends the whole batch, and no lease stays.
    // r[impl kv.tasks.batch]
    pub async fn lookup_many(&self, keys: &[Key]) -> Result<Vec<Option<Block>>, LookupError> {
        let until = self.cache.until();
        let mut blocks = Vec::with_capacity(keys.len());
        for keys in keys.chunks(BATCH) {
            blocks.append(&mut self.lookup_batch(keys, false, until).await?);
        }
        Ok(blocks)
    }

    /// The blocks of the longest prefix of these keys that is there: the first miss ends it.
    ///
    /// # Errors
    /// [`LookupError`]; the first one ends the whole batch, and no lease stays.
    pub async fn lookup_prefix(&self, keys: &[Key]) -> Result<Vec<Block>, LookupError> {
        let until = self.cache.until();
        let mut blocks = Vec::new();
        for keys in keys.chunks(BATCH) {
            let before = blocks.len();
            let found = self.lookup_batch(keys, true, until).await?;
            blocks.extend(found.into_iter().map_while(|block| block));
            if blocks.len() - before < keys.len() {
                break;
            }
        }
        Ok(blocks)
    }

    /// Whether this key is there. That is no use of its block.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn exists(&self, key: &Key) -> Result<bool, LookupError> {
        Ok(self.match_prefix(std::slice::from_ref(key)).await? == 1)
    }

    /// Whether each of these keys is there.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn exists_many(&self, keys: &[Key]) -> Result<Vec<bool>, LookupError> {
        let mut found = Vec::with_capacity(keys.len());
        let each = |is_there| {
            found.push(is_there);
            true
        };
        self.probe(keys, each).await?;
        Ok(found)
    }

    /// How many of these keys are there before the first that is not, as
    /// [`Cache::match_prefix`](crate::cache::Cache::match_prefix) says.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn match_prefix(&self, keys: &[Key]) -> Result<usize, LookupError> {
        let mut count = 0;
        let each = |is_there| {
            count += usize::from(is_there);
            is_there
        };
        self.probe(keys, each).await?;
        Ok(count)
    }

    /// At most [`BATCH`] keys; with `prefix` nothing behind the first miss is looked up.
    async fn lookup_batch(
        &self,
        keys: &[Key],
        prefix: bool,
        until: Instant,
    ) -> Result<Vec<Option<Block>>, LookupError> {
        self.return_if_due();
        let found = match self.cache.find_batch_direct(keys, prefix)? {
            Direct::Known(found) => {
                found.into_iter().map(|block| block.map(BlockRef::into_owned)).collect()
            }
            Direct::AskHost => self.lookup_batch_asking(keys, prefix, until).await?,
        };
        if !self.cache.verify {
            return Ok(found);
        }
        let mut verified = Vec::with_capacity(found.len());
        for block in found {
            verified.push(match block {
                Some(block) => Some(self.verified(block, until).await?),
                None => None,
            });
        }
        Ok(verified)
    }

    async fn lookup_batch_asking(
        &self,
        keys: &[Key],
        prefix: bool,
        until: Instant,
    ) -> Result<Vec<Option<Block>>, LookupError> {
        self.cache.shared.count_asked(keys.len(), self.cache.lookup);
        let segment = self.cache.current().segment_id();
        let plain = self.cache.with_verify(false);
        let flags = if prefix { LOOKUP_PREFIX } else { 0 };
        let mut blocks = Vec::with_capacity(keys.len());
        for frame in keys.chunks(self.cache.entries_max(kind::LOOKUP)?) {
            let words: Vec<le::U64> = self.ask_frame(kind::LOOKUP, flags, frame, until).await?;
            for (key, word) in frame.iter().zip(words) {
                let leased = match lookup_answer(word) {
                    Some(slot) => plain.lease(key, slot, segment, until)?.map(BlockRef::into_owned),
                    None => None,
                };
                let block = match leased {
                    // It went meanwhile: it may be in another slot.
                    None if lookup_answer(word).is_some() => self.lookup_asking(key, until).await?,
                    leased => leased,
                };
                let is_end = prefix && block.is_none();
                blocks.push(block);
                if is_end {
                    return Ok(blocks);
                }
            }
        }
        Ok(blocks)
    }

    /// Tells `each` whether the keys are there, one after the other until it says that it has heard enough.
    async fn probe(
        &self,
        keys: &[Key],
        mut each: impl FnMut(bool) -> bool,
    ) -> Result<(), LookupError> {
        let until = self.cache.until();
        for keys in keys.chunks(BATCH) {
            let goes_on = match self.cache.probe_known(keys, &mut each)? {
                Probed::Told { goes_on } => goes_on,
                Probed::AskHost { from } => {
                    self.probe_asking(&keys[from..], until, &mut each).await?
                }
            };
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    async fn probe_asking(
        &self,
        keys: &[Key],
        until: Instant,
        each: &mut impl FnMut(bool) -> bool,
    ) -> Result<bool, LookupError> {
        self.cache.shared.count_asked(keys.len(), self.cache.lookup);
        for frame in keys.chunks(self.cache.entries_max(kind::EXISTS)?) {
            let answers: Vec<KeyAnswer> = self.ask_frame(kind::EXISTS, 0, frame, until).await?;
            if !tell(answers, each)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
