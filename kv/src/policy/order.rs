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
}

impl Node {
    const ABSENT: Node =
        Node { stamp: 0, newer: NONE, older: NONE, class: 0, place: Place::Absent };
}

#[derive(Debug, Default)]
struct Class {
    newest: u32,
    oldest: u32,
    returned: BTreeMap<u64, u32>,
}

/// Slots in order of time.
#[derive(Debug)]
pub(super) struct Order {
    slots_max: u32,
    nodes: Vec<Node>,
    classes: Vec<Class>,
    stamp: u64,
    count: u32,
    pinned_count: u32,
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
            classes: Vec::new(),
            stamp: 0,
            count: 0,
            pinned_count: 0,
        }
    }

    /// Takes a slot in as the newest of its class.
    pub(super) fn insert(&mut self, slot: u32, class: u16) -> bool {
        if slot == NONE || slot > self.slots_max || self.holds(slot) {
            return false;
        }
        self.make_room_for(slot, class);
        let stamp = self.next_stamp();
        self.put(slot, Node { stamp, class, ..Node::ABSENT });
        self.link_newest(slot);
        self.count += 1;
        true
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
        let newest = self.class(node.class).map_or(NONE, |class| class.newest);
        if newest == NONE || self.node(newest).stamp < node.stamp {
            self.link_newest(slot);
        } else {
            self.update(slot, |node| node.place = Place::Returned);
            if let Some(class) = self.classes.get_mut(usize::from(node.class)) {
                class.returned.insert(node.stamp, slot);
            }
        }
        true
    }

    /// The oldest slot that is not pinned, of one class or of all.
    // r[impl policy.victim]
    pub(super) fn oldest(&self, class: Option<u16>) -> Option<u32> {
        match class {
            Some(class) => self.oldest_of(self.class(class)?).map(|(_, slot)| slot),
            None => {
                self.classes.iter().filter_map(|class| self.oldest_of(class)).min().map(|(_, s)| s)
            }
        }
    }

    /// The oldest of these slots that is held and not pinned.
    pub(super) fn oldest_among(&self, slots: &[u32]) -> Option<u32> {
        let nodes = slots.iter().map(|&slot| (slot, self.node(slot)));
        nodes
            .filter(|(_, node)| matches!(node.place, Place::Listed | Place::Returned))
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
        for (number, class) in (0u16..).zip(&self.classes) {
            found += self.audit_list(number, class)?;
            found += self.audit_tree(number, class)?;
        }
        let aside = self.nodes.iter().filter(|node| node.place == Place::Aside).count();
        let pinned_found = u32::try_from(aside).unwrap_or(u32::MAX);
        let found = found + pinned_found;
        if found != self.count || pinned_found != self.pinned_count {
            let (count, pinned_count) = (self.count, self.pinned_count);
            return Err(OrderFault::Count { found, pinned_found, count, pinned_count });
        }
        Ok(())
    }

    fn audit_list(&self, number: u16, class: &Class) -> Result<u32, OrderFault> {
        let (mut found, mut limit) = (0, self.stamp + 1);
        let (mut newer, mut slot) = (NONE, class.newest);
        while slot != NONE {
            let node = self.node(slot);
            if node.place != Place::Listed || node.class != number {
                return Err(OrderFault::Misplaced { slot, class: number });
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
        if class.oldest != newer {
            return Err(OrderFault::Link { slot: NONE, found: class.oldest, expected: newer });
        }
        Ok(found)
    }

    fn audit_tree(&self, number: u16, class: &Class) -> Result<u32, OrderFault> {
        let mut found = 0;
        for (&stamp, &slot) in &class.returned {
            let node = self.node(slot);
            if node.place != Place::Returned || node.class != number {
                return Err(OrderFault::Misplaced { slot, class: number });
            }
            if node.stamp != stamp {
                return Err(OrderFault::Stamp { slot, stamp: node.stamp, limit: stamp + 1 });
            }
            found += 1;
        }
        Ok(found)
    }

    /// Stamp and slot of a class's oldest.
    fn oldest_of(&self, class: &Class) -> Option<(u64, u32)> {
        let returned = class.returned.first_key_value().map(|(&stamp, &slot)| (stamp, slot));
        let listed = Some(class.oldest).filter(|&slot| slot != NONE);
        let listed = listed.map(|slot| (self.node(slot).stamp, slot));
        listed.into_iter().chain(returned).min()
    }

    fn make_room_for(&mut self, slot: u32, class: u16) {
        let nodes = slot as usize + 1;
        if self.nodes.len() < nodes {
            self.nodes.resize(nodes, Node::ABSENT);
        }
        let classes = usize::from(class) + 1;
        if self.classes.len() < classes {
            self.classes.resize_with(classes, Class::default);
        }
    }

    /// A u64 that counts uses does not run out: at one a nanosecond it lasts for 584 years.
    fn next_stamp(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp
    }

    fn link_newest(&mut self, slot: u32) {
        let class = self.node(slot).class;
        let Some(class) = self.classes.get_mut(usize::from(class)) else { return };
        let older = std::mem::replace(&mut class.newest, slot);
        if older == NONE {
            class.oldest = slot;
        }
        self.update(older, |node| node.newer = slot);
        self.update(slot, |node| {
            node.newer = NONE;
            node.older = older;
            node.place = Place::Listed;
        });
    }

    fn unlink(&mut self, slot: u32) {
        let Node { newer, older, class, .. } = self.node(slot);
        if let Some(class) = self.classes.get_mut(usize::from(class)) {
            if newer == NONE {
                class.newest = older;
            }
            if older == NONE {
                class.oldest = newer;
            }
        }
        self.update(newer, |node| node.older = older);
        self.update(older, |node| node.newer = newer);
    }

    fn leave_tree(&mut self, slot: u32) {
        let Node { stamp, class, .. } = self.node(slot);
        if let Some(class) = self.classes.get_mut(usize::from(class)) {
            class.returned.remove(&stamp);
        }
    }

    fn class(&self, class: u16) -> Option<&Class> {
        self.classes.get(usize::from(class))
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
