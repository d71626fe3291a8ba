//! The cache for tasks of an async runtime: what waits is a future.

mod pins;
mod publish;

use super::comeback::MayEnd;
use super::direct::Direct;
use super::keys::{decode, deleted, exists};
use super::lookup::TRIES;
use super::{Block, BlockRef, Cache, CacheOptions};
use crate::error::{AskError, AttachCacheError, DeleteError, LookupError};
use crate::key::Key;
use crate::protocol::{Head, KeyAnswer, ReportEntry, kind, lookup_answer};
use onecopy_transport::guest::{AsyncGuest, CallError, LeaseError, Pending, TasksError};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;
use zerocopy::{FromBytes, Immutable, IntoBytes, little_endian as le};

/// Why an attach for tasks failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AttachTasksError {
    /// The attach itself.
    #[error(transparent)]
    Attach(#[from] AttachCacheError),
    /// What tasks need.
    #[error(transparent)]
    Tasks(#[from] TasksError),
    /// The runtime ended meanwhile.
    #[error("the runtime ended before the attach did")]
    RuntimeEnded,
}

/// A [`Cache`] for the tasks of a tokio runtime. Cheap to clone; all clones are one guest, and may be used
/// by any number of tasks at a time.
///
/// Each call ends at the deadline of the handle that it was made from, and comes back after a restart of
/// the host as the calls of [`Cache`] do. A future that is dropped gives its request up: what was sent may
/// still be carried out, as after an error that says so, but holds no slot, lease or pin of this guest.
#[derive(Clone)]
pub struct AsyncCache {
    cache: Cache,
    shared: Arc<Shared>,
}

/// What all handles share.
struct Shared {
    /// The tasks' side of the latest attach.
    guest: Mutex<AsyncGuest>,
    /// One task attaches anew for all.
    coming_back: tokio::sync::Mutex<()>,
}

impl AsyncCache {
    /// Attaches to the segment and checks that its host serves this cache.
    ///
    /// # Errors
    /// [`AttachTasksError`].
    pub async fn attach(options: CacheOptions) -> Result<AsyncCache, AttachTasksError> {
        let attached = spawn_blocking(move || Cache::attach(options)).await;
        let cache = attached.map_err(|_| AttachTasksError::RuntimeEnded)??;
        Ok(AsyncCache::new(cache)?)
    }

    /// A handle over a cache that is attached. To be called in a runtime that has drivers for input and
    /// time.
    ///
    /// # Errors
    /// [`TasksError`].
    pub fn new(cache: Cache) -> Result<AsyncCache, TasksError> {
        let guest = Mutex::new(AsyncGuest::new(cache.guest())?);
        let shared = Shared { guest, coming_back: tokio::sync::Mutex::new(()) };
        Ok(AsyncCache { cache, shared: Arc::new(shared) })
    }

    /// A handle to the same guest whose calls wait at most this long.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> AsyncCache {
        let (cache, shared) = (self.cache.with_deadline(deadline), Arc::clone(&self.shared));
        AsyncCache { cache, shared }
    }

    /// The cache beneath. What searches the index directly does not wait and may be called by tasks; what
    /// else it does blocks.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The block of this key, or `None`. Where this handle's lookups are direct the index is searched
    /// first, and the future is ready at once.
    ///
    /// # Errors
    /// [`LookupError`].
    // r[impl kv.tasks]
    pub async fn lookup(&self, key: &Key) -> Result<Option<Block>, LookupError> {
        let until = self.cache.until();
        let found = self.cache.find_direct(key)?;
        let block = match found {
            Direct::Known(found) => found.map(BlockRef::into_owned),
            Direct::AskHost => self.lookup_asking(key, until).await?,
        };
        match block {
            Some(block) if self.cache.verify => self.verified(block, until).await.map(Some),
            found => Ok(found),
        }
    }

    /// Whether this key is there. That is no use of its block.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn exists(&self, key: &Key) -> Result<bool, AskError> {
        let until = self.cache.until();
        let answer: KeyAnswer = self.ask(kind::EXISTS, key, until).await?;
        exists(decode(kind::EXISTS, answer)?)
    }

    /// Unpublishes the block of this key; `false` when it was not there.
    ///
    /// # Errors
    /// [`DeleteError`].
    pub async fn delete(&self, key: &Key) -> Result<bool, DeleteError> {
        let until = self.cache.until();
        let mut guest = self.current();
        // What must not be asked twice is asked on a new attach when the host went away before.
        if let Some(end) = guest.guest().end()
            && self.came_back(&guest, &CallError::Link(end), until).await
        {
            guest = self.current();
        }
        let answer = ask_on::<_, KeyAnswer>(&guest, kind::DELETE, key, until).await;
        deleted(key, answer.and_then(|answer| decode(kind::DELETE, answer)))
    }

    async fn lookup_asking(&self, key: &Key, until: Instant) -> Result<Option<Block>, LookupError> {
        self.cache.shared.count_asked(1, self.cache.lookup);
        let plain = self.cache.with_verify(false);
        for _ in 0..TRIES {
            let segment = self.cache.current().segment_id();
            let word: le::U64 = self.ask(kind::LOOKUP, key, until).await?;
            let Some(slot) = lookup_answer(word) else { return Ok(None) };
            if let Some(block) = plain.lease(key, slot, segment, until)? {
                return Ok(Some(block.into_owned()));
            }
        }
        Ok(None)
    }

    async fn verified(&self, block: Block, until: Instant) -> Result<Block, LookupError> {
        let verified = block.verify();
        // Zeroes in place of what was cut are no block that was damaged.
        block.check_intact().map_err(LeaseError::Torn)?;
        let Err(corrupt) = verified else { return Ok(block) };
        let entry = ReportEntry { slot: corrupt.slot.to_u64().into(), key: corrupt.key };
        if let Err(error) = self.ask::<_, KeyAnswer>(kind::REPORT, &entry, until).await {
            tracing::warn!(%error, %corrupt, "a corrupt block was not reported");
        }
        Err(LookupError::Corrupt(corrupt))
    }

    /// One entry of a request that may be asked twice.
    async fn ask<Entry, Answer>(
        &self,
        kind: u8,
        entry: &Entry,
        until: Instant,
    ) -> Result<Answer, AskError>
    where
        Entry: IntoBytes + Immutable,
        Answer: FromBytes,
    {
        loop {
            let guest = self.current();
            match ask_on(&guest, kind, entry, until).await {
                Err(error) if self.came_back(&guest, &error, until).await => {}
                outcome => return outcome,
            }
        }
    }

    /// The tasks' side of the attach that requests go to.
    fn current(&self) -> AsyncGuest {
        let mut shared = self.shared.guest.lock().unwrap_or_else(PoisonError::into_inner);
        if !shared.guest().is_superseded() {
            return shared.clone();
        }
        match AsyncGuest::new(self.cache.guest()) {
            Ok(latest) => *shared = latest,
            // Requests on the attach before say that it is over.
            Err(error) => tracing::warn!(%error, "tasks cannot use the new attach"),
        }
        shared.clone()
    }

    /// After an error on this guest: whether there is another attach now to ask on. Attaching blocks, so
    /// that is done elsewhere, by one task for all.
    // r[impl kv.tasks.reattach]
    async fn came_back(&self, guest: &AsyncGuest, error: &impl MayEnd, until: Instant) -> bool {
        let Some(end) = error.link_end() else { return false };
        let (this, guest) = (self.clone(), guest.guest().clone());
        // A task of its own: whoever asks may not be polled, and would keep the others from their turn.
        let attach = async move {
            let turn = timeout_at(until.into(), this.shared.coming_back.lock()).await;
            let Ok(_turn) = turn else { return false };
            let attach = move || this.cache.came_back(&guest, &CallError::Link(end), until);
            spawn_blocking(attach).await.unwrap_or(false)
        };
        tokio::spawn(attach).await.unwrap_or(false)
    }
}

impl fmt::Debug for AsyncCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncCache").field("guest", &self.current()).finish_non_exhaustive()
    }
}

/// A request of one entry.
async fn submit<Entry: IntoBytes + Immutable>(
    guest: &AsyncGuest,
    kind: u8,
    entry: &Entry,
    until: Instant,
) -> Result<Pending, CallError> {
    let head = Head { count: 1.into(), flags: 0.into() };
    let payload = [head.as_bytes(), entry.as_bytes()].concat();
    guest.submit(kind, &payload, until).await
}

/// What was answered to a request of one entry.
fn read<Answer: FromBytes>(kind: u8, answer: &[u8]) -> Result<Answer, AskError> {
    Answer::read_from_bytes(answer).map_err(|_| AskError::AnswerLength {
        kind,
        found_bytes: answer.len(),
        expected_bytes: size_of::<Answer>(),
    })
}

/// One entry, on this attach only.
async fn ask_on<Entry, Answer>(
    guest: &AsyncGuest,
    kind: u8,
    entry: &Entry,
    until: Instant,
) -> Result<Answer, AskError>
where
    Entry: IntoBytes + Immutable,
    Answer: FromBytes,
{
    let pending = submit(guest, kind, entry, until).await?;
    read(kind, &guest.answer(pending, until).await?)
}
