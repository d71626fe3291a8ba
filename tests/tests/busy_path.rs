//! No system call while both sides are busy: a guest in a process of its own forbids itself all of
//! them and then does a million operations against a host that polls.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use onecopy::cache::{Cache, CacheOptions};
use onecopy::key::Key;
use onecopy::protocol::{Head, kind, lookup_answer};
use onecopy_tests::harness::{
    Segment, TestHost, exit_at_once, fill_payload, forbid_system_calls, is_payload, key,
};
use onecopy_transport::guest::{Guest, GuestOptions, Pending};
use rustix::process::Signal;
use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, IntoBytes, little_endian as le};

/// Tells this program, when it runs once more, where the segment is.
const SEGMENT: &str = "ONECOPY_TEST_SEGMENT";
/// What a guest that got through exits with.
const DONE: i32 = 42;
const OPERATIONS: u64 = 1_000_000;
/// Lookups in flight.
const DEPTH: usize = 64;
const BLOCKS: u64 = 256;
const LENGTH: usize = 200;
/// Spinning against each other on few cores with other work on them takes its time.
const PATIENCE: Duration = Duration::from_secs(400);

/// One lookup as it travels.
fn submit(guest: &Guest, number: u64, keys: &[Key], deadline: Instant) -> Option<(u64, Pending)> {
    let head = Head { count: 1.into(), flags: 0.into() };
    let key = keys.get(number as usize)?;
    let fill = |target: &mut [u8]| {
        target[..8].copy_from_slice(head.as_bytes());
        target[8..].copy_from_slice(key.as_bytes());
    };
    Some((number, guest.submit_with(kind::LOOKUP, 40, fill, deadline).ok()?))
}

/// Takes an answer, leases what it names and reads it.
fn finish(guest: &Guest, (number, pending): (u64, Pending), deadline: Instant) -> Option<()> {
    let reply = pending.wait(deadline).ok()?;
    let slot = lookup_answer(le::U64::read_from_bytes(&reply).ok()?)?;
    let guard = guest.lease(slot).ok()??;
    (guard.len() == LENGTH && is_payload(number, &guard)).then_some(())
}

/// Publishes a block of its own, finds it one by one and by the batch, and deletes it.
fn one_by_one(cache: &Cache, number: u64) -> Option<()> {
    let own = key(1 << 40 | number);
    let mut fill = cache.reserve(LENGTH as u64).ok()?;
    fill_payload(number, &mut fill[..LENGTH]);
    fill.publish(&own, LENGTH as u64, Default::default()).ok()?;
    let block = cache.lookup(&own).ok()??;
    let other = block.clone();
    if !is_payload(number, &block) || !cache.exists(&own).ok()? {
        return None;
    }
    cache.pin(&own).ok()?;
    cache.unpin(&own).ok()?;
    drop((block, other));
    cache.delete(&own).ok()?.then_some(())
}

/// Operations that one call of [`one_by_one`] does.
const ONE_BY_ONE: u64 = 8;

fn work(cache: &Cache, keys: &[Key], operations: u64) -> Option<u64> {
    let guest = &cache.guest();
    let deadline = Instant::now() + PATIENCE;
    let mut in_flight = VecDeque::with_capacity(DEPTH + 1);
    let mut done = 0;
    while done < operations {
        while in_flight.len() < DEPTH {
            in_flight.push_back(submit(guest, done % BLOCKS, keys, deadline)?);
            done += 1;
        }
        while in_flight.len() > DEPTH / 2 {
            finish(guest, in_flight.pop_front()?, deadline)?;
        }
        if done.is_multiple_of(256) {
            one_by_one(cache, done)?;
            done += ONE_BY_ONE;
        }
    }
    in_flight.into_iter().try_for_each(|one| finish(guest, one, deadline))?;
    Some(done)
}

fn be_the_guest(segment: &str) -> ! {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    let options = GuestOptions { polling: true, ..GuestOptions::at(segment) };
    let cache = Cache::attach(CacheOptions::new(options)).unwrap().with_deadline(PATIENCE);
    let keys: Vec<Key> = (0..BLOCKS).map(key).collect();
    for number in 0..BLOCKS {
        let mut bytes = [0; LENGTH];
        fill_payload(number, &mut bytes);
        cache.store(&key(number), &bytes).unwrap();
    }
    // What is made at its first use is made before.
    work(&cache, &keys, 2_000).unwrap();
    forbid_system_calls();
    let done = work(&cache, &keys, OPERATIONS);
    exit_at_once(if done.is_some_and(|done| done >= OPERATIONS) { DONE } else { 1 })
}

// r[verify guest.polling]
#[test]
fn a_million_operations_make_no_system_call() {
    if let Ok(segment) = std::env::var(SEGMENT) {
        be_the_guest(&segment);
    }
    let segment = Segment::new();
    let mut host = TestHost::with(&segment, |options| options.polling = true);
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_million_operations_make_no_system_call", "--nocapture"])
        .env(SEGMENT, segment.path())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(DONE), "{status}");
    assert!(host.stat("requests") >= OPERATIONS);
    let serial = host.events().iter().find_map(|event| match event {
        onecopy_transport::host::HostEvent::Attached { serial, .. } => Some(*serial),
        _ => None,
    });
    host.wait_recovered(serial.unwrap());
    assert_eq!(host.stat("blocks"), BLOCKS);
    host.assert_clean();
}

// r[verify guest.polling]
#[test]
fn the_first_system_call_would_have_been_noticed() {
    if std::env::var(SEGMENT).is_ok() {
        forbid_system_calls();
        std::thread::yield_now();
        exit_at_once(DONE);
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_first_system_call_would_have_been_noticed", "--nocapture"])
        .env(SEGMENT, "none")
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(31), "SIGSYS, not {status}");
}
