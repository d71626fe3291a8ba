//! `replay`: a trace of requests through one shared pool, by several processes.

mod arrivals;
mod guests;
mod home;
mod kills;
mod outside;
pub mod plan;
pub mod supervisor;
mod worker;

pub use worker::guest;

use crate::cli::ReplayArgs;
use crate::exit::Failure;
use crate::out;
use crate::progress::Bar;
use crate::signals::Interrupted;
use onecopy::replay::report::{AUDIT_CLEAN, ReplayReport};
use plan::Plan;

pub fn replay(args: &ReplayArgs) -> Result<(), Failure> {
    let interrupted = Interrupted::watch()?;
    let plan = Plan::from_args(args)?;
    let bar = Bar::requests(plan.requests as u64, "replay");
    let report = supervisor::run(&plan, &interrupted, &bar)?;
    drop(bar);
    if args.json {
        out::line(serde_json::to_string(&report).map_err(Failure::refused)?)?;
    } else {
        out::line(report.table())?;
    }
    judge(&report)
}

/// A replay that read a wrong byte, or left a mess, has failed.
// r[impl cli.replay.judge]
pub fn judge(report: &ReplayReport) -> Result<(), Failure> {
    let ReplayReport { mismatches, guests_killed, guests_recovered, audit, .. } = report;
    let wrong = if *mismatches > 0 {
        format!("{mismatches} blocks were read wrong")
    } else if guests_killed != guests_recovered {
        format!("{guests_killed} guests were killed and {guests_recovered} recovered")
    } else if audit != AUDIT_CLEAN {
        format!("the audit is not clean: {audit}")
    } else {
        return Ok(());
    };
    Err(Failure::WrongData(wrong))
}

#[cfg(test)]
mod tests {
    use super::judge;
    use crate::exit::Failure;
    use onecopy::replay::board::Supervisor;
    use onecopy::replay::report::{ReplayReport, RunFigures};

    // r[verify cli.replay.judge]
    #[test]
    fn what_is_wrong_is_wrong_data() {
        let board = Supervisor::create(1, 1).unwrap();
        let clean = ReplayReport::build(&board, &RunFigures::default()).unwrap();
        assert!(judge(&clean).is_ok());
        let wrong = [
            ReplayReport { mismatches: 1, ..clean.clone() },
            ReplayReport { guests_killed: 2, guests_recovered: 1, ..clean.clone() },
            ReplayReport { audit: "slot 3 is in two places".to_owned(), ..clean },
        ];
        for report in wrong {
            assert!(matches!(judge(&report), Err(Failure::WrongData(_))), "{report:?}");
        }
    }
}
