//! The tidy check: habits of this project that neither rustfmt nor clippy knows.
//!
//! It reads the source as text, with comments and strings blanked where they would mislead, and is
//! meant to have no false alarms rather than to find everything.

mod code;
mod edges;
mod names;
mod scrub;
mod test_code;
mod text;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use crate::tree::SourceFile;

/// What is longer is not read.
const README_LINES_MAX: usize = 100;
/// One concept per file: what is longer has to say why.
const FILE_LINES_MAX: usize = 500;

/// The files that may do what others may not: paths relative to the root.
#[derive(Debug, Clone, Copy, Default)]
pub struct Exceptions<'a> {
    /// Files with unsafe code.
    pub unsafe_code: &'a [&'a str],
    /// Files that allow a lint where it is a matter of the build whether it would fire.
    pub allow: &'a [&'a str],
    /// Files with more than 500 lines.
    pub long: &'a [&'a str],
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Path of the file, relative to the root.
    pub path: String,
    /// Line number, from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub advice: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.advice)
    }
}

/// Checks every file.
#[must_use]
pub fn check(files: &[SourceFile], exceptions: Exceptions<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let explained: BTreeSet<&str> =
        files.iter().filter(|file| is_shipped(&file.path)).flat_map(edges::explained).collect();
    for file in files {
        let mut report = |line: usize, advice: String| {
            findings.push(Finding { path: file.path.clone(), line, advice });
        };
        text::check(file, &mut report);
        if file.path.ends_with(".rs") {
            let code = Code::new(file);
            code::check(&code, &mut report);
            if !exceptions.unsafe_code.contains(&file.path.as_str()) {
                code::check_unsafe(&code, &mut report);
            }
            if !exceptions.allow.contains(&file.path.as_str()) {
                code::check_allow(&code, &mut report);
            }
            names::check(&code, &mut report);
            if is_shipped(&file.path) {
                edges::check(file, &code, &mut report);
                edges::check_explained(file, &explained, &mut report);
            }
            if !exceptions.long.contains(&file.path.as_str()) {
                text::check_length(file, &mut report);
            }
        }
    }
    findings.extend(stale(files, exceptions));
    findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    findings
}

/// Whether a file is code that other programs are built on.
fn is_shipped(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    path.ends_with(".rs") && matches!(parts[..], ["shm-primitives" | "transport" | "kv", "src", ..])
}

/// A Rust file as the rules see it.
struct Code {
    /// The text with comments, strings and characters blanked, line for line the same.
    scrubbed: String,
    /// For each line, whether it is code of a test.
    is_test: Vec<bool>,
}

impl Code {
    fn new(file: &SourceFile) -> Self {
        let scrubbed = scrub::scrub(&file.text);
        let is_test = test_code::lines(&file.path, &scrubbed);
        Self { scrubbed, is_test }
    }

    /// Line number from 1, scrubbed line, whether it is test code.
    fn lines(&self) -> impl Iterator<Item = (usize, &str, bool)> {
        let lines = self.scrubbed.lines().zip(&self.is_test).enumerate();
        lines.map(|(index, (line, is_test))| (index + 1, line, *is_test))
    }
}

/// Exceptions that nobody needs any more.
fn stale(files: &[SourceFile], exceptions: Exceptions<'_>) -> Vec<Finding> {
    let needs_unsafe = |file: &SourceFile| code::uses_unsafe(&scrub::scrub(&file.text));
    let allows = |file: &SourceFile| code::allows_lint(&scrub::scrub(&file.text));
    let is_long = |file: &SourceFile| file.text.lines().count() > FILE_LINES_MAX;
    let find = |list: &[&str], needed: &dyn Fn(&SourceFile) -> bool, name: &str| {
        let unneeded = list
            .iter()
            .filter(|path| !files.iter().any(|file| file.path == **path && needed(file)));
        let findings = unneeded.map(|path| Finding {
            path: (*path).to_owned(),
            line: 1,
            advice: format!("needs no place in the list of {name} any more; take it out"),
        });
        findings.collect::<Vec<_>>()
    };
    let mut findings = find(exceptions.unsafe_code, &needs_unsafe, "files with unsafe code");
    findings.extend(find(exceptions.allow, &allows, "files that allow a lint"));
    findings.extend(find(exceptions.long, &is_long, "long files"));
    findings
}
