//! What one line of memory costs when it is not known before the last has come.

use std::hint::black_box;
use std::time::Duration;

use crate::clock::now_ns;

/// Lines at most: more than any cache holds, and not more memory than there is.
const LINES_MAX: u64 = 1 << 24;
/// Lines between two looks at the clock.
const BETWEEN: u32 = 1024;

/// A line of memory that says which is next.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Line {
    next: u32,
}

/// As many lines as there are blocks, in one circle at random.
#[derive(Debug)]
pub(super) struct Chase {
    lines: Vec<Line>,
    place: u32,
}

impl Chase {
    pub(super) fn through(blocks: u64) -> Chase {
        let count = blocks.clamp(1, LINES_MAX) as usize;
        let mut lines: Vec<Line> = (0..count).map(|next| Line { next: next as u32 }).collect();
        // One circle through all of them: each is swapped with an earlier one.
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        for index in (1..count).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let other = ((u128::from(state) * index as u128) >> 64) as usize;
            let (one, two) = (lines[index].next, lines[other].next);
            (lines[index].next, lines[other].next) = (two, one);
        }
        Chase { lines, place: 0 }
    }

    /// Lines a second.
    pub(super) fn rate(&mut self, slice: Duration) -> f64 {
        let start_ns = now_ns();
        let mut count = 0_u64;
        loop {
            for _ in 0..BETWEEN {
                self.place = self.lines[self.place as usize].next;
            }
            black_box(self.place);
            count += u64::from(BETWEEN);
            let elapsed_ns = now_ns() - start_ns;
            if elapsed_ns >= slice.as_nanos() as u64 {
                return count as f64 * 1e9 / elapsed_ns as f64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_circle_goes_through_every_line() {
        let chase = Chase::through(1000);
        let (mut place, mut count) = (0, 0);
        loop {
            place = chase.lines[place].next as usize;
            count += 1;
            if place == 0 {
                break;
            }
            assert!(count <= 1000, "no way back to the first");
        }
        assert_eq!(count, 1000);
        assert_eq!(size_of::<Line>(), 64);
    }
}
