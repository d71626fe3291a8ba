//! Where and with what was measured.

use std::fs;
use std::process::Command;

use serde::Serialize;

use crate::cores::Cores;
use crate::system::System;

/// The versions that this program was built with.
const LOCK: &str = include_str!("../Cargo.lock");

/// The machine, and how it was at the start.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) is_virtual: bool,
    /// Processes that ran or wanted to, on average over the last minute.
    pub(crate) load: String,
    pub(crate) commit: String,
    pub(crate) command: String,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Version {
    pub(crate) system: System,
    pub(crate) version: String,
}

impl Machine {
    pub(crate) fn this(cores: &Cores) -> Machine {
        let about = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field =
            |name: &str| about.lines().find_map(|line| line.strip_prefix(name)?.split(':').nth(1));
        let flags = field("flags").unwrap_or_default();
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        Machine {
            cpu: field("model name").map_or("unknown", str::trim).to_owned(),
            cores: cores.count(),
            kernel: first_word("/proc/sys/kernel/osrelease"),
            is_virtual: flags.split(' ').any(|flag| flag == "hypervisor"),
            load: load(),
            commit: commit(),
            command: format!("onecopy-compare {}", arguments.join(" ")),
        }
    }

    /// In one line, for people.
    pub(crate) fn text(&self) -> String {
        let kind = if self.is_virtual { "virtual machine" } else { "machine" };
        let Machine { cpu, cores, kernel, load, .. } = self;
        format!("{kind}, {cpu}, {cores} cores, Linux {kernel}, load {load} at the start")
    }
}

/// Processes that run or want to, on average over the last minute.
pub(crate) fn load() -> String {
    first_word("/proc/loadavg")
}

fn first_word(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}

/// The version of a system; none when its program is not there.
pub(crate) fn version(system: System) -> Option<Version> {
    let version = match (system, system.program()) {
        (System::Redis, Some(program)) => told_by(program)?.split("v=").nth(1)?.to_owned(),
        (_, Some(program)) => told_by(program)?.split(' ').nth(1)?.to_owned(),
        (System::Lmdb, None) => format!("heed {}", locked("heed")?),
        (System::Iceoryx, None) => locked("iceoryx2")?.to_owned(),
        (_, None) => locked("onecopy")?.to_owned(),
    };
    let version = version.split_whitespace().collect::<Vec<_>>();
    let words = if system == System::Lmdb { version.len() } else { 1 };
    Some(Version { system, version: version.get(..words)?.join(" ") })
}

/// What a program says of itself.
fn told_by(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The version of a crate in the lock file.
fn locked(name: &str) -> Option<&'static str> {
    let (_, after) = LOCK.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    after.split('"').next()
}

/// The commit this was built from, marked when the tree differs from it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR")]).args(arguments).output().ok()
    };
    let head = git(&["rev-parse", "HEAD"]).filter(|output| output.status.success());
    let Some(head) = head else { return "unknown".to_owned() };
    let mut commit = String::from_utf8_lossy(&head.stdout).trim().to_owned();
    let changes = git(&["status", "--porcelain"]).map(|output| output.stdout);
    if changes.is_none_or(|changes| !changes.is_empty()) {
        commit.push_str("-dirty");
    }
    commit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_what_is_built_in_are_known() {
        for system in [System::OnecopyDirect, System::OnecopyRing, System::Lmdb, System::Iceoryx] {
            let version = version(system).unwrap().version;
            assert!(version.contains('.'), "{version}");
        }
        assert_eq!(locked("no-such-crate"), None);
    }
}
