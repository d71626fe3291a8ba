//! `inspect`: the segment's map and its audit, with or without a host.

use crate::cli::Common;
use crate::exit::Failure;
use crate::guest::{deadline, host_stats, segment_path, with_cache};
use crate::out;
use crate::peers::{amount, lower};
use onecopy::cache::Cache;
use onecopy::service::{CacheService, CacheServiceOptions, INDEX_BUCKETS};
use onecopy::size::ByteSize;
use onecopy_transport::format::{HostState, Role};
use onecopy_transport::inspect::{
    DeadAudit, InspectedPeer, Inspection, inspect as inspect_segment,
};
use onecopy_transport::memory::{HugePages, MemoryOptions};
use onecopy_transport::segment::SegmentStatus;
use serde_json::{Value, json};
use std::time::Instant;

/// The audit's findings, as text; none when it is clean.
type Findings = Vec<String>;

// r[impl cli.inspect]
pub fn inspect(args: &Common) -> Result<(), Failure> {
    let path = segment_path(&args.place)?;
    let service = CacheService::new(CacheServiceOptions::default());
    let inspection = inspect_segment(&path, service).map_err(Failure::no_segment)?;
    let (findings, counted) = match &inspection.audit {
        Some(dead) => {
            (dead.report.findings().iter().map(ToString::to_string).collect(), counts_of(dead))
        }
        None => with_cache(args, Role::Reader, |cache| {
            Ok((ask_host(cache, deadline(args))?, asked(cache, deadline(args))?))
        })?,
    };
    if args.json {
        out::line(as_json(&inspection, &counted, &findings))?;
    } else {
        out::line(map_text(&inspection, &counted, &findings).trim_end())?;
    }
    if findings.is_empty() {
        return Ok(());
    }
    Err(Failure::WrongData(format!("the audit found {} things", findings.len())))
}

/// A live host audits itself: only it knows what it holds.
pub fn ask_host(cache: &Cache, until: Instant) -> Result<Findings, Failure> {
    let (clean, text) = cache.guest().host_audit(until)?;
    Ok(if clean { Vec::new() } else { text.lines().map(str::to_owned).collect() })
}

/// What is counted by the host, or by the audit where there is none.
struct Counted {
    /// Slots by state, with the names that `stat` has for them.
    slots: [(&'static str, u64); 6],
    index_buckets: u64,
}

fn counts_of(dead: &DeadAudit) -> Counted {
    let counts = &dead.counts;
    let slots = [
        ("published", counts.published.slots),
        ("free", counts.free.slots),
        ("granted", counts.granted.slots),
        ("retired", counts.retired.slots),
        ("quarantined", counts.quarantined.slots),
        ("written_off", counts.written_off.slots),
    ];
    let buckets = dead.report.counts().iter().find(|(name, _)| *name == INDEX_BUCKETS);
    Counted { slots, index_buckets: buckets.map_or(0, |(_, count)| *count) }
}

fn asked(cache: &Cache, until: Instant) -> Result<Counted, Failure> {
    let stats = host_stats(cache, until)?;
    let figure = |name: &str| stats.get(name).and_then(Value::as_u64).unwrap_or(0);
    let names = ["published", "free", "granted", "retired", "quarantined", "written_off"];
    Ok(Counted {
        slots: names.map(|name| (name, figure(&format!("slots_{name}")))),
        index_buckets: figure("index_buckets"),
    })
}

fn status_text(inspection: &Inspection) -> String {
    match (&inspection.status, inspection.host_state) {
        (SegmentStatus::Live { pid: Some(pid) }, _) => format!("live, host is process {pid}"),
        (SegmentStatus::Live { pid: None }, _) => "live".to_owned(),
        (_, Some(HostState::Left)) => "without a host, the last one said goodbye".to_owned(),
        _ => "without a host, the last one died".to_owned(),
    }
}

fn map_text(inspection: &Inspection, counted: &Counted, findings: &Findings) -> String {
    let geometry = &inspection.geometry;
    let size = |bytes: u64| ByteSize::from_bytes(bytes).rounded();
    let mut text = String::new();
    let mut row = |name: &str, value: String| text.push_str(&format!("{name:<12}{value}\n"));
    row("segment", format!("{:032x}", inspection.segment_id));
    row("host", format!("{}, life {}", status_text(inspection), inspection.boot_epoch));
    let largest = size(geometry.classes.last().copied().unwrap_or(0));
    row(
        "pool",
        format!(
            "{} of at most {}, granule {}, {} slot sizes up to {largest}",
            size(inspection.pool_bytes),
            size(geometry.pool_bytes_max),
            size(geometry.granule_bytes),
            geometry.classes.len(),
        ),
    );
    row("memory", memory_text(inspection));
    let (peers, serial) = (inspection.peers.len(), inspection.serial_last);
    row("peers", format!("{peers} in the table, last serial {serial}"));
    for peer in &inspection.peers {
        let InspectedPeer { fields, quarantined, .. } = peer;
        let (role, state) = (lower(fields.role), lower(fields.state));
        let waiting = match quarantined.slots {
            0 => String::new(),
            _ => format!(", {} quarantined", amount(*quarantined)),
        };
        let (serial, pid, uid) = (fields.serial, fields.pid, fields.uid);
        row("", format!("{serial}: process {pid}, user {uid}, {role}, {state}{waiting}"));
    }
    let slots: Vec<String> = counted
        .slots
        .iter()
        .map(|(name, count)| format!("{count} {}", name.replace('_', " ")))
        .collect();
    row("slots", slots.join(", "));
    for (slot_bytes, class) in &inspection.classes {
        let (count, extents) = (class.slots, plural(class.extents, "extent"));
        let (slot, all) = (size(*slot_bytes), size(class.extent_bytes));
        row("", format!("{count} of {slot} in {extents}, {all} together"));
    }
    row("index", plural(counted.index_buckets, "bucket"));
    match findings.is_empty() {
        true => row("audit", "clean".to_owned()),
        false => findings.iter().for_each(|finding| row("audit", finding.clone())),
    }
    text
}

// r[impl cli.inspect.memory]
fn memory_text(inspection: &Inspection) -> String {
    let MemoryOptions { prefault, huge_pages, numa } = inspection.memory;
    let populated = if prefault { "populated" } else { "populated by who touches it" };
    let huge = match huge_pages {
        HugePages::Off => "huge pages off".to_owned(),
        asked => {
            let found = ByteSize::from_bytes(inspection.huge_bytes).rounded();
            format!("huge pages {asked}, {found} found in them")
        }
    };
    let nodes = numa.map_or("nodes by default".to_owned(), |numa| format!("nodes {numa}"));
    format!("{populated}, {huge}, {nodes}")
}

fn plural(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn as_json(inspection: &Inspection, counted: &Counted, findings: &Findings) -> Value {
    let classes: Vec<Value> = inspection
        .classes
        .iter()
        .map(|(slot_bytes, class)| {
            json!({ "slot_bytes": slot_bytes, "extents": class.extents,
                    "extent_bytes": class.extent_bytes, "slots": class.slots })
        })
        .collect();
    let peers: Vec<Value> = inspection
        .peers
        .iter()
        .map(|peer| {
            let InspectedPeer { fields, granted, quarantined, .. } = peer;
            json!({ "serial": fields.serial, "pid": fields.pid, "uid": fields.uid,
                    "role": lower(fields.role), "state": lower(fields.state),
                    "granted_slots": granted.slots, "quarantined_slots": quarantined.slots,
                    "quarantined_bytes": quarantined.bytes })
        })
        .collect();
    let slots: serde_json::Map<String, Value> =
        counted.slots.iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
    json!({
        "segment_id": format!("{:032x}", inspection.segment_id),
        "live": matches!(inspection.status, SegmentStatus::Live { .. }),
        "boot_epoch": inspection.boot_epoch,
        "pool_bytes": inspection.pool_bytes,
        "pool_bytes_max": inspection.geometry.pool_bytes_max,
        "memory": {
            "prefault": inspection.memory.prefault,
            "huge_pages": inspection.memory.huge_pages.to_string(),
            "huge_bytes": inspection.huge_bytes,
            "numa": inspection.memory.numa.map(|numa| numa.to_string()),
        },
        "granule_bytes": inspection.geometry.granule_bytes,
        "serial_last": inspection.serial_last,
        "peers": peers,
        "classes": classes,
        "slots": slots,
        "index_buckets": counted.index_buckets,
        "audit": if findings.is_empty() { json!("clean") } else { json!(findings) },
    })
}
