//! A host whose guests write anything anywhere they can: the frames of their ring, its header
//! words, both read positions, their lease tables. Another guest keeps to the rules and must lose
//! nothing.
//!
//! All of it runs in one thread and by the input alone, so that what is found can be found again.

use super::Input;
use super::honest::Honest;
use super::input::lie;
use crate::harness::{RawGuest, Segment, key};
use onecopy::protocol::kind as kv_kind;
use onecopy::service::{CacheService, CacheServiceOptions, Capacity};
use onecopy_shm::{Access, Mapping, Region, lease_table_bytes};
use onecopy_transport::format::Role;
use onecopy_transport::host::{Host, HostOptions};
use onecopy_transport::wire::{SERVICE_KIND_MIN, kind};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub(super) const LEASES_MAX: u32 = 64;
const RING_CAPACITY_BYTES: u32 = 4096;
/// What one guest may have carried out in one turn.
const REQUESTS_PER_TURN: u64 = 64;
/// What a guest that says goodbye may have left in its ring and have read once more: frames of 8
/// bytes in twice the capacity.
const REQUESTS_LEFT_MAX: u64 = 2 * RING_CAPACITY_BYTES as u64 / 8;
/// Attaches of hostile guests in one run.
const ATTACHES_MAX: usize = 6;
const STEPS_MAX: usize = 256;

/// Runs one script against a fresh host.
pub fn run(bytes: &[u8]) {
    let segment = Segment::new();
    let mut input = Input::new(bytes);
    let mut stage = Stage::new(&segment, input.byte());
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        stage.step(&mut input);
    }
    stage.check();
}

struct Stage {
    host: Host<CacheService>,
    path: PathBuf,
    role: Role,
    honest: Honest,
    hostile: Option<Hostile>,
    attaches: usize,
}

/// A guest without manners.
struct Hostile {
    guest: RawGuest,
    leases: Region,
    /// References to slots that it has seen, to lie with.
    seen: Vec<u64>,
}

impl Stage {
    fn new(segment: &Segment, choices: u8) -> Stage {
        let choice = |bit: u8| choices >> bit & 1 == 1;
        let capacity = if choice(1) { Capacity::Blocks(3) } else { Capacity::Unbounded };
        let service =
            CacheService::new(CacheServiceOptions { capacity, ..CacheServiceOptions::default() });
        // A tick in every look or never: not by the clock.
        let heartbeat_interval =
            if choice(2) { Duration::ZERO } else { Duration::from_secs(24 * 3600) };
        let mut host = Host::start(
            HostOptions {
                pool_bytes: 512 << 10,
                pool_bytes_max: 512 << 10,
                granule_bytes: 1024,
                slot_bytes_max: Some(16 << 10),
                guests_max: 8,
                ring_capacity_bytes: RING_CAPACITY_BYTES,
                inline_bytes_max: 512,
                heartbeat_interval,
                suspect_after_intervals: if choice(3) { 3 } else { 1 << 30 },
                leases_max: LEASES_MAX,
                magazine_slots_max: 4,
                ..HostOptions::new(segment.path())
            },
            service,
        )
        .unwrap();
        let honest = Honest::new(&mut host);
        let role = if choice(0) { Role::Reader } else { Role::Writer };
        let path = host.segment().to_owned();
        let mut stage = Stage { host, path, role, honest, hostile: None, attaches: 0 };
        stage.attach();
        stage
    }

    /// Lets one more hostile guest in; the one before stays attached and says nothing more.
    fn attach(&mut self) {
        if self.attaches == ATTACHES_MAX {
            return;
        }
        self.attaches += 1;
        let host = &mut self.host;
        let guest = RawGuest::attach_while(&self.path, self.role, || {
            for _ in 0..2 {
                host.look(Duration::ZERO).unwrap();
            }
        });
        let size_bytes = lease_table_bytes(LEASES_MAX);
        let leases = Mapping::map(&guest.descriptors[3], size_bytes, Access::ReadWrite).unwrap();
        let leases = leases.region(0, size_bytes).unwrap();
        let seen = vec![self.honest.kept.to_u64(), self.honest.granted.to_u64()];
        self.hostile = Some(Hostile { guest, leases, seen });
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let Some(hostile) = self.hostile.as_mut() else { return };
        match input.byte() % 12 {
            0 => self.turn(),
            1 => self.host.look(Duration::ZERO).unwrap(),
            2 => hostile.send_anything(input),
            3 | 4 => hostile.send_plausible(input),
            5 | 6 => scribble(&hostile.guest.rings.clone(), &hostile.seen, input),
            7 => scribble(&hostile.leases.clone(), &hostile.seen, input),
            8 => hostile.take_answers(),
            9 => self.honest.step(&mut self.host, input.byte()),
            10 => self.attach(),
            _ => {
                hostile.guest.ring();
                self.turn();
            }
        }
    }

    fn turn(&mut self) {
        let (requests, gone) = (figure(&self.host, "requests"), figure(&self.host, "departed"));
        self.host.turn();
        let guests = 1 + self.attaches as u64;
        let gone = figure(&self.host, "departed") - gone;
        let most = guests * REQUESTS_PER_TURN + gone * REQUESTS_LEFT_MAX;
        let taken = figure(&self.host, "requests") - requests;
        assert!(taken <= most, "{taken} requests in one turn, expected at most {most}");
    }

    /// Nobody but the hostile guests has lost anything, and all of it adds up.
    fn check(mut self) {
        for _ in 0..4 {
            self.turn();
            self.host.look(Duration::ZERO).unwrap();
        }
        self.honest.check(&mut self.host);
        let cut_off = figure(&self.host, "cut_off") as usize;
        assert!(cut_off <= self.attaches, "{cut_off} cut off");
        let report = self.host.audit();
        assert!(report.is_clean(), "{report}");
    }
}

/// A figure of the host by its name.
pub(super) fn figure(host: &Host<CacheService>, wanted: &str) -> u64 {
    let figures = host.stats();
    let found = figures.iter().find(|(name, _)| *name == wanted);
    found.unwrap_or_else(|| panic!("no figure {wanted}")).1
}

/// Stores a word where the input says.
fn scribble(region: &Region, seen: &[u64], input: &mut Input<'_>) {
    let place = u64::from(input.short()) * 8 % region.size_bytes();
    let word = region.word(place).unwrap();
    let value = lie(input, word.load(Ordering::Relaxed), seen);
    word.store(value, Ordering::Release);
}

impl Hostile {
    /// A frame that the ring takes: any kind, flags, id and bytes.
    fn send_anything(&mut self, input: &mut Input<'_>) {
        let (kind, flags, request_id) = (input.byte(), input.byte(), input.short());
        let length = usize::from(input.short() % 1024);
        let bytes = input.bytes(length);
        self.commit(kind, flags, request_id.into(), bytes);
    }

    /// A request of the right form about things that exist, whether or not they are its own.
    fn send_plausible(&mut self, input: &mut Input<'_>) {
        let choice = input.byte();
        let mut bytes = Vec::new();
        let kind = match choice % 12 {
            0..=2 => {
                bytes.extend((u64::from(input.byte()) << 8 | 1).to_le_bytes());
                bytes.extend(u64::from(input.byte()).to_le_bytes());
                kind::REFILL
            }
            3 => {
                for _ in 0..input.byte() % 8 {
                    bytes.extend(self.slot(input).to_le_bytes());
                }
                kind::GIVE_BACK
            }
            4 => {
                bytes
                    .extend(u64::from(self.guest.serial() ^ u32::from(input.byte())).to_le_bytes());
                kind::GOODBYE
            }
            5 => {
                let length = input.byte();
                bytes.extend(input.bytes(length.into()));
                kind::PING
            }
            6 => kind::STATS + input.byte() % 2,
            7 | 8 => {
                let count = 1 + input.byte() % 3;
                bytes.extend(u64::from(count).to_le_bytes());
                for _ in 0..count {
                    bytes.extend(self.slot(input).to_le_bytes());
                    bytes.extend(u64::from(input.short()).to_le_bytes());
                    bytes.extend(0_u64.to_le_bytes());
                    bytes.extend(u64::from(input.byte()).to_le_bytes());
                    bytes.extend(key(u64::from(input.byte() % 16)).as_bytes());
                }
                kv_kind::PUBLISH
            }
            9 => {
                bytes.extend(1_u64.to_le_bytes());
                bytes.extend(self.slot(input).to_le_bytes());
                bytes.extend(key(u64::from(input.byte() % 16)).as_bytes());
                kv_kind::REPORT
            }
            _ => {
                let count = 1 + input.byte() % 6;
                bytes.extend(u64::from(count).to_le_bytes());
                for _ in 0..count {
                    bytes.extend(key(u64::from(input.byte() % 16)).as_bytes());
                }
                SERVICE_KIND_MIN + input.byte() % 8
            }
        };
        let flags = if choice >= 0xf0 { input.byte() } else { 0 };
        self.commit(kind, flags, 1, &bytes);
    }

    /// A reference that it has seen, or one like it.
    fn slot(&self, input: &mut Input<'_>) -> u64 {
        let choice = usize::from(input.byte()) % self.seen.len();
        lie(input, self.seen[choice], &self.seen)
    }

    /// What the ring does not take is not sent: its words may be anything by now.
    fn commit(&mut self, kind: u8, flags: u8, request_id: u32, bytes: &[u8]) {
        if let Ok(mut grant) = self.guest.requests.try_grant(bytes.len() as u32) {
            grant.bytes_mut().copy_from_slice(bytes);
            let _ = grant.commit(bytes.len() as u32, kind, flags, request_id);
        }
    }

    fn take_answers(&mut self) {
        for _ in 0..16 {
            let Ok(Some(frame)) = self.guest.answers.try_read() else { return };
            if matches!(frame.header().kind, kind::REFILL | kind::GRANTS | kv_kind::LOOKUP) {
                for offset in (0..frame.header().length as usize).step_by(8).take(16) {
                    self.seen.extend(frame.word(offset).filter(|word| word >> 32 != 0));
                }
            }
            frame.release();
        }
    }
}
