//! Habits that neither rustfmt nor clippy knows: see `onecopy_tests::tidy`.

use onecopy_tests::tidy::{self, Exception, Exceptions};
use onecopy_tests::tree;

/// The only files with unsafe code. Each starts with `#![expect(unsafe_code, reason = "...")]`.
const UNSAFE_CODE: &[Exception] = &[];

/// The only files that allow a lint instead of expecting it.
const ALLOW: &[Exception] = &[Exception {
    path: "shm-primitives/src/sync.rs",
    reason: "a shim: each build takes what it needs of the names it brings together",
}];

/// Files with more than 500 lines.
const LONG: &[Exception] = &[];

#[test]
fn the_workspace_is_tidy() {
    let files = tree::read(&tree::root()).expect("reading the workspace");
    assert!(files.len() > 10, "only {} files found", files.len());
    let exceptions = Exceptions { unsafe_code: UNSAFE_CODE, allow: ALLOW, long: LONG };
    let findings = tidy::check(&files, exceptions);
    let text: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(text.is_empty(), "{} findings:\n{}", text.len(), text.join("\n"));
}
