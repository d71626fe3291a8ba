//! A control group of the test's own, with a limit on memory.

use super::wait_for;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The group. It goes when this is dropped; its processes have to be gone by then, or soon.
#[derive(Debug)]
pub struct MemoryGroup {
    directory: PathBuf,
    limit: &'static str,
    usage: &'static str,
}

static MADE: AtomicU32 = AtomicU32::new(0);

impl MemoryGroup {
    /// A group with this limit in bytes, without swap. `None`, with a line that says so, where such
    /// groups are not permitted.
    pub fn new(limit_bytes: u64) -> Option<MemoryGroup> {
        let made = mounts().into_iter().find_map(|(point, first)| {
            let group = MemoryGroup::below(&point, first)?;
            group.set_limit(limit_bytes).then_some(group)
        });
        if made.is_none() {
            println!("skipped: control groups with a limit on memory are not permitted here");
        }
        made
    }

    fn below(point: &Path, first: bool) -> Option<MemoryGroup> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let directory = point.join(format!("onecopy-test-{}-{number}", std::process::id()));
        fs::create_dir(&directory).ok()?;
        let (limit, usage) = match first {
            true => ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            false => ("memory.max", "memory.current"),
        };
        Some(MemoryGroup { directory, limit, usage })
    }

    /// Changes the limit; whether that is permitted.
    pub fn set_limit(&self, limit_bytes: u64) -> bool {
        let write = |file: &str, text: &str| fs::write(self.directory.join(file), text);
        // Absent without swap.
        let _ = write("memory.swap.max", "0");
        write(self.limit, &limit_bytes.to_string()).is_ok()
    }

    /// Moves a process into it; what the process has already stays counted where it was.
    pub fn take(&self, pid: u32) {
        fs::write(self.directory.join("cgroup.procs"), pid.to_string()).unwrap();
    }

    /// Bytes that it has now.
    pub fn used_bytes(&self) -> u64 {
        fs::read_to_string(self.directory.join(self.usage)).unwrap().trim().parse().unwrap()
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            wait_for("the end of a control group", || fs::remove_dir(&self.directory).is_ok());
        } else {
            let _ = fs::remove_dir(&self.directory);
        }
    }
}

/// Where groups with limits on memory may be made, and whether they are of the first version.
fn mounts() -> Vec<(PathBuf, bool)> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = PathBuf::from(before.split(' ').nth(4)?);
        let mut after = after.split(' ');
        match (after.next()?, after.nth(1)?) {
            ("cgroup2", _) => Some((point, false)),
            ("cgroup", options) if options.split(',').any(|it| it == "memory") => {
                Some((point, true))
            }
            _ => None,
        }
    });
    mounts.collect()
}
