//! Many threads, and the end of a host.

use super::rig::{TestHost, key, payload};
use crate::cache::{LookupPath, PublishOptions};
use crate::error::{AskError, LookupError};
use crate::service::{CacheService, CacheServiceOptions, Capacity};
use onecopy_transport::guest::{CallError, LinkEnd};

#[test]
fn threads_that_store_read_and_delete_the_same_keys_never_see_wrong_bytes() {
    let capacity = Capacity::Blocks(24);
    let host = TestHost::with(CacheServiceOptions { capacity, ..Default::default() });
    let caches = [host.attach(), host.attach()];
    let read: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4u64)
            .map(|thread| {
                let cache = caches[thread as usize % 2].clone();
                scope.spawn(move || {
                    let mut read = 0;
                    for round in 0..2000u64 {
                        let number = (round * 7 + thread * 13) % 40;
                        let expected = payload(number, 100 + number as usize * 200);
                        match round % 8 {
                            0 => drop(cache.delete(&key(number))),
                            1 => drop(cache.pin(&key(number))),
                            2 => drop(cache.unpin(&key(number))),
                            3 | 4 => {
                                // Everything may be pinned for a moment.
                                let options = PublishOptions::default();
                                drop(cache.store_with(&key(number), &expected, options));
                            }
                            _ => {
                                if let Some(block) = cache.lookup(&key(number)).unwrap() {
                                    assert_eq!(*block, *expected, "key {number}");
                                    read += 1;
                                }
                            }
                        }
                    }
                    read
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(read > 0);
    host.assert_clean();
}

// r[verify kv.reattach]
#[test]
fn blocks_outlive_their_host_and_a_new_one_serves_them() {
    let mut host = TestHost::start();
    let cache = host.attach().with_reattach(None).with_lookup(LookupPath::Ring);
    for number in 0..10 {
        cache.store(&key(number), &payload(number, 3000)).unwrap();
    }
    let block = cache.lookup(&key(3)).unwrap().unwrap();
    host.leave();
    let error = cache.lookup(&key(1)).unwrap_err();
    let LookupError::Ask(AskError::Call(CallError::Link(end))) = error else { panic!("{error}") };
    assert!(matches!(end, LinkEnd::HostLeft | LinkEnd::HostGone), "{end}");
    assert_eq!(*block, *payload(3, 3000));
    let service = CacheService::new(CacheServiceOptions::default());
    let next = TestHost::at(host.segment(), service);
    let again = cache.reattach().unwrap();
    assert!(cache.guest.is_superseded(), "an old handle");
    assert!(!again.guest.is_superseded() && !cache.clone().guest.is_superseded());
    for number in 0..10 {
        let block = again.lookup(&key(number)).unwrap().unwrap();
        assert_eq!(*block, *payload(number, 3000));
    }
    assert!(!again.store(&key(3), b"late").unwrap().is_first());
    assert_eq!(*block, *payload(3, 3000));
    next.assert_clean();
}

#[test]
fn handles_and_blocks_go_between_threads() {
    fn goes<T: Send + Sync + Clone>() {}
    goes::<crate::cache::Cache>();
    goes::<crate::cache::Block>();
    fn goes_one_way<T: Send>() {}
    goes_one_way::<crate::cache::Fill>();
}
