//! `demo`: what onecopy does, on a fresh machine, with nothing to download.

use crate::cli::DemoArgs;
use crate::exit::Failure;
use crate::out;
use crate::progress::Bar;
use crate::replay::judge;
use crate::replay::plan::{Kills, Plan, Source, pool_bytes_needed};
use crate::replay::supervisor::run;
use crate::signals::Interrupted;
use onecopy::policy::PolicyKind;
use onecopy::replay::generator::GeneratorOptions;
use onecopy::replay::report::ReplayReport;
use onecopy::replay::simulate::simulate_private;
use onecopy::replay::trace::Trace;
use onecopy::size::ByteSize;
use onecopy_transport::segment::Room;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

const GUESTS: u32 = 4;
const CAPACITY_BLOCKS: u32 = GeneratorOptions::CAPACITY_BLOCKS;
/// Sizes of blocks, from what it likes best to what still shows something.
const BLOCK_BYTES: [u64; 3] = [64 << 10, 16 << 10, 4 << 10];
/// The pool starts with room for so many blocks, so that it has to grow.
const POOL_BLOCKS: u64 = 128;

pub fn demo(args: &DemoArgs) -> Result<(), Failure> {
    let interrupted = Interrupted::watch()?;
    let plan = plan(args)?;
    if !args.json {
        introduce(&plan, args.kill_guest_every.is_some())?;
    }
    let bar = Bar::requests(plan.requests as u64, "demo");
    let report = run(&plan, &interrupted, &bar)?;
    drop(bar);
    let private =
        simulate_private(&plan.trace, plan.policy, CAPACITY_BLOCKS / GUESTS, GUESTS as usize);
    let private_percent = private.hit_rate_percent();
    if args.json {
        out::line(json!({ "replay": report, "private_hit_rate_percent": private_percent }))?;
    } else {
        conclude(&report, private_percent)?;
    }
    judge(&report)
}

fn plan(args: &DemoArgs) -> Result<Plan, Failure> {
    let source = Source::Generator { seed: args.seed, conversations: args.conversations };
    let trace = source.load()?;
    let capacity_blocks = Some(CAPACITY_BLOCKS.into());
    let (block_bytes, pool_bytes_max) = sizes(&trace)?;
    Ok(Plan {
        requests: trace.request_count(),
        guests: GUESTS,
        block_bytes,
        capacity_blocks,
        policy: PolicyKind::Lru,
        lookup: args.lookup,
        speed: None,
        kills: match args.kill_guest_every {
            Some(seconds) => Kills::Every(Duration::from_secs_f64(seconds)),
            None => Kills::Once { requests_done: trace.request_count() / 2 },
        },
        segment: None,
        pool_bytes: POOL_BLOCKS * block_bytes,
        pool_bytes_max,
        source,
        trace,
    })
}

// r[impl cli.room]
/// The size of blocks that there is room for, and the largest pool they need.
fn sizes(trace: &Trace) -> Result<(u64, u64), Failure> {
    let room = Room::at(Path::new("/dev/shm")).map_err(Failure::no_segment)?;
    let capacity = Some(CAPACITY_BLOCKS.into());
    let needed = |block| pool_bytes_needed(trace, trace.request_count(), capacity, block, GUESTS);
    let fits = |block: &u64| room.free_bytes.is_none_or(|free| needed(*block) <= free);
    match BLOCK_BYTES.into_iter().find(fits) {
        Some(block_bytes) => Ok((block_bytes, needed(block_bytes))),
        None => Err(Failure::NoSegment(format!(
            "{room}, but the demo needs {}: make it larger (docker run --shm-size, mount -o \
             remount,size=)",
            ByteSize::from_bytes(needed(4 << 10)).rounded(),
        ))),
    }
}

fn introduce(plan: &Plan, many_kills: bool) -> Result<(), Failure> {
    let victims = if many_kills { "many are" } else { "one process is" };
    let block = ByteSize::from_bytes(plan.block_bytes);
    let pool = ByteSize::from_bytes(plan.pool_bytes).rounded();
    let requests = plan.requests;
    out::line(format_args!(
        "{GUESTS} processes answer {requests} requests of made-up conversations from one cache of\n\
         {CAPACITY_BLOCKS} blocks of {block}. The pool starts with {pool} and grows, {victims}\n\
         killed on the way, and every byte that is read is checked.\n"
    ))
}

// r[impl cli.demo]
fn conclude(report: &ReplayReport, private_percent: f64) -> Result<(), Failure> {
    let mut table = report.table();
    let quarter = CAPACITY_BLOCKS / GUESTS;
    table.row("", "");
    table.row("hit rate, shared", format!("{:.1} %", report.hit_rate_percent));
    table.row(
        "hit rate, private",
        format!(
            "{private_percent:.1} % (simulated: the same requests dealt round robin over\n\
             {GUESTS} caches of {quarter} blocks each, the same memory in all)"
        ),
    );
    out::line(table)
}
