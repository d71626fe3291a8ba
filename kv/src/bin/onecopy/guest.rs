//! Attaching to a host, and the commands that only ask it something: `ping` and `stat`.

use crate::cli::{Common, PingArgs, Place};
use crate::exit::Failure;
use crate::out;
use crate::peers::amount;
use onecopy::cache::{Cache, CacheOptions};
use onecopy_transport::format::Role;
use onecopy_transport::guest::GuestOptions;
use onecopy_transport::segment::SegmentPath;
use onecopy_transport::wire::PeerInfo;
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

/// How long a guest that has done its work waits for the host to say goodbye.
const PARTING: Duration = Duration::from_secs(1);

// r[impl cli.paths]
/// The segment that the user means.
pub fn segment_path(place: &Place) -> Result<SegmentPath, Failure> {
    match &place.segment {
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
    let path = segment_path(&args.place)?;
    let mut guest = GuestOptions::at(path.as_path());
    guest.role = role;
    guest.attach_deadline = Duration::from_secs_f64(args.timeout);
    let mut options = CacheOptions::new(guest);
    options.deadline = Duration::from_secs_f64(args.timeout);
    Cache::attach(options).map_err(Failure::no_segment)
}

/// Attaches, does the work and says goodbye, so that the host does not have to find out that this
/// guest is gone.
pub fn with_cache<T>(
    args: &Common,
    role: Role,
    work: impl FnOnce(&Cache) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let cache = attach(args, role)?;
    let result = work(&cache);
    part(&cache);
    result
}

fn part(cache: &Cache) {
    if let Err(error) = cache.guest().detach(Instant::now() + PARTING) {
        tracing::info!(%error, "left without a goodbye");
    }
}

pub fn ping(args: &PingArgs) -> Result<(), Failure> {
    let mut times_ns = with_cache(&args.common, Role::Reader, |cache| {
        let until = deadline(&args.common);
        let ping = |_| Ok(cache.guest().ping(until)?.as_nanos() as u64);
        (0..args.count).map(ping).collect::<Result<Vec<u64>, Failure>>()
    })?;
    times_ns.sort_unstable();
    let at = |percent| percentile(&times_ns, percent);
    if args.common.json {
        return out::line(json!({
            "count": args.count, "p50_ns": at(50), "p99_ns": at(99), "max_ns": at(100),
        }));
    }
    out::line(format_args!(
        "{} pings: median {:?}, 99 % within {:?}, longest {:?}",
        args.count,
        Duration::from_nanos(at(50)),
        Duration::from_nanos(at(99)),
        Duration::from_nanos(at(100)),
    ))
}

/// The value that so many percent of all are at most, of values in order.
fn percentile(values: &[u64], percent: usize) -> u64 {
    let rank = (values.len() * percent).div_ceil(100);
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

pub fn stat(args: &Common) -> Result<(), Failure> {
    let (mut stats, peers) = with_cache(args, Role::Reader, |cache| {
        Ok((host_stats(cache, deadline(args))?, cache.guest().peers(deadline(args))?))
    })?;
    let waiting: Vec<PeerInfo> =
        peers.into_iter().filter(|peer| peer.quarantined.slots > 0).collect();
    if args.json {
        stats.insert("quarantined_by_peer".to_owned(), waiting.iter().map(waiting_json).collect());
        return out::line(Value::Object(stats));
    }
    let width = stats.keys().map(String::len).max().unwrap_or(0);
    let mut rows: Vec<String> =
        stats.iter().map(|(name, value)| format!("{name:width$}  {value}")).collect();
    rows.extend(waiting.iter().map(|peer| {
        let (serial, pid) = (peer.serial, peer.pid);
        format!("quarantined of peer {serial} (process {pid})  {}", amount(peer.quarantined))
    }));
    out::line(rows.join("\n"))
}

fn waiting_json(peer: &PeerInfo) -> Value {
    json!({ "serial": peer.serial, "pid": peer.pid, "slots": peer.quarantined.slots,
            "bytes": peer.quarantined.bytes })
}

/// The host's figures by their names.
pub fn host_stats(cache: &Cache, until: Instant) -> Result<Map<String, Value>, Failure> {
    serde_json::from_str(&cache.guest().host_stats(until)?).map_err(Failure::refused)
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn few_values_have_percentiles_too() {
        assert_eq!([50, 99, 100].map(|percent| percentile(&[10, 20, 30], percent)), [20, 30, 30]);
        assert_eq!([50, 99].map(|percent| percentile(&[7], percent)), [7, 7]);
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!([50, 99, 100].map(|percent| percentile(&hundred, percent)), [50, 99, 100]);
        assert_eq!(percentile(&[], 50), 0);
    }
}
