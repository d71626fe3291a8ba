//! What only tests may have, and what is shipped does not.

use onecopy_shm::fault;
use onecopy_tests::tree;

// r[verify crash.not_shipped]
#[test]
fn crash_points_are_in_builds_with_debug_assertions_alone() {
    assert_eq!(fault::ENABLED, cfg!(debug_assertions));
}

// r[verify crash.not_shipped]
#[test]
fn no_profile_that_is_shipped_or_measured_has_debug_assertions() {
    let manifest = std::fs::read_to_string(tree::root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("[profile.release]"));
    assert!(!manifest.contains("debug-assertions"), "a profile turns debug assertions on or off");
}
