//! What stands directly below a reference.

/// The first thing below a reference that is no comment and no attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// A function with `#[test]`.
    Test,
    /// A function with `#[test]` and `#[ignore]`.
    IgnoredTest,
    /// Any other item.
    Other,
    /// No item: the line that stands there.
    None(String),
}

/// Reads the lines below a reference up to the first that is neither comment nor attribute.
pub(super) fn below<'a>(lines: impl Iterator<Item = &'a str>) -> Item {
    let mut lines = lines.map(str::trim);
    let mut is_test = false;
    let mut is_ignored = false;
    while let Some(line) = lines.next() {
        if line.starts_with("//") {
            continue;
        }
        if line.starts_with("#[") {
            let (attribute, rest) = read_attribute(line, &mut lines);
            let name = attribute.trim_start_matches("#[");
            is_test |= name == "test]";
            is_ignored |= name.starts_with("ignore");
            if rest.is_empty() {
                continue;
            }
            return judge(&rest, is_test, is_ignored);
        }
        return judge(line, is_test, is_ignored);
    }
    Item::None("the end of the file".to_owned())
}

/// The attribute that starts on `line`, over as many lines as its brackets need, and what stands
/// behind it on its last line.
fn read_attribute<'a>(line: &str, lines: &mut impl Iterator<Item = &'a str>) -> (String, String) {
    let mut attribute = line.to_owned();
    loop {
        if let Some(end) = closing_bracket(&attribute) {
            let rest = attribute.split_off(end + 1);
            return (attribute, rest.trim().to_owned());
        }
        match lines.next() {
            Some(line) => attribute.push_str(line),
            None => return (attribute, String::new()),
        }
    }
}

fn closing_bracket(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quoted = false;
    for (offset, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '[' if !quoted => depth += 1,
            ']' if !quoted => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(offset);
                }
            }
            _ => {}
        }
    }
    None
}

fn judge(line: &str, is_test: bool, is_ignored: bool) -> Item {
    match (is_item(line), is_function(line) && is_test, is_ignored) {
        (_, true, true) => Item::IgnoredTest,
        (_, true, false) => Item::Test,
        (true, false, _) => Item::Other,
        (false, false, _) if line.is_empty() => Item::None("an empty line".to_owned()),
        (false, false, _) => Item::None(line.to_owned()),
    }
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '!'))
        .filter(|word| !word.is_empty())
}

fn is_function(line: &str) -> bool {
    let modifiers = ["pub", "crate", "super", "in", "const", "async", "unsafe", "extern", "C"];
    words(line).find(|word| !modifiers.contains(word)) == Some("fn")
}

fn is_item(line: &str) -> bool {
    let first = words(line).next().unwrap_or("");
    let keywords = [
        "pub", "fn", "struct", "enum", "union", "const", "static", "impl", "trait", "type", "mod",
        "async", "extern",
    ];
    let starts_item = keywords.contains(&first) && line.starts_with(first);
    let is_unsafe_item = ["unsafe fn", "unsafe impl", "unsafe trait", "unsafe extern"]
        .iter()
        .any(|start| line.starts_with(start));
    // `bitflags! {` and its like; `assert!(..)` and other macro calls in a body are no items.
    let is_macro_item = first.ends_with('!') && line.ends_with('{');
    starts_item || is_unsafe_item || is_macro_item
}
