//! Each atomic ordering that orders something names its happens-before edge in a comment
//! (`// edge: ring.commit`), and each edge stands in a table of a module's documentation
//! (`//! | ring.commit | ... |`).

use std::collections::BTreeSet;

use super::Code;
use crate::tree::SourceFile;

/// Orderings that order something.
const ORDERINGS: [&str; 4] = ["Acquire", "Release", "AcqRel", "SeqCst"];
/// How far above its ordering a comment may stand, in lines.
const ABOVE_MAX: usize = 4;
const MARK: &str = "// edge: ";

pub(super) fn check(file: &SourceFile, code: &Code, report: &mut impl FnMut(usize, String)) {
    let lines: Vec<&str> = file.text.lines().collect();
    for (number, line, is_test) in code.lines() {
        if is_test || !has_ordering(line) {
            continue;
        }
        let above = &lines[number.saturating_sub(1 + ABOVE_MAX)..number];
        if !above.iter().any(|line| line.contains(MARK)) {
            let advice = "an ordering without its edge; say which happens-before edge it makes: \
                          `// edge: area.name`, directly above";
            report(number, advice.to_owned());
        }
    }
}

/// Orderings in calls and constants; importing one, or matching on one, orders nothing.
fn has_ordering(line: &str) -> bool {
    let code = line.trim_start();
    if code.starts_with("use ") || code.starts_with("pub(crate) use ") || code.contains("=>") {
        return false;
    }
    code.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| ORDERINGS.contains(&word))
}

/// The edges that a file's tables explain.
pub(super) fn explained(file: &SourceFile) -> impl Iterator<Item = &str> {
    let rows = file.text.lines().filter_map(|line| line.trim().strip_prefix("//! |"));
    rows.filter_map(|row| Some(row.split('|').next()?.trim().trim_matches('`')))
}

/// Reports the edges of a file that no table explains.
pub(super) fn check_explained(
    file: &SourceFile,
    explained: &BTreeSet<&str>,
    report: &mut impl FnMut(usize, String),
) {
    for (index, line) in file.text.lines().enumerate() {
        let Some((_, named)) = line.split_once(MARK) else { continue };
        let name =
            named.split([',', ';', ':', ' ', '(']).next().unwrap_or("").trim_end_matches('.');
        if name.contains('.') && !explained.contains(name) {
            let advice = format!(
                "no table of edges has `{name}`; add `//! | {name} | ... |` to the module's \
                 documentation, or correct the name"
            );
            report(index + 1, advice);
        }
    }
}
