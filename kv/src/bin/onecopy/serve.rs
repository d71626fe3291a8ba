//! `serve` and `destroy`: be a segment's host; remove a segment that has none.

use crate::cli::{DestroyArgs, MemoryArgs, ServeArgs};
use crate::exit::Failure;
use crate::guest::segment_path;
use crate::out;
use crate::progress::Bar;
use crate::signals::SignalWatch;
use onecopy::service::{CacheService, CacheServiceOptions, Capacity};
use onecopy::size::ByteSize;
use onecopy_transport::host::{Host, HostEvent, HostHandle, HostOptions, StartError};
use onecopy_transport::memory::MemoryOptions;
use onecopy_transport::segment::{
    DestroyError, DirError, GrowError, SegmentPath, destroy as destroy_segment,
};
use onecopy_transport::socket::Allowed;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

// r[impl cli.serve]
pub fn serve(args: &ServeArgs) -> Result<(), Failure> {
    let segment = segment_path(&args.place)?;
    let mut options = host_options(args, &segment)?;
    let (events, told) = channel();
    options.events = Some(events);
    let shown = std::thread::Builder::new().name("progress".into());
    shown
        .spawn(move || show_start(told))
        .map_err(|error| Failure::file("a thread", "started", &error))?;
    // Before there is anything to clean up: a signal gives the start up, or is obeyed after it.
    let (tell_handle, handle) = channel::<HostHandle>();
    let given_up = Arc::new(AtomicBool::new(false));
    options.start_given_up = Some(given_up.clone());
    let give_up = given_up.clone();
    let watch = SignalWatch::start(move || {
        // No edge: nothing but the flag itself is told.
        give_up.store(true, Ordering::Relaxed);
        if let Ok(handle) = handle.recv() {
            // A host that has ended needs no telling.
            let _ = handle.leave();
        }
    })?;
    let service = CacheService::new(CacheServiceOptions {
        capacity: capacity(args),
        policy: args.policy,
        pins_per_peer_max: args.quotas.pins_max,
    });
    let host = Host::start(options, service);
    if let Ok(host) = &host {
        // The watch keeps it until a signal comes.
        let _ = tell_handle.send(host.handle());
    }
    // Where there is no host, a signal that came meanwhile waits for nothing.
    drop(tell_handle);
    let host = host.map_err(|error| start_failure(error, given_up.load(Ordering::Relaxed)))?;
    announce(args, &host)?;
    let result = host.serve();
    drop(watch);
    result.map_err(Failure::no_segment)?;
    let path = segment.as_path().display();
    if args.rm && segment.as_path().exists() {
        return Err(Failure::NoSegment(format!("goodbye said, but {path} was not removed wholly")));
    }
    if !args.json {
        let end = if args.rm { "removed" } else { "kept; `onecopy destroy` removes it" };
        out::note(&format!("goodbye said; the segment {path} is {end}"));
    }
    Ok(())
}

/// What was wrong before a signal came stays what is said: it would be wrong again.
// r[impl cli.serve.memory]
fn start_failure(error: StartError, given_up: bool) -> Failure {
    match error {
        StartError::Grow(GrowError::GivenUp { .. }) => Failure::Interrupted,
        // A signal for the whole control group ends the helper too, which is heard of first.
        StartError::Grow(GrowError::HelperKilled { .. }) if given_up => Failure::Interrupted,
        error => Failure::no_segment(error),
    }
}

// r[impl cli.destroy]
pub fn destroy(args: &DestroyArgs) -> Result<(), Failure> {
    let path = segment_path(&args.place)?;
    let destroyed = match destroy_segment(&path) {
        Ok(destroyed) => destroyed,
        Err(DestroyError::Dir(DirError::NotFound { path })) => {
            return Err(Failure::NoSegment(format!("there is no segment at {}", path.display())));
        }
        Err(error) => return Err(Failure::no_segment(error)),
    };
    let pool_left = destroyed.pool_left.as_ref().map(|path| path.display().to_string());
    if args.json {
        return out::line(json!({ "files": destroyed.files, "pool_left": pool_left }));
    }
    let (files, plural) = (destroyed.files, if destroyed.files == 1 { "" } else { "s" });
    out::line(format_args!("removed {} ({files} file{plural})", path.as_path().display()))?;
    match pool_left {
        Some(left) => out::line(format_args!("left {left}, which is not this segment's any more")),
        None => Ok(()),
    }
}

// r[impl cli.serve.capacity]
fn capacity(args: &ServeArgs) -> Capacity {
    match (args.capacity_blocks, args.capacity_bytes) {
        (Some(blocks), _) => Capacity::Blocks(blocks),
        (None, Some(bytes)) => Capacity::Bytes(bytes.bytes()),
        (None, None) => Capacity::Unbounded,
    }
}

// r[impl cli.serve.size]
// r[impl cli.serve.ring]
// r[impl cli.serve.polling]
// r[impl cli.serve.restart-grace]
// r[impl cli.serve.kill]
// r[impl cli.serve.quotas]
fn host_options(args: &ServeArgs, segment: &SegmentPath) -> Result<HostOptions, Failure> {
    check_sizes(args)?;
    // The parser sees to it that it is at most 64M.
    let ring_capacity_bytes = u32::try_from(args.ring.bytes()).map_err(Failure::usage)?;
    let mut options = HostOptions::new(segment.as_path());
    options.pool = args.pool.clone();
    options.pool_bytes = args.size.bytes();
    options.pool_bytes_max = args.size_max.bytes();
    options.granule_bytes = args.granule.bytes();
    options.slot_bytes_max = args.slot_max.map(ByteSize::bytes);
    options.guests_max = args.guests_max;
    options.ring_capacity_bytes = ring_capacity_bytes;
    options.inline_bytes_max =
        options.inline_bytes_max.min((ring_capacity_bytes / 4).saturating_sub(8));
    options.heartbeat_interval = Duration::from_millis(args.heartbeat_ms);
    options.restart_grace = Duration::from_millis(args.restart_grace_ms);
    options.kill_suspects_after = args.kill_suspects_after.map(Duration::from_secs_f64);
    options.polling = args.polling;
    options.remove_on_leave = args.rm;
    options.allowed =
        Allowed { uids: args.allow.allow_uid.clone(), gids: args.allow.allow_gid.clone() };
    options.memory = memory_options(&args.memory);
    options.grant_slots_max = args.quotas.grant_slots_max;
    options.grant_bytes_max = args.quotas.grant_bytes_max.map(ByteSize::bytes);
    options.leases_max = args.quotas.leases_max;
    options.requests_max = args.quotas.requests_max;
    Ok(options)
}

// r[impl cli.serve.memory]
fn memory_options(args: &MemoryArgs) -> MemoryOptions {
    MemoryOptions { prefault: args.prefault, huge_pages: args.huge_pages, numa: args.numa }
}

/// Shows how far a start has come with its memory, for as long as that takes. What a host tells later
/// is for nobody here.
// r[impl cli.serve.memory]
fn show_start(events: Receiver<HostEvent>) {
    let mut bar = None;
    for event in events {
        if let HostEvent::Reserved { reached_bytes, total_bytes } = event {
            bar.get_or_insert_with(|| Bar::bytes(total_bytes, "memory")).set(reached_bytes);
            bar = bar.filter(|_| reached_bytes < total_bytes);
        }
    }
}

fn check_sizes(args: &ServeArgs) -> Result<(), Failure> {
    let ServeArgs { size, size_max, slot_max, .. } = args;
    if size > size_max {
        return Err(Failure::Usage(format!(
            "--size {size} is larger than --size-max {size_max}: the pool starts with --size and \
             never has more than --size-max"
        )));
    }
    match slot_max {
        Some(slot_max) if slot_max > size_max => Err(Failure::Usage(format!(
            "--slot-max {slot_max} is larger than --size-max {size_max}: such a block never has room"
        ))),
        _ => Ok(()),
    }
}

/// Says where guests can attach. With `--json` that is the one line of output.
fn announce(args: &ServeArgs, host: &Host<CacheService>) -> Result<(), Failure> {
    let stats = host.stats();
    let figure = |name| stats.iter().find(|(known, _)| *known == name).map_or(0, |(_, is)| *is);
    let segment = host.segment().display().to_string();
    let (pool_bytes, blocks) = (figure("pool_bytes"), figure("blocks"));
    let pool_bytes_max = host.geometry().pool_bytes_max;
    let epoch = host.boot_epoch();
    if args.json {
        return out::line(json!({
            "segment": segment,
            "pid": std::process::id(),
            "boot_epoch": epoch,
            "pool_bytes": pool_bytes,
            "pool_bytes_max": pool_bytes_max,
            "blocks": blocks,
        }));
    }
    let size = ByteSize::from_bytes(pool_bytes);
    let size_max = ByteSize::from_bytes(pool_bytes_max);
    let again = match (epoch, blocks) {
        (1, _) => String::new(),
        (_, 0) => " again, without a block in it".to_owned(),
        (_, 1) => " again with the one block in it".to_owned(),
        (_, blocks) => format!(" again with the {blocks} blocks in it"),
    };
    let end = if args.rm { "removes" } else { "keeps" };
    out::line(format_args!(
        "serving {segment}{again}, {size} of pool, up to {size_max}; Ctrl-C ends it and {end} it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    // r[verify cli.serve.memory]
    #[test]
    fn a_signal_hides_no_other_reason_of_a_start_that_failed() {
        let path = std::path::PathBuf::from("pool");
        let given_up = GrowError::GivenUp { path: path.clone(), to_bytes: 2, reached_bytes: 1 };
        let failure = start_failure(StartError::Grow(given_up), true);
        assert!(matches!(failure, Failure::Interrupted));
        let too_large = GrowError::SizeFixed { path, to_bytes: 2, size_bytes_max: 1 };
        match start_failure(StartError::Grow(too_large), true) {
            Failure::NoSegment(said) => assert!(said.contains("the most is 1"), "{said}"),
            _ => panic!("a device that is too small is no interruption"),
        }
    }
}
