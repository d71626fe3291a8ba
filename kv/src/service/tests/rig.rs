//! A cache over a real pool in this process's heap, without a host.

use crate::index::IndexReader;
use crate::key::Key;
use crate::protocol::{
    self, Head, KeyAnswer, KeyOutcome, PublishAnswer, PublishEntry, PublishOutcome, ReportEntry,
    kind,
};
use crate::service::{CacheService, CacheServiceOptions};
use crate::stats::CacheStats;
use onecopy_shm::{Mapping, SlotRef, SlotState};
use onecopy_transport::Serial;
use onecopy_transport::audit::AuditReport;
use onecopy_transport::control::ControlWriter;
use onecopy_transport::layout::{ControlLayout, Geometry};
use onecopy_transport::pool::VarSlotPool;
use onecopy_transport::service::{
    Answer, Found, Payload, Request, Service, ServiceContext, ServiceStart,
};
use onecopy_transport::wire::RequestError;
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes, little_endian as le};

pub const SEGMENT_ID: u128 = 0x1234_5678_9abc_def0_0fed_cba9_8765_4321;

pub struct Rig {
    pub pool: VarSlotPool,
    pub service: CacheService,
    pub clock_s: u64,
    geometry: Geometry,
    control: Arc<Mapping>,
    writer: ControlWriter,
}

pub fn key(number: u64) -> Key {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Key::from_bytes(bytes)
}

fn geometry(service: &CacheService, slots_max: u64) -> Geometry {
    let mut geometry = Geometry {
        granule_bytes: 64,
        unit_bytes: Geometry::unit_bytes_for(64),
        pool_bytes_max: 4 << 20,
        slots_max,
        peers_max: 8,
        service_bytes: 0,
        service_id: service.id(),
        classes: vec![64, 128, 256, 4096, 65536],
        leases_max: 64,
    };
    geometry.service_bytes = service.region_bytes(&geometry);
    geometry.check().unwrap();
    geometry
}

impl Rig {
    pub fn new(options: CacheServiceOptions) -> Rig {
        Rig::with_slots(options, 4096)
    }

    pub fn with_slots(options: CacheServiceOptions, slots_max: u64) -> Rig {
        Rig::with_ready(options, slots_max, slots_max)
    }

    /// One whose slot table is real memory for so many slots only.
    pub fn with_ready(options: CacheServiceOptions, slots_max: u64, slots_ready: u64) -> Rig {
        let mut service = CacheService::new(options);
        let geometry = geometry(&service, slots_max);
        let layout = ControlLayout::new(&geometry);
        let control = Mapping::heap(layout.size_bytes).unwrap();
        let writer =
            ControlWriter::initialise(Arc::clone(&control), &geometry, SEGMENT_ID).unwrap();
        writer.set_serial_last(9);
        writer.set_pool_bytes(geometry.pool_bytes_max);
        writer.set_slots_ready(slots_ready);
        let region = control.region(layout.service, geometry.service_bytes).unwrap();
        let pool = VarSlotPool::create(writer.clone());
        let start = ServiceStart {
            region,
            geometry: &geometry,
            slots_ready,
            slots_published: 0,
            segment_id: SEGMENT_ID,
            fresh: true,
        };
        service.start(start).unwrap();
        Rig { pool, service, clock_s: 100, geometry, control, writer }
    }

    /// A new life of the host over the same control area.
    pub fn restart(&mut self, options: CacheServiceOptions) {
        let layout = ControlLayout::new(&self.geometry);
        let control = Arc::clone(&self.control);
        let writer = ControlWriter::new(control, self.geometry.clone()).unwrap();
        let (pool, found) = VarSlotPool::recover(writer).unwrap();
        self.pool = pool;
        self.service = CacheService::new(options);
        let region = self.control.region(layout.service, self.geometry.service_bytes).unwrap();
        let geometry = &self.geometry;
        let slots_ready = self.writer.slots_ready();
        let start = ServiceStart {
            region,
            geometry,
            slots_ready,
            slots_published: self.pool.counts().published.slots,
            segment_id: SEGMENT_ID,
            fresh: false,
        };
        self.service.start(start).unwrap();
        for found in found {
            match found.state {
                SlotState::Published => {
                    let mut context =
                        ServiceContext { pool: &mut self.pool, clock_s: self.clock_s };
                    if self.service.slot_found(found.slot, &mut context) == Found::Retire {
                        self.pool.retire(found.slot).unwrap();
                    }
                }
                SlotState::Granted => drop(self.pool.take_back(found.owner)),
                _ => {}
            }
        }
    }

    pub fn class_for(&self, size_bytes: u64) -> u16 {
        self.pool.classes().class_for(size_bytes).unwrap()
    }

    pub fn grant(&mut self, serial: Serial, size_bytes: u64) -> SlotRef {
        let class = self.class_for(size_bytes);
        self.pool.grant(serial, class).unwrap()
    }

    pub fn request(
        &mut self,
        serial: Serial,
        kind: u8,
        bytes: &[u8],
    ) -> Result<Vec<u8>, RequestError> {
        self.request_as(serial, true, kind, Payload::Inline(bytes))
    }

    pub fn request_as(
        &mut self,
        serial: Serial,
        writer: bool,
        kind: u8,
        payload: Payload<'_>,
    ) -> Result<Vec<u8>, RequestError> {
        let request = Request { serial, writer, kind, payload };
        let mut reply = vec![0xa5; self.service.reply_bytes_max(&request) as usize];
        let mut context = ServiceContext { pool: &mut self.pool, clock_s: self.clock_s };
        match self.service.request(&request, &mut context, &mut reply)? {
            Answer::Inline { length_bytes } => reply.truncate(length_bytes as usize),
            Answer::Slot { .. } => panic!("the cache answers in frames only"),
        }
        Ok(reply)
    }

    fn keys(&mut self, serial: Serial, kind: u8, keys: &[Key]) -> Vec<KeyOutcome> {
        let reply = self.request(serial, kind, &frame(0, keys)).unwrap();
        <[KeyAnswer]>::ref_from_bytes(&reply)
            .unwrap()
            .iter()
            .map(|answer| answer.decode().unwrap())
            .collect()
    }

    pub fn lookup(&mut self, keys: &[Key]) -> Vec<Option<SlotRef>> {
        self.lookup_with(0, keys)
    }

    pub fn lookup_with(&mut self, flags: u32, keys: &[Key]) -> Vec<Option<SlotRef>> {
        let reply = self.request(1, kind::LOOKUP, &frame(flags, keys)).unwrap();
        let words = <[le::U64]>::ref_from_bytes(&reply).unwrap();
        words.iter().copied().map(protocol::lookup_answer).collect()
    }

    /// A guest says that it used the block in this slot.
    pub fn used(&mut self, slot: SlotRef) {
        let mut context = ServiceContext { pool: &mut self.pool, clock_s: self.clock_s };
        self.service.used(slot, &mut context);
    }

    pub fn exists(&mut self, key: &Key) -> bool {
        match self.keys(1, kind::EXISTS, &[*key])[..] {
            [KeyOutcome::Done { .. }] => true,
            [KeyOutcome::NotFound] => false,
            ref other => panic!("{other:?}"),
        }
    }

    pub fn delete(&mut self, key: &Key) -> KeyOutcome {
        self.keys(1, kind::DELETE, &[*key])[0]
    }

    pub fn pin(&mut self, serial: Serial, key: &Key) -> KeyOutcome {
        self.keys(serial, kind::PIN, &[*key])[0]
    }

    pub fn unpin(&mut self, serial: Serial, key: &Key) -> KeyOutcome {
        self.keys(serial, kind::UNPIN, &[*key])[0]
    }

    pub fn report(&mut self, slot: SlotRef, key: &Key) -> KeyOutcome {
        let entry = ReportEntry { slot: slot.to_u64().into(), key: *key };
        let reply = self.request(1, kind::REPORT, &frame(0, &[entry])).unwrap();
        KeyAnswer::read_from_bytes(&reply).unwrap().decode().unwrap()
    }

    pub fn publish_entries(
        &mut self,
        serial: Serial,
        entries: &[PublishEntry],
    ) -> Vec<PublishOutcome> {
        let reply = self.request(serial, kind::PUBLISH, &frame(0, entries)).unwrap();
        <[PublishAnswer]>::ref_from_bytes(&reply)
            .unwrap()
            .iter()
            .map(|answer| answer.decode().unwrap())
            .collect()
    }

    /// Publishes a block of this size in a slot of its own.
    pub fn publish(&mut self, serial: Serial, key: &Key, length_bytes: u64) -> PublishOutcome {
        let slot = self.grant(serial, length_bytes);
        self.publish_entries(serial, &[entry(slot, key, length_bytes)])[0]
    }

    pub fn gone(&mut self, serial: Serial) {
        let mut context = ServiceContext { pool: &mut self.pool, clock_s: self.clock_s };
        self.service.peer_gone(serial, &mut context);
        self.pool.take_back(serial);
    }

    pub fn guard(&mut self, up: bool) {
        let mut context = ServiceContext { pool: &mut self.pool, clock_s: self.clock_s };
        self.service.guard(up, &mut context);
    }

    pub fn tick(&mut self) {
        let mut context = ServiceContext { pool: &mut self.pool, clock_s: self.clock_s };
        self.service.tick(&mut context);
    }

    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The slot table is real memory for so many slots now.
    pub fn grow(&mut self, slots_ready: u64) {
        self.writer.set_slots_ready(slots_ready);
        self.pool.grow();
        self.service.grown(slots_ready);
    }

    /// The index as another process sees it.
    pub fn index(&self) -> IndexReader {
        let layout = ControlLayout::new(&self.geometry);
        let region = self.control.region(layout.service, self.geometry.service_bytes).unwrap();
        IndexReader::open(&region).unwrap()
    }

    pub fn make_room(&mut self, class: u16) -> u32 {
        let mut context = ServiceContext { pool: &mut self.pool, clock_s: self.clock_s };
        self.service.make_room(class, &mut context)
    }

    /// Frees what nobody leases: here nobody leases anything.
    pub fn reclaim(&mut self) -> u32 {
        self.pool.reclaim(&mut |_| {})
    }

    pub fn stats(&mut self) -> CacheStats {
        let reply = self.request(1, kind::STATS, &[]).unwrap();
        CacheStats::from_words(<[le::U64]>::ref_from_bytes(&reply).unwrap())
    }

    pub fn audit(&self) -> AuditReport {
        let mut report = AuditReport::new();
        self.pool.audit(&mut report);
        self.service.audit(&self.pool, &mut report);
        report
    }

    pub fn assert_clean(&self) {
        let report = self.audit();
        assert!(report.is_clean(), "{report}");
    }
}

pub fn entry(slot: SlotRef, key: &Key, length_bytes: u64) -> PublishEntry {
    PublishEntry {
        slot: slot.to_u64().into(),
        length_bytes: length_bytes.into(),
        checksum: 0.into(),
        ttl_s: 0.into(),
        flags: 0.into(),
        key: *key,
    }
}

/// A request's payload.
pub fn frame<Entry: IntoBytes + Immutable>(flags: u32, entries: &[Entry]) -> Vec<u8> {
    let head = Head { count: (entries.len() as u32).into(), flags: flags.into() };
    [head.as_bytes(), entries.as_bytes()].concat()
}
