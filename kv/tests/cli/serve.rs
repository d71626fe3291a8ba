//! `serve` and `destroy`.

use crate::rig::{Host, PATIENCE, Running, Space, call, names, onecopy, run};
use rustix::process::Signal;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

// r[verify cli.serve]
#[test]
fn it_says_that_it_serves_before_anybody_asks() {
    let space = Space::new();
    let segment = space.join("segment");
    let host = Host::start(&segment, &[]);
    assert_eq!(host.started["segment"], segment);
    assert_eq!(host.started["pid"], host.running.pid());
    assert_eq!(host.started["boot_epoch"], 1);
    assert_eq!(host.started["pool_bytes"], 4 << 20);
    assert_eq!(host.started["pool_bytes_max"], 64 << 20);
    assert_eq!(host.started["blocks"], 0);
    // For people, into a pipe: the line is there at once too.
    let mut command = onecopy(&["serve", "--size=4M", "--size-max=64M", "--segment"]);
    let child = command.arg(space.join("other")).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = child.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.starts_with("serving ") && line.contains("4M of pool, up to 64M"), "{line}");
    host.put("k", b"hello").done();
}

// r[verify cli.serve]
#[test]
fn on_a_signal_it_says_goodbye_and_keeps_the_segment() {
    let space = Space::new();
    let segment = space.join("segment");
    for (signal, life) in [(Signal::INT, 1), (Signal::TERM, 2)] {
        let host = Host::start(&segment, &[]);
        assert_eq!(host.started["boot_epoch"], life);
        host.running.signal(signal);
        let ended = host.running.end();
        assert_eq!(ended.done().text(), "", "nothing more than the one object: {ended:?}");
        assert_eq!(ended.stderr, "", "{ended:?}");
    }
    let args = ["serve", "--size=4M", "--size-max=64M", "--segment", &segment];
    let running = Running::start(&mut onecopy(&args));
    let deadline = std::time::Instant::now() + PATIENCE;
    while call(&["ping", "--count=1", "--segment", &segment]).code() != Some(0) {
        assert!(std::time::Instant::now() < deadline);
    }
    running.signal(Signal::INT);
    let ended = running.end();
    let (said, expected) = (&ended.done().stderr, format!("{segment} is kept"));
    assert!(said.contains("goodbye") && said.contains(&expected), "{ended:?}");
    let inspected = call(&["inspect", "--segment", &segment]);
    assert!(inspected.done().text().contains("the last one said goodbye"), "{inspected:?}");
}

// r[verify cli.serve.restart-grace]
#[test]
fn blocks_of_before_are_kept_for_a_guest_that_is_missing_and_not_for_ever() {
    let space = Space::new();
    let segment = space.join("segment");
    let host = Host::start(&segment, &[]);
    let missing = onecopy_transport::guest::GuestOptions::at(&segment);
    let missing = onecopy_transport::guest::Guest::attach(missing).unwrap();
    host.put("greeting", b"hello").done();
    host.die();
    let host = Host::start(&segment, &["--restart-grace-ms=3600000"]);
    host.guest(&["rm", "greeting"]).refused(4, &["restarted"]);
    host.die();
    let host = Host::start(&segment, &["--restart-grace-ms=0"]);
    host.guest(&["rm", "greeting"]).done();
    host.leave().done();
    drop(missing);
}

// r[verify cli.serve]
#[test]
fn the_blocks_of_a_killed_host_are_served_again() {
    let space = Space::new();
    let segment = space.join("segment");
    let host = Host::start(&segment, &[]);
    host.put("greeting", b"hello").done();
    host.put("large", &vec![3; 1 << 20]).done();
    host.die();
    call(&["get", "greeting", "--segment", &segment]).refused(3, &[&segment, "no host"]);
    // With other sizes than it was made with: they belong to the segment.
    let host = Host::start(&segment, &["--granule=8K"]);
    assert_eq!((&host.started["boot_epoch"], &host.started["blocks"]), (&2.into(), &2.into()));
    assert_eq!(host.guest(&["get", "greeting"]).done().text(), "hello");
    assert!(host.guest(&["get", "large"]).done().stdout == vec![3; 1 << 20]);
    host.guest(&["rm", "greeting"]).done();
    let ended = host.leave();
    ended.done();
    let host = Host::start(&segment, &[]);
    assert_eq!(host.started["blocks"], 1);
    let inspected = host.guest(&["inspect", "--json"]).json();
    assert_eq!((&inspected["audit"], &inspected["live"]), (&"clean".into(), &true.into()));
}

// r[verify cli.serve]
#[test]
fn with_rm_nothing_is_left() {
    let space = Space::new();
    let (segment, pool) = (space.join("segment"), space.join("pool"));
    let host = Host::start(&segment, &["--rm", "--pool", &pool]);
    host.put("k", b"hello").done();
    assert_eq!(space.names(), ["pool", "segment"]);
    let ended = host.leave();
    ended.done();
    assert_eq!(space.names(), [""; 0]);
}

// r[verify cli.serve]
#[test]
fn a_second_host_is_refused() {
    let space = Space::new();
    let segment = space.join("segment");
    let host = Host::start(&segment, &[]);
    host.put("k", b"hello").done();
    let pid = host.running.pid().to_string();
    call(&["serve", "--segment", &segment]).refused(3, &["already", &segment, &pid]);
    assert_eq!(host.guest(&["get", "k"]).done().text(), "hello");
}

// r[verify cli.destroy]
#[test]
fn only_a_segment_without_a_host_is_destroyed() {
    let space = Space::new();
    let segment = space.join("segment");
    let host = Host::start(&segment, &[]);
    host.put("k", b"hello").done();
    let pid = host.running.pid().to_string();
    let refused = host.guest(&["destroy"]);
    refused.refused(3, &[&segment, &pid, "nothing was removed"]);
    assert_eq!(host.guest(&["get", "k"]).done().text(), "hello");
    host.die();
    let destroyed = call(&["destroy", "--segment", &segment, "--json"]);
    assert!(destroyed.done().json()["files"].as_u64() >= Some(2), "{destroyed:?}");
    assert_eq!(space.names(), [""; 0]);
    call(&["destroy", "--segment", &segment]).refused(3, &["no segment", &segment]);

    let foreign = space.join("home");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::set_permissions(&foreign, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .unwrap();
    crate::rig::write(space.path().join("home/diary"), b"dear diary");
    let refused = call(&["destroy", "--segment", &foreign]);
    refused.refused(3, &["diary", "nothing was removed"]);
    call(&["serve", "--segment", &foreign]).refused(3, &["no segment", "diary"]);
    assert_eq!(names(&foreign), ["diary"]);
    let file = space.join("home/diary");
    call(&["destroy", "--segment", &file]).refused(3, &["a regular file", "expected a directory"]);
    call(&["serve", "--segment", &file]).refused(3, &["a regular file", "expected a directory"]);
    assert_eq!(std::fs::read(&file).unwrap(), b"dear diary");
}

// r[verify cli.environment]
#[test]
fn common_options_come_from_the_environment_too() {
    let space = Space::new();
    let segment = space.join("segment");
    let mut command = onecopy(&["serve", "--json"]);
    let command = command
        .env("ONECOPY_SEGMENT", &segment)
        .env("ONECOPY_SIZE", "4M")
        .env("ONECOPY_SIZE_MAX", "32M")
        .env("ONECOPY_POOL", space.join("pool"))
        .env("ONECOPY_POLICY", "fifo")
        .env("ONECOPY_CAPACITY_BLOCKS", "3");
    let host = Host::with(command, &segment);
    assert_eq!(host.started["segment"], segment);
    assert_eq!(host.started["pool_bytes_max"], 32 << 20);
    assert!(space.names().contains(&"pool".to_owned()));
    let stat = run(onecopy(&["stat", "--json"]).env("ONECOPY_SEGMENT", &segment)).json();
    assert_eq!(stat["capacity_blocks"], 3);
    // A flag counts more than the environment.
    let other = space.join("other");
    let missing = run(onecopy(&["ping", "--segment", &other]).env("ONECOPY_SEGMENT", &segment));
    missing.refused(3, &["no segment", &other]);
    host.running.signal(Signal::STOP);
    let mut late = onecopy(&["ping"]);
    let late = run(late.env("ONECOPY_SEGMENT", &segment).env("ONECOPY_TIMEOUT", "0.1"));
    assert!(matches!(late.code(), Some(3 | 4)), "{late:?}");
    host.running.signal(Signal::CONT);
}

// r[verify cli.serve.capacity]
#[test]
fn capacity_and_policy_are_the_hosts() {
    let space = Space::new();
    let host = Host::start(&space.join("segment"), &["--capacity-blocks=2", "--policy=fifo"]);
    for key in ["a", "b"] {
        host.put(key, key.as_bytes()).done();
    }
    host.guest(&["get", "a"]).done();
    host.put("c", b"c").done();
    // With lru it would have been b.
    assert_eq!(host.guest(&["exists", "a"]).code(), Some(1));
    assert_eq!(host.guest(&["exists", "b"]).code(), Some(0));
    assert_eq!(host.guest(&["stat", "--json"]).json()["evictions"], 1);
}
