//! `peers` and `peers settle`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use crate::rig::{Host, PATIENCE, Space, call, onecopy};
use onecopy::cache::{Cache, CacheOptions};
use onecopy_transport::guest::GuestOptions;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// A guest that holds the lease of a block, because nobody reads what it writes. Killed at the end.
struct Reader(Child);

impl Reader {
    fn start(host: &Host) -> Reader {
        host.put("k", &vec![7; 900_000]).done();
        let mut command = onecopy(&["get", "k", "--segment", &host.segment]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let reader = Reader(child.spawn().unwrap());
        reader.wait_until(host, "leased", |peer| peer["leases"] == 1);
        reader
    }

    /// Waits until the host says this of it; what it says.
    fn wait_until(&self, host: &Host, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let listed = host.guest(&["peers", "--json"]).done().json();
            let peers = listed["peers"].as_array().unwrap();
            let peer = peers.iter().find(|peer| peer["pid"] == self.0.id());
            if let Some(peer) = peer.filter(|peer| is_so(peer)) {
                return peer.clone();
            }
            assert!(Instant::now() < deadline, "not {what}: {listed}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(&self) {
        kill_process(Pid::from_child(&self.0), Signal::STOP).unwrap();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_late(peer: &Value) -> bool {
    peer["suspect"]["reason"] == "heartbeat_late"
}

// r[verify cli.peers]
// r[verify cli.peers.settle]
#[test]
fn a_stopped_guest_is_listed_and_killed() {
    let space = Space::new();
    let host = Host::start(&space.join("segment"), &["--heartbeat-ms=20"]);
    let reader = Reader::start(&host);
    let healthy = reader.wait_until(&host, "there", |_| true);
    assert_eq!((&healthy["state"], &healthy["suspect"]), (&json!("attached"), &Value::Null));
    let serial = healthy["serial"].to_string();
    let refused = host.guest(&["peers", "settle", &serial, "--write-off"]);
    refused.refused(4, &[&serial, "good standing"]);
    host.guest(&["peers", "settle", "999", "--kill"]).refused(4, &["no peer has serial 999"]);

    reader.stop();
    let late = reader.wait_until(&host, "suspect", is_late);
    let role = (&late["role"], &late["state"], &late["attached"], &late["pins"]);
    assert_eq!(role, (&json!("reader"), &json!("suspect"), &json!(true), &json!(0)));
    let text = host.guest(&["peers"]);
    assert!(text.done().text().contains("its heartbeat is late"), "{text:?}");
    let settled = host.guest(&["peers", "settle", &serial, "--kill", "--json"]).done().json();
    let told = (&settled["serial"], &settled["proven"], &settled["leases"]);
    assert_eq!(told, (&healthy["serial"], &json!(true), &json!(1)), "{settled}");
    let listed = host.guest(&["peers", "--json"]).done().json();
    assert_eq!((&listed["live"], &listed["peers"]), (&json!(true), &json!([])));
    assert_eq!(host.guest(&["stat", "--json"]).done().json()["peers_killed"], 1);
}

// r[verify cli.peers]
// r[verify cli.peers.settle]
// r[verify inspect.peers]
#[test]
fn a_suspect_is_written_off_and_that_outlives_the_host() {
    let space = Space::new();
    let segment = space.join("segment");
    let host = Host::start(&segment, &["--heartbeat-ms=20"]);
    let reader = Reader::start(&host);
    reader.stop();
    host.die();
    let dead = call(&["peers", "--json", "--segment", &segment]).done().json();
    let listed = dead["peers"].as_array().unwrap();
    let peer = listed.iter().find(|peer| peer["pid"] == reader.0.id()).unwrap();
    let told = (&dead["live"], &peer["leases"], &peer["pins"]);
    assert_eq!(told, (&json!(false), &json!(1), &Value::Null));
    let serial = peer["serial"].to_string();
    let no_host = call(&["peers", "settle", &serial, "--write-off", "--segment", &segment]);
    no_host.refused(3, &["has no host"]);

    let host = Host::start(&segment, &["--heartbeat-ms=20"]);
    let replaced = |peer: &Value| peer["suspect"]["reason"] == "host_replaced";
    reader.wait_until(&host, "of an earlier host", replaced);
    let settled = host.guest(&["peers", "settle", &serial, "--write-off"]);
    let text = settled.done().text();
    assert!(text.contains("1 slot (") && text.contains("never used again"), "{text}");
    assert_eq!(host.guest(&["exists", "k"]).code(), Some(1));
    host.die();
    let dead = call(&["peers", "--json", "--segment", &segment]).done().json();
    assert_eq!(dead["written_off_slots"], 1);
    let host = Host::start(&segment, &[]);
    let listed = host.guest(&["peers", "--json"]).done().json();
    assert_eq!((&listed["written_off_slots"], &listed["peers"]), (&json!(1), &json!([])));
    let inspected = host.guest(&["inspect", "--json"]).done().json();
    assert_eq!(
        (&inspected["slots"]["written_off"], &inspected["audit"]),
        (&json!(1), &json!("clean"))
    );
}

// r[verify cli.serve.kill]
#[test]
fn a_suspect_is_killed_by_policy() {
    let space = Space::new();
    let host =
        Host::start(&space.join("segment"), &["--heartbeat-ms=20", "--kill-suspects-after=0.2"]);
    let mut reader = Reader::start(&host);
    reader.stop();
    let ended = reader.0.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(9));
    let deadline = Instant::now() + PATIENCE;
    while host.guest(&["peers", "--json"]).done().json()["peers"] != json!([]) {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    let stat = host.guest(&["stat", "--json"]).done().json();
    assert_eq!((&stat["suspects_killed"], &stat["peers_killed"]), (&json!(1), &json!(1)));
}

// r[verify cli.peers]
#[test]
fn stat_and_inspect_say_whose_slots_are_quarantined() {
    let space = Space::new();
    let segment = space.join("segment");
    let host = Host::start(&segment, &[]);
    let cache = Cache::attach(CacheOptions::new(GuestOptions::at(&segment))).unwrap();
    let fill = cache.reserve(5000).unwrap();
    let serial = cache.guest().serial();
    host.die();
    let host = Host::start(&segment, &[]);
    let stat = host.guest(&["stat", "--json"]).done().json();
    let [waiting] = stat["quarantined_by_peer"].as_array().unwrap().as_slice() else {
        panic!("{stat}");
    };
    let count = waiting["slots"].as_u64().unwrap();
    assert_eq!((&waiting["serial"], &stat["slots_quarantined"]), (&json!(serial), &json!(count)));
    assert!(count >= 1);
    let text = host.guest(&["stat"]);
    let line = format!("quarantined of peer {serial} (process {})", std::process::id());
    assert!(text.done().text().contains(&line), "{text:?}");
    let inspected = host.guest(&["inspect", "--json"]).done().json();
    let peers = inspected["peers"].as_array().unwrap();
    let peer = peers.iter().find(|peer| peer["serial"] == serial).unwrap();
    assert_eq!(peer["quarantined_slots"], count);
    let text = host.guest(&["inspect"]);
    assert!(text.done().text().contains(&format!("{count} slots (")), "{text:?}");
    drop((fill, cache));
}

// r[verify cli.values]
#[test]
fn settling_wants_one_way_to_do_it() {
    let space = Space::new();
    let segment = space.join("none");
    for (args, word) in [
        (&["peers", "settle", "7"][..], "--kill"),
        (&["peers", "settle", "7", "--kill", "--write-off"], "--write-off"),
        (&["peers", "settle", "0", "--kill"], "SERIAL"),
        (&["peers", "settle", "--kill"], "SERIAL"),
    ] {
        let outcome = call(&[args, &["--segment", &segment]].concat());
        assert_eq!(outcome.code(), Some(2), "{outcome:?}");
        assert!(outcome.stderr.contains(word), "{outcome:?}");
    }
}
