//! What a guest can get at beyond what it was given.

use super::RawGuest;
use onecopy_shm::{Access, Mapping};
use onecopy_transport::format::Role;
use rustix::fs::{CWD, Mode, OFlags, fchmod, ftruncate, open, renameat};
use std::fs::{read_dir, remove_file};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// Attaches, and tries to write what it was given to read, and to reach what it was not given.
/// Returns what worked.
pub fn reach(segment: &Path, role: Role, other: u64) -> Vec<String> {
    let guest = RawGuest::attach(segment, role);
    let mut worked = Vec::new();
    let mut note = |what: &str, done: bool| {
        if done {
            worked.push(what.to_owned());
        }
    };
    for (name, descriptor) in ["control", "pool"].iter().zip(&guest.descriptors) {
        note(&format!("open {name} to write"), open_again(descriptor, OFlags::RDWR));
        note(&format!("map {name} to write"), maps(descriptor));
        note(&format!("cut {name}"), ftruncate(descriptor, 0).is_ok());
        note(&format!("give {name} away"), fchmod(descriptor, Mode::from_raw_mode(0o666)).is_ok());
    }
    let own = guest.serial();
    let names = ["control", "pool", "lock"].map(str::to_owned).into_iter();
    let of_other = [format!("rings/{other}"), format!("leases/{other}"), format!("rings/{own}")];
    for name in names.chain(of_other) {
        let opened = open(segment.join(&name), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        note(&format!("open {name}"), opened.is_ok());
    }
    for name in ["", "rings", "leases"] {
        note(&format!("list {name:?}"), read_dir(segment.join(name)).is_ok());
    }
    let socket = segment.join("host.sock");
    note("make a file", std::fs::write(segment.join("new"), b"").is_ok());
    note("rename the socket", renameat(CWD, &socket, CWD, segment.join("moved")).is_ok());
    note("remove the socket", remove_file(&socket).is_ok());
    worked
}

fn open_again(descriptor: &OwnedFd, flags: OFlags) -> bool {
    let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    open(path, flags | OFlags::CLOEXEC, Mode::empty()).is_ok()
}

fn maps(descriptor: &OwnedFd) -> bool {
    Mapping::map(descriptor, 4096, Access::ReadWrite).is_ok()
}
