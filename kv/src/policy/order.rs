//! Slots in order of time, one list per size class, in plain vectors indexed by slot id.
//!
//! Every slot that is held carries a stamp from one ever-growing count. Three places exist for it:
//!
//! * its class's **list**, intrusive and doubly linked, stamps falling from the newest to the oldest
//!   end: everything at the hot path costs a few words of memory;
//! * **aside**, while it is pinned: in no list at all;
//! * its class's **returned** tree, ordered by stamp: where an unpinned slot waits when its place in
//!   time is somewhere inside the list, which a list cannot find without a walk.
//!
//! The oldest slot of a class is the older of its list's end and its tree's first; the oldest of all
//! is the oldest of those. So a victim costs one look per class, pinned slots cost nothing, and the
//! order is exact all the same.
//!
//! Slots that were restored from an earlier life of the host and are **guarded** have a list and a tree
//! of their own, for each class. While the guard is up no victim is taken from those; when it is
//! lifted they are looked at with the others, and nothing has to be moved.

use std::collections::BTreeMap;

/// No slot: slot ids start at 1.
const NONE: u32 = 0;

/// Where a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Absent,
    Listed,
    Aside,
    Returned,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    stamp: u64,
    newer: u32,
    older: u32,
    class: u16,
    place: Place,
    guarded: bool,
}

impl Node {
    const ABSENT: Node =
        Node { stamp: 0, newer: NONE, older: NONE, class: 0, place: Place::Absent, guarded: false };

    /// Which of the lists it belongs to.
    fn list(&self) -> usize {
        2 * usize::from(self.class) + usize::from(self.guarded)
    }
}

const _: () = assert!(size_of::<Node>() == 24);

/// The slots of one class, guarded or not.
#[derive(Debug, Default)]
struct List {
    newest: u32,
    oldest: u32,
    returned: BTreeMap<u64, u32>,
}

/// Slots in order of time.
#[derive(Debug)]
pub(super) struct Order {
    slots_max: u32,
    nodes: Vec<Node>,
    /// Of each class the slots that are not guarded, then those that are.
    lists: Vec<List>,
    stamp: u64,
    count: u32,
    pinned_count: u32,
    guarded_count: u32,
    /// Guarded slots are no victims.
    guard_is_up: bool,
}

/// What an audit of the order found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderFault {
    /// A slot in a list or tree does not know that it is there.
    #[error("slot {slot} stands in the order of class {class} but is not held there")]
    Misplaced {
        /// The slot.
        slot: u32,
        /// The class in whose order it was found.
        class: u16,
    },
    /// Two neighbours in a list do not point at each other.
    #[error("slot {slot} names {found} as its newer neighbour, expected {expected}")]
    Link {
        /// The slot.
        slot: u32,
        /// What it names.
        found: u32,
        /// Its real neighbour.
        expected: u32,
    },
    /// A slot that is newer than the one before it.
    #[error("slot {slot} has stamp {stamp}, expected one below {limit}")]
    Stamp {
        /// The slot.
        slot: u32,
        /// Its stamp.
        stamp: u64,
        /// Stamps at its place are below this.
        limit: u64,
    },
    /// The counts do not add up.
    #[error(
        "found {found} slots ({pinned_found} pinned), expected {count} ({pinned_count} pinned)"
    )]
    Count {
        /// Slots reached.
        found: u32,
        /// Pinned slots found.
        pinned_found: u32,
        /// Slots that should be held.
        count: u32,
        /// Slots that should be pinned.
        pinned_count: u32,
    },
}

impl Order {
    pub(super) fn new(slots_max: u32) -> Order {
        Order {
            slots_max,
            nodes: Vec::new(),
            lists: Vec::new(),
            stamp: 0,
            count: 0,
            pinned_count: 0,
            guarded_count: 0,
            guard_is_up: false,
        }
    }

    /// Takes a slot in as the newest of its class.
    pub(super) fn insert(&mut self, slot: u32, class: u16) -> bool {
        let stamp = self.stamp + 1;
        self.take_in(slot, Node { stamp, class, ..Node::ABSENT })
    }

    /// Takes a slot in as the newest of its class, with the stamp it had, or a later one where that
    /// would not be the newest. Guarded while the guard is up.
    // r[impl policy.restore]
    pub(super) fn restore(&mut self, slot: u32, class: u16, stamp: u64) -> bool {
        // Stamps that nobody can have reached would leave none for what comes.
        let stamp = Some(stamp).filter(|stamp| *stamp < u64::MAX / 2).unwrap_or(0);
        let stamp = stamp.max(self.stamp + 1);
        let guarded = self.guard_is_up;
        self.take_in(slot, Node { stamp, class, guarded, ..Node::ABSENT })
    }

    fn take_in(&mut self, slot: u32, node: Node) -> bool {
        if slot == NONE || slot > self.slots_max || self.holds(slot) {
            return false;
        }
        self.make_room_for(slot, node.class);
        self.stamp = node.stamp;
        self.put(slot, node);
        self.link_newest(slot);
        self.count += 1;
        self.guarded_count += u32::from(node.guarded);
        true
    }

    /// Puts the guard up for what is restored from here on, or lifts it from all.
    // r[impl policy.guard]
    pub(super) fn guard(&mut self, up: bool) {
        self.guard_is_up = up;
    }

    /// Whether a slot is no victim because of the guard.
    pub(super) fn is_guarded(&self, slot: u32) -> bool {
        self.guard_is_up && self.node(slot).guarded
    }

    /// Slots that are no victims because of the guard.
    pub(super) fn guarded_count(&self) -> u32 {
        if self.guard_is_up { self.guarded_count } else { 0 }
    }

    /// The stamp given last.
    pub(super) fn stamp(&self) -> u64 {
        self.stamp
    }

    /// Of each list, and of each tree, the newest slots with a stamp above `stamp`, at most so many.
    /// Pinned slots are passed by.
    pub(super) fn renewed_since(&self, stamp: u64, most: usize, each: &mut dyn FnMut(u32, u64)) {
        for list in &self.lists {
            let mut slot = list.newest;
            for _ in 0..most {
                let node = self.node(slot);
                if slot == NONE || node.stamp <= stamp {
                    break;
                }
                each(slot, node.stamp);
                slot = node.older;
            }
            let renewed = list.returned.range(stamp.saturating_add(1)..).rev();
            renewed.take(most).for_each(|(&stamp, &slot)| each(slot, stamp));
        }
    }

    /// Makes a slot the newest of its class.
    pub(super) fn renew(&mut self, slot: u32) -> bool {
        let place = self.node(slot).place;
        match place {
            Place::Absent => return false,
            Place::Listed => self.unlink(slot),
            Place::Returned => self.leave_tree(slot),
            Place::Aside => {}
        }
        let stamp = self.next_stamp();
        self.update(slot, |node| node.stamp = stamp);
        if place != Place::Aside {
            self.link_newest(slot);
        }
        true
    }

    pub(super) fn remove(&mut self, slot: u32) -> bool {
        match self.node(slot).place {
            Place::Absent => return false,
            Place::Listed => self.unlink(slot),
            Place::Returned => self.leave_tree(slot),
            Place::Aside => self.pinned_count -= 1,
        }
        self.guarded_count -= u32::from(self.node(slot).guarded);
        self.put(slot, Node::ABSENT);
        self.count -= 1;
        true
    }

    // r[impl policy.pin]
    pub(super) fn pin(&mut self, slot: u32) -> bool {
        match self.node(slot).place {
            Place::Absent | Place::Aside => return false,
            Place::Listed => self.unlink(slot),
            Place::Returned => self.leave_tree(slot),
        }
        self.update(slot, |node| node.place = Place::Aside);
        self.pinned_count += 1;
        true
    }

    // r[impl policy.unpin]
    pub(super) fn unpin(&mut self, slot: u32) -> bool {
        let node = self.node(slot);
        if node.place != Place::Aside {
            return false;
        }
        self.pinned_count -= 1;
        let newest = self.lists.get(node.list()).map_or(NONE, |list| list.newest);
        if newest == NONE || self.node(newest).stamp < node.stamp {
            self.link_newest(slot);
        } else {
            self.update(slot, |node| node.place = Place::Returned);
            if let Some(list) = self.lists.get_mut(node.list()) {
                list.returned.insert(node.stamp, slot);
            }
        }
        true
    }

    /// The oldest slot that is not pinned, of one class or of all.
    // r[impl policy.victim]
    pub(super) fn oldest(&self, class: Option<u16>) -> Option<u32> {
        let lists = match class {
            Some(class) => self.lists.get(2 * usize::from(class)..2 * usize::from(class) + 2)?,
            None => &self.lists,
        };
        let is_open = |(number, _): &(usize, &List)| !(self.guard_is_up && number % 2 == 1);
        let open = lists.iter().enumerate().filter(is_open);
        open.filter_map(|(_, list)| self.oldest_of(list)).min().map(|(_, slot)| slot)
    }

    /// The oldest of these slots that is held and not pinned.
    pub(super) fn oldest_among(&self, slots: &[u32]) -> Option<u32> {
        let nodes = slots.iter().map(|&slot| (slot, self.node(slot)));
        nodes
            .filter(|(_, node)| matches!(node.place, Place::Listed | Place::Returned))
            .filter(|(_, node)| !(self.guard_is_up && node.guarded))
            .min_by_key(|(_, node)| node.stamp)
            .map(|(slot, _)| slot)
    }

    pub(super) fn holds(&self, slot: u32) -> bool {
        self.node(slot).place != Place::Absent
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn pinned_count(&self) -> u32 {
        self.pinned_count
    }

    /// Walks everything. Bounded by the number of slots: a loop would repeat a stamp.
    pub(super) fn audit(&self) -> Result<(), OrderFault> {
        let mut found = 0;
        for (number, list) in self.lists.iter().enumerate() {
            found += self.audit_list(number, list)?;
            found += self.audit_tree(number, list)?;
        }
        let aside = self.nodes.iter().filter(|node| node.place == Place::Aside).count();
        let pinned_found = u32::try_from(aside).unwrap_or(u32::MAX);
        let found = found + pinned_found;
        let guarded = self.nodes.iter().filter(|node| node.guarded).count();
        if found != self.count
            || pinned_found != self.pinned_count
            || guarded != self.guarded_count as usize
        {
            let (count, pinned_count) = (self.count, self.pinned_count);
            return Err(OrderFault::Count { found, pinned_found, count, pinned_count });
        }
        Ok(())
    }

    fn audit_list(&self, number: usize, list: &List) -> Result<u32, OrderFault> {
        let (mut found, mut limit) = (0, self.stamp + 1);
        let (mut newer, mut slot) = (NONE, list.newest);
        while slot != NONE {
            let node = self.node(slot);
            if node.place != Place::Listed || node.list() != number {
                return Err(OrderFault::Misplaced { slot, class: class_of(number) });
            }
            if node.newer != newer {
                return Err(OrderFault::Link { slot, found: node.newer, expected: newer });
            }
            if node.stamp >= limit {
                return Err(OrderFault::Stamp { slot, stamp: node.stamp, limit });
            }
            limit = node.stamp;
            (newer, slot) = (slot, node.older);
            found += 1;
        }
        if list.oldest != newer {
            return Err(OrderFault::Link { slot: NONE, found: list.oldest, expected: newer });
        }
        Ok(found)
    }

    fn audit_tree(&self, number: usize, list: &List) -> Result<u32, OrderFault> {
        let mut found = 0;
        for (&stamp, &slot) in &list.returned {
            let node = self.node(slot);
            if node.place != Place::Returned || node.list() != number {
                return Err(OrderFault::Misplaced { slot, class: class_of(number) });
            }
            if node.stamp != stamp {
                return Err(OrderFault::Stamp { slot, stamp: node.stamp, limit: stamp + 1 });
            }
            found += 1;
        }
        Ok(found)
    }

    /// Stamp and slot of a list's oldest.
    fn oldest_of(&self, list: &List) -> Option<(u64, u32)> {
        let returned = list.returned.first_key_value().map(|(&stamp, &slot)| (stamp, slot));
        let listed = Some(list.oldest).filter(|&slot| slot != NONE);
        let listed = listed.map(|slot| (self.node(slot).stamp, slot));
        listed.into_iter().chain(returned).min()
    }

    fn make_room_for(&mut self, slot: u32, class: u16) {
        let nodes = slot as usize + 1;
        if self.nodes.len() < nodes {
            self.nodes.resize(nodes, Node::ABSENT);
        }
        let lists = 2 * (usize::from(class) + 1);
        if self.lists.len() < lists {
            self.lists.resize_with(lists, List::default);
        }
    }

    /// A u64 that counts uses does not run out: at one a nanosecond it lasts for 584 years.
    fn next_stamp(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp
    }

    fn link_newest(&mut self, slot: u32) {
        let list = self.node(slot).list();
        let Some(list) = self.lists.get_mut(list) else { return };
        let older = std::mem::replace(&mut list.newest, slot);
        if older == NONE {
            list.oldest = slot;
        }
        self.update(older, |node| node.newer = slot);
        self.update(slot, |node| {
            node.newer = NONE;
            node.older = older;
            node.place = Place::Listed;
        });
    }

    fn unlink(&mut self, slot: u32) {
        let node = self.node(slot);
        let Node { newer, older, .. } = node;
        if let Some(list) = self.lists.get_mut(node.list()) {
            if newer == NONE {
                list.newest = older;
            }
            if older == NONE {
                list.oldest = newer;
            }
        }
        self.update(newer, |node| node.older = older);
        self.update(older, |node| node.newer = newer);
    }

    fn leave_tree(&mut self, slot: u32) {
        let node = self.node(slot);
        if let Some(list) = self.lists.get_mut(node.list()) {
            list.returned.remove(&node.stamp);
        }
    }

    fn node(&self, slot: u32) -> Node {
        self.nodes.get(slot as usize).copied().unwrap_or(Node::ABSENT)
    }

    fn put(&mut self, slot: u32, node: Node) {
        self.update(slot, |place| *place = node);
    }

    /// Changes a slot's node. [`NONE`] has none: the missing neighbour at either end of a list.
    fn update(&mut self, slot: u32, change: impl FnOnce(&mut Node)) {
        if slot != NONE
            && let Some(node) = self.nodes.get_mut(slot as usize)
        {
            change(node);
        }
    }
}

/// The class of a list.
fn class_of(list: usize) -> u16 {
    u16::try_from(list / 2).unwrap_or(u16::MAX)
}
