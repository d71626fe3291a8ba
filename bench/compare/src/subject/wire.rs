//! A Unix socket on which lines and blocks of bytes arrive, as Redis and Memcached send them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::content::Content;
use crate::error::{CompareError, Step};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two tries to connect to a process that has just been started.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);
/// Room to read into, at least.
const ROOM_BYTES: usize = 64 << 10;
/// What ends a line, and a block.
const END: &[u8] = b"\r\n";

/// One connection.
pub(super) struct Wire {
    stream: UnixStream,
    /// What is to be sent next.
    pub(super) request: Vec<u8>,
    /// What has arrived: the part from `start` to `end` has not been taken yet.
    arrived: Vec<u8>,
    start: usize,
    end: usize,
}

impl Wire {
    /// Connects; whoever listens may have been started just now.
    pub(super) fn connect(path: &Path) -> Result<Wire, CompareError> {
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(_) if Instant::now() < deadline => std::thread::sleep(RETRY_INTERVAL),
                Err(error) => return Err(error).step("connect"),
            }
        };
        stream.set_read_timeout(Some(PATIENCE)).step("limit a wait")?;
        stream.set_write_timeout(Some(PATIENCE)).step("limit a wait")?;
        let arrived = vec![0; ROOM_BYTES];
        Ok(Wire { stream, request: Vec::new(), arrived, start: 0, end: 0 })
    }

    /// Sends the request and begins the next.
    pub(super) fn send(&mut self) -> Result<(), CompareError> {
        self.stream.write_all(&self.request).step("send a request")?;
        self.request.clear();
        Ok(())
    }

    /// Writes a block to the request.
    pub(super) fn append(&mut self, content: Content) {
        let start = self.request.len();
        self.request.resize(start + content.size_bytes as usize, 0);
        content.write(&mut self.request[start..]);
        self.request.extend_from_slice(END);
    }

    /// Takes one line.
    pub(super) fn line(&mut self) -> Result<&[u8], CompareError> {
        let mut looked_at = 0;
        loop {
            let unread = &self.arrived[self.start..self.end];
            if let Some(length) = find_end(&unread[looked_at..]) {
                let start = self.start;
                let stop = start + looked_at + length;
                self.start = stop + END.len();
                return Ok(&self.arrived[start..stop]);
            }
            // The first half of the end may be there.
            looked_at = unread.len().saturating_sub(1);
            self.read_more(unread.len() + 1)?;
        }
    }

    /// Takes a block of so many bytes, and the end behind it.
    pub(super) fn block(&mut self, length: usize) -> Result<&[u8], CompareError> {
        while self.end - self.start < length + END.len() {
            self.read_more(length + END.len())?;
        }
        let start = self.start;
        let stop = start + length;
        self.start = stop + END.len();
        if &self.arrived[stop..self.start] == END {
            return Ok(&self.arrived[start..stop]);
        }
        Err(protocol(&self.arrived[stop..self.start]))
    }

    /// Reads once, after making room for `wanted` bytes that have not been taken.
    fn read_more(&mut self, wanted: usize) -> Result<(), CompareError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.start + wanted > self.arrived.len() {
            self.arrived.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if wanted > self.arrived.len() {
                self.arrived.resize(wanted + ROOM_BYTES, 0);
            }
        }
        let count = self.stream.read(&mut self.arrived[self.end..]).step("read an answer")?;
        if count == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof))
                .step("read an answer");
        }
        self.end += count;
        Ok(())
    }
}

fn find_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(END.len()).position(|window| window == END)
}

/// An answer that cannot be.
pub(super) fn protocol(found: &[u8]) -> CompareError {
    CompareError::Protocol { found: String::from_utf8_lossy(found).into_owned() }
}

/// The number that these digits are.
pub(super) fn number(digits: &[u8]) -> Result<usize, CompareError> {
    let text = std::str::from_utf8(digits).ok();
    text.and_then(|text| text.parse().ok()).ok_or_else(|| protocol(digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Wire, UnixStream) {
        let (stream, other) = UnixStream::pair().unwrap();
        let arrived = vec![0; 16];
        (Wire { stream, request: Vec::new(), arrived, start: 0, end: 0 }, other)
    }

    #[test]
    fn lines_and_blocks_are_told_apart_however_they_are_cut() {
        let sent = b"$30\r\n0123456789\r\n0123456789abcdef\r\n+OK\r\n";
        for cut in 1..sent.len() {
            let (mut wire, mut other) = pair();
            let rest = sent[cut..].to_vec();
            other.write_all(&sent[..cut]).unwrap();
            let writer = std::thread::spawn(move || {
                std::thread::yield_now();
                other.write_all(&rest).unwrap();
                other
            });
            assert_eq!(wire.line().unwrap(), b"$30");
            assert_eq!(wire.block(28).unwrap(), b"0123456789\r\n0123456789abcdef");
            assert_eq!(wire.line().unwrap(), b"+OK");
            writer.join().unwrap();
        }
    }

    #[test]
    fn a_block_of_another_length_is_an_error() {
        let (mut wire, mut other) = pair();
        other.write_all(b"12345\r\n").unwrap();
        assert!(matches!(wire.block(4), Err(CompareError::Protocol { .. })));
    }

    #[test]
    fn the_end_of_the_other_side_is_an_error() {
        let (mut wire, other) = pair();
        drop(other);
        assert!(wire.line().is_err());
    }

    #[test]
    fn numbers_are_digits() {
        assert_eq!(number(b"64").unwrap(), 64);
        assert!(number(b"-1").is_err());
        assert!(number(b"").is_err());
    }
}
