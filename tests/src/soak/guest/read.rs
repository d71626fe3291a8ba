//! Looking blocks up, holding them, and reading every byte, at the begin and the end of a hold.

use super::super::blocks::Name;
use super::super::board::Count;
use super::super::journal::{Journal, State};
use super::super::point::Point;
use super::trouble::Trouble;
use super::{HELD_MAX, Held, Worker};
use onecopy::cache::Block;
use onecopy::key::Key;

/// Operations that a block is held for at most.
const HOLD_MAX: u64 = 200;

/// A key of any place, with what was known before it was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub place: u32,
    pub key: u32,
    pub before: State,
}

impl Worker {
    /// Some keys that are kept, of any place, as they stand now.
    pub(super) fn any_kept(&mut self, count: u64) -> Vec<Asked> {
        let (places, keys) = (u64::from(self.board.places()), u64::from(self.board.keys()));
        let pick = |_| {
            let place = self.random.below(places) as u32;
            let key = self.random.below(keys) as u32;
            Asked { place, key, before: Journal::new(&self.board, place).state(key) }
        };
        (0..count).map(pick).collect()
    }

    pub(super) fn name_of(&self, asked: &Asked) -> Name {
        Journal::new(&self.board, asked.place).name(asked.key, asked.before)
    }

    pub(super) fn keys_of(&self, asked: &[Asked]) -> Vec<Key> {
        asked.iter().map(|asked| self.name_of(asked).key(self.run)).collect()
    }

    /// Compares an answer with the journal: what was acknowledged and not asked to go is there, what
    /// is gone is not.
    // r[impl soak.acknowledged]
    pub(super) fn judge(&self, asked: &Asked, is_there: bool, how: &str) {
        let after = Journal::new(&self.board, asked.place).state(asked.key);
        if after != asked.before {
            return;
        }
        let count = match (asked.before.must_be_there(), is_there) {
            (Some(true), false) => Count::Lost,
            (Some(false), true) => Count::Undead,
            _ => return,
        };
        let era = Journal::new(&self.board, asked.place).era(asked.key);
        let now = self.board.era();
        let name = self.name_of(asked);
        let text = format!(
            "{how}: block {} (key {} of place {}) is there: {is_there}, its state {:?} is of era \
             {era}, now is era {now}",
            name.key(self.run),
            asked.key,
            asked.place,
            asked.before,
        );
        self.find(count, text);
    }

    /// Looks up kept keys: one, some, or the longest prefix of some.
    pub(super) fn look_up_kept(&mut self) -> Result<(), Trouble> {
        let how = self.random.below(4);
        let count = if how < 2 { 1 } else { 2 + self.random.below(8) };
        let asked = self.any_kept(count);
        let keys = self.keys_of(&asked);
        let cache = self.cache()?;
        self.at(Point::LookingUp);
        let found: Vec<Option<Block>> = match how {
            0 | 1 => vec![cache.lookup(&keys[0])?],
            2 => cache.lookup_many(&keys)?,
            _ => {
                let prefix = cache.lookup_prefix(&keys)?;
                let missed = (prefix.len() < keys.len()).then_some(None);
                prefix.into_iter().map(Some).chain(missed).collect()
            }
        };
        for (asked, block) in asked.iter().zip(&found) {
            self.judge(asked, block.is_some(), "lookup");
        }
        self.at(Point::Verifying);
        for (asked, block) in asked.iter().zip(found) {
            if let Some(block) = block {
                self.take(self.name_of(asked), block);
            }
        }
        Ok(())
    }

    /// Checks a block that was found, and keeps it for a while.
    pub(super) fn take(&mut self, name: Name, block: Block) {
        self.verify(name, &block, "found");
        let until = self.operations + self.random.below(HOLD_MAX);
        self.held.push_back(Held { name, block, until });
        while self.held.len() > HELD_MAX {
            self.let_go(0);
        }
    }

    /// Lets go of what has been held for long enough.
    pub(super) fn let_go_due(&mut self) {
        while let Some(index) = self.held.iter().position(|held| held.until <= self.operations) {
            self.let_go(index);
        }
    }

    /// Reads a block once more and lets go of it.
    fn let_go(&mut self, index: usize) {
        self.at(Point::LettingGo);
        if let Some(Held { name, block, .. }) = self.held.remove(index) {
            self.verify(name, &block, "held");
            self.count(Count::HoldsVerified, 1);
        }
    }

    /// Lets go of every lease and every slot; pins end with the attach.
    pub(super) fn let_go_all(&mut self) {
        while !self.held.is_empty() {
            self.let_go(0);
        }
        self.fills.clear();
        self.pins.clear();
    }

    // r[impl soak.payload]
    pub(super) fn verify(&self, name: Name, block: &Block, when: &str) {
        let wrong = name.wrong_bytes(self.run, block);
        if wrong == 0 {
            self.count(Count::BytesVerified, block.len() as u64);
            self.count(Count::BlocksVerified, 1);
            return;
        }
        self.count(Count::WrongBytes, wrong);
        let (found, expected) = (block.len(), name.length(self.run));
        let text = format!(
            "block {} in {:?} has {wrong} wrong bytes as it is {when}; its length is {found}, \
             expected {expected}",
            name.key(self.run),
            block.slot(),
        );
        self.find(Count::WrongBlocks, text);
    }
}
