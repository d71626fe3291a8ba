//! A new life of the host, and what an audit finds.

use super::rig::{Rig, entry, key};
use crate::note::{Cold, Note};
use crate::protocol::LOOKUP_PREFIX;
use crate::service::{CacheServiceOptions, Capacity};
use onecopy_shm::{SlotRef, SlotState};

fn unbounded() -> Rig {
    Rig::new(CacheServiceOptions::default())
}

// r[verify kv.recover]
// r[verify kv.recover_order]
#[test]
fn a_new_life_finds_the_blocks_and_their_order() {
    let options = CacheServiceOptions { capacity: Capacity::Blocks(4), ..Default::default() };
    let mut rig = Rig::new(options);
    let mut slots = [SlotRef { slot: 0, generation: 0 }; 5];
    for number in [4, 2, 3, 1] {
        rig.clock_s += 1;
        let slot = rig.grant(1, 64);
        let mut block = entry(slot, &key(number), 1);
        block.ttl_s = if number == 3 { 5.into() } else { 0.into() };
        rig.publish_entries(1, &[block]);
        slots[number as usize] = slot;
    }
    rig.pin(1, &key(4));
    rig.grant(1, 64);
    rig.delete(&key(1));
    rig.clock_s += 10;
    let options = CacheServiceOptions { capacity: Capacity::Blocks(2), ..Default::default() };
    rig.restart(options);
    rig.assert_clean();
    let found = rig.lookup_with(LOOKUP_PREFIX, &[key(9)]);
    assert_eq!(found, [None]);
    assert!(!rig.exists(&key(1)) && !rig.exists(&key(3)));
    assert_eq!((rig.stats().blocks, rig.stats().pins, rig.stats().expired), (2, 0, 1));
    rig.publish(2, &key(5), 64);
    assert_eq!(rig.lookup(&[key(4), key(2)]), [None, Some(slots[2])], "the oldest goes first");
    rig.assert_clean();
}

// r[verify kv.recover]
#[test]
fn of_two_slots_with_one_key_one_is_kept() {
    let mut rig = unbounded();
    rig.publish(1, &key(1), 64);
    let kept = rig.lookup(&[key(1)])[0].unwrap();
    let twin = rig.grant(1, 64);
    let note = Note { key: key(1), expiry_s: 0, flags: 0 };
    rig.pool.publish(1, twin, 1, &note.to_words(), &Cold::new(None, 1, 1).to_words()).unwrap();
    assert!(!rig.audit().is_clean());
    rig.restart(CacheServiceOptions::default());
    assert_eq!(rig.lookup(&[key(1)]), [Some(kept)]);
    assert_eq!(rig.pool.slot(twin).unwrap().state, SlotState::Retired);
    rig.assert_clean();
}

// r[verify kv.audit]
#[test]
fn an_audit_finds_what_does_not_add_up() {
    type Damage = fn(&mut Rig);
    let damages: [(&str, Damage); 5] = [
        ("kv.index", |rig| {
            let core = rig.service.core.as_mut().unwrap();
            core.index.insert(core.index.hash(&key(5)), 4000).unwrap();
        }),
        ("kv.slot", |rig| {
            let slot = rig.lookup(&[key(1)])[0].unwrap().slot;
            let core = rig.service.core.as_mut().unwrap();
            core.index.remove(core.index.hash(&key(1)), slot);
        }),
        ("kv.policy", |rig| {
            let slot = rig.lookup(&[key(1)])[0].unwrap().slot;
            rig.service.core.as_mut().unwrap().policy.remove(slot);
        }),
        ("kv.usage", |rig| rig.service.core.as_mut().unwrap().usage.bytes += 1),
        ("kv.pins", |rig| {
            rig.service.core.as_mut().unwrap().pins.pin(1, 4000, 1);
        }),
    ];
    for (area, damage) in damages {
        let mut rig = unbounded();
        rig.publish(1, &key(1), 64);
        rig.assert_clean();
        damage(&mut rig);
        let report = rig.audit();
        assert!(report.findings().iter().any(|finding| finding.area == area), "{area}: {report}");
    }
}
