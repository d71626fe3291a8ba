//! Hosts that die, and hosts that come after them.

use crate::PEER;
use onecopy::service::{CacheService, CacheServiceOptions};
use onecopy_tests::harness::{Echo, Peer, Segment, TestHost, small_host};
use onecopy_transport::format::{HostState, PeerRow, PeerState, SegmentHeader};
use onecopy_transport::host::{Host, StartError};
use onecopy_transport::inspect::{Inspection, inspect};
use onecopy_transport::layout::ControlLayout;
use onecopy_transport::segment::{SegmentPath, SegmentStatus};
use std::collections::BTreeMap;
use std::fs::File;
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::SystemTime;

fn cache() -> CacheService {
    CacheService::new(CacheServiceOptions::default())
}

fn look_at(segment: &Segment) -> Inspection {
    inspect(&SegmentPath::new(segment.path()).unwrap(), cache()).unwrap()
}

/// Every file of a segment with its bytes and the time of its last change, but for those that its
/// guests write, and the lock, which names whoever had it last.
fn contents(segment: &Segment) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let mut found = files_below(segment.path());
    let is_theirs = |name: &str| {
        ["/lock", "/rings/", "/leases/"].iter().any(|part| {
            name.strip_prefix(&segment.path().display().to_string())
                .is_some_and(|name| name.starts_with(part))
        })
    };
    found.retain(|name, _| !is_theirs(name));
    assert!(!found.is_empty());
    found
}

fn files_below(directory: &Path) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.path().display().to_string();
        let changed = entry.metadata().unwrap().modified().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(&entry.path()));
            found.insert(name, (Vec::new(), changed));
        } else if entry.file_type().unwrap().is_file() {
            found.insert(name, (std::fs::read(entry.path()).unwrap(), changed));
        } else {
            found.insert(name, (Vec::new(), changed));
        }
    }
    found
}

fn assert_unchanged(segment: &Segment, before: &BTreeMap<String, (Vec<u8>, SystemTime)>) {
    let now = contents(segment);
    let names = |files: &BTreeMap<String, _>| files.keys().cloned().collect::<Vec<String>>();
    assert_eq!(names(&now), names(before));
    let changed: Vec<_> = now.iter().filter(|(name, file)| before[*name] != **file).collect();
    let changed: Vec<_> = changed.iter().map(|(name, (_, when))| (name, when)).collect();
    assert!(changed.is_empty(), "{changed:?}");
}

fn start_error(segment: &Segment) -> StartError {
    Host::start(small_host(segment.path()), cache()).unwrap_err()
}

// r[verify host.start]
#[test]
fn a_second_host_is_refused_with_path_and_process() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    guest.ok("store 1 5000");
    let said = start_error(&segment).to_string();
    assert!(said.contains(&segment.path().display().to_string()), "{said}");
    assert!(said.contains(&std::process::id().to_string()), "{said}");
    let mut other = Peer::start(PEER, segment.path());
    let said = other.error("host 8 8");
    assert!(said.contains(&std::process::id().to_string()), "{said}");
    assert!(guest.ok("get 1").starts_with("5000 "));
    assert_eq!(look_at(&segment).boot_epoch, 1);
    host.assert_clean();
}

// r[verify host.take_over]
#[test]
fn the_next_host_keeps_every_block_and_honours_what_old_guests_hold() {
    let segment = Segment::new();
    let mut killed = Peer::start(PEER, segment.path());
    assert_eq!(killed.ok("host 8 8"), "1");
    let mut writer = Peer::attached(PEER, segment.path(), "writer");
    let mut reader = Peer::attached(PEER, segment.path(), "reader");
    let mut dies = Peer::attached(PEER, segment.path(), "writer");
    assert_eq!(writer.ok("store_many 100 50"), "50");
    writer.ok("store 1 5000");
    writer.ok("reserve 9000 3");
    dies.ok("reserve 9000 2");
    dies.ok("store 2 5000");
    reader.ok("hold 1");
    reader.ok("hold 2");

    // A guest that waits is told at once: its own deadline is ten minutes away.
    killed.stop();
    reader.order("get 100");
    writer.order("get 100");
    killed.kill();
    assert_eq!(reader.answer(), "error HostGone");
    assert_eq!(writer.answer(), "error HostGone");
    assert!(reader.ok("end").contains("HostGone"));
    assert_eq!(reader.ok("check"), "2");
    dies.kill();
    let between = look_at(&segment);
    assert!(matches!(between.status, SegmentStatus::Dead), "{:?}", between.status);
    assert_eq!((between.boot_epoch, between.peers.len()), (1, 3));

    let mut host = TestHost::start(&segment);
    assert_eq!(host.epoch(), 2);
    assert_eq!(host.stat("blocks"), 52);
    let quarantined = host.stat("slots_quarantined");
    assert!(quarantined >= 3, "the writer still lives");
    assert_eq!(host.stat("slots_granted"), 0, "who died meanwhile holds nothing");
    assert_eq!(host.stat("guests"), 2);
    host.assert_clean();
    // It may still be writing there.
    writer.ok("scribble 9");

    let again: u32 = reader.ok("reattach").parse().unwrap();
    assert!(again > dies.serial());
    let writer_again: u32 = writer.ok("reattach").parse().unwrap();
    for number in 100..150 {
        assert_ne!(reader.ok(&format!("get {number}")), "miss");
    }
    assert_eq!(writer.ok("delete 1"), "true");
    assert_eq!(writer.ok("store_many 1000 600").parse::<u64>().unwrap(), 600);
    assert_eq!(reader.ok("check"), "2", "leases of the old attach are honoured");
    // The other one of its blocks may have been evicted meanwhile.
    assert!((1..=2).contains(&host.stat("slots_retired")));
    assert_eq!(host.stat("slots_quarantined"), 0, "it has come back");
    writer.ok("scribble 10");
    assert_eq!((host.stat("recovered"), host.stat("handed_over")), (0, 2));
    host.assert_clean();

    reader.ok("let_go");
    host.wait_stat("slots_retired", 0);
    writer.kill();
    assert!(host.wait_recovered(writer_again).1 >= 3);
    reader.kill();
    host.wait_recovered(again);
    assert!(segment.files("rings").is_empty() && segment.files("leases").is_empty());
    host.assert_clean();
}

// r[verify host.take_over.proof]
#[test]
fn another_boot_of_the_machine_is_a_proof_and_another_start_of_the_process_is_none() {
    let segment = Segment::new();
    let mut first = Peer::start(PEER, segment.path());
    first.ok("host 8 8");
    let mut guests: Vec<Peer> =
        (0..3).map(|_| Peer::attached(PEER, segment.path(), "writer")).collect();
    for guest in &mut guests {
        guest.ok("reserve 9000 2");
    }
    first.kill();
    let before = look_at(&segment);
    let rows = ControlLayout::new(&before.geometry).peers;
    let control = File::options().read(true).write(true).open(segment.path().join("control"));
    let control = control.unwrap();
    let change = |row: u64, field: usize| {
        let place = rows + row * size_of::<PeerRow>() as u64 + field as u64;
        let mut word = [0; 8];
        control.read_exact_at(&mut word, place).unwrap();
        let other = u64::from_le_bytes(word).wrapping_add(1);
        control.write_all_at(&other.to_le_bytes(), place).unwrap();
    };
    // The first row says another start, the second another boot of the machine.
    change(0, offset_of!(PeerRow, start_time_ticks));
    change(1, offset_of!(PeerRow, boot_id_low));
    let host = TestHost::start(&segment);
    // A number is no proof: it may be that of another PID namespace. The lease table is mapped.
    assert_eq!(host.stat("guests"), 2);
    assert_eq!(segment.files("leases"), [guests[0].serial(), guests[2].serial()]);
    let granted = before.audit.unwrap().counts.granted.slots;
    assert_eq!(host.stat("slots_quarantined") * 3, granted * 2, "two guests', not those of three");
    assert_eq!(host.stat("slots_granted"), 0);
    host.assert_clean();
}

// r[verify host.start]
// r[verify host.take_over]
#[test]
fn a_take_over_that_fails_leaves_the_segment_even_if_it_was_to_be_removed_in_the_end() {
    let segment = Segment::new();
    let mut first = Peer::start(PEER, segment.path());
    first.ok("host 8 8");
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    guest.ok("store 1 5000");
    first.kill();
    let before = look_at(&segment);
    // A row that makes no sense tells nobody what the guest, which still lives, may read.
    let state = ControlLayout::new(&before.geometry).peers as usize + offset_of!(PeerRow, state);
    let stored = read_word(&segment, state);
    write_word(&segment, state, 99);
    let mut options = small_host(segment.path());
    options.remove_on_leave = true;
    let error = Host::start(options, cache()).unwrap_err();
    assert!(matches!(error, StartError::Corrupt(_)), "{error}");
    write_word(&segment, state, stored);
    let after = look_at(&segment);
    assert_eq!(after.boot_epoch, before.boot_epoch);
    assert_eq!(after.host_state, before.host_state);
    guest.kill();
    let host = TestHost::start(&segment);
    assert_eq!(host.stat("blocks"), 1);
    host.assert_clean();
}

// r[verify host.take_over]
#[test]
fn a_guest_that_said_goodbye_to_a_host_that_then_died_is_gone_though_its_process_lives() {
    let segment = Segment::new();
    let mut first = Peer::start(PEER, segment.path());
    first.ok("host 8 8");
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    guest.ok("reserve 9000 2");
    first.kill();
    // As a host leaves it that is killed after it has unlinked the files, before the row is free.
    let rows = ControlLayout::new(&look_at(&segment).geometry).peers as usize;
    write_word(&segment, rows + offset_of!(PeerRow, state), PeerState::Dead.bits());
    for area in ["rings", "leases"] {
        std::fs::remove_file(segment.path().join(area).join(guest.serial().to_string())).unwrap();
    }
    let host = TestHost::start(&segment);
    assert_eq!(host.stat("guests"), 0);
    assert_eq!(host.stat("slots_granted") + host.stat("slots_quarantined"), 0);
    host.assert_clean();
}

// r[verify inspect.changes_nothing]
#[test]
fn a_look_at_a_segment_leaves_no_trace() {
    let segment = Segment::new();
    let mut host = Peer::start(PEER, segment.path());
    host.ok("host 8 8");
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    guest.ok("store_many 1 20");
    guest.ok("hold 3");
    guest.ok("reserve 9000 2");
    let live = look_at(&segment);
    assert!(matches!(live.status, SegmentStatus::Live { .. }));
    assert_eq!((live.peers.len(), live.boot_epoch), (1, 1));
    assert!(live.audit.is_none());
    guest.ok("ping");
    host.kill();

    let before = contents(&segment);
    let dead = look_at(&segment);
    let audit = dead.audit.unwrap();
    assert!(audit.report.is_clean(), "{}", audit.report);
    assert_eq!(audit.counts.published.slots, 20);
    assert!(audit.counts.granted.slots >= 2);
    assert_eq!(dead.host_state, Some(HostState::Serving), "it was killed");
    assert_unchanged(&segment, &before);
    guest.ok("check");
    assert_eq!(TestHost::start(&segment).epoch(), 2);
}

// r[verify host.torn_files]
#[test]
fn a_segment_that_was_cut_is_refused_and_left_alone() {
    for (name, size_bytes) in [("control", 100), ("control", 8192), ("pool", 4 << 20)] {
        let segment = Segment::new();
        TestHost::start(&segment).leave().unwrap();
        let path = segment.path().join(name);
        let whole = std::fs::metadata(&path).unwrap().len();
        assert!(whole > size_bytes);
        File::options().write(true).open(&path).unwrap().set_len(size_bytes).unwrap();
        let before = contents(&segment);
        let error = start_error(&segment);
        let said = error.to_string();
        assert!(said.contains(name), "{said}");
        if let StartError::TooSmall { found_bytes, expected_bytes, .. } = error {
            assert_eq!(found_bytes, size_bytes);
            assert!(expected_bytes > size_bytes && expected_bytes <= whole);
            assert!(said.contains(&size_bytes.to_string()), "{said}");
        } else {
            assert_eq!(size_bytes, 100, "{said}");
        }
        assert_unchanged(&segment, &before);
    }
}

// r[verify host.start]
#[test]
fn what_cannot_be_used_is_refused_and_left_as_it_was() {
    // Somebody else's directory.
    let segment = Segment::new();
    std::fs::create_dir(segment.path()).unwrap();
    std::fs::write(segment.path().join("control"), b"a letter to the editor").unwrap();
    let before = contents(&segment);
    let error = start_error(&segment);
    assert!(matches!(error, StartError::Foreign(_) | StartError::Dir(_)), "{error}");
    assert_unchanged(&segment, &before);

    // Another service's segment.
    let segment = Segment::new();
    TestHost::serving(&segment, |_| {}, Echo::default()).leave().unwrap();
    let before = contents(&segment);
    let error = start_error(&segment);
    assert!(matches!(error, StartError::WrongService { .. }), "{error}");
    assert_unchanged(&segment, &before);

    // Another format version.
    let segment = Segment::new();
    TestHost::start(&segment).leave().unwrap();
    write_word(&segment, offset_of!(SegmentHeader, format_version), 99);
    let before = contents(&segment);
    let said = start_error(&segment).to_string();
    assert!(said.contains("99"), "{said}");
    assert_unchanged(&segment, &before);

    // Tables that no host writes.
    let segment = Segment::new();
    TestHost::start(&segment).leave().unwrap();
    let extents = ControlLayout::new(&look_at(&segment).geometry).extents;
    write_word(&segment, extents as usize + 10 * 32, 4097);
    let before = contents(&segment);
    let error = start_error(&segment);
    assert!(matches!(error, StartError::Pool(_)), "{error}");
    assert_unchanged(&segment, &before);
}

fn read_word(segment: &Segment, offset: usize) -> u64 {
    let mut word = [0; 8];
    let control = File::open(segment.path().join("control")).unwrap();
    control.read_exact_at(&mut word, offset as u64).unwrap();
    u64::from_le_bytes(word)
}

fn write_word(segment: &Segment, offset: usize, value: u64) {
    let control = File::options().write(true).open(segment.path().join("control")).unwrap();
    control.write_all_at(&value.to_le_bytes(), offset as u64).unwrap();
}

// r[verify host.start]
#[test]
fn a_start_that_was_never_finished_is_made_anew_and_a_finished_one_is_not() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    guest.ok("store 1 5000");
    guest.ok("detach");
    host.leave().unwrap();
    let id = look_at(&segment).segment_id;
    let host = TestHost::with(&segment, |options| options.pool_bytes_max = 64 << 20);
    assert_eq!(host.stat("pool_bytes_max"), 8 << 20, "it keeps its geometry");
    assert_eq!((host.epoch(), host.stat("blocks")), (2, 1));
    host.leave().unwrap();
    assert_eq!(look_at(&segment).segment_id, id);
    // Without its magic it is one that was never finished.
    write_word(&segment, 0, 0);
    let host = TestHost::start(&segment);
    assert_eq!((host.epoch(), host.stat("blocks")), (1, 0));
    assert_ne!(look_at(&segment).segment_id, id);
    host.assert_clean();
}
