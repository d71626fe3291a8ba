//! Which blocks are got, in which order: at random, drawn before the clock runs.

use crate::content::{Content, Name};

/// Drawn at most; of more blocks than that a part is looked at, spread over all.
const PICKS_MAX: u64 = 1 << 20;

/// One block to be got.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pick {
    pub(crate) content: Content,
    pub(crate) name: Name,
}

impl Pick {
    pub(crate) fn new(size_bytes: u64, number: u64) -> Pick {
        let content = Content::new(size_bytes, number);
        Pick { content, name: content.name() }
    }
}

/// The order of blocks of one size, gone through in a circle.
#[derive(Debug)]
pub(crate) struct Picks {
    picks: Vec<Pick>,
    position: usize,
}

impl Picks {
    /// Every block once if there are not too many, at random either way. `seed` makes guests differ.
    pub(crate) fn shuffled(size_bytes: u64, blocks: u64, seed: u64) -> Picks {
        let mut random = Random::new(seed);
        let mut picks: Vec<Pick> = if blocks <= PICKS_MAX {
            (0..blocks).map(|number| Pick::new(size_bytes, number)).collect()
        } else {
            (0..PICKS_MAX).map(|_| Pick::new(size_bytes, random.below(blocks))).collect()
        };
        for index in (1..picks.len()).rev() {
            picks.swap(index, random.below(index as u64 + 1) as usize);
        }
        Picks { picks, position: 0 }
    }

    /// Runs of `run` blocks with numbers one after the other, each run at random.
    pub(crate) fn runs(size_bytes: u64, blocks: u64, run: u64, seed: u64) -> Picks {
        let mut random = Random::new(seed);
        let starts = (blocks / run).clamp(1, PICKS_MAX / run);
        let picks = (0..starts)
            .flat_map(|_| {
                let start = random.below(blocks / run) * run;
                (start..start + run).map(|number| Pick::new(size_bytes, number))
            })
            .collect();
        Picks { picks, position: 0 }
    }

    /// The next `count` of them, or fewer if there are fewer.
    pub(crate) fn next(&mut self, count: usize) -> &[Pick] {
        let count = count.min(self.picks.len());
        if self.position + count > self.picks.len() {
            self.position = 0;
        }
        let start = self.position;
        self.position += count;
        &self.picks[start..start + count]
    }
}

/// Xorshift: the order need be no better than irregular, and the same in each run.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// From 0 to one less than `end`, which is not 0.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0) * u128::from(end)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(picks: &[Pick]) -> Vec<u64> {
        picks.iter().map(|pick| pick.content.number).collect()
    }

    #[test]
    fn every_block_is_picked_once_in_a_circle() {
        let mut picks = Picks::shuffled(64, 100, 1);
        let first = numbers(picks.next(100));
        assert_ne!(first, (0..100).collect::<Vec<_>>());
        assert_eq!(numbers(picks.next(100)), first);
        let mut sorted = first;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_batch_is_never_cut_at_the_end() {
        let mut picks = Picks::shuffled(64, 10, 1);
        for _ in 0..9 {
            assert_eq!(picks.next(4).len(), 4);
        }
        assert_eq!(picks.next(20).len(), 10);
    }

    #[test]
    fn runs_have_numbers_one_after_the_other() {
        let mut picks = Picks::runs(64, 100, 8, 3);
        for _ in 0..20 {
            let run = numbers(picks.next(8));
            assert!(run.windows(2).all(|pair| pair[1] == pair[0] + 1), "{run:?}");
            assert!(run[7] < 100);
        }
    }
}
