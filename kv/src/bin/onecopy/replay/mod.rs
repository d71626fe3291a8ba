//! `replay`: a trace of requests through one shared pool, by several processes.

mod home;
pub mod plan;
pub mod progress;
pub mod supervisor;
mod worker;

pub use worker::guest;

use crate::cli::ReplayArgs;
use crate::exit::Failure;
use crate::signals::Interrupted;
use onecopy::replay::report::{AUDIT_CLEAN, ReplayReport};
use plan::Plan;
use progress::Bar;

pub fn replay(args: &ReplayArgs) -> Result<(), Failure> {
    let interrupted = Interrupted::watch().map_err(Failure::refused)?;
    let plan = Plan::from_args(args)?;
    let bar = Bar::new(plan.requests as u64, "replay");
    let report = supervisor::run(&plan, &interrupted, &bar)?;
    drop(bar);
    if args.json {
        println!("{}", serde_json::to_string(&report).map_err(Failure::refused)?);
    } else {
        println!("{}", report.table());
    }
    judge(&report)
}

/// A replay that read a wrong byte, or left a mess, has failed.
pub fn judge(report: &ReplayReport) -> Result<(), Failure> {
    if report.mismatches > 0 {
        return Err(Failure::WrongData(format!("{} blocks were read wrong", report.mismatches)));
    }
    if report.guests_killed != report.guests_recovered && report.recovery_ms.is_some() {
        let (killed, recovered) = (report.guests_killed, report.guests_recovered);
        return Err(Failure::WrongData(format!("{killed} guests killed, {recovered} recovered")));
    }
    if report.audit != AUDIT_CLEAN {
        return Err(Failure::WrongData(format!("audit: {}", report.audit)));
    }
    Ok(())
}
