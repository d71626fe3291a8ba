//! What was found wrong, in words: a file that every process of a soak adds lines to.

use super::board::Count;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// Where they lie in the directory of a soak.
const FINDINGS_FILE: &str = "findings";

/// One thing that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it counts as.
    pub count: Count,
    /// What was found and what was expected.
    pub text: String,
}

/// Adds a finding, in one write: lines of several processes do not mix.
pub fn tell(dir: &Path, finding: &Finding) {
    let line = format!("{:?}: {}\n", finding.count, finding.text.replace('\n', "; "));
    let file = OpenOptions::new().create(true).append(true).open(dir.join(FINDINGS_FILE));
    // Whoever counts it sees that there was one, also when it cannot be put in words.
    let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
}

/// All findings so far, one in each line.
pub fn read(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join(FINDINGS_FILE)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}
