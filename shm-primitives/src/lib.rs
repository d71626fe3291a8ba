//! Shared-memory primitives: memory mapped into several processes, and the words and rings in it.

pub mod error;
pub mod fork;
pub mod mapping;
pub mod region;
pub mod slot;
mod sync;
pub mod sys;

pub use fork::ForkGuard;
pub use mapping::{Access, Mapping};
pub use region::{ReadWord, ReadWords, Region, Word, Words};
pub use slot::{SERIAL_MAX, SlotRef, SlotState, SlotWord};
