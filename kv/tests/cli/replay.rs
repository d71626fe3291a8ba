//! `replay`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use crate::rig::{Host, PATIENCE, Running, Space, call, onecopy, write};
use onecopy::policy::PolicyKind;
use onecopy::replay::generator::{GeneratorOptions, generate};
use onecopy::replay::simulate::{Simulation, simulate_shared};
use onecopy::replay::trace::Trace;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A trace of so many conversations, and the file it is in.
fn trace(space: &Space, conversations: u32) -> (Trace, String) {
    let options = GeneratorOptions { conversations, ..GeneratorOptions::default() };
    let trace = generate(&options).unwrap();
    let lines: Vec<String> = trace
        .requests()
        .map(|request| {
            let line = json!({
                "timestamp": request.timestamp_ms,
                "input_length": request.input_tokens,
                "output_length": request.output_tokens,
                "hash_ids": request.block_ids,
            });
            line.to_string()
        })
        .collect();
    let path = space.join("trace.jsonl");
    write(&path, lines.join("\n").as_bytes());
    (trace, path)
}

/// Either way a guest can find blocks: with one guest the figures are the same.
const LOOKUPS: [&str; 2] = ["--lookup=direct", "--lookup=ring"];

fn replay(trace: &str, more: &[&str]) -> Value {
    let args = [&["replay", "--json", "--trace", trace][..], more].concat();
    let outcome = call(&args);
    assert_eq!(outcome.stderr, "", "no progress where nobody looks: {outcome:?}");
    outcome.done().json()
}

#[track_caller]
fn assert_clean(report: &Value, requests: usize) {
    assert_eq!(report["requests"], requests, "{report}");
    assert_eq!((&report["mismatches"], &report["audit"]), (&json!(0), &json!("clean")), "{report}");
    assert_eq!(report["guests_killed"], report["guests_recovered"], "{report}");
    assert!(report["requests_redone"].as_u64() <= report["guests_killed"].as_u64(), "{report}");
}

// r[verify cli.replay.exact]
// r[verify cli.json]
#[test]
fn one_guest_hits_exactly_what_the_policy_says() {
    let space = Space::new();
    let (trace, path) = trace(&space, 24);
    for (policy, capacity) in
        [(PolicyKind::Lru, 60), (PolicyKind::Fifo, 60), (PolicyKind::Lru, 150)]
    {
        let mut expected = Simulation::new(policy, capacity);
        trace.requests().take(100).for_each(|request| expected.request(request.block_ids));
        let expected = expected.outcome();
        let (capacity, policy) = (capacity.to_string(), policy.to_string());
        for lookup in LOOKUPS {
            let args = ["--guests=1", "--requests=100", "--block-size=4K", "--size=1M", lookup];
            let capacity = ["--policy", &policy, "--capacity-blocks", &capacity];
            let report = replay(&path, &[&args[..], &capacity].concat());
            assert_clean(&report, 100);
            assert_eq!(report["hits"], expected.hits, "{lookup} {capacity:?}: {report}");
            assert_eq!(report["references"], expected.references, "{report}");
            assert_eq!(report["bytes_verified"], expected.hits * 4096, "{report}");
            for figure in ["lookup_ns", "publish_ns"] {
                let (p50, p99) = (report[figure]["p50"].as_f64(), report[figure]["p99"].as_f64());
                assert!(p50 > Some(0.0) && p50 <= p99, "{figure}: {report}");
            }
            let nobody_died = (&Value::Null, &json!(0));
            assert_eq!((&report["recovery_ms"], &report["guests_killed"]), nobody_died);
        }
    }
    // Odd sizes, no bound: every block of the trace stays.
    let report = replay(&path, &["--block-size=77", "--size=1M"]);
    assert_clean(&report, trace.request_count());
    let unbounded = simulate_shared(&trace, PolicyKind::Lru, u32::MAX);
    assert!(report["hits"].as_u64() <= Some(unbounded.hits), "{report}");
}

/// The published figures for this trace. In a debug build only a part of it: its beginning, against
/// the simulation.
// r[verify cli.replay.exact]
#[test]
fn the_published_trace_gives_the_published_figures() {
    let Some(path) = std::env::var_os("ONECOPY_TRACE").map(PathBuf::from) else {
        eprintln!("skipped: ONECOPY_TRACE names no trace");
        return;
    };
    let (text, trace) = (path.to_str().unwrap().to_owned(), Trace::read(&path).unwrap());
    let part = cfg!(debug_assertions);
    let requests = if part { 1_500 } else { trace.request_count() };
    for (capacity, percent) in [(1_000, 4.45), (10_000, 21.12), (30_000, 32.57)] {
        let mut expected = Simulation::new(PolicyKind::Lru, capacity);
        trace.requests().take(requests).for_each(|request| expected.request(request.block_ids));
        let (capacity, requests) = (capacity.to_string(), requests.to_string());
        for lookup in LOOKUPS {
            let args = ["--guests=1", "--block-size=4K", "--requests", &requests, lookup];
            let report = replay(&text, &[&args[..], &["--capacity-blocks", &capacity]].concat());
            assert_clean(&report, requests.parse().unwrap());
            assert_eq!(report["hits"], expected.outcome().hits, "{lookup} {capacity}: {report}");
            let found = report["hit_rate_percent"].as_f64().unwrap();
            assert!(part || (found - percent).abs() < 0.005, "{lookup} {capacity}: {report}");
        }
        if part {
            break;
        }
    }
}

// r[verify cli.replay.kill]
#[test]
fn killed_guests_are_recovered_and_their_requests_done_again() {
    let space = Space::new();
    let (trace, path) = trace(&space, 120);
    let args = ["--guests=3", "--kill-guest-every=0.01", "--capacity-blocks=300", "--size=2M"];
    let report = replay(&path, &[&args[..], &["--block-size=64K"]].concat());
    assert_clean(&report, trace.request_count());
    assert!(report["guests_killed"].as_u64() >= Some(2), "{report}");
    assert!(report["requests_redone"].as_u64() >= Some(1), "{report}");
    assert!(report["recovery_ms"]["p50"].as_f64() > Some(0.0), "{report}");
    assert!(report["grown_to_bytes"].as_u64() > report["grown_from_bytes"].as_u64(), "{report}");
    assert_eq!(report["references"], trace.reference_count(), "{report}");
}

/// Ten requests, a tenth of a second of the trace apart, and a kill whenever one is worked on.
// r[verify cli.replay.speed]
#[test]
fn with_a_speed_requests_arrive_when_the_trace_says() {
    let space = Space::new();
    let line = |at: u64| {
        let hash_ids: Vec<u64> = (at * 8..at * 8 + 8).collect();
        let line = json!({ "timestamp": 7_000 + at * 100, "input_length": 8 * 512,
                           "output_length": 1, "hash_ids": hash_ids });
        line.to_string()
    };
    let lines: Vec<String> = (0..10).map(line).collect();
    let path = space.join("trace.jsonl");
    write(&path, lines.join("\n").as_bytes());
    let seconds = |more: &[&str]| {
        let report = replay(&path, &[&["--guests=2", "--block-size=4K"], more].concat());
        assert_clean(&report, 10);
        report["seconds"].as_f64().unwrap()
    };
    // The last one arrives after 900 milliseconds of the trace.
    assert!(seconds(&["--speed=1"]) >= 0.9);
    assert!(seconds(&["--speed=2", "--kill-guest-every=0.05"]) >= 0.45);
    for wrong in ["0", "-1", "nan", "2000000", "fast"] {
        let outcome = call(&["replay", "--trace", &path, "--speed", wrong]);
        assert_eq!(outcome.code(), Some(2), "{outcome:?}");
    }
}

// r[verify cli.replay.kill]
#[test]
fn a_guest_that_somebody_else_kills_counts_as_killed() {
    let space = Space::new();
    let (trace, path) = trace(&space, 400);
    let args = ["replay", "--json", "--trace", &path, "--guests=2", "--block-size=64K"];
    let running = Running::start(onecopy(&args).arg("--capacity-blocks=300"));
    // At whatever it is: before its attach it holds nothing, and the host knows nothing of it.
    let guest = guests_of(running.pid())[0];
    std::thread::sleep(Duration::from_millis(100));
    // It may have ended by itself on a machine that stood still meanwhile.
    let _ = kill_process(Pid::from_raw(guest).unwrap(), Signal::KILL);
    let ended = running.end();
    let report = ended.done().json();
    assert_clean(&report, trace.request_count());
    assert!(report["guests_killed"].as_u64() <= Some(1), "{report}");
}

// r[verify cli.replay.segment]
#[test]
fn a_replay_on_a_host_that_is_there_leaves_it_and_its_blocks() {
    let space = Space::new();
    let (trace, path) = trace(&space, 30);
    let host = Host::start(&space.join("segment"), &["--capacity-blocks=200"]);
    host.put("mine", b"hello").done();
    let segment = ["--segment", &host.segment];
    let report = replay(&path, &[&segment[..], &["--block-size=8K", "--guests=2"]].concat());
    assert_clean(&report, trace.request_count());
    let stat = host.guest(&["stat", "--json"]).json();
    assert_eq!(stat["blocks"], 200, "{stat}");
    let killing = ["--block-size=64K", "--guests=2", "--kill-guest-every=0.01"];
    let report = replay(&path, &[&segment[..], &killing].concat());
    assert_clean(&report, trace.request_count());
    assert!(report["guests_killed"].as_u64() >= Some(1), "{report}");
    assert_eq!(host.guest(&["inspect", "--json"]).json()["audit"], "clean");
    for flag in ["--size=1M", "--size-max=1M", "--capacity-blocks=1", "--policy=lru"] {
        let args = [&["replay", "--trace", &path][..], &segment, &[flag]].concat();
        let conflict = call(&args);
        assert_eq!(conflict.code(), Some(2), "{conflict:?}");
        let name = flag.split('=').next().unwrap();
        assert!(conflict.stderr.contains("cannot be used with") && conflict.stderr.contains(name));
    }
    let args = [&["replay", "--trace", &path, "--block-size=2M"][..], &segment].concat();
    call(&args).refused(4, &["--block-size 2M", "1M"]);
    let nobody = call(&["replay", "--trace", &path, "--segment", &space.join("other")]);
    nobody.refused(3, &["no segment"]);
    host.leave().done();
}

// r[verify cli.replay.trace]
#[test]
fn a_trace_that_cannot_be_used_is_named_with_its_line() {
    let space = Space::new();
    call(&["replay", "--trace", "/nonexistent/trace"]).refused(4, &["/nonexistent/trace"]);
    let good = "{\"timestamp\":0,\"input_length\":1,\"output_length\":1,\"hash_ids\":[1]}\n";
    let cases = [
        (format!("{good}{good}{{}}\n"), "line 3"),
        (format!("{good}{}", good.replace("[1]", "[1,2]")), "line 2: hash_ids: 2 block ids"),
        ("\n".to_owned(), "no request in it"),
    ];
    for (text, words) in cases {
        let path = space.join("wrong");
        write(&path, text.as_bytes());
        call(&["replay", "--trace", &path]).refused(4, &[&path, words]);
    }
    call(&["replay"]).code().filter(|code| *code == 2).expect("--trace is missing");
    let sizes = ["replay", "--trace", "x", "--size=2M", "--size-max=1M", "--block-size=0"];
    assert_eq!(call(&sizes).code(), Some(2));
    write(space.join("one"), good.as_bytes());
    let sizes = ["replay", "--trace", &space.join("one"), "--size=2M", "--size-max=1M"];
    call(&sizes).refused(2, &["--size 2M", "--size-max 1M"]);
}

// r[verify cli.replay.leaves_nothing]
// r[verify cli.exit]
#[test]
fn interrupted_it_leaves_nothing_and_ends_its_guests() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut command = onecopy(&["demo"]);
        let running = Running::start(&mut command);
        let (segment, guests) = segment_and_guests(running.pid());
        assert!(segment.exists());
        // In a terminal the guests would get it too.
        for guest in &guests {
            let _ = kill_process(Pid::from_raw(*guest).unwrap(), signal);
        }
        running.signal(signal);
        let ended = running.end();
        assert_eq!((ended.code(), ended.stderr.as_str()), (Some(130), ""), "{ended:?}");
        assert!(!segment.parent().unwrap().exists(), "{segment:?} is left");
        assert!(guests.iter().all(|guest| !is_running(*guest)), "{guests:?}");
    }
}

// r[verify cli.replay.leftovers]
#[test]
fn what_a_killed_replay_left_goes_with_the_next_one() {
    let running = Running::start(&mut onecopy(&["demo"]));
    let (segment, guests) = segment_and_guests(running.pid());
    running.signal(Signal::KILL);
    assert_eq!(running.end().code(), None);
    let deadline = Instant::now() + PATIENCE;
    while guests.iter().any(|guest| is_running(*guest)) {
        assert!(Instant::now() < deadline, "a guest outlives its replay");
        std::thread::sleep(Duration::from_millis(5));
    }
    call(&["demo", "--conversations=1"]).done();
    assert!(!segment.exists(), "{segment:?} is left");
}

/// Waits until a replay has guests, and says which, and where its segment is.
fn segment_and_guests(replay: i32) -> (PathBuf, Vec<i32>) {
    let guests = guests_of(replay);
    let words = words_of(guests[0]);
    let at = words.iter().position(|word| word == "--segment").unwrap();
    (PathBuf::from(&words[at + 1]), guests)
}

/// The guests that a replay has started, once there are any. The host in it has processes of its own
/// for a moment, to make memory real.
fn guests_of(replay: i32) -> Vec<i32> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The host's thread starts no guests, so they are children of the first thread.
        let children = std::fs::read_to_string(format!("/proc/{replay}/task/{replay}/children"));
        let children = children.unwrap();
        let children = children.split_whitespace().map(|pid| pid.parse().unwrap());
        let guests: Vec<i32> = children
            .filter(|pid| words_of(*pid).iter().any(|word| word == "replay-guest"))
            .collect();
        if !guests.is_empty() {
            return guests;
        }
        assert!(is_running(replay), "process {replay} ended before it was looked at");
        assert!(Instant::now() < deadline, "process {replay} starts no guests");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The command line of a process; nothing if it is gone.
fn words_of(pid: i32) -> Vec<String> {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = command.split(|byte| *byte == 0);
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().unwrap_or_default();
    !stat.is_empty() && !state.starts_with('Z')
}
