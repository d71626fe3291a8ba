//! A host that dies before any of the shared stores of an operation, of its start, of a restart, and
//! of the recovery of a guest.

use crate::life::{
    ANY, ATTACH, Blocks, CUT_OFF, Deed, HOST, HOST_AGAIN, Life, MANY, NONE, ONE, Scenario,
};
use crate::points::START_POINTS;
use crate::{PEER, rounds};
use onecopy_shm::SlotRef;
use onecopy_tests::harness::{Peer, Segment, TestHost, key, payload, soon};
use onecopy_transport::format::Role;
use onecopy_transport::guest::{DetachError, Guest, GuestOptions, LeaseError, LinkEnd};

/// Rounds of one operation when not all are wanted.
const ROUNDS_MAX: u64 = 24;
/// More than any operation stores.
const NEVER: u64 = 1 << 40;

const fn scenario(
    setup: &'static [&'static str],
    deed: Deed,
    stay: Blocks,
    after: Blocks,
) -> Scenario {
    Scenario { host: HOST, setup, deed, stay, after }
}

const OPERATIONS: &[Scenario] = &[
    scenario(&[], Deed::Order(ATTACH), NONE, NONE),
    scenario(&[ATTACH], Deed::Order("ping"), NONE, NONE),
    scenario(&[ATTACH], Deed::Order("reserve 4000 1"), NONE, NONE),
    scenario(&[ATTACH, "reserve 4000 70"], Deed::Order("unreserve"), NONE, NONE),
    scenario(&[ATTACH, "reserve 4000 1"], Deed::Order("publish 7"), NONE, ONE),
    scenario(&[ATTACH], Deed::Order("store 7 5000"), NONE, ONE),
    scenario(&[ATTACH, "store 7 5000"], Deed::Order("store 7 5000"), ONE, ONE),
    scenario(&[ATTACH, "store 7 5000"], Deed::Order("get 7"), ONE, ONE),
    scenario(&[ATTACH, "store 7 5000"], Deed::Order("exists 7"), ONE, ONE),
    scenario(&[ATTACH, "store 7 5000"], Deed::Order("delete 7"), NONE, NONE),
    scenario(&[ATTACH, "store 7 5000", "hold 7"], Deed::Order("delete 7"), NONE, NONE),
    scenario(&[ATTACH, "store 7 5000"], Deed::Order("pin 7"), ONE, ONE),
    scenario(&[ATTACH, "store 7 5000", "pin 7"], Deed::Order("unpin 7"), ONE, ONE),
    scenario(&[ATTACH], Deed::Order("batch_store 10 12 3000"), NONE, MANY),
    scenario(&[ATTACH, "batch_store 10 12 3000"], Deed::Order("batch_get 10 12"), MANY, MANY),
    scenario(&[ATTACH, "batch_store 10 12 3000"], Deed::Order("batch_pin 10 12"), MANY, MANY),
    scenario(&[ATTACH, "batch_store 10 12 3000"], Deed::Order("batch_delete 10 12"), NONE, NONE),
    scenario(&[ATTACH, "store 7 3000"], Deed::Order("drop_cache"), ONE, ONE),
    scenario(&[ATTACH, "store 7 3000"], Deed::Order("detach"), ONE, ONE),
    RICH,
    DOUBLING,
    scenario(
        &[ATTACH, "store 7 3000", "store 8 3000", "hold 8", "delete 8", "reserve 9000 4"],
        Deed::CutOff,
        ONE,
        ONE,
    ),
    // Block 7, which it reads, is written off with the rest.
    scenario(
        &[ATTACH, "store 7 3000", "store 8 3000", "hold 7", "reserve 9000 4", CUT_OFF],
        Deed::WriteOff,
        (8, 9),
        (8, 9),
    ),
    scenario(&[ATTACH, "store 7 3000"], Deed::Leave, ONE, ONE),
    // What a guest holds is handed over to the next host.
    scenario(OUTLIVING, Deed::Order("reattach"), ONE, ONE),
    scenario(
        &[ATTACH, "store 7 3000", "reserve 9000 2", HOST_AGAIN, "reattach"],
        Deed::Order("publish 8"),
        ONE,
        (7, 9),
    ),
    // The fifth block makes the one go that was used the longest time ago.
    Scenario {
        host: "quiet_host 4 4 4",
        setup: &[ATTACH, "batch_store 20 3 3000", "get 21", "get 22"],
        deed: Deed::Order("store 23 3000"),
        stay: (21, 23),
        after: (21, 24),
    },
    // The pool is full of blocks of this class: up to eight of them go.
    scenario(&[ATTACH, "batch_store 10 20 250000"], Deed::Order("reserve 250000 3"), NONE, ANY),
    // Extents change their class.
    scenario(
        &[ATTACH, "batch_store 10 11 250000", "batch_delete 10 11"],
        Deed::Order("reserve 20000 4"),
        NONE,
        NONE,
    ),
    Scenario {
        host: "quiet_host 4 64",
        setup: &[ATTACH],
        deed: Deed::Order("reserve 250000 20"),
        stay: NONE,
        after: NONE,
    },
];

/// A guest whose host was killed while it had a block, a pin and reservations.
pub const OUTLIVING: &[&str] =
    &[ATTACH, "store 7 3000", "hold 7", "pin 7", "reserve 9000 3", "reserve 3000 2", HOST_AGAIN];

/// With block 1 the index is half full; it doubles and is through with the last of the new blocks.
pub const DOUBLING: Scenario = scenario(
    &[ATTACH, "batch_store 62 31 3000", "hold 65"],
    Deed::Order("batch_store 10 8 3000"),
    (62, 93),
    ANY,
);

/// Of everything something: blocks, grants, a pin, a lease, a retired block that is read.
const RICH: Scenario = scenario(
    &[ATTACH, "batch_store 10 4 3000", "pin 10", "hold 13", "delete 13", "reserve 3000 4"],
    Deed::Kill,
    (10, 13),
    (10, 13),
);

/// Runs the scenario and has the host die before the `store`th store; how many were counted if it
/// lived.
fn round(scenario: &Scenario, store: u64) -> Option<u64> {
    let mut life = Life::start(scenario);
    life.host.ok(&format!("fault store {store} exit"));
    life.begin_deed();
    life.finish_deed();
    let counted = life.host_lives();
    if counted.is_none() {
        life.check_on_new_host();
    }
    counted
}

// r[verify peer.goodbye]
#[test]
fn a_guest_whose_goodbye_was_answered_is_waited_for_by_no_later_host() {
    let detach = scenario(&[ATTACH], Deed::Order("detach"), NONE, NONE);
    let mut life = Life::start(&detach);
    life.host.ok("fault point host.reply.committed 1 exit");
    life.begin_deed();
    life.finish_deed();
    assert_eq!(life.host_lives(), None);
    let host = TestHost::start(&life.segment);
    // The guest's process lives on; the other one is waited for.
    assert_eq!(host.stat("guests"), 1);
    assert_eq!(life.segment.files("leases"), [life.other.serial()]);
    host.assert_clean();
}

// r[verify guest.detach]
#[test]
fn a_guest_whose_host_died_over_its_goodbye_leases_nothing_until_it_attaches_anew() {
    let segment = Segment::new();
    let mut host = Peer::start(PEER, segment.path());
    host.ok("host 8 8");
    let mut writer = Peer::attached(PEER, segment.path(), "writer");
    let stored = writer.ok("store 1 5000");
    let words: Vec<u32> = stored.split(' ').skip(1).map(|word| word.parse().unwrap()).collect();
    let slot = SlotRef { slot: words[0], generation: words[1] };
    let guest = Guest::attach(GuestOptions::at(segment.path())).unwrap();
    assert!(guest.lease(slot).unwrap().is_some());
    host.ok("fault point host.goodbye.recorded 1 exit");
    // On record it is gone: no later host looks at its leases. It has heard nothing of that.
    assert_eq!(guest.detach(soon()), Err(DetachError::Link(LinkEnd::HostGone)));
    assert!(host.died_of_a_fault());
    assert_eq!(guest.lease(slot).map(drop), Err(LeaseError::Detached));
    let next = TestHost::start(&segment);
    assert_eq!((next.stat("guests"), segment.files("leases")), (1, vec![writer.serial()]));
    assert!(guest.lease(slot).is_err());
    let again = guest.reattach(soon()).unwrap();
    assert!(again.lease(slot).unwrap().is_some());
    again.detach(soon()).unwrap();
    next.assert_clean();
}

// r[verify crash.host]
// r[verify crash.t5]
#[test]
fn a_host_may_die_before_any_of_its_stores() {
    let mut count = 0;
    for scenario in OPERATIONS {
        let stores = round(scenario, NEVER).unwrap();
        let numbers = rounds::of(stores, ROUNDS_MAX);
        for &store in &numbers {
            round(scenario, store);
        }
        println!("{stores:>5} stores, {:>4} rounds: {:?}", numbers.len(), scenario.deed);
        count += numbers.len();
    }
    println!("{count} rounds of {} operations", OPERATIONS.len());
}

/// Starts a host that dies before the `store`th store of its start.
fn start_and_die(segment: &Segment, store: u64) -> Option<u64> {
    start_with(segment, &format!("fault store {store} exit"))
}

/// Starts a host with this fault; how many stores were counted if it lived.
fn start_with(segment: &Segment, fault: &str) -> Option<u64> {
    let mut host = Peer::start(PEER, segment.path());
    host.ok(fault);
    let started = host.try_tell(HOST);
    assert!(started.iter().all(|answer| answer.starts_with("ok")), "{started:?}");
    // It may also die of its first store as a host that has started.
    let counted = started.and_then(|_| host.try_tell("fault off"));
    match counted {
        Some(answer) => Some(answer.trim_start_matches("ok ").parse().unwrap()),
        None => {
            assert!(host.died_of_a_fault());
            None
        }
    }
}

// r[verify crash.start]
#[test]
fn a_host_may_die_before_any_of_the_stores_of_its_first_start() {
    let stores = start_and_die(&Segment::new(), NEVER).unwrap();
    let numbers = rounds::of(stores, 4 * ROUNDS_MAX);
    for &store in &numbers {
        let segment = Segment::new();
        start_and_die(&segment, store);
        let host = TestHost::start(&segment);
        host.assert_clean();
        let cache = host.cache(Role::Writer);
        cache.store(&key(1), &payload(1, 3000)).unwrap();
        assert!(cache.exists(&key(1)).unwrap());
        host.assert_clean();
    }
    println!("{stores:>5} stores, {:>4} rounds: the first start", numbers.len());
}

/// The host dead, one of two guests dead as well.
fn rich_and_dead() -> Life {
    let mut life = Life::start(&RICH);
    life.other.ok("reserve 9000 2");
    life.host.kill();
    life.guest.kill();
    life
}

// r[verify crash.restart]
#[test]
fn a_restart_may_die_before_any_of_its_stores() {
    let stores = start_and_die(&rich_and_dead().segment, NEVER).unwrap();
    // Most of them clear the index, and each of those is like the next.
    let numbers = rounds::sample(stores, if rounds::all() { 600 } else { 4 * ROUNDS_MAX });
    for &store in &numbers {
        let life = rich_and_dead();
        start_and_die(&life.segment, store);
        life.check_on_new_host();
    }
    println!("{stores:>5} stores, {:>4} rounds: a restart", numbers.len());
}

// r[verify crash.double]
#[test]
fn a_recovery_may_die_and_the_restart_after_it_too() {
    let in_recovery = round(&RICH, NEVER).unwrap();
    let mut count = 0;
    for first in rounds::of(in_recovery, 6) {
        let dead = || {
            let mut life = Life::start(&RICH);
            life.host.ok(&format!("fault store {first} exit"));
            life.begin_deed();
            life.finish_deed();
            life.host_lives().is_none().then_some(life)
        };
        let Some(life) = dead() else { continue };
        let stores = start_and_die(&life.segment, NEVER).unwrap();
        drop(life);
        // Half of a restart clears the index: every store of that is the same.
        let most = if rounds::all() { 16 } else { 6 };
        for second in rounds::sample(stores, most) {
            let Some(life) = dead() else { continue };
            start_and_die(&life.segment, second);
            life.check_on_new_host();
            count += 1;
        }
    }
    println!("{count} rounds of a death in a recovery and one in the restart");
}

// r[verify crash.start]
#[test]
fn a_start_may_die_and_stand_still_at_every_named_place() {
    for name in START_POINTS {
        let segment = Segment::new();
        let fault = format!("fault point {name} 1 exit");
        assert_eq!(start_with(&segment, &fault), None, "{name} was not reached");
        TestHost::start(&segment).assert_clean();

        // Who stands still has the lock: nobody starts beside it.
        let segment = Segment::new();
        let mut host = Peer::start(PEER, segment.path());
        host.ok(&format!("fault point {name} 1 stop"));
        host.order(HOST);
        host.wait_stopped();
        let mut second = Peer::start(PEER, segment.path());
        assert!(second.error(HOST).contains("serves"), "{name}");
        host.go_on();
        assert!(host.answer().starts_with("ok"));
        host.ok("host_audit");
    }
}

// r[verify crash.t5]
#[test]
fn a_guest_may_die_before_any_of_the_stores_of_a_handover() {
    let scenario = scenario(OUTLIVING, Deed::Order("reattach"), ONE, ONE);
    let mut store = 1;
    loop {
        let mut life = Life::start(&scenario);
        life.guest.ok(&format!("fault store {store} exit"));
        let answer = life.guest.try_tell("reattach");
        if answer.is_none() {
            assert!(life.guest.died_of_a_fault());
        }
        life.check_on_same_host();
        if answer.is_some() {
            break;
        }
        store += 1;
    }
    println!("{:>5} stores: a handover", store - 1);
}
