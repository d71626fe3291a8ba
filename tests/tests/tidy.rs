//! Habits that neither rustfmt nor clippy knows: see `onecopy_tests::tidy`.

use onecopy_tests::tidy::{self, Exception, Exceptions};
use onecopy_tests::tree;

/// The only files with unsafe code. Each starts with `#![expect(unsafe_code, reason = "...")]`.
const UNSAFE_CODE: &[Exception] = &[
    Exception {
        path: "shm-primitives/src/doorbell/futex_word.rs",
        reason: "a futex is a word of 32 bits in shared memory",
    },
    Exception {
        path: "shm-primitives/src/ring/memory.rs",
        reason: "typed views of the shared bytes of one ring",
    },
    Exception {
        path: "shm-primitives/src/ring/producer.rs",
        reason: "proves that a grant's bytes are its own",
    },
    Exception {
        path: "shm-primitives/src/ring/consumer.rs",
        reason: "proves that a frame's bytes stay put",
    },
];

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
