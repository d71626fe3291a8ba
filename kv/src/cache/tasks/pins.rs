//! Pins, for tasks. Each change of them is a task of its own, which comes to its end also when nobody
//! waits for it: this guest's record of its pins is then what the host knows.

use super::{AsyncCache, ask_on};
use crate::cache::keys::{decode, pinned, unpinned};
use crate::error::{AskError, PinError, UnpinError};
use crate::key::Key;
use crate::protocol::{KeyAnswer, KeyOutcome, kind};
use onecopy_transport::guest::{CallError, LinkEnd};
use tokio::task::{JoinHandle, spawn_blocking};

/// A change under way.
struct Changing {
    cache: AsyncCache,
    kind: u8,
    key: Key,
    /// `None` once it was waited for.
    task: Option<JoinHandle<Result<KeyOutcome, AskError>>>,
}

impl AsyncCache {
    /// Keeps the block of this key from being evicted or deleted until it is unpinned as often, or this
    /// guest ends. Returns how often this guest has it pinned now. When the future is dropped meanwhile,
    /// the pin is taken back.
    ///
    /// # Errors
    /// [`PinError`].
    pub async fn pin(&self, key: &Key) -> Result<u32, PinError> {
        pinned(key, Changing::start(self, kind::PIN, key).outcome().await)
    }

    /// Takes one pin of this guest away, also when the future is dropped meanwhile. Returns how often it
    /// still has it pinned.
    ///
    /// # Errors
    /// [`UnpinError`].
    pub async fn unpin(&self, key: &Key) -> Result<u32, UnpinError> {
        unpinned(key, Changing::start(self, kind::UNPIN, key).outcome().await)
    }

    /// When the host goes away meanwhile, its pins are gone with it and those that were noted are
    /// restored, so to ask once more counts once.
    // r[impl kv.tasks.pins]
    async fn change_pins(self, kind: u8, key: Key) -> Result<KeyOutcome, AskError> {
        let until = self.cache.until();
        loop {
            let guest = self.current();
            let answer: KeyAnswer = match ask_on(&guest, kind, &key, until).await {
                Ok(answer) => answer,
                Err(error) if self.came_back(&guest, &error, until).await => continue,
                Err(error) => return Err(error),
            };
            // Which may have to ask the host, and so to wait.
            let (cache, guest) = (self.cache.clone(), guest.guest().clone());
            let note = move || cache.note_pins(&guest, kind, &[key], &[answer], until);
            if spawn_blocking(note).await.unwrap_or(true) {
                return decode(kind, answer);
            }
        }
    }
}

impl Changing {
    fn start(cache: &AsyncCache, kind: u8, key: &Key) -> Changing {
        let task = tokio::spawn(cache.clone().change_pins(kind, *key));
        Changing { cache: cache.clone(), kind, key: *key, task: Some(task) }
    }

    async fn outcome(mut self) -> Result<KeyOutcome, AskError> {
        let outcome = match &mut self.task {
            Some(task) => task.await.ok(),
            None => None,
        };
        self.task = None;
        // Only a runtime that ends ends its tasks.
        outcome.unwrap_or(Err(AskError::Call(CallError::Link(LinkEnd::Detached))))
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        let Some(task) = self.task.take().filter(|_| self.kind == kind::PIN) else { return };
        let (cache, key) = (self.cache.clone(), self.key);
        // Where there is no runtime any more, the guest's end takes its pins away.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Ok(Ok(KeyOutcome::Done { .. })) = task.await
                && let Err(error) = cache.change_pins(kind::UNPIN, key).await
            {
                tracing::warn!(%error, "a pin that nobody waits for was not taken back");
            }
        });
    }
}
