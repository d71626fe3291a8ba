//! The directory of a campaign, and what killed supervisors left.

use super::super::SoakError;
use super::super::board::BOARD_FILE;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What the directories are called, with the supervisor's process id behind it.
const PREFIX: &str = "onecopy-soak-";
/// What one is called that is kept.
const KEPT_PREFIX: &str = "onecopy-kept-soak-";

/// A directory that goes with everything in it, unless it is to be kept.
#[derive(Debug)]
pub struct Field {
    directory: TempDir,
}

impl Field {
    /// Makes a directory in shared memory, or where temporary files go.
    ///
    /// # Errors
    /// [`SoakError::Directory`].
    pub fn make() -> Result<Field, SoakError> {
        let mut name = tempfile::Builder::new();
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let directory = name.prefix(&prefix).tempdir_in(parent());
        Ok(Field { directory: directory.map_err(|source| SoakError::Directory { source })? })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Says that somebody is at work here, for as long as the file is open.
    ///
    /// # Errors
    /// [`SoakError::Directory`].
    pub fn claim(&self) -> Result<File, SoakError> {
        let failed = |source| SoakError::Directory { source };
        let file = File::create(self.path().join(BUSY_FILE)).map_err(failed)?;
        flock(&file, FlockOperation::LockExclusive).map_err(|errno| failed(errno.into()))?;
        Ok(file)
    }

    /// Leaves the directory where it is, under a name by which it is not swept. Where that is.
    ///
    /// # Errors
    /// [`SoakError::Directory`].
    pub fn keep(self) -> Result<PathBuf, SoakError> {
        let from = self.directory.keep();
        let name = from.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default().replace(PREFIX, KEPT_PREFIX);
        let to = from.with_file_name(name);
        std::fs::rename(&from, &to).map_err(|source| SoakError::Directory { source })?;
        Ok(to)
    }
}

/// The file that is locked while somebody is at work in a directory.
const BUSY_FILE: &str = "busy";

fn parent() -> PathBuf {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() }
}

/// Removes directories whose supervisor was killed: nobody is at work there any more.
// r[impl soak.leaves_nothing]
pub fn sweep_left() {
    let Ok(entries) = std::fs::read_dir(parent()) else { return };
    for entry in entries.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            remove_left(&entry.path());
        }
    }
}

/// One that is being made has no board yet, and is left alone.
fn remove_left(directory: &Path) {
    let Ok(file) = File::open(directory.join(BUSY_FILE)) else { return };
    if directory.join(BOARD_FILE).exists()
        && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
    {
        // Somebody else may be removing it as well.
        let _ = std::fs::remove_dir_all(directory);
    }
}
