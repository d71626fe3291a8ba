//! Rules about names: one word, one meaning, no abbreviations.

use super::Code;

/// Words that are not used as a part of a name we give, and what is used instead.
const WORDS: [(&str, &str); 13] = [
    ("idx", "index"),
    ("cfg", "options"),
    ("buf", "bytes, or what they are"),
    ("ptr", "address, or what it points to"),
    ("arena", "segment"),
    ("server", "host"),
    ("client", "guest"),
    ("master", "host"),
    ("session", "serial or boot epoch"),
    ("message", "frame, or text"),
    ("msg", "frame, or text"),
    ("packet", "frame"),
    ("notify", "signal"),
];

/// What stands before a name where it is given: `let name`, `fn name`, `|name|`.
const DEFINERS: [&str; 12] = [
    "let", "mut", "fn", "struct", "enum", "trait", "type", "mod", "const", "static", "union", "for",
];

/// Only where a name is given, not where it is used: names of other crates are theirs.
pub(super) fn check(code: &Code, report: &mut impl FnMut(usize, String)) {
    for (number, line, _) in code.lines() {
        let tokens = tokens(line);
        for (position, token) in tokens.iter().enumerate() {
            let before = position.checked_sub(1).map_or("", |position| tokens[position]);
            let after = tokens.get(position + 1).copied().unwrap_or("");
            if !is_definition(before, after) {
                continue;
            }
            if let Some((word, instead)) = WORDS.iter().find(|(word, _)| has_word(token, word)) {
                report(number, format!("`{token}`: not `{word}` but {instead} (see the glossary)"));
            }
        }
    }
}

fn is_definition(before: &str, after: &str) -> bool {
    let is_path = after == "::" || before == "::" || before == ".";
    !is_path && (DEFINERS.contains(&before) || after == ":" || (before == "|" && after == "|"))
}

/// Words, and signs of one character each except `::`.
fn tokens(line: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}

/// Whether `word` is one of the parts of a name, in either way of writing (`read_idx`, `ReadIdx`).
fn has_word(name: &str, word: &str) -> bool {
    let mut snake = String::with_capacity(name.len() + 4);
    let mut after_lower = false;
    for c in name.chars() {
        if c.is_uppercase() && after_lower {
            snake.push('_');
        }
        after_lower = c.is_lowercase() || c.is_ascii_digit();
        snake.extend(c.to_lowercase());
    }
    format!("_{snake}_").contains(&format!("_{word}_"))
}
