//! The benchmarks run, say what they should, and leave no process behind.
#![expect(clippy::expect_used, reason = "helpers of tests fail their test")]

use std::fs;
use std::path::PathBuf;
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

const HOST: [&str; 18] = [
    "host_publish_1",
    "host_publish_2",
    "host_publish_4",
    "host_publish_8",
    "host_publish_16",
    "host_publish_32",
    "host_publish_64",
    "host_lookup_1",
    "host_lookup_2",
    "host_lookup_4",
    "host_lookup_8",
    "host_lookup_16",
    "host_lookup_32",
    "host_lookup_64",
    "host_idle_0",
    "host_idle_16",
    "host_idle_64",
    "host_sparse",
];

/// Without a place that has huge pages.
const POOL: [&str; 9] = [
    "pool_fill_64k_populate",
    "pool_fill_64k_prefault_host",
    "pool_fill_64k_prefault",
    "pool_fill_1m_populate",
    "pool_fill_1m_prefault_host",
    "pool_fill_1m_prefault",
    "pool_read_1m_prefault",
    "pool_start_prefault",
    "pool_start_numa",
];

#[test]
fn each_figure_has_its_baseline() {
    for (bench_name, names) in [
        ("ring", &["ring_round_trip_64", "ring_round_trip_56", "ring_depth_64"][..]),
        ("publish", &["publish"]),
        ("lookup", &["lookup"]),
        ("restart", &["restart_1k", "restart_10k", "restart_100k", "restart_1m"]),
        ("wake", &["wake_round_trip"]),
        ("get", &["get"]),
        ("get-hot", &["get_hot"]),
        ("get-1m", &["get_1m"]),
        ("batch", &["batch_64_of_1m", "batch_64_of_10m"]),
        ("match", &["match_hot", "match"]),
        ("readers", &["readers", "readers_private"]),
        ("pool", &POOL),
        ("host", &HOST),
        ("reuse", &["reuse_spare", "reuse_full"]),
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

#[test]
fn reclaim_tells_the_hosts_part_and_the_kernels() {
    let spans = spans("reclaim", "2");
    let [reclaim, teardown] = spans.as_slice() else { unreachable!("{spans:?}") };
    assert_eq!((&reclaim["name"], &teardown["name"]), (&"reclaim".into(), &"teardown".into()));
    for figure in [reclaim, teardown] {
        assert_eq!((&figure["slots"], &figure["count"]), (&1000.into(), &4.into()), "{figure}");
        let number = |name: &str| figure[name].as_u64().expect(name);
        assert!(number("p50_ns") <= number("p99_ns") && number("p99_ns") <= number("max_ns"));
    }
    let touched = teardown["touched_bytes"].as_u64().expect("touched");
    assert!(touched >= 1000 << 16, "{teardown}");
    assert!(reclaim.get("touched_bytes").is_none(), "{reclaim}");
}

#[test]
fn every_way_of_copying_in_is_told_of_with_what_its_readers_pay() {
    let lines = figures("copy");
    let names: Vec<&str> = lines.iter().filter_map(|line| line["name"].as_str()).collect();
    for size in ["64k", "1m", "4m", "8m", "16m"] {
        // What else there is depends on the processor.
        for part in ["", "_read_here", "_whole"] {
            let name = format!("copy_{size}_copy_in{part}");
            assert!(names.contains(&&*name), "{name} in {names:?}");
        }
    }
    for figure in &lines[1..] {
        let number = |name: &str| figure[name].as_f64().expect(name);
        assert!(number("baseline_ns") > 0.0 && number("ns") > 0.0, "{figure}");
        assert!(number("ratio_min") <= number("ratio"), "{figure}");
        assert_eq!(
            (&figure["rounds"], &figure["baseline"]),
            (&3.into(), &"copy_from_slice".into())
        );
    }
}

/// The spans of a benchmark that says nothing else, behind its header.
fn spans(bench_name: &str, trips: &str) -> Vec<Value> {
    let output = bench(&[bench_name, "--json", "--rounds", "2", "--trips", trips]).output();
    let output = output.expect("running");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let header = lines.next().expect("a header");
    assert!(header["machine"]["cpu"].is_string(), "{header}");
    lines.collect()
}

#[test]
fn publishing_is_timed_before_and_during_each_doubling() {
    let spans = spans("doubling", "3000");
    let [stable, doubling] = spans.as_slice() else { unreachable!("{spans:?}") };
    assert_eq!((&stable["name"], &stable["count"]), (&"publish_stable".into(), &768.into()));
    assert_eq!((&doubling["name"], &doubling["count"]), (&"publish_doubling".into(), &768.into()));
}

#[test]
fn attaching_is_timed_with_and_without_leases() {
    let spans = spans("attach", "600");
    let names: Vec<_> = spans.iter().filter_map(|span| span["name"].as_str()).collect();
    let expected = ["attach", "attach_beside", "lease_all", "reattach_idle", "reattach_holding"];
    assert_eq!(names, expected);
    let touched = |index: usize| spans[index]["touched_bytes"].as_u64().expect("touched");
    assert!(touched(0) > 0 && touched(2) > touched(0), "{spans:?}");
    assert_eq!((&spans[0]["count"], &spans[3]["count"]), (&1200.into(), &2.into()));
}

/// A benchmark that is killed at the end of its test, however that ends.
struct Running(Child);

impl Running {
    fn start(bench_name: &str) -> Running {
        let mut command = bench(&[bench_name, "--rounds", "100000"]);
        Running(command.stdout(Stdio::null()).spawn().expect("starting"))
    }

    /// The processes it started, with their arguments.
    fn partners(&self) -> Vec<(u32, String)> {
        let parent = format!("\nPPid:\t{}\n", self.0.id());
        let processes = fs::read_dir("/proc").expect("reading /proc").flatten();
        let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter(|id| {
            fs::read_to_string(format!("/proc/{id}/status"))
                .is_ok_and(|status| status.contains(&parent))
        })
        .map(|id| (id, arguments(id)))
        .collect()
    }

    /// What SIGKILL does, without waiting for it, so that the id stays its own.
    fn kill(&mut self) {
        self.0.kill().expect("killing the benchmark");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The arguments of a process; none when it has ended.
fn arguments(id: u32) -> String {
    fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default()
}

fn is_gone(id: u32) -> bool {
    !arguments(id).contains("onecopy-bench")
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_partner_does_not_outlive_a_killed_parent() {
    let mut running = Running::start("ring");
    let mut partners = Vec::new();
    wait_until("the start of a partner", || {
        partners = running.partners();
        partners.iter().any(|(_, arguments)| arguments.contains("partner\0ring"))
    });
    running.kill();
    wait_until("the end of the partners", || partners.iter().all(|(id, _)| is_gone(*id)));
}

#[test]
fn a_killed_parent_leaves_no_segment() {
    let mut running = Running::start("lookup");
    let mut host = None;
    wait_until("the start of a host", || {
        host = running.partners().into_iter().find_map(|(id, arguments)| {
            let (_, rest) = arguments.split_once("cache-host\0")?;
            Some((id, PathBuf::from(rest.split('\0').next()?)))
        });
        host.as_ref().is_some_and(|(_, segment)| segment.join("host.sock").exists())
    });
    running.kill();
    let (id, segment) = host.expect("a host");
    wait_until("the removal of the segment", || !segment.exists());
    wait_until("the end of the host", || is_gone(id));
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
