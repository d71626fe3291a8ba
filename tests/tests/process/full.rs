//! A tmpfs without room and a process without descriptors: errors with a type, and never SIGBUS.

use crate::PEER;
use onecopy_tests::harness::{Peer, Segment, wait_for};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const MIB: u64 = 1 << 20;
/// Says, in a process that a test started, where its small tmpfs is.
const PLACE: &str = "ONECOPY_TEST_SMALL_TMPFS";

/// Runs this test in a mount namespace of its own with a small tmpfs: `Some` with its place there,
/// `None` in the test that starts it, when that is through.
pub(crate) fn on_small_tmpfs(test: &str, size_mib: u64) -> Option<PathBuf> {
    on_mount(test, &format!("-t tmpfs -o size={size_mib}m tmpfs"))
}

/// The same with a mount of the test's own: what `mount` is told before the place.
pub(crate) fn on_mount(test: &str, mount: &str) -> Option<PathBuf> {
    if let Some(place) = std::env::var_os(PLACE) {
        return Some(PathBuf::from(place));
    }
    let tried = Command::new("unshare").args(["-m", "true"]).output();
    if !tried.is_ok_and(|output| output.status.success()) {
        println!("skipped: a mount namespace of our own is not permitted here");
        return None;
    }
    let scratch = tempfile::tempdir().unwrap();
    let mount = format!("mount {mount} \"$0\" && exec \"$@\"");
    let mut alone = Command::new("unshare");
    alone.args(["-m", "sh", "-c", &mount]).arg(scratch.path());
    alone.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    let output = alone.env(PLACE, scratch.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}\n{errors}");
    None
}

/// A file that takes all the room there is, but for `left` bytes.
pub(crate) fn fill(place: &Path, left: u64) -> PathBuf {
    let path = place.join("filler");
    let mut file = File::create(&path).unwrap();
    let page = [7; 4096];
    let mut pages = 0;
    while file.write_all(&page).is_ok() {
        pages += 1;
    }
    file.set_len((pages * 4096_u64).saturating_sub(left)).unwrap();
    path
}

// r[verify resources.full]
#[test]
fn a_full_tmpfs_refuses_a_start_and_leaves_nothing() {
    let test = "full::a_full_tmpfs_refuses_a_start_and_leaves_nothing";
    let Some(place) = on_small_tmpfs(test, 16) else { return };
    let segment = place.join("segment");
    let mut host = Peer::start(PEER, &segment);
    for left in [0, 4096, 64 << 10, 2 * MIB, 8 * MIB + (16 << 10)] {
        let filler = fill(&place, left);
        let said = host.error("host 8 8");
        assert!(said.contains(place.to_str().unwrap()) && said.contains("--size"), "{said}");
        assert!(!segment.exists(), "nothing is left, with {left} bytes of room");
        std::fs::remove_file(filler).unwrap();
    }
    host.ok("host 8 8");
    let mut guest = Peer::attached(PEER, &segment, "writer");
    guest.ok("store_many 1 50");
    host.ok("host_audit");
}

// r[verify resources.full]
#[test]
fn on_a_tmpfs_that_is_full_by_now_everything_goes_on_but_growth_and_attaches() {
    let test = "full::on_a_tmpfs_that_is_full_by_now_everything_goes_on_but_growth_and_attaches";
    let Some(place) = on_small_tmpfs(test, 32) else { return };
    let segment = place.join("segment");
    let mut host = Peer::start(PEER, &segment);
    host.ok("host 8 64");
    let mut guest = Peer::attached(PEER, &segment, "writer");
    let mut reader = Peer::attached(PEER, &segment, "reader");
    for number in 0..20 {
        guest.ok(&format!("store {number} 5000"));
        guest.ok(&format!("pin {number}"));
    }
    let filler = fill(&place, 0);
    // Every byte of what is published, and no more.
    let refused = guest.error("reserve 262144 40");
    assert!(refused.contains("NoRoom { slot_bytes: 262144"), "{refused}");
    guest.ok("scribble 7");
    guest.ok("publish 100");
    guest.ok("unreserve");
    let said = host.ok("growth_failed");
    assert!(said.contains(place.to_str().unwrap()) && said.contains("--size-max"), "{said}");
    let published: u64 = host.ok("host_stat pool_bytes").parse().unwrap();
    assert_eq!(std::fs::metadata(segment.join("pool")).unwrap().blocks() * 512, published);
    let mut other = Peer::start(PEER, &segment);
    let refused = other.error("attach writer");
    assert!(refused.contains("Resources { errno: 28 }"), "{refused}");
    for number in 0..20 {
        assert!(reader.ok(&format!("get {number}")).starts_with("5000 "));
    }
    assert_ne!(reader.ok("get 100"), "miss");
    host.ok("host_audit");
    // A new host needs no room.
    host.kill();
    let mut next = Peer::start(PEER, &segment);
    next.ok("host 8 64");
    let refused = guest.error("reattach");
    assert!(refused.contains("Resources { errno: 28 }"), "{refused}");
    next.ok("host_audit");
    std::fs::remove_file(filler).unwrap();
    for peer in [&mut guest, &mut reader] {
        peer.ok("reattach");
        for number in 0..20 {
            assert!(peer.ok(&format!("get {number}")).starts_with("5000 "));
        }
    }
    other.ok("attach writer");
    other.ok("reserve 262144 40");
    assert!(next.ok("host_stat pool_bytes").parse::<u64>().unwrap() > published);
    next.ok("host_audit");
}

// r[verify resources.descriptors]
#[test]
fn a_host_without_descriptors_refuses_guests_and_serves_those_it_has() {
    let segment = Segment::new();
    let mut host = Peer::start(PEER, segment.path());
    host.ok("host 8 8");
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    guest.ok("store 1 5000");
    let before = host.descriptors() as u64;
    for more in 0..12 {
        host.ok(&format!("limit_descriptors {}", before + more));
        let mut other = Peer::start(PEER, segment.path());
        let answer = other.tell("attach writer");
        if answer.starts_with("ok") {
            assert!(more > 0, "an attach takes descriptors");
        }
        drop(other);
        assert!(guest.ok("get 1").starts_with("5000 "));
        wait_for("the files of the other to go", || segment.files("rings") == [guest.serial()]);
        wait_for("the descriptors of the other", || host.descriptors() as u64 == before);
        host.ok("host_audit");
    }
    host.ok("limit_descriptors 1000");
    Peer::attached(PEER, segment.path(), "writer").ok("store 2 5000");
    assert!(guest.ok("get 2").starts_with("5000 "));
}
