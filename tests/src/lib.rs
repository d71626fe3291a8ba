//! What the workspace's integration tests share: the source tree as data, the spec check and the
//! tidy check. Each check is a plain function over [`tree::SourceFile`]s, so that its own tests can
//! feed it every fault it must find. And [`harness`]: what the process tests are made of.

pub mod fuzz;
pub mod harness;
pub mod soak;
pub mod spec;
pub mod tidy;
pub mod tree;
