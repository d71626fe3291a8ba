//! Guests that do all the harm they can, in processes of their own, while others work.
//!
//! `ONECOPY_TEST_SEED` repeats a run; each run prints its seed.

use crate::PEER;
use onecopy::cache::{Cache, PublishOptions};
use onecopy_tests::harness::{
    Load, Peer, Random, Segment, TestHost, is_payload, key, payload, soon,
};
use onecopy_transport::format::Role;
use onecopy_transport::host::{CutOffReason, HostEvent};
use std::time::{Duration, Instant};

const ROUNDS: u64 = 3;
const ROUND_MS: u64 = 700;

fn seed() -> u64 {
    let given = std::env::var("ONECOPY_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
    println!("ONECOPY_TEST_SEED={seed}");
    seed
}

/// Room enough for honest guests beside all that scribblers can hold on to: each attach has a lease
/// table, and its claims are honoured until its process is gone.
fn start(segment: &Segment) -> TestHost {
    TestHost::with(segment, |options| {
        options.pool_bytes = 96 << 20;
        options.pool_bytes_max = 96 << 20;
        options.grant_bytes_max = Some(4 << 20);
        options.grant_slots_max = 256;
        options.leases_max = 64;
        options.guests_max = 8;
    })
}

/// Runs scribblers one after the other while `work` is called, and sees each of them recovered.
fn endure(host: &mut TestHost, segment: &Segment, role: &str, mut work: impl FnMut(&mut Random)) {
    let seed = seed();
    let mut random = Random::new(seed);
    let mut attached = 0;
    for round in 0..ROUNDS {
        let mut scribbler = Peer::start(PEER, segment.path());
        scribbler.order(&format!("scribble_all {role} {} {ROUND_MS}", seed + round));
        let deadline = soon();
        let answer = loop {
            work(&mut random);
            if let Some(answer) = scribbler.answer_within(Duration::from_millis(1)) {
                break answer;
            }
            assert!(Instant::now() < deadline, "the scribbler does not end");
        };
        let words: Vec<u64> = answer[2..].split_whitespace().map(|w| w.parse().unwrap()).collect();
        assert!(answer.starts_with("ok") && words[0] > 0 && words[1] > 0, "{answer}");
        attached += words[0];
        scribbler.kill();
    }
    // What it held is taken back once it is gone.
    host.wait_stat("slots_quarantined", 0);
    let mut reasons = Vec::new();
    for event in host.events() {
        if let HostEvent::CutOff { reason, .. } = event {
            reasons.push(reason.clone());
        }
    }
    assert_eq!(reasons.len() as u64, host.stat("cut_off"));
    let broken = reasons.iter().filter(|reason| matches!(reason, CutOffReason::Ring(_))).count();
    assert!(broken > 0, "{attached} attaches: {reasons:?}");
    host.assert_clean();
}

// r[verify link.hostile]
// r[verify peer.torn]
// r[verify lease.hostile]
#[test]
fn a_hostile_reader_harms_nobody() {
    let segment = Segment::new();
    let mut host = start(&segment);
    let load = Load::start(host.cache(Role::Writer), 7, 60, false);
    let reader = Load::start(host.cache(Role::Writer), 8, 60, false);
    let guest = host.guest(Role::Reader);
    endure(&mut host, &segment, "reader", |_| assert!(guest.ping(soon()).is_ok()));
    for load in [load, reader] {
        let figures = load.stop();
        assert_eq!((figures.mismatches, &figures.error), (0, &None), "{figures:?}");
        assert!(figures.verified > 0, "{figures:?}");
    }
}

/// Right bytes or a checksum that tells; which of the two.
fn is_right(cache: &Cache, number: u64) -> bool {
    let block = cache.lookup(&key(number)).unwrap().unwrap();
    // It may be damaged between the two looks: so a copy is what is checked and used.
    let copy = block.to_vec();
    let is_sound = block.checksum().unwrap().verify(&copy).is_ok();
    assert!(!is_sound || is_payload(number, &copy), "block {number}: wrong and not told");
    is_sound
}

// r[verify link.hostile]
// r[verify kv.verify]
#[test]
fn what_a_hostile_writer_damages_is_told() {
    let segment = Segment::new();
    let mut host = start(&segment);
    let cache = host.cache(Role::Writer);
    for number in 0..100 {
        let mut fill = cache.reserve(20_000).unwrap();
        fill[..20_000].copy_from_slice(&payload(number, 20_000));
        let options = PublishOptions { checksum: true, ..PublishOptions::default() };
        fill.publish(&key(number), 20_000, options).unwrap();
    }
    // Nobody may evict or delete what is looked at: a hostile writer may do that by right.
    for number in 0..100 {
        cache.pin(&key(number)).unwrap();
    }
    let (mut right, mut told) = (0_u64, 0_u64);
    let mut other = 1000;
    endure(&mut host, &segment, "writer", |random| {
        match is_right(&cache, random.below(100)) {
            true => right += 1,
            false => told += 1,
        }
        other += 1;
        cache.store(&key(other), &[7; 100]).unwrap();
    });
    assert!(right + told > 0 && told > 0, "{right} right, {told} told");
}
