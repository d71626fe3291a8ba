//! Operations where blocks come and go: everybody publishes, deletes and reads the same keys. And
//! what both kinds of campaign do alike.

use super::super::blocks::Name;
use super::super::board::Count;
use super::super::point::Point;
use super::trouble::Trouble;
use super::{Sabotage, Worker};
use onecopy::cache::Cache;
use onecopy::error::{DeleteError, PinError, UnpinError};
use onecopy::key::Key;
use onecopy_transport::format::Role;

/// Keys that all guests share.
pub(super) const SHARED_KEYS: u64 = 500;
/// Pins that one guest holds at most.
const PINS_MAX: usize = 8;
/// Slots that are kept reserved at most.
const FILLS_MAX: usize = 4;

impl Worker {
    pub(super) fn operate_churn(&mut self) -> Result<(), Trouble> {
        let writes = self.role() == Role::Writer;
        match self.random.below(100) {
            0..40 => self.look_up_shared(),
            40..46 => self.check_pins(),
            46..52 => {
                let name = self.shared();
                self.pin(&[name])
            }
            52..58 => self.unpin(),
            58..60 => self.ping(),
            60..90 if writes => self.publish_shared(),
            90..95 if writes => self.delete_shared(),
            95..98 if writes => self.reserve_and_hold(),
            98 => self.part_and_return(),
            _ => self.look_up_shared(),
        }
    }

    fn shared(&mut self) -> Name {
        // Some are asked for more often than others.
        let bound = 1 + self.random.below(SHARED_KEYS);
        Name { number: self.random.below(bound) as u32, version: 0 }
    }

    fn look_up_shared(&mut self) -> Result<(), Trouble> {
        let count = if self.random.below(2) == 0 { 1 } else { 1 + self.random.below(10) };
        let names: Vec<Name> = (0..count).map(|_| self.shared()).collect();
        let keys: Vec<Key> = names.iter().map(|name| name.key(self.run)).collect();
        let cache = self.cache()?;
        self.at(Point::LookingUp);
        let found = match keys.as_slice() {
            [key] => vec![cache.lookup(key)?],
            keys => cache.lookup_many(keys)?,
        };
        self.at(Point::Verifying);
        for (name, block) in names.into_iter().zip(found) {
            if let Some(block) = block {
                self.take(name, block);
            }
        }
        Ok(())
    }

    fn publish_shared(&mut self) -> Result<(), Trouble> {
        let name = self.shared();
        let published = match self.random.below(2) {
            0 => self.fill_and_publish(name)?,
            _ => self.store(name)?,
        };
        self.count(Count::Published, u64::from(published.is_first()));
        Ok(())
    }

    fn delete_shared(&mut self) -> Result<(), Trouble> {
        let name = self.shared();
        let cache = self.cache()?;
        self.at(Point::Deleting);
        match cache.delete(&name.key(self.run)) {
            Ok(deleted) => self.count(Count::Deleted, deleted.into()),
            Err(DeleteError::Busy { .. } | DeleteError::Guarded { .. }) => {
                self.count(Count::Refused, 1)
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    pub(super) fn pin(&mut self, names: &[Name]) -> Result<(), Trouble> {
        if self.pins.len() + names.len() > PINS_MAX {
            return self.unpin();
        }
        let cache = self.cache()?;
        self.at(Point::Pinning);
        for name in names {
            match cache.pin(&name.key(self.run)) {
                Ok(_) => {
                    if self.args.sabotage == Some(Sabotage::Unpin) {
                        cache.unpin(&name.key(self.run))?;
                        cache.delete(&name.key(self.run))?;
                    }
                    self.pins.push(*name);
                }
                Err(PinError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(super) fn unpin(&mut self) -> Result<(), Trouble> {
        if self.pins.is_empty() {
            return self.ping();
        }
        let index = self.random.below(self.pins.len() as u64) as usize;
        let name = self.pins.swap_remove(index);
        let cache = self.cache()?;
        self.at(Point::Unpinning);
        match cache.unpin(&name.key(self.run)) {
            Err(error @ (UnpinError::NotFound { .. } | UnpinError::NotPinned { .. })) => {
                if self.has_lost_pins(&cache) {
                    return Ok(());
                }
                self.find(Count::Lost, format!("a block that was pinned: {error}"));
                Ok(())
            }
            other => Ok(other.map(|_| ())?),
        }
    }

    /// Whether the cache came back too late for some of its pins: then nothing is known of any.
    fn has_lost_pins(&mut self, cache: &Cache) -> bool {
        let lost = cache.pins_lost();
        let has_lost = lost > self.pins_lost;
        if has_lost {
            self.pins_lost = lost;
            self.pins.clear();
            self.count(Count::Refused, 1);
        }
        has_lost
    }

    /// What this guest has pinned is neither evicted nor deleted, also when hosts die meanwhile.
    // r[impl soak.pinned]
    fn check_pins(&mut self) -> Result<(), Trouble> {
        let pinned: Vec<Key> = self.pins.iter().map(|name| name.key(self.run)).collect();
        if pinned.is_empty() {
            return self.look_up_shared();
        }
        let cache = self.cache()?;
        self.at(Point::Asking);
        let there = cache.exists_many(&pinned)?;
        if self.has_lost_pins(&cache) {
            return Ok(());
        }
        for (key, is_there) in pinned.iter().zip(there) {
            if !is_there {
                self.find(Count::Lost, format!("block {key} is pinned and is not there"));
            }
        }
        Ok(())
    }

    /// Reserves a slot, writes into it and keeps it for later, or lets go of those that are kept.
    pub(super) fn reserve_and_hold(&mut self) -> Result<(), Trouble> {
        if self.fills.len() >= FILLS_MAX {
            self.at(Point::LettingGo);
            self.fills.clear();
            return Ok(());
        }
        let length = 1 + self.random.below(64 << 10);
        let cache = self.cache()?;
        self.at(Point::Reserving);
        let mut fill = cache.reserve(length)?;
        self.at(Point::Filling);
        let byte = self.random.below(256) as u8;
        fill.fill(byte);
        self.fills.push(fill);
        Ok(())
    }

    pub(super) fn ping(&mut self) -> Result<(), Trouble> {
        let cache = self.cache()?;
        self.at(Point::Pinging);
        match self.random.below(2) {
            0 => cache.guest().ping(self.until()).map(|_| ())?,
            _ => cache.stats().map(|_| ())?,
        }
        Ok(())
    }

    /// Lets go of everything, says goodbye, and comes back as a new guest.
    pub(super) fn part_and_return(&mut self) -> Result<(), Trouble> {
        self.part();
        Ok(())
    }
}
