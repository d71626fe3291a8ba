//! What a replay should give: the same requests through the same policy, without the memory.
//!
//! A request's blocks are looked up in order up to the first miss; the hits are touched in that
//! order; then every other block of the request is stored in order, and a store of a block that is
//! there already counts as a touch of it.

use std::collections::HashMap;

use super::trace::Trace;
use crate::policy::{Policy, PolicyKind};

#[cfg(test)]
mod tests;

/// What came of the requests so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Requests done.
    pub requests: u64,
    /// Block references of these requests.
    pub references: u64,
    /// References that were found: those before a request's first miss.
    pub hits: u64,
}

impl Outcome {
    /// Hits of all references, in percent; 0 when there were none.
    pub fn hit_rate_percent(self) -> f64 {
        if self.references == 0 {
            return 0.0;
        }
        100.0 * self.hits as f64 / self.references as f64
    }
}

/// One cache of bounded capacity in front of which requests are played.
pub struct Simulation {
    policy: Box<dyn Policy>,
    capacity_blocks: u32,
    slot_of: HashMap<u64, u32>,
    block_of: Vec<u64>,
    outcome: Outcome,
}

impl Simulation {
    /// An empty cache for `capacity_blocks` blocks. `u32::MAX` is as good as unbounded.
    pub fn new(kind: PolicyKind, capacity_blocks: u32) -> Simulation {
        Simulation {
            policy: kind.build(capacity_blocks),
            capacity_blocks,
            slot_of: HashMap::new(),
            block_of: Vec::new(),
            outcome: Outcome::default(),
        }
    }

    /// Plays one request: looks its blocks up and stores those behind the first miss.
    // r[impl replay.request]
    pub fn request(&mut self, block_ids: &[u64]) {
        let found = block_ids.iter().map_while(|block| self.slot_of.get(block).copied());
        let hits: Vec<u32> = found.collect();
        for &slot in &hits {
            self.policy.touch(slot);
        }
        for &block in block_ids.iter().skip(hits.len()) {
            self.store(block);
        }
        self.outcome.requests += 1;
        self.outcome.references += block_ids.len() as u64;
        self.outcome.hits += hits.len() as u64;
    }

    /// What came of the requests so far.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    fn store(&mut self, block: u64) {
        if let Some(&slot) = self.slot_of.get(&block) {
            self.policy.touch(slot);
            return;
        }
        let Some(slot) = self.free_slot() else { return };
        self.slot_of.insert(block, slot);
        if let Some(place) = self.block_of.get_mut(slot as usize - 1) {
            *place = block;
        }
        self.policy.insert(slot, 0);
    }

    /// A slot that holds nothing: a new one while there is capacity, then the victim's. `None` only
    /// where the capacity is 0.
    fn free_slot(&mut self) -> Option<u32> {
        if self.policy.count() < self.capacity_blocks {
            self.block_of.push(0);
            return Some(self.policy.count() + 1);
        }
        let victim = self.policy.victim(None)?;
        self.policy.remove(victim);
        self.slot_of.remove(self.block_of.get(victim as usize - 1)?);
        Some(victim)
    }
}

/// Plays a trace through one cache that all requests share.
pub fn simulate_shared(trace: &Trace, kind: PolicyKind, capacity_blocks: u32) -> Outcome {
    simulate_private(trace, kind, capacity_blocks, 1)
}

/// Plays a trace through so many caches of `capacity_blocks` each, requests dealt round robin: what
/// as many processes would reach without sharing.
// r[impl replay.private]
pub fn simulate_private(
    trace: &Trace,
    kind: PolicyKind,
    capacity_blocks: u32,
    caches: usize,
) -> Outcome {
    let mut caches: Vec<_> = (0..caches).map(|_| Simulation::new(kind, capacity_blocks)).collect();
    let count = caches.len().max(1);
    for (number, request) in trace.requests().enumerate() {
        if let Some(cache) = caches.get_mut(number % count) {
            cache.request(request.block_ids);
        }
    }
    caches.iter().map(Simulation::outcome).fold(Outcome::default(), |total, part| Outcome {
        requests: total.requests + part.requests,
        references: total.references + part.references,
        hits: total.hits + part.hits,
    })
}
