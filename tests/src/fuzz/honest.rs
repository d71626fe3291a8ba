//! The guest that keeps to the rules: what it holds must stay what it is, whatever others do.

use super::host::{LEASES_MAX, figure};
use crate::harness::{RawAnswer, RawGuest, key, payload};
use onecopy::protocol::{Head, PublishAnswer, PublishEntry, PublishOutcome, kind as kv_kind};
use onecopy::service::CacheService;
use onecopy_shm::{
    Access, LeaseCell, LeaseTable, Mapping, SlotRef, SlotState, SlotWord, lease_table_bytes,
};
use onecopy_transport::control::{ControlReader, read_geometry};
use onecopy_transport::format::{RingsHeader, Role};
use onecopy_transport::host::Host;
use onecopy_transport::wire::{GrantedAt, Grants, Refill, kind};
use std::mem::{offset_of, size_of};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of the block that it publishes and leases.
const BLOCK_BYTES: usize = 1000;
const KEPT_NUMBER: u64 = 0;

/// An attach that holds a block under a lease and a slot that it has not filled yet.
pub(super) struct Honest {
    guest: RawGuest,
    /// Published, pinned and leased.
    pub kept: SlotRef,
    kept_offset: u64,
    /// Granted.
    pub granted: SlotRef,
    control: ControlReader,
    beats: u64,
    _leases: (LeaseTable, LeaseCell),
}

impl Honest {
    pub fn new(host: &mut Host<CacheService>) -> Honest {
        let path = host.segment().to_owned();
        let mut guest = RawGuest::attach_while(&path, Role::Writer, || {
            for _ in 0..2 {
                host.look(Duration::ZERO).unwrap();
            }
        });
        let size_bytes = lease_table_bytes(LEASES_MAX);
        let leases = Mapping::map(&guest.descriptors[3], size_bytes, Access::ReadWrite).unwrap();
        let leases = LeaseTable::new(leases.region(0, size_bytes).unwrap(), LEASES_MAX).unwrap();
        let mapping = Mapping::map(
            &guest.descriptors[0],
            guest.welcome.control_bytes.get(),
            Access::ReadOnly,
        );
        let mapping = mapping.unwrap();
        let (geometry, _) = read_geometry(&mapping).unwrap();
        let control = ControlReader::new(mapping, geometry).unwrap();

        let refill = Refill { size_bytes: (BLOCK_BYTES as u64).into(), count: 2.into() };
        let answer = ask(&mut guest, host, kind::REFILL, refill.as_bytes());
        let at = |index: usize| {
            let start = size_of::<Grants>() + index * size_of::<GrantedAt>();
            let at = GrantedAt::read_from_prefix(&answer.bytes[start..]).unwrap().0;
            (SlotRef::from_u64(at.slot.get()).unwrap(), at.offset.get())
        };
        let ((kept, kept_offset), (granted, _)) = (at(0), at(1));
        let bytes = payload(KEPT_NUMBER, BLOCK_BYTES);
        assert_eq!(rustix::io::pwrite(&guest.descriptors[4], &bytes, kept_offset), Ok(BLOCK_BYTES));
        publish(&mut guest, host, kept);
        let cell = leases.lease(kept).unwrap();
        ask(&mut guest, host, kv_kind::PIN, &of_keys(&[KEPT_NUMBER]));
        Honest { guest, kept, kept_offset, granted, control, beats: 0, _leases: (leases, cell) }
    }

    /// Beats its heart, and asks for something that changes nothing.
    pub fn step(&mut self, host: &mut Host<CacheService>, choice: u8) {
        self.beats += 1;
        let heartbeat = offset_of!(RingsHeader, guest_heartbeat) as u64;
        self.guest.rings.word(heartbeat).unwrap().store(self.beats, Ordering::Relaxed);
        let answer = match choice % 3 {
            0 => ask(&mut self.guest, host, kind::PING, &[choice; 9]),
            1 => ask(&mut self.guest, host, kv_kind::LOOKUP, &of_keys(&[KEPT_NUMBER])),
            _ => ask(&mut self.guest, host, kv_kind::EXISTS, &of_keys(&[KEPT_NUMBER, 1, 2])),
        };
        assert_eq!(answer.refusal(), None);
    }

    /// It is served, and what it holds is what it was.
    pub fn check(&mut self, host: &mut Host<CacheService>) {
        self.step(host, 0);
        assert!(!self.guest.is_cut_off());
        // Who says that a block is corrupt is believed: then it is retired, and waits for the lease.
        let word = self.word(self.kept);
        assert!(matches!(word.state(), SlotState::Published | SlotState::Retired), "{word:?}");
        assert_eq!(word.generation(), self.kept.generation);
        assert_eq!(self.control.slot_offset(self.kept.slot), self.kept_offset);
        let mut bytes = vec![0; BLOCK_BYTES];
        let read = rustix::io::pread(&self.guest.descriptors[1], &mut bytes, self.kept_offset);
        assert_eq!(read, Ok(BLOCK_BYTES));
        assert_eq!(bytes, payload(KEPT_NUMBER, BLOCK_BYTES));
        if figure(host, "corrupt") == 0 {
            let found = ask(&mut self.guest, host, kv_kind::LOOKUP, &of_keys(&[KEPT_NUMBER]));
            assert_eq!(found.bytes, self.kept.to_u64().to_le_bytes());
        }
        let word = self.word(self.granted);
        assert_eq!(word.state(), SlotState::Granted);
        assert_eq!(
            (word.owner(), word.generation()),
            (self.guest.serial(), self.granted.generation)
        );
    }

    fn word(&self, slot: SlotRef) -> SlotWord {
        SlotWord::decode(self.control.slot_word(slot.slot)).unwrap()
    }
}

fn publish(guest: &mut RawGuest, host: &mut Host<CacheService>, slot: SlotRef) {
    let entry = PublishEntry {
        slot: slot.to_u64().into(),
        length_bytes: (BLOCK_BYTES as u64).into(),
        checksum: 0.into(),
        ttl_s: 0.into(),
        flags: 0.into(),
        key: key(KEPT_NUMBER),
    };
    let head = Head { count: 1.into(), flags: 0.into() };
    let bytes = [head.as_bytes(), entry.as_bytes()].concat();
    let answer = ask(guest, host, kv_kind::PUBLISH, &bytes);
    let outcome = PublishAnswer::read_from_bytes(&answer.bytes).unwrap().decode();
    assert_eq!(outcome, Some(PublishOutcome::Published));
}

fn of_keys(numbers: &[u64]) -> Vec<u8> {
    let head = Head { count: (numbers.len() as u32).into(), flags: 0.into() };
    let mut bytes = head.as_bytes().to_vec();
    for &number in numbers {
        bytes.extend(key(number).as_bytes());
    }
    bytes
}

/// Each turn takes a share of every guest's requests, so this guest's one is in the first.
fn ask(guest: &mut RawGuest, host: &mut Host<CacheService>, kind: u8, bytes: &[u8]) -> RawAnswer {
    guest.send(kind, 0, 1, bytes);
    host.turn();
    loop {
        let answer = guest.receive_until(Instant::now());
        let answer = answer.unwrap_or_else(|| panic!("kind {kind} was not answered in a turn"));
        if answer.header.request_id != 0 {
            return answer;
        }
    }
}
