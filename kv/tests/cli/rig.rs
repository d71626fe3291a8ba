//! Running the program: every wait has a deadline, every child is killed and every directory removed,
//! also when a test fails.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail their test")]

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long any one command may take, on a machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(5);

/// A command line of the program, with nothing of the environment that changes what it does.
pub fn onecopy(args: &[&str]) -> Command {
    clean(Command::new(env!("CARGO_BIN_EXE_onecopy")), args)
}

/// The same, run by something else.
pub fn through(program: &str, before: &[&str], args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(before);
    clean(command, args)
}

fn clean(mut command: Command, args: &[&str]) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ONECOPY_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.args(args);
    command
}

/// What a command that has ended said.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Outcome {
    /// Its exit code; a signal is none.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// The one JSON object that it wrote, and nothing else.
    pub fn json(&self) -> Value {
        let text = self.text();
        assert_eq!(text.lines().count(), 1, "{self:?}");
        let value: Value = serde_json::from_str(text).unwrap();
        assert!(value.is_object(), "{self:?}");
        value
    }

    /// It ended with this code and said one line on standard error with all of these in it, and
    /// nothing on standard output.
    #[track_caller]
    pub fn refused(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code(), Some(code), "{self:?}");
        assert_eq!(self.text(), "", "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {self:?}");
        }
    }

    #[track_caller]
    pub fn done(&self) -> &Outcome {
        assert_eq!(self.code(), Some(0), "{self:?}");
        self
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Outcome {
    Running::start(command).end()
}

/// Runs the program to its end.
pub fn call(args: &[&str]) -> Outcome {
    run(&mut onecopy(args))
}

/// A process that is killed when it is dropped.
pub struct Running {
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    /// Starts it. Standard input is empty unless the command says otherwise by `stdin_bytes`.
    pub fn start(command: &mut Command) -> Running {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = Running { child: child.spawn().unwrap(), stdout: None, stderr: None };
        running.stdout = running.child.stdout.take().map(collect);
        running.stderr = running.child.stderr.take().map(collect);
        running
    }

    /// Starts it and gives it this to read. What does not fit is not read by anybody.
    pub fn with_input(command: &mut Command, input: Vec<u8>) -> Running {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = Running { child: child.spawn().unwrap(), stdout: None, stderr: None };
        let mut stdin = running.child.stdin.take().unwrap();
        std::thread::spawn(move || {
            // A program that reads no further is what some tests are about.
            let _ = stdin.write_all(&input);
        });
        running.stdout = running.child.stdout.take().map(collect);
        running.stderr = running.child.stderr.take().map(collect);
        running
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it has not ended after {PATIENCE:?}");
            std::thread::sleep(LOOK);
        };
        let take = |bytes: Option<JoinHandle<Vec<u8>>>| {
            bytes.map_or(Vec::new(), |thread| thread.join().unwrap())
        };
        let (stdout, stderr) = (take(self.stdout.take()), take(self.stderr.take()));
        Outcome { status, stdout, stderr: String::from_utf8(stderr).unwrap() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What a process wrote before it was killed is what there is.
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

/// A directory of this test alone, on a tmpfs, removed at its end.
pub struct Space(TempDir);

impl Space {
    pub fn new() -> Space {
        Space(tempfile::Builder::new().prefix("onecopy-test-").tempdir_in("/dev/shm").unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn join(&self, name: &str) -> String {
        self.path().join(name).to_str().unwrap().to_owned()
    }

    /// Names in it, sorted.
    pub fn names(&self) -> Vec<String> {
        names(self.path())
    }
}

pub fn names(directory: impl AsRef<Path>) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A host that serves.
pub struct Host {
    pub running: Running,
    /// What it said when it began to serve.
    pub started: Value,
    pub segment: String,
}

/// What hosts of tests are started with: small, and quick to find out who is gone.
pub const SMALL: [&str; 5] = ["serve", "--size=4M", "--size-max=64M", "--slot-max=1M", "--json"];

impl Host {
    /// Serves a small segment at this path.
    pub fn start(segment: &str, more: &[&str]) -> Host {
        let args = [&SMALL, &["--segment", segment][..], more].concat();
        Host::with(&mut onecopy(&args), segment)
    }

    /// Runs a command that serves with `--json`, and waits until it does.
    #[track_caller]
    pub fn with(command: &mut Command, segment: &str) -> Host {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = Running { child: child.spawn().unwrap(), stdout: None, stderr: None };
        let stdout = running.child.stdout.take().unwrap();
        running.stderr = running.child.stderr.take().map(collect);
        let (line, rest) = first_line(stdout);
        running.stdout = Some(rest);
        match line.and_then(|line| serde_json::from_str(&line).ok()) {
            Some(started) => Host { running, started, segment: segment.to_owned() },
            None => panic!("no host: {:?}", running.end()),
        }
    }

    /// Runs a command of a guest, such as `get key`, on this segment.
    pub fn guest(&self, args: &[&str]) -> Outcome {
        call(&[args, &["--segment", &self.segment]].concat())
    }

    /// Stores a block.
    pub fn put(&self, key: &str, block: &[u8]) -> Outcome {
        let args = ["put", key, "--segment", &self.segment];
        Running::with_input(&mut onecopy(&args), block.to_vec()).end()
    }

    /// Ends it with Ctrl-C.
    pub fn leave(self) -> Outcome {
        self.running.signal(rustix::process::Signal::INT);
        self.running.end()
    }

    /// Kills it.
    pub fn die(self) {
        self.running.signal(rustix::process::Signal::KILL);
        assert_eq!(self.running.end().code(), None);
    }
}

/// The first line of a stream, or nothing if it ends before or takes too long; the rest is read to
/// its end.
fn first_line(from: impl Read + Send + 'static) -> (Option<String>, JoinHandle<Vec<u8>>) {
    let (tell, told) = std::sync::mpsc::channel();
    let rest = std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = String::new();
        let read = from.read_line(&mut line);
        let _ = tell.send(line);
        let mut bytes = Vec::new();
        if read.is_ok() {
            let _ = from.read_to_end(&mut bytes);
        }
        bytes
    });
    let line = told.recv_timeout(PATIENCE).ok().filter(|line| line.ends_with('\n'));
    (line, rest)
}

/// A file somewhere below the test's directory.
pub fn write(path: impl AsRef<Path>, bytes: &[u8]) -> PathBuf {
    fs::write(&path, bytes).unwrap();
    path.as_ref().to_owned()
}

/// Whether this process may make mount namespaces.
pub fn may_unshare() -> bool {
    let unshared = Command::new("unshare").args(["-m", "true"]).stderr(Stdio::null()).status();
    let may = unshared.is_ok_and(|status| status.success());
    if !may {
        eprintln!("skipped: no mount namespace of its own for this user");
    }
    may
}
