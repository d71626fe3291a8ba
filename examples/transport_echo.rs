//! The transport alone, without the cache: a request/reply service between two processes, with
//! payloads from 0 bytes to 64 MiB.
//!
//! The program is the host and starts itself once more as its guest. Small payloads travel in the
//! ring; large ones are written by the guest into a slot of the shared pool, and what travels is the
//! slot's name. The host answers with the same slot: no byte of it is copied.
//!
//! ```text
//! cargo run --release -p onecopy-examples --bin transport-echo
//! ```

use onecopy_shm::SlotRef;
use onecopy_transport::audit::AuditReport;
use onecopy_transport::guest::{Guest, GuestOptions, Reply};
use onecopy_transport::host::{Host, HostOptions};
use onecopy_transport::layout::Geometry;
use onecopy_transport::pool::{ClassIndex, VarSlotPool};
use onecopy_transport::service::{
    Answer, Found, Payload, Request, Service, ServiceContext, ServiceError, ServiceStart,
};
use onecopy_transport::wire::{RequestError, SERVICE_KIND_MIN};
use std::error::Error;
use std::process::Command;
use std::time::{Duration, Instant};

/// The one request this service knows: send back what came.
const ECHO: u8 = SERVICE_KIND_MIN;
/// Payload sizes tried, in bytes.
const SIZES: [usize; 9] = [0, 1, 64, 1 << 10, 4 << 10, 64 << 10, 1 << 20, 16 << 20, 64 << 20];
/// Requests for each size.
const ROUNDS: u32 = 20;
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends every payload back. It keeps nothing, so most of the seam is empty.
struct Echo;

impl Service for Echo {
    fn id(&self) -> u64 {
        u64::from_le_bytes(*b"echo\0\0\0\x01")
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
        match request.payload {
            Payload::Inline(bytes) => bytes.len() as u32,
            Payload::Slot { .. } => 0,
        }
    }

    fn request(
        &mut self,
        request: &Request<'_>,
        _context: &mut ServiceContext<'_>,
        reply: &mut [u8],
    ) -> Result<Answer, RequestError> {
        if request.kind != ECHO {
            return Err(RequestError::UnknownKind { kind: request.kind.into() });
        }
        Ok(match request.payload {
            Payload::Inline(bytes) => {
                reply[..bytes.len()].copy_from_slice(bytes);
                Answer::Inline { length_bytes: bytes.len() as u32 }
            }
            Payload::Slot { slot, length_bytes } => Answer::Slot { slot, length_bytes },
        })
    }

    fn peer_gone(&mut self, _serial: u32, _context: &mut ServiceContext<'_>) {}

    fn make_room(&mut self, _class: ClassIndex, _context: &mut ServiceContext<'_>) -> u32 {
        0
    }

    fn audit(&self, _pool: &VarSlotPool, _report: &mut AuditReport) {}

    fn stats(&self, _pool: &VarSlotPool) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).as_deref() == Some("guest") { guest() } else { host() }
}

fn host() -> Result<(), Box<dyn Error>> {
    let directory = std::env::temp_dir().join(format!("onecopy-echo-{}", std::process::id()));
    let mut options = HostOptions::new(&directory);
    options.pool_bytes = 192 << 20;
    options.pool_bytes_max = 768 << 20;
    options.slot_bytes_max = Some(64 << 20);
    options.remove_on_leave = true;
    let host = Host::start(options, Echo)?;
    let handle = host.handle();
    let loop_thread = std::thread::spawn(move || host.serve());

    let reservation = handle.reserve(Instant::now() + PATIENCE)?;
    let mut program = Command::new(std::env::current_exe()?);
    let status = reservation.spawn(program.arg("guest"))?.wait()?;

    let audit = handle.audit(Instant::now() + PATIENCE)?;
    handle.leave()?;
    loop_thread.join().map_err(|_| "the host's thread panicked")??;
    println!("guest: {status}; audit: {}", if audit.is_clean() { "clean" } else { "NOT clean" });
    if status.success() && audit.is_clean() { Ok(()) } else { Err("the echo failed".into()) }
}

fn guest() -> Result<(), Box<dyn Error>> {
    let guest = Guest::claim_from_environment(GuestOptions::at(""))?;
    println!("{:>12}  {:>12}  travels", "bytes", "median");
    for size in SIZES {
        let mut times = Vec::new();
        for round in 0..ROUNDS {
            let started = Instant::now();
            let reply = echo(&guest, size, round as u8)?;
            times.push(started.elapsed());
            if reply.len() != size || reply.iter().any(|byte| *byte != round as u8) {
                return Err(format!("{size} bytes came back wrong").into());
            }
        }
        times.sort();
        let travels =
            if size <= guest.inline_bytes_max() as usize { "in the ring" } else { "by slot" };
        println!("{size:>12}  {:>12.1?}  {travels}", times[times.len() / 2]);
    }
    guest.detach(Instant::now() + PATIENCE)?;
    Ok(())
}

/// One request. A large payload is written straight into shared memory.
fn echo(guest: &Guest, size: usize, fill: u8) -> Result<Reply, Box<dyn Error>> {
    let deadline = Instant::now() + PATIENCE;
    if size <= guest.inline_bytes_max() as usize {
        return Ok(guest.call(ECHO, &vec![fill; size], deadline)?);
    }
    let mut reservation = guest.reserve(size as u64, deadline)?;
    reservation[..size].fill(fill);
    Ok(guest.call_slot(ECHO, reservation, size as u64, deadline)?)
}
