//! Rules about any text.

use super::{FILE_LINES_MAX, README_LINES_MAX};
use crate::tree::SourceFile;

/// Starts of paths that exist on one machine only. In pieces, since this file is checked as well.
const FOREIGN_PATHS: [&str; 5] = [
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
    concat!("/tmp", "/oc"),
];

/// Marks of unfinished work.
const UNFINISHED: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

pub(super) fn check(file: &SourceFile, report: &mut impl FnMut(usize, String)) {
    if file.path.ends_with(".lock") {
        return;
    }
    for (index, line) in file.text.lines().enumerate() {
        if let Some(path) = FOREIGN_PATHS.iter().find(|path| has_path(line, path)) {
            report(index + 1, format!("`{path}` exists on some machine only; use a relative path"));
        }
        if file.path.ends_with(".rs") && UNFINISHED.iter().any(|mark| has_mark(line, mark)) {
            report(index + 1, "unfinished; finish it, or say plainly what is missing".to_owned());
        }
    }
    let line_count = file.text.lines().count();
    if is_readme(&file.path) && line_count > README_LINES_MAX {
        report(line_count, format!("a README of {line_count} lines; at most {README_LINES_MAX}"));
    }
    if file.path.ends_with("/Cargo.toml") && !file.text.contains("[lints]\nworkspace = true") {
        report(1, "a crate without the workspace's lints: `[lints]` `workspace = true`".to_owned());
    }
}

pub(super) fn check_length(file: &SourceFile, report: &mut impl FnMut(usize, String)) {
    let line_count = file.text.lines().count();
    if line_count > FILE_LINES_MAX {
        let advice = format!(
            "{line_count} lines, at most {FILE_LINES_MAX}: one concept per file; split it, or add \
             it with a reason to the list in tests/tests/tidy.rs"
        );
        report(line_count, advice);
    }
}

fn is_readme(path: &str) -> bool {
    path == "README.md" || path.ends_with("/README.md")
}

/// Whether the line has the path, at the start of one.
fn has_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(offset, _)| {
        let before = line[..offset].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}'))
    })
}

/// Whether the line has the mark as a word of its own.
fn has_mark(line: &str, mark: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric()).any(|word| word == mark)
}
