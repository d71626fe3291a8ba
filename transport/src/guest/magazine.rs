//! The stock of granted free slots, one magazine per size class: reserving is a local pop.

use crate::pool::ClassIndex;
use onecopy_shm::SlotRef;

/// A slot that the host granted to this attach. Having one means that nobody else in this process
/// has it: it moves from the frame that brought it to a magazine, a reservation or an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GrantedSlot {
    pub(super) slot: SlotRef,
    /// Where it lies in the pool, in bytes; checked when it came.
    pub(super) offset: u64,
    /// Its size, in bytes.
    pub(super) slot_bytes: u64,
    pub(super) class: ClassIndex,
}

/// Most slot references in one frame that gives back.
pub(super) const GIVE_BACK_MAX: usize = 64;

/// Bounds of each magazine of a guest. They should not be less than what the host keeps a guest
/// supplied with, or slots travel to and fro.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Most slots.
    pub(super) slots_max: u32,
    /// Most bytes, if that is more than one slot.
    pub(super) bytes_max: u64,
}

/// The magazines of one attach.
#[derive(Debug)]
pub(super) struct Magazines {
    stocks: Vec<Stock>,
    /// The last class that got too many slots, to be given back.
    surplus: Option<ClassIndex>,
}

#[derive(Debug)]
struct Stock {
    slots: Vec<GrantedSlot>,
    slots_max: usize,
}

impl Magazines {
    /// Empty magazines for these size classes.
    pub(super) fn new(classes: &[u64], bounds: Bounds) -> Magazines {
        let stock = |&slot_bytes: &u64| {
            let fitting = bounds.bytes_max / slot_bytes.max(1);
            let slots_max = fitting.min(u64::from(bounds.slots_max)).max(1) as usize;
            Stock { slots: Vec::new(), slots_max }
        };
        Magazines { stocks: classes.iter().map(stock).collect(), surplus: None }
    }

    /// Takes a slot of a class out of stock.
    // r[impl guest.magazine.local]
    #[inline]
    pub(super) fn pop(&mut self, class: ClassIndex) -> Option<GrantedSlot> {
        self.stocks.get_mut(usize::from(class))?.slots.pop()
    }

    /// Whether a slot of a class is in stock.
    pub(super) fn has(&self, class: ClassIndex) -> bool {
        self.stocks.get(usize::from(class)).is_some_and(|stock| !stock.slots.is_empty())
    }

    /// Puts a slot into stock.
    #[inline]
    pub(super) fn push(&mut self, granted: GrantedSlot) {
        let Some(stock) = self.stocks.get_mut(usize::from(granted.class)) else { return };
        stock.slots.push(granted);
        if stock.slots.len() > stock.slots_max {
            self.surplus = Some(granted.class);
        }
    }

    /// How many slots to ask for when the stock of a class has run out and `wanted` are needed.
    pub(super) fn refill_count(&self, class: ClassIndex, wanted: u64) -> u64 {
        let stock = self.stocks.get(usize::from(class));
        wanted.max(stock.map_or(0, |stock| stock.slots_max as u64 / 2))
    }

    /// Whether some magazine is over its bound.
    pub(super) fn has_surplus(&self) -> bool {
        self.surplus.is_some()
    }

    /// Whether anything at all is in stock.
    pub(super) fn is_empty(&self) -> bool {
        self.stocks.iter().all(|stock| stock.slots.is_empty())
    }

    /// Forgets everything: it is in no stock any more.
    pub(super) fn clear(&mut self) {
        self.surplus = None;
        self.stocks.iter_mut().for_each(|stock| stock.slots.clear());
    }

    /// Moves slots of any class into `target`; returns how many.
    pub(super) fn take_any(&mut self, target: &mut [u64]) -> usize {
        self.surplus = None;
        let slots =
            self.stocks.iter_mut().flat_map(|stock| std::iter::from_fn(|| stock.slots.pop()));
        target.iter_mut().zip(slots).map(|(word, granted)| *word = granted.slot.to_u64()).count()
    }

    /// Moves what is over a magazine's bound, down to half of it, into `target`; returns how many.
    // r[impl guest.magazine.bounded]
    pub(super) fn take_surplus(&mut self, target: &mut [u64]) -> usize {
        let Some(class) = self.surplus.take() else { return 0 };
        let Some(stock) = self.stocks.get_mut(usize::from(class)) else { return 0 };
        // Never the one that somebody waits for.
        let keep = (stock.slots_max / 2).max(1);
        let mut count = 0;
        while count < target.len() && stock.slots.len() > keep {
            let Some(granted) = stock.slots.pop() else { break };
            target[count] = granted.slot.to_u64();
            count += 1;
        }
        if stock.slots.len() > stock.slots_max {
            self.surplus = Some(class);
        }
        count
    }
}

#[cfg(test)]
mod tests;
