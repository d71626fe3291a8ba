//! The program `onecopy` as a person or a script meets it.

mod blocks;
mod demo;
mod errors;
mod guests;
mod help;
mod inspect;
mod limits;
mod memory;
mod peers;
mod replay;
mod rig;
mod serve;
