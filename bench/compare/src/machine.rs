//! Where and with what was measured.

use std::process::Command;

use onecopy_machine::{Machine, commit};
use serde::Serialize;

use crate::cores::Cores;
use crate::system::System;

/// The versions that this program was built with.
const LOCK: &str = include_str!("../Cargo.lock");

/// The machine, and how the comparison was started.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Setting {
    #[serde(flatten)]
    pub(crate) machine: Machine,
    pub(crate) commit: &'static str,
    pub(crate) command: String,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Version {
    pub(crate) system: System,
    pub(crate) version: String,
}

impl Setting {
    pub(crate) fn this(cores: &Cores) -> Setting {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let command = format!("onecopy-compare {}", arguments.join(" "));
        Setting { machine: Machine::this(cores.count()), commit: commit(), command }
    }
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
