//! What the run tells its processes to do, and what they answer: a line of JSON each.

use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::content::Look;
use crate::error::{CompareError, Step};

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Store blocks `0..blocks`; one of them wrong, if so asked by a test.
    Fill { size_bytes: u64, blocks: u64, spoil: bool },
    /// Get blocks at random until the time is over.
    Get(Gets),
    /// Get each block once.
    Verify { size_bytes: u64, blocks: u64, look: Look },
    /// Store new blocks until the time is over.
    Put { size_bytes: u64, until: Span, yields: bool },
    /// Answer others from now on.
    Serve(Duty),
    /// Answer nobody, and sleep.
    Rest,
}

/// How to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gets {
    pub(crate) size_bytes: u64,
    /// How many blocks there are.
    pub(crate) blocks: u64,
    /// How many to get at a time.
    pub(crate) batch: usize,
    /// Whether to match a prefix of so many names, numbered one after the other, instead of getting blocks.
    pub(crate) is_prefix: bool,
    pub(crate) look: Look,
    pub(crate) until: Span,
    /// Whether to make way for others while waiting, because they need the core.
    pub(crate) yields: bool,
}

/// From when to when, in nanoseconds of the monotonic clock, which all processes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Span {
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
}

/// What to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Duty {
    pub(crate) size_bytes: u64,
    /// Whether blocks are handed over by publishing, and not asked for.
    pub(crate) puts: bool,
    /// Whether to make way for others while waiting.
    pub(crate) yields: bool,
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// It was done: blocks that were got or put and found right, and in what time.
    Done { blocks: u64, nanoseconds: u64 },
    /// It was not.
    Failed { text: String },
}

/// Reads an order; none at the end of the input.
pub(crate) fn read(input: &mut impl BufRead) -> Result<Option<Order>, CompareError> {
    let mut line = String::new();
    if input.read_line(&mut line).step("hear an order")? == 0 {
        return Ok(None);
    }
    match serde_json::from_str(&line) {
        Ok(order) => Ok(Some(order)),
        Err(_) => Err(CompareError::Protocol { found: line }),
    }
}

/// Says a line: an order or an answer.
pub(crate) fn say(output: &mut impl Write, what: &impl Serialize) -> Result<(), CompareError> {
    let mut line =
        serde_json::to_string(what).map_err(std::io::Error::from).step("put an order in words")?;
    line.push('\n');
    output.write_all(line.as_bytes()).step("tell the other process")?;
    output.flush().step("tell the other process")
}
