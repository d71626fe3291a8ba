//! Memory that runs out: control groups that are too small for what a host is asked for.

use crate::PEER;
use onecopy_tests::harness::{MemoryGroup, Peer, Segment, wait_for};
use std::os::unix::fs::MetadataExt;
use std::process::Command;

const MIB: u64 = 1 << 20;

/// A host process in the group. Where it is `blind` it cannot see the limits of its group: what is
/// left is the helper, which the kernel kills.
fn start_host(segment: &Segment, group: &MemoryGroup, blind: bool) -> Peer {
    start_host_with(segment, group, blind, &[])
}

fn start_host_with(
    segment: &Segment,
    group: &MemoryGroup,
    blind: bool,
    variables: &[(&str, &str)],
) -> Peer {
    let mut command = Peer::command(PEER, segment.path());
    if blind {
        let (arguments, program): (Vec<_>, _) =
            (command.get_args().map(ToOwned::to_owned).collect(), command.get_program().to_owned());
        let mut wrapped = Command::new("unshare");
        let hide = "umount -l /sys/fs/cgroup && exec \"$0\" \"$@\"";
        wrapped.args(["-m", "sh", "-c", hide]).arg(program).args(arguments);
        wrapped.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        command = wrapped;
    }
    let host = Peer::over(command.envs(variables.iter().copied()).spawn().unwrap());
    group.take(host.pid());
    host
}

fn can_hide() -> bool {
    let tried = Command::new("unshare").args(["-m", "umount", "-l", "/sys/fs/cgroup"]).output();
    let can = tried.is_ok_and(|output| output.status.success());
    if !can {
        println!("skipped: a mount namespace of our own is not permitted here");
    }
    can
}

/// What a person reads of a refusal, seen and unseen.
const SEEN: &str = "the memory of this process is limited to";
const UNSEEN: &str = "the process that reserved the memory was killed";

fn grow_beyond(blind: bool, reason: &str) {
    let Some(group) = MemoryGroup::new(64 * MIB) else { return };
    let segment = Segment::new();
    let mut host = start_host(&segment, &group, blind);
    host.ok("host 8 256");
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    for number in 0..20 {
        guest.ok(&format!("store {number} 5000"));
        guest.ok(&format!("pin {number}"));
    }
    let refused = guest.error("reserve 262144 400");
    assert!(refused.contains("NoRoom { slot_bytes: 262144"), "{refused}");
    let said = host.ok("growth_failed");
    assert!(said.contains(reason) && said.contains("--size-max"), "{said}");
    assert_ne!(host.ok("host_audit"), "0", "growth failed");
    // What was reserved for nothing is free again, and there is some room besides.
    let published: u64 = host.ok("host_stat pool_bytes").parse().unwrap();
    let pool = std::fs::metadata(segment.path().join("pool")).unwrap();
    assert!(published > 8 * MIB, "it grew while it could");
    assert_eq!(pool.blocks() * 512, published);
    assert!(group.used_bytes() < 60 * MIB, "{}", group.used_bytes());
    for number in 0..20 {
        assert!(guest.ok(&format!("get {number}")).starts_with("5000 "));
    }
    // With more memory the next growth goes on where the last one failed.
    assert!(group.set_limit(256 * MIB));
    guest.ok("unreserve");
    wait_for("growth once there is memory", || guest.tell("reserve 262144 400").starts_with("ok"));
    assert!(host.ok("host_stat pool_bytes").parse::<u64>().unwrap() >= 100 * MIB);
    host.ok("host_audit");
    drop((guest, host));
}

// r[verify resources.growth]
// r[verify resources.give-back]
// r[verify resources.memory-limit]
#[test]
fn growth_beyond_the_limit_of_the_control_group_is_refused_and_can_be_tried_again() {
    grow_beyond(false, SEEN);
}

// r[verify resources.growth]
// r[verify resources.give-back]
// r[verify resources.helper]
#[test]
fn growth_beyond_a_limit_that_cannot_be_seen_kills_the_helper_alone() {
    if can_hide() {
        grow_beyond(true, UNSEEN);
    }
}

fn start_beyond(blind: bool, reason: &str) {
    let Some(group) = MemoryGroup::new(64 * MIB) else { return };
    let segment = Segment::new();
    let mut host = start_host(&segment, &group, blind);
    let said = host.error("host 96 96");
    assert!(said.contains(reason) && said.contains("--size"), "{said}");
    assert!(!segment.path().exists(), "nothing is left");
    host.ok("host 16 16");
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    guest.ok("store 1 5000");
    host.ok("host_audit");
    drop((guest, host));
}

// r[verify resources.growth]
// r[verify resources.memory-limit]
#[test]
fn a_start_beyond_the_limit_of_the_control_group_leaves_nothing_and_can_be_tried_again() {
    start_beyond(false, SEEN);
}

// r[verify resources.growth]
// r[verify resources.helper]
#[test]
fn a_start_beyond_a_limit_that_cannot_be_seen_leaves_nothing_either() {
    if can_hide() {
        start_beyond(true, UNSEEN);
    }
}

// r[verify resources.charged-to-host]
#[test]
fn who_fills_a_slot_is_not_charged_for_it() {
    let Some(group) = MemoryGroup::new(32 * MIB) else { return };
    let segment = Segment::new();
    let mut host = Peer::start(PEER, segment.path());
    host.ok("host 8 128");
    let mut guest = Peer::start(PEER, segment.path());
    group.take(guest.pid());
    guest.attach("attach writer");
    // Twice what its group may have, each byte of it written.
    guest.ok("reserve 262144 256");
    guest.ok("scribble 7");
    for number in 0..256 {
        guest.ok(&format!("publish {number}"));
    }
    assert!(group.used_bytes() < 16 * MIB, "{}", group.used_bytes());
    for number in 0..256 {
        assert_ne!(guest.ok(&format!("get {number}")), "miss");
    }
    host.ok("host_audit");
    drop((guest, host));
}

// r[verify resources.give-back]
#[test]
fn what_a_host_reserved_and_did_not_live_to_publish_is_given_back() {
    let segment = Segment::new();
    let mut host = Peer::start(PEER, segment.path());
    host.ok("host 8 64");
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    guest.ok("store_many 1 50");
    host.kill();
    // As if it had died between reserving and publishing.
    let area = |name: &str| {
        let path = segment.path().join(name);
        std::fs::OpenOptions::new().write(true).open(path).unwrap()
    };
    let (pool, control) = (area("pool"), area("control"));
    let control_blocks = control.metadata().unwrap().blocks();
    let reserve = |file: &std::fs::File, from: u64, to: u64| {
        let flags = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(file, flags, from, to - from).unwrap();
    };
    reserve(&pool, 8 * MIB, 40 * MIB);
    reserve(&control, 0, control.metadata().unwrap().len());
    assert!(control.metadata().unwrap().blocks() > control_blocks);
    let mut next = Peer::start(PEER, segment.path());
    next.ok("host 8 64");
    assert_eq!(pool.metadata().unwrap().blocks() * 512, 8 * MIB);
    assert_eq!(control.metadata().unwrap().blocks(), control_blocks);
    let mut reader = Peer::attached(PEER, segment.path(), "reader");
    for number in 1..=50 {
        assert_ne!(reader.ok(&format!("get {number}")), "miss");
    }
    // And growth goes over it again.
    let mut writer = Peer::attached(PEER, segment.path(), "writer");
    writer.ok("reserve 262144 100");
    next.ok("host_audit");
}

/// The same for a host that populates: there the helper dies of a touch and not of a reservation.
fn populate_beyond(blind: bool, reason: &str) {
    let Some(group) = MemoryGroup::new(64 * MIB) else { return };
    let segment = Segment::new();
    let mut host = start_host_with(&segment, &group, blind, &[("ONECOPY_TEST_PREFAULT", "1")]);
    let said = host.error("host 96 96");
    assert!(said.contains(reason) && said.contains("--size"), "{said}");
    assert!(!segment.path().exists(), "nothing is left");
    host.ok("host 8 256");
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    guest.ok("store 1 5000");
    let refused = guest.error("reserve 262144 400");
    assert!(refused.contains("NoRoom { slot_bytes: 262144"), "{refused}");
    let said = host.ok("growth_failed");
    assert!(said.contains(reason) && said.contains("--size-max"), "{said}");
    let published: u64 = host.ok("host_stat pool_bytes").parse().unwrap();
    let pool = std::fs::metadata(segment.path().join("pool")).unwrap();
    assert_eq!(pool.blocks() * 512, published);
    assert!(guest.ok("get 1").starts_with("5000 "));
    host.ok("host_audit");
    drop((guest, host));
}

// r[verify pool-memory.prefault]
// r[verify pool-memory.growth]
// r[verify resources.memory-limit]
#[test]
fn populating_beyond_the_limit_of_the_control_group_is_refused() {
    populate_beyond(false, SEEN);
}

// r[verify pool-memory.prefault]
// r[verify pool-memory.growth]
// r[verify resources.helper]
#[test]
fn populating_beyond_a_limit_that_cannot_be_seen_kills_the_helper_alone() {
    if can_hide() {
        populate_beyond(true, UNSEEN);
    }
}
