//! Fuzz targets as plain functions of bytes: the fuzzer in `fuzz/` runs them on bytes of its own
//! making, and the tests on the seed corpus. A fault is a panic, here or in what is tested.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a target fails by a panic")]

pub mod control;
pub mod frames;
mod honest;
pub mod host;
mod image;
mod input;

pub use input::Input;
