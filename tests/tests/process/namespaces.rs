//! Hosts and guests in different PID namespaces.

use crate::PEER;
use onecopy_tests::harness::{Peer, Segment, TestHost, soon, wait_for};
use onecopy_transport::format::{Role, SuspectReason};
use onecopy_transport::guest::{CallError, Guest, GuestOptions};
use onecopy_transport::host::{PeerInfo, SettleError, Settlement};
use onecopy_transport::wire::RequestError;
use std::process::{Command, Stdio};

/// Whether this process may make PID namespaces.
fn may_unshare() -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(["-p", "-f", "--mount-proc", "true"]).stderr(Stdio::null());
    let unshared = unshare.status();
    let may = unshared.is_ok_and(|status| status.success());
    if !may {
        eprintln!("skipped: no PID namespace of its own for this user");
    }
    may
}

/// A peer that is the first process of a PID namespace of its own, and ends with whoever waits for it.
fn apart(segment: &Segment, with_proc: bool) -> Peer {
    let mut command = Command::new("unshare");
    command.args(["-p", "-f", "--kill-child"]);
    if with_proc {
        command.arg("--mount-proc");
    }
    command.arg(PEER).arg(segment.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    Peer::over(command.spawn().unwrap())
}

fn asker(segment: &Segment) -> Guest {
    let options = GuestOptions { role: Role::Reader, ..GuestOptions::at(segment.path()) };
    Guest::attach(options).unwrap()
}

fn info(asker: &Guest, serial: u32) -> Option<PeerInfo> {
    asker.peers(soon()).unwrap().into_iter().find(|peer| peer.serial == serial)
}

fn stat(asker: &Guest, name: &str) -> u64 {
    let stats = asker.host_stats(soon()).unwrap();
    let (_, rest) = stats.split_once(&format!("\"{name}\":")).unwrap();
    rest.split([',', '}']).next().unwrap().parse().unwrap()
}

// r[verify attach.namespaces]
#[test]
fn a_guest_in_a_namespace_below_is_served_and_its_death_is_proven() {
    if !may_unshare() {
        return;
    }
    let segment = Segment::new();
    let mut host = TestHost::start(&segment);
    let mut guest = apart(&segment, true);
    guest.attach("attach writer");
    guest.ok("store 1 5000");
    guest.ok("reserve 9000 2");
    let info = host.handle().peers(soon()).unwrap().pop().unwrap();
    assert!(info.pid > 1, "it has a number here: {info:?}");
    guest.kill();
    let (goodbye, slots) = host.wait_recovered(guest.serial());
    assert!(!goodbye && slots >= 2);
    assert_eq!(host.stat("blocks"), 1);
    host.assert_clean();
}

/// A host in a namespace of its own serves guests that it has no numbers for.
fn served_by_a_host_apart(with_proc: bool) {
    if !may_unshare() {
        return;
    }
    let segment = Segment::new();
    let mut host = apart(&segment, with_proc);
    host.ok("host 8 8");
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    let asker = asker(&segment);
    guest.ok("store 1 5000");
    guest.ok("hold 1");
    guest.ok("reserve 9000 2");
    let told = info(&asker, guest.serial()).unwrap();
    assert_eq!((told.pid, told.attached, told.leases), (0, true, 1));
    // It cannot be killed through its pidfd from there, and nothing is freed without a proof.
    let refused = asker.settle(guest.serial(), Settlement::Kill, soon());
    let Err(CallError::Refused(RequestError::Settle(SettleError::CannotKill { errno, .. }))) =
        refused
    else {
        panic!("{refused:?}");
    };
    assert_ne!(errno, 0);
    guest.ok("ping");
    guest.kill();
    wait_for("the guest's end", || info(&asker, guest.serial()).is_none());
    assert_eq!((stat(&asker, "recovered"), stat(&asker, "blocks")), (1, 1));
    assert_eq!(stat(&asker, "slots_granted"), 0);
    assert_eq!(host.ok("host_audit"), "0");
    asker.detach(soon()).unwrap();
}

// r[verify attach.namespaces]
#[test]
fn a_guest_that_has_no_number_in_the_hosts_namespace_is_served_and_its_death_is_proven() {
    served_by_a_host_apart(true);
}

// r[verify attach.namespaces]
#[test]
fn a_host_that_reads_the_numbers_of_another_namespace_is_not_led_astray() {
    served_by_a_host_apart(false);
}

// r[verify host.take_over.proof]
// r[verify process.inode]
#[test]
fn a_later_host_in_another_namespace_takes_nobody_for_dead_who_is_not() {
    if !may_unshare() {
        return;
    }
    let segment = Segment::new();
    // The first host has a number for the guest, which means nothing to the second one.
    let mut first = Peer::start(PEER, segment.path());
    first.ok("host 8 8");
    let mut guests: Vec<Peer> =
        (0..2).map(|_| Peer::attached(PEER, segment.path(), "writer")).collect();
    for (number, guest) in (1..).zip(&mut guests) {
        guest.ok(&format!("store {number} 5000"));
        guest.ok(&format!("hold {number}"));
        guest.ok("reserve 9000 2");
    }
    first.kill();
    let mut second = apart(&segment, true);
    second.ok("host 8 8");
    let asker = asker(&segment);
    let mut other = Peer::attached(PEER, segment.path(), "writer");
    other.ok("delete 1");
    other.ok("delete 2");
    other.ok("store_many 10 50");
    for guest in &mut guests {
        let told = info(&asker, guest.serial()).unwrap();
        let why = told.suspected.map(|suspected| suspected.reason);
        assert_eq!((why, told.leases), (Some(SuspectReason::HostReplaced), 1));
        assert!(told.quarantined.slots >= 2);
        assert_eq!(guest.ok("check"), "1");
    }
    let refused = asker.settle(guests[0].serial(), Settlement::Kill, soon()).unwrap_err();
    let serial = guests[0].serial().into();
    let expected = SettleError::CannotKill { serial, errno: 0 };
    assert_eq!(refused, CallError::Refused(RequestError::Settle(expected)));
    // Its end shows in its lease table.
    guests[0].kill();
    wait_for("the first guest's end", || info(&asker, guests[0].serial()).is_none());
    // The other one attaches anew with the same lease table, and its earlier attach is over.
    let guest = &mut guests[1];
    guest.ok("reattach");
    wait_for("the end of the earlier attach", || info(&asker, guest.serial()).is_none());
    assert_eq!(guest.ok("check"), "1");
    guest.ok("publish 3");
    assert_eq!(stat(&asker, "slots_quarantined"), 0);
    assert_eq!(second.ok("host_audit"), "0");
    asker.detach(soon()).unwrap();
}
