//! One copy of every KV-cache block, shared in place by every process on the machine.

pub mod checksum;
pub mod key;
pub mod policy;
pub mod replay;
pub mod size;
