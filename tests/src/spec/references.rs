//! References: comment lines `r[impl id]` and `r[verify id]` in Rust source.

use super::rules::is_id;

/// What the code under a reference does for the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Impl,
    Verify,
}

/// One reference to one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) verb: Verb,
    pub(super) id: String,
}

/// The references in a Rust file, with their line numbers from 1; a line that only looks like one
/// is given back as it is. A bare `r[id]` in a comment is prose and counts for nothing.
pub(super) fn find(text: &str) -> Vec<(usize, Result<Reference, String>)> {
    let parsed = text.lines().enumerate().filter_map(|(index, line)| {
        let line = line.trim();
        parse(line).map(|reference| (index + 1, reference.ok_or_else(|| line.to_owned())))
    });
    parsed.collect()
}

/// `None`: no reference at all. `Some(None)`: meant as one, but malformed.
fn parse(line: &str) -> Option<Option<Reference>> {
    let comment = line.strip_prefix("//")?;
    let plain = !comment.starts_with(['/', '!']);
    let inside = comment.trim_start_matches(['/', '!']).trim_start().strip_prefix("r[")?;
    let (verb, rest) = inside.split_once(' ')?;
    let known = match verb {
        "impl" => Some(Verb::Impl),
        "verify" => Some(Verb::Verify),
        _ => None,
    };
    let id = rest.strip_suffix(']').filter(|id| is_id(id));
    match (known, id) {
        (Some(verb), Some(id)) if plain => Some(Some(Reference { verb, id: id.to_owned() })),
        // `r[something else]` with neither our verbs nor an id is prose.
        (None, None) => None,
        _ => Some(None),
    }
}
