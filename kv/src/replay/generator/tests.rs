use std::collections::{HashMap, HashSet};

use super::{GeneratorError, GeneratorOptions, generate};
use crate::policy::PolicyKind;
use crate::replay::simulate::{simulate_private, simulate_shared};

// r[verify replay.generator]
#[test]
fn the_same_seed_gives_the_same_trace() {
    let options = GeneratorOptions { conversations: 40, ..GeneratorOptions::default() };
    let trace = generate(&options).unwrap();
    assert_eq!(generate(&options).unwrap(), trace);
    let other = GeneratorOptions { seed: 2, ..options };
    assert_ne!(generate(&other).unwrap(), trace);
    // Pinned, so that a change of the generator does not go unseen.
    let first = trace.request(0).unwrap();
    assert_eq!((first.input_tokens, first.block_ids[0]), (FIRST_TOKENS, FIRST_BLOCK));
}

const FIRST_TOKENS: u32 = 2_875;
const FIRST_BLOCK: u64 = 3_474_659_753_338_079_219;

// r[verify replay.generator]
#[test]
fn equal_ids_mean_equal_prefixes_and_conversations_share_them() {
    let trace = generate(&GeneratorOptions::default()).unwrap();
    let mut before: HashMap<u64, Option<u64>> = HashMap::new();
    let mut first_blocks = HashSet::new();
    let mut last_ms = 0;
    for request in trace.requests() {
        assert!(request.timestamp_ms >= last_ms);
        last_ms = request.timestamp_ms;
        first_blocks.insert(request.block_ids[0]);
        let mut prefix = None;
        for &block in request.block_ids {
            assert_eq!(*before.entry(block).or_insert(prefix), prefix);
            prefix = Some(block);
        }
    }
    // Every conversation begins with one of six system prompts.
    assert_eq!(first_blocks.len(), 6);
    assert!(trace.distinct_count() * 2 < trace.reference_count());
}

// r[verify replay.generator]
#[test]
fn sharing_pays_for_the_default_conversations() {
    let trace = generate(&GeneratorOptions::default()).unwrap();
    let capacity = GeneratorOptions::CAPACITY_BLOCKS;
    let rate = |outcome: crate::replay::simulate::Outcome| outcome.hit_rate_percent();
    let shared = rate(simulate_shared(&trace, PolicyKind::Lru, capacity));
    let private = rate(simulate_private(&trace, PolicyKind::Lru, capacity / 4, 4));
    let unbounded = rate(simulate_shared(&trace, PolicyKind::Lru, u32::MAX));
    println!(
        "{} requests, {} references, {} blocks: one shared cache of {capacity} blocks {shared:.2} %, \
         four private ones of {} {private:.2} %, unbounded {unbounded:.2} %",
        trace.request_count(),
        trace.reference_count(),
        trace.distinct_count(),
        capacity / 4,
    );
    assert!(shared > 1.5 * private, "{shared} {private}");
}

// r[verify replay.generator]
#[test]
fn options_that_contradict_themselves_are_refused() {
    let good = GeneratorOptions::default;
    let name = |options: GeneratorOptions| match generate(&options) {
        Err(GeneratorError::Range { name, .. }) => name,
        other => panic!("{other:?}"),
    };
    assert_eq!(name(GeneratorOptions { active: 0, ..good() }), "active");
    assert_eq!(name(GeneratorOptions { system_prompts: 0, ..good() }), "system_prompts");
    assert_eq!(name(GeneratorOptions { turns: 0..=3, ..good() }), "turns");
    #[expect(clippy::reversed_empty_ranges, reason = "the mistake that is to be found")]
    let turns = 4..=3;
    assert_eq!(name(GeneratorOptions { turns, ..good() }), "turns");
    let all = u32::MAX..=u32::MAX;
    let long = generate(&GeneratorOptions { system_tokens: all, ..good() });
    assert!(matches!(long, Err(GeneratorError::TooLong { .. })), "{long:?}");
    let none = generate(&GeneratorOptions { conversations: 0, ..good() }).unwrap();
    assert_eq!(none.request_count(), 0);
}
