//! Peers whose death nobody has proven: listing them, and settling them by hand.

use crate::PEER;
use onecopy_tests::harness::{Peer, RawGuest, Segment, TestHost, is_payload, key, soon, wait_for};
use onecopy_transport::format::{PeerState, Role, SuspectReason};
use onecopy_transport::guest::CallError;
use onecopy_transport::host::{HandleError, HostEvent, PeerInfo, SettleError, Settlement};
use onecopy_transport::wire::{RequestError, Settle, kind};
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

fn info(host: &TestHost, serial: u32) -> Option<PeerInfo> {
    let peers = host.handle().peers(soon()).unwrap();
    assert!(peers.is_sorted_by_key(|peer| peer.serial));
    peers.into_iter().find(|peer| peer.serial == serial)
}

fn refused(host: &TestHost, serial: u32, how: Settlement) -> SettleError {
    match host.handle().settle(serial, how, soon()) {
        Err(HandleError::Settle(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// A guest that holds a lease of block 1, a pin of block 2 and two slots, then is stopped and cut
/// off.
fn stopped_and_cut_off(host: &mut TestHost, segment: &Segment) -> Peer {
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    guest.ok("store 1 5000");
    guest.ok("store 2 5000");
    guest.ok("hold 1");
    guest.ok("pin 2");
    guest.ok("reserve 9000 2");
    guest.stop();
    assert!(host.handle().cut_off(guest.serial(), "by hand", soon()).unwrap());
    guest
}

// r[verify peer.list]
// r[verify guest.peers]
#[test]
fn every_peer_is_listed_with_what_it_holds() {
    let segment = Segment::new();
    // Rings so small that two answers are needed for three peers.
    let mut host = TestHost::with(&segment, |options| {
        options.ring_capacity_bytes = 2048;
        options.inline_bytes_max = 256;
    });
    let guest = stopped_and_cut_off(&mut host, &segment);
    let healthy = Peer::attached(PEER, segment.path(), "reader");
    let asker = host.guest(Role::Reader);
    let told = host.handle().peers(soon()).unwrap();
    let serials: Vec<u32> = told.iter().map(|peer| peer.serial).collect();
    assert_eq!(serials, [guest.serial(), healthy.serial(), asker.serial()]);
    let stopped = &told[0];
    assert_eq!(
        (stopped.pid, stopped.role, stopped.state),
        (guest.pid(), Role::Writer, PeerState::Suspect)
    );
    assert_eq!((stopped.attached, stopped.leases, stopped.held), (false, 1, 1));
    assert!(stopped.granted.slots == 0 && stopped.quarantined.slots >= 2, "{stopped:?}");
    let suspected = stopped.suspected.as_ref().unwrap();
    assert_eq!((suspected.reason, suspected.text.as_str()), (SuspectReason::CutOff, "by hand"));
    let standing = &told[1];
    assert_eq!((standing.state, standing.attached), (PeerState::Attached, true));
    assert_eq!((standing.suspected.as_ref(), standing.granted.slots), (None, 0));

    let asked = asker.peers(soon()).unwrap();
    assert_eq!(asked.len(), 3);
    for (asked, told) in asked.iter().zip(&told) {
        // Only the time goes on.
        let mut asked = asked.clone();
        if let (Some(asked), Some(told)) = (asked.suspected.as_mut(), told.suspected.as_ref()) {
            assert!(asked.since + Duration::from_millis(1) > told.since);
            asked.since = told.since;
        }
        assert_eq!(asked, *told);
    }
    host.assert_clean();
}

// r[verify peer.settle]
#[test]
fn a_kill_waits_for_the_proof_and_brings_everything_back() {
    let segment = Segment::new();
    let mut host = TestHost::start(&segment);
    let mut guest = stopped_and_cut_off(&mut host, &segment);
    let mut other = Peer::attached(PEER, segment.path(), "writer");
    assert!(other.ok("delete 1").contains("true"));
    assert_eq!(host.stat("slots_retired"), 1);
    let waiting = info(&host, guest.serial()).unwrap().quarantined;
    let settled = host.handle().settle(guest.serial(), Settlement::Kill, soon()).unwrap();
    assert_eq!((settled.proven, settled.slots), (true, waiting));
    assert_eq!((settled.leases, settled.held), (1, 1));
    assert_eq!(info(&host, guest.serial()), None);
    assert_eq!((host.stat("slots_quarantined"), host.stat("slots_retired")), (0, 0));
    assert_eq!((host.stat("peers_killed"), host.stat("recovered")), (1, 1));
    assert!(!guest.wait().success());
    // One in good standing may be killed too, and by a guest of the host's user.
    let asker = host.guest(Role::Reader);
    let settled = asker.settle(other.serial(), Settlement::Kill, soon()).unwrap();
    assert!(settled.proven);
    assert!(!host.wait_recovered(other.serial()).0);
    host.assert_clean();
}

// r[verify peer.settle]
#[test]
fn what_must_not_be_settled_is_refused_and_stays() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    let serial = u64::from(guest.serial());
    let error = refused(&host, guest.serial(), Settlement::WriteOff);
    assert_eq!(error, SettleError::Healthy { serial });
    for how in [Settlement::Kill, Settlement::WriteOff] {
        assert_eq!(refused(&host, 99, how), SettleError::UnknownPeer { serial: 99 });
    }
    let own = host.guest(Role::Reader);
    let (serial, pid) = (own.serial().into(), std::process::id().into());
    let error = refused(&host, own.serial(), Settlement::Kill);
    assert_eq!(error, SettleError::HostItself { serial, pid });
    let asked = own.settle(own.serial(), Settlement::Kill, soon());
    assert_eq!(asked.unwrap_err(), CallError::Refused(RequestError::Settle(error)));
    guest.ok("ping");
    assert_eq!(host.stat("peers_killed") + host.stat("peers_written_off"), 0);
    host.assert_clean();
}

// r[verify peer.settle]
#[test]
fn a_request_to_settle_that_makes_no_sense_is_malformed() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let mut guest = RawGuest::attach(segment.path(), Role::Writer);
    let mut settle = Settle::new(1, Settlement::Kill, Duration::ZERO).as_bytes().to_vec();
    settle[8] = 3;
    for bytes in [&settle[..], &settle[..8]] {
        let refusal = guest.ask(kind::SETTLE, 0, bytes).refusal();
        assert!(matches!(refusal, Some(RequestError::Malformed { .. })), "{refusal:?}");
    }
    let refusal = guest.ask(kind::PEERS, 0, &[1, 2, 3]).refusal();
    assert!(matches!(refusal, Some(RequestError::Malformed { .. })), "{refusal:?}");
    host.assert_clean();
}

// r[verify peer.write-off]
// r[verify kv.withdraw]
// r[verify slot.written-off]
#[test]
fn what_is_written_off_is_never_used_again_also_by_later_hosts() {
    let segment = Segment::new();
    let mut first = TestHost::start(&segment);
    let mut guest = stopped_and_cut_off(&mut first, &segment);
    let waiting = info(&first, guest.serial()).unwrap().quarantined.slots;
    let mut other = Peer::attached(PEER, segment.path(), "writer");
    other.ok("hold 1");
    let settled = first.handle().settle(guest.serial(), Settlement::WriteOff, soon()).unwrap();
    // Its stock and its reservations, and the block that it had leased.
    assert_eq!((settled.proven, settled.slots.slots), (false, waiting + 1));
    assert_eq!((settled.leases, settled.held), (1, 1));
    first.wait_event("written off", |event| match *event {
        HostEvent::WrittenOff { serial, slots, .. } if serial == guest.serial() => {
            assert_eq!(slots, waiting + 1);
            Some(())
        }
        _ => None,
    });
    assert_eq!(info(&first, guest.serial()), None);
    assert_eq!((first.stat("slots_quarantined"), first.stat("withdrawn")), (0, 1));
    assert_eq!(first.stat("slots_written_off"), waiting + 1);
    assert_eq!(other.ok("get 1"), "miss", "a block that it may still read goes");
    assert_ne!(other.ok("get 2"), "miss");
    assert!(other.ok("delete 2").contains("true"), "its pin is gone");
    assert_eq!(other.ok("check"), "1");
    first.assert_clean();
    assert_eq!(segment.files("leases"), [other.serial()]);

    // It wakes up: what it reads stays as it was, what it writes nobody reads, and it learns of it.
    guest.go_on();
    other.ok("store_many 10 300");
    assert_eq!(guest.ok("check"), "1");
    guest.ok("scribble 7");
    assert!(guest.error("publish 3").contains("CutOff"));
    assert!(guest.ok("end").contains("CutOff"));
    let again: u32 = guest.ok("reattach").parse().unwrap();
    assert_ne!(again, guest.serial());
    guest.ok("store 4 5000");
    assert_eq!(guest.ok("check"), "1");

    // Its end, and other hosts, change nothing.
    guest.kill();
    first.wait_recovered(again);
    assert_eq!(first.stat("slots_written_off"), waiting + 1);
    first.leave().unwrap();
    other.kill();
    for _ in 0..2 {
        let next = TestHost::start(&segment);
        assert_eq!(next.stat("slots_written_off"), waiting + 1);
        assert_eq!(next.stat("slots_quarantined") + next.stat("slots_granted"), 0);
        let cache = next.cache(Role::Writer);
        for number in 400..460 {
            let block = cache.lookup(&key(number)).unwrap();
            assert!(block.is_none());
            cache.store(&key(number), &onecopy_tests::harness::payload(number, 9000)).unwrap();
            let block = cache.lookup(&key(number)).unwrap().unwrap();
            assert!(is_payload(number, &block));
            drop(block);
            cache.delete(&key(number)).unwrap();
        }
        cache.guest().detach(soon()).unwrap();
        next.assert_clean();
    }
}

// r[verify peer.write-off]
#[test]
fn leases_of_another_attach_of_the_same_process_outlive_a_write_off() {
    let segment = Segment::new();
    let mut host = TestHost::start(&segment);
    let mut other = Peer::attached(PEER, segment.path(), "writer");
    other.ok("store 1 5000");
    let cache = host.cache(Role::Writer);
    let block = cache.lookup(&key(1)).unwrap().unwrap();
    let fill = cache.reserve(9000).unwrap();
    let serial = cache.guest().serial();
    assert!(host.handle().cut_off(serial, "by hand", soon()).unwrap());
    // It attaches anew and goes no further for now: the table of leases belongs to both.
    let again = RawGuest::attach_again(segment.path(), serial);
    assert_eq!(again.welcome.lease_serial.get(), serial);
    let settled = host.handle().settle(serial, Settlement::WriteOff, soon()).unwrap();
    assert!(!settled.proven && settled.slots.slots >= 1);
    assert_eq!((host.stat("withdrawn"), host.stat("blocks")), (0, 1));
    assert!(other.ok("delete 1").contains("true"));
    other.ok("store_many 10 300");
    assert!(is_payload(1, &block));
    assert_eq!(host.stat("slots_retired"), 1);
    drop((block, fill, cache));
    host.wait_event("cut off", |event| match event {
        HostEvent::CutOff { serial: of, .. } if *of == serial => Some(()),
        _ => None,
    });
    assert!(segment.files("leases").contains(&serial), "the other attach goes on with it");
    host.assert_clean();
}

// r[verify peer.settle]
#[test]
fn a_suspect_that_died_meanwhile_is_recovered_and_not_written_off() {
    let segment = Segment::new();
    let mut host = TestHost::start(&segment);
    let mut guest = stopped_and_cut_off(&mut host, &segment);
    guest.kill();
    let deadline = Instant::now() + Duration::from_secs(60);
    // Either the host has seen the end already, or the request makes it look.
    match host.handle().settle(guest.serial(), Settlement::WriteOff, deadline) {
        Ok(settled) => assert!(settled.proven),
        Err(HandleError::Settle(SettleError::UnknownPeer { .. })) => {}
        Err(other) => panic!("{other}"),
    }
    host.wait_recovered(guest.serial());
    wait_for("everything back", || host.stat("slots_quarantined") == 0);
    assert_eq!(host.stat("slots_written_off"), 0);
    host.assert_clean();
}
