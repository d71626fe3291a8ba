//! Random operations, each checked against a model that knows nothing of lists and extents.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// One operation. Picks are taken modulo what there is to pick from.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Grant { owner: Serial, class: ClassIndex },
    GiveBack { owner: Serial, pick: usize, stale: bool },
    Publish { owner: Serial, pick: usize, length_bytes: u64 },
    Retire { pick: usize, stale: bool },
    Reclaim { leased: u64 },
    TakeBack { owner: Serial },
    Quarantine { owner: Serial },
    Release { owner: Serial },
    WriteOff { owner: Serial },
    WriteOffLeased { leased: u64 },
    Adopt { owner: Serial, heir: Serial, pick: usize, stale: bool },
    QuarantineAs { owner: Serial, heir: Serial },
    Grow { units: u64, slots: u64 },
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let owner = || 0..4_u32;
    let stale = || proptest::bool::weighted(0.1);
    prop_oneof![
        8 => (owner(), 0..3_u16).prop_map(|(owner, class)| Step::Grant { owner, class }),
        3 => (owner(), any::<usize>(), stale())
            .prop_map(|(owner, pick, stale)| Step::GiveBack { owner, pick, stale }),
        5 => (owner(), any::<usize>(), 0..1100_u64).prop_map(|(owner, pick, length_bytes)| {
            Step::Publish { owner, pick, length_bytes }
        }),
        3 => (any::<usize>(), stale()).prop_map(|(pick, stale)| Step::Retire { pick, stale }),
        2 => any::<u64>().prop_map(|leased| Step::Reclaim { leased }),
        1 => owner().prop_map(|owner| Step::TakeBack { owner }),
        1 => owner().prop_map(|owner| Step::Quarantine { owner }),
        1 => owner().prop_map(|owner| Step::Release { owner }),
        1 => (0..16_u32).prop_map(|owner| Step::WriteOff { owner }),
        1 => (any::<u64>(), any::<u64>())
            .prop_map(|(one, other)| Step::WriteOffLeased { leased: one & other }),
        2 => (owner(), owner(), any::<usize>(), stale())
            .prop_map(|(owner, heir, pick, stale)| Step::Adopt { owner, heir, pick, stale }),
        1 => (1..4_u32, 4..6_u32).prop_map(|(owner, heir)| Step::QuarantineAs { owner, heir }),
        1 => (1..4_u64, 0..20_u64).prop_map(|(units, slots)| Step::Grow { units, slots }),
    ]
}

/// What the model knows of a slot in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) generation: u32,
    pub(super) state: SlotState,
    pub(super) owner: Serial,
    pub(super) class: ClassIndex,
    pub(super) length_bytes: u64,
    /// First word of the note.
    pub(super) note: u64,
}

fn is_leased(leased: u64, slot: u32) -> bool {
    leased >> (slot % 64) & 1 == 1
}

/// A pool and what should be in it.
pub(super) struct World {
    pub(super) pool: VarSlotPool,
    pub(super) control: ControlWriter,
    /// Slots in use by number.
    pub(super) known: BTreeMap<u32, Known>,
    /// Every reference that was ever handed out.
    pub(super) handed_out: BTreeSet<SlotRef>,
    notes: u64,
}

impl World {
    pub(super) fn new(control: ControlWriter) -> World {
        World {
            pool: VarSlotPool::create(control.clone()),
            control,
            known: BTreeMap::new(),
            handed_out: BTreeSet::new(),
            notes: 0,
        }
    }

    pub(super) fn apply(&mut self, step: &Step) {
        match *step {
            Step::Grant { owner, class } => self.grant(owner, class),
            Step::GiveBack { owner, pick, stale } => self.give_back(owner, pick, stale),
            Step::Publish { owner, pick, length_bytes } => self.publish(owner, pick, length_bytes),
            Step::Retire { pick, stale } => self.retire(pick, stale),
            Step::Reclaim { leased } => self.reclaim(leased),
            Step::TakeBack { owner } => {
                let expected = self.remove_all(owner, SlotState::Granted);
                assert_eq!(self.pool.take_back(owner), expected);
            }
            // Of the host itself nothing is quarantined but what is written off.
            Step::Quarantine { owner: 0 } => {
                assert_eq!(self.pool.quarantine(0), Holding::default());
            }
            Step::Release { owner: 0 } => {
                assert_eq!(self.pool.release_quarantined(0), Holding::default());
            }
            Step::WriteOff { owner } => {
                let held = [SlotState::Granted, SlotState::Quarantined];
                let expected = self.write_off(|_, known| {
                    owner != 0 && known.owner == owner && held.contains(&known.state)
                });
                assert_eq!(self.pool.write_off(owner), expected);
            }
            Step::WriteOffLeased { leased } => {
                let leases = self.leases(leased);
                let expected = self.write_off(|slot, known| {
                    known.state == SlotState::Retired && is_leased(leased, slot)
                });
                let moved = self.pool.write_off_leased(&mut |visit| {
                    leases.iter().for_each(|&leased| visit(leased));
                });
                assert_eq!(moved, expected);
            }
            Step::Quarantine { owner } => {
                let expected = self.holding(owner, SlotState::Granted);
                assert_eq!(self.pool.quarantine(owner), expected);
                for known in self.known.values_mut() {
                    if (known.state, known.owner) == (SlotState::Granted, owner) {
                        known.state = SlotState::Quarantined;
                    }
                }
            }
            Step::Release { owner } => {
                let expected = self.remove_all(owner, SlotState::Quarantined);
                assert_eq!(self.pool.release_quarantined(owner), expected);
            }
            Step::Adopt { owner, heir, pick, stale } => self.adopt(owner, heir, pick, stale),
            Step::QuarantineAs { owner, heir } => {
                self.pool.quarantine_as(owner, heir);
                for known in self.known.values_mut() {
                    if (known.state, known.owner) == (SlotState::Quarantined, owner) {
                        known.owner = heir;
                    }
                }
            }
            Step::Grow { units, slots } => {
                let geometry = geometry();
                let bytes = self.control.pool_bytes() + units * geometry.unit_bytes;
                self.control.set_pool_bytes(bytes.min(geometry.pool_bytes_max));
                let slots = self.control.slots_ready() + slots;
                self.control.set_slots_ready(slots.min(geometry.slots_max));
                self.pool.grow();
            }
        }
    }

    fn slot_bytes(class: ClassIndex) -> u64 {
        geometry().classes[usize::from(class)]
    }

    fn holding(&self, owner: Serial, state: SlotState) -> Holding {
        let mut holding = Holding::default();
        for known in self.known.values() {
            if (known.state, known.owner) == (state, owner) {
                holding.add(Self::slot_bytes(known.class));
            }
        }
        holding
    }

    fn remove_all(&mut self, owner: Serial, state: SlotState) -> Holding {
        let holding = self.holding(owner, state);
        self.known.retain(|_, known| (known.state, known.owner) != (state, owner));
        holding
    }

    /// Any slot in use, or one that is not.
    fn pick(&self, pick: usize, stale: bool) -> (SlotRef, Option<Known>) {
        let found = self.known.iter().nth(pick % (self.known.len() + 1));
        match found {
            Some((&slot, known)) if !stale => {
                (SlotRef { slot, generation: known.generation }, Some(*known))
            }
            Some((&slot, known)) => {
                // Of an earlier use as often as of one that is to come.
                let generation = known.generation.wrapping_add_signed(1 - 2 * (pick as i32 & 1));
                (SlotRef { slot, generation }, None)
            }
            None => (SlotRef { slot: pick as u32 % 120, generation: u32::MAX }, None),
        }
    }

    fn grant(&mut self, owner: Serial, class: ClassIndex) {
        let slot = match self.pool.grant(owner, class) {
            Ok(slot) => slot,
            Err(GrantError::NoRoom(no_room)) => return self.check_no_room(&no_room, class),
            Err(other) => panic!("{other}"),
        };
        let view = self.pool.slot(slot).unwrap();
        let range = view.offset..view.offset + view.slot_bytes;
        assert!(range.start >= geometry().unit_bytes && range.end <= self.control.pool_bytes());
        assert!(range.start.is_multiple_of(geometry().granule_bytes));
        for (&slot, known) in &self.known {
            let other = self.pool.slot(SlotRef { slot, generation: known.generation }).unwrap();
            assert!(
                range.end <= other.offset || other.offset + other.slot_bytes <= range.start,
                "{view:?} overlaps {other:?}"
            );
        }
        assert!(self.handed_out.insert(slot), "{slot} was handed out before");
        let known = Known {
            generation: slot.generation,
            state: SlotState::Granted,
            owner,
            class,
            length_bytes: 0,
            note: 0,
        };
        assert_eq!(self.known.insert(slot.slot, known), None);
    }

    /// Room is refused only where there is none, seen without the pool's lists.
    fn check_no_room(&self, no_room: &NoRoom, class: ClassIndex) {
        let geometry = geometry();
        let units = self.control.pool_bytes() / geometry.unit_bytes;
        let mut used = vec![false; units as usize];
        used[..1.min(units as usize)].fill(true);
        let (mut ids_used, mut free_elsewhere) = (0, 0);
        for unit in 1..units {
            let extent = self.control.extent(unit);
            if extent.slot_bytes == 0 {
                continue;
            }
            used[unit as usize..][..extent.unit_count as usize].fill(true);
            ids_used += extent.slot_count;
            let last = extent.slot_first + extent.slot_count;
            let in_use =
                (extent.slot_first..last).filter(|&slot| self.known.contains_key(&(slot as u32)));
            let in_use = in_use.count() as u64;
            assert!(in_use > 0, "the empty extent at unit {unit} was not given back");
            free_elsewhere += (extent.slot_count - in_use) * extent.slot_bytes;
            if extent.slot_bytes == Self::slot_bytes(class) {
                assert_eq!(in_use, extent.slot_count, "a slot of the class is free");
            }
        }
        let longest = used.split(|&used| used).map(<[bool]>::len).max().unwrap_or(0) as u64;
        let slots_left = self.control.slots_ready() - ids_used;
        let fits = longest * geometry.unit_bytes >= Self::slot_bytes(class);
        assert!(!fits || slots_left == 0, "{longest} units are free");
        let uncarved = used.iter().filter(|&&used| !used).count() as u64 * geometry.unit_bytes;
        let limbo = self.known.values().filter(|known| known.state == SlotState::Retired);
        let limbo: Vec<u64> = limbo.map(|known| Self::slot_bytes(known.class)).collect();
        let expected = NoRoom {
            class,
            slot_bytes: Self::slot_bytes(class),
            free_bytes_elsewhere: free_elsewhere,
            uncarved_bytes: uncarved,
            limbo_slots: limbo.len() as u64,
            limbo_bytes: limbo.iter().sum(),
            slots_left,
            growable_bytes: geometry.pool_bytes_max - self.control.pool_bytes(),
        };
        assert_eq!(*no_room, expected);
    }

    fn give_back(&mut self, owner: Serial, pick: usize, stale: bool) {
        let (slot, known) = self.pick(pick, stale);
        let result = self.pool.give_back(owner, slot);
        self.check_owned(owner, slot, known, result);
        if result.is_ok() {
            self.known.remove(&slot.slot);
        }
    }

    fn adopt(&mut self, owner: Serial, heir: Serial, pick: usize, stale: bool) {
        let (slot, known) = self.pick(pick, stale);
        let result = self.pool.adopt(owner, heir, slot);
        match known {
            Some(known) if known.state == SlotState::Quarantined && owner != 0 => {
                let found = known.owner;
                let refused = SlotError::WrongOwner { slot: slot.slot, found, expected: owner };
                let expected = if found == owner { Ok(()) } else { Err(refused) };
                assert_eq!(result, expected);
            }
            _ => self.check_owned(owner, slot, known, result),
        }
        if let (Ok(()), Some(known)) = (result, self.known.get_mut(&slot.slot)) {
            (known.state, known.owner) = (SlotState::Granted, heir);
        }
    }

    fn publish(&mut self, owner: Serial, pick: usize, length_bytes: u64) {
        let (slot, known) = self.pick(pick, false);
        self.notes += 1;
        let note = [self.notes; NOTE_WORDS];
        let result = self.pool.publish(owner, slot, length_bytes, &note, &[1; COLD_WORDS]);
        match result {
            Err(SlotError::TooLong { slot: named, length_bytes: length, slot_bytes }) => {
                let known = known.unwrap();
                assert_eq!((known.state, known.owner), (SlotState::Granted, owner));
                assert_eq!((named, length), (slot.slot, length_bytes));
                assert!(slot_bytes == Self::slot_bytes(known.class) && slot_bytes < length_bytes);
            }
            _ => self.check_owned(owner, slot, known, result),
        }
        if let (Ok(()), Some(known)) = (result, self.known.get_mut(&slot.slot)) {
            assert!(length_bytes <= Self::slot_bytes(known.class));
            known.state = SlotState::Published;
            (known.owner, known.length_bytes, known.note) = (0, length_bytes, self.notes);
        }
    }

    /// What an owner may do with a slot, and else the error that says why not.
    fn check_owned(
        &self,
        owner: Serial,
        SlotRef { slot, generation }: SlotRef,
        known: Option<Known>,
        result: Result<(), SlotError>,
    ) {
        match (known, result) {
            (Some(known), Ok(())) => {
                assert_eq!((known.state, known.owner), (SlotState::Granted, owner));
            }
            (Some(known), Err(error)) if known.state != SlotState::Granted => {
                let expected = SlotState::Granted;
                assert_eq!(error, SlotError::WrongState { slot, found: known.state, expected });
            }
            (Some(known), Err(error)) => {
                assert_ne!(known.owner, owner);
                let found = known.owner;
                assert_eq!(error, SlotError::WrongOwner { slot, found, expected: owner });
            }
            (None, result) => assert!(
                matches!(
                    result,
                    Err(SlotError::OutOfRange { slot: named, .. }) if named == slot
                ) || matches!(
                    result,
                    Err(SlotError::WrongGeneration { slot: named, found, expected })
                        if named == slot && found != expected && expected == generation
                ),
                "{result:?}"
            ),
        }
    }

    fn retire(&mut self, pick: usize, stale: bool) {
        let (slot, known) = self.pick(pick, stale);
        let result = self.pool.retire(slot);
        let published = known.is_some_and(|known| known.state == SlotState::Published);
        assert_eq!(result.is_ok(), published, "{known:?}: {result:?}");
        if let (true, Some(known)) = (published, self.known.get_mut(&slot.slot)) {
            known.state = SlotState::Retired;
        }
    }

    /// A look where every slot whose bit is set is leased, and much that cannot be.
    fn reclaim(&mut self, leased: u64) {
        let leases = self.leases(leased);
        let before = self.known.len();
        self.known
            .retain(|&slot, known| known.state != SlotState::Retired || is_leased(leased, slot));
        assert_eq!(reclaim(&mut self.pool, &leases) as usize, before - self.known.len());
    }

    /// Leases of the slots of this mask, and such as name no use that there is.
    fn leases(&self, leased: u64) -> Vec<SlotRef> {
        let mut leases = vec![SlotRef { slot: 0, generation: 0 }];
        leases.push(SlotRef { slot: u32::MAX, generation: u32::MAX });
        for (&slot, known) in &self.known {
            let generation = known.generation;
            if is_leased(leased, slot) {
                leases.push(SlotRef { slot, generation });
                leases.push(SlotRef { slot, generation });
            } else {
                // A reader that came too late for an earlier use.
                leases.push(SlotRef { slot, generation: generation.wrapping_sub(1) });
                leases.push(SlotRef { slot, generation: generation.wrapping_add(1) });
            }
        }
        leases
    }

    /// Moves all slots that are so to the state of those that are written off.
    fn write_off(&mut self, mut is_so: impl FnMut(u32, &Known) -> bool) -> Holding {
        let mut moved = Holding::default();
        for (&slot, known) in &mut self.known {
            if is_so(slot, known) {
                moved.add(Self::slot_bytes(known.class));
                (known.state, known.owner) = (SlotState::Quarantined, 0);
                known.length_bytes = 0;
            }
        }
        moved
    }

    /// The pool's view of every slot is the model's.
    pub(super) fn check(&self) {
        assert_clean(&self.pool);
        let mut tallies = [Holding::default(); SlotState::ALL.len()];
        for (&slot, known) in &self.known {
            let view = self.pool.slot(SlotRef { slot, generation: known.generation }).unwrap();
            assert_eq!(
                (view.state, view.owner, view.class, view.length_bytes),
                (known.state, known.owner, known.class, known.length_bytes)
            );
            tallies[known.state as usize].add(view.slot_bytes);
            let published = known.state == SlotState::Published;
            assert_eq!(self.pool.published(slot).is_some(), published);
            if published {
                assert_eq!(self.pool.note(slot), [known.note; NOTE_WORDS]);
            }
        }
        let counts = self.pool.counts();
        assert_eq!(counts.granted, tallies[SlotState::Granted as usize]);
        assert_eq!(counts.published, tallies[SlotState::Published as usize]);
        assert_eq!(counts.retired, tallies[SlotState::Retired as usize]);
        let written_off = self.holding(0, SlotState::Quarantined);
        assert_eq!(counts.written_off, written_off);
        let quarantined = tallies[SlotState::Quarantined as usize].without(written_off);
        assert_eq!(counts.quarantined, quarantined);
        assert_eq!(self.pool.limbo_len() as u64, counts.retired.slots);
        assert_eq!(counts.pool_bytes, self.control.pool_bytes());
        for owner in 0..4 {
            assert_eq!(self.pool.granted_to(owner), self.holding(owner, SlotState::Granted));
            let quarantined = self.holding(owner, SlotState::Quarantined);
            assert_eq!(self.pool.quarantined_of(owner), quarantined);
            let listed: BTreeSet<u32> =
                self.pool.granted_slots(owner).map(|slot| slot.slot).collect();
            let mut by_class = [0; 3];
            for (slot, known) in &self.known {
                let granted = (known.state, known.owner) == (SlotState::Granted, owner);
                assert_eq!(listed.contains(slot), granted);
                by_class[usize::from(known.class)] += u32::from(granted);
            }
            let found = [0, 1, 2].map(|class| self.pool.granted_of_class(owner, class));
            assert_eq!(found, by_class);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    // r[verify pool.grant]
    // r[verify pool.rooms]
    // r[verify pool.believe-nothing]
    // r[verify pool.grow]
    // r[verify pool.adopt]
    #[test]
    fn the_pool_does_what_the_model_says(
        units in 0..17_u64,
        steps in proptest::collection::vec(step(), 1..150),
    ) {
        let mut world = World::new(control(units));
        for step in &steps {
            world.apply(step);
            world.check();
        }
    }
}
