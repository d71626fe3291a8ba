//! The baseline of waking: a bare byte over a Unix socket, and a byte back. Both sides sleep in the
//! kernel meanwhile.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use crate::error::{BenchError, Step};
use crate::partner::{Job, Partner, Side, exactly};
use crate::pin::Cores;
use crate::wait::Patience;

/// What is said of the baseline.
pub(crate) const TEXT: &str = "a bare byte over a Unix socket and one back";

/// Sends bytes to and fro with a partner.
pub(crate) struct Socket {
    partner: Partner,
    asks: Asks,
}

impl Socket {
    /// Starts the partner.
    pub(crate) fn start(cores: &Cores) -> Result<Socket, BenchError> {
        let (socket, theirs) = UnixStream::pair().step("make a socket pair")?;
        let partner = Partner::start(Job::Socket, cores, &[theirs.as_fd()])?;
        Ok(Socket { partner, asks: Asks { socket, trip: 0 } })
    }

    /// Nanoseconds for each round trip.
    pub(crate) fn measure(&mut self, trips: u64) -> Result<f64, BenchError> {
        self.partner.measure(&mut self.asks, trips)
    }
}

/// The byte of a trip.
fn request_byte(trip: u64) -> u8 {
    trip as u8
}

fn take(socket: &mut UnixStream, trip: u64, expected: u8) -> Result<(), BenchError> {
    let mut byte = [0];
    socket.read_exact(&mut byte).step("read a byte")?;
    let (found, expected) = (u64::from(byte[0]), u64::from(expected));
    crate::payload::check_word(trip, 0, found, expected)
}

struct Asks {
    socket: UnixStream,
    trip: u64,
}

impl Side for Asks {
    fn round(&mut self, count: u64, patience: Patience) -> Result<(), BenchError> {
        self.socket.set_read_timeout(Some(patience.left(self.trip)?)).step("limit a wait")?;
        for _ in 0..count {
            self.trip += 1;
            self.socket.write_all(&[request_byte(self.trip)]).step("write a byte")?;
            take(&mut self.socket, self.trip, !request_byte(self.trip))?;
        }
        Ok(())
    }
}

/// The partner's side.
pub(crate) struct Answers {
    socket: UnixStream,
    trip: u64,
}

impl Answers {
    pub(crate) fn new(descriptors: Vec<OwnedFd>) -> Result<Answers, BenchError> {
        let [socket] = exactly(descriptors)?;
        Ok(Answers { socket: UnixStream::from(socket), trip: 0 })
    }
}

impl Side for Answers {
    fn round(&mut self, count: u64, patience: Patience) -> Result<(), BenchError> {
        self.socket.set_read_timeout(Some(patience.left(self.trip)?)).step("limit a wait")?;
        for _ in 0..count {
            self.trip += 1;
            take(&mut self.socket, self.trip, request_byte(self.trip))?;
            self.socket.write_all(&[!request_byte(self.trip)]).step("write a byte")?;
        }
        Ok(())
    }
}
