//! Definitions: paragraphs `r[area.rule] text` in Markdown.

/// The rules a Markdown file defines, with their line numbers from 1: the id, or the line when it
/// only looks like a rule. Code fences define nothing.
pub(super) fn find(text: &str) -> Vec<(usize, Result<String, String>)> {
    let mut found = Vec::new();
    let mut fenced = false;
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced && let Some(rest) = line.strip_prefix("r[") {
            let goes_on = lines.peek().is_some_and(|(_, next)| is_prose(next));
            let id = rest
                .split_once(']')
                .filter(|(id, prose)| is_id(id) && (is_prose(prose) || goes_on))
                .map(|(id, _)| id.to_owned());
            found.push((index + 1, id.ok_or_else(|| line.trim_end().to_owned())));
        }
    }
    found
}

/// Whether a line goes on with a paragraph.
fn is_prose(line: &str) -> bool {
    let line = line.trim();
    !(line.is_empty() || line.starts_with("r[") || line.starts_with('#'))
}

/// Whether `id` is at least two dotted parts of lower case letters, digits, `-` and `_`.
pub(super) fn is_id(id: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase())
            && part.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_'))
    };
    id.contains('.') && id.split('.').all(is_part)
}
