//! The program `onecopy`: hosts, inspects and tries out segments.

mod cli;
mod demo;
mod exit;
mod guest;
mod inspect;
mod keys;
mod out;
mod peers;
mod progress;
mod replay;
mod serve;
mod signals;

use clap::Parser;
use cli::{Cli, Command};
use onecopy_transport::growth_helper::GrowthHelper;
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // Before anything else: a host starts this program anew to have memory reserved.
    if let Some(code) = GrowthHelper::register() {
        return code;
    }
    let cli = Cli::parse();
    trace_to_standard_error();
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
        Command::Peers(args) => peers::peers(&args),
        Command::Replay(args) => replay::replay(&args),
        Command::Demo(args) => demo::demo(&args),
        Command::ReplayGuest(args) => replay::guest(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// What `RUST_LOG` asks for, warnings where it asks for nothing.
// r[impl cli.log]
fn trace_to_standard_error() {
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let (filter, error) = match EnvFilter::try_new(&wanted) {
        Ok(filter) if !wanted.is_empty() => (filter, None),
        Ok(_) => (EnvFilter::new("warn"), None),
        Err(error) => (EnvFilter::new("warn"), Some(error)),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        // It would panic where standard error is closed.
        .log_internal_errors(false)
        .init();
    if let Some(error) = error {
        tracing::warn!("RUST_LOG={wanted} is not understood, so it is warn: {error}");
    }
}
