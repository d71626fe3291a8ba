//! Every rule of `spec/` is implemented and verified: see `onecopy_tests::spec`.

use onecopy_tests::{spec, tree};

#[test]
fn every_rule_is_implemented_and_verified() {
    let files = tree::read(&tree::root()).expect("reading the workspace");
    assert!(files.iter().any(|file| file.path == "spec/README.md"), "spec/ was not found");
    let report = spec::check(&files);
    assert!(report.rule_count > 100, "only {} rules found", report.rule_count);
    let text: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(text.is_empty(), "{} findings:\n{}", text.len(), text.join("\n"));
}
