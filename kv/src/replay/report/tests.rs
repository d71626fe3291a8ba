use std::time::Duration;

use serde_json::json;

use super::{Grouped, Percentiles, ReplayReport, RunFigures, Table, duration_text};
use crate::replay::board::{RequestOutcome, Supervisor, Worker};

/// A board on which two requests of three are done, one of them after a kill.
fn board() -> Supervisor {
    let mut supervisor = Supervisor::create(1, 3).unwrap();
    supervisor.start(0).unwrap();
    let mut killed = Worker::join(supervisor.file(), 0).unwrap();
    assert_eq!(killed.take(), Some(0));
    killed.count_lookup(100);
    supervisor.recover(0).unwrap();
    supervisor.start(0).unwrap();
    let mut worker = Worker::join(supervisor.file(), 0).unwrap();
    for request in 0..2 {
        assert_eq!(worker.take(), Some(request));
        worker.count_lookup(100);
        let outcome = RequestOutcome {
            references: 600,
            hits: 150,
            lookup_ns: 1,
            publish_ns: 2,
            bytes_verified: 1 << 20,
            mismatches: u64::from(request),
        };
        worker.finish(request, &outcome).unwrap();
    }
    supervisor
}

fn run() -> RunFigures {
    RunFigures {
        duration: Duration::from_millis(500),
        guests_killed: 2,
        guests_recovered: 2,
        recoveries: vec![Duration::from_micros(1_500), Duration::from_millis(40)],
        requests_redone: 1,
        slots_taken_back: 7,
        grown_from_bytes: 64 << 20,
        grown_to_bytes: 3 << 29,
        audit_findings: vec![],
    }
}

// r[verify replay.report]
#[test]
fn the_report_has_the_fields_that_programs_read() {
    let report = ReplayReport::build(&board(), &run()).unwrap();
    assert_eq!(
        serde_json::to_value(&report).unwrap(),
        json!({
            "requests": 2,
            "references": 1200,
            "hits": 300,
            "hit_rate_percent": 25.0,
            "bytes_verified": 2 << 20,
            "mismatches": 1,
            // Of three lookups, one of them of the killed worker: the middle of 100 to 101 ns.
            "lookup_ns": { "p50": 101.0, "p99": 101.0 },
            "publish_ns": null,
            "seconds": 0.5,
            "requests_per_second": 4.0,
            "guests_killed": 2,
            "guests_recovered": 2,
            "requests_redone": 1,
            "slots_taken_back": 7,
            "recovery_ms": { "p50": 1.5, "p99": 40.031 },
            "grown_from_bytes": 64 << 20,
            "grown_to_bytes": 3 << 29,
            "audit": "clean",
        })
    );
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<ReplayReport>(&text).unwrap(), report);
}

// r[verify replay.report]
#[test]
fn anything_wrong_makes_it_unclean() {
    let report = ReplayReport::build(&board(), &run()).unwrap();
    assert!(!report.is_clean(), "a block was wrong");
    let clean = ReplayReport { mismatches: 0, ..report };
    assert!(clean.is_clean());
    assert!(!ReplayReport { guests_recovered: 1, ..clean.clone() }.is_clean());
    let findings = vec!["slot 3 is in two places".to_owned(), "more".to_owned()];
    let audited = RunFigures { audit_findings: findings, ..run() };
    let report = ReplayReport::build(&board(), &audited).unwrap();
    assert_eq!(report.audit, "slot 3 is in two places\nmore");
    assert!(!ReplayReport { mismatches: 0, ..report }.is_clean());
}

// r[verify replay.report]
#[test]
fn a_run_without_requests_divides_by_nothing() {
    let board = Supervisor::create(1, 0).unwrap();
    let report = ReplayReport::build(&board, &RunFigures::default()).unwrap();
    assert_eq!((report.hit_rate_percent, report.requests_per_second), (0.0, 0.0));
    assert_eq!((report.lookup_ns, report.recovery_ms), (None, None));
    assert!(report.is_clean());
}

// r[verify replay.report.table]
#[test]
fn the_table_is_aligned() {
    let mut report = ReplayReport::build(&board(), &run()).unwrap();
    report.publish_ns = Some(Percentiles { p50: 2_340.0, p99: 1_500_000.0 });
    report.references = 1_234_567;
    report.audit = "one\ntwo".to_owned();
    let expected = "\
requests               2 in 0.5 s, 4/s
block references       1,234,567
hits                   300 (25.00 %)
read back and checked  2.0 MiB, 1 wrong blocks
lookup                 p50 101 ns, p99 101 ns per key
publish                p50 2.3 us, p99 1.5 ms per key
guests killed          2, 2 recovered
cost of the kills      1 requests done again, 7 slots taken back
recovered within       p50 1.5 ms, p99 40.0 ms
pool                   grew from 64.0 MiB to 1.5 GiB
audit                  one
                       two";
    assert_eq!(report.to_string(), expected);
}

// r[verify replay.report.table]
#[test]
fn rows_may_be_empty() {
    let mut table = Table::new();
    assert_eq!(table.to_string(), "");
    table.row("a", "");
    table.row("bc", "d");
    assert_eq!(table.to_string(), "a\nbc  d");
}

#[test]
fn numbers_are_for_people() {
    let grouped = [0, 999, 1_000, 12_345, 1_000_000].map(|number| Grouped(number).to_string());
    assert_eq!(grouped, ["0", "999", "1,000", "12,345", "1,000,000"]);
    let durations = [0.0, 999.0, 1_000.0, 2.5e6, 3e9].map(duration_text);
    assert_eq!(durations, ["0 ns", "999 ns", "1.0 us", "2.5 ms", "3.0 s"]);
}
