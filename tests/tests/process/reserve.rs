//! Places that are reserved for a child process.

use crate::PEER;
use onecopy_tests::harness::{Peer, Segment, TestHost, soon, wait_for};
use onecopy_transport::format::Role;
use onecopy_transport::guest::{AttachError, Guest};
use onecopy_transport::wire::Refusal;
use std::process::Command;

fn only_two(segment: &Segment) -> TestHost {
    TestHost::with(segment, |options| options.guests_max = 2)
}

fn is_full(host: &TestHost) -> bool {
    match Guest::attach(host.guest_options(Role::Reader)) {
        Err(AttachError::Refused(Refusal::Full { guests: 2, guests_max: 2 })) => true,
        Ok(_) => false,
        Err(error) => panic!("{error}"),
    }
}

// r[verify attach.reservation]
// r[verify attach.reserved_counts]
#[test]
fn a_reserved_place_waits_for_who_claims_it_and_for_nobody_else() {
    let segment = Segment::new();
    let host = only_two(&segment);
    let reservation = host.handle().reserve(soon()).unwrap();
    let mut walk_in = Peer::attached(PEER, segment.path(), "writer");
    assert!(is_full(&host), "one is there, one place is reserved");
    assert!(host.handle().reserve(soon()).unwrap_err().to_string().contains("takes at most 2"));

    let mut command = Peer::command(PEER, segment.path());
    let mut child = Peer::over(reservation.spawn(&mut command).unwrap());
    let serial = child.attach("claim");
    assert!(serial > walk_in.serial());
    child.ok("store 1 5000");
    assert!(walk_in.ok("get 1").starts_with("5000 "));
    assert!(child.error("claim").contains("NothingToClaim"), "it can be claimed once");
    assert!(is_full(&host));
    assert!(command.spawn().is_err(), "the same command starts no second one");
    child.ok("detach");
    assert!(!is_full(&host));
    host.assert_clean();
}

// r[verify attach.reservation]
#[test]
fn a_reservation_that_is_dropped_frees_its_place() {
    let segment = Segment::new();
    let host = only_two(&segment);
    for _ in 0..20 {
        let both = [host.handle().reserve(soon()).unwrap(), host.handle().reserve(soon()).unwrap()];
        assert!(is_full(&host));
        drop(both);
    }
    let not_started =
        host.handle().reserve(soon()).unwrap().spawn(&mut Command::new("/no/such/program"));
    assert!(not_started.unwrap_err().to_string().contains("/no/such/program"));
    let _guest = host.guest(Role::Reader);
    wait_for("the place that was not used", || !is_full(&host));
    host.assert_clean();
}

// r[verify attach.reservation]
#[test]
fn a_child_that_dies_before_it_claims_frees_its_place() {
    let segment = Segment::new();
    let host = only_two(&segment);
    let _guest = host.guest(Role::Reader);
    for _ in 0..3 {
        let reservation = host.handle().reserve(soon()).unwrap();
        // The command lives on; it must not keep the place.
        let mut command = Peer::command(PEER, segment.path());
        let mut child = Peer::over(reservation.spawn(&mut command).unwrap());
        assert!(is_full(&host));
        child.kill();
        wait_for("the place of the dead child", || !is_full(&host));
        // Who looked has to go first.
        host.wait_stat("guests", 1);
        drop(command);
    }
    assert_eq!(host.stat("recovered"), 0, "it never was a guest");
    host.assert_clean();
}

// r[verify attach.reservation]
#[test]
fn a_reserved_socket_can_be_claimed_by_other_means() {
    let segment = Segment::new();
    let host = only_two(&segment);
    let socket = host.handle().reserve(soon()).unwrap().into_socket().unwrap();
    let guest = Guest::claim(socket, host.guest_options(Role::Writer)).unwrap();
    guest.ping(soon()).unwrap();
    guest.detach(soon()).unwrap();
    host.assert_clean();
}
