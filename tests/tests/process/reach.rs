//! What is there of a segment for others: modes of files, flags of descriptors, and what a guest of
//! another user can get at.

use crate::PEER;
use onecopy_tests::harness::{Peer, Segment, TestHost};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// A user and a group that nobody is.
const USER: u32 = 54_321;

/// The permissions of everything at and below a place, by name.
fn modes(place: &Path) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    let mut left = vec![place.to_owned()];
    while let Some(path) = left.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(place).unwrap().to_string_lossy().into_owned();
        found.insert(name, stat.permissions().mode() & 0o7777);
        if stat.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found
}

// r[verify segment.files]
// r[verify segment.directory]
#[test]
fn whatever_the_umask_nobody_else_can_open_anything_of_a_segment() {
    let segment = Segment::new();
    let mut command = Command::new("sh");
    command.args(["-c", "umask 0; exec \"$0\" \"$1\"", PEER]).arg(segment.path());
    let mut host =
        Peer::over(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    host.ok("host 8 48");
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    guest.ok("store_many 1 100");
    let (rings, leases) =
        (format!("rings/{}", guest.serial()), format!("leases/{}", guest.serial()));
    let expected = [
        ("", 0o700),
        ("control", 0o600),
        ("host.sock", 0o600),
        ("leases", 0o700),
        (&leases, 0o600),
        ("lock", 0o600),
        ("pool", 0o600),
        ("rings", 0o700),
        (&rings, 0o600),
    ];
    let expected = expected.map(|(name, mode)| (name.to_owned(), mode));
    assert_eq!(modes(segment.path()), BTreeMap::from(expected));
}

/// Flags of the descriptors of a process that lead on in a program that it executes, but for the three
/// that every program has.
fn inherited(peer: &Peer) -> Vec<String> {
    let pid = peer.pid();
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let number = entry.unwrap().file_name().to_string_lossy().into_owned();
        // One that was closed meanwhile leads nowhere.
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")) else { continue };
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
        let flags = u32::from_str_radix(flags, 8).unwrap();
        let is_standard = number.parse::<u32>().unwrap() < 3;
        if !is_standard && flags & rustix::fs::OFlags::CLOEXEC.bits() == 0 {
            let target = fs::read_link(format!("/proc/{pid}/fd/{number}"));
            found.push(format!("{number}: {target:?}"));
        }
    }
    found
}

// r[verify segment.files]
#[test]
fn every_descriptor_of_host_and_guest_ends_with_the_program() {
    let segment = Segment::new();
    let mut host = Peer::start(PEER, segment.path());
    let mut guest = Peer::start(PEER, segment.path());
    // What the test's own process left open is not theirs. Once they answer, the system is done with
    // starting them.
    let before = [&mut host, &mut guest].map(|peer| {
        peer.ok("grown_to");
        inherited(peer)
    });
    host.ok("host 8 48");
    guest.attach("attach writer");
    guest.ok("store_many 1 100");
    guest.ok("hold 1");
    guest.ok("reserve 9000 2");
    assert!(host.descriptors() > 8 && guest.descriptors() > 3, "there are some to look at");
    assert_eq!([inherited(&host), inherited(&guest)], before);
}

/// A peer of another user, with the program at a place that it can reach.
fn of_other_user(segment: &Segment, place: &Path) -> Peer {
    let program = place.join("peer");
    fs::copy(PEER, &program).unwrap();
    for open in [place, segment.path().parent().unwrap()] {
        fs::set_permissions(open, Permissions::from_mode(0o711)).unwrap();
    }
    let mut command = Peer::command(program.to_str().unwrap(), segment.path());
    Peer::over(command.uid(USER).gid(USER).spawn().unwrap())
}

// r[verify attach.own_descriptors]
// r[verify segment.shared]
// r[verify segment.reopen]
#[test]
fn a_guest_of_another_user_reaches_nothing_but_what_it_was_given() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: another user is only to be had as root");
        return;
    }
    let segment = Segment::new();
    let place = tempfile::tempdir().unwrap();
    let host = TestHost::with(&segment, |options| options.allowed.uids = vec![USER]);
    let mut other = Peer::attached(PEER, segment.path(), "writer");
    other.ok("store 1 5000");
    let order = |role: &str| format!("reach {role} {}", other.serial());
    let mut stranger = of_other_user(&segment, place.path());
    for role in ["reader", "writer"] {
        // The writer was given the pool to write, and with it more than this.
        let worked = stranger.ok(&order(role));
        assert_eq!(worked, "", "{role}");
    }
    let modes = modes(segment.path());
    assert_eq!((modes[""], modes["host.sock"]), (0o711, 0o666));
    let files = modes.iter().filter(|(name, _)| !["", "host.sock"].contains(&name.as_str()));
    for (name, mode) in files {
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }
    // The host's own user is held back by nothing of this: the test can fail.
    let own = Peer::start(PEER, segment.path()).ok(&order("reader"));
    assert!(own.contains("open control to write") && own.contains("rename the socket"), "{own}");
    assert!(other.ok("get 1").starts_with("5000 "));
    host.assert_clean();
}
