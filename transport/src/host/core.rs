//! What serving needs apart from the peers themselves: the slots, the service, the lease tables.

use super::deferred::Deferred;
use super::growth::Growth;
use super::leases::LeasesOf;
use super::options::HostOptions;
use super::peer::{Stock, Who};
use super::refill::Parked;
use super::settle::Settling;
use super::stats::Counters;
use super::walks::Walks;
use crate::control::ControlWriter;
use crate::format::Role;
use crate::layout::Geometry;
use crate::pool::{Looked, VarSlotPool};
use crate::service::{Answer, Payload, Request, Service, ServiceContext};
use crate::wire::{self, ErrorWords, RequestError, SERVICE_KIND_MIN, SlotPayload, flag, kind};
use onecopy_shm::copy_shared;
use onecopy_shm::{FrameHeader, Producer, SlotRef, SlotState, sigbus};
use std::mem::size_of;
use std::time::Instant;
use zerocopy::{FromBytes, IntoBytes, little_endian as le};

/// Fewest retired slots that are looked up in the lease tables together, where no slot is short. A look interrupts
/// the cores on which guests run, for some ten microseconds.
pub(super) const LIMBO_BATCH: usize = 512;
/// Most of them: what waits is of no use to anybody.
const LIMBO_BATCH_MAX: usize = 4096;
/// Words of lease tables that a look may read for each slot that it serves, before it waits for more of
/// them: reading one takes a few nanoseconds.
const WORDS_PER_SLOT: u64 = 64;

/// The host without its peers and without its files and sockets.
pub(super) struct Core<S> {
    pub options: HostOptions,
    pub geometry: Geometry,
    pub grant_quota_bytes: u64,
    pub control: ControlWriter,
    pub pool: VarSlotPool,
    pub service: S,
    /// The leases of every process that is not proven dead, by attach.
    pub leases: Vec<LeasesOf>,
    pub growth: Growth,
    /// Requests to settle a peer, which are carried out when all peers can be looked at.
    pub deferred: Vec<Deferred>,
    /// Peers that were sent SIGKILL, with whoever waits for their end.
    pub settling: Vec<Settling>,
    /// Requests for the audit and for peers.
    pub walks: Walks,
    /// Refills that wait for the pool to grow.
    pub parked: Vec<Parked>,
    pub clock_s: u64,
    /// Ticks of the host's own clock: one per heartbeat interval in which the loop turned.
    pub tick: u64,
    /// Retired slots that somebody still read at the last look: looked at again at a tick, not in
    /// each turn.
    pub limbo_left: usize,
    /// Slots that the next look through the leases is to serve, if the pool has slots to spare.
    pub limbo_batch: usize,
    pub counters: Counters,
}

/// What carrying out a request led to.
pub(super) enum Carried {
    /// The first `length` bytes of the reply buffer are the answer.
    Answer { length: u32, flags: u8 },
    /// The same, and the guest is gone.
    Goodbye { length: u32 },
    /// An answer of no bytes, and the guest's earlier attaches are over.
    Settled,
    /// No answer is owed, or not yet.
    Silent,
}

const ERROR_BYTES: u32 = size_of::<ErrorWords>() as u32;

impl<S: Service> Core<S> {
    /// The most bytes that the answer to this request can have.
    pub fn reply_bytes_max(
        &self,
        who: &Who,
        header: &FrameHeader,
        bytes: &[u8],
        replies: &Producer,
    ) -> u32 {
        let wanted = match header.kind {
            kind::REFILL => self.refill_bytes_max(),
            kind::PING => header.length,
            kind::STATS | kind::AUDIT | kind::PEERS => replies.frame_length_max(),
            service if service >= SERVICE_KIND_MIN => match request(who, header, bytes) {
                Ok(request) => self.service.reply_bytes_max(&request),
                Err(_) => ERROR_BYTES,
            },
            _ => ERROR_BYTES,
        };
        wanted.max(ERROR_BYTES).min(replies.frame_length_max())
    }

    /// Carries out one request and writes its answer into `reply`. `text` is what this guest is being
    /// told in pieces.
    pub fn carry_out(
        &mut self,
        who: &Who,
        stock: &mut Vec<Stock>,
        text: &mut Vec<u8>,
        header: &FrameHeader,
        bytes: &[u8],
        reply: &mut [u8],
    ) -> Carried {
        self.counters.requests += 1;
        let result = match header.kind {
            kind::REFILL => self.refill(who, stock, header, bytes, reply),
            kind::GIVE_BACK => self.give_back(who, stock, bytes),
            kind::HANDOVER => self.hand_over(who, bytes),
            kind::GOODBYE => goodbye(who, header, bytes, reply),
            kind::PING => Ok(echo(bytes, reply)),
            kind::STATS | kind::AUDIT => self.text_piece(who, header, text, bytes, reply),
            kind::PEERS => self.ask_peers(who, header, bytes),
            kind::SETTLE => self.defer(who, header, bytes),
            service if service >= SERVICE_KIND_MIN => self.serve_request(who, header, bytes, reply),
            unknown => Err(RequestError::UnknownKind { kind: unknown.into() }),
        };
        result.unwrap_or_else(|error| {
            self.counters.refused += 1;
            refuse(error, reply)
        })
    }

    fn serve_request(
        &mut self,
        who: &Who,
        header: &FrameHeader,
        bytes: &[u8],
        reply: &mut [u8],
    ) -> Result<Carried, RequestError> {
        let request = request(who, header, bytes)?;
        if let Payload::Slot { slot, length_bytes } = request.payload {
            self.check_granted(who, slot, length_bytes)?;
        }
        let mut context = ServiceContext { pool: &mut self.pool, clock_s: self.clock_s };
        match self.service.request(&request, &mut context, reply)? {
            Answer::Inline { length_bytes } => {
                Ok(Carried::Answer { length: length_bytes, flags: 0 })
            }
            Answer::Slot { slot, length_bytes } => {
                self.check_granted(who, slot, length_bytes)?;
                let words =
                    SlotPayload { slot: slot.to_u64().into(), length_bytes: length_bytes.into() };
                Ok(answer(words.as_bytes(), reply, flag::SLOT))
            }
        }
    }

    /// A payload slot must be granted to the guest that names it, and be long enough.
    // r[impl link.slot_checked]
    fn check_granted(&self, who: &Who, slot: SlotRef, length: u64) -> Result<(), RequestError> {
        let granted = self.pool.slot(slot).is_some_and(|view| {
            view.state == SlotState::Granted
                && view.owner == who.serial
                && length <= view.slot_bytes
        });
        if granted { Ok(()) } else { Err(bad_slot(slot, length)) }
    }

    /// Looks once through all lease tables and frees the retired slots that nobody reads.
    // r[impl host.looks]
    pub fn reclaim(&mut self) -> u32 {
        if self.pool.limbo_len() == 0 {
            return 0;
        }
        let started = Instant::now();
        let leases = &self.leases;
        let mut words = 0;
        let freed = self.pool.reclaim_if_whole(&mut |marks| {
            let tears = sigbus::tears();
            for leases in leases {
                words += leases.leases.for_each(|leased| marks.note(leased));
            }
            // Whoever tore its table is cut off before anything is freed on the ground of it.
            if sigbus::tears() == tears { Looked::Whole } else { Looked::Torn }
        });
        self.counters.lease_looks += 1;
        self.counters.lease_words_looked += words;
        self.counters.lease_look_ns += started.elapsed().as_nanos() as u64;
        self.limbo_left = self.pool.limbo_len();
        let batch = usize::try_from(words / WORDS_PER_SLOT).unwrap_or(LIMBO_BATCH_MAX);
        self.limbo_batch = batch.clamp(LIMBO_BATCH, LIMBO_BATCH_MAX);
        freed
    }

    /// Whether so many slots were retired since the last look that the next one is worth it.
    pub fn is_look_due(&self) -> bool {
        self.pool.limbo_len() >= self.limbo_left + self.limbo_batch
    }
}

/// The host's view of a service request.
fn request<'a>(
    who: &Who,
    header: &FrameHeader,
    bytes: &'a [u8],
) -> Result<Request<'a>, RequestError> {
    let payload = if header.flags & flag::SLOT == 0 {
        Payload::Inline(bytes)
    } else {
        slot_payload(header, bytes)?
    };
    Ok(Request { serial: who.serial, writer: who.role == Role::Writer, kind: header.kind, payload })
}

fn slot_payload<'a>(header: &FrameHeader, bytes: &[u8]) -> Result<Payload<'a>, RequestError> {
    let malformed = RequestError::Malformed {
        kind: header.kind.into(),
        length_bytes: header.length.into(),
        offset: 0,
    };
    let words = SlotPayload::read_from_bytes(bytes).map_err(|_| malformed)?;
    let slot = SlotRef::from_u64(words.slot.get()).ok_or(malformed)?;
    Ok(Payload::Slot { slot, length_bytes: words.length_bytes.get() })
}

fn goodbye(
    who: &Who,
    header: &FrameHeader,
    bytes: &[u8],
    reply: &mut [u8],
) -> Result<Carried, RequestError> {
    match le::U64::read_from_bytes(bytes) {
        Ok(serial) if serial.get() == u64::from(who.serial) => match answer(bytes, reply, 0) {
            Carried::Answer { length, .. } => Ok(Carried::Goodbye { length }),
            other => Ok(other),
        },
        _ => Err(RequestError::Malformed {
            kind: header.kind.into(),
            length_bytes: header.length.into(),
            offset: 0,
        }),
    }
}

/// Copies as much of `bytes` into the reply as it takes.
// r[impl crash.p2]
pub(super) fn answer(bytes: &[u8], reply: &mut [u8], flags: u8) -> Carried {
    let length = bytes.len().min(reply.len());
    copy_shared!("ring.reply.half", &mut reply[..length], &bytes[..length]);
    Carried::Answer { length: length as u32, flags }
}

fn echo(bytes: &[u8], reply: &mut [u8]) -> Carried {
    answer(bytes, reply, 0)
}

fn refuse(error: RequestError, reply: &mut [u8]) -> Carried {
    answer(error.encode().as_bytes(), reply, flag::ERROR)
}

pub(super) fn bad_slot(slot: SlotRef, length_bytes: u64) -> RequestError {
    RequestError::BadSlot {
        slot: slot.slot.into(),
        generation: slot.generation.into(),
        length_bytes,
    }
}

pub(super) fn malformed(header_kind: u8, bytes: &[u8], offset: usize) -> RequestError {
    RequestError::Malformed {
        kind: header_kind.into(),
        length_bytes: bytes.len() as u64,
        offset: offset as u64,
    }
}

/// Keeps the transport's own payload sizes in view: they must fit the smallest frame.
const _: () = assert!(size_of::<wire::Refill>() + size_of::<wire::Grants>() <= 64);
