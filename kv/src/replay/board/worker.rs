//! The end of the board that a worker process holds.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use super::record::{CorruptRecord, RecordState, RequestOutcome};
use super::{Board, BoardError, layout};

/// One life of a worker: takes requests one at a time and says what came of them.
#[derive(Debug)]
pub struct Worker {
    board: Board,
    place: u32,
    life: u32,
    in_hand: Option<u32>,
}

/// Why an outcome was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FinishError {
    /// The request was given to somebody else, because this process was taken for dead, or was never
    /// taken.
    #[error("request {request} is not in the hand of life {life}")]
    NotMine {
        /// Number of the request.
        request: u32,
        /// Who says that it is done.
        life: u32,
    },
    /// The record is damaged.
    #[error(transparent)]
    Corrupt(#[from] CorruptRecord),
}

impl Worker {
    /// Takes the place of a worker on the board behind this descriptor, which was inherited from the
    /// supervisor. The place must have been started for this process.
    ///
    /// # Errors
    /// [`BoardError`]: no board, another version, no such place.
    // r[impl replay.board.open]
    pub fn join(file: impl AsFd, place: u32) -> Result<Worker, BoardError> {
        let board = Board::open(file)?;
        let places = board.layout.places;
        let life = if place < places {
            board.load(board.layout.life(place), Ordering::Relaxed)
        } else {
            0
        };
        if life == 0 {
            return Err(BoardError::NotStarted { place, places });
        }
        Ok(Worker { board, place, life: life as u32, in_hand: None })
    }

    /// The place of this worker, from 0.
    pub fn place(&self) -> u32 {
        self.place
    }

    /// Number of requests of the replay.
    pub fn request_count(&self) -> u32 {
        self.board.layout.requests
    }

    /// The next request to do: first what the place's last worker left, then what comes next, then
    /// any that is still unclaimed. A request that was taken and not finished is given again. `None`:
    /// every request is done or in somebody's hand, and if that one dies the supervisor finds out.
    // r[impl replay.board.claim]
    // r[impl replay.board.redo]
    pub fn take(&mut self) -> Option<u32> {
        if self.in_hand.is_some() {
            return self.in_hand;
        }
        self.in_hand = self.claim_redo().or_else(|| self.claim_next()).or_else(|| self.claim_gap());
        step("take.end");
        self.in_hand
    }

    /// Says that work on the request in hand begins; until then the worker may wait for its arrival.
    // r[impl replay.board.begin]
    pub fn begin(&self) {
        self.show_in_hand(self.in_hand.map_or(0, |request| u64::from(request) + 1));
        step("begin.end");
    }

    /// Says what came of the request in hand. From here on it counts, once.
    ///
    /// # Errors
    /// [`FinishError`]; the outcome does not count.
    // r[impl replay.board.finish]
    pub fn finish(&mut self, request: u32, outcome: &RequestOutcome) -> Result<(), FinishError> {
        let life = self.life;
        let mine = RecordState::Claimed { life };
        // A process that was wrongly taken for dead must not write over its successor's outcome.
        if self.in_hand != Some(request) || self.board.state(request)? != mine {
            return Err(FinishError::NotMine { request, life });
        }
        self.board.store_outcome(request, outcome);
        step("finish.stored");
        if !self.board.change_state(request, mine, RecordState::Done { life }) {
            return Err(FinishError::NotMine { request, life });
        }
        step("finish.done");
        self.in_hand = None;
        self.show_in_hand(0);
        step("finish.end");
        Ok(())
    }

    /// Counts the lookup of one key.
    pub fn count_lookup(&self, latency_ns: u64) {
        self.board.count_latency(self.board.layout.lookups(self.place), latency_ns);
    }

    /// Counts the publishing of one key.
    pub fn count_publish(&self, latency_ns: u64) {
        self.board.count_latency(self.board.layout.publishes(self.place), latency_ns);
    }

    fn claim_redo(&self) -> Option<u32> {
        // No edge: whether it is still unclaimed is decided by the claim.
        let redo = self.board.load(self.board.layout.redo(self.place), Ordering::Relaxed);
        let request = u32::try_from(redo.checked_sub(1)?).ok()?;
        step("take.redo");
        self.claim(request)
    }

    fn claim_next(&self) -> Option<u32> {
        loop {
            step("take.cursor");
            let next = self.board.memory.count_up(layout::CURSOR);
            let request = u32::try_from(next).ok().filter(|&next| next < self.request_count())?;
            step("take.counted");
            if let Some(request) = self.claim(request) {
                return Some(request);
            }
        }
    }

    fn claim_gap(&self) -> Option<u32> {
        step("take.gap");
        let mut gaps = self.board.requests_in(RecordState::Unclaimed);
        gaps.find_map(|request| self.claim(request))
    }

    /// Claims a request, if nobody has it.
    fn claim(&self, request: u32) -> Option<u32> {
        let mine = RecordState::Claimed { life: self.life };
        (request < self.request_count()
            && self.board.change_state(request, RecordState::Unclaimed, mine))
        .then_some(request)
    }

    /// Shows the supervisor what this worker is at. Nothing rests on it.
    fn show_in_hand(&self, value: u64) {
        self.board.store(self.board.layout.in_hand(self.place), value, Ordering::Relaxed);
    }
}

/// A place between two stores that other processes see: tests end or stop a worker here.
#[inline(always)]
pub(super) fn step(_name: &'static str) {
    #[cfg(test)]
    super::tests::at_step(_name);
}
