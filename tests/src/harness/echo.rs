//! A service that keeps nothing: it sends back what came. It can be told to answer wrongly, to see
//! what the host makes of that.

use onecopy_shm::SlotRef;
use onecopy_transport::Serial;
use onecopy_transport::audit::AuditReport;
use onecopy_transport::layout::Geometry;
use onecopy_transport::pool::{ClassIndex, VarSlotPool};
use onecopy_transport::service::{
    Answer, Found, Payload, Request, Service, ServiceContext, ServiceError, ServiceStart,
};
use onecopy_transport::wire::{RequestError, SERVICE_KIND_MIN};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Sends back what came, where it came.
pub const ECHO: u8 = SERVICE_KIND_MIN;
/// Answers with the slot whose reference is the payload, whosever it is.
pub const ANSWER_IN: u8 = SERVICE_KIND_MIN + 1;
/// Answers so many zeroes as the payload's eight bytes say.
pub const WIDEN: u8 = SERVICE_KIND_MIN + 2;
/// Names the service.
pub const ECHO_SERVICE_ID: u64 = u64::from_le_bytes(*b"testecho");

/// The service, with counts that the test may keep.
#[derive(Clone, Debug, Default)]
pub struct Echo {
    /// Requests carried out.
    pub carried_out: Arc<AtomicU64>,
    /// Peers gone.
    pub gone: Arc<AtomicU64>,
}

impl Service for Echo {
    fn id(&self) -> u64 {
        ECHO_SERVICE_ID
    }

    fn region_bytes(&self, _geometry: &Geometry) -> u64 {
        0
    }

    fn start(&mut self, _start: ServiceStart<'_>) -> Result<(), ServiceError> {
        Ok(())
    }

    fn slot_found(&mut self, _slot: SlotRef, _context: &mut ServiceContext<'_>) -> Found {
        Found::Retire
    }

    fn reply_bytes_max(&self, request: &Request<'_>) -> u32 {
        match (request.kind, request.payload) {
            (WIDEN, Payload::Inline(bytes)) => word(bytes) as u32,
            (_, Payload::Inline(bytes)) => bytes.len() as u32,
            (_, Payload::Slot { .. }) => 0,
        }
    }

    fn request(
        &mut self,
        request: &Request<'_>,
        _context: &mut ServiceContext<'_>,
        reply: &mut [u8],
    ) -> Result<Answer, RequestError> {
        self.carried_out.fetch_add(1, Ordering::Relaxed);
        match (request.kind, request.payload) {
            (ECHO, Payload::Inline(bytes)) => {
                reply[..bytes.len()].copy_from_slice(bytes);
                Ok(Answer::Inline { length_bytes: bytes.len() as u32 })
            }
            (ECHO, Payload::Slot { slot, length_bytes }) => Ok(Answer::Slot { slot, length_bytes }),
            (ANSWER_IN, Payload::Inline(bytes)) => {
                let slot = SlotRef::from_u64(word(bytes)).ok_or(request.malformed(0))?;
                Ok(Answer::Slot { slot, length_bytes: 8 })
            }
            (WIDEN, Payload::Inline(bytes)) => {
                let length = (word(bytes) as usize).min(reply.len());
                reply[..length].fill(0);
                Ok(Answer::Inline { length_bytes: length as u32 })
            }
            (kind, _) => Err(RequestError::UnknownKind { kind: kind.into() }),
        }
    }

    fn peer_gone(&mut self, _serial: Serial, _context: &mut ServiceContext<'_>) {
        self.gone.fetch_add(1, Ordering::Relaxed);
    }

    fn make_room(&mut self, _class: ClassIndex, _context: &mut ServiceContext<'_>) -> u32 {
        0
    }

    fn audit(&self, _pool: &VarSlotPool, _report: &mut AuditReport) {}

    fn stats(&self, _pool: &VarSlotPool) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}
