//! `inspect`: the segment's map and its audit, with or without a host.

use crate::cli::Common;
use crate::exit::Failure;
use crate::guest::{attach, deadline, segment_path};
use onecopy::cache::Cache;
use onecopy::service::{CacheService, CacheServiceOptions};
use onecopy::size::ByteSize;
use onecopy_transport::format::Role;
use onecopy_transport::inspect::{Inspection, inspect as inspect_segment};
use onecopy_transport::segment::SegmentStatus;
use serde_json::{Value, json};

/// The audit's findings, as text; none when it is clean.
type Findings = Vec<String>;

pub fn inspect(args: &Common) -> Result<(), Failure> {
    let path = segment_path(args.segment.as_deref())?;
    let service = CacheService::new(CacheServiceOptions::default());
    let inspection = inspect_segment(&path, service).map_err(Failure::no_segment)?;
    let findings = match &inspection.audit {
        Some(dead) => dead.report.findings().iter().map(ToString::to_string).collect(),
        None => ask_host(&attach(args, Role::Reader)?, args)?,
    };
    if args.json {
        println!("{}", as_json(&inspection, &findings));
    } else {
        print_map(&inspection);
        print_audit(&findings);
    }
    if findings.is_empty() {
        return Ok(());
    }
    Err(Failure::WrongData(format!("the audit found {} things", findings.len())))
}

/// A live host audits itself: only it knows what it holds.
pub fn ask_host(cache: &Cache, args: &Common) -> Result<Findings, Failure> {
    let (clean, text) = cache.guest().host_audit(deadline(args)).map_err(Failure::refused)?;
    Ok(if clean { Vec::new() } else { text.lines().map(str::to_owned).collect() })
}

fn status_text(status: &SegmentStatus) -> String {
    match status {
        SegmentStatus::Live { pid: Some(pid) } => format!("live, host is process {pid}"),
        SegmentStatus::Live { pid: None } => "live".to_owned(),
        _ => "without a host".to_owned(),
    }
}

fn print_map(inspection: &Inspection) {
    let geometry = &inspection.geometry;
    let size = |bytes: u64| ByteSize::from_bytes(bytes).rounded();
    println!("segment     {:032x}, {}", inspection.segment_id, status_text(&inspection.status));
    println!("host        life {}, {:?}", inspection.boot_epoch, inspection.host_state);
    println!(
        "pool        {} of at most {}, granule {}, {} size classes up to {}",
        size(inspection.pool_bytes),
        size(geometry.pool_bytes_max),
        size(geometry.granule_bytes),
        geometry.classes.len(),
        size(geometry.classes.last().copied().unwrap_or(0)),
    );
    println!(
        "peers       {} in the table, last serial {}",
        inspection.peers.len(),
        inspection.serial_last
    );
    for peer in &inspection.peers {
        println!(
            "  {:>6}    process {}, user {}, {:?}, {:?}",
            peer.serial, peer.pid, peer.uid, peer.role, peer.state
        );
    }
    println!("memory      by slot size");
    for (slot_bytes, class) in &inspection.classes {
        println!(
            "  {:>8}  {} slots in {} extents of {} together",
            size(*slot_bytes),
            class.slots,
            class.extents,
            size(class.extent_bytes)
        );
    }
    if let Some(dead) = &inspection.audit {
        let counts = &dead.counts;
        println!(
            "slots       {} published, {} free, {} granted, {} retired, {} quarantined",
            counts.published.slots,
            counts.free.slots,
            counts.granted.slots,
            counts.retired.slots,
            counts.quarantined.slots
        );
    }
}

fn print_audit(findings: &Findings) {
    if findings.is_empty() {
        println!("audit       clean");
    }
    for finding in findings {
        println!("audit       {finding}");
    }
}

fn as_json(inspection: &Inspection, findings: &Findings) -> Value {
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
            json!({ "serial": peer.serial, "pid": peer.pid, "uid": peer.uid,
                    "role": format!("{:?}", peer.role), "state": format!("{:?}", peer.state) })
        })
        .collect();
    json!({
        "segment_id": format!("{:032x}", inspection.segment_id),
        "live": matches!(inspection.status, SegmentStatus::Live { .. }),
        "boot_epoch": inspection.boot_epoch,
        "pool_bytes": inspection.pool_bytes,
        "pool_bytes_max": inspection.geometry.pool_bytes_max,
        "granule_bytes": inspection.geometry.granule_bytes,
        "serial_last": inspection.serial_last,
        "peers": peers,
        "classes": classes,
        "published": inspection.audit.as_ref().map(|dead| dead.counts.published.slots),
        "audit": if findings.is_empty() { json!("clean") } else { json!(findings) },
    })
}
