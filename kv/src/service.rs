//! The cache as the service of a host: which key is in which slot, and what goes when.
//!
//! Everything here runs in the host's loop, one call at a time. The index stands in the service's
//! region of the control area, the note of a block in its slot entry; order of use, pins and
//! figures live in this process's heap and die with it.

use crate::index::{IndexWriter, region_bytes};
use crate::key::Key;
use crate::note::{EXPIRY_WORD, is_expired, key_words};
use crate::policy::Policy;
use crate::protocol::{self, KvRequest, ParseRequestError, SERVICE_ID};
use crate::stats::CacheStats;
use onecopy_shm::SlotRef;
use onecopy_transport::Serial;
use onecopy_transport::audit::AuditReport;
use onecopy_transport::layout::Geometry;
use onecopy_transport::pool::{ClassIndex, SlotView, VarSlotPool};
use onecopy_transport::service::{
    Answer, Found, Request, Service, ServiceContext, ServiceError, ServiceStart,
};
use onecopy_transport::wire::RequestError;
use zerocopy::{FromBytes, little_endian as le};

mod audit;
mod delete;
mod double;
mod evict;
mod lookup;
mod options;
mod pin;
mod pins;
mod publish;
mod recover;
mod stats;
#[cfg(test)]
mod tests;

pub use audit::INDEX_BUCKETS;
pub use options::{CacheServiceOptions, Capacity};

/// The cache. Give it to a host as its service.
// r[impl kv.model]
pub struct CacheService {
    options: CacheServiceOptions,
    core: Option<Core>,
}

/// The cache once it has its region.
struct Core {
    index: IndexWriter,
    policy: Box<dyn Policy>,
    pins: pins::Pins,
    capacity: Capacity,
    pins_per_peer_max: u32,
    usage: Usage,
    counted: CacheStats,
    /// Blocks of an earlier life, not yet in the policy: their order is known when all were found.
    found: Vec<recover::FoundBlock>,
    /// Stamp of the policy up to which uses were noted for the next life.
    noted: u64,
    /// More is published than the capacity holds: what is over could not be evicted.
    is_over: bool,
}

/// What is published now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Usage {
    blocks: u64,
    bytes: u64,
    slot_bytes: u64,
    pinned_blocks: u64,
    pinned_slot_bytes: u64,
}

impl CacheService {
    /// A cache that is not started yet.
    pub fn new(options: CacheServiceOptions) -> CacheService {
        CacheService { options, core: None }
    }
}

impl Service for CacheService {
    fn id(&self) -> u64 {
        SERVICE_ID
    }

    fn region_bytes(&self, geometry: &Geometry) -> u64 {
        region_bytes(recover::buckets_max(geometry.slots_max)).unwrap_or(u64::MAX)
    }

    // r[impl index.memory]
    fn region_bytes_ready(&self, geometry: &Geometry, slots_ready: u64) -> u64 {
        let slots = slots_ready.min(geometry.slots_max);
        region_bytes(recover::buckets_max(slots)).unwrap_or(u64::MAX)
    }

    fn start(&mut self, start: ServiceStart<'_>) -> Result<(), ServiceError> {
        self.core = Some(Core::start(&self.options, start)?);
        Ok(())
    }

    fn slot_found(&mut self, slot: SlotRef, context: &mut ServiceContext<'_>) -> Found {
        self.core.as_mut().map_or(Found::Retire, |core| core.slot_found(slot, context))
    }

    fn reply_bytes_max(&self, request: &Request<'_>) -> u32 {
        let payload_bytes = request.inline().map_or(0, <[u8]>::len);
        let answer_bytes = protocol::answer_bytes_max(request.kind, payload_bytes);
        u32::try_from(answer_bytes).unwrap_or(u32::MAX)
    }

    fn request(
        &mut self,
        request: &Request<'_>,
        context: &mut ServiceContext<'_>,
        reply: &mut [u8],
    ) -> Result<Answer, RequestError> {
        let Some(core) = self.core.as_mut() else {
            return Err(RequestError::UnknownKind { kind: request.kind.into() });
        };
        core.settle_found();
        core.request(request, context, reply)
    }

    fn used(&mut self, slot: SlotRef, context: &mut ServiceContext<'_>) {
        if let Some(core) = self.core.as_mut() {
            core.settle_found();
            core.used(slot, context);
        }
    }

    fn peer_gone(&mut self, serial: Serial, context: &mut ServiceContext<'_>) {
        if let Some(core) = self.core.as_mut() {
            core.settle_found();
            core.peer_gone(serial, context);
        }
    }

    fn held_by(&self, serial: Serial) -> u64 {
        self.core.as_ref().map_or(0, |core| core.pins.of_peer(serial))
    }

    fn withdraw(&mut self, slot: SlotRef, context: &mut ServiceContext<'_>) {
        if let Some(core) = self.core.as_mut() {
            core.settle_found();
            core.withdraw(slot, context);
        }
    }

    fn guard(&mut self, up: bool, context: &mut ServiceContext<'_>) {
        if let Some(core) = self.core.as_mut() {
            core.guard(up, context);
        }
    }

    fn grown(&mut self, slots_ready: u64) {
        if let Some(core) = self.core.as_mut() {
            core.index.set_buckets_ready(recover::buckets_max(slots_ready));
        }
    }

    fn tick(&mut self, context: &mut ServiceContext<'_>) {
        if let Some(core) = self.core.as_mut() {
            core.settle_found();
            core.note_used(context);
            core.advance_index(double::BUCKETS_PER_TICK, context.pool);
        }
    }

    fn make_room(&mut self, class: ClassIndex, context: &mut ServiceContext<'_>) -> u32 {
        self.core.as_mut().map_or(0, |core| {
            core.settle_found();
            core.make_room(class, context)
        })
    }

    fn audit(&self, pool: &VarSlotPool, report: &mut AuditReport) {
        if let Some(core) = self.core.as_ref() {
            core.audit(pool, report);
        }
    }

    fn stats(&self, _pool: &VarSlotPool) -> Vec<(&'static str, u64)> {
        let stats = self.core.as_ref().map(Core::stats).unwrap_or_default();
        CacheStats::NAMES.iter().copied().zip(stats.words()).collect()
    }
}

impl Core {
    /// Carries out one request. An error changes nothing: what a request consumes (the slots of a
    /// publish) is consumed only when an answer is given to each of its entries.
    // r[impl kv.all_or_answers]
    fn request(
        &mut self,
        request: &Request<'_>,
        context: &mut ServiceContext<'_>,
        reply: &mut [u8],
    ) -> Result<Answer, RequestError> {
        let payload = request.inline()?;
        let parsed = KvRequest::parse(request.kind, payload).map_err(|error| match error {
            ParseRequestError::UnknownKind { kind } => {
                RequestError::UnknownKind { kind: kind.into() }
            }
            ParseRequestError::Malformed { offset, .. } => request.malformed(offset),
        })?;
        check_role(&parsed, request)?;
        let length = protocol::answer_bytes_max(request.kind, payload.len());
        let Some(reply) = reply.get_mut(..length) else {
            return Err(request.malformed(reply.len()));
        };
        self.answer(&parsed, request.serial, context, reply);
        Ok(Answer::Inline { length_bytes: u32::try_from(length).unwrap_or(u32::MAX) })
    }

    fn answer(
        &mut self,
        parsed: &KvRequest<'_>,
        serial: Serial,
        context: &mut ServiceContext<'_>,
        reply: &mut [u8],
    ) {
        match *parsed {
            KvRequest::Lookup { keys, prefix } => {
                self.lookup(keys, prefix, context, answers_of(reply));
            }
            KvRequest::Exists(keys) => {
                each(keys, reply, |key| self.exists(key, context).encode());
            }
            KvRequest::Publish(entries) => {
                each(entries, reply, |entry| self.publish(serial, entry, context).encode());
            }
            KvRequest::Delete(keys) => {
                each(keys, reply, |key| self.delete(key, context).encode());
            }
            KvRequest::Pin(keys) => {
                each(keys, reply, |key| self.pin(serial, key, context).encode());
            }
            KvRequest::Unpin(keys) => {
                each(keys, reply, |key| self.unpin(serial, key, context).encode());
            }
            KvRequest::Report(entries) => {
                each(entries, reply, |entry| self.report(entry, context).encode());
            }
            KvRequest::Stats => {
                for (answer, word) in
                    answers_of::<le::U64>(reply).iter_mut().zip(self.stats().words())
                {
                    answer.set(word);
                }
            }
        }
    }

    /// The slot that this key's block stands in, whether or not its time is over.
    fn find(&self, key: &Key, pool: &VarSlotPool) -> Option<u32> {
        let words = key_words(key);
        let is_key =
            |slot| (0..).zip(words).all(|(word, wanted)| pool.note_word(slot, word) == wanted);
        self.index.find(self.index.hash(key), is_key)
    }

    /// The block of this key. One whose time is over is retired on the way and not found.
    // r[impl kv.ttl]
    fn find_live(&mut self, key: &Key, context: &mut ServiceContext<'_>) -> Option<SlotRef> {
        let slot = self.find(key, context.pool)?;
        if is_expired(context.pool.note_word(slot, EXPIRY_WORD), context.clock_s) {
            self.unpublish(slot, key, context);
            self.counted.expired += 1;
            return None;
        }
        context.pool.published(slot)
    }

    /// Takes a block out of everything: index first, so that nobody finds it any more; then its
    /// slot is retired, to be reused after its last lease. Pins on it are void.
    fn unpublish(&mut self, slot: u32, key: &Key, context: &mut ServiceContext<'_>) {
        self.index.remove(self.index.hash(key), slot);
        let view = context.pool.published(slot).and_then(|slot_ref| {
            let view = context.pool.slot(slot_ref)?;
            context.pool.retire(slot_ref).is_ok().then_some(view)
        });
        let pinned = self.usage.pinned_blocks > 0 && self.pins.forget_slot(slot);
        self.policy.remove(slot);
        if let Some(view) = view {
            self.usage.remove(&view, pinned);
        }
    }
}

impl Usage {
    fn add(&mut self, view: &SlotView, length_bytes: u64) {
        self.blocks += 1;
        self.bytes += length_bytes;
        self.slot_bytes += view.slot_bytes;
    }

    fn remove(&mut self, view: &SlotView, pinned: bool) {
        self.blocks -= 1;
        self.bytes -= view.length_bytes;
        self.slot_bytes -= view.slot_bytes;
        if pinned {
            self.unpin(view.slot_bytes);
        }
    }

    fn pin(&mut self, slot_bytes: u64) {
        self.pinned_blocks += 1;
        self.pinned_slot_bytes += slot_bytes;
    }

    fn unpin(&mut self, slot_bytes: u64) {
        self.pinned_blocks -= 1;
        self.pinned_slot_bytes -= slot_bytes;
    }
}

/// Changing what others find is a writer's business; finding, pinning and reporting is anybody's.
// r[impl kv.roles]
fn check_role(parsed: &KvRequest<'_>, request: &Request<'_>) -> Result<(), RequestError> {
    match parsed {
        KvRequest::Publish(_) | KvRequest::Delete(_) if !request.writer => {
            Err(RequestError::WrongRole)
        }
        _ => Ok(()),
    }
}

/// The reply as answers of one kind.
fn answers_of<Word>(reply: &mut [u8]) -> &mut [Word]
where
    Word: FromBytes + zerocopy::IntoBytes + zerocopy::KnownLayout + zerocopy::Unaligned,
{
    <[Word]>::mut_from_bytes(reply).unwrap_or_default()
}

/// Answers each entry in order.
fn each<Entry, Word>(entries: &[Entry], reply: &mut [u8], mut answer: impl FnMut(&Entry) -> Word)
where
    Word: FromBytes + zerocopy::IntoBytes + zerocopy::KnownLayout + zerocopy::Unaligned,
{
    for (entry, word) in entries.iter().zip(answers_of::<Word>(reply)) {
        *word = answer(entry);
    }
}
