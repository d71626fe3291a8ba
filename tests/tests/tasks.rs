//! The cache as tasks of an async runtime use it, against hosts that are stopped, killed and restarted.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use onecopy::cache::{AsyncCache, Block, CacheOptions, LookupPath, PublishOptions, Published};
use onecopy::error::{AskError, DeleteError, LookupError, PublishError};
use onecopy::key::Key;
use onecopy_tests::harness::{
    PATIENCE, Peer, Segment, TestHost, fill_payload, is_payload, key, wait_for,
};
use onecopy_transport::format::Role;
use onecopy_transport::guest::{CallError, GuestOptions, LinkEnd};
use onecopy_transport::segment::{SegmentDir, SegmentLock, SegmentPath};
use onecopy_transport::socket::{AttachListener, SocketMode};
use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

const PEER: &str = env!("CARGO_BIN_EXE_onecopy-test-peer");
/// A small host in a process of its own.
const SERVE_SMALL: &str = "host 8 8 8 2000";
const LENGTH: usize = 1000;

/// One runtime with a thread, and one with several.
fn runtimes() -> [Runtime; 2] {
    let one = Builder::new_current_thread().enable_all().build().unwrap();
    [one, Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()]
}

fn options(segment: &Path, lookup: LookupPath) -> CacheOptions {
    let guest = GuestOptions { attach_deadline: PATIENCE, ..GuestOptions::at(segment) };
    CacheOptions { deadline: PATIENCE, lookup, ..CacheOptions::new(guest) }
}

fn payload(number: u64) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    fill_payload(number, &mut bytes);
    bytes
}

async fn store(cache: &AsyncCache, number: u64) -> Result<Published, PublishError> {
    let options = PublishOptions { checksum: true, ..PublishOptions::default() };
    cache.store(&key(number), &payload(number), options).await
}

/// Whether the block is there; if so it is the right one.
async fn find(cache: &AsyncCache, number: u64) -> bool {
    let found = cache.lookup(&key(number)).await.unwrap();
    found.is_some_and(|block| {
        assert!(is_payload(number, &block));
        true
    })
}

/// A future that is polled so often and then dropped, unless it is ready before.
async fn dropped_after<T>(polls: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        let Some(fewer) = left.checked_sub(1) else { return Poll::Ready(None) };
        left = fewer;
        match future.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    })
    .await
}

/// One task: a block of its own from its first byte to its end.
async fn live(cache: AsyncCache, number: u64) {
    assert!(!find(&cache, number).await);
    assert!(store(&cache, number).await.unwrap().is_first());
    assert!(!store(&cache, number).await.unwrap().is_first(), "the first writer wins");
    assert!(find(&cache, number).await && cache.exists(&key(number)).await.unwrap());
    assert_eq!(cache.pin(&key(number)).await.unwrap(), 1);
    let busy = cache.delete(&key(number)).await.unwrap_err();
    assert!(matches!(busy, DeleteError::Busy { pins: 1, .. }), "{busy}");
    assert_eq!(cache.unpin(&key(number)).await.unwrap(), 0);
    assert!(cache.delete(&key(number)).await.unwrap());
    assert!(!cache.delete(&key(number)).await.unwrap());
    assert!(!find(&cache, number).await);
}

// r[verify kv.tasks]
#[test]
fn many_tasks_use_one_guest() {
    for runtime in runtimes() {
        for lookup in [LookupPath::Ring, LookupPath::Direct] {
            let segment = Segment::new();
            let mut host = TestHost::start(&segment);
            let serial = runtime.block_on(async {
                let cache = AsyncCache::attach(options(segment.path(), lookup)).await.unwrap();
                let tasks: Vec<_> =
                    (0..100).map(|number| tokio::spawn(live(cache.clone(), number))).collect();
                for task in tasks {
                    task.await.unwrap();
                }
                let asked = cache.cache().asked_keys();
                assert_eq!(asked, 0, "nothing that is to be direct was asked");
                cache.cache().guest().serial()
            });
            host.wait_recovered(serial);
            host.assert_clean();
            assert_eq!((host.stat("blocks"), host.stat("slots_granted")), (0, 0));
        }
    }
}

/// More keys than a frame takes, of which those are there that `is_there` says.
fn keys(is_there: impl Fn(u64) -> bool) -> (Vec<Key>, Vec<bool>) {
    (0..200).map(|number| (key(number), is_there(number))).unzip()
}

fn are_blocks(found: &[Option<Block>], expected: &[bool]) -> bool {
    let is_right = |(number, block): (u64, &Option<Block>)| {
        block.as_ref().is_none_or(|block| is_payload(number, block))
    };
    found.iter().map(Option::is_some).eq(expected.iter().copied()) && (0..).zip(found).all(is_right)
}

// r[verify kv.tasks.batch]
#[test]
fn batches_say_what_single_calls_and_threads_say() {
    for runtime in runtimes() {
        for lookup in [LookupPath::Ring, LookupPath::Direct] {
            let segment = Segment::new();
            let host = TestHost::start(&segment);
            runtime.block_on(async {
                let options = options(segment.path(), lookup);
                let checking = CacheOptions { verify: true, ..options.clone() };
                let cache = AsyncCache::attach(options).await.unwrap();
                let checking = AsyncCache::attach(checking).await.unwrap();
                // A run from the start that ends behind the first 64 keys, and some behind it.
                let (keys, expected) = keys(|number| number < 150 || number % 3 == 0);
                for (number, _) in (0..).zip(&expected).filter(|(_, is_there)| **is_there) {
                    store(&cache, number).await.unwrap();
                }
                for cache in [&cache, &checking] {
                    let run = expected.iter().take_while(|is_there| **is_there).count();
                    assert_eq!(cache.exists_many(&keys).await.unwrap(), expected);
                    assert_eq!(cache.match_prefix(&keys).await.unwrap(), run);
                    assert_eq!(cache.match_prefix(&keys[run..]).await.unwrap(), 0);
                    let found = cache.lookup_many(&keys).await.unwrap();
                    assert!(are_blocks(&found, &expected));
                    let found = cache.lookup_prefix(&keys).await.unwrap();
                    let found: Vec<_> = found.into_iter().map(Some).collect();
                    assert!(are_blocks(&found, &expected[..run]));
                    assert!(cache.lookup_prefix(&keys[run..]).await.unwrap().is_empty());
                    for (key, is_there) in keys.iter().zip(&expected) {
                        assert_eq!(cache.exists(key).await.unwrap(), *is_there);
                    }
                    for empty in [
                        cache.lookup_many(&[]).await.unwrap().len(),
                        cache.lookup_prefix(&[]).await.unwrap().len(),
                        cache.exists_many(&[]).await.unwrap().len(),
                        cache.match_prefix(&[]).await.unwrap(),
                    ] {
                        assert_eq!(empty, 0);
                    }
                }
                assert_eq!(cache.cache().asked_keys(), 0, "nothing that is to be direct was asked");
            });
            host.assert_clean();
        }
    }
}

// r[verify kv.tasks.returns]
#[test]
fn tasks_that_only_hit_come_back_too() {
    for runtime in runtimes() {
        let segment = Segment::new();
        let host = TestHost::start(&segment);
        runtime.block_on(async {
            let options = options(segment.path(), LookupPath::Direct);
            let alone = CacheOptions { reattach: None, ..options.clone() };
            let cache = AsyncCache::attach(options).await.unwrap();
            let stays = AsyncCache::attach(alone).await.unwrap();
            store(&cache, 1).await.unwrap();
            host.leave().unwrap();
            let next = TestHost::start(&segment);
            wait_for("the end of the links is noticed", || {
                stays.cache().guest().is_known_over() && cache.cache().guest().is_known_over()
            });
            let deadline = Instant::now() + PATIENCE;
            for single in [true, false].into_iter().cycle() {
                let found = match single {
                    true => cache.lookup(&key(1)).await.unwrap().is_some(),
                    false => {
                        cache.lookup_many(&[key(1); 2]).await.unwrap().iter().all(Option::is_some)
                    }
                };
                assert!(found && find(&stays, 1).await);
                if !cache.cache().guest().is_known_over() {
                    break;
                }
                assert!(Instant::now() < deadline, "it did not attach anew");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert!(stays.cache().guest().is_known_over(), "it does not attach by itself");
            assert_eq!(cache.cache().asked_keys(), 0);
            assert!(store(&cache, 2).await.unwrap().is_first(), "what needs the host has it");
            next.assert_clean();
        });
    }
}

/// A host that has its socket and never answers at it.
fn mute_host(segment: &Segment) -> (SegmentLock, AttachListener) {
    let directory = SegmentDir::open(&SegmentPath::new(segment.path()).unwrap()).unwrap();
    let lock = SegmentLock::lock(&directory, Instant::now() + PATIENCE).unwrap();
    let listener = AttachListener::bind(&directory, &lock, SocketMode::Private).unwrap();
    (lock, listener)
}

// r[verify kv.tasks.returns]
#[test]
fn a_host_that_answers_nobody_does_not_use_up_the_threads_of_a_runtime() {
    /// One, but for those that have ended their try and are not known to be idle yet.
    const THREADS_MAX: usize = 4;
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let threads = Arc::new(AtomicUsize::new(0));
    let starts = Arc::clone(&threads);
    // Relaxed: a count of its own. The only threads that this runtime starts are those for what blocks.
    let count = move || {
        starts.fetch_add(1, Ordering::Relaxed);
    };
    let runtime =
        Builder::new_current_thread().enable_all().on_thread_start(count).build().unwrap();
    runtime.block_on(async {
        let options = options(segment.path(), LookupPath::Direct);
        let cache = AsyncCache::attach(options).await.unwrap();
        store(&cache, 1).await.unwrap();
        host.leave().unwrap();
        let (_lock, listener) = mute_host(&segment);
        let deadline = Instant::now() + PATIENCE;
        let mut tries = Vec::new();
        while tries.len() < 2 * THREADS_MAX {
            assert!(find(&cache, 1).await);
            tries.extend(listener.try_accept().unwrap());
            // Relaxed: as above.
            let started = threads.load(Ordering::Relaxed);
            assert!(started <= THREADS_MAX, "{started} threads for {} tries", tries.len());
            assert!(Instant::now() < deadline, "only {} tries", tries.len());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

// r[verify kv.tasks.publish]
#[test]
fn a_publish_that_is_dropped_loses_no_slot_and_leaves_a_whole_block_or_none() {
    for runtime in runtimes() {
        let segment = Segment::new();
        let host = TestHost::start(&segment);
        runtime.block_on(async {
            let options = options(segment.path(), LookupPath::Ring);
            let cache = AsyncCache::attach(options).await.unwrap();
            let (mut done, mut dropped) = (0, 0);
            for number in 0..600_u64 {
                match dropped_after(number as u32 % 12, store(&cache, number)).await {
                    Some(stored) => done += u32::from(stored.unwrap().is_first()),
                    None => dropped += 1,
                }
                let _ = dropped_after(number as u32 % 7, find(&cache, number)).await;
            }
            assert!(dropped >= 50, "{dropped} of {done}");
            let mut found = 0;
            for number in 0..600 {
                found += u32::from(find(&cache, number).await);
            }
            assert!(found >= done, "{found} of {done} that were published");
            // All that is granted is in this guest's stock, which has a bound.
            let granted = || host.stat("slots_granted");
            assert!(granted() <= 64, "{} slots are lost", granted());
        });
        host.assert_clean();
    }
}

// r[verify kv.tasks.pins]
#[test]
fn a_pin_that_is_dropped_is_taken_back_and_one_that_is_not_outlives_the_host() {
    for runtime in runtimes() {
        let segment = Segment::new();
        let host = TestHost::start(&segment);
        runtime.block_on(async {
            let options = options(segment.path(), LookupPath::Ring);
            let cache = AsyncCache::attach(options).await.unwrap();
            for number in 0..40 {
                store(&cache, number).await.unwrap();
                let pin = dropped_after(number as u32 % 5, cache.pin(&key(number))).await;
                if pin.is_some() {
                    assert_eq!(cache.unpin(&key(number)).await.unwrap(), 0);
                }
            }
            while host.stat("pins") > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            for number in 0..40 {
                assert!(cache.delete(&key(number)).await.unwrap());
            }
            store(&cache, 1).await.unwrap();
            cache.pin(&key(1)).await.unwrap();
            host.leave().unwrap();
            let next = TestHost::start(&segment);
            assert!(find(&cache, 1).await);
            assert_eq!(cache.pin(&key(1)).await.unwrap(), 2, "it was pinned again");
            assert_eq!(next.stat("pins"), 2);
        });
    }
}

// r[verify kv.tasks.reattach]
#[test]
fn tasks_come_back_to_the_next_host_or_are_told_that_there_is_none() {
    for runtime in runtimes() {
        let segment = Segment::new();
        let mut host = Peer::start(PEER, segment.path());
        host.ok(SERVE_SMALL);
        runtime.block_on(async {
            let options = options(segment.path(), LookupPath::Ring);
            let cache = AsyncCache::attach(options.clone()).await.unwrap();
            let alone = CacheOptions { reattach: None, ..options };
            let stays = AsyncCache::attach(alone).await.unwrap();
            for number in 0..50 {
                store(&cache, number).await.unwrap();
            }
            let held = cache.lookup(&key(7)).await.unwrap().unwrap();
            let filled = cache.reserve(LENGTH as u64).await.unwrap();

            // A host that stands still answers nothing; then it dies, and tasks wait for the next.
            host.stop();
            host.wait_stopped();
            let hasty = cache.with_deadline(Duration::from_millis(50));
            let late = hasty.exists(&key(1)).await.unwrap_err();
            let late = call_error(late);
            assert_eq!(late, Some(CallError::DeadlineExceeded { sent: true }));
            let ask = |number| {
                let cache = cache.clone();
                tokio::spawn(async move { find(&cache, number).await })
            };
            let asked: Vec<_> = (0..50).map(ask).collect();
            let told = tokio::spawn(async move { stays.exists(&key(1)).await });
            tokio::time::sleep(Duration::from_millis(20)).await;
            host.kill();
            let told = told.await.unwrap().unwrap_err();
            assert_eq!(call_error(told), Some(CallError::Link(LinkEnd::HostGone)));
            let mut next = Peer::start(PEER, segment.path());
            next.ok(SERVE_SMALL);
            for task in asked {
                assert!(task.await.unwrap());
            }
            assert!(is_payload(7, &held));
            let published = publish(&cache, filled, 100).await;
            assert!(published.unwrap().is_first(), "the slot is this guest's again");
            assert!(find(&cache, 100).await);
            next.ok("host_audit");
        });
    }
}

fn call_error(error: LookupError) -> Option<CallError> {
    if let LookupError::Ask(AskError::Call(error)) = error { Some(error) } else { None }
}

async fn publish(
    cache: &AsyncCache,
    mut fill: onecopy::cache::Fill,
    number: u64,
) -> Result<Published, PublishError> {
    fill[..LENGTH].copy_from_slice(&payload(number));
    cache.publish(fill, &key(number), LENGTH as u64, PublishOptions::default()).await
}

// r[verify kv.tasks]
#[test]
fn tasks_check_what_they_find_and_report_what_is_wrong() {
    for runtime in runtimes() {
        let segment = Segment::new();
        let host = TestHost::start(&segment);
        let name: Key = key(1);
        runtime.block_on(async {
            let options = options(segment.path(), LookupPath::Direct);
            let checking = CacheOptions { verify: true, ..options.clone() };
            let (cache, checking) = (
                AsyncCache::attach(options).await.unwrap(),
                AsyncCache::attach(checking).await.unwrap(),
            );
            store(&cache, 1).await.unwrap();
            assert!(find(&checking, 1).await);
            let offset = cache.lookup(&name).await.unwrap().unwrap().as_ptr().addr()
                - cache.cache().guest().pool_read_only().base_address;
            damage(&segment.path().join("pool"), offset as u64);
            let error = checking.lookup(&name).await.unwrap_err();
            assert!(matches!(error, LookupError::Corrupt(_)), "{error}");
            assert!(!cache.exists(&name).await.unwrap(), "the host has retired it");
        });
        assert_eq!(host.cache(Role::Reader).lookup(&name).unwrap().map(drop), None);
    }
}

fn damage(pool: &Path, offset: u64) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().write(true).open(pool).unwrap();
    file.write_all_at(&[!payload(1)[0]], offset).unwrap();
}

// r[verify kv.tasks]
#[test]
fn the_end_of_a_runtime_is_not_the_end_of_the_cache() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let [first, second] = runtimes();
    let cache = first.block_on(async {
        let options = options(segment.path(), LookupPath::Ring);
        let cache = AsyncCache::attach(options).await.unwrap();
        store(&cache, 1).await.unwrap();
        cache
    });
    let plain = cache.cache().clone();
    drop((cache, first));
    assert!(plain.lookup(&key(1)).unwrap().is_some());
    second.block_on(async {
        let again = AsyncCache::new(plain).unwrap();
        assert!(find(&again, 1).await);
    });
    wait_for("its goodbye", || host.stat("guests") == 0);
}
