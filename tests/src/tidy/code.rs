//! Rules about what Rust code does.

use super::Code;

/// Calls that end the process, and what they are written as.
const PANICS: [&str; 8] = [
    ".unwrap()",
    ".unwrap_err()",
    ".expect(",
    ".expect_err(",
    "panic!(",
    "unreachable!(",
    "todo!(",
    "unimplemented!(",
];

pub(super) fn check(code: &Code, report: &mut impl FnMut(usize, String)) {
    for (number, line, is_test) in code.lines() {
        if !is_test && let Some(call) = PANICS.iter().find(|call| calls(line, call)) {
            let advice =
                format!("`{call}` outside tests; return an error that says what was wrong");
            report(number, advice);
        }
        if calls(line, "dbg!(") {
            report(number, "`dbg!` was left behind".to_owned());
        }
        if line.contains("#[ignore]") {
            report(number, "an ignored test without a reason: `#[ignore = \"...\"]`".to_owned());
        }
    }
    for (number, attribute) in attributes(&code.scrubbed) {
        if calls(&attribute, "expect(") && !attribute.contains("reason") {
            report(number, "`expect` of a lint without `reason = \"...\"`".to_owned());
        }
    }
}

/// One finding says it for the whole file.
pub(super) fn check_unsafe(code: &Code, report: &mut impl FnMut(usize, String)) {
    if let Some((number, ..)) = code.lines().find(|(_, line, _)| uses_unsafe(line)) {
        let advice = "unsafe code outside the listed files; move it behind a safe interface of one \
                      of those, or add the file to the list in tests/tests/tidy.rs";
        report(number, advice.to_owned());
    }
}

/// Lints are not allowed away; one that must be lifted is expected, with a reason.
pub(super) fn check_allow(code: &Code, report: &mut impl FnMut(usize, String)) {
    let attributes = attributes(&code.scrubbed);
    for (number, _) in attributes.into_iter().filter(|(_, attribute)| is_allow(attribute)) {
        let advice = "a lint is allowed away; mend what it finds, or use \
                      `expect(lint, reason = \"...\")`, which fails when it is not needed";
        report(number, advice.to_owned());
    }
}

/// Whether scrubbed code allows a lint anywhere.
pub(super) fn allows_lint(scrubbed: &str) -> bool {
    attributes(scrubbed).iter().any(|(_, attribute)| is_allow(attribute))
}

fn is_allow(attribute: &str) -> bool {
    calls(attribute, "allow(") || calls(attribute, "warn(")
}

/// Whether scrubbed code has the keyword `unsafe` or lifts the lint against it.
pub(super) fn uses_unsafe(scrubbed: &str) -> bool {
    let mut words = scrubbed.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    words.any(|word| word == "unsafe") || scrubbed.contains("(unsafe_code")
}

/// Whether the line has `call`, not as the end of a longer name.
fn calls(line: &str, call: &str) -> bool {
    line.match_indices(call).any(|(offset, _)| {
        let before = line[..offset].chars().next_back();
        call.starts_with('.') || !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// The attributes in scrubbed code with the line each starts on.
fn attributes(scrubbed: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for start in ["#[", "#!["] {
        for (offset, _) in scrubbed.match_indices(start) {
            let number = scrubbed[..offset].matches('\n').count() + 1;
            let text = &scrubbed[offset + start.len()..];
            let mut depth = 1_usize;
            let end = text.find(|c| {
                match c {
                    '[' => depth += 1,
                    ']' => depth -= 1,
                    _ => {}
                }
                depth == 0
            });
            found.push((number, text[..end.unwrap_or(text.len())].to_owned()));
        }
    }
    found
}
