//! Tells the library which commit it is built from, and whether what benchmarks are built of differed
//! from it.

use std::path::PathBuf;
use std::process::Command;

/// What a benchmark is built of, from the top of the repository.
const BUILT_OF: [&str; 11] = [
    "Cargo.toml",
    "Cargo.lock",
    "shm-primitives",
    "transport",
    "kv",
    "bench/Cargo.toml",
    "bench/src",
    "bench/machine",
    "bench/compare/Cargo.toml",
    "bench/compare/Cargo.lock",
    "bench/compare/src",
];

fn main() {
    let top = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let git = |arguments: &[&str]| -> Option<String> {
        let output = Command::new("git").arg("-C").arg(&top).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "HEAD"]).map_or_else(
        || "unknown".to_owned(),
        |head| {
            let status: Vec<&str> =
                ["status", "--porcelain", "--"].into_iter().chain(BUILT_OF).collect();
            let is_clean = git(&status).is_some_and(|changes| changes.is_empty());
            if is_clean { head } else { format!("{head}-dirty") }
        },
    );
    println!("cargo::rustc-env=ONECOPY_COMMIT={commit}");
    // Checkouts that share a target directory may be handed what this said in another one.
    println!("cargo::rustc-env=ONECOPY_COMMIT_OF={}", env!("CARGO_MANIFEST_DIR"));
    // What is watched and not there has a build script run again each time.
    let watched = BUILT_OF.map(|path| top.join(path)).into_iter();
    // The log of what HEAD was has a line for each commit, checkout and reset.
    let log = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]);
    for path in watched.chain(log.map(PathBuf::from)).filter(|path| path.exists()) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}
