//! Reserve, fill and publish, for tasks.

use super::{AsyncCache, one, read, submit};
use crate::cache::fill::{Fill, is_consumed, outcome};
use crate::cache::{PublishOptions, Published};
use crate::error::{AskError, PublishError};
use crate::key::Key;
use crate::protocol::{PublishAnswer, PublishEntry, kind, lookup_answer};
use onecopy_shm::SlotRef;
use onecopy_transport::guest::{AsyncGuest, ReserveError};
use std::time::Instant;
use zerocopy::little_endian as le;

/// A slot that a request in flight names. Given up meanwhile it is the host's, which carries the request
/// out all the same.
struct Sent(Option<Fill>);

impl Sent {
    fn take(mut self) -> Option<Fill> {
        self.0.take()
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if let Some(fill) = self.0.take() {
            fill.settle(true);
        }
    }
}

impl AsyncCache {
    /// A slot of at least this many bytes, to be filled and published.
    ///
    /// # Errors
    /// [`ReserveError`].
    pub async fn reserve(&self, size_bytes: u64) -> Result<Fill, ReserveError> {
        self.reserve_until(size_bytes, self.cache.until()).await
    }

    /// Publishes the first `length_bytes` bytes of a slot under this key.
    ///
    /// # Errors
    /// [`PublishError`]. The slot is given up in any case.
    pub async fn publish(
        &self,
        fill: Fill,
        key: &Key,
        length_bytes: u64,
        options: PublishOptions,
    ) -> Result<Published, PublishError> {
        self.publish_until(fill, key, length_bytes, options, self.cache.until()).await
    }

    /// Stores a copy of these bytes under this key.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn store(
        &self,
        key: &Key,
        payload: &[u8],
        options: PublishOptions,
    ) -> Result<Published, PublishError> {
        let until = self.cache.until();
        let length_bytes = payload.len() as u64;
        let mut fill = self.reserve_until(length_bytes, until).await?;
        fill.copy_from(payload)?;
        self.publish_until(fill, key, length_bytes, options, until).await
    }

    async fn reserve_until(&self, size_bytes: u64, until: Instant) -> Result<Fill, ReserveError> {
        loop {
            let guest = self.current();
            match guest.reserve(size_bytes, until).await {
                Err(error) if self.came_back(&guest, &error, until).await => {}
                reserved => return reserved.map(|slot| Fill::new(slot, self.cache.clone())),
            }
        }
    }

    // r[impl kv.tasks.publish]
    async fn publish_until(
        &self,
        fill: Fill,
        key: &Key,
        length_bytes: u64,
        options: PublishOptions,
        until: Instant,
    ) -> Result<Published, PublishError> {
        let mut fill = fill;
        loop {
            let guest = self.current();
            let entry = fill.entry(guest.guest(), key, length_bytes, options)?;
            let (sent, answer) = ask_to_publish(&guest, fill, &entry, until).await;
            let (left, answer) = match answer {
                Err(error) if self.came_back(&guest, &error, until).await => {
                    (sent.take(), Err(error))
                }
                answer => {
                    let is_consumed = is_consumed(&answer);
                    sent.take().into_iter().for_each(|fill| fill.settle(is_consumed));
                    return outcome(answer?, &entry);
                }
            };
            match (left, answer) {
                (Some(left), _) if left.is_of(self.current().guest()) => fill = left,
                (_, answer) => return self.find_published(&entry, until, answer).await,
            }
        }
    }

    /// What became of a publish that the host carried out before it went away, as far as it shows.
    async fn find_published(
        &self,
        entry: &PublishEntry,
        until: Instant,
        answer: Result<PublishAnswer, AskError>,
    ) -> Result<Published, PublishError> {
        let word: Result<le::U64, AskError> = self.ask(kind::LOOKUP, &entry.key, until).await;
        match (word.ok().and_then(lookup_answer), answer) {
            (Some(slot), _) if SlotRef::from_u64(entry.slot.get()) == Some(slot) => {
                Ok(Published::First { slot })
            }
            (Some(slot), _) => Ok(Published::AlreadyThere { slot }),
            (None, answer) => outcome(answer?, entry),
        }
    }
}

/// One publish on this attach. Before it is sent a future that is dropped puts the slot back into stock.
async fn ask_to_publish(
    guest: &AsyncGuest,
    fill: Fill,
    entry: &PublishEntry,
    until: Instant,
) -> (Sent, Result<PublishAnswer, AskError>) {
    let pending = match submit(guest, kind::PUBLISH, 0, std::slice::from_ref(entry), until).await {
        Ok(pending) => pending,
        Err(error) => return (Sent(Some(fill)), Err(error.into())),
    };
    let sent = Sent(Some(fill));
    let answer = match guest.answer(pending, until).await {
        Ok(answer) => {
            read(kind::PUBLISH, &answer, 1).and_then(|answers| one(kind::PUBLISH, answers))
        }
        Err(error) => Err(error.into()),
    };
    (sent, answer)
}
