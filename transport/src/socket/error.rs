//! Why records do not go over a socket.

use onecopy_shm::sys_socket::DESCRIPTORS_MAX;
use rustix::io::Errno;
use thiserror::Error;

/// A system call that failed on a socket.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("cannot {operation}: {source}")]
pub struct SocketError {
    /// What was tried.
    pub operation: &'static str,
    /// Why not.
    pub source: Errno,
}

impl SocketError {
    /// Ready for `map_err`.
    pub(crate) fn on(operation: &'static str) -> impl Fn(Errno) -> SocketError {
        move |source| SocketError { operation, source }
    }
}

/// Why a record was not sent.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The other end takes nothing at the moment.
    #[error("the other end of the attach socket does not read")]
    Full,
    /// The other end did not take it in time.
    #[error("the other end of the attach socket did not read before the deadline")]
    TimedOut,
    /// The other end is closed.
    #[error("the other end of the attach socket is closed")]
    Closed,
    /// A record of no bytes, which cannot be told from the end.
    #[error("a record needs at least one byte")]
    Empty,
    /// A record larger than the socket takes.
    #[error("a record of {length} bytes is more than the socket takes")]
    TooLarge {
        /// Its length, in bytes.
        length: usize,
    },
    /// More descriptors than a record brings.
    #[error("{count} descriptors with one record, the most is {max}", max = DESCRIPTORS_MAX)]
    TooManyDescriptors {
        /// How many.
        count: usize,
    },
    /// Too many descriptors of this user are on their way and not received.
    #[error("too many descriptors of this user are on their way over sockets")]
    TooManyInFlight,
    /// The system refused.
    #[error(transparent)]
    System(#[from] SocketError),
}

/// Why no record was received. Descriptors that came with a refused record are closed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReceiveError {
    /// Nothing came in time.
    #[error("nothing came over the attach socket before the deadline")]
    TimedOut,
    /// The other end is closed and all it sent has been received.
    #[error("the other end of the attach socket is closed")]
    Closed,
    /// A record of no bytes.
    #[error("a record of no bytes")]
    Empty,
    /// A record longer than expected.
    #[error("a record of {length} bytes, the most expected is {max}")]
    TooLong {
        /// Its length, in bytes.
        length: usize,
        /// The longest expected, in bytes.
        max: usize,
    },
    /// More descriptors than expected.
    #[error("{count} descriptors with a record, the most expected is {max}")]
    TooManyDescriptors {
        /// How many arrived.
        count: usize,
        /// The most expected.
        max: usize,
    },
    /// Descriptors were lost on the way: more than any record brings, or no room in this process.
    #[error("descriptors of a record were lost: more than {max}, or this process has too many open",
        max = DESCRIPTORS_MAX)]
    DescriptorsLost,
    /// The system refused.
    #[error(transparent)]
    System(#[from] SocketError),
}
