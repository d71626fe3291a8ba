//! Each system call of a host and of a guest fails once, and each is once the last: an error with a
//! type or a success, nothing left behind, and the next try succeeds.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail their test")]

mod death;
mod guest;
mod host;
mod sweep;

/// The program of the peers.
const PEER: &str = env!("CARGO_BIN_EXE_onecopy-test-peer");
