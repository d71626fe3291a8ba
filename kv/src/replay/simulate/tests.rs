use std::path::PathBuf;

use super::{Outcome, simulate_private, simulate_shared};
use crate::policy::PolicyKind;
use crate::replay::generator::{self, GeneratorOptions};
use crate::replay::trace::Trace;

/// Names a file with the published conversation trace; without it the tests that need it say so and
/// do their part on generated conversations.
const TRACE_VARIABLE: &str = "ONECOPY_TRACE";

fn conversation_trace() -> Option<Trace> {
    let path = std::env::var_os(TRACE_VARIABLE).map(PathBuf::from)?;
    let trace = Trace::read(&path).unwrap();
    assert_eq!(trace.request_count(), 12_031);
    assert_eq!(trace.reference_count(), 288_500);
    assert_eq!(trace.distinct_count(), 182_790);
    Some(trace)
}

/// A cache as one writes it when time does not matter.
struct Naive {
    kind: PolicyKind,
    capacity_blocks: usize,
    /// From the next victim on.
    blocks: Vec<u64>,
}

impl Naive {
    fn use_block(&mut self, block: u64) {
        let Some(at) = self.blocks.iter().position(|&held| held == block) else { return };
        if self.kind == PolicyKind::Lru {
            let block = self.blocks.remove(at);
            self.blocks.push(block);
        }
    }

    fn request(&mut self, block_ids: &[u64]) -> u64 {
        let hits = block_ids.iter().take_while(|block| self.blocks.contains(block)).count();
        for &block in &block_ids[..hits] {
            self.use_block(block);
        }
        for &block in &block_ids[hits..] {
            if self.blocks.contains(&block) {
                self.use_block(block);
                continue;
            }
            self.blocks.push(block);
            if self.blocks.len() > self.capacity_blocks {
                self.blocks.remove(0);
            }
        }
        hits as u64
    }
}

fn naive(trace: &Trace, kind: PolicyKind, capacity_blocks: usize) -> Outcome {
    let mut cache = Naive { kind, capacity_blocks, blocks: Vec::new() };
    let mut outcome = Outcome::default();
    for request in trace.requests() {
        outcome.requests += 1;
        outcome.references += request.block_ids.len() as u64;
        outcome.hits += cache.request(request.block_ids);
    }
    outcome
}

// r[verify replay.request]
#[test]
fn the_simulation_does_as_the_naive_cache() {
    let options = GeneratorOptions { conversations: 60, ..GeneratorOptions::default() };
    let trace = generator::generate(&options).unwrap();
    for kind in PolicyKind::ALL {
        for capacity_blocks in [0, 1, 2, 30, 100, 500, 100_000] {
            let simulated = simulate_shared(&trace, kind, capacity_blocks);
            assert_eq!(simulated, naive(&trace, kind, capacity_blocks as usize), "{kind}");
        }
    }
}

// r[verify replay.request]
#[test]
fn the_published_trace_gives_the_published_figures() {
    const LRU: [(u32, f64); 7] = [
        (1_000, 4.45),
        (5_000, 11.04),
        (10_000, 21.12),
        (20_000, 28.75),
        (30_000, 32.57),
        (50_000, 35.46),
        (u32::MAX, 36.64),
    ];
    const FIFO: [(u32, f64); 7] = [
        (1_000, 4.34),
        (5_000, 10.53),
        (10_000, 18.15),
        (20_000, 25.77),
        (30_000, 29.44),
        (50_000, 33.35),
        (u32::MAX, 36.64),
    ];
    let Some(trace) = conversation_trace() else {
        println!("{TRACE_VARIABLE} is not set: the figures of the trace were not checked");
        return;
    };
    for (kind, figures) in [(PolicyKind::Lru, LRU), (PolicyKind::Fifo, FIFO)] {
        for (capacity_blocks, expected) in figures {
            let found = simulate_shared(&trace, kind, capacity_blocks).hit_rate_percent();
            println!("{kind} {capacity_blocks}: {found:.3}");
            assert_eq!(format!("{found:.2}"), format!("{expected:.2}"), "{kind} {capacity_blocks}");
        }
    }
}

// r[verify replay.private]
#[test]
fn private_caches_of_the_published_trace_give_the_published_figures() {
    let Some(trace) = conversation_trace() else {
        println!("{TRACE_VARIABLE} is not set: the figures of the trace were not checked");
        return;
    };
    let private = simulate_private(&trace, PolicyKind::Lru, 10_000, 4).hit_rate_percent();
    let shared = simulate_shared(&trace, PolicyKind::Lru, 40_000).hit_rate_percent();
    println!("4 private caches of 10,000: {private:.3}; one shared of 40,000: {shared:.3}");
    assert_eq!(format!("{private:.2}"), "15.86");
    assert_eq!(format!("{shared:.2}"), "35.14");
}

// r[verify replay.private]
#[test]
fn requests_are_dealt_round_robin() {
    let options = GeneratorOptions { conversations: 20, ..GeneratorOptions::default() };
    let trace = generator::generate(&options).unwrap();
    let mut expected = Outcome::default();
    for worker in 0..3 {
        let mut cache = Naive { kind: PolicyKind::Lru, capacity_blocks: 200, blocks: Vec::new() };
        for request in trace.requests().skip(worker).step_by(3) {
            expected.requests += 1;
            expected.references += request.block_ids.len() as u64;
            expected.hits += cache.request(request.block_ids);
        }
    }
    assert_eq!(simulate_private(&trace, PolicyKind::Lru, 200, 3), expected);
    assert_eq!(simulate_private(&trace, PolicyKind::Lru, 200, 0), Outcome::default());
}
