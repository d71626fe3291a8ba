//! The spec check: every rule of `spec/` is implemented somewhere and verified by a test.
//!
//! A rule is a paragraph `r[area.rule] text` in a Markdown file of `spec/`, outside code fences. Code
//! names the rule it makes true in a comment `r[impl area.rule]` directly above the item; a test
//! names the rule it would catch the breaking of in a comment `r[verify area.rule]` directly above
//! the test function. Attributes, documentation and other such lines may stand between.

mod placement;
mod references;
mod rules;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::tree::SourceFile;
use placement::Item;
use references::{Reference, Verb};

/// What is wrong with a rule or with a reference to one. `id` is the rule's id, `line` the text that
/// could not be read, `found` what stands where an item or a test belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields mean the same in every variant, said above")]
pub enum Problem {
    /// A line starts like a rule, but its id or text is not one.
    MalformedRule { line: String },
    /// The rule was defined before, at `first`.
    DuplicateRule { id: String, first: String },
    /// No item claims to implement the rule.
    NotImplemented { id: String },
    /// No test claims to verify the rule.
    NotVerified { id: String },
    /// A comment starts like a reference, but is none.
    MalformedReference { line: String },
    /// The reference names a rule that no file of `spec/` defines.
    UnknownRule { id: String },
    /// What follows the `impl` line is no item.
    ImplWithoutItem { id: String, found: String },
    /// The `impl` line stands above a test.
    ImplAboveTest { id: String },
    /// What follows the `verify` line is no test function.
    VerifyWithoutTest { id: String, found: String },
    /// The test below the `verify` line does not run.
    VerifyAboveIgnoredTest { id: String },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MalformedRule { line } => write!(
                f,
                "not a rule: `{line}`; write `r[area.rule]` and its text, the id in lower case letters, \
                 digits, `-` and `_`, with a dot after the area"
            ),
            Self::DuplicateRule { id, first } => {
                write!(f, "rule `{id}` is defined a second time, first at {first}; rename one")
            }
            Self::NotImplemented { id } => write!(
                f,
                "rule `{id}` is implemented nowhere; put `// r[impl {id}]` directly above the item \
                 that makes it true, or take the rule out"
            ),
            Self::NotVerified { id } => write!(
                f,
                "no test verifies rule `{id}`; put `// r[verify {id}]` directly above a test that \
                 fails when the rule is broken"
            ),
            Self::MalformedReference { line } => write!(
                f,
                "not a reference: `{line}`; write `// r[impl id]` or `// r[verify id]`, one id to \
                 a line, in a plain comment of its own"
            ),
            Self::UnknownRule { id } => {
                write!(f, "no file of spec/ defines a rule `{id}`; define it or correct the id")
            }
            Self::ImplWithoutItem { id, found } => write!(
                f,
                "`impl {id}` is not directly above an item but above `{found}`; move it to the \
                 function, type, constant or impl that makes the rule true"
            ),
            Self::ImplAboveTest { id } => {
                write!(f, "`impl {id}` is above a test; a test says `r[verify {id}]`")
            }
            Self::VerifyWithoutTest { id, found } => write!(
                f,
                "`verify {id}` is not directly above a test function but above `{found}`; move it \
                 above the `#[test]` line"
            ),
            Self::VerifyAboveIgnoredTest { id } => {
                write!(f, "`verify {id}` is above an ignored test, which verifies nothing")
            }
        }
    }
}

/// One problem and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Path of the file, relative to the root.
    pub path: String,
    /// Line number, from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.problem)
    }
}

/// What the check saw.
#[derive(Debug, Default)]
pub struct Report {
    /// The number of rules that are defined.
    pub rule_count: usize,
    /// Everything that is wrong, by file and line.
    pub findings: Vec<Finding>,
}

/// Checks every rule of `spec/*.md` among `files` against every `*.rs` file among them.
#[must_use]
pub fn check(files: &[SourceFile]) -> Report {
    let mut findings = Vec::new();
    let rules = define_all(files, &mut findings);
    let mut claims = Claims::default();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        for (line, reference) in references::find(&file.text) {
            match reference {
                Err(line_text) => {
                    let problem = Problem::MalformedReference { line: line_text };
                    findings.push(Finding { path: file.path.clone(), line, problem });
                }
                Ok(reference) => {
                    let problem = claims.add(&rules, &reference, &file.text, line);
                    findings.extend(problem.map(|problem| Finding {
                        path: file.path.clone(),
                        line,
                        problem,
                    }));
                }
            }
        }
    }
    for (id, (path, line)) in &rules {
        let mut missing =
            |problem| findings.push(Finding { path: path.clone(), line: *line, problem });
        if !claims.implemented.contains(id) {
            missing(Problem::NotImplemented { id: id.clone() });
        }
        if !claims.verified.contains(id) {
            missing(Problem::NotVerified { id: id.clone() });
        }
    }
    findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    Report { rule_count: rules.len(), findings }
}

type Rules = BTreeMap<String, (String, usize)>;

fn define_all(files: &[SourceFile], findings: &mut Vec<Finding>) -> Rules {
    let mut rules = Rules::new();
    for file in files.iter().filter(|file| is_spec(&file.path)) {
        for (line, rule) in rules::find(&file.text) {
            let problem = match rule {
                Err(line_text) => Problem::MalformedRule { line: line_text },
                Ok(id) => match rules.get(&id) {
                    Some((path, line)) => {
                        Problem::DuplicateRule { first: format!("{path}:{line}"), id }
                    }
                    None => {
                        rules.insert(id, (file.path.clone(), line));
                        continue;
                    }
                },
            };
            findings.push(Finding { path: file.path.clone(), line, problem });
        }
    }
    rules
}

fn is_spec(path: &str) -> bool {
    path.starts_with("spec/") && path.ends_with(".md")
}

/// The rules that some item or test speaks for, in its right place.
#[derive(Default)]
struct Claims {
    implemented: BTreeSet<String>,
    verified: BTreeSet<String>,
}

impl Claims {
    fn add(
        &mut self,
        rules: &Rules,
        reference: &Reference,
        text: &str,
        line: usize,
    ) -> Option<Problem> {
        let id = reference.id.clone();
        if !rules.contains_key(&id) {
            return Some(Problem::UnknownRule { id });
        }
        // The lines below the reference: it is line `line`, counted from 1.
        match (reference.verb, placement::below(text.lines().skip(line))) {
            (Verb::Impl, Item::Other) => self.implemented.insert(id),
            (Verb::Impl, Item::Test | Item::IgnoredTest) => {
                return Some(Problem::ImplAboveTest { id });
            }
            (Verb::Impl, Item::None(found)) => {
                return Some(Problem::ImplWithoutItem { id, found });
            }
            (Verb::Verify, Item::Test) => self.verified.insert(id),
            (Verb::Verify, Item::IgnoredTest) => {
                return Some(Problem::VerifyAboveIgnoredTest { id });
            }
            (Verb::Verify, Item::Other) => {
                let found = "an item without #[test]".to_owned();
                return Some(Problem::VerifyWithoutTest { id, found });
            }
            (Verb::Verify, Item::None(found)) => {
                return Some(Problem::VerifyWithoutTest { id, found });
            }
        };
        None
    }
}
