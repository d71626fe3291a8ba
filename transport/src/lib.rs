//! Zero-copy request/reply between processes over one shared segment.
//!
//! A *host* owns a *segment*; *guests* attach to it, send requests as frames over rings of their
//! own, and share payloads through a pool of variable-size slots. See `ARCHITECTURE.md`.

#[cfg(not(loom))]
pub mod audit;
pub mod control;
mod edges;
pub mod error;
pub mod format;
#[cfg(not(loom))]
pub mod growth_helper;
#[cfg(not(loom))]
pub mod guest;
#[cfg(loom)]
#[path = "guest/modelled.rs"]
mod guest;
#[cfg(not(loom))]
pub mod host;
#[cfg(not(loom))]
pub mod inspect;
pub mod layout;
pub mod memory;
#[cfg(not(loom))]
pub mod pool;
#[cfg(not(loom))]
pub mod process;
#[cfg(not(loom))]
pub mod segment;
#[cfg(not(loom))]
pub mod service;
#[cfg(not(loom))]
pub mod socket;
mod sync;
mod touch;
#[cfg(not(loom))]
pub mod wire;

/// Names one attach of one guest: given out from 1, never used again over all lives of the host.
pub type Serial = u32;
