//! Habits that neither rustfmt nor clippy knows: see `onecopy_tests::tidy`.

use onecopy_tests::tidy::{self, Exceptions};
use onecopy_tests::tree;

/// The only files with unsafe code, each with its reason in `expect(unsafe_code, reason = "...")`.
const UNSAFE_CODE: &[&str] = &[
    "bench/src/copy/kernels.rs",
    "bench/src/private.rs",
    "bench/compare/src/subject/lmdb.rs",
    "kv/src/replay/board/memory.rs",
    "shm-primitives/src/copy.rs",
    "shm-primitives/src/doorbell/futex_word.rs",
    "shm-primitives/src/fork.rs",
    "shm-primitives/src/fork/tests.rs",
    "shm-primitives/src/mapping.rs",
    "shm-primitives/src/mapping/tests.rs",
    "shm-primitives/src/region.rs",
    "shm-primitives/src/region/place.rs",
    "shm-primitives/src/region/tests.rs",
    "shm-primitives/src/ring/consumer.rs",
    "shm-primitives/src/ring/memory.rs",
    "shm-primitives/src/ring/memory_model.rs",
    "shm-primitives/src/ring/producer.rs",
    "shm-primitives/src/sigbus.rs",
    "shm-primitives/src/sigbus/tests.rs",
    "shm-primitives/src/sys.rs",
    "tests/src/harness/sys.rs",
    "tests/src/harness/syscalls/listen.rs",
    "transport/src/host/inherit.rs",
    "shm-primitives/src/sys_descriptors.rs",
    "shm-primitives/src/sys_numa.rs",
    "shm-primitives/src/sys_socket.rs",
    "transport/src/growth_helper/child.rs",
    "transport/src/guest/bytes.rs",
    "transport/src/guest/claim.rs",
    "transport/src/guest/tasks/watched.rs",
    "transport/src/guest/tests/fork.rs",
    "transport/tests/guest/polling.rs",
];

/// The only files that allow a lint instead of expecting it.
const ALLOW: &[&str] = &[
    // A shim: each build takes what it needs of the names it brings together.
    "shm-primitives/src/sync.rs",
];

/// The only files with more than 500 lines, each with its reason.
const LONG: &[&str] = &[];

#[test]
fn the_workspace_is_tidy() {
    let files = tree::read(&tree::root()).expect("reading the workspace");
    assert!(files.len() > 10, "only {} files found", files.len());
    let exceptions = Exceptions { unsafe_code: UNSAFE_CODE, allow: ALLOW, long: LONG };
    let findings = tidy::check(&files, exceptions);
    let text: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(text.is_empty(), "{} findings:\n{}", text.len(), text.join("\n"));
}
