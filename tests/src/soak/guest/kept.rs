//! Operations where nothing is evicted: each place publishes and deletes keys of its own, everybody
//! reads all of them.

use super::super::blocks::Name;
use super::super::board::Count;
use super::super::journal::{Fate, State};
use super::super::point::Point;
use super::trouble::Trouble;
use super::{Sabotage, Worker};
use onecopy::cache::{PublishOptions, Published, ToPublish};
use onecopy::error::{DeleteError, PublishError};
use onecopy::key::Key;
use onecopy_transport::format::Role;

/// Blocks of one batch at most.
const BATCH_MAX: u64 = 6;
/// Steps in which a slot is filled.
const FILL_STEPS: usize = 4;

impl Worker {
    pub(super) fn operate_kept(&mut self) -> Result<(), Trouble> {
        let writes = self.role() == Role::Writer;
        match self.random.below(100) {
            0..40 => self.look_up_kept(),
            40..46 => self.ask_kept(),
            46..52 => self.pin_kept(),
            52..56 => self.unpin(),
            56..58 => self.ping(),
            58..60 if self.random.below(4) == 0 => self.sweep(),
            60..90 if writes => self.publish_kept(),
            90..96 if writes => self.delete_kept(),
            96..98 if writes => self.reserve_and_hold(),
            98 => self.part_and_return(),
            _ => self.look_up_kept(),
        }
    }

    fn ask_kept(&mut self) -> Result<(), Trouble> {
        let count = 1 + self.random.below(16);
        let asked = self.any_kept(count);
        let keys = self.keys_of(&asked);
        let cache = self.cache()?;
        self.at(Point::Asking);
        let there = match keys.as_slice() {
            [key] => vec![cache.exists(key)?],
            keys => cache.exists_many(keys)?,
        };
        for (asked, is_there) in asked.iter().zip(there) {
            self.judge(asked, is_there, "exists");
        }
        Ok(())
    }

    fn pin_kept(&mut self) -> Result<(), Trouble> {
        let asked = self.any_kept(1);
        let names: Vec<Name> = asked.iter().map(|asked| self.name_of(asked)).collect();
        self.pin(&names)
    }

    /// Keys of this place whose state is settled and satisfies this; the others are asked for
    /// first, if what became of them is certain by now.
    fn own_keys(&mut self, count: u64, wanted: Fate) -> Result<Vec<(u32, State)>, Trouble> {
        let mut found = Vec::new();
        for _ in 0..count * 2 {
            let key = self.random.below(self.board.keys().into()) as u32;
            let is_new = found.iter().all(|(known, _)| *known != key);
            if is_new
                && let Some(state) = self.settled(key)?
                && state.fate == wanted
            {
                found.push((key, state));
            }
            if found.len() as u64 == count {
                break;
            }
        }
        Ok(found)
    }

    /// The state of a key of this place. What an earlier life, or an earlier host, left open is
    /// asked for, once nothing can change it any more.
    // r[impl soak.journal]
    fn settled(&mut self, key: u32) -> Result<Option<State>, Trouble> {
        let state = self.journal().state(key);
        if state.must_be_there().is_some() {
            return Ok(Some(state));
        }
        if self.journal().era(key).max(self.era_of_start) >= self.board.era() {
            return Ok(None);
        }
        let cache = self.cache()?;
        self.at(Point::Asking);
        let is_there = cache.exists(&self.journal().name(key, state).key(self.run))?;
        self.journal().settle(key, if is_there { Fate::Published } else { Fate::Absent });
        Ok(Some(self.journal().state(key)))
    }

    fn publish_kept(&mut self) -> Result<(), Trouble> {
        let how = self.random.below(8);
        let count = if how < 6 { 1 } else { 2 + self.random.below(BATCH_MAX - 1) };
        let mut names = Vec::new();
        for (key, state) in self.own_keys(count, Fate::Absent)? {
            // The next use of the key, or the same block once more.
            let version = state.version + self.random.below(2) as u32;
            self.journal().begin(key, Fate::Publishing, version);
            names.push((key, self.journal().name(key, self.journal().state(key))));
        }
        if names.is_empty() {
            return self.look_up_kept();
        }
        let outcomes = match how {
            0..4 => vec![self.fill_and_publish(names[0].1)],
            4 | 5 => vec![self.store(names[0].1)],
            6 => self.publish_many(&names)?,
            _ => self.store_many(&names),
        };
        let mut result = Ok(());
        for ((key, name), outcome) in names.iter().zip(outcomes) {
            result = result.and(self.published_kept(*key, *name, outcome));
        }
        result
    }

    /// What became of a key of this place.
    fn published_kept(
        &mut self,
        key: u32,
        name: Name,
        outcome: Result<Published, PublishError>,
    ) -> Result<(), Trouble> {
        match outcome {
            Ok(published) => {
                self.journal().settle(key, Fate::Published);
                self.count(Count::Published, 1);
                if published.is_first() {
                    return Ok(());
                }
                let key = name.key(self.run);
                Err(Trouble::Broken(format!("block {key} of this place was there already")))
            }
            Err(error) => {
                let never_sent = matches!(&error, PublishError::Reserve(_));
                let trouble = Trouble::from(error);
                if never_sent || matches!(trouble, Trouble::Refused(_)) {
                    self.journal().settle(key, Fate::Absent);
                } else {
                    self.journal().leave_open(key);
                }
                Err(trouble)
            }
        }
    }

    /// Reserves a slot, fills it step by step and publishes it.
    pub(super) fn fill_and_publish(&mut self, name: Name) -> Result<Published, PublishError> {
        let length = name.length(self.run);
        let Ok(cache) = self.cache() else { return Err(gone()) };
        self.at(Point::Reserving);
        let mut fill = match self.fills.pop() {
            // One that was kept for a while, if it is large enough.
            Some(fill) if fill.slot_bytes() >= length => fill,
            _ => cache.reserve(length)?,
        };
        self.at(Point::Filling);
        let mut bytes = vec![0; length as usize];
        self.bytes_of(name, &mut bytes);
        let step = bytes.len().div_ceil(FILL_STEPS).max(1);
        for (part, target) in bytes.chunks(step).zip(fill.chunks_mut(step)) {
            target[..part.len()].copy_from_slice(part);
            self.dawdle();
        }
        let options = self.publish_options();
        self.at(Point::Publishing);
        fill.publish(&name.key(self.run), length, options)
    }

    pub(super) fn store(&mut self, name: Name) -> Result<Published, PublishError> {
        let Ok(cache) = self.cache() else { return Err(gone()) };
        let mut bytes = vec![0; name.length(self.run) as usize];
        self.bytes_of(name, &mut bytes);
        let options = self.publish_options();
        self.at(Point::Storing);
        cache.store_with(&name.key(self.run), &bytes, options)
    }

    fn publish_many(
        &mut self,
        names: &[(u32, Name)],
    ) -> Result<Vec<Result<Published, PublishError>>, Trouble> {
        let cache = self.cache()?;
        let largest = names.iter().map(|(_, name)| name.length(self.run)).max().unwrap_or(0);
        self.at(Point::Reserving);
        let reserved = cache.reserve_many(largest, names.len() as u32);
        let mut fills = match reserved {
            Ok(fills) => fills,
            Err(error) => {
                // Nothing was sent.
                names.iter().for_each(|(key, _)| self.journal().settle(*key, Fate::Absent));
                return Err(error.into());
            }
        };
        self.at(Point::Filling);
        for (fill, (_, name)) in fills.iter_mut().zip(names) {
            let length = name.length(self.run) as usize;
            self.bytes_of(*name, &mut fill[..length]);
        }
        let options = self.publish_options();
        let blocks = fills.into_iter().zip(names).map(|(fill, (_, name))| ToPublish {
            fill,
            key: name.key(self.run),
            length_bytes: name.length(self.run),
            options,
        });
        let blocks = blocks.collect();
        self.at(Point::PublishingMany);
        Ok(cache.publish_many(blocks))
    }

    fn store_many(&mut self, names: &[(u32, Name)]) -> Vec<Result<Published, PublishError>> {
        let Ok(cache) = self.cache() else { return vec![Err(gone())] };
        let payload = |(_, name): &(u32, Name)| {
            let mut bytes = vec![0; name.length(self.run) as usize];
            self.bytes_of(*name, &mut bytes);
            (name.key(self.run), bytes)
        };
        let payloads: Vec<(Key, Vec<u8>)> = names.iter().map(payload).collect();
        let blocks: Vec<(Key, &[u8])> =
            payloads.iter().map(|(key, bytes)| (*key, bytes.as_slice())).collect();
        let options = self.publish_options();
        self.at(Point::StoringMany);
        cache.store_many(&blocks, options)
    }

    /// The bytes of a block, or not quite.
    fn bytes_of(&self, name: Name, target: &mut [u8]) {
        name.fill(self.run, target);
        if self.args.sabotage == Some(Sabotage::Corrupt)
            && let Some(byte) = target.last_mut()
        {
            *byte ^= 1;
        }
    }

    fn publish_options(&mut self) -> PublishOptions {
        PublishOptions { ttl: None, checksum: self.random.below(3) == 0 }
    }

    fn delete_kept(&mut self) -> Result<(), Trouble> {
        let count = if self.random.below(3) > 0 { 1 } else { 2 + self.random.below(BATCH_MAX) };
        let mut keys = Vec::new();
        for (key, state) in self.own_keys(count, Fate::Published)? {
            let is_betrayed = self.args.sabotage == Some(Sabotage::Lose);
            if !is_betrayed {
                self.journal().begin(key, Fate::Deleting, state.version);
            }
            keys.push((key, self.journal().name(key, state).key(self.run)));
        }
        let cache = self.cache()?;
        let wanted: Vec<Key> = keys.iter().map(|(_, key)| *key).collect();
        self.at(Point::Deleting);
        let outcomes = match wanted.as_slice() {
            [key] => vec![cache.delete(key)],
            keys => cache.delete_many(keys),
        };
        let mut result = Ok(());
        for ((key, _), outcome) in keys.iter().zip(outcomes) {
            result = result.and(self.deleted_kept(*key, outcome));
        }
        result
    }

    fn deleted_kept(
        &mut self,
        key: u32,
        outcome: Result<bool, DeleteError>,
    ) -> Result<(), Trouble> {
        if self.args.sabotage == Some(Sabotage::Lose) {
            return Ok(());
        }
        match outcome {
            Ok(true) => {
                self.journal().settle(key, Fate::Absent);
                self.count(Count::Deleted, 1);
                Ok(())
            }
            Ok(false) => {
                self.find(Count::Lost, format!("key {key} of this place was not there to delete"));
                self.journal().settle(key, Fate::Absent);
                Ok(())
            }
            Err(DeleteError::Busy { .. } | DeleteError::Guarded { .. }) => {
                self.journal().settle(key, Fate::Published);
                self.count(Count::Refused, 1);
                Ok(())
            }
            Err(error) => {
                self.journal().leave_open(key);
                Err(error.into())
            }
        }
    }
}

/// There is no cache to ask; nothing was sent.
fn gone() -> PublishError {
    onecopy_transport::guest::ReserveError::Link(onecopy_transport::guest::LinkEnd::HostGone).into()
}
