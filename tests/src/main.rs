//! What is run by hand and by the continuous check, beyond `cargo test`: the soak.

use clap::{Parser, Subcommand};
use onecopy_tests::soak::{self, GuestArgs, HostArgs, SoakArgs};
use onecopy_transport::growth_helper::GrowthHelper;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Long-running checks of onecopy.
#[derive(Debug, Parser)]
#[command(name = "onecopy-tests", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Soak(SoakArgs),
    /// A guest process of a soak.
    #[command(hide = true)]
    SoakGuest(GuestArgs),
    /// The host process of a soak.
    #[command(hide = true)]
    SoakHost(HostArgs),
}

fn main() -> ExitCode {
    // Before anything else: the host of a soak starts this program anew to have memory reserved.
    if let Some(code) = GrowthHelper::register() {
        return code;
    }
    let done = match Arguments::parse().command {
        What::Soak(args) => soak::run(&args),
        What::SoakGuest(args) => with_log(|| soak::run_guest(args)),
        What::SoakHost(args) => with_log(|| soak::run_host(&args)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("onecopy-tests: {error}");
            ExitCode::from(2)
        }
    }
}

/// What happens in a process of a soak, by `RUST_LOG`.
fn with_log(run: impl FnOnce() -> Result<(), soak::SoakError>) -> Result<bool, soak::SoakError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    run().map(|()| true)
}
