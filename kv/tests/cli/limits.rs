//! Too little room, too few descriptors.

use crate::rig::{Host, SMALL, Space, call, may_unshare, names, run, through};
use rustix::process::Signal;

/// Runs a script in a mount namespace with a tmpfs of this size (more options may follow) over /dev/shm;
/// `$0` is the program.
pub fn with_small_shm(size: &str, script: &str) -> std::process::Command {
    let script = format!("mount -t tmpfs -o size={size} tmpfs /dev/shm && {script}");
    through("unshare", &["-m", "sh", "-c", &script, env!("CARGO_BIN_EXE_onecopy")], &[])
}

// r[verify cli.room]
#[test]
fn too_little_shared_memory_is_an_error_that_names_the_mount_and_the_flags() {
    if !may_unshare() {
        return;
    }
    let serve =
        run(&mut with_small_shm("64m", "\"$0\" serve; code=$?; ls -A /dev/shm; exit $code"));
    serve.refused(3, &["/dev/shm (tmpfs) has 64.0 MiB", "--size", "--pool", "--shm-size"]);
    let demo = run(&mut with_small_shm("8m", "\"$0\" demo; code=$?; ls -A /dev/shm; exit $code"));
    demo.refused(3, &["/dev/shm (tmpfs) has 8.0 MiB", "--shm-size"]);
    let line = r#"{"timestamp":0,"input_length":1,"output_length":1,"hash_ids":[1]}"#;
    let space = Space::new();
    let trace = space.join("trace");
    std::fs::write(&trace, line).unwrap();
    // The namespace has another /dev/shm: the trace is opened before.
    let mut replay = through(
        "unshare",
        &[
            "-m",
            "sh",
            "-c",
            "exec 3< \"$1\"; mount -t tmpfs -o size=8m tmpfs /dev/shm && \
           exec \"$0\" replay --trace /dev/fd/3 --guests 1",
            env!("CARGO_BIN_EXE_onecopy"),
            &trace,
        ],
        &[],
    );
    let replay = run(&mut replay);
    replay.refused(3, &["/dev/shm (tmpfs) has 8.0 MiB", "--size", "--shm-size"]);
    assert!(!replay.stderr.contains("--pool"), "a replay has no such flag: {replay:?}");
}

// r[verify cli.demo]
#[test]
fn the_demo_fits_the_shared_memory_that_containers_have() {
    if !may_unshare() {
        return;
    }
    let script = "\"$0\" demo --conversations=30 --json && ls -A /dev/shm >&2";
    let demo = run(&mut with_small_shm("64m", script));
    assert_eq!(demo.done().json()["replay"]["audit"], "clean");
    assert_eq!(demo.stderr, "", "left in /dev/shm: {demo:?}");
}

// r[verify segment.start_undone]
#[test]
fn a_start_that_fails_leaves_nothing() {
    let space = Space::new();
    let segment = space.join("segment");
    let huge = ["serve", "--size=60T", "--size-max=60T", "--segment", &segment];
    call(&huge).refused(3, &["needed"]);
    assert_eq!(space.names(), [""; 0]);
    // A directory that was there stays.
    std::fs::create_dir(&segment).unwrap();
    call(&huge).refused(3, &["needed"]);
    assert_eq!((space.names(), names(&segment)), (vec!["segment".to_owned()], vec![]));
    let pool = space.join("missing/pool");
    let args = [&SMALL[..], &["--segment", &segment, "--pool", &pool]].concat();
    call(&args).refused(3, &[&pool]);
    assert_eq!(names(&segment), [""; 0]);
    // What fails only when the pool is there already.
    let script = "ulimit -f 1024; exec \"$0\" \"$@\"";
    let before = ["-c", script, env!("CARGO_BIN_EXE_onecopy")];
    let args = ["serve", "--size=4M", "--size-max=64M", "--segment", &segment];
    let limited = run(&mut through("sh", &before, &args));
    assert_eq!((limited.code(), limited.stderr.lines().count()), (Some(3), 1), "{limited:?}");
    assert_eq!(names(&segment), [""; 0]);
}

// r[verify cli.demo]
#[test]
fn with_too_few_descriptors_a_demo_fails_and_leaves_nothing() {
    if !may_unshare() {
        return;
    }
    // The inner shell only sets the limit: it has too few descriptors for anything else.
    let script = "for n in 6 9 12 15 18 21 24; do \
         limited=\"ulimit -n $n; exec \\\"\\$0\\\" demo --conversations=30\"; \
         said=$(sh -c \"$limited\" \"$0\" 2>&1 > /dev/null); echo $?; \
         case \"$said\" in *panic*) echo \"$said\";; esac; ls -A /dev/shm; done";
    let demos = run(&mut with_small_shm("200m", script));
    let codes: Vec<&str> = demos.done().text().split_whitespace().collect();
    assert_eq!(codes.len(), 7, "left in /dev/shm, or panicked: {demos:?}");
    assert!(codes.iter().all(|code| matches!(*code, "0" | "3" | "4")), "{demos:?}");
    assert!(codes[0] != "0", "{demos:?}");
}

// r[verify cli.serve.size]
#[test]
fn a_pool_grows_beyond_its_first_size() {
    let space = Space::new();
    let host = Host::start(&space.join("segment"), &[]);
    for number in 0..12 {
        host.put(&number.to_string(), &vec![number; 1 << 20]).done();
    }
    let stat = host.guest(&["stat", "--json"]).json();
    assert!(stat["pool_bytes"].as_u64() > Some(12 << 20), "{stat}");
    assert_eq!(stat["blocks"], 12);
    host.running.signal(Signal::TERM);
    host.running.end().done();
}

// r[verify cli.serve.ring]
#[test]
fn the_smallest_ring_serves_every_command() {
    let space = Space::new();
    let host = Host::start(&space.join("segment"), &["--ring=1K"]);
    let block: Vec<u8> = (0..900_000_u32).map(|number| number as u8).collect();
    host.put("block", &block).done();
    assert_eq!(host.guest(&["get", "block"]).done().stdout, block);
    assert_eq!(host.guest(&["stat", "--json"]).done().json()["blocks"], 1);
    assert_eq!(host.guest(&["inspect", "--json"]).done().json()["audit"], "clean");
    let trace = space.join("trace");
    let hash_ids: Vec<u64> = (0..200).collect();
    let line = serde_json::json!({ "timestamp": 0, "input_length": 200 * 512, "output_length": 1,
                                   "hash_ids": hash_ids });
    std::fs::write(&trace, format!("{line}\n{line}\n")).unwrap();
    let replay = ["replay", "--guests=1", "--block-size=4K", "--json", "--trace", &trace];
    assert_eq!(host.guest(&replay).done().json()["hits"], 200);
    host.leave().done();
}

// r[verify cli.serve.polling]
#[test]
fn a_host_that_polls_never_lies_down() {
    let space = Space::new();
    for (name, options, never_sleeps) in
        [("polling", &["--polling"][..], true), ("sleeping", &[], false)]
    {
        let host = Host::start(&space.join(name), options);
        host.put("block", b"bytes").done();
        assert_eq!(host.guest(&["get", "block"]).done().stdout, b"bytes");
        // Another guest is a process of its own: it takes longer than any host looks before it sleeps.
        let stat = host.guest(&["stat", "--json"]).done().json();
        assert_eq!(stat["sleeps"] == 0, never_sleeps, "{stat}");
        host.leave().done();
    }
}
