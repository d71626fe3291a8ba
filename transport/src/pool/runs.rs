//! Free runs of numbers: extent units, and slot ids.

use std::collections::{BTreeMap, BTreeSet};

/// Free runs, none of which touches the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs {
    /// First number and count of each run.
    by_first: BTreeMap<u32, u32>,
    /// Count and first number of each run: the same runs, shortest first.
    by_count: BTreeSet<(u32, u32)>,
    /// Sum of the counts.
    total: u64,
}

impl Runs {
    /// All numbers in all runs.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Count of the longest run, or 0.
    pub(super) fn longest(&self) -> u32 {
        self.by_count.last().map_or(0, |&(count, _)| count)
    }

    /// First number and count of each run, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.by_first.iter().map(|(&first, &count)| (first, count))
    }

    /// Takes `count` numbers from the shortest run that has them; the lowest of those.
    pub(super) fn take(&mut self, count: u32) -> Option<u32> {
        if count == 0 {
            return None;
        }
        let &(found, first) = self.by_count.range((count, 0)..).next()?;
        self.remove(first, found);
        self.insert(first.wrapping_add(count), found - count);
        Some(first)
    }

    /// Takes exactly these numbers; `false`, and nothing is taken, if one of them is not free.
    pub(super) fn take_exactly(&mut self, first: u32, count: u32) -> bool {
        let Some((&run, &found)) = self.by_first.range(..=first).next_back() else {
            return count == 0;
        };
        let (end, run_end) =
            (u64::from(first) + u64::from(count), u64::from(run) + u64::from(found));
        if count == 0 || end > run_end {
            return count == 0;
        }
        self.remove(run, found);
        self.insert(run, first - run);
        self.insert(end as u32, (run_end - end) as u32);
        true
    }

    /// Gives numbers back, or new ones. They are in no run.
    pub(super) fn give(&mut self, first: u32, count: u32) {
        if count == 0 {
            return;
        }
        let (mut first, mut count) = (first, count);
        if let Some((&before, &found)) = self.by_first.range(..first).next_back()
            && u64::from(before) + u64::from(found) == u64::from(first)
        {
            self.remove(before, found);
            (first, count) = (before, found + count);
        }
        let after = u64::from(first) + u64::from(count);
        if let Ok(after) = u32::try_from(after)
            && let Some(&found) = self.by_first.get(&after)
        {
            self.remove(after, found);
            count += found;
        }
        self.insert(first, count);
    }

    /// What is wrong with the two views of the runs, in words.
    pub(super) fn faults(&self) -> Option<String> {
        let (mut total, mut end) = (0, None);
        for (&first, &count) in &self.by_first {
            if count == 0 || !self.by_count.contains(&(count, first)) {
                return Some(format!("run {first} of {count} is not listed by its count"));
            }
            if end.is_some_and(|end| end >= u64::from(first)) {
                return Some(format!("run {first} of {count} touches the one before it"));
            }
            end = Some(u64::from(first) + u64::from(count));
            total += u64::from(count);
        }
        if self.by_count.len() != self.by_first.len() || total != self.total {
            let (listed, runs) = (self.by_count.len(), self.by_first.len());
            let counted = self.total;
            return Some(format!(
                "{runs} runs with {total} numbers, {listed} listed by count, {counted} counted"
            ));
        }
        None
    }

    fn insert(&mut self, first: u32, count: u32) {
        if count > 0 {
            self.by_first.insert(first, count);
            self.by_count.insert((count, first));
            self.total += u64::from(count);
        }
    }

    fn remove(&mut self, first: u32, count: u32) {
        self.by_first.remove(&first);
        self.by_count.remove(&(count, first));
        self.total -= u64::from(count);
    }
}

#[cfg(test)]
mod tests;
