//! Files of a segment that somebody damaged: refused, and left as they are.

use onecopy::service::{CacheService, CacheServiceOptions};
use onecopy_shm::SERIAL_MAX;
use onecopy_tests::harness::{RawGuest, Segment, TestHost, small_host};
use onecopy_transport::format::{ExtentEntry, Role, SegmentHeader, SlotCold};
use onecopy_transport::host::{Host, StartError};
use onecopy_transport::inspect::{InspectError, inspect};
use onecopy_transport::layout::ControlLayout;
use onecopy_transport::segment::SegmentPath;
use rustix::fs::FallocateFlags;
use std::fs::File;
use std::mem::offset_of;
use std::os::unix::fs::{FileExt, MetadataExt};

fn service() -> CacheService {
    CacheService::new(CacheServiceOptions::default())
}

fn start(segment: &Segment) -> StartError {
    Host::start(small_host(segment.path()), service()).err().unwrap()
}

fn look(segment: &Segment) -> InspectError {
    inspect(&SegmentPath::new(segment.path()).unwrap(), service()).err().unwrap()
}

fn control(segment: &Segment) -> File {
    File::options().read(true).write(true).open(segment.path().join("control")).unwrap()
}

// r[verify host.holes]
#[test]
fn a_control_area_with_holes_in_its_tables_is_refused_before_it_is_read() {
    let segment = Segment::new();
    TestHost::start(&segment).leave().unwrap();
    let file = control(&segment);
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let extents = ControlLayout::new(&geometry(&segment)).extents;
    rustix::fs::fallocate(&file, flags, extents, 4096).unwrap();
    let memory = file.metadata().unwrap().blocks() * 512;
    let Err(StartError::Holes { real_bytes, expected_bytes, .. }) = Err::<(), _>(start(&segment))
    else {
        panic!("not refused for its holes")
    };
    assert_eq!(real_bytes, memory);
    assert!(expected_bytes > real_bytes);
    assert!(matches!(look(&segment), InspectError::Holes { .. }));
    assert_eq!(file.metadata().unwrap().blocks() * 512, memory, "the hole was not filled");
}

// r[verify host.region]
#[test]
fn a_region_that_is_not_the_service_s_own_size_is_refused() {
    let segment = Segment::new();
    TestHost::start(&segment).leave().unwrap();
    let mut geometry = geometry(&segment);
    let whole = geometry.service_bytes;
    geometry.service_bytes -= 4096;
    let file = control(&segment);
    let fingerprint = ControlLayout::new(&geometry).fingerprint();
    for (offset, value) in [
        (offset_of!(SegmentHeader, service_bytes), geometry.service_bytes),
        (offset_of!(SegmentHeader, layout_fingerprint), fingerprint),
    ] {
        file.write_all_at(&value.to_le_bytes(), offset as u64).unwrap();
    }
    let error = start(&segment);
    let StartError::WrongRegion { found_bytes, expected_bytes } = error else { panic!("{error}") };
    assert_eq!((found_bytes, expected_bytes), (whole - 4096, whole));
    assert!(matches!(look(&segment), InspectError::WrongRegion { .. }));
}

// r[verify inspect.damaged]
#[test]
fn an_extent_of_impossible_size_is_found_by_a_look_that_ends() {
    let segment = Segment::new();
    TestHost::start(&segment).leave().unwrap();
    let geometry = geometry(&segment);
    let entry = ControlLayout::new(&geometry).extents + size_of::<ExtentEntry>() as u64;
    for (field, value) in [
        (offset_of!(ExtentEntry, slot_bytes), geometry.classes[0]),
        (offset_of!(ExtentEntry, unit_count), u64::MAX),
        (offset_of!(ExtentEntry, slot_count), u64::MAX),
    ] {
        let place = entry + field as u64;
        control(&segment).write_all_at(&value.to_le_bytes(), place).unwrap();
    }
    let found = inspect(&SegmentPath::new(segment.path()).unwrap(), service()).unwrap();
    assert!(!found.audit.unwrap().report.is_clean());
    assert_eq!(found.classes[&geometry.classes[0]].slots, u64::MAX);
    assert!(matches!(start(&segment), StartError::Pool(_)));
}

// r[verify inspect.damaged]
#[test]
fn slots_of_impossible_size_are_told_of_by_a_look_that_ends() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let mut guest = RawGuest::attach(segment.path(), Role::Writer);
    let slots = [guest.reserve(5000), guest.reserve(5000)];
    host.leave().unwrap();
    let layout = ControlLayout::new(&geometry(&segment));
    for slot in slots {
        let entry = layout.slots_cold + u64::from(slot.slot - 1) * size_of::<SlotCold>() as u64;
        let place = entry + offset_of!(SlotCold, slot_bytes) as u64;
        control(&segment).write_all_at(&u64::MAX.to_le_bytes(), place).unwrap();
    }
    let found = inspect(&SegmentPath::new(segment.path()).unwrap(), service()).unwrap();
    assert!(!found.audit.unwrap().report.is_clean());
    let granted = found.peers[0].granted;
    assert!(granted.slots >= 2 && granted.bytes == u64::MAX, "{granted:?}");
}

// r[verify pool.recover]
#[test]
fn counts_that_no_host_can_have_come_to_are_refused() {
    for (field, count) in [
        (offset_of!(SegmentHeader, serial_last), u64::from(SERIAL_MAX) + 1),
        (offset_of!(SegmentHeader, serial_last), u64::MAX),
        (offset_of!(SegmentHeader, boot_epoch), u64::MAX),
        (offset_of!(SegmentHeader, coarse_clock_s), u64::MAX),
    ] {
        let segment = Segment::new();
        TestHost::start(&segment).leave().unwrap();
        control(&segment).write_all_at(&count.to_le_bytes(), field as u64).unwrap();
        let error = start(&segment);
        assert!(matches!(error, StartError::Pool(_)), "{error}");
        assert!(error.to_string().contains(&format!("{count:#x}")), "{error}");
    }
}

fn geometry(segment: &Segment) -> onecopy_transport::layout::Geometry {
    inspect(&SegmentPath::new(segment.path()).unwrap(), service()).unwrap().geometry
}
