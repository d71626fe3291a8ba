//! What a host can be asked about the memory of its segment: to have it at hand before anybody needs
//! it, in huge pages, on certain memory nodes.

use crate::error::Corrupt;
use onecopy_shm::sys_numa::NumaMode;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// How the memory of a segment is taken. Each life of the host chooses anew; what is there already
/// stays as it is, except that it is populated too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryOptions {
    /// Populate what is taken, before it is announced: a first touch then finds a page that is there
    /// and zeroed. Guests populate their views of what they are granted.
    pub prefault: bool,
    /// Huge pages.
    pub huge_pages: HugePages,
    /// Memory nodes that pages come from; `None`: the node of whoever takes them.
    pub numa: Option<NumaPolicy>,
}

/// Whether pool and control area are taken in huge pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HugePages {
    /// Not asked for.
    #[default]
    Off,
    /// Where the system has some; else a warning, and small pages.
    Try,
    /// Or else an error.
    Require,
}

impl HugePages {
    const NAMES: [(HugePages, &'static str); 3] =
        [(HugePages::Off, "off"), (HugePages::Try, "try"), (HugePages::Require, "require")];
}

impl fmt::Display for HugePages {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = HugePages::NAMES.into_iter().find(|(known, _)| known == self);
        formatter.write_str(name.map_or("", |(_, name)| name))
    }
}

/// A word that says nothing about huge pages.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{found:?} is none of off, try and require")]
pub struct ParseHugePagesError {
    /// The word.
    pub found: String,
}

impl FromStr for HugePages {
    type Err = ParseHugePagesError;

    fn from_str(text: &str) -> Result<HugePages, ParseHugePagesError> {
        let known = HugePages::NAMES.into_iter().find(|(_, name)| *name == text);
        known.map(|(known, _)| known).ok_or_else(|| ParseHugePagesError { found: text.to_owned() })
    }
}

/// Memory nodes by their numbers, from 0 to 63.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeSet(u64);

impl NodeSet {
    /// Every node with memory that there is.
    pub const ALL: NodeSet = NodeSet(u64::MAX);

    /// A bit for each node.
    pub const fn from_bits(bits: u64) -> NodeSet {
        NodeSet(bits)
    }

    /// A bit for each node.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Those of these that are not among `others`.
    pub const fn without(self, others: NodeSet) -> NodeSet {
        NodeSet(self.0 & !others.0)
    }

    /// Whether there is none in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// As the system writes it: `0-3,8`.
impl fmt::Display for NodeSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut first = 0;
        let mut comma = "";
        while rest != 0 {
            let skipped = rest.trailing_zeros();
            first += skipped;
            rest >>= skipped;
            let run = rest.trailing_ones();
            let last = first + run - 1;
            match run {
                1 => write!(formatter, "{comma}{first}")?,
                _ => write!(formatter, "{comma}{first}-{last}")?,
            }
            comma = ",";
            rest = rest.checked_shr(run).unwrap_or(0);
            first += run;
        }
        Ok(())
    }
}

/// Why a text names no memory nodes, or no way to use them.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseNumaError {
    /// No mode before a colon.
    #[error("{found:?} does not begin with bind: or interleave:")]
    Mode {
        /// The text.
        found: String,
    },
    /// No list of nodes behind it.
    #[error("{found:?} is no list of memory nodes such as 0,2-3, from 0 to 63, or all")]
    Nodes {
        /// The text.
        found: String,
    },
}

impl FromStr for NodeSet {
    type Err = ParseNumaError;

    fn from_str(text: &str) -> Result<NodeSet, ParseNumaError> {
        if text == "all" {
            return Ok(NodeSet::ALL);
        }
        let node = |text: &str| text.parse::<u32>().ok().filter(|node| *node < u64::BITS);
        let bits = text.split(',').try_fold(0, |bits, range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (node(first)?, node(last)?);
            let above = u64::MAX >> (u64::BITS - 1 - last);
            (first <= last).then_some(bits | above & (u64::MAX << first))
        });
        bits.map(NodeSet).ok_or_else(|| ParseNumaError::Nodes { found: text.to_owned() })
    }
}

/// Which memory nodes pages come from, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumaPolicy {
    /// In which order.
    pub mode: NumaMode,
    /// Which nodes.
    pub nodes: NodeSet,
}

impl NumaPolicy {
    const NAMES: [(NumaMode, &'static str); 2] =
        [(NumaMode::Bind, "bind"), (NumaMode::Interleave, "interleave")];
}

/// As it is parsed: `interleave:0-1`.
impl fmt::Display for NumaPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NumaPolicy::NAMES.into_iter().find(|(mode, _)| *mode == self.mode);
        write!(formatter, "{}:{}", name.map_or("", |(_, name)| name), self.nodes)
    }
}

impl FromStr for NumaPolicy {
    type Err = ParseNumaError;

    // r[impl pool-memory.numa-text]
    fn from_str(text: &str) -> Result<NumaPolicy, ParseNumaError> {
        let unknown = || ParseNumaError::Mode { found: text.to_owned() };
        let (name, nodes) = text.split_once(':').ok_or_else(unknown)?;
        let known = NumaPolicy::NAMES.into_iter().find(|(_, known)| *known == name);
        let (mode, _) = known.ok_or_else(unknown)?;
        Ok(NumaPolicy { mode, nodes: nodes.parse()? })
    }
}

const PREFAULT: u64 = 1;
const HUGE_TRY: u64 = 2;
const HUGE_REQUIRE: u64 = 4;
const NUMA_BIND: u64 = 1;
const NUMA_INTERLEAVE: u64 = 2;

/// In the order of the header's fields, and of the helper's arguments.
impl MemoryOptions {
    /// As words: flags, what is done with the nodes (0: nothing), the nodes.
    // r[impl pool-memory.recorded]
    pub fn words(&self) -> [u64; 3] {
        let prefault = if self.prefault { PREFAULT } else { 0 };
        let huge = match self.huge_pages {
            HugePages::Off => 0,
            HugePages::Try => HUGE_TRY,
            HugePages::Require => HUGE_REQUIRE,
        };
        let (mode, nodes) = match self.numa {
            None => (0, 0),
            Some(NumaPolicy { mode: NumaMode::Bind, nodes }) => (NUMA_BIND, nodes.bits()),
            Some(NumaPolicy { mode: NumaMode::Interleave, nodes }) => {
                (NUMA_INTERLEAVE, nodes.bits())
            }
        };
        [prefault | huge, mode, nodes]
    }

    /// From words.
    ///
    /// # Errors
    /// [`Corrupt`]: words that [`MemoryOptions::words`] does not give.
    // r[impl pool-memory.recorded]
    pub fn from_words([flags, mode, nodes]: [u64; 3]) -> Result<MemoryOptions, Corrupt> {
        let corrupt = |what, found, expected| Corrupt { what, number: 0, found, expected };
        let huge_pages = match flags & !PREFAULT {
            0 => HugePages::Off,
            HUGE_TRY => HugePages::Try,
            HUGE_REQUIRE => HugePages::Require,
            _ => return Err(corrupt("memory flags", flags, "0 to 5")),
        };
        let nodes = NodeSet::from_bits(nodes);
        let numa = match mode {
            0 if nodes.is_empty() => None,
            NUMA_BIND => Some(NumaPolicy { mode: NumaMode::Bind, nodes }),
            NUMA_INTERLEAVE => Some(NumaPolicy { mode: NumaMode::Interleave, nodes }),
            _ => return Err(corrupt("use of memory nodes", mode, "0 to 2, and 0 without nodes")),
        };
        Ok(MemoryOptions { prefault: flags & PREFAULT != 0, huge_pages, numa })
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
