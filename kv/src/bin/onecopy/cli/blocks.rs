//! `put`, `get`, `exists` and `rm`.

use super::Common;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct KeyArgs {
    #[command(flatten)]
    pub common: Common,
    /// The key: any text, named by its BLAKE3 digest; or 64 hex digits with --hex
    pub key: String,
    /// The key is the 32-byte key itself, in hex
    #[arg(long)]
    pub hex: bool,
}

const RM_HELP: &str = "\
Readers that have the block keep it until they are done. A pinned block is refused
(exit code 4).";

#[derive(Debug, Args)]
#[command(after_help = RM_HELP)]
pub struct RmArgs {
    #[command(flatten)]
    pub key: KeyArgs,
}

const PUT_HELP: &str = "\
A key that is there already keeps its block; put says so and exits with 0. A block
of 0 bytes is a block. The largest is what --slot-max of `serve` says.

Examples:
  echo hello | onecopy put greeting
  onecopy put model/layer0 --input layer0.bin --checksum --ttl 3600";

#[derive(Debug, Args)]
#[command(after_help = PUT_HELP)]
pub struct PutArgs {
    #[command(flatten)]
    pub key: KeyArgs,
    /// Read the block from a file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Let the block expire after so many seconds, 1 to 4294967295
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub ttl: Option<u32>,
    /// Store a checksum with the block
    #[arg(long)]
    pub checksum: bool,
}

const GET_HELP: &str = "\
Examples:
  onecopy get greeting
  onecopy get model/layer0 --output layer0.bin --verify";

#[derive(Debug, Args)]
#[command(after_help = GET_HELP)]
pub struct GetArgs {
    #[command(flatten)]
    pub key: KeyArgs,
    /// Write the block to a file instead of standard output; --json needs this
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Check the block's checksum first, if it has one
    #[arg(long)]
    pub verify: bool,
}
