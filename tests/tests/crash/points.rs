//! Every named place of the source, on both sides where both come by: the process dies there, and it
//! stands still there while the others go on, and then goes on itself.

use crate::host_side::{DOUBLING, OUTLIVING};
use crate::life::{ANY, ATTACH, Deed, HOST, Life, NONE, Scenario, go_on};
use onecopy_tests::harness::wait_for;
use onecopy_tests::tree;
use std::collections::BTreeSet;

/// In whom the place is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Guest,
    /// A guest whose host does not answer, so that it has to sleep.
    WaitingGuest,
    Host,
}

struct Point {
    name: &'static str,
    side: Side,
    scenario: Scenario,
}

const fn point(
    name: &'static str,
    side: Side,
    setup: &'static [&'static str],
    deed: Deed,
) -> Point {
    Point { name, side, scenario: Scenario { host: HOST, setup, deed, stay: NONE, after: ANY } }
}

const ATTACHED: &[&str] = &[ATTACH];
const RESERVED: &[&str] = &[ATTACH, "reserve 4000 1"];
const STORED: &[&str] = &[ATTACH, "store 7 5000"];
const DYING: &[&str] =
    &[ATTACH, "batch_store 10 4 3000", "pin 10", "hold 13", "delete 13", "reserve 3000 4"];
const CLASS_CHANGE: &[&str] = &[ATTACH, "batch_store 10 11 250000", "batch_delete 10 11"];

const DO_ATTACH: Deed = Deed::Order(ATTACH);
const RESERVE: Deed = Deed::Order("reserve 4000 1");
const PUBLISH: Deed = Deed::Order("publish 7");
const STORE: Deed = Deed::Order("store 7 5000");
const GET: Deed = Deed::Order("get 7");
const FIND: Deed = Deed::Order("find 7");
const DELETE: Deed = Deed::Order("delete 7");
const REATTACH: Deed = Deed::Order("reattach");
// Neither requests nor answers of these divide a ring without a rest.
const AROUND: Deed = Deed::Order("repeat 700 batch_exists 10 12");
const CALL: Deed = Deed::Refused("call 60000");

const GROWTH: Scenario = Scenario {
    host: "quiet_host 4 64",
    setup: &[ATTACH, "store 7 3000", "hold 7", "reserve 9000 3"],
    deed: Deed::Order("reserve 250000 20"),
    stay: (7, 8),
    after: (7, 8),
};

const POINTS: &[Point] = &[
    point("ring.grant.after", Side::Guest, ATTACHED, STORE),
    point("ring.grant.after", Side::Host, ATTACHED, STORE),
    point("ring.request.half", Side::Guest, RESERVED, PUBLISH),
    point("ring.reply.half", Side::Host, ATTACHED, RESERVE),
    point("ring.wrap.before", Side::Guest, ATTACHED, AROUND),
    point("ring.wrap.before", Side::Host, ATTACHED, AROUND),
    point("ring.commit.before", Side::Guest, RESERVED, PUBLISH),
    point("ring.commit.before", Side::Host, RESERVED, PUBLISH),
    point("ring.commit.after", Side::Guest, RESERVED, PUBLISH),
    point("ring.commit.after", Side::Host, RESERVED, PUBLISH),
    point("ring.read.loaded", Side::Guest, STORED, DELETE),
    point("ring.read.loaded", Side::Host, STORED, DELETE),
    point("ring.release.before", Side::Guest, ATTACHED, RESERVE),
    point("ring.release.before", Side::Host, STORED, DELETE),
    point("ring.release.after", Side::Guest, ATTACHED, RESERVE),
    point("ring.release.after", Side::Host, STORED, DELETE),
    point("doorbell.asleep.stored", Side::WaitingGuest, RESERVED, PUBLISH),
    point("doorbell.asleep.stored", Side::Host, RESERVED, PUBLISH),
    point("slot.grant.before", Side::Host, ATTACHED, RESERVE),
    point("slot.grant.after", Side::Host, ATTACHED, RESERVE),
    point("host.reply.committed", Side::Host, ATTACHED, RESERVE),
    point("host.goodbye.recorded", Side::Host, ATTACHED, Deed::Order("detach")),
    point("guest.grant.taken", Side::Guest, ATTACHED, RESERVE),
    point("slot.fill.half", Side::Guest, ATTACHED, STORE),
    point("slot.payload.half", Side::Guest, ATTACHED, CALL),
    point("guest.request.sent", Side::Guest, RESERVED, PUBLISH),
    point("slot.publish.noted", Side::Host, RESERVED, PUBLISH),
    point("slot.publish.stored", Side::Host, RESERVED, PUBLISH),
    point("slot.publish.indexed", Side::Host, RESERVED, PUBLISH),
    point("slot.retire.before", Side::Host, STORED, DELETE),
    point("slot.retire.after", Side::Host, STORED, DELETE),
    point("lease.before", Side::Guest, STORED, GET),
    point("lease.stored", Side::Guest, STORED, GET),
    point("lease.line.listed", Side::Guest, STORED, GET),
    point("lease.released", Side::Guest, STORED, GET),
    point("touch.entry.stored", Side::Guest, STORED, FIND),
    point("attach.files_made", Side::Host, &[], DO_ATTACH),
    point("attach.row_stored", Side::Host, &[], DO_ATTACH),
    point("attach.descriptors_sent", Side::Host, &[], DO_ATTACH),
    point("attach.hello_sent", Side::Guest, &[], DO_ATTACH),
    point("attach.descriptors_taken", Side::Guest, &[], DO_ATTACH),
    point("attach.done", Side::Guest, &[], DO_ATTACH),
    point("peer.handover.adopted", Side::Host, OUTLIVING, REATTACH),
    point("peer.handover.told", Side::Host, OUTLIVING, REATTACH),
    point("peer.cut_off.stored", Side::Host, DYING, Deed::CutOff),
    point("peer.recover.dead_stored", Side::Host, DYING, Deed::Kill),
    point("peer.recover.requests_done", Side::Host, DYING, Deed::Kill),
    point("peer.recover.slots_back", Side::Host, DYING, Deed::Kill),
    point("peer.recover.pins_dropped", Side::Host, DYING, Deed::Kill),
    point("peer.recover.leases_dropped", Side::Host, DYING, Deed::Kill),
    point("peer.recover.row_cleared", Side::Host, DYING, Deed::Kill),
    point("peer.recover.files_removed", Side::Host, DYING, Deed::Kill),
    point("host.carve.words_stored", Side::Host, ATTACHED, Deed::Order("reserve 9000 1")),
    point("host.uncarve.extent_cleared", Side::Host, CLASS_CHANGE, Deed::Order("reserve 20000 4")),
    Point { name: "growth.files_extended", side: Side::Host, scenario: GROWTH },
    Point { name: "growth.slots_published", side: Side::Host, scenario: GROWTH },
    Point { name: "growth.published", side: Side::Host, scenario: GROWTH },
    Point { name: "index.double.copied", side: Side::Host, scenario: DOUBLING },
    Point { name: "index.double.published", side: Side::Host, scenario: DOUBLING },
];

/// Places that only a host comes by that starts: see `host_side`.
pub const START_POINTS: &[&str] = &[
    "host.start.pool_made",
    "host.start.sizes_stored",
    "host.start.epoch_stored",
    "host.start.taken_over",
];

/// The first parts of the names; each has its tests below.
const FAMILIES: &[&str] = &[
    "ring.",
    "doorbell.",
    "slot.",
    "host.",
    "guest.",
    "lease.",
    "touch.",
    "attach.",
    "peer.",
    "growth.",
    "index.",
];

fn of(families: &[&str]) -> impl Iterator<Item = &'static Point> {
    POINTS.iter().filter(|point| families.iter().any(|family| point.name.starts_with(family)))
}

/// The process dies at each of the places. That it does is also the proof that it comes by.
fn die_at(families: &[&str]) {
    for point in of(families) {
        let Point { name, side, scenario } = point;
        println!("dies at {name}: {side:?}");
        let mut life = Life::start(scenario);
        let fault = format!("fault point {name} 1 exit");
        if *side == Side::Host {
            life.host.ok(&fault);
            life.begin_deed();
            life.finish_deed();
            // It may come by after it has answered.
            wait_for(name, || life.host.has_ended());
            assert!(life.host.died_of_a_fault());
            life.check_on_new_host();
            continue;
        }
        life.guest.ok(&fault);
        if *side == Side::WaitingGuest {
            life.host.stop();
        }
        life.begin_deed();
        assert_eq!(life.guest.answer_or_end(), None, "{name} was not reached");
        assert!(life.guest.died_of_a_fault());
        if *side == Side::WaitingGuest {
            life.host.go_on();
        }
        life.check_on_same_host();
    }
}

/// The process stands still at each of the places, and the others go on; then it goes on as well.
fn stand_still_at(families: &[&str]) {
    for point in of(families) {
        match point.side {
            Side::Host => host_stands_still(point),
            Side::Guest | Side::WaitingGuest => {
                println!("stands still at {}: {:?}", point.name, point.side);
                let fault = format!("fault point {} 1 stop", point.name);
                assert!(guest_stands_still(point, &fault, false));
                assert!(guest_stands_still(point, &fault, true));
            }
        }
    }
}

/// Guests read on what they hold; when the host goes on it carries out what it was asked.
fn host_stands_still(point: &Point) {
    println!("stands still at {}: host", point.name);
    let mut life = Life::start(&point.scenario);
    life.host.ok(&format!("fault point {} 1 stop", point.name));
    life.begin_deed();
    life.host.wait_stopped();
    life.check_outage();
    life.host.go_on();
    life.finish_deed();
    assert!(life.host_lives().is_some());
    life.check_host(&[]);
    go_on(&mut life.other);
    life.scribble();
    life.check_on_same_host();
}

/// What the guest was about to use is deleted and used again by others, it is cut off if wanted, and
/// goes on: nothing that anybody reads changes. Whether it did stand still.
fn guest_stands_still(point: &Point, fault: &str, cut_off: bool) -> bool {
    let mut life = Life::start(&point.scenario);
    life.guest.ok(fault);
    if point.side == Side::WaitingGuest {
        life.host.stop();
    }
    life.begin_deed();
    if life.guest.stopped_or_answered().is_some() {
        return false;
    }
    if point.side == Side::WaitingGuest {
        life.host.go_on();
    }
    life.other.tell("delete 7");
    let serial = life.guest.serial();
    // Whoever attaches anew is another attach by the time that it goes on.
    let cut_off = cut_off && serial != 0 && point.scenario.deed != REATTACH;
    if cut_off {
        assert_eq!(life.host.ok(&format!("host_cut_off {serial}")), "true");
    }
    life.other.ok("batch_store 30 12 5000");
    go_on(&mut life.other);
    let quarantined = life.stat("slots_quarantined");
    life.check_host(&[]);
    life.guest.go_on();
    let answer = life.guest.answer();
    assert!(!answer.contains("wrong"), "{answer}");
    if cut_off {
        // Whatever it still stored, it was not heard.
        assert!(life.guest.error("ping").contains("CutOff"));
        assert_eq!(life.stat("slots_quarantined"), quarantined);
    } else {
        life.guest.tell("ping");
    }
    go_on(&mut life.other);
    assert_eq!(life.other.ok("batch_get 30 12"), "12");
    assert_eq!(life.other.ok("batch_delete 30 12"), "12");
    life.scribble();
    life.check_host(&[]);
    life.check_on_same_host();
    true
}

// r[verify crash.p1]
// r[verify crash.p2]
// r[verify crash.p3]
// r[verify crash.p4]
// r[verify crash.p5]
// r[verify crash.p6]
// r[verify crash.c1]
// r[verify crash.c2]
// r[verify crash.c3]
#[test]
fn who_dies_at_a_ring_leaves_whole_frames() {
    die_at(&["ring.", "doorbell."]);
}

// r[verify crash.s1]
// r[verify crash.s2]
// r[verify crash.s3]
// r[verify crash.s4]
// r[verify crash.s5]
// r[verify crash.s6]
// r[verify crash.s7]
// r[verify crash.s8]
// r[verify crash.s9]
// r[verify crash.s10]
// r[verify crash.h.carve]
// r[verify crash.h.uncarve]
#[test]
fn a_slot_is_in_one_place_wherever_somebody_dies() {
    die_at(&["slot.", "host.", "guest."]);
}

// r[verify crash.s11]
// r[verify crash.s12]
// r[verify crash.l1]
// r[verify crash.l2]
// r[verify crash.l3]
// r[verify crash.u1]
#[test]
fn the_leases_of_a_dead_reader_end_wherever_it_dies() {
    die_at(&["lease.", "touch."]);
}

// r[verify crash.t0]
// r[verify crash.t1]
// r[verify crash.t2]
// r[verify crash.t2.host]
// r[verify crash.t3]
// r[verify crash.t4]
#[test]
fn nothing_is_left_of_who_dies_coming_or_going() {
    die_at(&["attach.", "peer."]);
}

// r[verify crash.g1]
// r[verify crash.g2]
// r[verify crash.g4]
#[test]
fn a_host_may_die_while_it_grows() {
    die_at(&["growth."]);
}

// r[verify crash.i1]
// r[verify crash.i2]
#[test]
fn a_host_may_die_while_its_index_doubles() {
    die_at(&["index."]);
}

// r[verify crash.stopped]
#[test]
fn who_stands_still_at_a_ring_changes_nothing_afterwards() {
    stand_still_at(&["ring.", "doorbell."]);
}

// r[verify crash.stopped]
#[test]
fn who_stands_still_with_a_slot_changes_nothing_afterwards() {
    stand_still_at(&["slot.", "host.", "guest."]);
}

/// Has others use the slot of block 7, which is deleted, while its reader stands still; whether they
/// get it.
fn slot_is_reused(name: &str) -> bool {
    let mut life = Life::start(&Scenario {
        host: "host 4 4",
        setup: ATTACHED,
        deed: GET,
        stay: NONE,
        after: NONE,
    });
    let slot = |stored: &str| stored.split(' ').nth(1).map(str::to_owned);
    let wanted = slot(&life.other.ok("store 7 250000"));
    life.guest.ok(&format!("fault point {name} 1 stop"));
    life.begin_deed();
    life.guest.wait_stopped();
    life.other.ok("delete 7");
    if name != "lease.stored" {
        wait_for("the last look for leases", || life.stat("slots_retired") == 0);
    }
    // More than there is room for: every slot is used again and again.
    let mut stores = (30..70).map(|number| life.other.ok(&format!("store {number} 250000")));
    let is_reused = stores.any(|stored| slot(&stored) == wanted);
    life.guest.go_on();
    let answer = life.guest.answer();
    let found = if name == "lease.released" { "ok 250000 " } else { "ok miss" };
    assert!(answer.starts_with(found), "{name}: {answer}");
    wait_for("the end of the lease", || life.stat("slots_retired") == 0);
    life.other.ok("batch_get 30 40");
    life.check_on_same_host();
    is_reused
}

// r[verify crash.l1]
// r[verify crash.l2]
// r[verify crash.s11]
// r[verify crash.s12]
#[test]
fn a_slot_is_used_again_behind_a_reader_without_a_lease_and_not_behind_one_with_it() {
    assert!(slot_is_reused("lease.before"));
    assert!(slot_is_reused("lease.line.listed"));
    assert!(!slot_is_reused("lease.stored"));
    assert!(slot_is_reused("lease.released"));
}

// r[verify crash.stopped]
#[test]
fn who_stands_still_with_a_lease_reads_nothing_else_afterwards() {
    stand_still_at(&["lease.", "touch."]);
}

// r[verify crash.stopped]
#[test]
fn who_stands_still_coming_or_going_changes_nothing_afterwards() {
    stand_still_at(&["attach.", "peer.", "growth.", "index."]);
}

/// Operations of a guest that stands still before any of its stores.
const STANDING: &[Point] = &[
    point("reserve", Side::Guest, ATTACHED, RESERVE),
    point("publish", Side::Guest, RESERVED, PUBLISH),
    point("store", Side::Guest, ATTACHED, STORE),
    point("get", Side::Guest, STORED, GET),
    point("delete", Side::Guest, STORED, DELETE),
    point("pin", Side::Guest, STORED, Deed::Order("pin 7")),
    point("many", Side::Guest, ATTACHED, Deed::Order("batch_store 10 4 3000")),
    point("handover", Side::Guest, OUTLIVING, REATTACH),
];

// r[verify crash.stopped]
#[test]
fn a_guest_may_stand_still_before_any_of_its_stores() {
    let mut rounds = 0;
    for point in STANDING {
        for cut_off in [false, true] {
            let stands = |store: &u64| {
                let fault = format!("fault store {store} stop");
                guest_stands_still(point, &fault, cut_off)
            };
            rounds += (1..).take_while(stands).count();
        }
    }
    println!("{rounds} rounds of {} operations", STANDING.len());
}

/// The names in the source of what is shipped.
fn named_in_source() -> BTreeSet<String> {
    let files = tree::read(&tree::root()).unwrap();
    let shipped = ["shm-primitives/src/", "transport/src/", "kv/src/"];
    let shipped = files.iter().filter(|file| shipped.iter().any(|at| file.path.starts_with(at)));
    let mut names = BTreeSet::new();
    for file in shipped {
        for call in ["crash_point!(\"", "copy_shared!(\""] {
            for (at, _) in file.text.match_indices(call) {
                let rest = &file.text[at + call.len()..];
                names.insert(rest[..rest.find('"').unwrap()].to_owned());
            }
        }
    }
    names
}

// r[verify crash.named]
#[test]
fn every_named_place_is_tested() {
    let tested: BTreeSet<String> = POINTS
        .iter()
        .map(|point| point.name)
        .chain(START_POINTS.iter().copied())
        .map(str::to_owned)
        .collect();
    let named = named_in_source();
    assert!(named.len() >= 40, "only {} names found", named.len());
    assert_eq!(named, tested);
    // Each is in one of the families that the tests above name.
    assert_eq!(of(FAMILIES).count(), POINTS.len());
    println!("{} names, {} scenarios", named.len(), POINTS.len() + START_POINTS.len());
}
