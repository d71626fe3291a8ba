//! Every fault the spec check must find, each on the smallest text that has it.

use super::{Finding, Problem, check};
use crate::tree::SourceFile;

const RULE: &str = "r[ring.commit] A header is stored last.";

fn findings(spec: &[&str], code: &[&str]) -> Vec<Finding> {
    let files = [
        SourceFile::new("spec/ring.md", spec.join("\n")),
        SourceFile::new("ring/src/lib.rs", code.join("\n")),
    ];
    check(&files).findings
}

/// The problems found when the rule is implemented and verified as it should be, beside `code`.
fn problems_beside_good_code(code: &[&str]) -> Vec<Problem> {
    let good = [
        "// r[impl ring.commit]",
        "fn commit() {}",
        "// r[verify ring.commit]",
        "#[test]",
        "fn t() {}",
    ];
    let all: Vec<&str> = good.iter().chain(code).copied().collect();
    findings(&[RULE], &all).into_iter().map(|finding| finding.problem).collect()
}

fn id() -> String {
    "ring.commit".to_owned()
}

#[test]
fn a_rule_with_both_is_clean() {
    assert_eq!(problems_beside_good_code(&[]), []);
}

#[test]
fn rules_are_counted() {
    let files = [SourceFile::new("spec/a.md", format!("# Ring\n\n{RULE}\nmore\n"))];
    assert_eq!(check(&files).rule_count, 1);
}

#[test]
fn a_finding_says_where_and_what_to_do() {
    let found = findings(&["# Ring", "", RULE], &[]);
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("spec/ring.md:3: rule `ring.commit` is implemented nowhere; put"));
    assert!(lines[1].starts_with("spec/ring.md:3: no test verifies rule `ring.commit`; put"));
}

#[test]
fn a_rule_without_impl_is_found() {
    let code = ["// r[verify ring.commit]", "#[test]", "fn t() {}"];
    let found = findings(&[RULE], &code);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].problem, Problem::NotImplemented { id: id() });
}

#[test]
fn a_rule_without_verify_is_found() {
    let found = findings(&[RULE], &["// r[impl ring.commit]", "fn commit() {}"]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].problem, Problem::NotVerified { id: id() });
}

#[test]
fn a_duplicate_is_found_over_files() {
    let files =
        [SourceFile::new("spec/a.md", format!("\n{RULE}")), SourceFile::new("spec/b.md", RULE)];
    let found = check(&files).findings;
    let duplicate = Problem::DuplicateRule { id: id(), first: "spec/a.md:2".to_owned() };
    let at = found.iter().find(|finding| finding.problem == duplicate);
    assert_eq!(at.map(|finding| (finding.path.as_str(), finding.line)), Some(("spec/b.md", 1)));
}

#[test]
fn a_malformed_rule_is_found() {
    for line in ["r[ring] no area", "r[ring.Commit] case", "r[ring.commit]", "r[ring.commit text"] {
        let found = findings(&[line], &[]);
        let problems: Vec<Problem> = found.into_iter().map(|finding| finding.problem).collect();
        assert_eq!(problems, [Problem::MalformedRule { line: line.to_owned() }], "{line}");
    }
}

#[test]
fn a_rule_needs_text_on_its_line_or_the_next() {
    let with_text = |next: &str| {
        let files = [SourceFile::new("spec/ring.md", format!("r[ring.commit]\n{next}"))];
        check(&files).rule_count
    };
    assert_eq!(with_text("A header is stored last."), 1);
    for next in ["", "\nFar below.", "r[ring.read] The next.", "# Heading"] {
        assert_eq!(with_text(next), usize::from(next.starts_with("r[")), "{next}");
    }
}

#[test]
fn a_code_fence_defines_nothing() {
    assert_eq!(findings(&["```", RULE, "```"], &[]), []);
}

#[test]
fn only_markdown_of_spec_defines_rules() {
    let files = [SourceFile::new("notes/ring.md", RULE), SourceFile::new("spec/ring.txt", RULE)];
    assert_eq!(check(&files).rule_count, 0);
}

#[test]
fn an_unknown_rule_is_found() {
    let unknown = || Problem::UnknownRule { id: "ring.comit".to_owned() };
    assert_eq!(problems_beside_good_code(&["// r[impl ring.comit]", "fn a() {}"]), [unknown()]);
    let verify = ["// r[verify ring.comit]", "#[test]", "fn a() {}"];
    assert_eq!(problems_beside_good_code(&verify), [unknown()]);
}

#[test]
fn a_malformed_reference_is_found() {
    let lines = [
        "// r[implements ring.commit]",
        "/// r[impl ring.commit]",
        "// r[impl ring.commit, ring.read]",
        "// r[verify ring.commit] with words behind",
        "// r[impl Ring]",
    ];
    for line in lines {
        let problem = Problem::MalformedReference { line: line.to_owned() };
        assert_eq!(problems_beside_good_code(&[line, "fn a() {}"]), [problem], "{line}");
    }
}

#[test]
fn prose_is_no_reference() {
    let lines = ["// r[0] is the first", "// r[ring.commit] says so", "// r[a b]", "let a = r[0];"];
    assert_eq!(problems_beside_good_code(&lines), []);
}

#[test]
fn impl_must_be_above_an_item() {
    let below = [
        "let a = 1;",
        "",
        "}",
        "if a { b() }",
        "use a::b;",
        "assert!(a);",
        "self.position += 1;",
        "unsafe { store() }",
    ];
    for line in below {
        let found = if line.is_empty() { "an empty line" } else { line }.to_owned();
        let problem = Problem::ImplWithoutItem { id: id(), found };
        let code = ["// r[impl ring.commit]", line, "fn after() {}"];
        assert_eq!(problems_beside_good_code(&code), [problem], "{line}");
    }
    let end = Problem::ImplWithoutItem { id: id(), found: "the end of the file".to_owned() };
    assert_eq!(problems_beside_good_code(&["// r[impl ring.commit]"]), [end]);
}

#[test]
fn impl_above_every_kind_of_item_counts() {
    let items = [
        "fn a() {}",
        "pub(crate) fn a() {}",
        "pub const unsafe fn a() {}",
        "unsafe impl Send for A {}",
        "struct A;",
        "enum A {}",
        "const A: u32 = 1;",
        "const _: () = assert!(A == 1);",
        "static A: u32 = 1;",
        "impl A {",
        "impl<'a> A<'a> {",
        "trait A {}",
        "mod a;",
        "bitflags! {",
    ];
    for item in items {
        let spec = [RULE];
        let code = ["// r[impl ring.commit]", "/// Docs.", "#[inline]", item];
        let found = findings(&spec, &code);
        assert_eq!(found.len(), 1, "{item}: {found:?}");
        assert_eq!(found[0].problem, Problem::NotVerified { id: id() }, "{item}");
    }
}

#[test]
fn impl_above_a_test_is_found() {
    let code = ["// r[impl ring.commit]", "#[test]", "fn a() {}"];
    assert_eq!(problems_beside_good_code(&code), [Problem::ImplAboveTest { id: id() }]);
}

#[test]
fn verify_must_be_above_a_test() {
    let cases: [(&[&str], &str); 5] = [
        (&["fn helper() {}"], "an item without #[test]"),
        (&["#[cfg(test)]", "mod tests {"], "an item without #[test]"),
        (&["", "#[test]", "fn a() {}"], "an empty line"),
        (&["#[test]", "let a = 1;"], "let a = 1;"),
        (&["assert!(a);"], "assert!(a);"),
    ];
    for (below, found) in cases {
        let code: Vec<&str> = ["// r[verify ring.commit]"].iter().chain(below).copied().collect();
        let problem = Problem::VerifyWithoutTest { id: id(), found: found.to_owned() };
        assert_eq!(problems_beside_good_code(&code), [problem], "{below:?}");
    }
}

#[test]
fn attributes_comments_and_more_references_may_stand_between() {
    let cases: [&[&str]; 6] = [
        &["#[test]", "fn a() {}"],
        &["#[test]", "#[cfg(not(miri))]", "    fn a() {}"],
        &["// Why.", "/// Docs.", "#[test]", "fn a() {}"],
        &["// r[verify ring.commit]", "#[test]", "fn a() {}"],
        &["#[cfg_attr(", "    miri,", "    doc = \"]\"", ")]", "#[test]", "fn a(b in 0..[1][0]) {"],
        &["#[test] fn a() {}"],
    ];
    for below in cases {
        let code: Vec<&str> = ["// r[verify ring.commit]"].iter().chain(below).copied().collect();
        let found = findings(&[RULE], &code);
        assert_eq!(found.len(), 1, "{below:?}: {found:?}");
        assert_eq!(found[0].problem, Problem::NotImplemented { id: id() }, "{below:?}");
    }
}

#[test]
fn verify_above_an_ignored_test_is_found() {
    for ignore in ["#[ignore]", "#[ignore = \"slow\"]"] {
        let code = ["// r[verify ring.commit]", "#[test]", ignore, "fn a() {}"];
        let problem = Problem::VerifyAboveIgnoredTest { id: id() };
        assert_eq!(problems_beside_good_code(&code), [problem], "{ignore}");
    }
}
