//! Least recently used and first in, first out, both exact: the oldest block goes first, and the two
//! differ in whether use makes a block young again.

use super::order::Order;
use super::{OrderFault, Policy, PolicyKind};

/// The oldest block is the victim. Exact: no sampling, no second chance.
#[derive(Debug)]
pub(super) struct ByAge {
    kind: PolicyKind,
    order: Order,
}

impl ByAge {
    /// An empty policy of this kind for slot ids from 1 to `slots_max`.
    pub(super) fn new(kind: PolicyKind, slots_max: u32) -> ByAge {
        ByAge { kind, order: Order::new(slots_max) }
    }
}

impl Policy for ByAge {
    fn kind(&self) -> PolicyKind {
        self.kind
    }

    fn insert(&mut self, slot: u32, class: u16) -> bool {
        self.order.insert(slot, class)
    }

    fn restore(&mut self, slot: u32, class: u16, stamp: u64) -> bool {
        self.order.restore(slot, class, stamp)
    }

    fn guard(&mut self, up: bool) {
        self.order.guard(up);
    }

    fn is_guarded(&self, slot: u32) -> bool {
        self.order.is_guarded(slot)
    }

    fn guarded_count(&self) -> u32 {
        self.order.guarded_count()
    }

    fn stamp(&self) -> u64 {
        self.order.stamp()
    }

    fn renewed_since(&self, stamp: u64, most: usize, each: &mut dyn FnMut(u32, u64)) {
        self.order.renewed_since(stamp, most, each);
    }

    // r[impl policy.lru]
    // r[impl policy.fifo]
    fn touch(&mut self, slot: u32) -> bool {
        match self.kind {
            PolicyKind::Lru => self.order.renew(slot),
            PolicyKind::Fifo => self.order.holds(slot),
        }
    }

    fn remove(&mut self, slot: u32) -> bool {
        self.order.remove(slot)
    }

    fn pin(&mut self, slot: u32) -> bool {
        self.order.pin(slot)
    }

    fn unpin(&mut self, slot: u32) -> bool {
        self.order.unpin(slot)
    }

    fn victim(&self, class: Option<u16>) -> Option<u32> {
        self.order.oldest(class)
    }

    fn victim_among(&self, slots: &[u32]) -> Option<u32> {
        self.order.oldest_among(slots)
    }

    fn holds(&self, slot: u32) -> bool {
        self.order.holds(slot)
    }

    fn count(&self) -> u32 {
        self.order.count()
    }

    fn pinned_count(&self) -> u32 {
        self.order.pinned_count()
    }

    fn audit(&self) -> Result<(), OrderFault> {
        self.order.audit()
    }
}
