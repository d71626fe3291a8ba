//! The seam between the transport and what it carries: a host runs one [`Service`].
//!
//! The transport knows peers, rings and slots; the service knows what a request means and what a
//! published slot is worth. The service is called from the host's loop only, one call at a time.

use crate::Serial;
use crate::audit::AuditReport;
use crate::format::TABLE_ALIGNMENT_BYTES;
use crate::layout::{Geometry, TablesReady};
use crate::pool::{ClassIndex, VarSlotPool};
use crate::wire::RequestError;
use onecopy_shm::{Region, SlotRef};

/// What a host asks of the thing it serves.
pub trait Service: Send {
    /// Names the service and its format version; a segment made by another one is refused.
    fn id(&self) -> u64;

    /// Bytes it wants in the control area of a segment with this geometry.
    fn region_bytes(&self, geometry: &Geometry) -> u64;

    /// Bytes of that region, from its start, that have to be real memory where the slot table has so
    /// many entries. The rest must not be touched. Depends on nothing but its arguments, and is no
    /// less for more slots; the whole region where it does not grow.
    fn region_bytes_ready(&self, geometry: &Geometry, _slots_ready: u64) -> u64 {
        geometry.service_bytes
    }

    /// Called once, before any guest is let in. After a restart [`Service::slot_found`] follows
    /// for every published slot.
    ///
    /// # Errors
    /// Says in words what is wrong with a region that an earlier life left.
    fn start(&mut self, start: ServiceStart<'_>) -> Result<(), ServiceError>;

    /// A slot that an earlier life of the host published.
    fn slot_found(&mut self, slot: SlotRef, context: &mut ServiceContext<'_>) -> Found;

    /// The most bytes its answer to this request can have. The host takes the request only when
    /// the guest's ring has room for that many.
    fn reply_bytes_max(&self, request: &Request<'_>) -> u32;

    /// One request of one guest. Nothing in it has been checked but its length and, for a payload
    /// in a slot, that the slot is granted to this guest and long enough.
    ///
    /// # Errors
    /// A [`RequestError`] travels back to the guest as such.
    fn request(
        &mut self,
        request: &Request<'_>,
        context: &mut ServiceContext<'_>,
        reply: &mut [u8],
    ) -> Result<Answer, RequestError>;

    /// A guest says that it used the block in this slot, which it found without asking. Nothing in it
    /// has been checked but that it names a slot: there may be none of this number, or the slot may be
    /// another block's by now. A service that keeps no order of use need not care.
    fn used(&mut self, _slot: SlotRef, _context: &mut ServiceContext<'_>) {}

    /// This peer will never ask again: it died or said goodbye. Called once for each attach.
    fn peer_gone(&mut self, serial: Serial, context: &mut ServiceContext<'_>);

    /// What it keeps for this peer that ends with it, as a number for people: pins, in a cache.
    fn held_by(&self, _serial: Serial) -> u64 {
        0
    }

    /// The slot of this published block will never be used again, because nobody can tell whether
    /// somebody still reads it: take the block out of everything and retire its slot.
    fn withdraw(&mut self, slot: SlotRef, context: &mut ServiceContext<'_>) {
        // One that is not published any more is what is wanted.
        let _ = context.pool.retire(slot);
    }

    /// `up` after a restart, before anything is asked: guests of the host before may come back, and
    /// may have asked it to keep things. What was found at the start should not be given up for room.
    /// Not `up`: they have come back, or are gone, or have been waited for for long enough.
    fn guard(&mut self, _up: bool, _context: &mut ServiceContext<'_>) {}

    /// The pool has grown: the slot table has so many entries, and as much of the service's region is
    /// real as [`Service::region_bytes_ready`] says.
    fn grown(&mut self, _slots_ready: u64) {}

    /// Called once in each tick of the host's clock, to note for the next life of the host what it is
    /// to know, and to go on with what is done bit by bit. Should take a fraction of a millisecond.
    fn tick(&mut self, _context: &mut ServiceContext<'_>) {}

    /// Slots of this class are short and the pool cannot grow in time: retire some that are
    /// published, if any may go. Returns how many were retired.
    fn make_room(&mut self, class: ClassIndex, context: &mut ServiceContext<'_>) -> u32;

    /// Adds what is wrong with the service's own structures.
    fn audit(&self, pool: &VarSlotPool, report: &mut AuditReport);

    /// Adds its figures to the host's stats, as the fields of one JSON object.
    fn stats(&self, pool: &VarSlotPool) -> Vec<(&'static str, u64)>;
}

/// What of the control area has to be real where the slot table has so many entries.
pub(crate) fn tables_ready(
    service: &dyn Service,
    geometry: &Geometry,
    slots_ready: u64,
) -> TablesReady {
    let service_bytes = service.region_bytes_ready(geometry, slots_ready);
    // Memory comes in pages; the table behind the region begins with one of its own.
    let service_bytes =
        service_bytes.min(geometry.service_bytes).next_multiple_of(TABLE_ALIGNMENT_BYTES);
    TablesReady { slots: slots_ready, service_bytes }
}

/// What a service is given at its start.
pub struct ServiceStart<'a> {
    /// The service's region of the control area; zeroed when `fresh`. Real memory as far as
    /// [`Service::region_bytes_ready`] says.
    pub region: Region,
    /// The segment's geometry.
    pub geometry: &'a Geometry,
    /// Entries of the slot table that are real.
    pub slots_ready: u64,
    /// Slots that an earlier life published: for how many [`Service::slot_found`] follows.
    pub slots_published: u64,
    /// The segment's random id; a seed that differs from segment to segment.
    pub segment_id: u128,
    /// Whether the segment was just made.
    pub fresh: bool,
}

/// Why a service could not take up its region.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the service's region cannot be used: {reason}")]
pub struct ServiceError {
    /// What was found and what was expected.
    pub reason: String,
}

/// What a service does with a slot that it finds at a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is known and stays published.
    Keep,
    /// Nobody will ask for it: the host retires it.
    Retire,
}

/// What a service may use while it is called.
pub struct ServiceContext<'a> {
    /// The slots.
    pub pool: &'a mut VarSlotPool,
    /// Seconds since the segment was made.
    pub clock_s: u64,
}

/// One request. The bytes are the host's own copy: the guest cannot change them any more.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub serial: Serial,
    /// Whether it attached as a writer.
    pub writer: bool,
    /// Frame kind, at least [`crate::wire::SERVICE_KIND_MIN`].
    pub kind: u8,
    /// The payload.
    pub payload: Payload<'a>,
}

impl<'a> Request<'a> {
    /// The payload of a request that travels in its frame.
    ///
    /// # Errors
    /// [`RequestError::Malformed`] when it came by slot.
    pub fn inline(&self) -> Result<&'a [u8], RequestError> {
        match self.payload {
            Payload::Inline(bytes) => Ok(bytes),
            Payload::Slot { .. } => Err(self.malformed(0)),
        }
    }

    /// The error for a payload whose byte at `offset` is the first wrong one.
    pub fn malformed(&self, offset: usize) -> RequestError {
        let length_bytes = match self.payload {
            Payload::Inline(bytes) => bytes.len() as u64,
            Payload::Slot { length_bytes, .. } => length_bytes,
        };
        RequestError::Malformed { kind: self.kind.into(), length_bytes, offset: offset as u64 }
    }
}

/// Where a request's payload stands.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// In the frame; copied out.
    Inline(&'a [u8]),
    /// In a slot that is granted to the guest. Its bytes may change at any time.
    Slot {
        /// Which slot.
        slot: SlotRef,
        /// Bytes of payload.
        length_bytes: u64,
    },
}

/// Where the answer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// In the first bytes of the reply buffer.
    Inline {
        /// How many bytes.
        length_bytes: u32,
    },
    /// In a slot granted to the guest that asked: the one its request came in, or another.
    Slot {
        /// Which slot.
        slot: SlotRef,
        /// Bytes of payload.
        length_bytes: u64,
    },
}
