//! Hosts and guests in processes of their own: what the contract says of attaching, dying, being
//! cut off, growing and coming back.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail their test")]

mod cut_off;
mod death;
mod embedded;
mod goodbye;
mod limbo;
mod suspect;

/// The program of the peers.
const PEER: &str = env!("CARGO_BIN_EXE_onecopy-test-peer");
