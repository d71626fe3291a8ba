//! The files of a small segment as bytes, to be changed and written.

use super::Input;
use super::input::lie;
use crate::harness::{RawGuest, Segment, key};
use onecopy::protocol::kind as kv_kind;
use onecopy::service::{CacheService, CacheServiceOptions};
use onecopy_shm::SlotRef;
use onecopy_transport::format::{ExtentEntry, PeerRow, Role, SegmentHeader, SlotCold, SlotEntry};
use onecopy_transport::host::{Host, HostOptions};
use onecopy_transport::layout::{ControlLayout, Geometry};
use onecopy_transport::wire::{GrantedAt, Grants, Refill, kind};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::mem::{offset_of, size_of};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, IntoBytes};

/// Files are made larger than they were up to this; what is added is a hole.
const FILE_BITS_MAX: u8 = 42;
/// Blocks that are published in the sound segment.
const BLOCKS: u64 = 6;

/// A segment's files. The host that made them is gone, one of its guests still lives.
#[derive(Clone)]
pub(super) struct Image {
    control: Vec<u8>,
    control_bytes: u64,
    pool_head: Vec<u8>,
    pool_bytes: u64,
    leases: Vec<u8>,
    leases_bytes: u64,
    lease_serial: u32,
    layout: ControlLayout,
    seen: Vec<u64>,
}

impl Image {
    /// Options of the host that made it.
    pub fn options(path: &Path) -> HostOptions {
        HostOptions {
            pool_bytes: 256 << 10,
            pool_bytes_max: 512 << 10,
            granule_bytes: 1024,
            slot_bytes_max: Some(16 << 10),
            guests_max: 4,
            ring_capacity_bytes: 4096,
            inline_bytes_max: 512,
            heartbeat_interval: Duration::from_secs(24 * 3600),
            leases_max: 64,
            ..HostOptions::new(path)
        }
    }

    /// What a host leaves that was killed: blocks, slots that a guest fills, one that it gave back.
    pub fn sound() -> Image {
        static SOUND: OnceLock<Image> = OnceLock::new();
        SOUND.get_or_init(Image::make).clone()
    }

    fn make() -> Image {
        let segment = Segment::new();
        let service = CacheService::new(CacheServiceOptions::default());
        let mut host = Host::start(Image::options(segment.path()), service).unwrap();
        let mut guest = RawGuest::attach_while(segment.path(), Role::Writer, || {
            for _ in 0..2 {
                host.look(Duration::ZERO).unwrap();
            }
        });
        let mut ask = |kind: u8, bytes: &[u8]| {
            guest.send(kind, 0, 1, bytes);
            host.turn();
            loop {
                let answer = guest.receive_until(Instant::now()).unwrap();
                if answer.header.request_id != 0 {
                    return answer;
                }
            }
        };
        let mut slots: Vec<SlotRef> = Vec::new();
        for size_bytes in [1000_u64, 5000] {
            let refill = Refill { size_bytes: size_bytes.into(), count: 8.into() };
            let answer = ask(kind::REFILL, refill.as_bytes());
            let granted = answer.bytes[size_of::<Grants>()..].chunks(size_of::<GrantedAt>());
            slots.extend(granted.filter_map(|at| {
                SlotRef::from_u64(GrantedAt::read_from_bytes(at).unwrap().slot.get())
            }));
        }
        for (number, slot) in (0..BLOCKS).zip(&slots) {
            let mut bytes = 1_u64.to_le_bytes().to_vec();
            for word in [slot.to_u64(), 900 + number, number, 0] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend(key(number).as_bytes());
            ask(kv_kind::PUBLISH, &bytes);
        }
        let one_key = [&1_u64.to_le_bytes()[..], key(BLOCKS - 1).as_bytes()].concat();
        ask(kv_kind::DELETE, &one_key);
        let last = slots.last().unwrap().to_u64();
        ask(kv_kind::STATS, &[]);
        let leases = format!("leases/{}", guest.welcome.lease_serial.get());
        let read = |name: &str| std::fs::read(segment.path().join(name)).unwrap();
        let (control, pool, leases) = (read("control"), read("pool"), read(&leases));
        let mut image = Image {
            layout: ControlLayout::new(host.geometry()),
            control_bytes: control.len() as u64,
            control,
            pool_head: pool[..64].to_vec(),
            pool_bytes: pool.len() as u64,
            leases_bytes: leases.len() as u64,
            leases,
            lease_serial: guest.welcome.lease_serial.get(),
            seen: vec![last, 1, 0],
        };
        image.seen.extend(slots.iter().map(|slot| slot.to_u64()));
        image
    }

    /// One change, as the input says.
    pub fn change(&mut self, input: &mut Input<'_>) {
        let layout = self.layout;
        match input.byte() % 13 {
            0 => {
                let offset = u64::from(input.short()) * 8;
                self.store(offset, input);
            }
            1 | 2 => {
                let field = u64::from(input.byte()) * 8 % size_of::<SegmentHeader>() as u64;
                self.store(field, input);
            }
            3 => self.store_in_row(layout.peers, size_of::<PeerRow>(), 4, input),
            4 => self.store_in_row(layout.extents, size_of::<ExtentEntry>(), 8, input),
            5 | 6 => self.store_in_row(layout.slots, size_of::<SlotEntry>(), 64, input),
            7 => self.store_in_row(layout.slots_cold, size_of::<SlotCold>(), 64, input),
            8 => self.store_in_row(layout.service, 64, 16, input),
            9 => self.store_in_row(layout.classes, 8, 16, input),
            10 => {
                let bytes = file_bytes(input);
                match input.byte() % 3 {
                    0 => self.control_bytes = bytes,
                    1 => self.pool_bytes = bytes,
                    _ => self.leases_bytes = bytes,
                }
            }
            11 => {
                let place = usize::from(input.short()) * 8 % self.leases.len();
                self.leases[place..place + 8].copy_from_slice(&input.word().to_le_bytes());
            }
            _ => {
                let place = usize::from(input.short()) * 8 % self.pool_head.len();
                self.pool_head[place..place + 8].copy_from_slice(&input.word().to_le_bytes());
            }
        }
    }

    fn store_in_row(&mut self, table: u64, row_bytes: usize, rows: u64, input: &mut Input<'_>) {
        let row = u64::from(input.byte()) % rows;
        let field = u64::from(input.byte()) * 8 % row_bytes as u64;
        self.store(table + row * row_bytes as u64 + field, input);
    }

    fn store(&mut self, offset: u64, input: &mut Input<'_>) {
        let offset = (offset % (self.control.len() as u64 - 7)) as usize;
        let there = self.word(offset);
        let value = lie(input, there, &self.seen);
        self.control[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
    }

    fn word(&self, offset: usize) -> u64 {
        let bytes = self.control[offset..offset + 8].try_into().unwrap();
        u64::from_le_bytes(bytes)
    }

    /// Puts in the fingerprint of the geometry that stands there, if there can be such a segment;
    /// makes the control area as large as that one's would be if asked to.
    pub fn mend_fingerprint(&mut self, and_size: bool) {
        let classes = self.word(offset_of!(SegmentHeader, class_count)).min(256) as usize;
        let class = |class: usize| self.word(ControlLayout::CLASSES_OFFSET as usize + class * 8);
        let geometry = Geometry {
            granule_bytes: self.word(offset_of!(SegmentHeader, granule_bytes)),
            unit_bytes: self.word(offset_of!(SegmentHeader, unit_bytes)),
            pool_bytes_max: self.word(offset_of!(SegmentHeader, pool_bytes_max)),
            slots_max: self.word(offset_of!(SegmentHeader, slots_max)),
            peers_max: self.word(offset_of!(SegmentHeader, peers_max)),
            service_bytes: self.word(offset_of!(SegmentHeader, service_bytes)),
            service_id: self.word(offset_of!(SegmentHeader, service_id)),
            leases_max: self.word(offset_of!(SegmentHeader, leases_max)),
            classes: (0..classes).map(class).collect(),
        };
        if geometry.check().is_err() {
            return;
        }
        let layout = ControlLayout::new(&geometry);
        let place = offset_of!(SegmentHeader, layout_fingerprint);
        self.control[place..place + 8].copy_from_slice(&layout.fingerprint().to_le_bytes());
        if and_size && layout.size_bytes < 1 << FILE_BITS_MAX {
            self.control_bytes = layout.size_bytes;
        }
    }

    /// Makes the segment.
    pub fn write(&self, path: &Path) {
        for directory in [path, &path.join("rings"), &path.join("leases")] {
            DirBuilder::new().mode(0o700).create(directory).unwrap();
        }
        write_file(&path.join("control"), &self.control, self.control_bytes);
        write_file(&path.join("pool"), &self.pool_head, self.pool_bytes);
        let leases = format!("leases/{}", self.lease_serial);
        write_file(&path.join(leases), &self.leases, self.leases_bytes);
    }
}

fn file_bytes(input: &mut Input<'_>) -> u64 {
    match input.byte() % 3 {
        0 => input.short().into(),
        1 => u64::from(input.short()) * 64,
        _ => 1 << (input.byte() % FILE_BITS_MAX),
    }
}

fn write_file(path: &Path, bytes: &[u8], size_bytes: u64) {
    let mut file: File =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(bytes).unwrap();
    file.set_len(size_bytes).unwrap();
}
