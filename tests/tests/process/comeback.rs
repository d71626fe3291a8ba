//! Caches that come back to the next host by themselves.

use crate::PEER;
use onecopy::cache::{Cache, CacheOptions, LookupPath, PublishOptions};
use onecopy::error::{AskError, DeleteError, LookupError, PublishError};
use onecopy_tests::harness::{
    PATIENCE, Peer, Segment, TestHost, fill_payload, is_payload, key, payload, wait_for,
};
use onecopy_transport::format::Role;
use onecopy_transport::guest::{CallError, GuestOptions, LinkEnd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn host(segment: &Segment) -> Peer {
    let mut host = Peer::start(PEER, segment.path());
    host.ok("host 8 8");
    host
}

fn cache(segment: &Segment) -> Cache {
    let guest = GuestOptions { attach_deadline: PATIENCE, ..GuestOptions::at(segment.path()) };
    let options = CacheOptions::new(guest);
    assert!(options.reattach.is_some(), "it is the default");
    // Over the ring, so that each call finds out that the host went away.
    let lookup = LookupPath::Ring;
    let reattach = Some(PATIENCE);
    Cache::attach(CacheOptions { deadline: PATIENCE, lookup, reattach, ..options }).unwrap()
}

// r[verify kv.reattach]
// r[verify host.take_over]
#[test]
fn guests_under_load_notice_nothing_but_what_they_cannot_know() {
    let segment = Segment::new();
    let mut serving = host(&segment);
    let mut guests: Vec<Peer> = (0..3)
        .map(|_| {
            let mut guest = Peer::start(PEER, segment.path());
            guest.attach("attach writer comes_back");
            guest
        })
        .collect();
    for (seed, guest) in (1..).zip(&mut guests) {
        guest.ok(&format!("load {seed} 200"));
    }
    for round in 1..=5 {
        std::thread::sleep(Duration::from_millis(40));
        match round % 2 {
            0 => drop(serving.kill()),
            _ => {
                serving.ok("host_leave");
                serving.kill();
            }
        }
        serving = host(&segment);
    }
    wait_for("the last come back", || segment.files("rings").len() == 3);
    serving.ok("host_audit");
    for guest in &mut guests {
        let figures = guest.ok("load_stop");
        let words: Vec<u64> = figures.split(' ').map(|word| word.parse().unwrap()).collect();
        assert!(words[1] > 0 && words[2] == 0, "{figures}");
        guest.ok("ping");
    }
    serving.ok("host_audit");
}

// r[verify kv.reattach]
// r[verify kv.reattach.once]
// r[verify kv.reattach.publish]
// r[verify kv.reattach.pins]
#[test]
fn what_waits_when_the_host_is_killed_is_asked_again_where_that_is_safe() {
    let segment = Segment::new();
    let mut serving = host(&segment);
    let mut guest = Peer::start(PEER, segment.path());
    guest.attach("attach writer comes_back");
    guest.ok("store_many 1 9");
    guest.ok("reserve 9000 1");
    for (order, answer) in [
        ("get 2", "ok "),
        ("pin 1", "ok 1"),
        ("publish 77", "ok First"),
        ("store 78 500", "ok first"),
        ("unpin 1", "ok 0"),
        ("pin 2", "ok 1"),
        ("delete 3", "error Ask(Call(Link(HostGone)))"),
        ("delete 2", "error "),
    ] {
        // It takes requests and answers none.
        serving.stop();
        guest.order(order);
        assert_eq!(guest.answer_within(Duration::from_millis(50)), None);
        serving.kill();
        serving = host(&segment);
        let said = guest.answer();
        assert!(said.starts_with(answer), "{order}: {said}");
    }
    assert!(guest.ok("get 77").starts_with("12288 "));
    assert!(guest.ok("get 78").starts_with("500 "));
    assert_eq!(guest.ok("verify 1 9"), "9", "nothing was deleted unseen");
    assert!(guest.error("delete 2").contains("Busy"));
    serving.ok("host_audit");
    // One that is known not to have been seen is safe to send.
    serving.kill();
    serving = host(&segment);
    assert_eq!(guest.ok("delete 4"), "true");
    serving.ok("host_audit");
}

// r[verify kv.reattach.pins]
#[test]
fn pins_go_on_under_the_next_host() {
    let segment = Segment::new();
    let mut first = host(&segment);
    let cache = cache(&segment);
    for number in 1..=3 {
        cache.store(&key(number), &payload(number, 5000)).unwrap();
        cache.pin(&key(number)).unwrap();
    }
    cache.pin(&key(1)).unwrap();
    cache.unpin(&key(3)).unwrap();
    first.kill();
    let host = TestHost::start(&segment);
    assert!(cache.exists(&key(1)).unwrap());
    assert_eq!((host.stat("pins"), host.stat("pinned_blocks"), cache.pins_lost()), (3, 2, 0));
    host.wait_stat("guests_earlier", 0);
    let error = cache.delete(&key(1)).unwrap_err();
    assert!(matches!(error, DeleteError::Busy { pins: 2, .. }), "{error}");
    assert!(cache.delete(&key(3)).unwrap());
    assert_eq!(cache.unpin(&key(1)).unwrap(), 1);
    host.assert_clean();
    host.leave().unwrap();

    // By hand it is the same.
    let host = TestHost::start(&segment);
    let again = cache.reattach().unwrap();
    assert_eq!((host.stat("pins"), again.pins_lost()), (2, 0));
    assert_eq!(again.unpin(&key(1)).unwrap(), 0);
    host.leave().unwrap();
    std::fs::remove_dir_all(segment.path()).unwrap();
    let host = TestHost::start(&segment);
    assert!(!cache.exists(&key(2)).unwrap());
    assert_eq!((host.stat("pins"), cache.pins_lost()), (0, 1), "there is no such block any more");
    host.assert_clean();
}

// r[verify kv.reattach]
#[test]
fn a_segment_that_was_made_anew_is_another_one() {
    let segment = Segment::new();
    let host = TestHost::with(&segment, |options| options.remove_on_leave = true);
    let cache = cache(&segment);
    cache.store(&key(1), &payload(1, 5000)).unwrap();
    let block = cache.lookup(&key(1)).unwrap().unwrap();
    let mut fill = cache.reserve(5000).unwrap();
    let (id, serial) = (cache.guest().segment_id(), cache.guest().serial());
    host.leave().unwrap();
    let host = TestHost::start(&segment);
    // A direct lookup may find it until this guest has noticed that the host left.
    cache.stats().unwrap();
    assert!(cache.lookup(&key(1)).unwrap().is_none(), "it went with its segment");
    assert_ne!(cache.guest().segment_id(), id);
    assert_eq!(cache.guest().serial(), serial, "serials begin anew");
    fill.fill(7);
    let error = fill.publish(&key(2), 5000, PublishOptions::default()).unwrap_err();
    assert!(matches!(error, PublishError::Ask(AskError::Call(CallError::Stale(_)))), "{error}");
    assert!(is_payload(1, &block), "what was leased can be read on");
    assert!(cache.store(&key(1), &payload(1, 700)).unwrap().is_first());
    assert_eq!(cache.lookup(&key(1)).unwrap().unwrap().len(), 700);
    drop(block);
    assert_eq!(cache.lookup_many(&[key(1), key(2)]).unwrap().iter().flatten().count(), 1);
    host.assert_clean();
}

// r[verify kv.reattach.patience]
#[test]
fn an_outage_is_not_waited_out_by_every_call() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    // Ten minutes, which no call waits.
    let deadline = Duration::from_secs(600);
    let patient = cache(&segment).with_deadline(deadline);
    let short = patient.with_reattach(Some(Duration::from_millis(20)));
    let never = patient.with_reattach(None);
    let block = {
        short.store(&key(1), &payload(1, 5000)).unwrap();
        short.lookup(&key(1)).unwrap().unwrap()
    };
    host.leave().unwrap();
    for cache in [&short, &never, &short, &short] {
        let error = cache.lookup(&key(1)).unwrap_err();
        let LookupError::Ask(AskError::Call(CallError::Link(end))) = error else {
            panic!("{error}")
        };
        assert_eq!(end, LinkEnd::HostLeft);
    }
    assert!(is_payload(1, &block));
    let host = TestHost::start(&segment);
    assert!(short.lookup(&key(1)).unwrap().is_some(), "the first call after it finds it");
    assert!(never.lookup(&key(1)).unwrap().is_some(), "for all handles");
    host.assert_clean();
}

// r[verify guest.reattach.kept]
// r[verify kv.reattach.publish]
#[test]
fn a_thread_fills_on_while_another_one_attaches_anew() {
    const FILLED: usize = 9000;
    let segment = Segment::new();
    let mut serving = host(&segment);
    let cache = cache(&segment);
    cache.store(&key(1), &payload(1, 100)).unwrap();
    for round in 1..=4_u64 {
        let lives = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let (cache, lives) = (&cache, &lives);
            let fillers: Vec<_> = (0..2)
                .map(|thread| {
                    scope.spawn(move || {
                        let number = round * 100 + thread;
                        let mut fill = cache.reserve(FILLED as u64).unwrap();
                        lives.fetch_add(1, Ordering::SeqCst);
                        let mut filled = 0;
                        // Fills as fast as it can until the next host is there, and then once more.
                        while filled == 0 || lives.load(Ordering::SeqCst) < 3 {
                            fill_payload(number + filled, &mut fill[..FILLED]);
                            filled += 1;
                        }
                        fill_payload(number, &mut fill[..FILLED]);
                        let options = PublishOptions { checksum: true, ..Default::default() };
                        fill.publish(&key(number), FILLED as u64, options).unwrap()
                    })
                })
                .collect();
            wait_for("the reservations", || lives.load(Ordering::SeqCst) == 2);
            serving.kill();
            serving = host(&segment);
            // It attaches anew for all.
            let serial = cache.guest().serial();
            assert!(cache.lookup(&key(1)).unwrap().is_some());
            assert_ne!(cache.guest().serial(), serial);
            lives.fetch_add(1, Ordering::SeqCst);
            for filler in fillers {
                assert!(filler.join().unwrap().is_first());
            }
        });
        for number in [round * 100, round * 100 + 1] {
            let block = cache.lookup(&key(number)).unwrap().unwrap();
            block.verify().unwrap();
            assert!(block.len() == FILLED && is_payload(number, &block));
        }
        serving.ok("host_audit");
    }
}

// r[verify kv.reattach]
#[test]
fn many_threads_of_one_guest_share_one_attach_to_the_next_host() {
    let segment = Segment::new();
    let mut first = host(&segment);
    let cache = cache(&segment);
    cache.store_many(
        &(0..20).map(|number| (key(number), &b"block"[..])).collect::<Vec<_>>(),
        PublishOptions::default(),
    );
    first.kill();
    let host = TestHost::start(&segment);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for number in 0..20 {
                    assert_eq!(&*cache.lookup(&key(number)).unwrap().unwrap(), b"block");
                }
            });
        }
    });
    assert_eq!((host.stat("attached"), host.stat("guests")), (1, 1));
    let other = host.cache(Role::Reader);
    assert_eq!(other.exists_many(&[key(3), key(30)]).unwrap(), [true, false]);
    host.assert_clean();
}
