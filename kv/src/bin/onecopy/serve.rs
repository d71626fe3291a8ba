//! `serve` and `destroy`: be a segment's host; remove a segment that has none.

use crate::cli::{Common, ServeArgs};
use crate::exit::Failure;
use crate::guest::segment_path;
use onecopy::service::{CacheService, CacheServiceOptions, Capacity};
use onecopy::size::ByteSize;
use onecopy_transport::host::{Host, HostOptions};
use onecopy_transport::segment::{DestroyError, DirError, SegmentPath, destroy as destroy_segment};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::time::Duration;

pub fn serve(args: &ServeArgs) -> Result<(), Failure> {
    let segment = segment_path(args.common.segment.as_deref())?;
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(Failure::no_segment)?;
    let service = CacheService::new(CacheServiceOptions {
        capacity: capacity(args),
        policy: args.policy,
        ..CacheServiceOptions::default()
    });
    let host = Host::start(host_options(args, &segment)?, service).map_err(Failure::no_segment)?;
    announce(args, &host);
    let handle = host.handle();
    let closer = signals.handle();
    let watcher = std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            // A host that has ended needs no telling.
            let _ = handle.leave();
        }
    });
    let result = host.serve();
    closer.close();
    // It only waits for signals and ends with them.
    let _ = watcher.join();
    result.map_err(Failure::no_segment)?;
    if !args.common.json {
        let end = if args.rm { "removed" } else { "kept; `onecopy destroy` removes it" };
        eprintln!("onecopy: goodbye said; the segment {} is {end}", segment.as_path().display());
    }
    Ok(())
}

pub fn destroy(args: &Common) -> Result<(), Failure> {
    let path = segment_path(args.segment.as_deref())?;
    let destroyed = match destroy_segment(&path) {
        Ok(destroyed) => destroyed,
        Err(DestroyError::Dir(DirError::NotFound { path })) => {
            return Err(Failure::NoSegment(format!("there is no segment at {}", path.display())));
        }
        Err(error) => return Err(Failure::no_segment(error)),
    };
    let pool_left = destroyed.pool_left.as_ref().map(|path| path.display().to_string());
    if args.json {
        println!("{}", json!({ "files": destroyed.files, "pool_left": pool_left }));
    } else {
        println!("removed {} ({} files)", path.as_path().display(), destroyed.files);
        if let Some(left) = pool_left {
            println!("left {left}, which is a device or not this segment's");
        }
    }
    Ok(())
}

fn capacity(args: &ServeArgs) -> Capacity {
    match (args.capacity_blocks, args.capacity_bytes) {
        (Some(blocks), _) => Capacity::Blocks(blocks),
        (None, Some(bytes)) => Capacity::Bytes(bytes.bytes()),
        (None, None) => Capacity::Unbounded,
    }
}

fn host_options(args: &ServeArgs, segment: &SegmentPath) -> Result<HostOptions, Failure> {
    let ring_capacity_bytes = u32::try_from(args.ring.bytes())
        .map_err(|_| Failure::Refused(format!("--ring {} is more than 64M", args.ring)))?;
    let mut options = HostOptions::new(segment.as_path());
    options.pool = args.pool.clone();
    options.pool_bytes = args.size.bytes();
    options.pool_bytes_max = args.size_max.bytes().max(args.size.bytes());
    options.granule_bytes = args.granule.bytes();
    options.slot_bytes_max = args.slot_max.map(ByteSize::bytes);
    options.guests_max = args.guests_max;
    options.ring_capacity_bytes = ring_capacity_bytes;
    options.inline_bytes_max =
        options.inline_bytes_max.min((ring_capacity_bytes / 4).saturating_sub(8));
    options.heartbeat_interval = Duration::from_millis(args.heartbeat_ms);
    options.polling = args.polling;
    options.remove_on_leave = args.rm;
    Ok(options)
}

/// Says where guests can attach. With `--json` that is the one line of output.
fn announce(args: &ServeArgs, host: &Host<CacheService>) {
    let segment = host.segment().display().to_string();
    let (size, size_max) = (args.size, args.size_max.max(args.size));
    let pool_bytes_max = host.geometry().pool_bytes_max;
    if args.common.json {
        let line = json!({
            "segment": segment,
            "pool_bytes_max": pool_bytes_max,
            "boot_epoch": host.boot_epoch(),
            "pid": std::process::id(),
        });
        println!("{line}");
        return;
    }
    let epoch = host.boot_epoch();
    if epoch > 1 {
        println!(
            "serving {segment} again (life {epoch}; sizes and classes stay as they were made)"
        );
    } else {
        println!("serving {segment} with {size} of pool, up to {size_max}");
    }
    println!("Ctrl-C says goodbye{}", if args.rm { " and removes it" } else { " and keeps it" });
}
