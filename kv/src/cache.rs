//! The cache as an engine uses it: find blocks and read them in place, fill slots and publish them.

use crate::error::{AskError, AttachCacheError};
use crate::protocol::{SERVICE_ID, kind};
use crate::stats::CacheStats;
use onecopy_transport::guest::{AttachError, Guest, GuestOptions};
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, little_endian as le};

mod ask;
mod block;
mod fill;
mod keys;
mod lookup;
mod store;
#[cfg(test)]
mod tests;

pub use block::Block;
pub use fill::{Fill, PublishOptions, Published, ToPublish};

/// The longest that a deadline may lie ahead: long enough to mean "without end", and never a
/// point in time that the clock does not have.
const DEADLINE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// How to attach.
#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// Where the segment is, and as what to attach.
    pub guest: GuestOptions,
    /// How long any call waits at most. Default: 5 s. See [`Cache::with_deadline`].
    pub deadline: Duration,
    /// Whether lookups check the payload of blocks that have a checksum. Default: no.
    pub verify: bool,
}

impl CacheOptions {
    /// Defaults, with these options for the guest.
    pub fn new(guest: GuestOptions) -> CacheOptions {
        CacheOptions { guest, deadline: Duration::from_secs(5), verify: false }
    }
}

/// A handle to the cache. Cheap to clone; all clones are one guest.
///
/// Every call waits at most as long as the handle's deadline says, the whole of a batch included.
#[derive(Clone)]
pub struct Cache {
    guest: Guest,
    deadline: Duration,
    verify: bool,
}

impl Cache {
    /// Attaches to the segment and checks that its host serves this cache.
    ///
    /// # Errors
    /// [`AttachCacheError`].
    pub fn attach(options: CacheOptions) -> Result<Cache, AttachCacheError> {
        let CacheOptions { guest, deadline, verify } = options;
        Cache::new(Guest::attach(guest)?)
            .map(|cache| Cache { verify, ..cache.with_deadline(deadline) })
    }

    /// A handle over a guest that is attached already.
    ///
    /// # Errors
    /// [`AttachCacheError::WrongService`].
    // r[impl kv.service_id]
    pub fn new(guest: Guest) -> Result<Cache, AttachCacheError> {
        let found = guest.geometry().service_id;
        if found != SERVICE_ID {
            return Err(AttachCacheError::WrongService { found, expected: SERVICE_ID });
        }
        Ok(Cache { guest, deadline: Duration::from_secs(5), verify: false })
    }

    /// A handle to the same guest whose calls wait at most this long.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Cache {
        Cache { deadline: deadline.min(DEADLINE_MAX), ..self.clone() }
    }

    /// A handle to the same guest whose lookups check payloads, or do not.
    #[must_use]
    pub fn with_verify(&self, verify: bool) -> Cache {
        Cache { verify, ..self.clone() }
    }

    /// The guest beneath: where the pool is mapped, growth, ping, detach.
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// A handle with the same options over a new attach, after the host went away and came back.
    /// Blocks stay readable; pins ended with the old attach.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn reattach(&self) -> Result<Cache, AttachError> {
        let guest = self.guest.reattach(self.until())?;
        Ok(Cache { guest, deadline: self.deadline, verify: self.verify })
    }

    /// Figures of the cache, for all guests together.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn stats(&self) -> Result<CacheStats, AskError> {
        let reply = self.guest.call(kind::STATS, &[], self.until())?;
        let words = <[le::U64]>::ref_from_bytes(&reply).map_err(|_| AskError::AnswerLength {
            kind: kind::STATS,
            found_bytes: reply.len(),
            expected_bytes: CacheStats::SIZE_BYTES,
        })?;
        Ok(CacheStats::from_words(words))
    }

    /// When a call that starts now has to be done.
    fn until(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(self.deadline).unwrap_or(now)
    }
}
