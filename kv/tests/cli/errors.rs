//! Wrong paths, wrong values, what stands where a segment should be.

use crate::rig::{Host, Space, call, names, run, write};
use onecopy_transport::format::FORMAT_VERSION;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;

// r[verify cli.errors]
#[test]
fn where_there_is_no_host_the_error_says_so_and_what_to_do() {
    let space = Space::new();
    let missing = space.join("missing");
    for command in [&["get", "k"][..], &["put", "k"], &["exists", "k"], &["rm", "k"], &["ping"]] {
        let args = [command, &["--segment", &missing]].concat();
        call(&args).refused(3, &["no segment", &missing, "--segment"]);
    }
    for command in ["stat", "inspect", "destroy"] {
        call(&[command, "--segment", &missing]).refused(3, &["no segment", &missing]);
    }
    assert_eq!(space.names(), [""; 0], "asking makes nothing");
    let file = space.join("file");
    write(&file, b"text");
    for command in ["stat", "inspect", "destroy", "serve"] {
        call(&[command, "--segment", &file]).refused(3, &[&file, "a regular file"]);
    }
    call(&["stat", "--segment", &space.join("file/below")]).refused(3, &["file/below"]);
    call(&["stat", "--segment", space.path().to_str().unwrap()]).refused(3, &["no segment"]);
    assert_eq!(std::fs::read(&file).unwrap(), b"text");
}

// r[verify cli.paths]
#[test]
fn a_path_longer_than_a_socket_address_works_and_a_longer_name_than_files_have_is_refused() {
    let space = Space::new();
    let long = space.join(&"long/".repeat(40));
    let segment = format!("{}/{}", long.trim_end_matches('/'), "s".repeat(255));
    assert!(segment.len() > 4 * 107);
    let host = Host::start(&segment, &["--rm"]);
    host.put("k", b"hello").done();
    assert_eq!(host.guest(&["get", "k"]).done().text(), "hello");
    host.leave().done();
    let too_long = space.join(&"s".repeat(256));
    for command in ["serve", "stat", "inspect", "destroy"] {
        call(&[command, "--segment", &too_long]).refused(3, &["256 bytes", "255"]);
    }
    call(&["serve", "--segment", "/"]).refused(3, &["names no directory"]);
}

// r[verify cli.errors]
#[test]
fn another_format_version_is_refused_by_everybody_and_stays() {
    let space = Space::new();
    let segment = space.join("segment");
    let host = Host::start(&segment, &[]);
    host.put("k", b"hello").done();
    host.leave().done();
    let control = std::fs::File::options().write(true).open(space.join("segment/control")).unwrap();
    control.write_all_at(&99u64.to_le_bytes(), 8).unwrap();
    let before = names(&segment);
    for command in ["serve", "inspect", "destroy"] {
        let reads = format!("reads {FORMAT_VERSION}");
        call(&[command, "--segment", &segment]).refused(3, &["format version 99", &reads]);
    }
    assert_eq!(names(&segment), before);
    control.write_all_at(&FORMAT_VERSION.to_le_bytes(), 8).unwrap();
    assert_eq!(Host::start(&segment, &[]).guest(&["get", "k"]).done().text(), "hello");
}

// r[verify cli.values]
// r[verify cli.exit]
#[test]
fn values_out_of_range_are_errors_of_the_command_line_and_name_the_flag() {
    let serve = [
        ("--size=0", "--size"),
        ("--size=4X", "expected B, K, M, G or T"),
        ("--size=many", "such as 4G"),
        ("--granule=3K", "power of two from 64 to 2M"),
        ("--granule=4M", "power of two from 64 to 2M"),
        ("--ring=100", "power of two from 1K to 64M"),
        ("--policy=random", "expected lru or fifo"),
        ("--guests-max=0", "1..=2048"),
        ("--heartbeat-ms=0", "1..=60000"),
        ("--capacity-blocks=0", "--capacity-blocks"),
        ("--bogus", "--bogus"),
    ];
    for (flag, word) in serve {
        wrong(&["serve", flag], &[flag.split('=').next().unwrap(), word]);
    }
    wrong(&["serve", "--capacity-blocks=1", "--capacity-bytes=1M"], &["cannot be used with"]);
    wrong(&["put", "k", "--ttl=0"], &["--ttl"]);
    wrong(&["ping", "--count=0"], &["--count"]);
    for timeout in ["0", "-1", "nan", "1e9", "soon"] {
        wrong(&["ping", &format!("--timeout={timeout}")], &["--timeout", "0.001 to 86400"]);
    }
    wrong(&["get"], &["<KEY>"]);
    wrong(&[], &["Usage"]);
    let space = Space::new();
    let segment = space.join("segment");
    let too_large = call(&["serve", "--size=9G", "--segment", &segment]);
    too_large.refused(2, &["--size 9G", "--size-max 8G"]);
    let slot = call(&["serve", "--slot-max=9G", "--segment", &segment]);
    slot.refused(2, &["--slot-max 9G", "--size-max 8G"]);
    let key = call(&["get", "--hex", "abc", "--segment", &segment]);
    key.refused(2, &["64 hexadecimal digits", "3 characters"]);
    assert_eq!(space.names(), [""; 0]);
}

/// Not understood: exit code 2, in the words of the parser, which take more than a line.
#[track_caller]
fn wrong(args: &[&str], words: &[&str]) {
    let outcome = call(args);
    assert_eq!((outcome.code(), outcome.text()), (Some(2), ""), "{outcome:?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "{word:?} is not in {}", outcome.stderr);
    }
}

// r[verify cli.errors]
#[test]
fn another_user_is_told_that_it_may_not_attach() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become somebody else");
        return;
    }
    let space = Space::new();
    // Where others may go, with a program that others may run.
    std::fs::set_permissions(space.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let program = space.join("onecopy");
    std::fs::copy(env!("CARGO_BIN_EXE_onecopy"), &program).unwrap();
    let host = Host::start(&space.join("segment"), &[]);
    host.put("k", b"hello").done();
    let other = |args: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command.args(args).args(["--segment", &host.segment]).uid(65_534).gid(65_534);
        run(&mut command)
    };
    for command in [&["get", "k"][..], &["put", "k"], &["rm", "k"], &["stat"]] {
        other(command).refused(3, &["id 65534", "may not attach", &host.segment]);
    }
    for command in ["serve", "destroy", "inspect"] {
        let refused = other(&[command]);
        refused.refused(3, &[&host.segment]);
    }
    assert_eq!(host.guest(&["get", "k"]).done().text(), "hello");
}
