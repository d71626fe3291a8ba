//! Where a segment is.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use thiserror::Error;

/// Longest name of one file or directory, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Name of a user's default segment.
const DEFAULT_NAME: &str = "default";

/// A path that cannot name a segment.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathError {
    /// Nothing, the root, or a path that ends in `.` or `..`.
    #[error("{path:?} names no directory to hold a segment")]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// A name longer than any file system takes.
    #[error("a name in {path:?} has {length} bytes, the most is {max}", max = NAME_BYTES_MAX)]
    NameTooLong {
        /// The path.
        path: PathBuf,
        /// Length of the name, in bytes.
        length: usize,
    },
    /// A zero byte, which no path can hold.
    #[error("{path:?} holds a zero byte")]
    ZeroByte {
        /// The path.
        path: PathBuf,
    },
    /// A relative path and no current directory.
    #[error("{path:?} is relative and the current directory cannot be read: {reason}")]
    NoCurrentDirectory {
        /// The path.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

/// The absolute path of a segment's directory. Having one says that it can name a segment, not that
/// one is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SegmentPath(PathBuf);

impl SegmentPath {
    /// `/dev/shm/onecopy-<uid>/default` of the calling user.
    // r[impl segment.path]
    pub fn default_for_user() -> SegmentPath {
        SegmentPath(user_directory().join(DEFAULT_NAME))
    }

    /// Checks a path and makes it absolute.
    // r[impl segment.path]
    pub fn new(path: impl AsRef<Path>) -> Result<SegmentPath, PathError> {
        let path = path.as_ref();
        let owned = || path.to_owned();
        if path.as_os_str().as_bytes().contains(&0) {
            return Err(PathError::ZeroByte { path: owned() });
        }
        if !matches!(path.components().next_back(), Some(Component::Normal(_))) {
            return Err(PathError::NoName { path: owned() });
        }
        let too_long = path.iter().map(OsStr::len).find(|&length| length > NAME_BYTES_MAX);
        if let Some(length) = too_long {
            return Err(PathError::NameTooLong { path: owned(), length });
        }
        let absolute = std::path::absolute(path).map_err(|error| {
            PathError::NoCurrentDirectory { path: owned(), reason: error.to_string() }
        })?;
        // Without a trailing slash, so that a name of the directory is its last part.
        Ok(SegmentPath(absolute.components().collect()))
    }

    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The directory above, and the segment's own name in it.
    pub(crate) fn split(&self) -> (&Path, &OsStr) {
        // `new` saw a normal last component, so neither is ever missing.
        let parent = self.0.parent().unwrap_or(Path::new("/"));
        (parent, self.0.file_name().unwrap_or(OsStr::new(".")))
    }

    /// The directory above, if it is the one kept for default segments of this user, which goes
    /// with the last segment in it.
    pub(crate) fn own_parent(&self) -> Option<&Path> {
        self.0.parent().filter(|parent| *parent == user_directory())
    }
}

impl fmt::Display for SegmentPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(formatter)
    }
}

/// Where the default segments of the calling user are.
fn user_directory() -> PathBuf {
    let uid = rustix::process::geteuid().as_raw();
    PathBuf::from(format!("/dev/shm/onecopy-{uid}"))
}

#[cfg(test)]
mod tests;
