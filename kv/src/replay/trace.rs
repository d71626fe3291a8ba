//! Requests in order, each with the blocks of its prompt; read from a file of JSON lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

#[cfg(test)]
mod tests;

/// Tokens in one block.
pub const BLOCK_TOKENS: u64 = 512;

/// The longest line that is read, in bytes.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Requests in the order of their arrival. Their block ids stand in one array: 8 bytes for each
/// reference and 24 for each request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trace {
    heads: Vec<Head>,
    block_ids: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    timestamp_ms: u64,
    input_tokens: u32,
    output_tokens: u32,
    /// Where its block ids end; they begin where those of the request before it end.
    end: usize,
}

/// One request of a [`Trace`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// Arrival, in milliseconds from the start.
    pub timestamp_ms: u64,
    /// Tokens of the prompt.
    pub input_tokens: u32,
    /// Tokens of the answer.
    pub output_tokens: u32,
    /// One id for each block of the prompt, in order: equal ids mean equal prefixes up to there.
    pub block_ids: &'a [u64],
}

/// A request whose blocks do not match its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found} block ids for a prompt of {input_tokens} tokens, expected {expected} \
     ({BLOCK_TOKENS} tokens each)"
)]
pub struct BlockCountError {
    /// Tokens of the prompt.
    pub input_tokens: u32,
    /// Block ids there.
    pub found: usize,
    /// Block ids that there should be.
    pub expected: u64,
}

/// Why a trace could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be opened or read.
    #[error("cannot read the trace {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line that is no request.
    #[error("{}, line {line}: {source}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: u64,
        /// What is wrong with it.
        source: LineError,
    },
    /// A file without a request.
    #[error("the trace {} has no request in it", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Why a line is no request.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Not a JSON object with the fields of a request.
    #[error(
        "{source}; expected an object with the numbers timestamp, input_length, output_length and \
         the array hash_ids"
    )]
    Json {
        /// What the parser says, with the column.
        #[from]
        source: serde_json::Error,
    },
    /// Too many or too few block ids.
    #[error("hash_ids: {source}")]
    BlockCount {
        /// The numbers.
        #[from]
        source: BlockCountError,
    },
    /// A line without end.
    #[error("the line is longer than {max} bytes")]
    TooLong {
        /// The longest line that is read.
        max: u64,
    },
}

/// A line of the file, by the field names of the published traces.
#[derive(Deserialize)]
struct Line {
    timestamp: u64,
    input_length: u32,
    output_length: u32,
    hash_ids: Vec<u64>,
}

impl Trace {
    /// A trace without requests.
    pub fn new() -> Trace {
        Trace::default()
    }

    /// Reads a file of JSON lines. Lines of white space are passed by.
    ///
    /// # Errors
    /// [`TraceError`], with the number of the line where it is about one.
    // r[impl replay.trace.read]
    pub fn read(path: &Path) -> Result<Trace, TraceError> {
        let unreadable = |source| TraceError::Read { path: path.to_owned(), source };
        let mut input = BufReader::new(File::open(path).map_err(unreadable)?);
        let mut trace = Trace::new();
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            let taken = input.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut text);
            let size_bytes = taken.map_err(unreadable)? as u64;
            if size_bytes == 0 {
                break;
            }
            let wrong = |source| TraceError::Line { path: path.to_owned(), line, source };
            if size_bytes > LINE_BYTES_MAX {
                return Err(wrong(LineError::TooLong { max: LINE_BYTES_MAX }));
            }
            trace.push_line(text.trim_ascii()).map_err(wrong)?;
        }
        if trace.heads.is_empty() {
            return Err(TraceError::Empty { path: path.to_owned() });
        }
        trace.heads.shrink_to_fit();
        trace.block_ids.shrink_to_fit();
        Ok(trace)
    }

    /// Appends a request.
    ///
    /// # Errors
    /// [`BlockCountError`] unless there is one block id for each [`BLOCK_TOKENS`] tokens of the
    /// prompt, the last of them begun.
    // r[impl replay.trace.blocks]
    pub fn push(&mut self, request: Request<'_>) -> Result<(), BlockCountError> {
        let Request { timestamp_ms, input_tokens, output_tokens, block_ids } = request;
        let (found, expected) = (block_ids.len(), block_count(input_tokens));
        if found as u64 != expected {
            return Err(BlockCountError { input_tokens, found, expected });
        }
        self.block_ids.extend_from_slice(block_ids);
        let end = self.block_ids.len();
        self.heads.push(Head { timestamp_ms, input_tokens, output_tokens, end });
        Ok(())
    }

    /// Number of requests.
    pub fn request_count(&self) -> usize {
        self.heads.len()
    }

    /// Number of block references of all requests.
    pub fn reference_count(&self) -> usize {
        self.block_ids.len()
    }

    /// Number of different blocks.
    pub fn distinct_count(&self) -> usize {
        let mut ids = self.block_ids.clone();
        ids.sort_unstable();
        ids.dedup();
        ids.len()
    }

    /// The request of this number, from 0.
    pub fn request(&self, number: usize) -> Option<Request<'_>> {
        let head = self.heads.get(number)?;
        let before = number.checked_sub(1).and_then(|before| self.heads.get(before));
        let block_ids = self.block_ids.get(before.map_or(0, |before| before.end)..head.end)?;
        let Head { timestamp_ms, input_tokens, output_tokens, .. } = *head;
        Some(Request { timestamp_ms, input_tokens, output_tokens, block_ids })
    }

    /// All requests, in order.
    pub fn requests(&self) -> impl Iterator<Item = Request<'_>> {
        (0..self.heads.len()).filter_map(|number| self.request(number))
    }

    fn push_line(&mut self, text: &[u8]) -> Result<(), LineError> {
        if text.is_empty() {
            return Ok(());
        }
        let line: Line = serde_json::from_slice(text)?;
        self.push(Request {
            timestamp_ms: line.timestamp,
            input_tokens: line.input_length,
            output_tokens: line.output_length,
            block_ids: &line.hash_ids,
        })?;
        Ok(())
    }
}

/// Blocks of a prompt of so many tokens.
pub fn block_count(input_tokens: u32) -> u64 {
    u64::from(input_tokens).div_ceil(BLOCK_TOKENS)
}
