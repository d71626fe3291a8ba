//! `demo`: what onecopy does, on a fresh machine, with nothing to download.

use crate::cli::DemoArgs;
use crate::exit::Failure;
use crate::replay::judge;
use crate::replay::plan::{Kills, Plan, Source, pool_bytes_needed};
use crate::replay::progress::Bar;
use crate::replay::supervisor::run;
use crate::signals::Interrupted;
use onecopy::policy::PolicyKind;
use onecopy::replay::report::ReplayReport;
use onecopy::replay::simulate::simulate_private;
use onecopy::size::ByteSize;
use serde_json::json;
use std::time::Duration;

const GUESTS: u32 = 4;
const BLOCK_BYTES: u64 = 64 << 10;
/// The cache holds so many of the distinct blocks of the conversations: one in this.
const CAPACITY_PART: u64 = 3;
const POOL_BYTES: u64 = 32 << 20;
const KILL_AFTER: Duration = Duration::from_millis(400);

pub fn demo(args: &DemoArgs) -> Result<(), Failure> {
    let interrupted = Interrupted::watch().map_err(Failure::refused)?;
    let plan = plan(args.seed)?;
    if !args.json {
        introduce(&plan);
    }
    let bar = Bar::new(plan.requests as u64, "demo");
    let report = run(&plan, &interrupted, &bar)?;
    drop(bar);
    let capacity = plan.capacity_blocks.unwrap_or(0) as u32;
    let private = simulate_private(&plan.trace, plan.policy, capacity / GUESTS, GUESTS as usize);
    let private_percent = private.hit_rate_percent();
    if args.json {
        let line = json!({ "replay": report, "private_hit_rate_percent": private_percent });
        println!("{line}");
    } else {
        conclude(&report, private_percent);
    }
    judge(&report)
}

fn plan(seed: u64) -> Result<Plan, Failure> {
    let source = Source::Generator(seed);
    let trace = source.load()?;
    let capacity_blocks = Some((trace.distinct_count() as u64 / CAPACITY_PART).max(64));
    Ok(Plan {
        requests: trace.request_count(),
        guests: GUESTS,
        block_bytes: BLOCK_BYTES,
        capacity_blocks,
        policy: PolicyKind::Lru,
        kills: Kills { every: Some(KILL_AFTER), most: 1 },
        segment: None,
        pool_bytes: POOL_BYTES,
        pool_bytes_max: pool_bytes_needed(&trace, capacity_blocks, BLOCK_BYTES, GUESTS),
        source,
        trace,
    })
}

fn introduce(plan: &Plan) {
    let capacity = plan.capacity_blocks.unwrap_or(0);
    println!(
        "{GUESTS} processes serve {} requests of made-up conversations from one cache of {capacity} \
         blocks of {}.",
        plan.requests,
        ByteSize::from_bytes(BLOCK_BYTES),
    );
    println!(
        "The pool starts with {} and grows; one process is killed on the way; every byte is checked.\n",
        ByteSize::from_bytes(POOL_BYTES),
    );
}

fn conclude(report: &ReplayReport, private_percent: f64) {
    println!("{}\n", report.table());
    println!(
        "One shared cache answered {:.1} % of the block references; four private caches with the \
         same memory in all would have answered {private_percent:.1} %.",
        report.hit_rate_percent
    );
}
