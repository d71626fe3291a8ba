//! How `serve` takes memory, and what `inspect` says of it.

use crate::limits::with_small_shm;
use crate::rig::{Host, SMALL, Space, call, may_unshare, run};
use onecopy_shm::sys_numa::{NumaMode, set_thread_nodes};
use serde_json::json;

// r[verify cli.serve.memory]
// r[verify cli.inspect.memory]
#[test]
fn a_host_is_asked_for_populated_memory_on_certain_nodes_and_says_so() {
    // What containers often forbid is forbidden for threads as it is for files.
    let told = std::thread::spawn(|| set_thread_nodes(Some((NumaMode::Interleave, 1)))).join();
    if let Err(error) = told.unwrap() {
        return println!("skipped: memory cannot be placed on nodes here: {error}");
    }
    let space = Space::new();
    let segment = space.join("segment");
    let host = Host::start(&segment, &["--prefault", "--numa=interleave:0"]);
    let block: Vec<u8> = (0..900_000_u32).map(|number| number as u8).collect();
    for number in 0..6 {
        host.put(&number.to_string(), &block).done();
    }
    assert!(host.guest(&["stat", "--json"]).json()["pool_bytes"].as_u64() > Some(4 << 20));
    assert!(host.guest(&["get", "3"]).done().stdout == block);
    let memory = |inspected: serde_json::Value| inspected["memory"].clone();
    let populated = json!({ "prefault": true, "huge_pages": "off", "huge_bytes": 0,
                            "numa": "interleave:0" });
    assert_eq!(memory(host.guest(&["inspect", "--json"]).json()), populated);
    host.die();
    let dead = call(&["inspect", "--segment", &segment]);
    let said = "memory      populated, huge pages off, nodes interleave:0";
    assert!(dead.done().text().contains(said), "{dead:?}");
    // The next life asks for nothing.
    let host = Host::start(&segment, &[]);
    assert!(host.guest(&["get", "3"]).done().stdout == block);
    let plain = json!({ "prefault": false, "huge_pages": "off", "huge_bytes": 0, "numa": null });
    assert_eq!(memory(host.guest(&["inspect", "--json"]).json()), plain);
    host.leave().done();
}

// r[verify cli.serve.memory]
#[test]
fn what_cannot_be_had_is_refused_with_what_there_is() {
    let space = Space::new();
    let segment = space.join("segment");
    let serve = |args: &[&str]| call(&[&SMALL[..], args, &["--segment", &segment]].concat());
    serve(&["--numa=bind:0,63"]).refused(3, &["memory node", "63", "has_memory"]);
    for (flag, word) in [
        ("--numa=near:0", "bind: or interleave:"),
        ("--numa=bind:64", "from 0 to 63"),
        ("--huge-pages=always", "off, try and require"),
    ] {
        let refused = serve(&[flag]);
        assert_eq!(refused.code(), Some(2), "{refused:?}");
        assert!(refused.stderr.contains(word), "{refused:?}");
    }
    assert_eq!(space.names(), [""; 0]);
}

// r[verify cli.serve.memory]
#[test]
fn huge_pages_that_a_mount_does_not_give_are_an_error_or_a_warning() {
    if !may_unshare() {
        return;
    }
    let script = "\"$0\" serve --size=4M --size-max=4M --huge-pages=require; code=$?; \
                  ls -A /dev/shm; exit $code";
    let serve = run(&mut with_small_shm("64m,huge=never", script));
    serve.refused(3, &["/dev/shm is mounted with huge=never", "remount,huge=advise"]);
    let served = run(&mut with_small_shm("64m,huge=never", &serving("--huge-pages=try")));
    let memory = &served.done().json()["memory"];
    assert_eq!((&memory["huge_pages"], &memory["huge_bytes"]), (&json!("try"), &json!(0)));
    assert!(served.stderr.contains("huge=never"), "{served:?}");
}

/// A script that serves with these flags, says what `inspect` says of that, and ends.
fn serving(flags: &str) -> String {
    format!(
        "\"$0\" serve --size=32M --size-max=32M {flags} > /dev/shm/said & host=$!; \
         while kill -0 $host && ! grep -q serving /dev/shm/said; do sleep 0.05; done 2> /dev/null; \
         \"$0\" inspect --json; kill $host; wait $host"
    )
}

// r[verify cli.serve.memory]
// r[verify pool-memory.huge]
#[test]
fn a_host_has_its_memory_in_huge_pages_where_the_mount_gives_them() {
    if !may_unshare() {
        return;
    }
    let script = serving("--prefault --huge-pages=require");
    let served = run(&mut with_small_shm("256m,huge=advise", &script));
    if served.stderr.contains("came in huge pages") || served.stderr.contains("deny") {
        return println!("skipped: {}", served.stderr);
    }
    let memory = &served.done().json()["memory"];
    assert_eq!((&memory["prefault"], &memory["huge_pages"]), (&json!(true), &json!("require")));
    assert!(memory["huge_bytes"].as_u64() >= Some(32 << 20), "{memory}");
}
