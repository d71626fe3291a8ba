//! Where a report is written to.

use std::fs;
use std::path::Path;

use crate::error::{CompareError, Step};

/// A directory that is there.
pub(crate) struct Directory<'a>(&'a Path);

impl Directory<'_> {
    /// Makes the directory where there is none.
    pub(crate) fn make(path: &Path) -> Result<Directory<'_>, CompareError> {
        fs::create_dir_all(path).step("make the directory of the report")?;
        Ok(Directory(path))
    }

    /// Writes a file in it; a plot of nothing is none.
    pub(crate) fn write(&self, name: &str, text: Option<String>) -> Result<(), CompareError> {
        text.map_or(Ok(()), |text| fs::write(self.0.join(name), text).step("write the report"))
    }
}
