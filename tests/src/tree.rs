//! The workspace's files as data.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One text file: where it is, relative to the workspace's root with `/` between parts, and what it
/// says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Relative path, for example `spec/ring.md`.
    pub path: String,
    /// The whole text.
    pub text: String,
}

impl SourceFile {
    /// A file that need not exist: what the tests of the checks are made of.
    #[must_use]
    pub fn new(path: &str, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), text: text.into() }
    }
}

/// The root of the workspace this crate was built in.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Every text file under `root` in the order of its path, without build output (`target`), without
/// what a fuzzer made (`corpus`, which may be text by chance) and without what starts with a dot, `.ci` excepted. A file that is not UTF-8 is no text file.
///
/// # Errors
/// Whatever reading a directory or a file says.
pub fn read(root: &Path) -> io::Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    read_directory(root, "", &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn read_directory(root: &Path, relative: &str, files: &mut Vec<SourceFile>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(relative))? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let path = if relative.is_empty() { name.to_owned() } else { format!("{relative}/{name}") };
        let kind = entry.file_type()?;
        if is_hidden(name) || (kind.is_dir() && matches!(name, "target" | "corpus")) {
            continue;
        }
        if kind.is_dir() {
            read_directory(root, &path, files)?;
        } else if kind.is_file()
            && let Ok(text) = String::from_utf8(fs::read(entry.path())?)
        {
            files.push(SourceFile { path, text });
        }
    }
    Ok(())
}

fn is_hidden(name: &str) -> bool {
    name.starts_with('.') && name != ".ci"
}
