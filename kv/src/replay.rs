//! Replaying requests of a KV cache: where they come from, what their blocks hold, what happened.

pub mod board;
pub mod generator;
pub mod payload;
pub mod report;
pub mod simulate;
pub mod trace;
