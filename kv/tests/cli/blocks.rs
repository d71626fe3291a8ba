//! `put`, `get`, `exists`, `rm`.

use crate::rig::{Host, Running, Space, call, onecopy, run, through, write};
use rustix::process::Signal;
use serde_json::json;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The 32-byte key of the text `greeting`.
fn key_of(host: &Host, key: &str) -> String {
    host.guest(&["exists", key, "--json"]).json()["key"].as_str().unwrap_or_default().to_owned()
}

// r[verify cli.blocks]
// r[verify cli.exit]
#[test]
fn a_block_is_stored_found_and_deleted() {
    let space = Space::new();
    let host = Host::start(&space.join("segment"), &[]);
    assert_eq!(host.guest(&["exists", "greeting"]).code(), Some(1));
    host.put("greeting", b"hello").done();
    assert_eq!(host.guest(&["get", "greeting"]).done().text(), "hello");
    let exists = host.guest(&["exists", "greeting"]);
    assert_eq!((exists.done().text(), exists.stderr.as_str()), ("", ""));

    let second = host.put("greeting", b"other");
    assert!(second.done().stderr.contains("there is a block under this key already"), "{second:?}");
    assert_eq!(host.guest(&["get", "greeting"]).text(), "hello");

    let hex = key_of(&host, "greeting");
    assert_eq!(host.guest(&["get", "--hex", &hex]).text(), "hello");
    host.guest(&["rm", "greeting"]).done();
    host.guest(&["rm", "greeting"]).refused(1, &["no block", "\"greeting\""]);
    host.guest(&["get", "greeting"]).refused(1, &["no block", "\"greeting\""]);
    let gone = host.guest(&["exists", "greeting"]);
    assert_eq!((gone.code(), gone.stderr.as_str()), (Some(1), ""));
    // Every one of these guests said goodbye; none had to be found out.
    let stats = host.guest(&["stat", "--json"]).json();
    assert_eq!((&stats["recovered"], &stats["blocks"]), (&json!(0), &json!(0)), "{stats}");
}

// r[verify cli.json]
#[test]
fn with_json_there_is_one_object_and_nothing_else() {
    let space = Space::new();
    let host = Host::start(&space.join("segment"), &[]);
    let input = space.join("input");
    write(&input, b"hello");
    let key = key_of(&host, "k");
    let put = host.guest(&["put", "k", "--input", &input, "--checksum", "--ttl=60", "--json"]);
    assert_eq!(put.done().json(), json!({ "key": key, "bytes": 5, "new": true }));
    let put = host.guest(&["put", "k", "--input", &input, "--json"]);
    assert_eq!(put.done().json(), json!({ "key": key, "bytes": 5, "new": false }));
    assert_eq!(put.stderr, "");
    assert_eq!(
        host.guest(&["exists", "k", "--json"]).json(),
        json!({ "key": key, "exists": true })
    );
    let output = space.join("output");
    let get = host.guest(&["get", "k", "--verify", "--output", &output, "--json"]);
    assert_eq!(get.done().json(), json!({ "key": key, "bytes": 5, "found": true }));
    assert_eq!(std::fs::read(&output).unwrap(), b"hello");
    host.guest(&["get", "k", "--json"]).refused(2, &["--json needs --output"]);
    assert_eq!(host.guest(&["rm", "k", "--json"]).json(), json!({ "key": key, "deleted": true }));
    let gone = host.guest(&["rm", "k", "--json"]);
    assert_eq!((gone.code(), gone.json()), (Some(1), json!({ "key": key, "deleted": false })));
    let gone = host.guest(&["get", "k", "--output", &output, "--json"]);
    assert_eq!((gone.code(), gone.json()["found"].as_bool()), (Some(1), Some(false)));
    // What was there before is not touched where there is nothing to write.
    assert_eq!(std::fs::read(&output).unwrap(), b"hello");
    let ping = host.guest(&["ping", "--count=20", "--json"]).json();
    assert_eq!(ping["count"], 20);
    assert!(ping["p50_ns"].as_u64() <= ping["p99_ns"].as_u64(), "{ping}");
    assert!(ping["p99_ns"].as_u64() <= ping["max_ns"].as_u64(), "{ping}");
    host.guest(&["ping", "--count=20"]).done();
    let stat = host.guest(&["stat"]);
    assert!(stat.done().text().lines().any(|line| line.starts_with("pool_bytes_max ")), "{stat:?}");
}

// r[verify cli.blocks]
#[test]
fn blocks_of_every_size_up_to_the_largest() {
    let space = Space::new();
    let host = Host::start(&space.join("segment"), &[]);
    host.put("empty", b"").done();
    assert_eq!(host.guest(&["get", "empty"]).done().stdout, b"");
    let largest: Vec<u8> = (0..1 << 20).map(|number: u32| (number % 251) as u8).collect();
    host.put("largest", &largest).done();
    assert!(host.guest(&["get", "largest"]).done().stdout == largest);
    let too_large = vec![1; (1 << 20) + 1];
    host.put("more", &too_large).refused(4, &["more than 1048576 bytes", "1M", "--slot-max"]);
    let file = space.join("file");
    write(&file, &too_large);
    let refused = host.guest(&["put", "more", "--input", &file]);
    refused.refused(4, &["1048577 bytes", "1M", "--slot-max"]);
    assert_eq!(host.guest(&["exists", "more"]).code(), Some(1));
    // Input without an end is not read for ever.
    let endless = through("sh", &["-c", "yes | \"$0\" \"$@\""], &[]);
    let mut endless = endless;
    endless.args([env!("CARGO_BIN_EXE_onecopy"), "put", "yes", "--segment", &host.segment]);
    run(&mut endless).refused(4, &["standard input has more than"]);
}

// r[verify cli.closed_output]
#[test]
fn a_reader_that_has_seen_enough_is_no_error_and_a_full_disk_is() {
    let space = Space::new();
    let host = Host::start(&space.join("segment"), &[]);
    host.put("large", &vec![7; 1 << 20]).done();
    let get = ["get", "large", "--segment", &host.segment];
    let script = "\"$0\" \"$@\" | head -c 1 | wc -c; echo ${PIPESTATUS[0]}";
    let piped = [&["-c", script, env!("CARGO_BIN_EXE_onecopy")][..], &get].concat();
    let piped = run(&mut through("bash", &piped, &[]));
    assert_eq!(piped.done().text().split_whitespace().collect::<Vec<_>>(), ["1", "0"], "{piped:?}");
    assert_eq!(piped.stderr, "");
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    for args in
        [&get[..], &["stat", "--segment", &host.segment], &["inspect", "--segment", &host.segment]]
    {
        let mut command = onecopy(args);
        let child = command.stdin(Stdio::null()).stdout(full()).stderr(Stdio::piped());
        let output = child.spawn().unwrap().wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(4), "{args:?}: {said}");
        assert!(said.contains("standard output could not be written"), "{said}");
    }
    let file = host.guest(&["get", "large", "--output", "/dev/full"]);
    file.refused(4, &["/dev/full could not be written"]);
    let nowhere = host.guest(&["get", "large", "--output", "/nonexistent/file"]);
    nowhere.refused(4, &["/nonexistent/file could not be written"]);
    let missing = host.guest(&["put", "other", "--input", "/nonexistent/file"]);
    missing.refused(4, &["/nonexistent/file could not be read"]);
    host.guest(&["put", "other", "--input", "/dev/zero"]).refused(4, &["/dev/zero", "regular"]);
}

// r[verify cli.timeout]
#[test]
fn a_host_that_does_not_answer_is_not_waited_for_beyond_the_timeout() {
    let space = Space::new();
    let host = Host::start(&space.join("segment"), &[]);
    host.put("k", b"hello").done();
    host.running.signal(Signal::STOP);
    let started = Instant::now();
    for command in [&["get", "k"][..], &["ping"], &["stat"]] {
        let args = [command, &["--segment", &host.segment, "--timeout=0.2"]].concat();
        let late = call(&args);
        assert!(matches!(late.code(), Some(3 | 4)), "{late:?}");
        late.refused(late.code().unwrap(), &["deadline"]);
    }
    // Far below the default of 10 s each.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    host.running.signal(Signal::CONT);
    assert_eq!(host.guest(&["get", "k"]).done().text(), "hello");
}

// r[verify cli.exit]
#[test]
fn a_host_that_goes_away_meanwhile_is_no_host() {
    let space = Space::new();
    let host = Host::start(&space.join("segment"), &[]);
    let args = ["put", "k", "--segment", &host.segment];
    // It is attached, and waits for its input while the host goes.
    let mut command = onecopy(&args);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let deadline = Instant::now() + crate::rig::PATIENCE;
    // The guest that asks is one of them.
    while host.guest(&["stat", "--json"]).json()["guests"] != 2 {
        assert!(Instant::now() < deadline);
    }
    host.die();
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("the host is gone"), "{said}");
}

// r[verify cli.log]
#[test]
fn what_happens_is_told_on_standard_error_as_the_environment_asks() {
    let space = Space::new();
    let host = Host::start(&space.join("segment"), &[]);
    host.put("k", b"hello").done();
    let get = ["get", "k", "--segment", &host.segment];
    let quiet = call(&get);
    assert_eq!((quiet.text(), quiet.stderr.as_str()), ("hello", ""));
    let loud = run(onecopy(&get).env("RUST_LOG", "trace"));
    assert_eq!(loud.done().text(), "hello");
    let wrong = run(onecopy(&get).env("RUST_LOG", "a=b=c"));
    assert_eq!(wrong.done().text(), "hello");
    assert!(wrong.stderr.contains("RUST_LOG=a=b=c is not understood"), "{wrong:?}");
    assert!(!wrong.stderr.contains('\u{1b}'), "no colours where nobody looks: {wrong:?}");
    let mut told = onecopy(&["serve", "--segment", &space.join("loud"), "--size=4M", "--rm"]);
    let told = Running::start(told.env("RUST_LOG", "info").arg("--size-max=64M"));
    let deadline = Instant::now() + crate::rig::PATIENCE;
    while call(&["ping", "--count=1", "--segment", &space.join("loud")]).code() != Some(0) {
        assert!(Instant::now() < deadline);
    }
    told.signal(Signal::TERM);
    let told = told.end();
    assert!(told.stderr.contains("INFO") && !told.text().contains("INFO"), "{told:?}");
}
