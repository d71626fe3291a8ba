//! What the supervisor of a soak, its host and its guests tell each other: words in a file that
//! outlive every process but the supervisor.
//!
//! ```text
//! header     magic, run, places, keys of each place, order, era     supervisor writes
//! host       point, then counts of what it has told of               host writes
//! places     point, paused at, then counts of what was done          the guest of the place writes
//! journal    for each key: state, era of its last change             the guest of its place writes
//! ```
//!
//! Every word has one writer at a time and is stored whole, so a kill between two stores leaves
//! nothing that could not have been there. All orderings are sequentially consistent: the journal's
//! argument is about the order of a store here and a request to the host.

use super::point::Point;
use onecopy_shm::error::{MapError, RegionError};
use onecopy_shm::{Access, Mapping, Words};
use rustix::time::{ClockId, clock_gettime};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// First word of a board: the bytes `soaking\0`.
const BOARD_MAGIC: u64 = u64::from_le_bytes(*b"soaking\0");

const MAGIC: u64 = 0;
const RUN: u64 = 1;
const PLACES: u64 = 2;
const KEYS: u64 = 3;
const ORDER: u64 = 4;
const ERA: u64 = 5;
const HOST: u64 = 8;
const HOST_WORDS: u64 = 8;
const PLACE_FIRST: u64 = HOST + HOST_WORDS;
const PLACE_WORDS: u64 = 24;
const PLACE_COUNTS: u64 = 2;

/// Where the board lies in the directory of a soak.
pub const BOARD_FILE: &str = "board";

/// Why there is no board.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// The file cannot be made or opened.
    #[error("the board {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It cannot be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// It is smaller than it says.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// It is no board.
    #[error("the board begins with {found:#x}, expected {expected:#x}")]
    Foreign {
        /// Its first word.
        found: u64,
        /// The first word of a board.
        expected: u64,
    },
}

/// What the supervisor wants of the guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Use the cache.
    Work,
    /// Let go of everything, say goodbye and wait.
    Pause,
    /// Attach, read a share of everything that is there, let go of everything and wait.
    Verify,
    /// Let go of everything, say goodbye and end.
    End,
}

/// An order and its number: every order has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// Which order this is, from 0.
    pub number: u64,
    /// What is wanted.
    pub order: Order,
}

/// What a guest counts, in the order of its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Operations carried out.
    Operations,
    /// Bytes read and found right.
    BytesVerified,
    /// Blocks read whole and found right.
    BlocksVerified,
    /// Blocks published.
    Published,
    /// Blocks deleted.
    Deleted,
    /// Blocks read again, whole, at the end of a hold.
    HoldsVerified,
    /// Looks at all keys that must be there or must not be there.
    Sweeps,
    /// Attaches, the first one of a process included.
    Attaches,
    /// Times that a host was found gone or leaving.
    HostsLost,
    /// Requests refused for want of room, or because of pins.
    Refused,
    /// Blocks with a wrong byte or of a wrong length.
    WrongBlocks,
    /// Wrong bytes in them.
    WrongBytes,
    /// Blocks that had been acknowledged and were not there.
    Lost,
    /// Blocks that had been deleted and were there.
    Undead,
    /// Operations that ran beyond their deadline.
    Late,
    /// Anything else that must not be.
    Broken,
}

impl Count {
    /// Every count, in the order of its word.
    pub const ALL: [Count; 16] = [
        Count::Operations,
        Count::BytesVerified,
        Count::BlocksVerified,
        Count::Published,
        Count::Deleted,
        Count::HoldsVerified,
        Count::Sweeps,
        Count::Attaches,
        Count::HostsLost,
        Count::Refused,
        Count::WrongBlocks,
        Count::WrongBytes,
        Count::Lost,
        Count::Undead,
        Count::Late,
        Count::Broken,
    ];

    /// The counts of what must never happen.
    pub const FAILURES: [Count; 5] =
        [Count::WrongBlocks, Count::Lost, Count::Undead, Count::Late, Count::Broken];
}

/// What the host counts, in the order of its words behind its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostCount {
    /// Guests that became suspect.
    Suspected = 1,
    /// Suspects that came back.
    Cleared = 2,
    /// Dead guests whose slots were taken back.
    Recovered = 3,
    /// Steps of growth.
    Grown = 4,
    /// Guests whose link the host has ended.
    CutOff = 5,
}

/// The words, as one process has them.
#[derive(Debug)]
pub struct Board {
    words: Words,
    places: u32,
    keys: u32,
}

impl Board {
    /// Makes the board of a soak with so many places and so many keys for each of them.
    ///
    /// # Errors
    /// [`BoardError`].
    pub fn create(dir: &Path, run: u64, places: u32, keys: u32) -> Result<Board, BoardError> {
        let path = dir.join(BOARD_FILE);
        let file_error = |source| BoardError::File { path: path.clone(), source };
        let open = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = open.map_err(file_error)?;
        let count = word_count(places, keys);
        file.set_len(count * 8).map_err(file_error)?;
        let board = Board { words: map(&file, count)?, places, keys };
        board.store(RUN, run);
        board.store(PLACES, places.into());
        board.store(KEYS, keys.into());
        board.store(ERA, 1);
        board.store(MAGIC, BOARD_MAGIC);
        Ok(board)
    }

    /// The board of the soak in this directory.
    ///
    /// # Errors
    /// [`BoardError`].
    pub fn open(dir: &Path) -> Result<Board, BoardError> {
        let path = dir.join(BOARD_FILE);
        let open = OpenOptions::new().read(true).write(true).open(&path);
        let file = open.map_err(|source| BoardError::File { path, source })?;
        let header = Board { words: map(&file, PLACE_FIRST)?, places: 0, keys: 0 };
        let found = header.load(MAGIC);
        if found != BOARD_MAGIC {
            return Err(BoardError::Foreign { found, expected: BOARD_MAGIC });
        }
        let (places, keys) = (header.load(PLACES) as u32, header.load(KEYS) as u32);
        Ok(Board { words: map(&file, word_count(places, keys))?, places, keys })
    }

    /// Number of places.
    pub fn places(&self) -> u32 {
        self.places
    }

    /// Keys that belong to each place.
    pub fn keys(&self) -> u32 {
        self.keys
    }

    /// What tells the blocks of this run from those of others.
    pub fn run(&self) -> u64 {
        self.load(RUN)
    }

    /// What the supervisor wants now.
    pub fn ordered(&self) -> Ordered {
        let word = self.load(ORDER);
        let order = match word & 3 {
            0 => Order::Work,
            1 => Order::Pause,
            2 => Order::Verify,
            _ => Order::End,
        };
        Ordered { number: word >> 2, order }
    }

    /// Gives a new order. Returns its number.
    pub fn give(&self, order: Order) -> u64 {
        let number = self.ordered().number + 1;
        let code = match order {
            Order::Work => 0,
            Order::Pause => 1,
            Order::Verify => 2,
            Order::End => 3,
        };
        self.store(ORDER, number << 2 | code);
        number
    }

    /// The current era. With each of them, everything that was sent in an earlier one has been
    /// carried out or never will be.
    pub fn era(&self) -> u64 {
        self.load(ERA)
    }

    /// The next era begins: the host that was there is dead, or all guests that were there are
    /// recovered.
    pub fn next_era(&self) {
        self.store(ERA, self.era() + 1);
    }

    /// What the host is doing, and since when.
    pub fn host_point(&self) -> (Point, u64) {
        Point::from_word(self.load(HOST))
    }

    /// The host says what it is doing.
    pub fn set_host_point(&self, point: Point) {
        self.store(HOST, point.to_word(now_ns()));
    }

    /// One of the host's counts, over all of its lives.
    pub fn host_count(&self, count: HostCount) -> u64 {
        self.load(HOST + count as u64)
    }

    /// The host counts.
    pub fn count_host(&self, count: HostCount) {
        let word = HOST + count as u64;
        self.store(word, self.load(word) + 1);
    }

    /// What the guest of this place is doing, and since when.
    pub fn point(&self, place: u32) -> (Point, u64) {
        Point::from_word(self.load(place_word(place)))
    }

    /// The guest of this place says what it is doing.
    pub fn set_point(&self, place: u32, point: Point) {
        self.store(place_word(place), point.to_word(now_ns()));
    }

    /// The number of the order that this place has paused at last.
    pub fn paused_at(&self, place: u32) -> u64 {
        self.load(place_word(place) + 1)
    }

    /// The guest of this place has let go of everything.
    pub fn set_paused_at(&self, place: u32, number: u64) {
        self.store(place_word(place) + 1, number);
    }

    /// A count of one place, over all of its lives.
    pub fn count(&self, place: u32, count: Count) -> u64 {
        self.load(count_word(place, count))
    }

    /// The guest of this place counts.
    pub fn add(&self, place: u32, count: Count, number: u64) {
        let word = count_word(place, count);
        self.store(word, self.load(word) + number);
    }

    /// A count of all places.
    pub fn total(&self, count: Count) -> u64 {
        (0..self.places).map(|place| self.count(place, count)).sum()
    }

    /// The word of a key's state.
    pub(super) fn journal(&self, place: u32, key: u32) -> u64 {
        let index = u64::from(place) * u64::from(self.keys) + u64::from(key);
        PLACE_FIRST + u64::from(self.places) * PLACE_WORDS + index * 2
    }

    /// A word; one outside reads as 0.
    pub(super) fn load(&self, word: u64) -> u64 {
        self.words.load(word, Ordering::SeqCst).unwrap_or(0)
    }

    /// Stores a word; one outside is not stored.
    pub(super) fn store(&self, word: u64, value: u64) {
        let _ = self.words.store(word, value, Ordering::SeqCst);
    }
}

/// Nanoseconds of the clock that all processes share.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn place_word(place: u32) -> u64 {
    PLACE_FIRST + u64::from(place) * PLACE_WORDS
}

fn count_word(place: u32, count: Count) -> u64 {
    place_word(place) + PLACE_COUNTS + count as u64
}

fn word_count(places: u32, keys: u32) -> u64 {
    let places = u64::from(places);
    PLACE_FIRST + places * PLACE_WORDS + places * u64::from(keys) * 2
}

fn map(file: &File, count: u64) -> Result<Words, BoardError> {
    let mapping = Mapping::map(file, count * 8, Access::ReadWrite)?;
    Ok(mapping.region(0, count * 8)?.words(0, count)?)
}
