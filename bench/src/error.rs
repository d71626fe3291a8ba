//! Why a benchmark has no result.

use std::io;

use onecopy::error::{AttachCacheError, LookupError, PublishError};
use onecopy_shm::error::{MapError, RegionError};
use onecopy_shm::{CommitError, GrantError, ReadError, RingError};
use onecopy_transport::guest::{AttachError, CallError, LeaseError, ReserveError};
use onecopy_transport::host::{ServeError, StartError};
use onecopy_transport::process::ProcessError;
use thiserror::Error;

/// Why a benchmark has no result.
#[derive(Debug, Error)]
pub(crate) enum BenchError {
    #[error("could not {step}: {source}")]
    Setup { step: &'static str, source: io::Error },
    #[error("mapping the shared memory: {0}")]
    Map(#[from] MapError),
    #[error("a window of the shared memory: {0}")]
    Region(#[from] RegionError),
    #[error("making a ring: {0}")]
    Ring(#[from] RingError),
    #[error("room in a ring: {0}")]
    Grant(#[from] GrantError),
    #[error("committing a frame: {0}")]
    Commit(#[from] CommitError),
    #[error("reading a frame: {0}")]
    Read(#[from] ReadError),
    #[error("no answer in time; {answered} were answered")]
    TimedOut { answered: u64 },
    #[error("wrong bytes in trip {trip}: word {word} is {found:#x}, not {expected:#x}")]
    WrongWord { trip: u64, word: usize, found: u64, expected: u64 },
    #[error("a payload of {found} bytes in trip {trip}, not {expected}")]
    WrongLength { trip: u64, found: usize, expected: usize },
    #[error("block {number} is not what it was copied from")]
    WrongCopy { number: u64 },
    #[error("{from_bytes} bytes cannot be copied in lines to {to_bytes} bytes here")]
    Uncopied { to_bytes: usize, from_bytes: usize },
    #[error("the partner verified {verified} requests, not {expected}")]
    WrongCount { verified: u64, expected: u64 },
    #[error("the partner was given {received} descriptors, not {expected}")]
    Descriptors { received: usize, expected: usize },
    #[error("the partner's parent is process {found}, not {expected}")]
    Orphan { found: i32, expected: i32 },
    #[error("starting the host: {0}")]
    Start(#[from] StartError),
    #[error("serving: {0}")]
    Serve(#[from] ServeError),
    #[error("attaching to the host: {0}")]
    Attach(#[from] AttachCacheError),
    #[error("attaching to the host: {0}")]
    AttachGuest(#[from] AttachError),
    #[error("asking: {0}")]
    Call(#[from] CallError),
    #[error("leasing: {0}")]
    Lease(#[from] LeaseError),
    #[error("reserving: {0}")]
    Reserve(#[from] ReserveError),
    #[error("publishing: {0}")]
    Publish(#[from] PublishError),
    #[error("looking up: {0}")]
    Lookup(#[from] LookupError),
    #[error("a process: {0}")]
    Process(#[from] ProcessError),
    #[error("block {number} was there before it was published")]
    NotFirst { number: u64 },
    #[error("block {number} is not there")]
    Missing { number: u64 },
    #[error("{found} of {expected} keys were found")]
    Incomplete { found: usize, expected: usize },
    #[error("the host was asked about {keys} keys by lookups that should not ask")]
    Asked { keys: u64 },
    #[error("the partner ended before its work did")]
    PartnerEnded,
}

/// Names the step that a system call belongs to.
pub(crate) trait Step<T> {
    fn step(self, step: &'static str) -> Result<T, BenchError>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &'static str) -> Result<T, BenchError> {
        self.map_err(|source| BenchError::Setup { step, source: source.into() })
    }
}
