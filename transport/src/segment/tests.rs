//! What the tests of files, sockets and processes share.

use super::{SegmentDir, SegmentLock, SegmentPath};
use rustix::process::{Gid, Uid};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A user that is not us and owns nothing.
pub(crate) const OTHER_USER: u32 = 65534;
/// Says, in a process that a test started, that it is that one.
const CHILD: &str = "ONECOPY_TEST_CHILD";

/// A directory that goes away, with room for a segment in it.
pub(crate) struct Scratch {
    pub(crate) above: tempfile::TempDir,
    pub(crate) path: SegmentPath,
}

impl Scratch {
    pub(crate) fn new() -> Scratch {
        Scratch::below(tempfile::tempdir().unwrap())
    }

    pub(crate) fn on_tmpfs() -> Scratch {
        Scratch::below(tempfile::tempdir_in("/dev/shm").unwrap())
    }

    fn below(above: tempfile::TempDir) -> Scratch {
        let path = SegmentPath::new(above.path().join("segment")).unwrap();
        Scratch { above, path }
    }

    /// A fresh segment's directory, locked.
    pub(crate) fn locked(&self) -> (SegmentDir, SegmentLock) {
        let directory = SegmentDir::create_or_open(&self.path).unwrap();
        let lock = SegmentLock::try_lock(&directory).unwrap();
        (directory, lock)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.as_path().join(name)
    }
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The files of a directory, as a person would see them.
pub(crate) fn listing(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Runs `body` as a user without rights: credentials belong to threads, so one of its own does.
/// `None`, with a line that says so, if we may not become one.
pub(crate) fn as_other_user<T: Send>(body: impl FnOnce() -> T + Send) -> Option<T> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can become another user");
        return None;
    }
    let become_other = || {
        let (uid, gid) = (Uid::from_raw(OTHER_USER), Gid::from_raw(OTHER_USER));
        rustix::thread::set_thread_groups(&[]).unwrap();
        rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        body()
    };
    std::thread::scope(|scope| Some(scope.spawn(become_other).join().unwrap()))
}

/// What a process was started for by [`run_alone`]; `None` in the test itself.
pub(crate) fn child_task() -> Option<String> {
    std::env::var(CHILD).ok()
}

/// A process that runs one test alone, in which [`child_task`] says `task`; `before` is a command
/// that starts it, such as `unshare`.
pub(crate) fn command_alone(test: &str, task: &str, before: &[&str]) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut command = match before.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, task);
    command.stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn run_alone(test: &str, task: &str, before: &[&str]) -> Output {
    command_alone(test, task, before).output().unwrap()
}

/// Whether namespaces of our own are permitted here, with a line that says so if not.
pub(crate) fn can_unshare(options: &[&str]) -> bool {
    let tried = Command::new("unshare").args(options).arg("true").output();
    let can = tried.is_ok_and(|output| output.status.success());
    if !can {
        println!("skipped: unshare {options:?} is not permitted here");
    }
    can
}

#[track_caller]
pub(crate) fn assert_success(output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success() && text(&output.stdout).contains("1 passed"),
        "{}\n{}\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
}
