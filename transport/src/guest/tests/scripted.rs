//! A host that does exactly what a test tells it, over real areas and a real socket.

use crate::control::{ControlWriter, PeerFields};
use crate::format::{HostState, POOL_MAGIC, PeerState, RingsHeader, Role};
use crate::guest::{Guest, GuestOptions};
use crate::layout::{ControlLayout, Geometry, RingsLayout};
use crate::socket::AttachSocket;
use crate::touch::TouchReader;
use crate::wire::{Hello, Welcome, kind};
use onecopy_shm::{
    Access, Consumer, FrameHeader, LeaseScan, Mapping, Producer, Region, Sleeper, SlotRef,
    SlotState, SlotWord, Waker, lease_table_bytes, ring_layout,
};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::mem::{offset_of, size_of};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

pub(in crate::guest) const SERIAL: u32 = 3;
pub(in crate::guest) const ROW: u32 = 1;
pub(in crate::guest) const SEGMENT_ID: u128 = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;
pub(in crate::guest) const CAPACITY: u32 = 4096;
pub(in crate::guest) const INLINE_MAX: u32 = 256;
pub(in crate::guest) const UNIT: u64 = 4096;
const LEASES: u32 = 64;
const TOUCH_ENTRIES: u32 = 16;

pub(in crate::guest) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

pub(in crate::guest) fn in_ms(milliseconds: u64) -> Instant {
    Instant::now() + Duration::from_millis(milliseconds)
}

pub(in crate::guest) fn geometry() -> Geometry {
    Geometry {
        granule_bytes: 64,
        unit_bytes: UNIT,
        pool_bytes_max: 64 * UNIT,
        slots_max: 256,
        peers_max: 4,
        service_bytes: 64,
        service_id: 7,
        classes: vec![64, 256, 4096],
        leases_max: LEASES.into(),
    }
}

fn memory(name: &str, size_bytes: u64) -> OwnedFd {
    let file = memfd_create(name, MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, size_bytes).unwrap();
    file
}

fn reopen(file: &OwnedFd, access: Access) -> OwnedFd {
    let flags = match access {
        Access::ReadOnly => rustix::fs::OFlags::RDONLY,
        Access::ReadWrite => rustix::fs::OFlags::RDWR,
    };
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::open(path, flags | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty()).unwrap()
}

fn map(file: &OwnedFd, size_bytes: u64) -> Arc<Mapping> {
    Mapping::map(file, size_bytes, Access::ReadWrite).unwrap()
}

/// The areas of a segment.
pub(in crate::guest) struct Areas {
    pub(in crate::guest) control: ControlWriter,
    pub(in crate::guest) pool: Arc<Mapping>,
    control_file: OwnedFd,
    pool_file: OwnedFd,
}

impl Areas {
    /// A segment whose pool has 16 units.
    pub(in crate::guest) fn new() -> Areas {
        Areas::of_segment(SEGMENT_ID)
    }

    /// The same of another segment.
    pub(in crate::guest) fn of_segment(segment_id: u128) -> Areas {
        let geometry = geometry();
        let control_bytes = ControlLayout::new(&geometry).size_bytes;
        let control_file = memory("control", control_bytes);
        let mapping = map(&control_file, control_bytes);
        let control = ControlWriter::initialise(mapping, &geometry, segment_id).unwrap();
        control.set_boot_epoch(1);
        control.set_host_state(HostState::Serving);
        control.set_slots_ready(geometry.slots_max);
        control.set_pool_bytes(16 * UNIT);
        let pool_file = memory("pool", geometry.pool_bytes_max);
        let pool = map(&pool_file, geometry.pool_bytes_max);
        let areas = Areas { control, pool, control_file, pool_file };
        areas.name_pool(segment_id);
        areas
    }

    /// Writes what the pool begins with.
    pub(in crate::guest) fn name_pool(&self, segment_id: u128) {
        let region = self.pool.region(0, 64).unwrap();
        let words = [POOL_MAGIC, segment_id as u64, (segment_id >> 64) as u64];
        for (offset, word) in (0..).step_by(8).zip(words) {
            region.word(offset).unwrap().store(word, Ordering::Relaxed);
        }
    }

    /// Makes a slot of this size that is granted to the guest.
    pub(in crate::guest) fn grant(&self, slot: u32, offset: u64, slot_bytes: u64) -> SlotRef {
        self.control.set_slot_place(slot, offset, slot_bytes);
        let word = SlotWord::decode(1 << 32).unwrap();
        let word = word.carve().unwrap().grant(SERIAL).unwrap();
        self.control.set_slot_word(slot, word);
        SlotRef { slot, generation: word.generation() }
    }

    /// Publishes a granted slot.
    pub(in crate::guest) fn publish(&self, slot: SlotRef, length_bytes: u64) {
        self.control.set_slot_publication(slot.slot, length_bytes, &[9; 5], &[8; 7]);
        self.control.set_slot_word(slot.slot, SlotWord::published(slot.generation));
    }

    /// Retires a published slot.
    pub(in crate::guest) fn retire(&self, slot: SlotRef) {
        let word = SlotWord::published(slot.generation).retire().unwrap();
        assert_eq!(word.state(), SlotState::Retired);
        self.control.set_slot_word(slot.slot, word);
    }

    pub(in crate::guest) fn region(&self, offset: u64, size_bytes: u64) -> Region {
        self.pool.region(offset, size_bytes).unwrap()
    }

    /// Bytes of the pool as words.
    pub(in crate::guest) fn fill(&self, offset: u64, size_bytes: u64, byte: u8) {
        let region = self.region(offset, size_bytes);
        let word = u64::from_ne_bytes([byte; 8]);
        for offset in (0..size_bytes).step_by(8) {
            region.word(offset).unwrap().store(word, Ordering::Relaxed);
        }
    }
}

/// What a test may change about the attach.
pub(in crate::guest) struct Script {
    pub(in crate::guest) serial: u32,
    pub(in crate::guest) lease_serial: Option<u32>,
    /// What the rings' header says of the touch log.
    pub(in crate::guest) touch_entries: u64,
    /// Changes the welcome before it leaves.
    pub(in crate::guest) alter: fn(&mut Welcome),
    /// How many of the descriptors leave.
    pub(in crate::guest) descriptors: usize,
}

impl Default for Script {
    fn default() -> Script {
        let touch_entries = TOUCH_ENTRIES.into();
        Script { serial: SERIAL, lease_serial: None, touch_entries, alter: |_| {}, descriptors: 5 }
    }
}

/// The host's end of one attach.
pub(in crate::guest) struct ScriptedHost {
    pub(in crate::guest) areas: Arc<Areas>,
    pub(in crate::guest) socket: AttachSocket,
    pub(in crate::guest) hello: Hello,
    pub(in crate::guest) requests: Consumer,
    pub(in crate::guest) replies: Producer,
    pub(in crate::guest) rings: Region,
    pub(in crate::guest) scan: LeaseScan,
    touches: TouchReader,
    waker: Waker,
    /// The host's own word.
    sleeper: Sleeper,
    /// The guest's pidfd and eventfd.
    pub(in crate::guest) descriptors: Vec<OwnedFd>,
}

impl ScriptedHost {
    /// Takes a hello and answers it as the script says.
    pub(in crate::guest) fn welcome(
        areas: Arc<Areas>,
        socket: AttachSocket,
        script: &Script,
    ) -> ScriptedHost {
        let mut record = [0; size_of::<Hello>()];
        let received = socket.receive(&mut record, 2, soon()).unwrap();
        let (hello, role) = Hello::parse(&record[..received.length]).unwrap();
        let layout = RingsLayout::new(CAPACITY, TOUCH_ENTRIES).unwrap();
        let rings_bytes = layout.size_bytes;
        let rings_file = memory("rings", rings_bytes);
        let rings = map(&rings_file, rings_bytes).region(0, rings_bytes).unwrap();
        let set = |offset: usize, value: u64| {
            rings.word(offset as u64).unwrap().store(value, Ordering::Relaxed);
        };
        set(offset_of!(RingsHeader, serial), script.serial.into());
        set(offset_of!(RingsHeader, capacity_bytes), CAPACITY.into());
        set(offset_of!(RingsHeader, touch_entries), script.touch_entries);
        let lease_bytes = lease_table_bytes(LEASES);
        let leases_file = memory("leases", lease_bytes);
        let leases = map(&leases_file, lease_bytes).region(0, lease_bytes).unwrap();
        let lease_serial = script.lease_serial.unwrap_or(script.serial);
        areas.control.set_peer(ROW.into(), &peer(script.serial, role, lease_serial));
        let mut welcome = Welcome::blank();
        welcome.serial = script.serial.into();
        welcome.row = ROW.into();
        welcome.lease_serial = lease_serial.into();
        welcome.ring_capacity_bytes = CAPACITY.into();
        welcome.inline_bytes_max = INLINE_MAX.into();
        welcome.heartbeat_interval_ms = 20.into();
        welcome.control_bytes = ControlLayout::new(&geometry()).size_bytes.into();
        welcome.rings_bytes = rings_bytes.into();
        (script.alter)(&mut welcome);
        let mut handed = vec![
            reopen(&areas.control_file, Access::ReadOnly),
            reopen(&areas.pool_file, Access::ReadOnly),
            reopen(&rings_file, Access::ReadWrite),
            reopen(&leases_file, Access::ReadWrite),
        ];
        if role == Role::Writer {
            handed.push(reopen(&areas.pool_file, Access::ReadWrite));
        }
        handed.truncate(script.descriptors);
        let borrowed: Vec<_> = handed.iter().map(AsFd::as_fd).collect();
        socket.send(welcome.as_bytes(), &borrowed, soon()).unwrap();
        let asleep = rings.read_word(offset_of!(RingsHeader, guest_asleep) as u64).unwrap();
        let ring = |offset| rings.subregion(offset, layout.ring_bytes).unwrap();
        ScriptedHost {
            requests: Consumer::new(ring(layout.requests), CAPACITY).unwrap(),
            replies: Producer::new(ring(layout.replies), CAPACITY).unwrap(),
            scan: LeaseScan::new(&leases, LEASES).unwrap(),
            touches: TouchReader::new(&rings, layout.touches, TOUCH_ENTRIES).unwrap(),
            waker: Waker::new(asleep),
            sleeper: Sleeper::new(areas.control.host_asleep_word()),
            descriptors: received.descriptors,
            areas,
            socket,
            hello,
            rings,
        }
    }

    /// The next request of the guest.
    #[track_caller]
    pub(in crate::guest) fn next(&mut self) -> (FrameHeader, Vec<u8>) {
        let deadline = soon();
        loop {
            if let Some(frame) = self.requests.try_read().unwrap() {
                let mut bytes = Vec::new();
                frame.copy_to(&mut bytes);
                return (frame.header(), bytes);
            }
            assert!(Instant::now() < deadline, "no request came");
            thread::yield_now();
        }
    }

    /// Whether the guest has sent nothing more.
    pub(in crate::guest) fn is_idle(&mut self) -> bool {
        !self.requests.is_ready()
    }

    /// Sends one frame and wakes the guest if it sleeps.
    #[track_caller]
    pub(in crate::guest) fn send(&mut self, kind: u8, flags: u8, request_id: u32, bytes: &[u8]) {
        let deadline = soon();
        let length = bytes.len() as u32;
        while !self.replies.has_room(length).unwrap() {
            assert!(Instant::now() < deadline, "the guest takes nothing");
            thread::yield_now();
        }
        let mut grant = self.replies.try_grant(length).unwrap();
        grant.bytes_mut().copy_from_slice(bytes);
        grant.commit(length, kind, flags, request_id).unwrap();
        if self.waker.should_ring() {
            let _ = self.socket.send_byte(1);
        }
    }

    /// Answers requests with 200 bytes until one finds no room for that; with it the host goes to
    /// sleep, and its header is returned.
    #[track_caller]
    pub(in crate::guest) fn answer_until_full(&mut self) -> FrameHeader {
        loop {
            let (header, _) = self.next();
            if !self.replies.has_room(200).unwrap() {
                self.sleeper.prepare();
                assert!(rustix::io::read(&self.descriptors[1], &mut [0; 8]).is_err());
                return header;
            }
            self.send(header.kind, 0, header.request_id, &[7; 200]);
        }
    }

    /// Says that the host sleeps.
    pub(in crate::guest) fn lie_down(&mut self) {
        self.sleeper.prepare();
    }

    /// How often the guest has rung since the host went to sleep. It is awake then.
    pub(in crate::guest) fn rings(&mut self) -> u64 {
        self.sleeper.awake();
        let mut count = [0; 8];
        let read = rustix::io::read(&self.descriptors[1], &mut count);
        read.map_or(0, |_| u64::from_ne_bytes(count))
    }

    /// Lets a guest that attached anew take over what it still uses: answers all of its handover, and
    /// returns the slots that it named.
    #[track_caller]
    pub(in crate::guest) fn hand_over(&mut self) -> Vec<SlotRef> {
        let mut slots = Vec::new();
        loop {
            let (header, bytes) = self.next();
            assert_eq!(header.kind, kind::HANDOVER);
            let words =
                bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
            let words: Vec<u64> = words.collect();
            slots.extend(words[1..].iter().map(|&word| SlotRef::from_u64(word).unwrap()));
            self.send(kind::HANDOVER, 0, header.request_id, &[]);
            if words[0] != 0 {
                return slots;
            }
        }
    }

    /// Answers the next request with its own bytes.
    #[track_caller]
    pub(in crate::guest) fn echo(&mut self) -> FrameHeader {
        let (header, bytes) = self.next();
        self.send(header.kind, 0, header.request_id, &bytes);
        header
    }

    /// Grants slots of a class: in answer to a request, or unasked with id 0.
    pub(in crate::guest) fn send_grants(
        &mut self,
        kind: u8,
        request_id: u32,
        class: u64,
        slots: &[SlotRef],
    ) {
        let place = |slot: &SlotRef| [slot.to_u64(), self.areas.control.slot_offset(slot.slot)];
        let words = [class].into_iter().chain(slots.iter().flat_map(place));
        let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        self.send(kind, 0, request_id, &bytes);
    }

    /// Answers a refill.
    #[track_caller]
    pub(in crate::guest) fn refill(
        &mut self,
        class: u64,
        slots: &[SlotRef],
    ) -> (FrameHeader, Vec<u8>) {
        let (header, bytes) = self.next();
        assert_eq!(header.kind, kind::REFILL);
        self.send_grants(kind::REFILL, header.request_id, class, slots);
        (header, bytes)
    }

    /// What is leased now.
    pub(in crate::guest) fn leased(&self) -> Vec<SlotRef> {
        let mut leased = Vec::new();
        self.scan.for_each(|slot| leased.push(slot));
        leased
    }

    /// Uses that the guest has noted since this was last asked.
    pub(in crate::guest) fn noted(&mut self) -> Vec<SlotRef> {
        let mut noted = Vec::new();
        self.touches.renew();
        self.touches.take(|slot| noted.push(slot));
        noted
    }

    pub(in crate::guest) fn heartbeat(&self) -> u64 {
        let offset = offset_of!(RingsHeader, guest_heartbeat) as u64;
        self.rings.read_word(offset).unwrap().load(Ordering::Relaxed)
    }

    pub(in crate::guest) fn guest_sleeps(&self) -> bool {
        let offset = offset_of!(RingsHeader, guest_asleep) as u64;
        self.rings.read_word(offset).unwrap().load(Ordering::Relaxed) & 1 == 1
    }

    #[track_caller]
    pub(in crate::guest) fn wait_for_sleep(&self) {
        let deadline = soon();
        while !self.guest_sleeps() {
            assert!(Instant::now() < deadline, "the guest does not sleep");
            thread::yield_now();
        }
    }
}

fn peer(serial: u32, role: Role, lease_serial: u32) -> PeerFields {
    PeerFields {
        serial,
        state: PeerState::Attached,
        attached: true,
        role,
        pid: 1,
        process_inode: 1,
        start_time_ticks: 1,
        boot_id: 1,
        uid: 1,
        lease_serial,
        suspicion: None,
    }
}

pub(in crate::guest) fn options() -> GuestOptions {
    GuestOptions { attach_deadline: Duration::from_secs(10), ..GuestOptions::at("/nowhere") }
}

/// A guest and its host.
pub(in crate::guest) fn attached_with(options: GuestOptions) -> (Guest, ScriptedHost) {
    let (ours, theirs) = AttachSocket::pair().unwrap();
    let host: JoinHandle<ScriptedHost> = thread::spawn(move || {
        ScriptedHost::welcome(Arc::new(Areas::new()), ours, &Script::default())
    });
    let guest = Guest::claim(theirs.into_fd(), options).unwrap();
    (guest, host.join().unwrap())
}

pub(in crate::guest) fn attached() -> (Guest, ScriptedHost) {
    attached_with(options())
}

/// Where the data of the answer ring begins in the rings file.
pub(in crate::guest) fn replies_offset() -> u64 {
    let replies = RingsLayout::new(CAPACITY, TOUCH_ENTRIES).unwrap().replies;
    replies + ring_layout(CAPACITY.into()).unwrap().data_offset
}
