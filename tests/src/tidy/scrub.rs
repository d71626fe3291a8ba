//! Blanks what only looks like code.

/// The text with the inside of comments, strings and character literals turned to spaces; every
/// line stays where it was and has as many characters.
pub(super) fn scrub(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut scrubbed = String::with_capacity(text.len());
    let mut at = 0;
    while at < characters.len() {
        let rest = &characters[at..];
        let joined = at > 0 && is_word(characters[at - 1]);
        let (blank, length) = match literal_length(rest, joined) {
            Some(length) => (true, length),
            None => (false, 1),
        };
        for &c in &rest[..length] {
            scrubbed.push(if blank && c != '\n' { ' ' } else { c });
        }
        at += length;
    }
    scrubbed
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of the comment or literal that `rest` starts with. `joined`: the character before
/// belongs to a word, so that no prefix such as `r` or `b` starts here.
fn literal_length(rest: &[char], joined: bool) -> Option<usize> {
    match rest {
        ['/', '/', ..] => Some(until(rest, |after| after.starts_with(&['\n']))),
        ['/', '*', ..] => Some(block_comment_length(rest)),
        ['"', ..] => Some(string_length(rest, 1)),
        ['b' | 'c', '"', ..] if !joined => Some(string_length(rest, 2)),
        ['r', '"' | '#', ..] if !joined => raw_string_length(rest, 1),
        ['b' | 'c', 'r', '"' | '#', ..] if !joined => raw_string_length(rest, 2),
        ['\'', '\\', _, ..] => Some(3 + until(&rest[3..], |after| after[0] == '\'') + 1),
        // Else it is a lifetime.
        ['\'', _, '\'', ..] => Some(3),
        _ => None,
    }
    .map(|length| length.min(rest.len()))
}

/// How many characters come before the first place where `found` holds.
fn until(rest: &[char], found: impl Fn(&[char]) -> bool) -> usize {
    (0..rest.len()).find(|&at| found(&rest[at..])).unwrap_or(rest.len())
}

fn block_comment_length(rest: &[char]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => depth += 1,
            ['*', '/', ..] => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            break;
        }
    }
    at
}

fn string_length(rest: &[char], opening: usize) -> usize {
    let mut at = opening;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// `None` for a raw identifier (`r#type`).
fn raw_string_length(rest: &[char], prefix: usize) -> Option<usize> {
    let hashes = until(&rest[prefix..], |after| after[0] != '#');
    let opening = prefix + hashes + 1;
    if rest.get(prefix + hashes) != Some(&'"') {
        return None;
    }
    let mut closing = vec!['"'];
    closing.extend(std::iter::repeat_n('#', hashes));
    Some(opening + until(&rest[opening..], |after| after.starts_with(&closing)) + closing.len())
}
