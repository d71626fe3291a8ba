//! What is compared, and where its processes stand.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A way to get a block from somebody else on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum System {
    /// onecopy, searching the index where the block is.
    OnecopyDirect,
    /// onecopy, asking the host over a ring where the block is.
    OnecopyRing,
    /// LMDB: a B-tree that readers search in a file they map.
    Lmdb,
    /// iceoryx2: request and response for a get, publish and subscribe for a put.
    Iceoryx,
    /// Redis over a Unix socket.
    Redis,
    /// Memcached over a Unix socket.
    Memcached,
}

/// On which cores the two sides of a get are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Placement {
    /// Who gets on one core, who serves on another.
    Apart,
    /// Both on the same core.
    Together,
    /// Wherever the kernel puts them.
    Free,
}

impl System {
    pub(crate) const ALL: [System; 6] = [
        System::OnecopyDirect,
        System::OnecopyRing,
        System::Lmdb,
        System::Iceoryx,
        System::Redis,
        System::Memcached,
    ];

    /// Whether it is this project's own.
    pub(crate) fn is_onecopy(self) -> bool {
        matches!(self, System::OnecopyDirect | System::OnecopyRing)
    }

    /// Whether no other process takes part in a get.
    pub(crate) fn gets_alone(self) -> bool {
        matches!(self, System::OnecopyDirect | System::Lmdb)
    }

    /// The name on the command line.
    pub(crate) fn argument(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The program of somebody else that serves, if there is one.
    pub(crate) fn program(self) -> Option<&'static str> {
        match self {
            System::Redis => Some("redis-server"),
            System::Memcached => Some("memcached"),
            _ => None,
        }
    }

    /// The name for people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            System::OnecopyDirect => "onecopy direct",
            System::OnecopyRing => "onecopy ring",
            System::Lmdb => "LMDB",
            System::Iceoryx => "iceoryx2",
            System::Redis => "redis",
            System::Memcached => "memcached",
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.text())
    }
}

impl Placement {
    /// The name for people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Placement::Apart => "two cores",
            Placement::Together => "one core",
            Placement::Free => "not pinned",
        }
    }
}
