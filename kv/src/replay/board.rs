//! The board that a replay's supervisor and its worker processes share: which requests are taken, by
//! whom, and what came of them.
//!
//! Any worker may be killed at any instruction; no request is lost and none counts twice. That rests
//! on one word per request, its state:
//!
//! * **unclaimed -> claimed by a life** is one compare-and-swap, so a claim is never half made and
//!   nobody has to say beforehand what it is about to claim;
//! * **claimed -> done** is stored last, after the outcome, so an outcome is whole or does not count;
//! * a **life** is a number that the supervisor gives each worker process, once. When a process is
//!   dead, what its life has claimed is unclaimed again, and the same request done over overwrites
//!   the same record.
//!
//! The cursor only says where to look first. A worker that dies between taking a number from it and
//! claiming that request leaves a gap; gaps are handed to the next worker of the place, and every
//! worker looks through all requests before it says that there is none left.
//!
//! Latencies are counted beside the records, per key: a request that was done twice had its keys
//! looked up twice.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use memory::Memory;

mod latency;
mod layout;
mod memory;
mod record;
mod supervisor;
#[cfg(test)]
mod tests;
mod worker;

use layout::{BOARD_MAGIC, BOARD_VERSION, Layout};
pub use record::{CorruptRecord, RequestOutcome};
use record::{RecordState, decode};
pub use supervisor::{PlaceError, Progress, Recovery, Supervisor};
pub use worker::{FinishError, Worker};

/// The shared memory of a replay, as one process has it.
#[derive(Debug)]
struct Board {
    memory: Memory,
    layout: Layout,
}

/// Why there is no board.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// The system refused memory or a descriptor.
    #[error("cannot {what} the board of the replay: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// More places or requests than a board can have.
    #[error("a board for {places} workers and {requests} requests is larger than memory can be")]
    TooLarge {
        /// Workers.
        places: u32,
        /// Requests.
        requests: u32,
    },
    /// The descriptor is not that of a board, or of one of another program version.
    #[error("the file is no board of this program: it begins with {magic:#x}, version {version}")]
    Foreign {
        /// First word.
        magic: u64,
        /// Second word.
        version: u64,
    },
    /// The file is smaller than what its header says.
    #[error("the board has {found} bytes, expected {expected}")]
    Size {
        /// Size of the file in bytes.
        found: u64,
        /// What the header asks for, in bytes.
        expected: u64,
    },
    /// A place that does not exist or that no life was given to.
    #[error("place {place} of {places} has no worker that was started")]
    NotStarted {
        /// The place asked for.
        place: u32,
        /// Number of places.
        places: u32,
    },
}

impl Board {
    fn create(places: u32, requests: u32) -> Result<Board, BoardError> {
        let too_large = || BoardError::TooLarge { places, requests };
        let layout = Layout::new(places, requests).ok_or_else(too_large)?;
        let system = |source| BoardError::System { what: "make", source };
        let memory = Memory::create(layout.size_bytes()).map_err(system)?;
        let board = Board { memory, layout };
        board.store(layout::PLACES, places.into(), Ordering::Relaxed);
        board.store(layout::REQUESTS, requests.into(), Ordering::Relaxed);
        board.store(layout::VERSION, BOARD_VERSION, Ordering::Relaxed);
        // edge: board.create; whoever sees the magic sees the numbers.
        board.store(layout::MAGIC, BOARD_MAGIC, Ordering::Release);
        Ok(board)
    }

    fn open(file: impl AsFd) -> Result<Board, BoardError> {
        let system = |source| BoardError::System { what: "open", source };
        let file = file.as_fd().try_clone_to_owned().map_err(system)?;
        let memory = Memory::open(File::from(file)).map_err(system)?;
        // edge: board.create.
        let magic = memory.load(layout::MAGIC, Ordering::Acquire);
        let version = memory.load(layout::VERSION, Ordering::Relaxed);
        if magic != BOARD_MAGIC || version != BOARD_VERSION {
            return Err(BoardError::Foreign { magic, version });
        }
        let places = memory.load(layout::PLACES, Ordering::Relaxed) as u32;
        let requests = memory.load(layout::REQUESTS, Ordering::Relaxed) as u32;
        let too_large = || BoardError::TooLarge { places, requests };
        let layout = Layout::new(places, requests).ok_or_else(too_large)?;
        let (found, expected) = (memory.size_bytes(), layout.size_bytes());
        if found < expected {
            return Err(BoardError::Size { found, expected });
        }
        Ok(Board { memory, layout })
    }

    fn load(&self, word: u64, ordering: Ordering) -> u64 {
        self.memory.load(word, ordering)
    }

    fn store(&self, word: u64, value: u64, ordering: Ordering) {
        self.memory.store(word, value, ordering);
    }

    /// What is known about a request.
    fn state(&self, request: u32) -> Result<RecordState, CorruptRecord> {
        // edge: board.done; who sees that it is done sees the outcome.
        let word = self.load(self.layout.state(request), Ordering::Acquire);
        decode(request, word)
    }

    /// Changes the state of a request from one to another, in one instruction.
    fn change_state(&self, request: u32, from: RecordState, to: RecordState) -> bool {
        // edge: board.done; the outcome was stored before, and is overwritten only by who sees that
        // it did not count.
        self.memory.swap(self.layout.state(request), from.to_word(), to.to_word())
    }

    /// Requests whose state is this one.
    fn requests_in<'a>(&'a self, wanted: RecordState) -> impl Iterator<Item = u32> + 'a {
        (0..self.layout.requests).filter(move |&request| self.state(request) == Ok(wanted))
    }
}
