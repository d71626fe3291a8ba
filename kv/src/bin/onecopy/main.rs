//! The program `onecopy`: hosts, inspects and tries out segments.

mod cli;
mod demo;
mod exit;
mod guest;
mod inspect;
mod keys;
mod replay;
mod serve;
mod signals;

use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()))
        .with_writer(std::io::stderr)
        .init();
    let result = match cli.command {
        Command::Serve(args) => serve::serve(&args),
        Command::Destroy(args) => serve::destroy(&args),
        Command::Put(args) => keys::put(&args),
        Command::Get(args) => keys::get(&args),
        Command::Exists(args) => keys::exists(&args),
        Command::Rm(args) => keys::rm(&args),
        Command::Ping(args) => guest::ping(&args),
        Command::Stat(args) => guest::stat(&args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Replay(args) => replay::replay(&args),
        Command::Demo(args) => demo::demo(&args),
        Command::ReplayGuest(args) => replay::guest(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
