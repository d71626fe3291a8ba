//! Which cores the two processes stay on.

use std::fs;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::error::{BenchError, Step};

/// The cores of the two processes; none where this process may use only one.
#[derive(Debug, Clone)]
pub(crate) struct Cores {
    count: usize,
    pair: Option<(usize, usize)>,
}

impl Cores {
    /// The first allowed core and the next that is not a second thread of the same core, if there is
    /// such a one.
    pub(crate) fn choose() -> Result<Cores, BenchError> {
        let allowed = sched_getaffinity(None).step("ask for the allowed cores")?;
        let count = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).count();
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let Some(first) = cores.next() else { return Ok(Cores { count, pair: None }) };
        let others: Vec<usize> = cores.collect();
        let siblings = siblings(first);
        let apart = others.iter().find(|core| !siblings.contains(core));
        let second = apart.or(others.first()).copied();
        Ok(Cores { count, pair: second.map(|second| (first, second)) })
    }

    /// Puts this thread on the first core.
    pub(crate) fn pin_first(&self) -> Result<(), BenchError> {
        self.pair.map_or(Ok(()), |(first, _)| pin(first))
    }

    /// The core of the partner.
    pub(crate) fn second(&self) -> Option<usize> {
        self.pair.map(|(_, second)| second)
    }

    /// How many cores this process may use, before it was pinned.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The two cores.
    pub(crate) fn pair(&self) -> Option<(usize, usize)> {
        self.pair
    }
}

/// Puts this thread on one core.
pub(crate) fn pin(core: usize) -> Result<(), BenchError> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).step("stay on one core")
}

/// The threads that share a core with this one. Empty where the kernel does not say.
fn siblings(core: usize) -> Vec<usize> {
    let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
    fs::read_to_string(path).map(|list| parse_list(list.trim())).unwrap_or_default()
}

/// A list of cores as the kernel writes it: `0-1,8`.
fn parse_list(list: &str) -> Vec<usize> {
    let ranges = list.split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
    });
    ranges.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_read() {
        assert_eq!(parse_list("0"), [0]);
        assert_eq!(parse_list("0-2,8,10-11"), [0, 1, 2, 8, 10, 11]);
        assert_eq!(parse_list(""), [0; 0]);
    }
}
