//! After a restart: what was there before is kept for those who may have it pinned.

use super::rig::{Rig, key};
use crate::protocol::{KeyOutcome, PublishOutcome};
use crate::service::{CacheServiceOptions, Capacity};

fn of_blocks(blocks: u64) -> CacheServiceOptions {
    CacheServiceOptions { capacity: Capacity::Blocks(blocks), ..Default::default() }
}

fn is_there(rig: &mut Rig, numbers: &[u64]) -> Vec<bool> {
    numbers.iter().map(|&number| rig.exists(&key(number))).collect()
}

// r[verify kv.guard]
// r[verify kv.delete_guarded]
#[test]
fn while_the_guard_is_up_newer_blocks_make_room_or_the_capacity_is_exceeded() {
    let mut rig = Rig::new(of_blocks(3));
    for number in 1..=3 {
        rig.publish(1, &key(number), 64);
    }
    rig.restart(of_blocks(3));
    rig.guard(true);
    rig.assert_clean();
    assert_eq!(rig.publish(2, &key(4), 64), PublishOutcome::Published);
    rig.assert_clean();
    assert_eq!(rig.publish(2, &key(5), 64), PublishOutcome::Published);
    assert_eq!(is_there(&mut rig, &[1, 2, 3, 4, 5]), [true, true, true, false, true]);
    assert_eq!((rig.stats().blocks, rig.stats().guarded_blocks), (4, 3));
    assert_eq!(rig.delete(&key(1)), KeyOutcome::Guarded);
    assert_eq!(rig.delete(&key(5)), KeyOutcome::Done { pins: 0 });
    rig.publish(2, &key(6), 64);
    let class = rig.class_for(64);
    assert_eq!((rig.make_room(class), rig.make_room(class)), (1, 0));
    rig.publish(2, &key(7), 64);
    rig.assert_clean();

    // Whoever came back has asked for its pin again.
    rig.pin(2, &key(1));
    rig.lookup(&[key(2)]);
    rig.guard(false);
    assert_eq!((rig.stats().blocks, rig.stats().guarded_blocks), (3, 0));
    assert_eq!(is_there(&mut rig, &[1, 2, 3, 7]), [true, true, false, true]);
    rig.assert_clean();
    assert_eq!(rig.delete(&key(2)), KeyOutcome::Done { pins: 0 });
    rig.publish(2, &key(8), 64);
    rig.publish(2, &key(9), 64);
    assert_eq!(is_there(&mut rig, &[1, 7, 8, 9]), [true, false, true, true]);
    rig.assert_clean();
}

// r[verify kv.guard]
#[test]
fn what_is_pinned_when_the_guard_is_lifted_may_stay_beyond_the_capacity() {
    let mut rig = Rig::new(of_blocks(2));
    rig.publish(1, &key(1), 64);
    rig.publish(1, &key(2), 64);
    rig.restart(of_blocks(2));
    rig.guard(true);
    rig.publish(2, &key(3), 64);
    for number in 1..=3 {
        rig.pin(2, &key(number));
    }
    rig.guard(false);
    assert_eq!(is_there(&mut rig, &[1, 2, 3]), [true; 3]);
    rig.assert_clean();
    let refused = rig.publish(2, &key(4), 64);
    assert!(matches!(refused, PublishOutcome::AllPinned { pinned_blocks: 3, .. }), "{refused:?}");
    rig.gone(2);
    assert_eq!(rig.publish(1, &key(4), 64), PublishOutcome::Published);
    assert_eq!(is_there(&mut rig, &[1, 2, 3, 4]), [false, false, true, true]);
    rig.assert_clean();
}

// r[verify kv.note_used]
// r[verify kv.recover_order]
#[test]
fn the_order_of_use_is_that_of_the_last_note() {
    let mut rig = Rig::new(of_blocks(4));
    for number in 1..=4 {
        rig.publish(1, &key(number), 64);
    }
    rig.lookup(&[key(2), key(1)]);
    rig.tick();
    // Not noted before the host dies.
    rig.lookup(&[key(3)]);
    for life in 0..2 {
        rig.restart(of_blocks(4));
        rig.assert_clean();
        rig.publish(2, &key(10 + life), 64);
        let left = if life == 0 { [false, true, true, true] } else { [false, false, true, true] };
        assert_eq!(is_there(&mut rig, &[3, 4, 2, 1]), left, "life {life}");
    }
    rig.publish(2, &key(12), 64);
    assert_eq!(is_there(&mut rig, &[2, 1, 10, 11, 12]), [false, true, true, true, true]);
}
