//! Attaching to a host, and the commands that only ask it something: `ping` and `stat`.

use crate::cli::{Common, PingArgs};
use crate::exit::Failure;
use onecopy::cache::{Cache, CacheOptions};
use onecopy_transport::format::Role;
use onecopy_transport::guest::GuestOptions;
use onecopy_transport::segment::SegmentPath;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// The segment that the user means.
pub fn segment_path(given: Option<&Path>) -> Result<SegmentPath, Failure> {
    match given {
        Some(path) => SegmentPath::new(path).map_err(Failure::no_segment),
        None => Ok(SegmentPath::default_for_user()),
    }
}

/// When the user's patience ends.
pub fn deadline(args: &Common) -> Instant {
    Instant::now() + Duration::from_secs_f64(args.timeout)
}

/// Attaches to the host of the segment.
pub fn attach(args: &Common, role: Role) -> Result<Cache, Failure> {
    let path = segment_path(args.segment.as_deref())?;
    let mut guest = GuestOptions::at(path.as_path());
    guest.role = role;
    guest.attach_deadline = Duration::from_secs_f64(args.timeout);
    let mut options = CacheOptions::new(guest);
    options.deadline = Duration::from_secs_f64(args.timeout);
    Cache::attach(options).map_err(Failure::no_segment)
}

pub fn ping(args: &PingArgs) -> Result<(), Failure> {
    let cache = attach(&args.common, Role::Reader)?;
    let until = deadline(&args.common);
    let mut times_ns = Vec::new();
    for _ in 0..args.count {
        let time = cache.guest().ping(until).map_err(Failure::refused)?;
        times_ns.push(time.as_nanos() as u64);
    }
    times_ns.sort_unstable();
    let at = |percent: usize| times_ns[(times_ns.len() - 1) * percent / 100];
    if args.common.json {
        let line =
            json!({ "count": args.count, "p50_ns": at(50), "p99_ns": at(99), "max_ns": at(100) });
        println!("{line}");
    } else {
        println!(
            "{} pings: median {:?}, 99 % within {:?}, longest {:?}",
            args.count,
            Duration::from_nanos(at(50)),
            Duration::from_nanos(at(99)),
            Duration::from_nanos(at(100)),
        );
    }
    Ok(())
}

pub fn stat(args: &Common) -> Result<(), Failure> {
    let cache = attach(args, Role::Reader)?;
    let text = cache.guest().host_stats(deadline(args)).map_err(Failure::refused)?;
    if args.json {
        println!("{text}");
        return Ok(());
    }
    let stats: serde_json::Map<String, Value> =
        serde_json::from_str(&text).map_err(Failure::refused)?;
    let width = stats.keys().map(String::len).max().unwrap_or(0);
    for (name, value) in &stats {
        println!("{name:width$}  {value}");
    }
    Ok(())
}
