use super::*;

// r[verify audit.bounded]
#[test]
fn a_flood_of_findings_is_counted_and_not_kept() {
    let mut report = AuditReport::new();
    assert!(report.is_clean());
    assert_eq!(report.to_string(), "clean");
    for number in 0..FINDINGS_KEPT as u64 + 10 {
        report.expect_equal("pool.slot", "state", number, number);
        report.expect_equal("pool.slot", "state", number, number + 1);
    }
    assert!(!report.is_clean());
    assert_eq!(report.findings().len(), FINDINGS_KEPT);
    assert_eq!(report.finding_count(), FINDINGS_KEPT as u64 + 10);
    let text = report.to_string();
    assert!(text.starts_with("pool.slot: state is 0, expected 1\n"), "{text}");
    assert!(text.ends_with("and 10 more findings"), "{text}");
}
