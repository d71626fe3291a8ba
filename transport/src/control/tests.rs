use super::*;
use crate::format::{CONTROL_MAGIC, FORMAT_VERSION};
use onecopy_shm::SlotWord;
use std::mem::size_of;

fn geometry() -> Geometry {
    Geometry {
        granule_bytes: 64,
        unit_bytes: 512,
        pool_bytes_max: 512 * 16,
        slots_max: 64,
        peers_max: 3,
        service_bytes: 256,
        service_id: 7,
        classes: vec![64, 128, 192, 1024],
        leases_max: 64,
    }
}

fn mapping() -> Arc<Mapping> {
    Mapping::heap(ControlLayout::new(&geometry()).size_bytes).unwrap()
}

fn set(mapping: &Arc<Mapping>, offset: u64, value: u64) {
    mapping
        .region(0, mapping.size_bytes())
        .unwrap()
        .word(offset)
        .unwrap()
        .store(value, Ordering::Relaxed);
}

fn peer() -> PeerFields {
    PeerFields {
        serial: 9,
        state: PeerState::Attached,
        attached: true,
        role: Role::Writer,
        pid: 4711,
        process_inode: 815,
        start_time_ticks: u64::MAX,
        boot_id: 0x1234_5678_9abc_def0_0fed_cba9_8765_4321,
        uid: 1000,
        lease_serial: 8,
        suspicion: None,
    }
}

// r[verify control.suspicion]
#[test]
fn a_suspect_row_says_why_and_since_when() {
    let mapping = mapping();
    let control = ControlWriter::initialise(Arc::clone(&mapping), &geometry(), 5).unwrap();
    let suspicion = Some(Suspicion { reason: SuspectReason::SocketClosed, since_s: 77 });
    control.set_peer(1, &PeerFields { state: PeerState::Suspect, suspicion, ..peer() });
    assert_eq!(control.peer(1).unwrap().unwrap().suspicion, suspicion);
    control.set_peer_state(1, PeerState::Attached);
    assert_eq!(control.peer(1).unwrap().unwrap().suspicion, None, "it is over");
    control.set_suspicion(1, None);
    control.set_peer_state(1, PeerState::Suspect);
    assert_eq!(control.peer(1).unwrap().unwrap().suspicion, None, "nobody said");
    let row = control.layout().peers + size_of::<PeerRow>() as u64;
    set(&mapping, row + offset_of!(PeerRow, suspect_reason) as u64, 5);
    let error = control.peer(1).unwrap_err();
    assert_eq!((error.number, error.found), (1, 5));
}

// r[verify control.checked-copy]
#[test]
fn geometry_is_read_as_it_was_laid_out() {
    let mapping = mapping();
    assert_eq!(read_geometry(&mapping), Err(HeaderError::WrongMagic { found: 0 }));
    let id = 0xfeed_0000_0000_0001_0000_0000_0000_beef;
    let control = ControlWriter::initialise(Arc::clone(&mapping), &geometry(), id).unwrap();
    assert_eq!(read_geometry(&mapping), Ok((geometry(), id)));
    assert_eq!(control.segment_id(), id);
    assert_eq!(control.geometry(), &geometry());
}

// r[verify control.checked-copy]
#[test]
fn a_foreign_header_is_refused_with_what_was_found() {
    let laid_out = || {
        let mapping = mapping();
        ControlWriter::initialise(Arc::clone(&mapping), &geometry(), 5).unwrap();
        mapping
    };
    let refusal = |offset: usize, value| {
        let mapping = laid_out();
        set(&mapping, offset as u64, value);
        read_geometry(&mapping).unwrap_err()
    };
    assert_eq!(refusal(offset_of!(SegmentHeader, magic), 1), HeaderError::WrongMagic { found: 1 });
    assert_eq!(
        refusal(offset_of!(SegmentHeader, format_version), 99),
        HeaderError::WrongVersion { found: 99, expected: FORMAT_VERSION }
    );
    let expected = ControlLayout::new(&geometry()).fingerprint();
    assert_eq!(
        refusal(offset_of!(SegmentHeader, layout_fingerprint), 3),
        HeaderError::WrongFingerprint { found: 3, expected }
    );
    for (offset, value) in [
        (offset_of!(SegmentHeader, granule_bytes), 63),
        (offset_of!(SegmentHeader, unit_bytes), u64::MAX),
        (offset_of!(SegmentHeader, pool_bytes_max), u64::MAX),
        (offset_of!(SegmentHeader, slots_max), u64::MAX),
        (offset_of!(SegmentHeader, peers_max), 0),
        (offset_of!(SegmentHeader, service_bytes), u64::MAX),
        (offset_of!(SegmentHeader, class_count), 0),
        (offset_of!(SegmentHeader, class_count), u64::MAX),
        (offset_of!(SegmentHeader, leases_max), u64::MAX),
    ] {
        let error = refusal(offset, value);
        assert!(matches!(error, HeaderError::Geometry(_)), "{offset}: {error}");
    }
    let small = Mapping::heap(64).unwrap();
    assert!(matches!(read_geometry(&small), Err(HeaderError::TooSmall(_))));
}

// r[verify control.magic-last]
#[test]
fn no_prefix_of_the_layout_is_a_segment_and_each_can_be_finished() {
    let whole = mapping();
    let (control, log) = ControlWriter::new(Arc::clone(&whole), geometry()).unwrap().logged();
    control.lay_out(5);
    let stores = log.take();
    assert_eq!(stores.last(), Some(&(0, CONTROL_MAGIC)));
    for count in 0..stores.len() {
        let mapping = mapping();
        for &(word, value) in &stores[..count] {
            set(&mapping, word * 8, value);
        }
        assert_eq!(read_geometry(&mapping), Err(HeaderError::WrongMagic { found: 0 }));
        ControlWriter::initialise(Arc::clone(&mapping), &geometry(), 6).unwrap();
        assert_eq!(read_geometry(&mapping), Ok((geometry(), 6)));
    }
    let again = ControlWriter::initialise(whole, &geometry(), 6);
    assert!(matches!(again, Err(InitialiseError::NotEmpty { found: CONTROL_MAGIC })));
}

#[test]
fn a_mapping_that_is_too_small_is_refused() {
    let small = Mapping::heap(4096).unwrap();
    let expected_bytes = ControlLayout::new(&geometry()).size_bytes;
    match ControlReader::new(small, geometry()) {
        Err(ControlError::TooSmall { found_bytes: 4096, expected_bytes: found }) => {
            assert_eq!(found, expected_bytes);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn header_fields_do_not_share_words() {
    let mapping = mapping();
    let control = ControlWriter::initialise(mapping, &geometry(), 5).unwrap();
    assert_eq!(control.host_state(), Ok(None));
    control.set_boot_epoch(1);
    control.set_host_state(HostState::Serving);
    control.set_host_pid(2);
    control.set_serial_last(3);
    control.set_pool_bytes(4);
    control.set_slots_ready(5);
    control.set_host_heartbeat(6);
    control.set_coarse_clock_s(7);
    control.set_created_unix_s(8);
    control.host_asleep_word().store(9, Ordering::Relaxed);
    assert_eq!(control.boot_epoch(), 1);
    assert_eq!(control.host_state(), Ok(Some(HostState::Serving)));
    assert_eq!(control.host_pid(), 2);
    assert_eq!(control.serial_last(), 3);
    assert_eq!(control.pool_bytes(), 4);
    assert_eq!(control.slots_ready(), 5);
    assert_eq!(control.host_heartbeat(), 6);
    assert_eq!(control.coarse_clock_s(), 7);
    assert_eq!(control.created_unix_s(), 8);
    assert_eq!(control.host_asleep().load(Ordering::Relaxed), 9);
    assert_eq!(control.service_region().size_bytes(), 256);
}

#[test]
fn an_unknown_host_state_is_corrupt() {
    let mapping = mapping();
    let control = ControlWriter::initialise(Arc::clone(&mapping), &geometry(), 5).unwrap();
    set(&mapping, offset_of!(SegmentHeader, host_state) as u64, 17);
    assert_eq!(control.host_state().unwrap_err().found, 17);
}

// r[verify control.peer-row]
#[test]
fn a_peer_row_is_vacant_until_its_last_store() {
    let (control, log) = ControlWriter::initialise(mapping(), &geometry(), 5).unwrap().logged();
    control.set_peer(2, &peer());
    assert_eq!(control.peer(2), Ok(Some(peer())));
    assert_eq!(control.peer(1), Ok(None));
    assert_eq!(control.attached(2).unwrap().load(Ordering::Relaxed), 9);
    assert!(control.attached(3).is_none());
    let filled = log.take();
    control.clear_peer(2);
    let cleared = log.take();
    assert_eq!(control.peer(2), Ok(None));

    for count in 0..filled.len() {
        let mapping = mapping();
        let control = ControlWriter::initialise(Arc::clone(&mapping), &geometry(), 5).unwrap();
        for &(word, value) in &filled[..count] {
            set(&mapping, word * 8, value);
        }
        assert_eq!(control.peer(2), Ok(None));
    }
    for count in 1..=cleared.len() {
        let mapping = mapping();
        let control = ControlWriter::initialise(Arc::clone(&mapping), &geometry(), 5).unwrap();
        for &(word, value) in filled.iter().chain(&cleared[..count]) {
            set(&mapping, word * 8, value);
        }
        assert_eq!(control.peer(2), Ok(None));
    }
}

// r[verify control.peer-row]
#[test]
fn a_peer_row_that_no_host_writes_is_corrupt() {
    let mapping = mapping();
    let control = ControlWriter::initialise(Arc::clone(&mapping), &geometry(), 5).unwrap();
    for (offset, found) in [
        (offset_of!(PeerRow, serial), 0),
        (offset_of!(PeerRow, serial), 1 << 32),
        (offset_of!(PeerRow, state), 4),
        (offset_of!(PeerRow, attached), 1),
        (offset_of!(PeerRow, attached), 10),
        (offset_of!(PeerRow, role), 0),
        (offset_of!(PeerRow, pid), u64::MAX),
        (offset_of!(PeerRow, uid), u64::MAX),
        (offset_of!(PeerRow, lease_serial), u64::MAX),
    ] {
        control.set_peer(1, &peer());
        let row = control.layout().peers + size_of::<PeerRow>() as u64;
        set(&mapping, row + offset as u64, found);
        let corrupt = control.peer(1).unwrap_err();
        assert_eq!((corrupt.number, corrupt.found), (1, found));
    }
}

// r[verify control.one-store]
#[test]
fn every_store_is_seen_and_lands_where_it_is_read() {
    let original = mapping();
    let (control, log) =
        ControlWriter::initialise(Arc::clone(&original), &geometry(), 5).unwrap().logged();
    let extent = ExtentFields { slot_bytes: 128, unit_count: 2, slot_first: 3, slot_count: 8 };
    control.set_extent(15, &extent);
    for slot in [1, 64] {
        control.set_slot_place(slot, 512 * u64::from(slot), 128);
        let note = std::array::from_fn(|word| u64::from(slot) * 100 + word as u64);
        let cold = std::array::from_fn(|word| u64::from(slot) * 1000 + word as u64);
        control.set_slot_publication(slot, 99, &note, &cold);
        control.set_slot_word(slot, SlotWord::published(slot));
    }
    control.set_slot_cold_word(64, 6, 1);
    for slot in [1_u32, 64] {
        assert_eq!(control.slot_offset(slot), 512 * u64::from(slot));
        assert_eq!(control.slot_bytes(slot), 128);
        assert_eq!(control.slot_length(slot), 99);
        assert_eq!(control.slot_note(slot)[4], u64::from(slot) * 100 + 4);
        assert_eq!(control.slot_cold(slot)[5], u64::from(slot) * 1000 + 5);
        assert_eq!(control.slot_word(slot), SlotWord::published(slot).bits());
    }
    assert_eq!(control.slot_cold_word(64, 6), 1);
    assert_eq!(control.extent(15), extent);
    control.clear_extent(15);
    assert_eq!(control.extent(15).slot_bytes, 0);
    assert_eq!(control.slot_word(0), 0);
    assert_eq!(control.slot_word(65), 0);
    assert_eq!(control.slot_cold(u32::MAX), [0; COLD_WORDS]);

    // Replaying the log over a copy gives the same bytes.
    let copy = mapping();
    ControlWriter::initialise(Arc::clone(&copy), &geometry(), 5).unwrap();
    for (word, value) in log.take() {
        set(&copy, word * 8, value);
    }
    let words = |mapping: &Arc<Mapping>| {
        let count = mapping.size_bytes() / 8;
        let words = mapping.region(0, count * 8).unwrap().read_words(0, count).unwrap();
        (0..count).map(|word| words.load(word, Ordering::Relaxed).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(words(&copy), words(&original));
}
