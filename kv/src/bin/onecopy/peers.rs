//! `peers`: who is there, what each one holds, and settling one that is not proven dead.

use crate::cli::{Common, PeersArgs, PeersCommand, SettleArgs};
use crate::exit::Failure;
use crate::guest::{deadline, host_stats, segment_path, with_cache};
use crate::out;
use onecopy::cache::Cache;
use onecopy::service::{CacheService, CacheServiceOptions};
use onecopy::size::ByteSize;
use onecopy_transport::format::{PeerState, Role, SuspectReason};
use onecopy_transport::inspect::{InspectedPeer, Inspection, inspect};
use onecopy_transport::pool::Holding;
use onecopy_transport::segment::SegmentStatus;
use onecopy_transport::wire::{PeerInfo, Settled, Settlement};
use serde_json::{Value, json};
use std::time::Instant;

/// What is told of all peers.
struct Listing {
    live: bool,
    peers: Vec<Row>,
    written_off: Holding,
}

/// What is told of one peer. Without a host nobody knows its pins.
struct Row {
    serial: u32,
    pid: u32,
    uid: u32,
    role: Role,
    state: PeerState,
    attached: bool,
    suspect: Option<Suspect>,
    granted: Holding,
    quarantined: Holding,
    leases: Option<u64>,
    pins: Option<u64>,
}

struct Suspect {
    reason: SuspectReason,
    seconds: f64,
    text: String,
}

// r[impl cli.peers]
pub fn peers(args: &PeersArgs) -> Result<(), Failure> {
    if let Some(PeersCommand::Settle(settle_args)) = &args.command {
        return settle(settle_args);
    }
    let listing = list(&args.common)?;
    if args.common.json {
        return out::line(as_json(&listing));
    }
    out::line(as_text(&listing).trim_end())
}

fn list(args: &Common) -> Result<Listing, Failure> {
    let path = segment_path(&args.place)?;
    let service = CacheService::new(CacheServiceOptions::default());
    let inspection = inspect(&path, service).map_err(Failure::no_segment)?;
    match inspection.status {
        SegmentStatus::Live { .. } => {
            with_cache(args, Role::Reader, |cache| ask(cache, deadline(args)))
        }
        _ => Ok(found(&inspection)),
    }
}

/// The peers of a live host, but for this one, which is there to ask.
fn ask(cache: &Cache, until: Instant) -> Result<Listing, Failure> {
    let stats = host_stats(cache, until)?;
    let figure = |name| stats.get(name).and_then(Value::as_u64).unwrap_or(0);
    let peers = cache.guest().peers(until)?;
    let asker = cache.guest().serial();
    Ok(Listing {
        live: true,
        peers: peers.into_iter().filter(|peer| peer.serial != asker).map(told).collect(),
        written_off: Holding {
            slots: figure("slots_written_off"),
            bytes: figure("slots_written_off_bytes"),
        },
    })
}

fn told(peer: PeerInfo) -> Row {
    let PeerInfo { serial, pid, uid, role, state, attached, .. } = peer;
    let suspect = peer.suspected.map(|suspected| Suspect {
        reason: suspected.reason,
        seconds: suspected.since.as_secs_f64(),
        text: suspected.text,
    });
    let (granted, quarantined) = (peer.granted, peer.quarantined);
    let (leases, pins) = (Some(peer.leases), Some(peer.held));
    Row { serial, pid, uid, role, state, attached, suspect, granted, quarantined, leases, pins }
}

/// The peers of a segment without a host.
fn found(inspection: &Inspection) -> Listing {
    let clock_s = inspection.clock_s;
    let row = |peer: &InspectedPeer| Row {
        serial: peer.fields.serial,
        pid: peer.fields.pid,
        uid: peer.fields.uid,
        role: peer.fields.role,
        state: peer.fields.state,
        attached: false,
        suspect: peer.fields.suspicion.map(|suspicion| Suspect {
            reason: suspicion.reason,
            seconds: clock_s.saturating_sub(suspicion.since_s) as f64,
            text: String::new(),
        }),
        granted: peer.granted,
        quarantined: peer.quarantined,
        leases: peer.leases,
        pins: None,
    };
    let mut peers: Vec<Row> = inspection.peers.iter().map(row).collect();
    peers.sort_unstable_by_key(|row| row.serial);
    Listing { live: false, peers, written_off: inspection.written_off }
}

fn as_json(listing: &Listing) -> Value {
    let peers: Vec<Value> = listing.peers.iter().map(row_json).collect();
    json!({
        "live": listing.live,
        "written_off_slots": listing.written_off.slots,
        "written_off_bytes": listing.written_off.bytes,
        "peers": peers,
    })
}

fn row_json(row: &Row) -> Value {
    let suspect = row.suspect.as_ref().map(|suspect| {
        json!({ "reason": reason_name(suspect.reason), "seconds": suspect.seconds,
                "text": suspect.text })
    });
    json!({
        "serial": row.serial, "pid": row.pid, "uid": row.uid,
        "role": lower(row.role), "state": lower(row.state),
        "attached": row.attached, "suspect": suspect,
        "granted_slots": row.granted.slots, "granted_bytes": row.granted.bytes,
        "quarantined_slots": row.quarantined.slots, "quarantined_bytes": row.quarantined.bytes,
        "leases": row.leases, "pins": row.pins,
    })
}

fn reason_name(reason: SuspectReason) -> &'static str {
    match reason {
        SuspectReason::HeartbeatLate => "heartbeat_late",
        SuspectReason::SocketClosed => "socket_closed",
        SuspectReason::CutOff => "cut_off",
        SuspectReason::HostReplaced => "host_replaced",
    }
}

/// The name of a state, as a word in a sentence.
pub fn lower(state: impl std::fmt::Debug) -> String {
    format!("{state:?}").to_lowercase()
}

fn as_text(listing: &Listing) -> String {
    let mut text = String::new();
    if listing.peers.is_empty() {
        text.push_str("no peers\n");
    }
    for row in &listing.peers {
        text.push_str(&row_text(row));
    }
    if listing.written_off.slots > 0 {
        let size = amount(listing.written_off);
        text.push_str(&format!("written off, never used again in this segment: {size}\n"));
    }
    text
}

fn row_text(row: &Row) -> String {
    let Row { serial, pid, uid, leases, pins, .. } = row;
    let (role, state) = (lower(row.role), lower(row.state));
    let link = if row.attached { "" } else { ", no link" };
    let mut text = format!("{serial}: process {pid}, user {uid}, {role}, {state}{link}\n");
    if let Some(Suspect { reason, seconds, text: more }) = &row.suspect {
        let more = if more.is_empty() { String::new() } else { format!(" ({more})") };
        text.push_str(&format!("    suspect for {seconds:.1} s: {reason}{more}\n"));
    }
    let known = |count: &Option<u64>| count.map_or("unknown".to_owned(), |count| count.to_string());
    text.push_str(&format!(
        "    granted {}, quarantined {}, leases {}, pins {}\n",
        amount(row.granted),
        amount(row.quarantined),
        known(leases),
        known(pins),
    ));
    text
}

/// Slots and their size.
pub fn amount(held: Holding) -> String {
    let what = if held.slots == 1 { "slot" } else { "slots" };
    format!("{} {what} ({})", held.slots, ByteSize::from_bytes(held.bytes).rounded())
}

// r[impl cli.peers.settle]
fn settle(args: &SettleArgs) -> Result<(), Failure> {
    let how = if args.write_off { Settlement::WriteOff } else { Settlement::Kill };
    let until = deadline(&args.common);
    let settled = with_cache(&args.common, Role::Reader, |cache| {
        Ok(cache.guest().settle(args.serial, how, until)?)
    })?;
    let Settled { proven, slots, leases, held } = settled;
    if args.common.json {
        return out::line(json!({
            "serial": args.serial, "proven": proven, "slots": slots.slots,
            "bytes": slots.bytes, "leases": leases, "pins": held,
        }));
    }
    let (serial, amount) = (args.serial, amount(slots));
    if proven {
        return out::line(format_args!(
            "peer {serial} is dead: {amount} came back, {leases} leases and {held} pins ended"
        ));
    }
    out::line(format_args!(
        "peer {serial} is written off: {amount} are never used again in this segment, \
         {held} pins ended"
    ))
}
