//! The cache for tasks of an async runtime: what waits is a future.

mod batch;
mod pins;
mod publish;

use super::comeback::MayEnd;
use super::direct::Direct;
use super::keys::{decode, deleted};
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
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, little_endian as le};

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
        self.return_if_due();
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
        Answer: FromBytes + Immutable + KnownLayout + Unaligned + Copy,
    {
        one(kind, self.ask_frame(kind, 0, std::slice::from_ref(entry), until).await?)
    }

    /// As many entries as one frame takes of a request that may be asked twice.
    async fn ask_frame<Entry, Answer>(
        &self,
        kind: u8,
        flags: u32,
        entries: &[Entry],
        until: Instant,
    ) -> Result<Vec<Answer>, AskError>
    where
        Entry: IntoBytes + Immutable,
        Answer: FromBytes + Immutable + KnownLayout + Unaligned + Copy,
    {
        loop {
            let guest = self.current();
            match ask_frame_on(&guest, kind, flags, entries, until).await {
                Err(error) if self.came_back(&guest, &error, until).await => {}
                outcome => return outcome,
            }
        }
    }

    /// Before a lookup that may need no host: where there is none any more an attach to the next one is
    /// tried now and then. Nobody waits for it.
    // r[impl kv.tasks.returns]
    #[inline]
    fn return_if_due(&self) {
        if self.cache.guest.is_known_over()
            && let Some(turn) = self.cache.turn_to_return()
            // Outside a runtime what the index tells is told all the same.
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let cache = self.cache.clone();
            runtime.spawn_blocking(move || cache.return_in_passing(turn));
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

/// A request of as many entries as one frame takes.
async fn submit<Entry: IntoBytes + Immutable>(
    guest: &AsyncGuest,
    kind: u8,
    flags: u32,
    entries: &[Entry],
    until: Instant,
) -> Result<Pending, CallError> {
    let head = Head { count: (entries.len() as u32).into(), flags: flags.into() };
    let payload = [head.as_bytes(), entries.as_bytes()].concat();
    guest.submit(kind, &payload, until).await
}

/// What was answered to a request of so many entries.
fn read<Answer>(kind: u8, answer: &[u8], count: usize) -> Result<Vec<Answer>, AskError>
where
    Answer: FromBytes + Immutable + KnownLayout + Unaligned + Copy,
{
    match <[Answer]>::ref_from_bytes(answer) {
        Ok(answers) if answers.len() == count => Ok(answers.to_vec()),
        _ => Err(AskError::AnswerLength {
            kind,
            found_bytes: answer.len(),
            expected_bytes: size_of::<Answer>() * count,
        }),
    }
}

/// The answer to one entry.
fn one<Answer: Copy>(kind: u8, answers: Vec<Answer>) -> Result<Answer, AskError> {
    answers.first().copied().ok_or(AskError::AnswerLength {
        kind,
        found_bytes: 0,
        expected_bytes: size_of::<Answer>(),
    })
}

/// As many entries as one frame takes, on this attach only.
async fn ask_frame_on<Entry, Answer>(
    guest: &AsyncGuest,
    kind: u8,
    flags: u32,
    entries: &[Entry],
    until: Instant,
) -> Result<Vec<Answer>, AskError>
where
    Entry: IntoBytes + Immutable,
    Answer: FromBytes + Immutable + KnownLayout + Unaligned + Copy,
{
    let pending = submit(guest, kind, flags, entries, until).await?;
    read(kind, &guest.answer(pending, until).await?, entries.len())
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
    Answer: FromBytes + Immutable + KnownLayout + Unaligned + Copy,
{
    one(kind, ask_frame_on(guest, kind, 0, std::slice::from_ref(entry), until).await?)
}
