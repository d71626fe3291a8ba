use proptest::prelude::*;

use super::{ParsePolicyError, Policy, PolicyKind};

const SLOTS: u32 = 12;
const CLASSES: u16 = 3;

/// The policies as one writes them when time does not matter: blocks from the oldest to the newest.
struct Model {
    kind: PolicyKind,
    blocks: Vec<ModelBlock>,
    guard_is_up: bool,
}

#[derive(Clone, Copy)]
struct ModelBlock {
    slot: u32,
    class: u16,
    pinned: bool,
    guarded: bool,
}

impl Model {
    fn position(&self, slot: u32) -> Option<usize> {
        self.blocks.iter().position(|block| block.slot == slot)
    }

    fn insert(&mut self, slot: u32, class: u16) -> bool {
        let new = self.position(slot).is_none() && (1..=SLOTS).contains(&slot);
        if new {
            self.blocks.push(ModelBlock { slot, class, pinned: false, guarded: false });
        }
        new
    }

    fn restore(&mut self, slot: u32, class: u16) -> bool {
        let new = self.insert(slot, class);
        if let (true, Some(block)) = (new, self.blocks.last_mut()) {
            block.guarded = self.guard_is_up;
        }
        new
    }

    fn may_go(&self, block: &ModelBlock) -> bool {
        !(block.pinned || self.guard_is_up && block.guarded)
    }

    fn touch(&mut self, slot: u32) -> bool {
        let Some(position) = self.position(slot) else { return false };
        if self.kind == PolicyKind::Lru {
            let block = self.blocks.remove(position);
            self.blocks.push(block);
        }
        true
    }

    fn remove(&mut self, slot: u32) -> bool {
        self.position(slot).map(|position| self.blocks.remove(position)).is_some()
    }

    fn set_pinned(&mut self, slot: u32, pinned: bool) -> bool {
        let Some(position) = self.position(slot) else { return false };
        std::mem::replace(&mut self.blocks[position].pinned, pinned) != pinned
    }

    fn victim(&self, class: Option<u16>) -> Option<u32> {
        let mut blocks = self.blocks.iter().filter(|block| self.may_go(block));
        blocks.find(|block| class.is_none_or(|class| class == block.class)).map(|block| block.slot)
    }

    fn victim_among(&self, slots: &[u32]) -> Option<u32> {
        let mut blocks = self.blocks.iter().filter(|block| self.may_go(block));
        blocks.find(|block| slots.contains(&block.slot)).map(|block| block.slot)
    }

    fn pinned_count(&self) -> u32 {
        self.blocks.iter().filter(|block| block.pinned).count() as u32
    }
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u32, u16),
    Restore(u32, u16, u64),
    Guard(bool),
    Touch(u32),
    Remove(u32),
    Pin(u32),
    Unpin(u32),
    EvictAny,
    EvictOf(u16),
}

fn step() -> impl Strategy<Value = Step> {
    // One id too small and one too large are among them.
    let slot = 0..=SLOTS + 1;
    prop_oneof![
        4 => (slot.clone(), 0..CLASSES).prop_map(|(slot, class)| Step::Insert(slot, class)),
        2 => (slot.clone(), 0..CLASSES, 0..200_u64)
            .prop_map(|(slot, class, stamp)| Step::Restore(slot, class, stamp)),
        1 => any::<bool>().prop_map(Step::Guard),
        4 => slot.clone().prop_map(Step::Touch),
        1 => slot.clone().prop_map(Step::Remove),
        2 => slot.clone().prop_map(Step::Pin),
        2 => slot.prop_map(Step::Unpin),
        1 => Just(Step::EvictAny),
        1 => (0..CLASSES).prop_map(Step::EvictOf),
    ]
}

fn run(policy: &mut dyn Policy, model: &mut Model, step: &Step) -> (bool, bool) {
    match *step {
        Step::Insert(slot, class) => (policy.insert(slot, class), model.insert(slot, class)),
        Step::Restore(slot, class, stamp) => {
            (policy.restore(slot, class, stamp), model.restore(slot, class))
        }
        Step::Guard(up) => {
            policy.guard(up);
            model.guard_is_up = up;
            (true, true)
        }
        Step::Touch(slot) => (policy.touch(slot), model.touch(slot)),
        Step::Remove(slot) => (policy.remove(slot), model.remove(slot)),
        Step::Pin(slot) => (policy.pin(slot), model.set_pinned(slot, true)),
        Step::Unpin(slot) => (policy.unpin(slot), model.set_pinned(slot, false)),
        Step::EvictAny => evict(policy, model, None),
        Step::EvictOf(class) => evict(policy, model, Some(class)),
    }
}

fn evict(policy: &mut dyn Policy, model: &mut Model, class: Option<u16>) -> (bool, bool) {
    let (found, expected) = (policy.victim(class), model.victim(class));
    assert_eq!(found, expected);
    (found.is_some_and(|slot| policy.remove(slot)), expected.is_some_and(|slot| model.remove(slot)))
}

fn check_against_model(kind: PolicyKind, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut policy = kind.build(SLOTS);
    let mut model = Model { kind, blocks: Vec::new(), guard_is_up: false };
    for step in steps {
        let (done, expected) = run(policy.as_mut(), &mut model, step);
        prop_assert_eq!(done, expected, "{:?}", step);
        prop_assert_eq!(policy.audit(), Ok(()));
        prop_assert_eq!(policy.count(), model.blocks.len() as u32);
        prop_assert_eq!(policy.pinned_count(), model.pinned_count());
        let guarded = |block: &&ModelBlock| block.guarded && model.guard_is_up;
        prop_assert_eq!(
            policy.guarded_count() as usize,
            model.blocks.iter().filter(guarded).count()
        );
        for class in [None, Some(0), Some(1), Some(2), Some(CLASSES)] {
            prop_assert_eq!(policy.victim(class), model.victim(class));
        }
        for slots in [&[3, 1, 2][..], &[0, 9, 12, 13], &[]] {
            prop_assert_eq!(policy.victim_among(slots), model.victim_among(slots));
        }
        for slot in 0..=SLOTS + 1 {
            prop_assert_eq!(policy.holds(slot), model.position(slot).is_some());
        }
    }
    Ok(())
}

proptest! {
    // r[verify policy.lru]
    // r[verify policy.victim]
    // r[verify policy.unpin]
    // r[verify policy.guard]
    #[test]
    fn lru_does_as_the_model(steps in prop::collection::vec(step(), 0..120)) {
        check_against_model(PolicyKind::Lru, &steps)?;
    }

    // r[verify policy.fifo]
    #[test]
    fn fifo_does_as_the_model(steps in prop::collection::vec(step(), 0..120)) {
        check_against_model(PolicyKind::Fifo, &steps)?;
    }
}

// r[verify policy.pin]
#[test]
fn pinned_blocks_are_no_victims_whatever_else_is_there() {
    for kind in PolicyKind::ALL {
        let mut policy = kind.build(4);
        for slot in 1..=4 {
            assert!(policy.insert(slot, 0));
            assert!(policy.pin(slot));
        }
        assert_eq!(policy.victim(None), None);
        assert_eq!(policy.victim(Some(0)), None);
        assert_eq!(policy.victim_among(&[1, 2, 3, 4]), None);
        assert!(policy.unpin(3));
        assert_eq!(policy.victim(None), Some(3));
    }
}

// r[verify policy.unpin]
#[test]
fn a_pin_does_not_make_a_block_younger_but_a_touch_under_it_does() {
    let mut policy = PolicyKind::Lru.build(3);
    for slot in 1..=3 {
        policy.insert(slot, 0);
    }
    policy.pin(1);
    policy.pin(2);
    policy.touch(2);
    policy.unpin(2);
    policy.unpin(1);
    let mut evicted = Vec::new();
    while let Some(slot) = policy.victim(None) {
        policy.remove(slot);
        evicted.push(slot);
    }
    assert_eq!(evicted, [1, 3, 2]);
}

// r[verify policy.restore]
#[test]
fn an_order_that_was_told_is_restored_with_what_came_after() {
    let mut before = PolicyKind::Lru.build(6);
    for slot in 1..=5 {
        before.insert(slot, (slot % 2) as u16);
    }
    let (first, mut told) = (before.stamp(), Vec::new());
    before.touch(2);
    before.touch(1);
    before.renewed_since(first, 9, &mut |slot, stamp| told.push((stamp, slot)));
    told.sort_unstable();
    assert_eq!(told, [(6, 2), (7, 1)]);
    told.clear();
    before.renewed_since(0, 1, &mut |slot, stamp| told.push((stamp, slot)));
    told.sort_unstable();
    assert_eq!(told, [(6, 2), (7, 1)], "the newest of each class");

    told = vec![(3, 3), (4, 4), (5, 5), (6, 2), (7, 1)];
    let mut after = PolicyKind::Lru.build(6);
    for (stamp, slot) in told {
        assert!(after.restore(slot, (slot % 2) as u16, stamp));
    }
    assert_eq!(after.stamp(), 7);
    after.insert(6, 0);
    after.touch(4);
    let mut evicted = Vec::new();
    while let Some(slot) = after.victim(None) {
        after.remove(slot);
        evicted.push(slot);
    }
    assert_eq!(evicted, [3, 5, 2, 1, 6, 4]);
    // A stamp that nobody can have reached is none.
    assert!(after.restore(1, 0, u64::MAX) && after.stamp() < 100);
}

// r[verify policy.names]
#[test]
fn names_read_back_and_others_are_refused() {
    for kind in PolicyKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
        assert_eq!(kind.build(1).kind(), kind);
    }
    assert_eq!("LRU".parse(), Ok(PolicyKind::Lru));
    let wrong = ParsePolicyError { found: "mru".to_owned() };
    assert_eq!("mru".parse::<PolicyKind>(), Err(wrong));
}
