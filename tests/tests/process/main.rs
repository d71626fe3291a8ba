//! Hosts and guests in processes of their own: what the contract says of attaching, dying, being
//! cut off, growing and coming back.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail their test")]

mod attach;
mod comeback;
mod cut_off;
mod damaged;
mod death;
mod embedded;
mod full;
mod goodbye;
mod growth;
mod hostile;
mod leave;
mod limbo;
mod links;
mod memory;
mod namespaces;
mod quotas;
mod refusals;
mod reserve;
mod restart;
mod scribblers;
mod settle;
mod stopped;
mod suspect;
mod takeover;
mod torn;
mod unmapped;

/// The program of the peers.
const PEER: &str = env!("CARGO_BIN_EXE_onecopy-test-peer");
