//! Which cores processes stay on.

use std::fs;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::error::{CompareError, Step};
use crate::system::Placement;

/// The cores that this run may use.
#[derive(Debug, Clone)]
pub(crate) struct Cores {
    allowed: Vec<usize>,
}

/// One side of a get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Gets,
    Serves,
}

impl Cores {
    pub(crate) fn allowed() -> Result<Cores, CompareError> {
        let set = sched_getaffinity(None).step("ask for the allowed cores")?;
        Ok(Cores { allowed: (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect() })
    }

    pub(crate) fn count(&self) -> usize {
        self.allowed.len()
    }

    /// How the two sides of a get can stand to each other.
    pub(crate) fn placements(&self) -> &'static [Placement] {
        if self.count() > 1 {
            &[Placement::Apart, Placement::Together]
        } else {
            &[Placement::Together]
        }
    }

    /// Puts all threads of a process where its side belongs.
    pub(crate) fn place(
        &self,
        process: u32,
        side: Side,
        placement: Placement,
    ) -> Result<(), CompareError> {
        let mut set = CpuSet::new();
        self.of(side, placement).iter().for_each(|core| set.set(*core));
        let threads = fs::read_dir(format!("/proc/{process}/task")).step("find its threads")?;
        for thread in threads.flatten() {
            let number = thread.file_name().to_str().and_then(|name| name.parse().ok());
            let Some(thread) = number.and_then(Pid::from_raw) else { continue };
            match sched_setaffinity(Some(thread), &set) {
                // The thread has ended meanwhile.
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error).step("put a process on a core"),
            }
        }
        Ok(())
    }

    fn of(&self, side: Side, placement: Placement) -> &[usize] {
        let first = &self.allowed[..self.count().min(1)];
        match (placement, side) {
            (Placement::Free, _) => &self.allowed,
            (Placement::Apart, Side::Serves) => self.allowed.get(1..2).unwrap_or(first),
            _ => first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_stand_apart_where_there_are_two_cores() {
        let cores = Cores { allowed: vec![2, 5, 7] };
        assert_eq!(cores.of(Side::Gets, Placement::Apart), [2]);
        assert_eq!(cores.of(Side::Serves, Placement::Apart), [5]);
        assert_eq!(cores.of(Side::Serves, Placement::Together), [2]);
        assert_eq!(cores.of(Side::Serves, Placement::Free), [2, 5, 7]);
        let one = Cores { allowed: vec![3] };
        assert_eq!(one.of(Side::Serves, Placement::Apart), [3]);
        assert_eq!(one.placements(), [Placement::Together]);
    }
}
