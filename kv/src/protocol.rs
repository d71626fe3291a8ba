//! What an engine and the cache say to each other: frame kinds, payloads and answers.
//!
//! Every payload is parsed here and nowhere else. All numbers are little-endian and unaligned. A
//! request is a [`Head`] and then one entry per key; its answer has one fixed-size answer per
//! entry, in the same order. `spec/kv.md` has the table.

use crate::key::Key;
use onecopy_shm::SlotRef;
use onecopy_transport::wire::SERVICE_KIND_MIN;
use std::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, little_endian as le};

mod answer;
#[cfg(test)]
mod tests;

pub use answer::{KeyAnswer, KeyOutcome, PublishAnswer, PublishOutcome};

/// Names this service and the version of its notes, its region and its frames: `onekv` and 1.
pub const SERVICE_ID: u64 = u64::from_le_bytes(*b"onekv\0\0\x01");

/// Frame kinds.
pub mod kind {
    use super::SERVICE_KIND_MIN;

    /// [`super::Head`], keys; answered by a slot reference per key, 0 for a miss.
    pub const LOOKUP: u8 = SERVICE_KIND_MIN;
    /// [`super::Head`], keys; answered by a [`super::KeyAnswer`] per key.
    pub const EXISTS: u8 = SERVICE_KIND_MIN + 1;
    /// [`super::Head`], [`super::PublishEntry`]s; answered by a [`super::PublishAnswer`] per entry.
    pub const PUBLISH: u8 = SERVICE_KIND_MIN + 2;
    /// [`super::Head`], keys; answered by a [`super::KeyAnswer`] per key.
    pub const DELETE: u8 = SERVICE_KIND_MIN + 3;
    /// [`super::Head`], keys; answered by a [`super::KeyAnswer`] per key.
    pub const PIN: u8 = SERVICE_KIND_MIN + 4;
    /// [`super::Head`], keys; answered by a [`super::KeyAnswer`] per key.
    pub const UNPIN: u8 = SERVICE_KIND_MIN + 5;
    /// [`super::Head`], [`super::ReportEntry`]s; answered by a [`super::KeyAnswer`] per entry.
    pub const REPORT: u8 = SERVICE_KIND_MIN + 6;
    /// Nothing; answered by the words of [`crate::stats::CacheStats`].
    pub const STATS: u8 = SERVICE_KIND_MIN + 7;
}

/// Flag of a lookup: stop at the first miss; what follows it is answered as a miss unasked.
pub const LOOKUP_PREFIX: u32 = 1;

/// Start of every request that carries entries.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Head {
    /// Number of entries behind it, at least 1.
    pub count: le::U32,
    /// [`LOOKUP_PREFIX`] in a lookup, else 0.
    pub flags: le::U32,
}

/// One block to publish.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct PublishEntry {
    /// `SlotRef` as u64, granted to the guest that asks.
    pub slot: le::U64,
    /// Bytes of the block.
    pub length_bytes: le::U64,
    /// `Checksum` as a word, 0 for none.
    pub checksum: le::U64,
    /// Seconds that the block may be found, 0 for without end.
    pub ttl_s: le::U32,
    /// 0.
    pub flags: le::U32,
    /// Its name.
    pub key: Key,
}

/// One block that a reader found corrupt.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ReportEntry {
    /// `SlotRef` as u64, as the reader leased it.
    pub slot: le::U64,
    /// The key it was found under.
    pub key: Key,
}

const _: () = {
    assert!(size_of::<Head>() == 8);
    assert!(size_of::<PublishEntry>() == 64);
    assert!(size_of::<ReportEntry>() == 40);
    assert!(size_of::<KeyAnswer>() == 8);
    assert!(size_of::<PublishAnswer>() == 24);
};

/// A request that was parsed: as many entries as its head says, and no byte more.
#[derive(Clone, Copy, Debug)]
pub enum KvRequest<'a> {
    /// Find these keys.
    Lookup {
        /// In this order.
        keys: &'a [Key],
        /// Stop at the first miss.
        prefix: bool,
    },
    /// Say whether these keys are there.
    Exists(&'a [Key]),
    /// Publish these blocks.
    Publish(&'a [PublishEntry]),
    /// Delete these keys.
    Delete(&'a [Key]),
    /// Pin these keys.
    Pin(&'a [Key]),
    /// Unpin these keys.
    Unpin(&'a [Key]),
    /// These blocks are corrupt.
    Report(&'a [ReportEntry]),
    /// Tell the stats.
    Stats,
}

/// Why a payload is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseRequestError {
    /// A kind that the cache does not know.
    #[error("frame kind {kind} is unknown")]
    UnknownKind {
        /// The kind.
        kind: u8,
    },
    /// A payload of the wrong form.
    #[error("a payload of {length_bytes} bytes is malformed at byte {offset}")]
    Malformed {
        /// Its length, in bytes.
        length_bytes: usize,
        /// First byte that is wrong.
        offset: usize,
    },
}

impl<'a> KvRequest<'a> {
    /// Reads the payload of a frame of this kind.
    ///
    /// # Errors
    /// [`ParseRequestError`]; nothing of a malformed request is to be carried out.
    // r[impl kv.parse]
    pub fn parse(kind: u8, payload: &'a [u8]) -> Result<KvRequest<'a>, ParseRequestError> {
        match kind {
            kind::LOOKUP => {
                let (keys, flags) = entries(payload, LOOKUP_PREFIX)?;
                Ok(KvRequest::Lookup { keys, prefix: flags & LOOKUP_PREFIX != 0 })
            }
            kind::EXISTS => Ok(KvRequest::Exists(entries(payload, 0)?.0)),
            kind::PUBLISH => publish_entries(payload).map(KvRequest::Publish),
            kind::DELETE => Ok(KvRequest::Delete(entries(payload, 0)?.0)),
            kind::PIN => Ok(KvRequest::Pin(entries(payload, 0)?.0)),
            kind::UNPIN => Ok(KvRequest::Unpin(entries(payload, 0)?.0)),
            kind::REPORT => Ok(KvRequest::Report(entries(payload, 0)?.0)),
            kind::STATS if payload.is_empty() => Ok(KvRequest::Stats),
            kind::STATS => Err(malformed(payload, 0)),
            kind => Err(ParseRequestError::UnknownKind { kind }),
        }
    }
}

/// Bytes of one entry of a request of this kind; 0 for a kind without entries.
pub fn entry_bytes(kind: u8) -> usize {
    match kind {
        kind::LOOKUP | kind::EXISTS | kind::DELETE | kind::PIN | kind::UNPIN => Key::SIZE_BYTES,
        kind::PUBLISH => size_of::<PublishEntry>(),
        kind::REPORT => size_of::<ReportEntry>(),
        _ => 0,
    }
}

/// The most bytes that the answer to a payload of this kind and length can have.
// r[impl kv.answer_size]
pub fn answer_bytes_max(kind: u8, payload_bytes: usize) -> usize {
    let entry_bytes = entry_bytes(kind);
    if entry_bytes == 0 {
        return if kind == kind::STATS { crate::stats::CacheStats::SIZE_BYTES } else { 0 };
    }
    let count = payload_bytes.saturating_sub(size_of::<Head>()) / entry_bytes;
    count * answer_bytes(kind)
}

/// Bytes of the answer to one entry of a request of this kind.
pub fn answer_bytes(kind: u8) -> usize {
    if kind == kind::PUBLISH { size_of::<PublishAnswer>() } else { size_of::<KeyAnswer>() }
}

/// The slot that a lookup's answer word names; `None` for a miss.
pub fn lookup_answer(word: le::U64) -> Option<SlotRef> {
    SlotRef::from_u64(word.get())
}

fn malformed(payload: &[u8], offset: usize) -> ParseRequestError {
    ParseRequestError::Malformed { length_bytes: payload.len(), offset }
}

/// The entries behind the head, checked to be as many as it says; and its flags.
fn entries<Entry: FromBytes + Immutable + KnownLayout + Unaligned>(
    payload: &[u8],
    flags_known: u32,
) -> Result<(&[Entry], u32), ParseRequestError> {
    let (head, rest) =
        Head::ref_from_prefix(payload).map_err(|_| malformed(payload, payload.len()))?;
    let count = head.count.get() as usize;
    if count == 0 || count.checked_mul(size_of::<Entry>()) != Some(rest.len()) {
        return Err(malformed(payload, 0));
    }
    let flags = head.flags.get();
    if flags & !flags_known != 0 {
        return Err(malformed(payload, size_of::<le::U32>()));
    }
    let entries =
        <[Entry]>::ref_from_bytes(rest).map_err(|_| malformed(payload, size_of::<Head>()))?;
    Ok((entries, flags))
}

/// Publish entries whose flags are all known: checked before any of them takes effect.
fn publish_entries(payload: &[u8]) -> Result<&[PublishEntry], ParseRequestError> {
    let (entries, _) = entries::<PublishEntry>(payload, 0)?;
    let flagged = entries.iter().position(|entry| entry.flags.get() != 0);
    match flagged {
        None => Ok(entries),
        Some(index) => Err(malformed(
            payload,
            size_of::<Head>()
                + index * size_of::<PublishEntry>()
                + std::mem::offset_of!(PublishEntry, flags),
        )),
    }
}
