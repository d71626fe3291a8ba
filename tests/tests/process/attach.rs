//! Coming in: who gets in, with what, and who does not.

use crate::PEER;
use onecopy_shm::{Access, LeaseTable, Mapping, SERIAL_MAX, SlotRef, lease_table_bytes};
use onecopy_tests::harness::{
    Peer, RawGuest, Segment, TestHost, hello_descriptors, say_hello, soon, wait_for,
};
use onecopy_transport::control::{ControlReader, read_geometry};
use onecopy_transport::format::{PeerState, Role, SegmentHeader};
use onecopy_transport::guest::AttachError;
use onecopy_transport::guest::Guest;
use onecopy_transport::segment::SegmentPath;
use onecopy_transport::socket::AttachSocket;
use onecopy_transport::wire::{Hello, PROTOCOL_VERSION, Refusal, Welcome};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::File;
use std::mem::offset_of;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// Says this hello with these descriptors; the refusal that comes back.
fn refused(segment: &Segment, hello: &[u8], descriptors: &[BorrowedFd<'_>]) -> Refusal {
    let (socket, welcome, received) = say_hello(segment.path(), hello, descriptors);
    assert!(received.descriptors.is_empty());
    wait_for("the end of the connection", || socket.is_closed().unwrap());
    let detail = welcome.detail.map(|number| number.get());
    Refusal::decode(welcome.refusal.get(), detail).unwrap()
}

fn hello() -> Hello {
    Hello::new(Role::Writer, 0, 0)
}

// r[verify attach.refused]
#[test]
fn a_hello_that_is_wrong_is_refused_with_what_was_wrong() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let mut steady = Peer::attached(PEER, segment.path(), "writer");
    let (pidfd, doorbell) = hello_descriptors();
    let both = [pidfd.as_fd(), doorbell.as_fd()];

    let other_version = Hello { version: 7.into(), ..hello() };
    let version = u64::from(PROTOCOL_VERSION);
    let expected = Refusal::Version { host: version, guest: 7 };
    assert_eq!(refused(&segment, other_version.as_bytes(), &both), expected);

    let field = |field, value| Refusal::Malformed { field, value };
    let other_magic = Hello { magic: 3.into(), ..hello() };
    assert_eq!(refused(&segment, other_magic.as_bytes(), &both), field(0, 3));
    let other_role = Hello { role: 9.into(), ..hello() };
    assert_eq!(refused(&segment, other_role.as_bytes(), &both), field(2, 9));
    assert_eq!(refused(&segment, &hello().as_bytes()[..10], &both), field(100, 10));
    let long = [hello().as_bytes(), &[0; 100]].concat();
    assert_eq!(refused(&segment, &long, &both), field(100, long.len() as u64));

    let bytes = hello();
    let bytes = bytes.as_bytes();
    assert_eq!(refused(&segment, bytes, &both[..1]), field(101, 1));
    assert_eq!(refused(&segment, bytes, &[]), field(101, 0));
    let three = [pidfd.as_fd(), doorbell.as_fd(), doorbell.as_fd()];
    assert_eq!(refused(&segment, bytes, &three), field(101, 3));
    // Not a pidfd, and a doorbell that is no eventfd.
    assert_eq!(refused(&segment, bytes, &[doorbell.as_fd(), doorbell.as_fd()]), field(102, 0));
    assert_eq!(refused(&segment, bytes, &[pidfd.as_fd(), pidfd.as_fd()]), field(103, 1));

    let another = Pid::from_raw(steady.pid() as i32).unwrap();
    let foreign = pidfd_open(another, PidfdFlags::empty()).unwrap();
    let expected =
        Refusal::WrongPidfd { named: steady.pid().into(), sender: std::process::id().into() };
    assert_eq!(refused(&segment, bytes, &[foreign.as_fd(), doorbell.as_fd()]), expected);

    // Nobody else noticed, and the next one is let in.
    steady.ok("ping");
    assert_eq!(host.stat("attach_refused"), 11);
    let raw = RawGuest::attach(segment.path(), Role::Writer);
    assert_eq!(segment.files("rings"), [steady.serial(), raw.serial()]);
    host.assert_clean();
}

fn silent(segment: &Segment) -> AttachSocket {
    AttachSocket::connect(&SegmentPath::new(segment.path()).unwrap(), soon()).unwrap()
}

// r[verify attach.silence]
#[test]
fn who_says_nothing_keeps_nobody_out_and_has_to_go() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let mut first = silent(&segment);
    let started = Instant::now();
    let many: Vec<AttachSocket> = (0..200).map(|_| silent(&segment)).collect();
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    guest.ok("store 1 5000");
    // The oldest ones had to go for those that came later.
    // (A child that another test is just starting has the host's end too, until it is another
    // program.)
    wait_for("the end of the oldest one", || first.is_closed().unwrap());
    let closed = many.iter().filter(|socket| socket.is_closed().unwrap()).count();
    // 202 connections with the guest's, of which 128 may wait; later on the time of all is up.
    assert!(closed <= 73 || started.elapsed() >= Duration::from_secs(4), "{closed}");
    drop(many);

    first = silent(&segment);
    let waited = Instant::now();
    wait_for("the end of its time", || {
        guest.ok("ping");
        std::thread::sleep(Duration::from_millis(20));
        first.is_closed().unwrap()
    });
    assert!(waited.elapsed() >= Duration::from_secs(4), "{:?}", waited.elapsed());
    assert_eq!(host.stat("guests"), 1);
    host.assert_clean();
}

// r[verify attach.guests_max]
#[test]
fn one_guest_too_many_is_refused_with_both_numbers() {
    let segment = Segment::new();
    let host = TestHost::with(&segment, |options| options.guests_max = 2);
    let mut first = Peer::attached(PEER, segment.path(), "writer");
    let mut second = Peer::attached(PEER, segment.path(), "reader");
    let refused = Guest::attach(host.guest_options(Role::Reader)).unwrap_err();
    let AttachError::Refused(refusal) = refused else { panic!("{refused}") };
    assert_eq!(refusal, Refusal::Full { guests: 2, guests_max: 2 });
    assert!(refusal.to_string().contains("serves 2 guests and takes at most 2"), "{refusal}");
    first.ok("store 1 100");
    second.ok("get 1");
    first.ok("detach");
    let third = host.guest(Role::Reader);
    assert_eq!(host.stat("guests"), 2);
    drop(third);
    // A dead one makes room as well.
    second.kill();
    host.wait_stat("guests", 0);
    let both = [host.guest(Role::Reader), host.guest(Role::Reader)];
    assert!(both[0].serial() < both[1].serial());
    host.assert_clean();
}

// r[verify attach.serial]
#[test]
fn a_serial_is_never_given_out_again_over_all_lives_of_the_host() {
    let segment = Segment::new();
    let mut last = 0;
    let last_known = |segment: &Segment| {
        let mut word = [0; 8];
        let control = File::open(segment.path().join("control")).unwrap();
        control.read_exact_at(&mut word, offset_of!(SegmentHeader, serial_last) as u64).unwrap();
        u64::from_le_bytes(word)
    };
    for _ in 0..3 {
        // Killed, so that it has no chance to write anything down.
        let mut host = Peer::start(PEER, segment.path());
        host.ok("host 8 8");
        for _ in 0..3 {
            let mut guest = Peer::start(PEER, segment.path());
            let serial = guest.attach("attach writer");
            assert!(serial > last, "{serial} after {last}");
            assert!(last_known(&segment) >= u64::from(serial), "the header knows it first");
            last = serial;
            guest.ok("detach");
        }
        host.kill();
    }
    // None is left.
    let control = File::options().write(true).open(segment.path().join("control")).unwrap();
    let all = u64::from(SERIAL_MAX).to_le_bytes();
    control.write_all_at(&all, offset_of!(SegmentHeader, serial_last) as u64).unwrap();
    let host = TestHost::start(&segment);
    let refused = Guest::attach(host.guest_options(Role::Reader)).unwrap_err();
    let AttachError::Refused(refusal) = refused else { panic!("{refused}") };
    assert_eq!(refusal, Refusal::SerialsUsedUp { serials: SERIAL_MAX.into() });
    assert_eq!(last_known(&segment), u64::from(SERIAL_MAX));
    host.assert_clean();
}

fn access(descriptor: impl AsFd) -> OFlags {
    fcntl_getfl(descriptor).unwrap() & OFlags::ACCMODE
}

// r[verify attach.own_descriptors]
#[test]
fn a_guest_gets_descriptors_of_its_own_and_writes_only_where_it_has_to() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let reader = RawGuest::attach(segment.path(), Role::Reader);
    let writer = RawGuest::attach(segment.path(), Role::Writer);
    let found: Vec<OFlags> = reader.descriptors.iter().map(access).collect();
    let (ro, rw) = (OFlags::RDONLY, OFlags::RDWR);
    assert_eq!(found, [ro, ro, rw, rw], "control, pool, rings, leases");
    let found: Vec<OFlags> = writer.descriptors.iter().map(access).collect();
    assert_eq!(found, [ro, ro, rw, rw, rw], "and the pool to write");
    let control = Mapping::map(&reader.descriptors[0], 4096, Access::ReadWrite);
    assert!(control.is_err(), "what is read-only cannot be mapped writable");

    // The host is in this process too: none of its descriptors, and none of the other guest's,
    // has the flag that this guest sets on its own.
    let is_append = |number: &str| {
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"))?.trim().to_owned();
        let flags = u32::from_str_radix(&flags, 8).ok()?;
        Some(flags & OFlags::APPEND.bits() != 0)
    };
    let mine = || {
        let names = std::fs::read_dir("/proc/self/fd").unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        let in_segment = |name: &String| {
            std::fs::read_link(format!("/proc/self/fd/{name}"))
                .is_ok_and(|target| target.starts_with(segment.path()))
        };
        names.filter(in_segment).filter(|name| is_append(name) == Some(true)).count()
    };
    assert_eq!(mine(), 0);
    for descriptor in &writer.descriptors {
        fcntl_setfl(descriptor, OFlags::APPEND).unwrap();
    }
    // The host closes what it has sent right after it was sent.
    wait_for("nobody else's", || mine() == writer.descriptors.len());
    drop(host);
}

// r[verify attach.in_service_first]
#[test]
fn a_guest_is_in_service_when_its_descriptors_arrive() {
    let segment = Segment::new();
    let mut host = TestHost::with(&segment, |options| options.guests_max = 64);
    let mut writer = Peer::attached(PEER, segment.path(), "writer");
    for round in 0..30_u64 {
        let answer = writer.ok(&format!("store {round} 5000"));
        let words: Vec<u32> = answer.split(' ').skip(1).map(|word| word.parse().unwrap()).collect();
        let slot = SlotRef { slot: words[0], generation: words[1] };
        // Its row and its lease table count from the first moment: no frame of it was ever sent.
        let guest = RawGuest::attach(segment.path(), Role::Reader);
        let control_bytes = guest.welcome.control_bytes.get();
        let control = Mapping::map(&guest.descriptors[0], control_bytes, Access::ReadOnly).unwrap();
        let (geometry, _) = read_geometry(&control).unwrap();
        let capacity = geometry.leases_max as u32;
        let bytes = lease_table_bytes(capacity);
        let row = u64::from(guest.welcome.row.get());
        let peer = ControlReader::new(control, geometry).unwrap().peer(row).unwrap().unwrap();
        assert_eq!((peer.serial, peer.state), (guest.serial(), PeerState::Attached));
        assert_eq!((peer.attached, peer.role), (true, Role::Reader));
        assert_eq!(peer.pid, std::process::id());
        let leases = Mapping::map(&guest.descriptors[3], bytes, Access::ReadWrite).unwrap();
        let table = LeaseTable::new(leases.region(0, bytes).unwrap(), capacity).unwrap();
        let lease = table.lease(slot).unwrap();
        writer.ok(&format!("delete {round}"));
        writer.ok("ping");
        std::thread::sleep(Duration::from_millis(25));
        assert_eq!(host.stat("slots_retired"), 1, "round {round}");
        table.release(lease);
        goodbye(guest);
        host.wait_stat("slots_retired", 0);
    }
    let known = host.events().len();
    assert!(known > 0);
    host.assert_clean();
}

/// Says goodbye for a raw guest.
fn goodbye(mut guest: RawGuest) {
    let serial = u64::from(guest.serial()).to_le_bytes();
    let answer = guest.ask(onecopy_transport::wire::kind::GOODBYE, 0, &serial);
    assert_eq!(answer.bytes, serial);
}

/// The size of the record is part of the protocol.
const _: () = assert!(size_of::<Welcome>() == 72);
