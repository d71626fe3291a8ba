//! The end of the board that the supervisor holds.

use std::fs::File;
use std::sync::atomic::Ordering;

use hdrhistogram::{CreationError, Histogram};

use super::record::{CorruptRecord, RecordState, RequestOutcome};
use super::{Board, BoardError, layout};

/// The maker of a board: gives places to worker processes, takes back what the dead had in hand, and
/// adds up.
#[derive(Debug)]
pub struct Supervisor {
    pub(super) board: Board,
    /// Who has which place.
    lives: Vec<Option<u32>>,
    last_life: u32,
}

/// A place that is not in the state the call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// There is no such place.
    #[error("there is no place {place}, only {places}")]
    Missing {
        /// The place asked for.
        place: u32,
        /// Number of places.
        places: u32,
    },
    /// A worker has it.
    #[error("place {place} is taken by life {life}")]
    Taken {
        /// The place.
        place: u32,
        /// Who has it.
        life: u32,
    },
    /// No worker has it.
    #[error("place {place} is taken by nobody")]
    Vacant {
        /// The place.
        place: u32,
    },
    /// A record is damaged.
    #[error(transparent)]
    Corrupt(#[from] CorruptRecord),
}

/// What a worker that is gone had in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// The request that it was at: claimed, not done. It is unclaimed again and the first one that the
    /// place's next worker is offered.
    pub unfinished: Option<u32>,
}

/// How far the replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Requests that are done.
    pub done: u32,
    /// Requests in the hand of a worker.
    pub in_hand: u32,
    /// Requests that nobody has.
    pub unclaimed: u32,
}

impl Supervisor {
    /// Makes a board for so many workers and requests.
    ///
    /// # Errors
    /// [`BoardError`]: too large, or the system refuses.
    pub fn create(places: u32, requests: u32) -> Result<Supervisor, BoardError> {
        let board = Board::create(places, requests)?;
        Ok(Supervisor { board, lives: vec![None; places as usize], last_life: 0 })
    }

    /// The descriptor that worker processes inherit, for instance as standard input
    /// (`Stdio::from(file.try_clone()?)`). It is closed on exec otherwise.
    pub fn file(&self) -> &File {
        self.board.memory.file()
    }

    /// Number of requests of the replay.
    pub fn request_count(&self) -> u32 {
        self.board.layout.requests
    }

    /// Gives a place a new life, for a worker process that is started next.
    ///
    /// # Errors
    /// [`PlaceError`]: no such place, or the last worker of it was not recovered.
    pub fn start(&mut self, place: u32) -> Result<(), PlaceError> {
        let places = self.board.layout.places;
        let taken = self.lives.get_mut(place as usize);
        let taken = taken.ok_or(PlaceError::Missing { place, places })?;
        if let Some(life) = *taken {
            return Err(PlaceError::Taken { place, life });
        }
        self.last_life += 1;
        *taken = Some(self.last_life);
        self.board.store(self.board.layout.life(place), self.last_life.into(), Ordering::Relaxed);
        Ok(())
    }

    /// Takes back what a worker had in hand, however it ended. To be called when its process is gone
    /// for certain (it was waited for), or before any was started; then the place can be started anew.
    ///
    /// # Errors
    /// [`PlaceError`]: no such place, nobody in it, a damaged record.
    // r[impl replay.board.recover]
    pub fn recover(&mut self, place: u32) -> Result<Recovery, PlaceError> {
        let places = self.board.layout.places;
        let life = self.lives.get_mut(place as usize);
        let life = life.ok_or(PlaceError::Missing { place, places })?;
        let life = life.take().ok_or(PlaceError::Vacant { place })?;
        let mut unfinished = None;
        for request in 0..self.request_count() {
            let state = self.board.state(request)?;
            let dead = RecordState::Claimed { life };
            if state == dead {
                self.board.change_state(request, dead, RecordState::Unclaimed);
                unfinished = unfinished.or(Some(request));
            }
        }
        let redo = unfinished.or_else(|| self.gap());
        let redo = redo.map_or(0, |request| u64::from(request) + 1);
        self.board.store(self.board.layout.redo(place), redo, Ordering::Relaxed);
        self.board.store(self.board.layout.in_hand(place), 0, Ordering::Relaxed);
        Ok(Recovery { unfinished })
    }

    /// The request that a worker says it works on. A hint: it may be over by now.
    pub fn in_hand(&self, place: u32) -> Option<u32> {
        if place >= self.board.layout.places {
            return None;
        }
        let word = self.board.load(self.board.layout.in_hand(place), Ordering::Relaxed);
        u32::try_from(word.checked_sub(1)?).ok()
    }

    /// How far the replay is. Looks at every record: a word each.
    ///
    /// # Errors
    /// [`CorruptRecord`]: a record says what no process of the replay writes.
    pub fn progress(&self) -> Result<Progress, CorruptRecord> {
        let mut progress = Progress::default();
        for request in 0..self.request_count() {
            match self.board.state(request)? {
                RecordState::Unclaimed => progress.unclaimed += 1,
                RecordState::Claimed { .. } => progress.in_hand += 1,
                RecordState::Done { .. } => progress.done += 1,
            }
        }
        Ok(progress)
    }

    /// What came of each request that is done, by its number.
    ///
    /// # Errors
    /// [`CorruptRecord`]: a record says what no process of the replay writes.
    // r[impl replay.board.finish]
    pub fn outcomes(&self) -> Result<Vec<(u32, RequestOutcome)>, CorruptRecord> {
        let mut outcomes = Vec::new();
        for request in 0..self.request_count() {
            if let RecordState::Done { .. } = self.board.state(request)? {
                outcomes.push((request, self.board.load_outcome(request)));
            }
        }
        Ok(outcomes)
    }

    /// Latencies of all lookups, per key, in nanoseconds. Those of requests that were done over are
    /// among them.
    ///
    /// # Errors
    /// None that is known; the histogram's constructor has one.
    // r[impl replay.board.latency]
    pub fn lookup_latencies(&self) -> Result<Histogram<u64>, CreationError> {
        let layout = self.board.layout;
        self.board.latencies((0..layout.places).map(|place| layout.lookups(place)))
    }

    /// Latencies of all publishing, per key, in nanoseconds. As with lookups.
    ///
    /// # Errors
    /// None that is known; the histogram's constructor has one.
    pub fn publish_latencies(&self) -> Result<Histogram<u64>, CreationError> {
        let layout = self.board.layout;
        self.board.latencies((0..layout.places).map(|place| layout.publishes(place)))
    }

    /// A request behind which the cursor is and that nobody has claimed. It may be just about to be
    /// claimed by a worker that lives; then the offer comes to nothing.
    fn gap(&self) -> Option<u32> {
        let cursor = self.board.load(layout::CURSOR, Ordering::Relaxed);
        let mut gaps = self.board.requests_in(RecordState::Unclaimed);
        gaps.next().filter(|&request| u64::from(request) < cursor)
    }
}
