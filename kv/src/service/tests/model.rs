//! The cache against a map and a list, step by step.

use super::rig::{Rig, entry, key};
use crate::key::Key;
use crate::protocol::{KeyOutcome, PublishOutcome};
use crate::service::{CacheServiceOptions, Capacity};
use onecopy_shm::SlotRef;
use onecopy_transport::Serial;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::HashMap;

const PEERS: Serial = 3;
const PINS_MAX: u32 = 3;
const SIZES: [u64; 5] = [0, 64, 65, 200, 4096];

#[derive(Clone, Debug)]
enum Step {
    Publish { peer: Serial, key: u64, size: usize, ttl_s: u32 },
    Lookup(Vec<u64>),
    Exists(u64),
    Delete(u64),
    Pin(Serial, u64),
    Unpin(Serial, u64),
    Report { key: u64, right: bool },
    PeerGone(Serial),
    MakeRoom(usize),
    Wait(u64),
    Reclaim,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let (peer, number) = (1..=PEERS, 0u64..12);
    prop_oneof![
        8 => (peer.clone(), number.clone(), 0..SIZES.len(), prop_oneof![Just(0u32), 1u32..8])
            .prop_map(|(peer, key, size, ttl_s)| Step::Publish { peer, key, size, ttl_s }),
        4 => vec(number.clone(), 1..6).prop_map(Step::Lookup),
        1 => number.clone().prop_map(Step::Exists),
        2 => number.clone().prop_map(Step::Delete),
        3 => (peer.clone(), number.clone()).prop_map(|(peer, key)| Step::Pin(peer, key)),
        3 => (peer.clone(), number.clone()).prop_map(|(peer, key)| Step::Unpin(peer, key)),
        1 => (number, any::<bool>()).prop_map(|(key, right)| Step::Report { key, right }),
        1 => peer.prop_map(Step::PeerGone),
        1 => (0..SIZES.len()).prop_map(Step::MakeRoom),
        2 => (1u64..5).prop_map(Step::Wait),
        1 => Just(Step::Reclaim),
        1 => Just(Step::Restart),
    ]
}

fn capacity() -> impl Strategy<Value = Capacity> {
    prop_oneof![
        Just(Capacity::Unbounded),
        (0u64..6).prop_map(Capacity::Blocks),
        (1u64..40).prop_map(|lines| Capacity::Bytes(lines * 128)),
    ]
}

#[derive(Clone, Debug)]
struct ModelBlock {
    slot: SlotRef,
    slot_bytes: u64,
    length_bytes: u64,
    expiry_s: Option<u64>,
    pins: HashMap<Serial, u32>,
}

/// The obvious cache.
struct Model {
    capacity: Capacity,
    clock_s: u64,
    blocks: HashMap<Key, ModelBlock>,
    /// Least recently used first.
    order: Vec<Key>,
}

impl Model {
    fn remove(&mut self, key: &Key) {
        self.blocks.remove(key);
        self.order.retain(|other| other != key);
    }

    fn touch(&mut self, key: &Key) {
        self.order.retain(|other| other != key);
        self.order.push(*key);
    }

    fn live(&mut self, key: &Key) -> Option<&mut ModelBlock> {
        let clock_s = self.clock_s;
        if self.blocks.get(key)?.expiry_s.is_some_and(|expiry_s| clock_s >= expiry_s) {
            self.remove(key);
        }
        self.blocks.get_mut(key)
    }

    fn pins(&mut self, key: &Key) -> u32 {
        self.blocks.get(key).map_or(0, |block| block.pins.values().sum())
    }

    fn fits(&self, blocks: u64, bytes: u64) -> bool {
        match self.capacity {
            Capacity::Unbounded => true,
            Capacity::Blocks(max) => blocks <= max,
            Capacity::Bytes(max) => bytes <= max,
        }
    }

    fn sums<'a>(blocks: impl Iterator<Item = &'a ModelBlock>) -> (u64, u64) {
        blocks.fold((0, 0), |(count, bytes), block| (count + 1, bytes + block.slot_bytes))
    }

    fn pinned(&self) -> (u64, u64) {
        Model::sums(self.blocks.values().filter(|block| !block.pins.is_empty()))
    }

    fn victim(&self, of: impl Fn(&ModelBlock) -> bool) -> Option<Key> {
        let mut order = self.order.iter();
        order.find(|key| self.blocks[*key].pins.is_empty() && of(&self.blocks[*key])).copied()
    }

    fn publish(&mut self, key: Key, block: ModelBlock) -> PublishOutcome {
        if let Some(there) = self.live(&key) {
            let slot = there.slot.to_u64();
            self.touch(&key);
            return PublishOutcome::AlreadyThere { slot };
        }
        let slot_bytes = block.slot_bytes;
        if !self.fits(1, slot_bytes) {
            let capacity_bytes = if let Capacity::Bytes(bytes) = self.capacity { bytes } else { 0 };
            return PublishOutcome::LargerThanCapacity { slot_bytes, capacity_bytes };
        }
        let (pinned_blocks, pinned_bytes) = self.pinned();
        if !self.fits(pinned_blocks + 1, pinned_bytes + slot_bytes) {
            return PublishOutcome::AllPinned { pinned_blocks, pinned_bytes };
        }
        loop {
            let (blocks, bytes) = Model::sums(self.blocks.values());
            if self.fits(blocks + 1, bytes + slot_bytes) {
                break;
            }
            let victim = self.victim(|_| true).unwrap();
            self.remove(&victim);
        }
        self.blocks.insert(key, block);
        self.touch(&key);
        PublishOutcome::Published
    }

    fn pin(&mut self, peer: Serial, key: &Key) -> KeyOutcome {
        if self.live(key).is_none() {
            return KeyOutcome::NotFound;
        }
        let held = self.blocks.values().filter(|block| block.pins.contains_key(&peer)).count();
        let pins = &mut self.blocks.get_mut(key).unwrap().pins;
        if !pins.contains_key(&peer) && held >= PINS_MAX as usize {
            return KeyOutcome::PinQuota { pins_max: PINS_MAX };
        }
        let count = pins.entry(peer).or_default();
        *count += 1;
        KeyOutcome::Done { pins: *count }
    }

    fn unpin(&mut self, peer: Serial, key: &Key) -> KeyOutcome {
        let Some(block) = self.live(key) else { return KeyOutcome::NotFound };
        let Some(count) = block.pins.get_mut(&peer) else { return KeyOutcome::NotPinned };
        *count -= 1;
        let pins = *count;
        if pins == 0 {
            block.pins.remove(&peer);
        }
        KeyOutcome::Done { pins }
    }

    fn make_room(&mut self, slot_bytes: u64) -> u32 {
        let mut evicted = 0;
        while evicted < 8
            && let Some(victim) = self.victim(|block| block.slot_bytes == slot_bytes)
        {
            self.remove(&victim);
            evicted += 1;
        }
        evicted
    }

    fn restart(&mut self) {
        let clock_s = self.clock_s;
        self.blocks.retain(|_, block| block.expiry_s.is_none_or(|expiry_s| clock_s < expiry_s));
        self.blocks.values_mut().for_each(|block| block.pins.clear());
        self.order.retain(|key| self.blocks.contains_key(key));
    }
}

fn run(capacity: Capacity, steps: Vec<Step>) {
    let options =
        CacheServiceOptions { capacity, pins_per_peer_max: PINS_MAX, ..Default::default() };
    let mut rig = Rig::new(options.clone());
    let clock_s = rig.clock_s;
    let mut model = Model { capacity, clock_s, blocks: HashMap::new(), order: Vec::new() };
    for step in steps {
        take(&mut rig, &mut model, &options, &step);
        rig.assert_clean();
        let stats = rig.stats();
        let (blocks, slot_bytes) = Model::sums(model.blocks.values());
        let bytes: u64 = model.blocks.values().map(|block| block.length_bytes).sum();
        assert_eq!((stats.blocks, stats.slot_bytes, stats.bytes), (blocks, slot_bytes, bytes));
        let pins: u32 = model.blocks.values().flat_map(|block| block.pins.values()).sum();
        assert_eq!((stats.pins, stats.pinned_blocks), (u64::from(pins), model.pinned().0));
    }
}

fn take(rig: &mut Rig, model: &mut Model, options: &CacheServiceOptions, step: &Step) {
    match *step {
        Step::Publish { peer, key: number, size, ttl_s } => {
            let (key, length_bytes) = (key(number), SIZES[size]);
            let slot = rig.grant(peer, length_bytes);
            let mut block = entry(slot, &key, length_bytes);
            block.ttl_s = ttl_s.into();
            let expiry_s = (ttl_s > 0).then(|| model.clock_s + u64::from(ttl_s) + 1);
            let expected = model.publish(
                key,
                ModelBlock {
                    slot,
                    slot_bytes: rig.pool.slot(slot).unwrap().slot_bytes,
                    length_bytes,
                    expiry_s,
                    pins: HashMap::new(),
                },
            );
            assert_eq!(rig.publish_entries(peer, &[block]), [expected]);
            assert_eq!(rig.pool.granted_to(peer).slots, 0);
        }
        Step::Lookup(ref numbers) => {
            let keys: Vec<Key> = numbers.iter().copied().map(key).collect();
            let found = rig.lookup(&keys);
            for (key, found) in keys.iter().zip(found) {
                assert_eq!(found, model.live(key).map(|block| block.slot));
                if found.is_some() {
                    model.touch(key);
                }
            }
        }
        Step::Exists(number) => {
            assert_eq!(rig.exists(&key(number)), model.live(&key(number)).is_some());
        }
        Step::Delete(number) => {
            let key = key(number);
            let expected = match (model.live(&key).is_some(), model.pins(&key)) {
                (false, _) => KeyOutcome::NotFound,
                (true, 0) => KeyOutcome::Done { pins: 0 },
                (true, pins) => KeyOutcome::Busy { pins },
            };
            assert_eq!(rig.delete(&key), expected);
            if expected == (KeyOutcome::Done { pins: 0 }) {
                model.remove(&key);
            }
        }
        Step::Pin(peer, number) => {
            assert_eq!(rig.pin(peer, &key(number)), model.pin(peer, &key(number)));
        }
        Step::Unpin(peer, number) => {
            assert_eq!(rig.unpin(peer, &key(number)), model.unpin(peer, &key(number)));
        }
        Step::Report { key: number, right } => {
            // What has had its time is retired when it is next asked for; here that is now.
            rig.exists(&key(number));
            let Some(block) = model.live(&key(number)) else { return };
            let slot = block.slot;
            let named = if right { key(number) } else { key(number + 100) };
            let expected = if right { KeyOutcome::Done { pins: 0 } } else { KeyOutcome::NotFound };
            assert_eq!(rig.report(slot, &named), expected);
            if right {
                model.remove(&key(number));
            }
        }
        Step::PeerGone(peer) => {
            rig.gone(peer);
            for block in model.blocks.values_mut() {
                block.pins.remove(&peer);
            }
        }
        Step::MakeRoom(size) => {
            let class = rig.class_for(SIZES[size]);
            let slot_bytes = rig.pool.classes().slot_bytes(class);
            assert_eq!(rig.make_room(class), model.make_room(slot_bytes));
        }
        Step::Wait(seconds) => {
            rig.clock_s += seconds;
            model.clock_s += seconds;
        }
        Step::Reclaim => {
            rig.reclaim();
        }
        Step::Restart => {
            // What is pinned is not noted.
            (1..=PEERS).for_each(|peer| rig.gone(peer));
            rig.tick();
            rig.restart(options.clone());
            rig.assert_clean();
            model.restart();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    // r[verify kv.model]
    #[test]
    fn the_cache_does_what_a_map_and_a_list_do(
        capacity in capacity(),
        steps in vec(step(), 1..80)
    ) {
        run(capacity, steps);
    }
}
