//! Why a comparison has no result.

use std::io;
use std::time::Duration;

use onecopy::error::{AttachCacheError, LookupError, PublishError};
use onecopy_transport::guest::ReserveError;
use onecopy_transport::host::{ServeError, StartError};
use thiserror::Error;

use crate::content::WrongContent;
use crate::system::System;

/// Why a comparison has no result.
#[derive(Debug, Error)]
pub(crate) enum CompareError {
    #[error("could not {step}: {source}")]
    Setup { step: &'static str, source: io::Error },
    #[error("wrong content: {0}")]
    Wrong(#[from] WrongContent),
    #[error("block {number} of {size_bytes} bytes is not there")]
    Missing { size_bytes: u64, number: u64 },
    #[error("block {number} of {size_bytes} bytes was there before it was stored")]
    NotFirst { size_bytes: u64, number: u64 },
    #[error("{blocks} blocks were answered with {answered}")]
    Count { blocks: usize, answered: usize },
    #[error("an answer that is none of the protocol: {found:?}")]
    Protocol { found: String },
    #[error("{system}: {text}")]
    Worker { system: System, text: String },
    #[error("{system}: its process said nothing for {waited:?}")]
    Silent { system: System, waited: Duration },
    #[error("{system}: its process ended before its work did")]
    Ended { system: System },
    #[error("no answer within {waited:?}")]
    TimedOut { waited: Duration },
    #[error("the parent is process {found}, not {expected}")]
    Orphan { found: i32, expected: i32 },
    #[error("this process was given work that is another's: {order}")]
    WrongOrder { order: String },
    #[error("starting the host: {0}")]
    Start(#[from] StartError),
    #[error("serving: {0}")]
    Serve(#[from] ServeError),
    #[error("attaching: {0}")]
    Attach(#[from] AttachCacheError),
    #[error("reserving: {0}")]
    Reserve(#[from] ReserveError),
    #[error("publishing: {0}")]
    Publish(#[from] PublishError),
    #[error("looking up: {0}")]
    Lookup(#[from] LookupError),
    #[error("LMDB: {0}")]
    Lmdb(#[from] heed::Error),
    #[error("iceoryx2, {step}: {text}")]
    Iceoryx { step: &'static str, text: String },
}

/// Names the step that a system call belongs to.
pub(crate) trait Step<T> {
    fn step(self, step: &'static str) -> Result<T, CompareError>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &'static str) -> Result<T, CompareError> {
        self.map_err(|source| CompareError::Setup { step, source: source.into() })
    }
}
