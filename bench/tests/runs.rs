//! The benchmarks run, say what they should, and leave no process behind.
#![expect(clippy::expect_used, reason = "helpers of tests fail their test")]

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

fn bench(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onecopy-bench"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn figures(bench_name: &str) -> Vec<Value> {
    let output =
        bench(&[bench_name, "--json", "--rounds", "3", "--trips", "50"]).output().expect("running");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{bench_name}: {errors}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn each_figure_has_its_baseline() {
    for (bench_name, names) in [
        ("ring", &["ring_round_trip_64", "ring_round_trip_56", "ring_depth_64"][..]),
        ("wake", &["wake_round_trip"]),
    ] {
        let lines = figures(bench_name);
        let (header, figures) = lines.split_first().expect("a header");
        assert!(header["machine"]["cpu"].is_string(), "{header}");
        assert!(header["commit"].is_string(), "{header}");
        let found: Vec<_> = figures.iter().map(|figure| figure["name"].as_str()).collect();
        let expected: Vec<_> = names.iter().copied().map(Some).collect();
        assert_eq!(found, expected);
        for figure in figures {
            let number = |name: &str| figure[name].as_f64().expect(name);
            assert!(number("baseline_ns") > 0.0 && number("ns") > 0.0, "{figure}");
            assert!(number("ratio_min") <= number("ratio"), "{figure}");
            assert!(number("ratio") <= number("ratio_max"), "{figure}");
            assert_eq!(figure["rounds"], 3, "{figure}");
        }
    }
}

/// The children of a process, as far as they are partners of a benchmark.
fn partners(parent: &Child) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("reading /proc").flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parent = format!("--parent\0{}\0", parent.id());
    ids.filter(|id| {
        let arguments = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains(&parent)
    })
    .collect()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_partner_does_not_outlive_a_killed_parent() {
    let mut parent = bench(&["ring", "--rounds", "100000"]).stdout(Stdio::null()).spawn().unwrap();
    wait_until("the start of a partner", || !partners(&parent).is_empty());
    parent.kill().expect("killing the parent");
    // Not waited for yet, so that its id stays its own.
    wait_until("the death of the partners", || partners(&parent).is_empty());
    parent.wait().expect("waiting for the parent");
}

#[test]
fn a_partner_started_by_hand_refuses() {
    let output = bench(&["partner", "ring", "--parent", "1"]).output().expect("running");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("parent"), "{output:?}");
}

#[test]
fn no_rounds_is_refused() {
    let output = bench(&["ring", "--rounds", "0"]).output().expect("running");
    assert_eq!(output.status.code(), Some(2));
}
