//! The fuzz targets on what is in the repository: the seed corpus, and bytes made from fixed seeds.
//! The fuzzer itself (`fuzz/`) goes on from there.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use onecopy_tests::fuzz;
use onecopy_tests::harness::Random;
use onecopy_tests::tree;

/// Runs the corpus of a target and `made` inputs of random length.
fn replay(target: &str, run: fn(&[u8]), made: u64) {
    let corpus = tree::root().join("fuzz/corpus").join(target);
    let mut seeds = 0;
    for entry in std::fs::read_dir(&corpus).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        run(&std::fs::read(path).unwrap());
        seeds += 1;
    }
    assert!(seeds > 0, "no seeds in {}", corpus.display());
    for seed in 0..made {
        println!("seed {seed}");
        run(&made_bytes(seed));
    }
}

fn made_bytes(seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let bits = 1 + random.below(10);
    let length = random.below(1 << bits);
    (0..length).map(|_| random.below(256) as u8).collect()
}

#[test]
fn frames_and_records() {
    replay("frames", fuzz::frames::run, 5000);
}

#[test]
fn a_host_among_hostile_guests() {
    replay("host", fuzz::host::run, 200);
}

#[test]
fn a_segment_that_was_damaged() {
    replay("control", fuzz::control::run, 200);
}
