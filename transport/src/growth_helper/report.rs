//! What a helper says on its standard output: a line for each step with its bytes, and last how it
//! ended.

use rustix::io::Errno;
use std::fmt;

/// Longest line: `-`, a span, a call, an error number.
const LENGTH_MAX: usize = 48;

/// Which call was refused: the same error number means another thing to the user after each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusedCall {
    /// To take pages.
    Reserve,
    /// To have them come from certain memory nodes.
    Place,
    /// To map the file.
    Map,
}

impl RefusedCall {
    const NAMES: [(RefusedCall, &'static str); 3] = [
        (RefusedCall::Reserve, "reserve"),
        (RefusedCall::Place, "place"),
        (RefusedCall::Map, "map"),
    ];

    fn parse(name: &str) -> Option<RefusedCall> {
        RefusedCall::NAMES.into_iter().find(|(_, known)| *known == name).map(|(call, _)| call)
    }
}

impl fmt::Display for RefusedCall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = RefusedCall::NAMES.into_iter().find(|(known, _)| known == self);
        formatter.write_str(name.map_or("", |(_, name)| name))
    }
}

/// A call that the system refused for a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub span: usize,
    pub call: RefusedCall,
    pub errno: Errno,
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// So many bytes more are reserved.
    Step { bytes: u64 },
    /// All of it is.
    Done,
    /// That was the end.
    Refused(Refusal),
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Step { bytes } => writeln!(formatter, "={bytes}"),
            Line::Done => formatter.write_str("+\n"),
            Line::Refused(Refusal { span, call, errno }) => {
                writeln!(formatter, "-{span} {call} {}", errno.raw_os_error())
            }
        }
    }
}

impl Line {
    fn parse(line: &[u8]) -> Option<Line> {
        let line = std::str::from_utf8(line).ok()?;
        if line == "+" {
            return Some(Line::Done);
        }
        if let Some(bytes) = line.strip_prefix('=') {
            return Some(Line::Step { bytes: bytes.parse().ok()? });
        }
        let (span, rest) = line.strip_prefix('-')?.split_once(' ')?;
        let (call, errno) = rest.split_once(' ')?;
        let errno = errno.parse().ok().filter(|errno| (1..4096).contains(errno))?;
        Some(Line::Refused(Refusal {
            span: span.parse().ok()?,
            call: RefusedCall::parse(call)?,
            errno: Errno::from_raw_os_error(errno),
        }))
    }
}

/// Why a report is no success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReportError {
    Refused(Refusal),
    Malformed,
}

/// What has been read of it.
#[derive(Debug, Default)]
pub(super) struct Report {
    line: Vec<u8>,
    /// Of the steps that nobody has taken notice of yet.
    step_bytes: Vec<u64>,
}

impl Report {
    /// Takes more bytes; true once they say that all is done.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<bool, ReportError> {
        for &byte in bytes {
            if byte != b'\n' {
                if self.line.len() >= LENGTH_MAX {
                    return Err(ReportError::Malformed);
                }
                self.line.push(byte);
                continue;
            }
            match Line::parse(&std::mem::take(&mut self.line)) {
                Some(Line::Step { bytes }) => self.step_bytes.push(bytes),
                Some(Line::Done) => return Ok(true),
                Some(Line::Refused(refusal)) => return Err(ReportError::Refused(refusal)),
                None => return Err(ReportError::Malformed),
            }
        }
        Ok(false)
    }

    /// Bytes of each step that was done since this was asked last.
    pub(super) fn take_steps(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.step_bytes)
    }
}
