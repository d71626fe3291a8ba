//! What is known of the keys that one place alone publishes and deletes.
//!
//! The owner says what it is about to do before it asks for it, and what came of it after the
//! answer. So whoever reads the same word before and after asking the host knows what the answer
//! must be: a key that is published then must be found, a key that is absent must not be.
//!
//! A change that was begun and got no answer (its owner or its host was killed) is open: it may
//! have been carried out, or may still be when the host goes through what the owner had sent. That
//! is over with the next era after the one in which the owner gave it up, or in which the process
//! after a killed one was started. Then the owner asks what came of it.

use super::blocks::Name;
use super::board::Board;

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its block is not there.
    Absent,
    /// Its block was acknowledged.
    Published,
    /// Its owner is about to publish it, or was.
    Publishing,
    /// Its owner is about to delete it, or was.
    Deleting,
}

/// A key's state as one word. Each change has another stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// What is known.
    pub fate: Fate,
    /// Which use of the key it is known of.
    pub version: u32,
    stamp: u32,
}

/// Uses of a key are counted in so many bits; then they start again.
const VERSION_BITS: u32 = 24;

impl State {
    fn to_word(self) -> u64 {
        let version = u64::from(self.version) & ((1 << VERSION_BITS) - 1);
        (self.fate as u64) << 56 | version << 32 | u64::from(self.stamp)
    }

    fn from_word(word: u64) -> State {
        let fate = match word >> 56 {
            1 => Fate::Published,
            2 => Fate::Publishing,
            3 => Fate::Deleting,
            _ => Fate::Absent,
        };
        let version = (word >> 32) as u32 & ((1 << VERSION_BITS) - 1);
        State { fate, version, stamp: word as u32 }
    }

    /// What an answer must be while this is the state; `None` while that is open.
    pub fn must_be_there(self) -> Option<bool> {
        match self.fate {
            Fate::Published => Some(true),
            Fate::Absent => Some(false),
            Fate::Publishing | Fate::Deleting => None,
        }
    }
}

/// The keys of one place.
#[derive(Clone, Copy, Debug)]
pub struct Journal<'a> {
    board: &'a Board,
    place: u32,
}

impl<'a> Journal<'a> {
    /// The keys of this place.
    pub fn new(board: &'a Board, place: u32) -> Journal<'a> {
        Journal { board, place }
    }

    /// The state of a key.
    pub fn state(&self, key: u32) -> State {
        State::from_word(self.board.load(self.board.journal(self.place, key)))
    }

    /// The block that a state of a key is about.
    pub fn name(&self, key: u32, state: State) -> Name {
        Name { number: self.place * self.board.keys() + key, version: state.version }
    }

    /// The era in which the last change began, or was given up.
    pub fn era(&self, key: u32) -> u64 {
        self.board.load(self.board.journal(self.place, key) + 1)
    }

    /// Says what is to become of a key, before it is asked for. Only its owner does.
    // r[impl soak.journal]
    pub fn begin(&self, key: u32, fate: Fate, version: u32) {
        self.board.store(self.board.journal(self.place, key) + 1, self.board.era());
        self.change(key, fate, version);
    }

    /// The change got no answer. It may have been sent to more than one host, to the last of them in
    /// this era.
    // r[impl soak.journal]
    pub fn leave_open(&self, key: u32) {
        self.board.store(self.board.journal(self.place, key) + 1, self.board.era());
    }

    /// Says what has become of it.
    // r[impl soak.journal]
    pub fn settle(&self, key: u32, fate: Fate) {
        self.change(key, fate, self.state(key).version);
    }

    fn change(&self, key: u32, fate: Fate, version: u32) {
        let stamp = self.state(key).stamp.wrapping_add(1);
        let word = self.board.journal(self.place, key);
        self.board.store(word, State { fate, version, stamp }.to_word());
    }
}
