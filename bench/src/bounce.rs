//! The baseline of everything that two processes share: one cache line that they bounce.
//!
//! Eight words: the first says whose turn it is and is stored last, the other seven are payload,
//! which both sides check. Faster than this two cores cannot exchange 56 bytes.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use onecopy_shm::{Access, Mapping, Word};

use crate::error::{BenchError, Step};
use crate::partner::{Job, Partner, Side, exactly};
use crate::payload::{check_word, reply_word, request_word};
use crate::pin::Cores;
use crate::wait::Patience;

/// Words of a line.
const WORDS: usize = 8;
const LINE_BYTES: u64 = 64;
/// What is said of the baseline.
pub(crate) const TEXT: &str = "a cache line that two processes bounce";

/// Bounces the line with a partner.
pub(crate) struct Bounce {
    partner: Partner,
    asks: Asks,
}

impl Bounce {
    /// Starts the partner.
    pub(crate) fn start(cores: &Cores) -> Result<Bounce, BenchError> {
        let file = shared_memory("bounce", LINE_BYTES)?;
        let asks = Asks { line: Line::new(&file)?, trip: 0 };
        Ok(Bounce { partner: Partner::start(Job::Bounce, cores, &[file.as_fd()])?, asks })
    }

    /// Nanoseconds for each round trip.
    pub(crate) fn measure(&mut self, trips: u64) -> Result<f64, BenchError> {
        self.partner.measure(&mut self.asks, trips)
    }
}

/// Memory without a name.
pub(crate) fn shared_memory(name: &str, size_bytes: u64) -> Result<OwnedFd, BenchError> {
    let file = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)
        .step("make shared memory")?;
    rustix::fs::ftruncate(&file, size_bytes).step("size shared memory")?;
    Ok(file)
}

struct Line {
    turn: Word,
    payload: [Word; WORDS - 1],
}

impl Line {
    fn new(file: &OwnedFd) -> Result<Line, BenchError> {
        let region = Mapping::map(file, LINE_BYTES, Access::ReadWrite)?.region(0, LINE_BYTES)?;
        let words = (0..WORDS as u64).map(|index| region.word(index * 8));
        let [turn, payload @ ..] = exactly::<Word, WORDS>(words.collect::<Result<_, _>>()?)?;
        Ok(Line { turn, payload })
    }

    #[inline]
    fn give(&self, turn: u64, word: impl Fn(usize) -> u64) {
        for (index, place) in self.payload.iter().enumerate() {
            place.store(word(index), Ordering::Relaxed);
        }
        self.turn.store(turn, Ordering::Release);
    }

    #[inline]
    fn take(
        &self,
        turn: u64,
        trip: u64,
        patience: Patience,
        word: impl Fn(usize) -> u64,
    ) -> Result<(), BenchError> {
        patience.poll(trip, || Ok((self.turn.load(Ordering::Acquire) == turn).then_some(())))?;
        for (index, place) in self.payload.iter().enumerate() {
            check_word(trip, index, place.load(Ordering::Relaxed), word(index))?;
        }
        Ok(())
    }
}

struct Asks {
    line: Line,
    trip: u64,
}

impl Side for Asks {
    fn round(&mut self, count: u64, patience: Patience) -> Result<(), BenchError> {
        for _ in 0..count {
            self.trip += 1;
            let trip = self.trip;
            self.line.give(2 * trip - 1, |index| request_word(trip, index));
            self.line.take(2 * trip, trip, patience, |index| reply_word(trip, index))?;
        }
        Ok(())
    }
}

/// The partner's side.
pub(crate) struct Answers {
    line: Line,
    trip: u64,
}

impl Answers {
    pub(crate) fn new(descriptors: &[OwnedFd]) -> Result<Answers, BenchError> {
        let [file] = exactly(descriptors.iter().collect())?;
        Ok(Answers { line: Line::new(file)?, trip: 0 })
    }
}

impl Side for Answers {
    fn round(&mut self, count: u64, patience: Patience) -> Result<(), BenchError> {
        for _ in 0..count {
            self.trip += 1;
            let trip = self.trip;
            self.line.take(2 * trip - 1, trip, patience, |index| request_word(trip, index))?;
            self.line.give(2 * trip, |index| reply_word(trip, index));
        }
        Ok(())
    }
}
