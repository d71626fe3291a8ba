//! A host in a thread of its own, with a service small enough to read.

use onecopy_shm::SlotRef;
use onecopy_transport::Serial;
use onecopy_transport::audit::AuditReport;
use onecopy_transport::guest::{Guest, GuestOptions};
use onecopy_transport::host::{Host, HostHandle, HostOptions};
use onecopy_transport::layout::Geometry;
use onecopy_transport::pool::{ClassIndex, VarSlotPool};
use onecopy_transport::service::{
    Answer, Found, Payload, Request, Service, ServiceContext, ServiceError, ServiceStart,
};
use onecopy_transport::wire::RequestError;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Sends the payload back, in the frame or in the slot it came in.
pub const ECHO: u8 = 40;
/// Publishes a slot: `SlotRef` and length.
pub const PUBLISH: u8 = 41;
/// Retires a published slot: `SlotRef`.
pub const RETIRE: u8 = 42;

pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// The service.
pub struct Desk;

fn word(bytes: &[u8], index: usize) -> u64 {
    let word = bytes.get(index * 8..index * 8 + 8).unwrap_or(&[0; 8]);
    u64::from_le_bytes(word.try_into().unwrap_or_default())
}

impl Service for Desk {
    fn id(&self) -> u64 {
        0x6465_736b
    }

    fn region_bytes(&self, _: &Geometry) -> u64 {
        64
    }

    fn start(&mut self, _: ServiceStart<'_>) -> Result<(), ServiceError> {
        Ok(())
    }

    fn slot_found(&mut self, _: SlotRef, _: &mut ServiceContext<'_>) -> Found {
        Found::Keep
    }

    fn reply_bytes_max(&self, request: &Request<'_>) -> u32 {
        match request.payload {
            Payload::Inline(bytes) => bytes.len() as u32,
            Payload::Slot { .. } => 16,
        }
    }

    fn request(
        &mut self,
        request: &Request<'_>,
        context: &mut ServiceContext<'_>,
        reply: &mut [u8],
    ) -> Result<Answer, RequestError> {
        if request.kind == ECHO {
            return Ok(match request.payload {
                Payload::Slot { slot, length_bytes } => Answer::Slot { slot, length_bytes },
                Payload::Inline(bytes) => {
                    reply[..bytes.len()].copy_from_slice(bytes);
                    Answer::Inline { length_bytes: bytes.len() as u32 }
                }
            });
        }
        let bytes = request.inline()?;
        let slot = SlotRef::from_u64(word(bytes, 0)).ok_or(request.malformed(0))?;
        let bad = RequestError::BadSlot {
            slot: slot.slot.into(),
            generation: slot.generation.into(),
            length_bytes: word(bytes, 1),
        };
        let done = match request.kind {
            PUBLISH => {
                context.pool.publish(request.serial, slot, word(bytes, 1), &[1; 5], &[2; 7]).is_ok()
            }
            RETIRE => context.pool.retire(slot).is_ok(),
            kind => return Err(RequestError::UnknownKind { kind: kind.into() }),
        };
        if done { Ok(Answer::Inline { length_bytes: 0 }) } else { Err(bad) }
    }

    fn peer_gone(&mut self, _: Serial, _: &mut ServiceContext<'_>) {}

    fn make_room(&mut self, _: ClassIndex, _: &mut ServiceContext<'_>) -> u32 {
        0
    }

    fn audit(&self, _: &VarSlotPool, _: &mut AuditReport) {}

    fn stats(&self, _: &VarSlotPool) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// A host that serves until it is told to leave.
pub struct Serving {
    pub handle: HostHandle,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    pub fn start(options: HostOptions) -> Serving {
        let host = Host::start(options, Desk).unwrap();
        let handle = host.handle();
        let thread = thread::spawn(move || host.serve().unwrap());
        Serving { handle, thread: Some(thread) }
    }

    pub fn leave(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.handle.leave();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    #[track_caller]
    pub fn assert_clean(&self) {
        let report = self.handle.audit(soon()).unwrap();
        assert!(report.is_clean(), "{report}");
    }

    pub fn figure(&self, name: &str) -> u64 {
        let stats = self.handle.stats(soon()).unwrap();
        let figure = stats.iter().find(|(found, _)| *found == name);
        figure.map(|(_, value)| *value).unwrap_or_else(|| panic!("no figure {name}"))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.end();
    }
}

/// A directory for a segment that goes when the test ends.
pub fn place() -> (TempDir, PathBuf) {
    let base = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let segment = base.path().join("segment");
    (base, segment)
}

/// A small segment.
pub fn host_options(segment: &Path) -> HostOptions {
    HostOptions {
        pool_bytes: 4 << 20,
        pool_bytes_max: 4 << 20,
        slot_bytes_max: Some(1 << 20),
        leases_max: 1024,
        heartbeat_interval: Duration::from_millis(50),
        ..HostOptions::new(segment)
    }
}

pub fn guest(segment: &Path) -> Guest {
    Guest::attach(GuestOptions::at(segment)).unwrap()
}

/// Stores `bytes` in a slot and publishes it.
pub fn publish(guest: &Guest, bytes: &[u8]) -> SlotRef {
    let mut reservation = guest.reserve(bytes.len() as u64, soon()).unwrap();
    reservation[..bytes.len()].copy_from_slice(bytes);
    let slot = reservation.slot_for(guest).unwrap();
    let request = |target: &mut [u8]| {
        target[..8].copy_from_slice(&slot.to_u64().to_le_bytes());
        target[8..].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    };
    guest.call_into(PUBLISH, 16, request, &mut [], soon()).unwrap();
    reservation.into_slot()
}

pub fn retire(guest: &Guest, slot: SlotRef) {
    guest.call(RETIRE, &slot.to_u64().to_le_bytes(), soon()).unwrap();
}
