//! The cache as an engine uses it: find blocks and read them in place, fill slots and publish them.

use crate::error::{AskError, AttachCacheError};
use crate::index::IndexReader;
use crate::protocol::{SERVICE_ID, kind};
use crate::stats::CacheStats;
use comeback::Shared;
use onecopy_transport::guest::{AttachError, Guest, GuestOptions};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, little_endian as le};

mod ask;
mod block;
mod comeback;
mod direct;
mod fill;
mod keys;
mod lookup;
mod pinned;
mod store;
#[cfg(feature = "tokio")]
mod tasks;
#[cfg(test)]
mod tests;

pub use block::{Block, BlockRef};
pub use fill::{Fill, PublishOptions, Published, ToPublish};
#[cfg(feature = "tokio")]
pub use tasks::{AsyncCache, AttachTasksError};

/// The longest that a deadline may lie ahead: long enough to mean "without end", and never a
/// point in time that the clock does not have.
const DEADLINE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// How a guest finds a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LookupPath {
    /// It searches the index itself: no message, and no host that has to be there.
    #[default]
    Direct,
    /// It asks the host over its ring.
    Ring,
}

/// How to attach.
#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// Where the segment is, and as what to attach.
    pub guest: GuestOptions,
    /// How long any call waits at most. Default: 5 s. See [`Cache::with_deadline`].
    pub deadline: Duration,
    /// Whether lookups check the payload of blocks that have a checksum. Default: no.
    pub verify: bool,
    /// How blocks are found. Default: directly.
    pub lookup: LookupPath,
    /// Whether to attach anew when the host went away, and for how long a call waits for a host from
    /// when it was missed, within its own deadline. When the outage has lasted that long, each call
    /// tries once and fails at once. `None`: not at all; see [`Cache::reattach`]. Default: 5 s.
    pub reattach: Option<Duration>,
}

impl CacheOptions {
    /// Defaults, with these options for the guest.
    pub fn new(guest: GuestOptions) -> CacheOptions {
        let patience = Duration::from_secs(5);
        CacheOptions {
            guest,
            deadline: patience,
            verify: false,
            lookup: LookupPath::default(),
            reattach: Some(patience),
        }
    }
}

/// A handle to the cache. Cheap to clone; all clones are one guest.
///
/// Every call waits at most as long as the handle's deadline says, the whole of a batch included.
///
/// When the host goes away, blocks stay readable. A call that finds it gone, or that waits for its
/// answer then, attaches to the next host and asks again where that is safe: lookups, exists, stats and
/// verify may be asked twice; pins and unpins count once, because pins die with their host and those
/// of this guest are restored; a publish is repeated when its slot shows that it was not carried out. A
/// delete is not repeated when the host may have seen it. What is not repeated fails with
/// [`CallError::Link`](onecopy_transport::guest::CallError::Link): the host may have carried it out.
pub struct Cache {
    guest: Guest,
    /// The index of the guest's segment, where it can be searched from here.
    index: Option<Arc<IndexReader>>,
    lookup: LookupPath,
    deadline: Duration,
    verify: bool,
    reattach: Option<Duration>,
    shared: Arc<Shared>,
}

impl Clone for Cache {
    /// A handle of the present attach, also where this one is from before the host was replaced: it need
    /// not look for that attach at each call.
    // r[impl kv.reattach]
    fn clone(&self) -> Cache {
        let guest = self.current().into_owned();
        let is_of_it = guest.is_same_attach(&self.guest)
            || self.index.is_some() && guest.segment_id() == self.guest.segment_id();
        let index = if is_of_it { self.index.clone() } else { direct::open_index(&guest) };
        let Cache { lookup, deadline, verify, reattach, .. } = *self;
        Cache { guest, index, lookup, deadline, verify, reattach, shared: Arc::clone(&self.shared) }
    }
}

impl Cache {
    /// Attaches to the segment and checks that its host serves this cache.
    ///
    /// # Errors
    /// [`AttachCacheError`].
    pub fn attach(options: CacheOptions) -> Result<Cache, AttachCacheError> {
        let CacheOptions { guest, deadline, verify, lookup, reattach } = options;
        Cache::new(Guest::attach(guest)?).map(|cache| Cache {
            verify,
            lookup,
            reattach,
            ..cache.with_deadline(deadline)
        })
    }

    /// A handle over a guest that is attached already. It does not attach anew by itself; see
    /// [`Cache::with_reattach`].
    ///
    /// # Errors
    /// [`AttachCacheError::WrongService`].
    // r[impl kv.service_id]
    pub fn new(guest: Guest) -> Result<Cache, AttachCacheError> {
        let found = guest.geometry().service_id;
        if found != SERVICE_ID {
            return Err(AttachCacheError::WrongService { found, expected: SERVICE_ID });
        }
        Ok(Cache {
            index: direct::open_index(&guest),
            guest,
            lookup: LookupPath::default(),
            deadline: Duration::from_secs(5),
            verify: false,
            reattach: None,
            shared: Arc::default(),
        })
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

    /// A handle to the same guest that finds blocks in this way.
    #[must_use]
    pub fn with_lookup(&self, lookup: LookupPath) -> Cache {
        Cache { lookup, ..self.clone() }
    }

    /// A handle to the same guest that attaches anew by itself, or does not; see
    /// [`CacheOptions::reattach`].
    #[must_use]
    pub fn with_reattach(&self, reattach: Option<Duration>) -> Cache {
        Cache { reattach, ..self.clone() }
    }

    /// The guest beneath: where the pool is mapped, growth, ping, detach. After the host went away
    /// that is the one of the latest attach.
    pub fn guest(&self) -> Guest {
        self.current().into_owned()
    }

    /// Of how many keys the host was asked by lookups that are to be direct, since it was attached: where
    /// there is no index to search, and when the link to the host was over or this attach was cut off, so
    /// that another one was due.
    // r[impl kv.direct_asks]
    pub fn asked_keys(&self) -> u64 {
        self.shared.asked()
    }

    /// Attaches anew if the host went away, without waiting for one; a handle over the new attach, which
    /// other handles use as well from then on. Blocks stay readable, slots that are being filled can be
    /// published, and what this guest had pinned is pinned again.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn reattach(&self) -> Result<Cache, AttachError> {
        self.attach_once(&self.current(), self.until())?;
        Ok(self.clone())
    }

    /// Figures of the cache, for all guests together.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn stats(&self) -> Result<CacheStats, AskError> {
        let until = self.until();
        let reply = self.repeatedly(until, |guest| guest.call(kind::STATS, &[], until))?;
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
