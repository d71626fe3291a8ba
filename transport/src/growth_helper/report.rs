//! What a helper says on its standard output: a dot for each step, and last how it ended.

use std::fmt;

/// Longest report but for the dots: `-`, a span, an error number.
const LENGTH_MAX: usize = 48;

/// How a helper ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// All of it is reserved.
    Done,
    /// The system refused a step of this span.
    Refused { span: usize, errno: i32 },
}

impl fmt::Display for Ending {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Done => formatter.write_str("+\n"),
            Ending::Refused { span, errno } => writeln!(formatter, "-{span} {errno}"),
        }
    }
}

/// Why a report is no success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReportError {
    Refused { span: usize, errno: i32 },
    Malformed,
}

/// What has been read of it.
#[derive(Debug, Default)]
pub(super) struct Report {
    line: Vec<u8>,
    /// Dots that nobody has taken notice of yet.
    steps: usize,
}

impl Report {
    /// Takes more bytes; true once they say that all is done.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<bool, ReportError> {
        for &byte in bytes {
            match byte {
                b'.' if self.line.is_empty() => self.steps += 1,
                b'\n' => return self.read(),
                _ if self.line.len() >= LENGTH_MAX => return Err(ReportError::Malformed),
                _ => self.line.push(byte),
            }
        }
        Ok(false)
    }

    /// Steps that were done since this was asked last.
    pub(super) fn take_steps(&mut self) -> usize {
        std::mem::take(&mut self.steps)
    }

    fn read(&self) -> Result<bool, ReportError> {
        if self.line == b"+" {
            return Ok(true);
        }
        Err(self.refused().unwrap_or(ReportError::Malformed))
    }

    fn refused(&self) -> Option<ReportError> {
        let line = std::str::from_utf8(&self.line).ok()?;
        let (span, errno) = line.strip_prefix('-')?.split_once(' ')?;
        let errno = errno.parse().ok().filter(|errno| (1..4096).contains(errno))?;
        Some(ReportError::Refused { span: span.parse().ok()?, errno })
    }
}
