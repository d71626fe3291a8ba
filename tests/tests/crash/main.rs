//! Processes that die, or stand still, between any two of their steps: at every shared store of every
//! operation, and at every named place of the source.
//!
//! `ONECOPY_CRASH_ROUNDS=all` leaves out no store but in a restart, most of which clears the index, and
//! in double crashes; without it long operations are sampled.
#![cfg(debug_assertions)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail their test")]

mod guest_side;
mod host_side;
mod life;
mod points;
mod rounds;

/// The program of the peers.
const PEER: &str = env!("CARGO_BIN_EXE_onecopy-test-peer");
