//! Definitions: lines `r[area.rule] text` in Markdown.

/// The rules a Markdown file defines, with their line numbers from 1: the id, or the line when it
/// only looks like a rule. Code fences define nothing.
pub(super) fn find(text: &str) -> Vec<(usize, Result<String, String>)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced && let Some(rest) = line.strip_prefix("r[") {
            let id = rest
                .split_once(']')
                .filter(|(id, rule_text)| is_id(id) && !rule_text.trim().is_empty())
                .map(|(id, _)| id.to_owned());
            found.push((index + 1, id.ok_or_else(|| line.trim_end().to_owned())));
        }
    }
    found
}

/// Whether `id` is at least two dotted parts of lower case letters, digits, `-` and `_`.
pub(super) fn is_id(id: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase())
            && part.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_'))
    };
    id.contains('.') && id.split('.').all(is_part)
}
