//! Zero-copy request/reply between processes over one shared segment.
//!
//! A *host* owns a *segment*; *guests* attach to it, send requests as frames over rings of their
//! own, and share payloads through a pool of variable-size slots. See `ARCHITECTURE.md`.

pub mod audit;
pub mod control;
pub mod error;
pub mod format;
pub mod growth_helper;
pub mod guest;
pub mod host;
pub mod inspect;
pub mod layout;
pub mod pool;
pub mod process;
pub mod segment;
pub mod service;
pub mod socket;
pub mod wire;

/// Names one attach of one guest: given out from 1, never used again over all lives of the host.
pub type Serial = u32;
