//! What shows of a publish whose answer did not come, and whose turn it is to attach in passing.

use super::rig::{TestHost, key, payload, wait_for};
use crate::cache::comeback::PAUSE_LAST;
use crate::cache::{Fill, PublishOptions, Published};
use crate::key::Key;
use crate::protocol::{PublishAnswer, kind};
use crate::service::{CacheService, CacheServiceOptions};

impl Fill {
    /// Publishes, and looks as one does whose answer went with the host.
    fn publish_unanswered(self, name: &Key) -> Option<Published> {
        let cache = self.cache.clone();
        let (guest, until) = (cache.guest(), cache.until());
        let entry = self.entry(&guest, name, 1, PublishOptions::default()).unwrap();
        let answer = cache.ask_one_on::<_, PublishAnswer>(&guest, kind::PUBLISH, 0, &entry, until);
        self.settle(true);
        assert!(answer.unwrap().decode().is_some());
        cache.find_published(&entry, until)
    }
}

// r[verify kv.reattach.publish]
#[test]
fn a_publish_that_was_carried_out_is_told_by_what_is_found() {
    let host = TestHost::start();
    let cache = host.attach();
    let fill = cache.reserve(100).unwrap();
    let slot = fill.slot();
    assert_eq!(fill.publish_unanswered(&key(1)), Some(Published::First { slot }));
    let late = cache.reserve(100).unwrap().publish_unanswered(&key(1));
    assert_eq!(late, Some(Published::AlreadyThere { slot }));
    // Where nothing is found, it is not known whether anything was.
    let fill = cache.reserve(100).unwrap();
    let entry = fill.entry(&cache.guest(), &key(2), 1, PublishOptions::default()).unwrap();
    assert_eq!(cache.find_published(&entry, cache.until()), None);
    drop(fill);
    cache.store(&key(3), &payload(3, 10)).unwrap();
    host.assert_clean();
}

// r[verify kv.tasks.returns]
#[test]
fn one_attach_in_passing_is_under_way_at_a_time() {
    let mut host = TestHost::start();
    let cache = host.attach();
    let same = cache.clone();
    assert!(cache.turn_to_return().is_none(), "there is a host");
    host.next(CacheService::new(CacheServiceOptions::default()));
    wait_for("the end of the link is noticed", || cache.guest().is_known_over());
    assert!(cache.with_reattach(None).turn_to_return().is_none());
    let turn = cache.turn_to_return().unwrap();
    std::thread::sleep(PAUSE_LAST);
    assert!(same.turn_to_return().is_none(), "another try is due, and would wait for the first");
    drop(turn);
    let turn = same.turn_to_return().unwrap();
    same.return_in_passing(turn);
    wait_for("it attached anew", || {
        if let Some(turn) = cache.turn_to_return() {
            cache.return_in_passing(turn);
        }
        !cache.guest().is_known_over()
    });
    assert!(cache.turn_to_return().is_none(), "it is done");
}
