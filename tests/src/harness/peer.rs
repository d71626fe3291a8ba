//! A guest (or a host) in a process of its own, which does what it is told line by line.

use super::PATIENCE;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// The process. It is killed when this is dropped, and when the test's process ends.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    orders: Option<ChildStdin>,
    answers: Receiver<String>,
    /// Serial of its attach, once it has one.
    serial: u32,
}

impl Peer {
    /// Starts the program, told where the segment is.
    pub fn start(program: &str, segment: &Path) -> Peer {
        let mut command = Peer::command(program, segment);
        Peer::over(command.spawn().unwrap())
    }

    /// The program, to be started by somebody else and handed to [`Peer::over`].
    pub fn command(program: &str, segment: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg(segment).stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    /// A process that was started from [`Peer::command`].
    pub fn over(mut child: Child) -> Peer {
        let orders = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Peer { child, orders, answers, serial: 0 }
    }

    /// A guest with this role.
    pub fn attached(program: &str, segment: &Path, role: &str) -> Peer {
        let mut peer = Peer::start(program, segment);
        peer.attach(&format!("attach {role}"));
        peer
    }

    /// Has it attach with this order, and remembers the serial that it answers.
    pub fn attach(&mut self, order: &str) -> u32 {
        self.serial = self.ok(order).parse().unwrap();
        self.serial
    }

    /// Serial of its attach.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives an order and does not wait for the answer.
    pub fn order(&mut self, order: &str) {
        let orders = self.orders.as_mut().unwrap();
        writeln!(orders, "{order}").unwrap();
        orders.flush().unwrap();
    }

    /// The next answer.
    pub fn answer(&mut self) -> String {
        self.answer_within(PATIENCE).unwrap_or_else(|| panic!("peer {} says nothing", self.pid()))
    }

    /// The next answer, if it comes in time.
    pub fn answer_within(&mut self, patience: Duration) -> Option<String> {
        self.answers.recv_timeout(patience).ok()
    }

    /// The next answer, or `None` when the process ends without one.
    pub fn answer_or_end(&mut self) -> Option<String> {
        match self.answers.recv_timeout(PATIENCE) {
            Ok(answer) => Some(answer),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("peer {} neither answers nor ends", self.pid())
            }
        }
    }

    /// Gives an order, and waits for its answer or for the end of the process.
    pub fn try_tell(&mut self, order: &str) -> Option<String> {
        self.try_order(order);
        self.answer_or_end()
    }

    /// Gives an order and does not wait, nor mind when the process has ended.
    pub fn try_order(&mut self, order: &str) {
        let orders = self.orders.as_mut().unwrap();
        let _ = writeln!(orders, "{order}").and_then(|()| orders.flush());
    }

    /// Waits for the end of a process that ended by a fault: with the code of those.
    pub fn died_of_a_fault(&mut self) -> bool {
        self.wait().code() == Some(86)
    }

    /// Gives an order and waits for its answer.
    pub fn tell(&mut self, order: &str) -> String {
        self.order(order);
        self.answer()
    }

    /// Gives an order that has to succeed; the rest of its answer.
    pub fn ok(&mut self, order: &str) -> String {
        let answer = self.tell(order);
        match answer.strip_prefix("ok") {
            Some(rest) => rest.trim().to_owned(),
            None => panic!("{order:?} was answered {answer:?}"),
        }
    }

    /// Gives an order that has to fail; what the answer says.
    pub fn error(&mut self, order: &str) -> String {
        let answer = self.tell(order);
        match answer.strip_prefix("error") {
            Some(rest) => rest.trim().to_owned(),
            None => panic!("{order:?} was answered {answer:?}"),
        }
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// SIGSTOP, and waits until all of its threads stand still.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        self.wait_stopped();
    }

    /// Waits until all of its threads stand still.
    pub fn wait_stopped(&self) {
        super::wait_for("the stop of a peer", || self.is_stopped());
    }

    /// Waits until it stands still, or has answered.
    pub fn stopped_or_answered(&mut self) -> Option<String> {
        let mut answer = None;
        super::wait_for("the stop or the answer of a peer", || {
            answer = self.answer_within(Duration::ZERO);
            answer.is_some() || self.is_stopped()
        });
        answer
    }

    /// Whether all of its threads stand still.
    fn is_stopped(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        tasks.map(Result::unwrap).all(|task| {
            // A thread may have ended meanwhile.
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // The state stands behind the name, which is in parentheses.
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
        })
    }

    /// SIGCONT.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) -> ExitStatus {
        self.signal(Signal::KILL);
        self.child.wait().unwrap()
    }

    /// Kills it if it has not ended yet.
    pub fn end(&mut self) {
        if !self.has_ended() {
            self.kill();
        }
    }

    /// Waits for a process that ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        drop(self.orders.take());
        let mut status = None;
        super::wait_for("the end of a peer", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// SIGKILL for a peer by its number, which is its own for as long as it was not waited for.
pub(super) fn kill(pid: u32) {
    let pid = Pid::from_raw(pid as i32).unwrap();
    let _ = kill_process(pid, Signal::KILL);
}
