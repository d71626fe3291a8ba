//! The comparison runs, counts nothing that is wrong, and leaves nothing behind.
#![expect(clippy::expect_used, reason = "helpers of tests fail their test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_onecopy-compare");

fn compare(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).stdin(Stdio::null()).output().expect("running")
}

/// A directory for one test's report.
fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    directory
}

/// The systems that are there: those of other people's programs may not be.
fn systems() -> Vec<&'static str> {
    let mut systems = vec!["onecopy-direct", "onecopy-ring", "lmdb", "iceoryx"];
    for (system, program) in [("redis", "redis-server"), ("memcached", "memcached")] {
        if Command::new(program).arg("--version").output().is_ok() {
            systems.push(system);
        } else {
            println!("{system} is not looked at: {program} is not there");
        }
    }
    systems
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        sleep(Duration::from_millis(5));
    }
}

/// Whether anything of the run of this process is in shared memory.
fn has_files(run: u32) -> bool {
    let name = format!("onecopy-compare-{run}");
    let mut files = fs::read_dir("/dev/shm").expect("looking").flatten();
    files.any(|file| {
        let found = file.file_name().to_string_lossy().into_owned();
        found == name || found.starts_with(&format!("{name}_"))
    })
}

/// The processes of the run, whose arguments name its directory.
fn processes(run: u32) -> usize {
    let directory = format!("/dev/shm/onecopy-compare-{run}");
    let processes = fs::read_dir("/proc").expect("looking").flatten();
    let arguments = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    arguments.filter(|line| String::from_utf8_lossy(line).contains(&directory)).count()
}

#[test]
fn every_system_is_measured_in_every_way() {
    let out = directory("tiny");
    let output =
        compare(&["peers", "--tiny", "--rounds", "1", "--out", out.to_str().expect("text")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(out.join("compare.json")).expect("a report");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (header, figures) = lines.split_first().expect("a header");
    assert!(header["machine"]["cpu"].is_string() && header["machine"]["command"].is_string());
    for system in systems() {
        for (measure, numbers) in [
            ("get-ends", &[64, 4096, 262_144][..]),
            ("get-sum", &[64, 4096, 262_144]),
            ("put", &[64, 4096, 262_144]),
            ("batch", &[1, 4, 64]),
            ("guests", &[1, 2]),
        ] {
            // A put is the same however blocks are looked up.
            let numbers =
                if (system, measure) == ("onecopy-direct", "put") { &[] } else { numbers };
            for number in numbers {
                let mut found = figures.iter().filter(|figure| {
                    figure["system"] == system
                        && figure["measure"] == measure
                        && figure["number"] == *number
                });
                let figure =
                    found.next().unwrap_or_else(|| unreachable!("{system} {measure} {number}"));
                assert!(figure["median"].as_f64().expect("a number") > 0.0, "{figure}");
            }
        }
        let version = header["versions"].as_array().expect("versions").iter();
        assert!(version.clone().any(|version| version["system"] == system), "{header}");
    }
    for plot in ["get-by-size.svg", "read-by-size.svg", "get-by-batch.svg", "get-by-guests.svg"] {
        let svg = fs::read_to_string(out.join(plot)).expect("a plot");
        assert!(svg.contains("LMDB") && svg.contains("iceoryx2"), "{plot}");
    }
}

#[test]
fn lookups_are_measured_by_blocks_and_by_guests() {
    let out = directory("scale");
    let text = out.to_str().expect("text");
    let output = compare(&[
        "scale",
        "--blocks",
        "1000,2000",
        "--among",
        "2000",
        "--guests",
        "1,2",
        "--rounds",
        "1",
        "--slice-ms",
        "1",
        "--json",
        "--out",
        text,
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let (header, figures) = lines.split_first().expect("a header");
    assert!(header["machine"]["cpu"].is_string(), "{header}");
    let found = |way: &str, among: Value, number: u64| {
        figures.iter().any(|figure| {
            figure["way"] == way
                && figure["among"] == among
                && figure["number"] == number
                && figure["median"].as_f64().is_some_and(|median| median > 0.0)
        })
    };
    for way in ["chase", "one", "read", "batch", "prefix", "ring"] {
        assert!(found(way, Value::Null, 1000) && found(way, Value::Null, 2000), "{way}");
    }
    for way in ["one", "batch", "ring"] {
        assert!(found(way, 2000.into(), 1) && found(way, 2000.into(), 2), "{way}");
    }
    for plot in ["lookup-by-blocks.svg", "lookup-by-guests.svg"] {
        let svg = fs::read_to_string(out.join(plot)).expect("a plot");
        assert!(svg.contains("over the ring"), "{plot}");
    }
}

#[test]
fn a_wrong_word_in_one_block_ends_the_run() {
    for system in systems() {
        let output = compare(&["peers", "--tiny", "--systems", system, "--spoil", system]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{system} went on with wrong bytes");
        assert!(text.contains("wrong content"), "{system}: {text}");
    }
}

/// A run that is killed at the end of its test, however that ends.
struct Running(Child);

impl Running {
    fn start() -> Running {
        let mut command = Command::new(PROGRAM);
        command.args(["peers", "--tiny", "--rounds", "1000000"]).stdout(Stdio::null());
        Running(command.spawn().expect("starting"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_killed_run_leaves_no_process_and_no_file() {
    let mut running = Running::start();
    let run = running.0.id();
    // Hosts, guests, owners; where they are there, also other people's programs.
    wait_until("the start of many processes", || processes(run) > 10);
    running.0.kill().expect("killing the run");
    wait_until("the end of its processes", || processes(run) == 0);
    wait_until("the removal of its files", || !has_files(run));
}

#[test]
fn a_process_of_a_run_started_by_hand_refuses() {
    let output = compare(&[
        "--parent",
        "1",
        "host",
        "nowhere",
        "--pool-bytes",
        "1",
        "--granule-bytes",
        "64",
    ]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("parent"), "{output:?}");
}
