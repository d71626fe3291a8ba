//! What was measured: on which machine, and built from which commit. Every benchmark says it before its
//! first figure.

use std::fs;

use serde::Serialize;

/// The machine, and how it was when this was asked.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Its processors' name, as they tell it.
    pub cpu: String,
    /// Cores that the benchmark may use.
    pub cores: usize,
    /// Release of its kernel.
    pub kernel: String,
    /// Whether it runs on another one.
    pub is_virtual: bool,
    /// Processes that ran or wanted to, on average over the last minute.
    pub load: String,
}

impl Machine {
    /// This one. `cores` is how many of its cores the benchmark may use.
    #[must_use]
    pub fn this(cores: usize) -> Machine {
        let about = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field =
            |name: &str| about.lines().find_map(|line| line.strip_prefix(name)?.split(':').nth(1));
        let flags = field("flags").unwrap_or_default();
        Machine {
            cpu: field("model name").map_or("unknown", str::trim).to_owned(),
            cores,
            kernel: first_word("/proc/sys/kernel/osrelease"),
            is_virtual: flags.split(' ').any(|flag| flag == "hypervisor"),
            load: load(),
        }
    }

    /// In one line, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let Machine { cpu, cores, kernel, is_virtual, load } = self;
        let kind = if *is_virtual { "virtual machine" } else { "machine" };
        format!("{kind}, {cpu}, {cores} cores, Linux {kernel}, load {load} at the start")
    }
}

/// Processes that run or want to, on average over the last minute.
#[must_use]
pub fn load() -> String {
    first_word("/proc/loadavg")
}

/// The commit that this was built from, with `-dirty` behind it where what it was built of differed from
/// that; `unknown` where it was not built in a repository, or the build was handed what another checkout
/// said that shares its target directory.
#[must_use]
pub fn commit() -> &'static str {
    let told_by = env!("ONECOPY_COMMIT_OF");
    if told_by == env!("CARGO_MANIFEST_DIR") { env!("ONECOPY_COMMIT") } else { "unknown" }
}

fn first_word(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_says_what_it_is() {
        let machine = Machine::this(3);
        assert_eq!(machine.cores, 3);
        assert!(machine.kernel.contains('.'), "{machine:?}");
        assert!(machine.load.parse::<f64>().is_ok(), "{machine:?}");
        assert!(machine.text().contains(&machine.kernel), "{machine:?}");
    }

    #[test]
    fn a_commit_is_one_or_not_known() {
        let commit = commit();
        let hash = commit.strip_suffix("-dirty").unwrap_or(commit);
        let is_hash = hash.len() == 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_hash || commit == "unknown", "{commit}");
    }
}
