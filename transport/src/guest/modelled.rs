//! What of a guest the model checker runs: the parts in which its threads share something that no
//! mutex guards. The rest needs sockets and files.
#![expect(dead_code, reason = "no model takes all of it")]

mod clones;
mod closing;
mod growth;
#[cfg(test)]
mod loom;
