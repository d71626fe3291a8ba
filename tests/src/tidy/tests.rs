//! Every fault the tidy check must find, and what it must not take for one.

use super::scrub::scrub;
use super::{Exceptions, check};
use crate::tree::SourceFile;

/// The findings in a library file with this text, as `line: advice`.
fn in_library(text: &str) -> Vec<String> {
    at("ring/src/lib.rs", text)
}

fn at(path: &str, text: &str) -> Vec<String> {
    let findings = check(&[SourceFile::new(path, text)], Exceptions::default());
    findings.into_iter().map(|finding| format!("{}: {}", finding.line, finding.advice)).collect()
}

#[track_caller]
fn finds(found: &[String], line: usize, start: &str) {
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with(&format!("{line}: {start}")), "{found:?}");
}

const NOTHING: [String; 0] = [];

#[test]
fn scrubbing_keeps_code_and_lines_and_blanks_the_rest() {
    let cases = [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c */ d */ e", "a                   e"),
        ("f(\"a\\\"b\") c", "f(      ) c"),
        ("f(r#\"a\"b\"#) c", "f(        ) c"),
        ("f(b\"a\", br\"b\") c", "f(    ,      ) c"),
        ("f('a', '\\n', '\\'', '\"') c", "f(   ,     ,     ,    ) c"),
        ("fn f<'a>(b: &'a str) {}", "fn f<'a>(b: &'a str) {}"),
        ("let r#type = number\"a\";", "let r#type = number   ;"),
        ("\"a\nb\" c", "  \n   c"),
        ("\"a", "  "),
        ("'\\", "'\\"),
    ];
    for (text, scrubbed) in cases {
        assert_eq!(scrub(text).trim_end(), scrubbed.trim_end(), "{text}");
    }
}

#[test]
fn unsafe_code_outside_the_list_is_found() {
    finds(&in_library("\nfn f() { unsafe { g() } }"), 2, "unsafe code outside");
    finds(&in_library("#![expect(unsafe_code, reason = \"r\")]"), 1, "unsafe code outside");
    assert_eq!(in_library("// unsafe\nfn f() { \"unsafe\"; not_unsafe() }"), NOTHING);
}

#[test]
fn unsafe_code_in_a_listed_file_is_not() {
    let file = SourceFile::new("ring/src/lib.rs", "unsafe impl Send for A {}");
    let unsafe_code = &["ring/src/lib.rs"];
    let exceptions = Exceptions { unsafe_code, ..Exceptions::default() };
    assert_eq!(check(&[file], exceptions), []);
}

#[test]
fn an_exception_that_nobody_needs_is_found() {
    let file = SourceFile::new("ring/src/lib.rs", "fn f() {}");
    let list = &["ring/src/lib.rs"];
    let found = check(&[file], Exceptions { unsafe_code: list, allow: list, long: list });
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|finding| finding.advice.ends_with("take it out")));
}

#[test]
fn panics_outside_tests_are_found() {
    for call in ["a.unwrap()", "a.expect(\"b\")", "panic!(\"b\")", "unreachable!()", "todo!()"] {
        let found = in_library(&format!("fn f() {{ {call} }}"));
        assert_eq!(found.len(), 1, "{call}: {found:?}");
    }
    assert_eq!(in_library("fn f() { a.unwrap_or(b); dont_panic!(c); } // .unwrap()"), NOTHING);
}

#[test]
fn panics_in_tests_are_not() {
    let in_module = "#[cfg(test)]\nmod tests {\n    fn f() { a.unwrap(); }\n}\n";
    assert_eq!(in_library(in_module), NOTHING);
    finds(&in_library(&format!("{in_module}fn g() {{ a.unwrap() }}")), 5, "`.unwrap()`");
    let declared = "#[cfg(test)]\nmod tests;\nfn g() { a.unwrap() }";
    finds(&in_library(declared), 3, "`.unwrap()`");
    for path in
        ["ring/src/ring/tests.rs", "ring/src/loom.rs", "tests/src/a.rs", "bench/benches/a.rs"]
    {
        assert_eq!(at(path, "fn f() { a.unwrap() }"), NOTHING, "{path}");
    }
}

#[test]
fn lints_allowed_away_are_found() {
    finds(&in_library("#[allow(dead_code)]\nfn f() {}"), 1, "a lint is allowed away");
    finds(&in_library("\n#![allow(dead_code)]"), 2, "a lint is allowed away");
    finds(&in_library("#[cfg_attr(\n    loom,\n    allow(dead_code)\n)]"), 1, "a lint is allowed");
    finds(&in_library("#[expect(dead_code)]\nfn f() {}"), 1, "`expect` of a lint without");
    assert_eq!(in_library("#[expect(dead_code, reason = \"r\")]\nfn f() { allow(1) }"), NOTHING);
}

#[test]
fn lints_allowed_in_a_listed_file_are_not() {
    let file = SourceFile::new("ring/src/lib.rs", "#![allow(unused_imports)]");
    let allow = &["ring/src/lib.rs"];
    assert_eq!(check(&[file], Exceptions { allow, ..Exceptions::default() }), []);
}

#[test]
fn leftovers_are_found() {
    finds(&at("ring/src/tests.rs", "fn f() { dbg!(a) }"), 1, "`dbg!`");
    finds(&at("ring/src/tests.rs", "#[test]\n#[ignore]\nfn f() {}"), 2, "an ignored test");
    finds(&in_library(concat!("// TO", "DO later")), 1, "unfinished");
    assert_eq!(in_library("// todo lists are fine"), NOTHING);
}

#[test]
fn forbidden_names_are_found_where_they_are_given() {
    let given = [
        "let idx = 1;",
        "let mut read_idx = 1;",
        "fn f(cfg: &Options) {}",
        "struct A { buf: B }",
        "struct ReadBuf;",
        "struct RingServer {}",
        "enum ClientState {}",
        "const ARENA_SIZE: u32 = 1;",
        "f(|idx| idx + 1)",
        "for idx in 0..1 {",
    ];
    for line in given {
        let found = in_library(line);
        assert_eq!(found.len(), 1, "{line}: {found:?}");
    }
}

#[test]
fn names_of_others_are_not() {
    let used = [
        "use std::ptr;",
        "use std::path::PathBuf;",
        "let path: PathBuf = buf(a);",
        "ptr::null_mut()",
        "a.as_ptr()",
        "#[cfg(loom)]",
        "if cfg!(miri) {}",
        "let buffer = BipBuffer::new();",
        "// let idx = 1;",
        "let observer = 1;",
        "let clients_text = \"client\";",
    ];
    for line in used {
        assert_eq!(in_library(line), NOTHING, "{line}");
    }
}

#[test]
fn orderings_without_their_edge_are_found() {
    let path = "transport/src/a.rs";
    finds(&at(path, "fn f() { a.load(Ordering::Acquire); }"), 1, "an ordering without its edge");
    finds(&at(path, "fn f() {\n    fence(SeqCst);\n}"), 2, "an ordering without its edge");
    let far = format!("//! | a.b | c |\n// edge: a.b\n{}f(Release);", "g();\n".repeat(4));
    finds(&at(path, &far), 7, "an ordering without its edge");
    let fine = [
        "//! | a.b | c |\n// edge: a.b\na.load(Acquire);",
        "//! | `a.b` | c |\n// edge: a.b, and so on.\na.load(\n    Acquire,\n);",
        "// edge: the caller's\na.load(Acquire);",
        "use std::sync::atomic::Ordering::{Acquire, Release};",
        "a.load(Relaxed); // no SeqCst",
        "#[test]\nfn f() { a.load(Acquire); }",
    ];
    for text in fine {
        assert_eq!(at(path, text), NOTHING, "{text}");
    }
    assert_eq!(at("bench/src/a.rs", "a.load(Acquire);"), NOTHING);
}

#[test]
fn edges_that_no_table_explains_are_found() {
    let text = "//! | a.b | c |\n// edge: a.c\na.load(Acquire);";
    finds(&at("kv/src/a.rs", text), 2, "no table of edges has `a.c`");
    let elsewhere = [
        SourceFile::new("kv/src/lib.rs", "//! | a.c | c |"),
        SourceFile::new("kv/src/a.rs", "// edge: a.c\na.load(Acquire);"),
    ];
    assert_eq!(check(&elsewhere, Exceptions::default()), []);
}

#[test]
fn long_files_are_found_unless_listed() {
    let text = "fn f() {}\n".repeat(501);
    finds(&in_library(&text), 501, "501 lines");
    assert_eq!(in_library(&"fn f() {}\n".repeat(500)), NOTHING);
    let long = &["ring/src/lib.rs"];
    let exceptions = Exceptions { long, ..Exceptions::default() };
    assert_eq!(check(&[SourceFile::new("ring/src/lib.rs", text)], exceptions), []);
}

#[test]
fn long_readmes_are_found() {
    finds(&at("README.md", &"a\n".repeat(101)), 101, "a README of 101 lines");
    assert_eq!(at("README.md", &"a\n".repeat(100)), NOTHING);
    assert_eq!(at("ARCHITECTURE.md", &"a\n".repeat(101)), NOTHING);
}

#[test]
fn paths_of_one_machine_are_found() {
    for path in [concat!("/ho", "me/a"), concat!("/wo", "rk/a"), concat!("/ro", "ot/a")] {
        assert_eq!(at("a.md", &format!("see {path}")).len(), 1, "{path}");
    }
    assert_eq!(at("a.md", concat!("net", "/wo", "rk/a and /dev/shm/a")), NOTHING);
}

#[test]
fn a_crate_without_the_lints_is_found() {
    finds(&at("ring/Cargo.toml", "[package]\n"), 1, "a crate without");
    assert_eq!(at("ring/Cargo.toml", "[lints]\nworkspace = true\n"), NOTHING);
}
