//! Lookups of both kinds while blocks come and go, the pool and the index grow and hosts follow one
//! another: what is there all the time is found every time, and nothing is ever read wrong.

use super::rig::{TestHost, key, payload, wait_for};
use crate::cache::{Cache, CacheOptions, LookupPath, PublishOptions};
use crate::key::Key;
use crate::service::{CacheService, CacheServiceOptions, Capacity};
use onecopy_transport::format::Role;
use onecopy_transport::guest::GuestOptions;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Blocks that stay, and those that come and go behind them.
const STAYING: u64 = 40;
const CHANGING: u64 = 3000;
/// Blocks that are stored together.
const BATCH: u64 = 8;
const PATIENCE: Duration = Duration::from_secs(60);

/// What each block holds, made once: making it takes longer than reading it.
static PAYLOADS: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| (0..STAYING + CHANGING).map(|number| payload(number, 3000)).collect());

fn payload_of(number: u64) -> &'static [u8] {
    &PAYLOADS[number as usize]
}

/// Ends the readers, also when what they read beside fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn service() -> CacheService {
    let capacity = Capacity::Blocks(1200);
    CacheService::new(CacheServiceOptions { capacity, ..CacheServiceOptions::default() })
}

fn attach(segment: &Path, role: Role, lookup: LookupPath) -> Cache {
    let guest = GuestOptions { role, ..GuestOptions::at(segment) };
    let options = CacheOptions::new(guest);
    let (deadline, reattach) = (PATIENCE, Some(PATIENCE));
    Cache::attach(CacheOptions { deadline, lookup, reattach, ..options }).unwrap()
}

/// One round of everything that a reader can ask; how many lookups hit.
fn read(cache: &Cache, round: u64) -> u64 {
    let staying: Vec<Key> = (0..STAYING).map(key).collect();
    assert_eq!(cache.match_prefix(&staying).unwrap() as u64, STAYING);
    assert!(cache.exists_many(&staying).unwrap().iter().all(|is_there| *is_there));
    let changing = (0..100).map(|step| STAYING + (round * 37 + step * 29) % CHANGING);
    let numbers: Vec<u64> = (0..STAYING).chain(changing).collect();
    let keys: Vec<Key> = numbers.iter().map(|number| key(*number)).collect();
    let found = cache.lookup_many(&keys).unwrap();
    for (block, number) in found.iter().zip(&numbers) {
        match block {
            Some(block) => assert_eq!(&**block, payload_of(*number)),
            None => assert!(*number >= STAYING, "{number} was there all the time"),
        }
    }
    let one = round % STAYING;
    assert_eq!(&*cache.lookup_ref(&key(one)).unwrap().unwrap(), payload_of(one));
    found.iter().flatten().count() as u64
}

/// Readers of both kinds beside a writer, until `work` is done with hosts.
fn while_read(segment: &Path, work: impl FnOnce()) {
    let (ends, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let writer = attach(segment, Role::Writer, LookupPath::Direct);
    for number in 0..STAYING {
        writer.store(&key(number), payload_of(number)).unwrap();
        writer.pin(&key(number)).unwrap();
    }
    thread::scope(|scope| {
        for lookup in [LookupPath::Direct, LookupPath::Direct, LookupPath::Ring] {
            let reader = attach(segment, Role::Reader, lookup);
            let (ends, rounds) = (&ends, &rounds);
            scope.spawn(move || {
                let (mut round, mut hits) = (0, 0);
                while !ends.load(Ordering::Relaxed) || round < 20 {
                    hits += read(&reader, round);
                    round += 1;
                }
                assert!(hits > round * STAYING, "some of what comes and goes is met");
                rounds.fetch_add(round, Ordering::Relaxed);
            });
        }
        let ends = &ends;
        scope.spawn(move || {
            let mut number = 0;
            while !ends.load(Ordering::Relaxed) {
                let changing = (number..number + BATCH).map(|number| STAYING + number % CHANGING);
                let blocks: Vec<_> =
                    changing.map(|number| (key(number), payload_of(number))).collect();
                let _ = writer.store_many(&blocks, PublishOptions::default());
                let _ = writer.delete(&key(STAYING + (number * 7) % CHANGING));
                number += BATCH;
            }
            assert!(number > 0);
        });
        let _ends = Ends(ends);
        work();
    });
    assert!(rounds.load(Ordering::Relaxed) >= 60);
}

// r[verify kv.direct]
// r[verify kv.direct_batch]
// r[verify kv.direct_exists]
#[test]
fn what_is_there_is_found_while_blocks_come_and_go_and_everything_grows() {
    let host = TestHost::serving(service());
    while_read(host.segment(), || {
        let watcher = attach(host.segment(), Role::Reader, LookupPath::Ring);
        wait_for("blocks are evicted", || watcher.stats().unwrap().evictions > 500);
    });
    host.assert_clean();
}

// r[verify kv.direct_asks]
// r[verify index.life]
#[test]
fn what_is_there_is_found_while_hosts_follow_one_another() {
    let mut host = TestHost::serving(service());
    let segment = host.segment().to_owned();
    while_read(&segment, || {
        for _ in 0..5 {
            let watcher = attach(&segment, Role::Reader, LookupPath::Ring);
            wait_for("blocks are published", || watcher.stats().unwrap().publishes > 100);
            drop(watcher);
            host.next(service());
        }
    });
    host.assert_clean();
}
