//! The place where a run has its files, and a process that removes them when the run is over, however
//! that comes about: after its end, Ctrl-C, or a kill.

use std::fs;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{CompareError, Step};
use crate::subject::Names;

/// Shared memory, where all systems have their files: none of them waits for a disk.
const MEMORY: &str = "/dev/shm";
/// How long those that are killed with the run may still write files.
const SETTLE: Duration = Duration::from_millis(500);
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// A directory in shared memory that goes with the run.
#[derive(Debug)]
pub(crate) struct Home {
    directory: PathBuf,
    keeper: Child,
}

impl Home {
    pub(crate) fn new() -> Result<Home, CompareError> {
        let directory = Path::new(MEMORY).join(format!("onecopy-compare-{}", std::process::id()));
        fs::create_dir(&directory).step("make a directory in shared memory")?;
        let mut command = Command::new(std::env::current_exe().step("find this program")?);
        command.arg("keep").arg(&directory).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let keeper = command.spawn().step("start the keeper of the directory")?;
        Ok(Home { directory, keeper })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }

    /// A directory in it.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf, CompareError> {
        let directory = self.directory.join(name);
        fs::create_dir(&directory).step("make a directory in shared memory")?;
        Ok(directory)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // The end of its input tells the keeper to sweep.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// The keeper's life: waits until the run is over, and removes what it left.
pub(crate) fn keep(directory: &Path) -> Result<(), CompareError> {
    io::stdin().read_to_end(&mut Vec::new()).step("wait for the end of the run")?;
    let prefix = Names::of(directory).prefix;
    let start = Instant::now();
    loop {
        let found = sweep(directory, &prefix)?;
        if !found || start.elapsed() > SETTLE {
            return Ok(());
        }
        thread::sleep(SWEEP_INTERVAL);
    }
}

/// Whether there was anything.
fn sweep(directory: &Path, prefix: &str) -> Result<bool, CompareError> {
    let mut found = directory.exists();
    if found {
        // Whoever is being killed may remove files as well, or make some: then the next sweep.
        let _ = fs::remove_dir_all(directory);
    }
    for entry in fs::read_dir(MEMORY).step("look through the shared memory")?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found = true;
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(found)
}
