//! Who may attach, and what each guest may have.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use crate::rig::{Host, Outcome, Running, Space, call, onecopy, run};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// A user and a group that nobody is.
const USER: u32 = 54_321;
const GROUP: u32 = 54_322;

/// Runs the program as another user; `None`, with a word about it, where that cannot be.
fn as_other(program: &std::path::Path, args: &[&str]) -> Option<Outcome> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: another user is only to be had as root");
        return None;
    }
    let mut command = Command::new(program);
    command.args(args).uid(USER).gid(GROUP).env_clear();
    Some(Running::start(&mut command).end())
}

/// The program at a place that everybody can reach.
fn reachable(space: &Space) -> std::path::PathBuf {
    let place = std::path::PathBuf::from(space.join("."));
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o711)).unwrap();
    let program = place.join("program");
    std::fs::copy(env!("CARGO_BIN_EXE_onecopy"), &program).unwrap();
    program
}

// r[verify cli.serve.allow]
// r[verify socket.allowed]
// r[verify segment.shared]
#[test]
fn users_and_groups_of_the_list_come_in_and_no_others() {
    let space = Space::new();
    let program = reachable(&space);
    let (user, group) = (USER.to_string(), GROUP.to_string());
    let flags: [(&[&str], bool); 5] = [
        (&[], false),
        (&["--allow-uid", "1", "--allow-gid", "1"], false),
        (&["--allow-uid", "daemon", "--allow-uid", &user], true),
        (&["--allow-gid", &group], true),
        (&["--allow-uid", &group, "--allow-gid", &user], false),
    ];
    for (number, (flags, is_allowed)) in flags.into_iter().enumerate() {
        let segment = space.join(&format!("segment{number}"));
        let host = Host::start(&segment, flags);
        host.put("k", b"hello").done();
        let Some(found) = as_other(&program, &["get", "k", "--segment", &segment]) else { return };
        if is_allowed {
            assert_eq!(found.done().text(), "hello");
            let put = as_other(&program, &["exists", "other", "--segment", &segment]).unwrap();
            assert_eq!(put.code(), Some(1), "{put:?}");
        } else if number == 0 {
            // The directory is its owner's alone.
            found.refused(3, &[&segment]);
        } else {
            found.refused(3, &[&user, "not allowed"]);
        }
        // The files themselves are nobody else's either way.
        for file in ["control", "pool", "lock"] {
            let path = std::path::Path::new(&segment).join(file);
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }
}

// r[verify cli.serve.allow]
#[test]
fn who_does_not_exist_is_an_error_of_the_command_line() {
    let place = ["--segment", "/nowhere/at-all"];
    for (flag, value, word) in [
        ("--allow-uid", "no such user", "/etc/passwd"),
        ("--allow-gid", "no such group", "/etc/group"),
        ("--allow-uid", "65534", "no id here"),
        ("--allow-gid", "4294967295", "group"),
        ("--allow-uid", "-1", "--allow-uid"),
        ("--allow-gid", "", "/etc/group"),
    ] {
        let flag_and_value = format!("{flag}={value}");
        let said = call(&[&["serve", &flag_and_value], &place[..]].concat());
        assert_eq!(said.code(), Some(2), "{said:?}");
        assert!(said.stderr.contains(word) && said.stderr.contains(flag), "{said:?}");
    }
}

// r[verify cli.serve.quotas]
#[test]
fn quotas_have_flags_and_ranges() {
    for flag in [
        "--grant-slots-max=0",
        "--grant-bytes-max=0",
        "--leases-max=0",
        "--leases-max=12",
        "--leases-max=2097152",
        "--requests-max=0",
        "--pins-max=-1",
    ] {
        let said = call(&["serve", flag, "--segment", "/nowhere/at-all"]);
        let name = flag.split('=').next().unwrap();
        assert_eq!(said.code(), Some(2), "{said:?}");
        assert!(said.stderr.contains(name), "{said:?}");
    }
    let space = Space::new();
    let segment = space.join("segment");
    let flags = ["--grant-slots-max=1", "--leases-max=8", "--pins-max=0", "--requests-max=1"];
    let host = Host::start(&segment, &flags);
    host.put("k", b"hello").done();
    let got = run(&mut onecopy(&["get", "k", "--segment", &segment]));
    assert_eq!(got.done().text(), "hello");
    let space = Space::new();
    let segment = space.join("segment");
    let host = Host::start(&segment, &["--grant-bytes-max=4K"]);
    host.put("k", b"hello").done();
    let refused = host.put("large", &[7; 9000]);
    refused.refused(4, &["quota is 4096"]);
}
