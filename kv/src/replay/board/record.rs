//! What the board knows about one request.

use std::sync::atomic::Ordering;

use super::Board;

/// Words of a record: its state and the outcome.
pub(super) const RECORD_WORDS: u64 = 8;

/// What came of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestOutcome {
    /// Blocks of the request.
    pub references: u64,
    /// Blocks found before the first miss.
    pub hits: u64,
    /// Time spent on lookups, all keys together, in nanoseconds.
    pub lookup_ns: u64,
    /// Time spent on publishing, all keys together, in nanoseconds.
    pub publish_ns: u64,
    /// Bytes read back and checked.
    pub bytes_verified: u64,
    /// Blocks with a byte that was wrong.
    pub mismatches: u64,
}

/// A state word that no process of the replay stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record of request {request} is damaged: its state is {found:#018x}")]
pub struct CorruptRecord {
    /// Number of the request.
    pub request: u32,
    /// The state word.
    pub found: u64,
}

/// Who has a request. As a word: life << 32 | kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordState {
    Unclaimed,
    Claimed { life: u32 },
    Done { life: u32 },
}

const KIND_CLAIMED: u32 = 1;
const KIND_DONE: u32 = 2;

impl RecordState {
    pub(super) fn to_word(self) -> u64 {
        let (life, kind) = match self {
            RecordState::Unclaimed => (0, 0),
            RecordState::Claimed { life } => (life, KIND_CLAIMED),
            RecordState::Done { life } => (life, KIND_DONE),
        };
        (u64::from(life) << 32) | u64::from(kind)
    }
}

pub(super) fn decode(request: u32, word: u64) -> Result<RecordState, CorruptRecord> {
    let (life, kind) = ((word >> 32) as u32, word as u32);
    match (life, kind) {
        (0, 0) => Ok(RecordState::Unclaimed),
        (1.., KIND_CLAIMED) => Ok(RecordState::Claimed { life }),
        (1.., KIND_DONE) => Ok(RecordState::Done { life }),
        _ => Err(CorruptRecord { request, found: word }),
    }
}

impl Board {
    /// The outcome that stands in a record; whole only if the request is done.
    pub(super) fn load_outcome(&self, request: u32) -> RequestOutcome {
        let first = self.layout.outcome(request);
        // edge: board.done; the caller has seen that the request is done.
        let field = |number| self.load(first + number, Ordering::Relaxed);
        RequestOutcome {
            references: field(0),
            hits: field(1),
            lookup_ns: field(2),
            publish_ns: field(3),
            bytes_verified: field(4),
            mismatches: field(5),
        }
    }

    /// Writes the outcome of a request that this process has claimed.
    pub(super) fn store_outcome(&self, request: u32, outcome: &RequestOutcome) {
        let first = self.layout.outcome(request);
        let fields = [
            outcome.references,
            outcome.hits,
            outcome.lookup_ns,
            outcome.publish_ns,
            outcome.bytes_verified,
            outcome.mismatches,
        ];
        for (word, value) in (first..).zip(fields) {
            super::worker::step("outcome.field");
            // edge: board.done; the state is stored after all of them.
            self.store(word, value, Ordering::Relaxed);
        }
    }
}
