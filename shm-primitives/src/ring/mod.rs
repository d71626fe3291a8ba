//! `BipBuffer`: a one-way byte queue between two processes, one cache-line transfer a small frame.
//!
//! A [`Producer`] grants contiguous bytes, fills them and commits them as one frame; a [`Consumer`]
//! reads frames in place and releases them. Commit is in band: the frame's own header word, stored
//! last, is what the consumer looks at.
//!
//! | edge | from | to | so that |
//! | --- | --- | --- | --- |
//! | `ring.commit` | Release store of a header, or of the wrap in front of it | Acquire load of the next header | payload, following zero and wrapped header are there |
//! | `ring.release` | Release store of the read position | Acquire load when room is short | a reader is through with bytes before they are reused |
//!
//! Who dies where: a producer that dies before the header store leaves nothing visible, and after it
//! a whole frame. A consumer that dies leaves a read position that is a frame's edge.

mod consumer;
mod edges;
mod error;
mod layout;
#[cfg(not(loom))]
mod memory;
#[cfg(loom)]
#[path = "memory_model.rs"]
mod memory;
mod producer;

#[cfg(test)]
#[cfg(loom)]
mod loom;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;

pub use consumer::{Consumer, Frame};
pub use error::{CommitError, GrantError, MalformedReason, ReadError, RingError};
pub use layout::{CAPACITY_MAX_BYTES, CAPACITY_MIN_BYTES, RingLayout, ring_layout};
pub use producer::{Grant, Producer};
