//! Looking for everything that must be there, at once.

use super::super::blocks::Name;
use super::super::board::Count;
use super::super::journal::Journal;
use super::super::point::Point;
use super::Worker;
use super::churn::SHARED_KEYS;
use super::read::Asked;
use super::trouble::Trouble;

/// Keys that are asked for in one batch.
const SWEEP_KEYS: usize = 128;

impl Worker {
    /// Asks for every key of every place.
    // r[impl soak.acknowledged]
    pub(super) fn sweep(&mut self) -> Result<(), Trouble> {
        let places = 0..self.board.places();
        let all: Vec<(u32, u32)> =
            places.flat_map(|place| (0..self.board.keys()).map(move |key| (place, key))).collect();
        let cache = self.cache()?;
        for part in all.chunks(SWEEP_KEYS) {
            self.at(Point::Sweeping);
            let asked: Vec<Asked> = part.iter().map(|key| self.asked(*key)).collect();
            let there = cache.exists_many(&self.keys_of(&asked))?;
            for (asked, is_there) in asked.iter().zip(there) {
                self.judge(asked, is_there, "sweep");
            }
        }
        self.count(Count::Sweeps, 1);
        Ok(())
    }

    /// Reads every byte of the blocks of one place, or of a share of those that all have in common:
    /// the guests of all places together read everything.
    // r[impl soak.quiet]
    pub(super) fn verify_share(&mut self, turn: u64) -> Result<(), Trouble> {
        self.ensure_attached()?;
        let places = self.board.places();
        let share = (u64::from(self.args.place) + turn) % u64::from(places);
        if self.args.profile.keeps_all() {
            let keys = 0..self.board.keys();
            let all: Vec<Asked> = keys.map(|key| self.asked((share as u32, key))).collect();
            return all.into_iter().try_for_each(|asked| self.read_kept(&asked));
        }
        let numbers = (0..SHARED_KEYS as u32).filter(|n| u64::from(n % places) == share);
        let names: Vec<Name> = numbers.map(|number| Name { number, version: 0 }).collect();
        names.into_iter().try_for_each(|name| self.read(name).map(|_| ()))
    }

    fn asked(&self, (place, key): (u32, u32)) -> Asked {
        Asked { place, key, before: Journal::new(&self.board, place).state(key) }
    }

    fn read_kept(&self, asked: &Asked) -> Result<(), Trouble> {
        let is_there = self.read(self.name_of(asked))?;
        self.judge(asked, is_there, "reading everything");
        Ok(())
    }

    /// Reads a block whole. Whether it is there.
    fn read(&self, name: Name) -> Result<bool, Trouble> {
        let cache = self.cache()?;
        self.at(Point::LookingUp);
        let Some(block) = cache.lookup(&name.key(self.run))? else { return Ok(false) };
        self.at(Point::Verifying);
        self.verify(name, &block, "read with all others");
        Ok(true)
    }
}
