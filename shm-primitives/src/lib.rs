//! Placeholder until the first module lands.

mod sync;
