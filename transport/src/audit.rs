//! What an audit found: the shared oracle of tests, `inspect` and debug builds.

use std::fmt;

/// Most findings that are kept word for word; the rest is counted.
pub const FINDINGS_KEPT: usize = 64;

/// One thing that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which structure, as `layer.structure`: `pool.slot`, `kv.index`.
    pub area: &'static str,
    /// What was found and what was expected, with numbers.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.area, self.text)
    }
}

/// Findings and counts of one audit. Every layer adds its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditReport {
    findings: Vec<Finding>,
    findings_left_out: u64,
    counts: Vec<(&'static str, u64)>,
}

impl AuditReport {
    /// A report without findings.
    pub fn new() -> AuditReport {
        AuditReport::default()
    }

    /// Adds a finding. After [`FINDINGS_KEPT`] of them the text is not made any more.
    // r[impl audit.bounded]
    pub fn find(&mut self, area: &'static str, text: fmt::Arguments<'_>) {
        if self.findings.len() < FINDINGS_KEPT {
            self.findings.push(Finding { area, text: text.to_string() });
        } else {
            self.findings_left_out += 1;
        }
    }

    /// Adds a finding unless `found` equals `expected`.
    pub fn expect_equal(&mut self, area: &'static str, what: &str, found: u64, expected: u64) {
        if found != expected {
            self.find(area, format_args!("{what} is {found}, expected {expected}"));
        }
    }

    /// Adds a figure, named `layer.figure`.
    pub fn count(&mut self, name: &'static str, value: u64) {
        self.counts.push((name, value));
    }

    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// The first findings.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// How many findings there are, also those not kept.
    pub fn finding_count(&self) -> u64 {
        self.findings.len() as u64 + self.findings_left_out
    }

    /// The figures, in the order they were added.
    pub fn counts(&self) -> &[(&'static str, u64)] {
        &self.counts
    }
}

impl fmt::Display for AuditReport {
    /// `clean`, or one finding per line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            return f.write_str("clean");
        }
        for (number, finding) in self.findings.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{finding}")?;
        }
        if self.findings_left_out > 0 {
            write!(f, "\nand {} more findings", self.findings_left_out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
