//! One copy of every KV-cache block, shared in place by every process on the machine.
//!
//! | part | for whom | what |
//! | --- | --- | --- |
//! | [`cache`], [`error`] | engines | find blocks, read them in place, fill slots, publish |
//! | [`service`] | hosts | the cache as the service of a transport host |
//! | [`key`], [`checksum`], [`stats`] | both | names, payload checksums, figures |
//! | [`protocol`], [`note`], [`mod@format`], [`index`] | both | bytes in frames and in shared memory |
//! | [`policy`] | hosts | which block goes |
//! | [`replay`], [`size`] | tools | traces with payloads that can be checked, sizes as people write them |
//!
//! # Happens-before edges
//!
//! | edge | from (Release) | to (Acquire) | what it carries |
//! | --- | --- | --- | --- |
//! | `index.create` | host: magic of the index | reader: magic | the header's fields |
//! | `index.insert` | host: an entry or overflow bit | reader: the same word | what the host wrote about the slot; overflow bits before the entry that they lead to |
//! | `index.mask` | host: a larger mask | reader: the mask | the buckets that it lets in |
//! | `board.create` | supervisor: magic of the board | worker: magic | the board's numbers |
//! | `board.done` | worker: state of a request | supervisor: the state | the outcome of the request |

#[cfg(not(loom))]
pub mod cache;
#[cfg(not(loom))]
pub mod checksum;
#[cfg(not(loom))]
pub mod error;
pub mod format;
pub mod index;
pub mod key;
#[cfg(not(loom))]
pub mod note;
#[cfg(not(loom))]
pub mod policy;
#[cfg(not(loom))]
pub mod protocol;
#[cfg(not(loom))]
pub mod replay;
#[cfg(not(loom))]
pub mod service;
#[cfg(not(loom))]
pub mod size;
#[cfg(not(loom))]
pub mod stats;

/// The README's use from Rust, so that it compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
