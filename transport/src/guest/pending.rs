//! The requests in flight: a dense table, so that an answer finds its request by its id.
//!
//! ```text
//!  23            12 11             0
//! +----------------+----------------+
//! |   generation   |     index      |   request id; generation from 1, so that no id is 0
//! +----------------+----------------+
//! ```

use super::error::LinkError;
use super::magazine::GrantedSlot;
use super::options::REQUESTS_MAX;
use crate::wire::ErrorWords;

const INDEX_BITS: u32 = REQUESTS_MAX.trailing_zeros();
const GENERATION_MAX: u32 = (1 << (24 - INDEX_BITS)) - 1;

/// Bytes of an answer that need no memory of their own.
const SHORT_BYTES: usize = 64;

/// The bytes of an answer: short ones in place, longer ones on the heap.
#[derive(Clone, Debug)]
pub(super) struct AnswerBytes {
    length: usize,
    short: [u8; SHORT_BYTES],
    long: Vec<u8>,
}

impl AnswerBytes {
    /// Bytes that `fill` writes into a place of `length` bytes.
    pub(super) fn filled(length: usize, fill: impl FnOnce(&mut [u8])) -> AnswerBytes {
        let mut bytes = AnswerBytes { length, short: [0; SHORT_BYTES], long: Vec::new() };
        if length <= SHORT_BYTES {
            fill(&mut bytes.short[..length]);
        } else {
            bytes.long.resize(length, 0);
            fill(&mut bytes.long);
        }
        bytes
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        if self.length <= SHORT_BYTES { &self.short[..self.length] } else { &self.long }
    }
}

/// What came back for a request.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// The payload travelled in the frame.
    Inline(AnswerBytes),
    /// The payload stands in a slot, which is this guest's to give back.
    Slot { granted: GrantedSlot, length_bytes: u64 },
    /// The host refused.
    Refused(ErrorWords),
}

/// Where a request stands.
#[derive(Debug)]
enum Phase {
    /// The entry is free; the next free one, if any.
    Free { next: Option<u32> },
    /// Sent, and somebody will take the answer.
    Waiting,
    /// Sent, and nobody will.
    Abandoned,
    /// The answer is here.
    Answered(Answer),
}

#[derive(Debug)]
struct Entry {
    generation: u32,
    kind: u8,
    /// The slot that the request's payload stands in, ours again when the answer comes.
    request_slot: Option<GrantedSlot>,
    phase: Phase,
}

/// An answer has come: what to do with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// Element number of the request.
    pub(super) index: u32,
    /// Whether nobody waits for it.
    pub(super) abandoned: bool,
    /// The slot that the request came in.
    pub(super) request_slot: Option<GrantedSlot>,
}

/// All requests in flight of one link.
#[derive(Debug)]
pub(super) struct PendingTable {
    entries: Vec<Entry>,
    free: Option<u32>,
    in_flight: u32,
    requests_max: u32,
}

impl PendingTable {
    /// A table for at most `requests_max` requests, 1 to [`REQUESTS_MAX`].
    pub(super) fn new(requests_max: u32) -> PendingTable {
        let requests_max = requests_max.clamp(1, REQUESTS_MAX);
        PendingTable { entries: Vec::new(), free: None, in_flight: 0, requests_max }
    }

    /// Whether another request can be opened.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight < self.requests_max
    }

    /// Requests without an answer that was taken.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Requests whose answer somebody is to take. One that was abandoned holds nothing of its asker's.
    pub(super) fn awaited(&self) -> u32 {
        let is_awaited =
            |entry: &&Entry| matches!(entry.phase, Phase::Waiting | Phase::Answered(_));
        self.entries.iter().filter(is_awaited).count() as u32
    }

    /// Takes an entry for a request; `None` when there is no room.
    // r[impl guest.request-id]
    pub(super) fn open(&mut self, kind: u8, request_slot: Option<GrantedSlot>) -> Option<u32> {
        if !self.has_room() {
            return None;
        }
        let index = match self.free {
            Some(index) => index,
            None => self.add_entry()?,
        };
        let entry = self.entries.get_mut(index as usize)?;
        if let Phase::Free { next } = entry.phase {
            self.free = next;
        }
        entry.kind = kind;
        entry.request_slot = request_slot;
        entry.phase = Phase::Waiting;
        self.in_flight += 1;
        Some(entry.generation << INDEX_BITS | index)
    }

    fn add_entry(&mut self) -> Option<u32> {
        let index = u32::try_from(self.entries.len()).ok()?;
        let phase = Phase::Free { next: None };
        self.entries.push(Entry { generation: 1, kind: 0, request_slot: None, phase });
        Some(index)
    }

    /// Whether the answer to this request is here.
    pub(super) fn is_answered(&self, request_id: u32) -> bool {
        self.entry(request_id).is_some_and(|entry| matches!(entry.phase, Phase::Answered(_)))
    }

    /// Checks that an answer belongs to a request in flight.
    // r[impl guest.answer.checked]
    pub(super) fn match_answer(
        &mut self,
        request_id: u32,
        kind: u8,
    ) -> Result<Expected, LinkError> {
        let index = request_id & (REQUESTS_MAX - 1);
        let entry = self
            .entries
            .get_mut(index as usize)
            .filter(|entry| entry.generation == request_id >> INDEX_BITS)
            .ok_or(LinkError::UnknownRequest { request_id, kind })?;
        let abandoned = match entry.phase {
            Phase::Waiting => false,
            Phase::Abandoned => true,
            Phase::Answered(_) => return Err(LinkError::AnsweredTwice { request_id, kind }),
            Phase::Free { .. } => return Err(LinkError::UnknownRequest { request_id, kind }),
        };
        if entry.kind != kind {
            let expected = entry.kind;
            return Err(LinkError::WrongKind { request_id, found: kind, expected });
        }
        Ok(Expected { index, abandoned, request_slot: entry.request_slot.take() })
    }

    /// Puts the answer to a request that [`PendingTable::match_answer`] found where its asker takes it.
    pub(super) fn answer(&mut self, index: u32, answer: Answer) {
        if let Some(entry) = self.entries.get_mut(index as usize) {
            entry.phase = Phase::Answered(answer);
        }
    }

    /// Takes the answer, if it is here; the request is over then.
    pub(super) fn take(&mut self, request_id: u32) -> Option<Answer> {
        if !self.is_answered(request_id) {
            return None;
        }
        match self.close(request_id & (REQUESTS_MAX - 1)) {
            Some(Phase::Answered(answer)) => Some(answer),
            _ => None,
        }
    }

    /// Says that nobody waits for this request any more. An answer that is here already comes back,
    /// for what it holds to be given back.
    pub(super) fn abandon(&mut self, request_id: u32) -> Option<Answer> {
        if self.is_answered(request_id) {
            return self.take(request_id);
        }
        if let Some(entry) = self.entry_mut(request_id)
            && matches!(entry.phase, Phase::Waiting)
        {
            entry.phase = Phase::Abandoned;
        }
        None
    }

    /// Loses the answers that stand in a slot and that nobody has taken: their slots are the host's
    /// again.
    pub(super) fn lose_slots(&mut self) {
        let in_slot = |entry: &Entry| matches!(entry.phase, Phase::Answered(Answer::Slot { .. }));
        let lost: Vec<u32> = (0..)
            .zip(&self.entries)
            .filter(|(_, entry)| in_slot(entry))
            .map(|(at, _)| at)
            .collect();
        lost.into_iter().for_each(|index| self.close_index(index));
    }

    /// Frees the entry at `index`, which is in use.
    pub(super) fn close_index(&mut self, index: u32) {
        let _ = self.close(index);
    }

    /// Takes back a request that was not sent.
    pub(super) fn forget(&mut self, request_id: u32) {
        if self.entry(request_id).is_some() {
            self.close_index(request_id & (REQUESTS_MAX - 1));
        }
    }

    /// Ends a request that still waits and whose answer its asker has in hand.
    #[inline]
    pub(super) fn answered_directly(&mut self, request_id: u32, kind: u8) -> bool {
        let waits = self.entry(request_id).is_some_and(|entry| {
            matches!(entry.phase, Phase::Waiting)
                && entry.kind == kind
                && entry.request_slot.is_none()
        });
        if waits {
            self.close_index(request_id & (REQUESTS_MAX - 1));
        }
        waits
    }

    fn close(&mut self, index: u32) -> Option<Phase> {
        let entry = self.entries.get_mut(index as usize)?;
        let phase = std::mem::replace(&mut entry.phase, Phase::Free { next: self.free });
        entry.generation = entry.generation % GENERATION_MAX + 1;
        entry.request_slot = None;
        self.free = Some(index);
        self.in_flight = self.in_flight.saturating_sub(1);
        Some(phase)
    }

    fn entry(&self, request_id: u32) -> Option<&Entry> {
        let entry = self.entries.get((request_id & (REQUESTS_MAX - 1)) as usize)?;
        (entry.generation == request_id >> INDEX_BITS).then_some(entry)
    }

    fn entry_mut(&mut self, request_id: u32) -> Option<&mut Entry> {
        let entry = self.entries.get_mut((request_id & (REQUESTS_MAX - 1)) as usize)?;
        (entry.generation == request_id >> INDEX_BITS).then_some(entry)
    }
}

#[cfg(test)]
mod tests;
