//! Reserve, fill, publish.

use super::Cache;
use crate::checksum::Checksum;
use crate::error::{AskError, PublishError};
use crate::key::Key;
use crate::protocol::{PublishAnswer, PublishEntry, PublishOutcome, kind};
use onecopy_shm::SlotRef;
use onecopy_transport::guest::{CallError, Reservation, ReserveError};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

/// A slot that is this guest's to fill. Derefs to its bytes, which are not zeroed. Dropped without
/// being published it goes back to the guest's stock.
pub struct Fill {
    reservation: Reservation,
    cache: Cache,
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
        let reservation = self.guest.reserve(size_bytes, until)?;
        Ok(Fill { reservation, cache: self.clone() })
    }

    /// So many slots of at least this many bytes each; all or none.
    ///
    /// # Errors
    /// [`ReserveError`].
    pub fn reserve_many(&self, size_bytes: u64, count: u32) -> Result<Vec<Fill>, ReserveError> {
        let reservations = self.guest.reserve_many(size_bytes, count, self.until())?;
        let fill = |reservation| Fill { reservation, cache: self.clone() };
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
        let mut outcomes: Vec<Option<PublishError>> = Vec::with_capacity(blocks.len());
        let mut sent: Vec<(Fill, PublishEntry)> = Vec::with_capacity(blocks.len());
        for block in blocks {
            match block.fill.entry(self, &block.key, block.length_bytes, block.options) {
                Ok(entry) => {
                    sent.push((block.fill, entry));
                    outcomes.push(None);
                }
                Err(error) => outcomes.push(Some(error)),
            }
        }
        let mut answers = self.publish_frames(sent, until).into_iter();
        let late = || Err(PublishError::Ask(no_answer()));
        outcomes
            .into_iter()
            .map(|error| match error {
                Some(error) => Err(error),
                None => answers.next().unwrap_or_else(late),
            })
            .collect()
    }

    fn publish_frames(
        &self,
        mut blocks: Vec<(Fill, PublishEntry)>,
        until: Instant,
    ) -> Vec<Result<Published, PublishError>> {
        let mut outcomes = Vec::with_capacity(blocks.len());
        let frame_blocks = match self.entries_max(kind::PUBLISH) {
            Ok(count) => count,
            Err(error) => return blocks.iter().map(|_| Err(error.clone().into())).collect(),
        };
        while !blocks.is_empty() {
            let rest = blocks.split_off(frame_blocks.min(blocks.len()));
            let entries: Vec<PublishEntry> = blocks.iter().map(|(_, entry)| *entry).collect();
            let answers = self.ask_frame::<_, PublishAnswer>(kind::PUBLISH, 0, &entries, until);
            let consumed = is_consumed(&answers);
            for (fill, _) in blocks {
                fill.settle(consumed);
            }
            match answers {
                Ok(answers) => {
                    outcomes.extend(answers.into_iter().zip(&entries).map(|(a, e)| outcome(a, e)));
                }
                Err(error) => {
                    let failed = entries.len() + rest.len();
                    outcomes.extend((0..failed).map(|_| Err(error.clone().into())));
                    break;
                }
            }
            blocks = rest;
        }
        outcomes
    }
}

impl Fill {
    /// Bytes of the slot: at least what was asked for.
    pub fn slot_bytes(&self) -> u64 {
        self.reservation.slot_bytes()
    }

    /// Which slot it is.
    pub fn slot(&self) -> SlotRef {
        self.reservation.slot()
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
        // The attach that has the slot now: it may have been taken over.
        let cache = Cache { guest: self.cache.guest.latest(), ..self.cache.clone() };
        let entry = self.entry(&cache, key, length_bytes, options)?;
        let answer = cache.ask_one::<_, PublishAnswer>(kind::PUBLISH, 0, &entry, until);
        self.settle(is_consumed(&answer));
        outcome(answer?, &entry)
    }

    fn entry(
        &self,
        cache: &Cache,
        key: &Key,
        length_bytes: u64,
        options: PublishOptions,
    ) -> Result<PublishEntry, PublishError> {
        let slot_bytes = self.slot_bytes();
        let payload = usize::try_from(length_bytes).ok().and_then(|length| self.get(..length));
        let payload = payload.ok_or(PublishError::TooLong { length_bytes, slot_bytes })?;
        let checksum = if options.checksum { Checksum::of(payload).to_word() } else { 0 };
        let slot = self.reservation.slot_for(&cache.guest);
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
    fn settle(self, consumed: bool) {
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
fn is_consumed<Answer>(answer: &Result<Answer, AskError>) -> bool {
    match answer {
        Err(AskError::Call(CallError::Refused(_) | CallError::UnknownAnswer { .. })) => false,
        Err(AskError::Call(error)) => error.request_sent(),
        _ => true,
    }
}

fn outcome(answer: PublishAnswer, entry: &PublishEntry) -> Result<Published, PublishError> {
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
