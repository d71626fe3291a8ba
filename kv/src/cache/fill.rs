//! Reserve, fill, publish.

use super::Cache;
use crate::checksum::Checksum;
use crate::error::{AskError, PublishError};
use crate::key::Key;
use crate::protocol::{PublishAnswer, PublishEntry, PublishOutcome, kind, lookup_answer};
use onecopy_shm::copy::copy_in;
use onecopy_shm::{SlotRef, copy_shared};
use onecopy_transport::guest::{CallError, Guest, Reservation, ReserveError};
use std::collections::VecDeque;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

/// A slot that is this guest's to fill. Derefs to its bytes, which are not zeroed. Dropped without
/// being published it goes back to the guest's stock.
pub struct Fill {
    reservation: Reservation,
    pub(super) cache: Cache,
}

/// How a block is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishOptions {
    /// How long it may be found, in whole seconds, rounded up; without end by default. It lives at
    /// least this long and less than a second longer, pinned or not.
    pub ttl: Option<Duration>,
    /// Whether to keep a checksum of the payload beside it.
    pub checksum: bool,
}

/// What became of a block whose key can be found now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// It is the one that is found.
    First {
        /// Where it stands.
        slot: SlotRef,
    },
    /// Another writer was first: that one's block is found, this one is gone and its slot free.
    AlreadyThere {
        /// Where the other one stands.
        slot: SlotRef,
    },
}

impl Published {
    /// Whether this block is the one that is found.
    pub fn is_first(self) -> bool {
        matches!(self, Published::First { .. })
    }

    /// Where the block stands that is found.
    pub fn slot(self) -> SlotRef {
        match self {
            Published::First { slot } | Published::AlreadyThere { slot } => slot,
        }
    }
}

/// One block of a batch to publish.
#[derive(Debug)]
pub struct ToPublish {
    /// Its slot, filled.
    pub fill: Fill,
    /// Its name.
    pub key: Key,
    /// Bytes of it, from the start of the slot.
    pub length_bytes: u64,
    /// How.
    pub options: PublishOptions,
}

impl Cache {
    /// A slot of at least this many bytes, to be filled and published. 0 is a size too.
    ///
    /// # Errors
    /// [`ReserveError`].
    pub fn reserve(&self, size_bytes: u64) -> Result<Fill, ReserveError> {
        self.reserve_until(size_bytes, self.until())
    }

    pub(super) fn reserve_until(
        &self,
        size_bytes: u64,
        until: Instant,
    ) -> Result<Fill, ReserveError> {
        let reservation = self.repeatedly(until, |guest| guest.reserve(size_bytes, until))?;
        Ok(Fill::new(reservation, self.clone()))
    }

    /// So many slots of at least this many bytes each; all or none.
    ///
    /// # Errors
    /// [`ReserveError`].
    pub fn reserve_many(&self, size_bytes: u64, count: u32) -> Result<Vec<Fill>, ReserveError> {
        let until = self.until();
        let reservations =
            self.repeatedly(until, |guest| guest.reserve_many(size_bytes, count, until))?;
        let fill = |reservation| Fill::new(reservation, self.clone());
        Ok(reservations.into_iter().map(fill).collect())
    }

    /// Publishes each of these blocks, in order: of two with one key the first is published and
    /// the second is [`Published::AlreadyThere`]. An answer that did not come is an error of each
    /// block that it was for; blocks before it have been published all the same.
    pub fn publish_many(&self, blocks: Vec<ToPublish>) -> Vec<Result<Published, PublishError>> {
        self.publish_until(blocks, self.until())
    }

    pub(super) fn publish_until(
        &self,
        blocks: Vec<ToPublish>,
        until: Instant,
    ) -> Vec<Result<Published, PublishError>> {
        let mut outcomes = Outcomes(blocks.iter().map(|_| None).collect());
        let mut waiting: VecDeque<Waiting> = VecDeque::with_capacity(blocks.len());
        let guest = self.current();
        for (index, block) in blocks.into_iter().enumerate() {
            match block.fill.entry(&guest, &block.key, block.length_bytes, block.options) {
                Ok(entry) => waiting.push_back(Waiting { index, fill: block.fill, entry }),
                Err(error) => outcomes.set(index, Err(error)),
            }
        }
        drop(guest);
        self.publish_waiting(waiting, &mut outcomes, until);
        outcomes.all()
    }

    fn publish_waiting(
        &self,
        mut waiting: VecDeque<Waiting>,
        outcomes: &mut Outcomes,
        until: Instant,
    ) {
        while !waiting.is_empty() {
            let guest = self.current();
            let frame_blocks = match self.entries_max_on(&guest, kind::PUBLISH) {
                Ok(count) => count.min(waiting.len()),
                Err(error) => return outcomes.fail(waiting, &error),
            };
            let sent: Vec<Waiting> = waiting.drain(..frame_blocks).collect();
            let entries: Vec<PublishEntry> = sent.iter().map(|block| block.entry).collect();
            let answers = self.ask_frame_on(&guest, kind::PUBLISH, 0, &entries, until);
            match answers {
                Err(error) if self.came_back(&guest, &error, until) => {
                    for block in sent.into_iter().rev() {
                        self.after_restart(block, &mut waiting, outcomes, &error, until);
                    }
                }
                Err(error) => {
                    let consumed = is_consumed::<()>(&Err(error.clone()));
                    for Waiting { index, fill, .. } in sent {
                        fill.settle(consumed);
                        outcomes.set(index, Err(error.clone().into()));
                    }
                    return outcomes.fail(waiting, &error);
                }
                Ok(answers) => {
                    for (Waiting { index, fill, entry }, answer) in sent.into_iter().zip(answers) {
                        fill.settle(true);
                        outcomes.set(index, outcome(answer, &entry));
                    }
                }
            }
        }
    }

    /// The host went away with this block: it is published again, or was carried out before.
    fn after_restart(
        &self,
        block: Waiting,
        waiting: &mut VecDeque<Waiting>,
        outcomes: &mut Outcomes,
        error: &AskError,
        until: Instant,
    ) {
        if block.fill.is_of(&self.current()) {
            return waiting.push_front(block);
        }
        let found = self.find_published(&block.entry, until);
        outcomes.set(block.index, found.ok_or(error.clone().into()));
    }

    /// What became of a publish that the host carried out before it went away, as far as it shows.
    // r[impl kv.reattach.publish]
    pub(super) fn find_published(&self, entry: &PublishEntry, until: Instant) -> Option<Published> {
        let word = self.ask_one(kind::LOOKUP, 0, &entry.key, until).ok()?;
        let slot = lookup_answer(word)?;
        Some(match SlotRef::from_u64(entry.slot.get()) == Some(slot) {
            true => Published::First { slot },
            false => Published::AlreadyThere { slot },
        })
    }
}

/// A block of a batch that was not published yet.
struct Waiting {
    index: usize,
    fill: Fill,
    entry: PublishEntry,
}

/// What became of each block of a batch.
struct Outcomes(Vec<Option<Result<Published, PublishError>>>);

impl Outcomes {
    fn set(&mut self, index: usize, outcome: Result<Published, PublishError>) {
        if let Some(place) = self.0.get_mut(index) {
            *place = Some(outcome);
        }
    }

    /// None of these will be published. Their slots go back into stock.
    fn fail(&mut self, waiting: VecDeque<Waiting>, error: &AskError) {
        for block in waiting {
            self.set(block.index, Err(error.clone().into()));
        }
    }

    fn all(self) -> Vec<Result<Published, PublishError>> {
        let late = || Err(PublishError::Ask(no_answer()));
        self.0.into_iter().map(|outcome| outcome.unwrap_or_else(late)).collect()
    }
}

impl Fill {
    pub(super) fn new(reservation: Reservation, cache: Cache) -> Fill {
        Fill { reservation, cache }
    }

    /// Bytes of the slot: at least what was asked for.
    pub fn slot_bytes(&self) -> u64 {
        self.reservation.slot_bytes()
    }

    /// Which slot it is.
    pub fn slot(&self) -> SlotRef {
        self.reservation.slot()
    }

    /// Copies these bytes to the start of the slot, as `store` does. One of 16 MiB or more goes past the
    /// processor's caches where it can.
    ///
    /// # Errors
    /// [`PublishError::TooLong`]: more bytes than the slot has. Nothing was copied.
    // r[impl kv.copy_in]
    // r[impl crash.s5]
    pub fn copy_from(&mut self, payload: &[u8]) -> Result<(), PublishError> {
        let (length_bytes, slot_bytes) = (payload.len() as u64, self.slot_bytes());
        let room = self.get_mut(..payload.len());
        let room = room.ok_or(PublishError::TooLong { length_bytes, slot_bytes })?;
        copy_shared!("slot.fill.half", room, payload, copy_in);
        Ok(())
    }

    /// Publishes the first `length_bytes` bytes under this key. From then on they never change.
    ///
    /// # Errors
    /// [`PublishError`]. The slot is given up in any case.
    // r[impl kv.first_writer]
    pub fn publish(
        self,
        key: &Key,
        length_bytes: u64,
        options: PublishOptions,
    ) -> Result<Published, PublishError> {
        let until = self.cache.until();
        self.publish_until(key, length_bytes, options, until)
    }

    pub(super) fn publish_until(
        self,
        key: &Key,
        length_bytes: u64,
        options: PublishOptions,
        until: Instant,
    ) -> Result<Published, PublishError> {
        let cache = self.cache.clone();
        loop {
            let guest = cache.current();
            let entry = self.entry(&guest, key, length_bytes, options)?;
            let answer = cache.ask_one_on(&guest, kind::PUBLISH, 0, &entry, until);
            let error = match answer {
                Err(error) if cache.came_back(&guest, &error, until) => error,
                answer => {
                    self.settle(is_consumed(&answer));
                    return outcome(answer?, &entry);
                }
            };
            if !self.is_of(&cache.current()) {
                return cache.find_published(&entry, until).ok_or(error.into());
            }
        }
    }

    /// Whether the slot is this guest's to publish. After a restart of the host it is not, if the host
    /// before has carried a publish out.
    pub(super) fn is_of(&self, guest: &Guest) -> bool {
        self.reservation.slot_for(guest).is_ok()
    }

    pub(super) fn entry(
        &self,
        guest: &Guest,
        key: &Key,
        length_bytes: u64,
        options: PublishOptions,
    ) -> Result<PublishEntry, PublishError> {
        let slot_bytes = self.slot_bytes();
        let payload = usize::try_from(length_bytes).ok().and_then(|length| self.get(..length));
        let payload = payload.ok_or(PublishError::TooLong { length_bytes, slot_bytes })?;
        let checksum = if options.checksum { Checksum::of(payload).to_word() } else { 0 };
        let slot = self.reservation.slot_for(guest);
        let slot = slot.map_err(|stale| AskError::Call(stale.into()))?;
        Ok(PublishEntry {
            slot: slot.to_u64().into(),
            length_bytes: length_bytes.into(),
            checksum: checksum.into(),
            ttl_s: options.ttl_s().into(),
            flags: 0.into(),
            key: *key,
        })
    }

    /// After the request: the slot is the host's, or (refused as a whole) still this guest's.
    pub(super) fn settle(self, consumed: bool) {
        if consumed {
            self.reservation.into_slot();
        }
    }
}

impl PublishOptions {
    /// Seconds as they travel: rounded up, at least 1, 0 for without end.
    // r[impl kv.ttl_rounding]
    fn ttl_s(self) -> u32 {
        let Some(ttl) = self.ttl else { return 0 };
        let seconds = ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0));
        u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
    }
}

/// Whether the slots of a request are no longer the guest's. A request that was refused as a whole
/// consumed nothing. One whose answer did not come may have: the slots are left to the host, which
/// takes back what it did not get when this guest ends.
// r[impl kv.refused_keeps]
pub(super) fn is_consumed<Answer>(answer: &Result<Answer, AskError>) -> bool {
    match answer {
        Err(AskError::Call(CallError::Refused(_) | CallError::UnknownAnswer { .. })) => false,
        Err(AskError::Call(error)) => error.request_sent(),
        _ => true,
    }
}

pub(super) fn outcome(
    answer: PublishAnswer,
    entry: &PublishEntry,
) -> Result<Published, PublishError> {
    let code = answer.code.get();
    let unknown = AskError::AnswerCode { kind: kind::PUBLISH, code };
    let slot_of = |word: u64| SlotRef::from_u64(word).ok_or(PublishError::BadSlot { slot: word });
    Err(match answer.decode().ok_or(unknown)? {
        PublishOutcome::Published => {
            return Ok(Published::First { slot: slot_of(entry.slot.get())? });
        }
        PublishOutcome::AlreadyThere { slot } => {
            return Ok(Published::AlreadyThere { slot: slot_of(slot)? });
        }
        PublishOutcome::BadSlot { slot } => PublishError::BadSlot { slot },
        PublishOutcome::TooLong { length_bytes, slot_bytes } => {
            PublishError::TooLong { length_bytes, slot_bytes }
        }
        PublishOutcome::LargerThanCapacity { slot_bytes, capacity_bytes } => {
            PublishError::LargerThanCapacity { slot_bytes, capacity_bytes }
        }
        PublishOutcome::AllPinned { pinned_blocks, pinned_bytes } => {
            PublishError::AllPinned { pinned_blocks, pinned_bytes }
        }
        PublishOutcome::IndexFull { neighbours } => PublishError::IndexFull { neighbours },
    })
}

/// Cannot be: as many outcomes come as blocks were sent.
fn no_answer() -> AskError {
    AskError::AnswerLength { kind: kind::PUBLISH, found_bytes: 0, expected_bytes: 24 }
}

impl Deref for Fill {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.reservation
    }
}

impl DerefMut for Fill {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.reservation
    }
}

impl fmt::Debug for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fill")
            .field("slot", &self.slot())
            .field("slot_bytes", &self.slot_bytes())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onecopy_transport::guest::LinkEnd;
    use onecopy_transport::wire::RequestError;

    // r[verify kv.refused_keeps]
    #[test]
    fn a_request_that_cannot_have_been_carried_out_consumed_nothing() {
        let consumed = |error: CallError| is_consumed::<()>(&Err(AskError::Call(error)));
        assert!(is_consumed(&Ok(())));
        assert!(consumed(CallError::DeadlineExceeded { sent: true }));
        assert!(consumed(CallError::Link(LinkEnd::HostGone)));
        assert!(!consumed(CallError::DeadlineExceeded { sent: false }));
        assert!(!consumed(CallError::Refused(RequestError::WrongRole)));
        assert!(!consumed(CallError::UnknownAnswer { code: 99 }));
    }

    // r[verify kv.ttl_rounding]
    #[test]
    fn a_time_to_live_is_rounded_up_to_seconds() {
        let seconds = |ttl| PublishOptions { ttl, checksum: false }.ttl_s();
        assert_eq!(seconds(None), 0);
        assert_eq!(seconds(Some(Duration::ZERO)), 1);
        assert_eq!(seconds(Some(Duration::from_millis(1))), 1);
        assert_eq!(seconds(Some(Duration::from_secs(3))), 3);
        assert_eq!(seconds(Some(Duration::from_millis(3001))), 4);
        assert_eq!(seconds(Some(Duration::MAX)), u32::MAX);
    }
}
