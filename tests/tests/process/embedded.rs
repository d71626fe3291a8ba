//! A host that the test turns itself, so that it stands still when the test wants it to.

use onecopy_tests::harness::{Peer, Segment, small_host, soon};
use onecopy_transport::host::{Host, HostEvent, HostOptions};
use onecopy_transport::service::Service;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The host and what it tells.
pub struct Embedded<S: Service> {
    pub host: Host<S>,
    pub events: Receiver<HostEvent>,
}

impl<S: Service> Embedded<S> {
    pub fn start(segment: &Segment, choose: impl FnOnce(&mut HostOptions), service: S) -> Self {
        let (tell, events) = channel();
        let mut options = small_host(segment.path());
        choose(&mut options);
        options.events = Some(tell);
        Embedded { host: Host::start(options, service).unwrap(), events }
    }

    /// One look and one turn.
    pub fn once(&mut self) -> bool {
        self.host.look(Duration::ZERO).unwrap();
        self.host.turn()
    }

    /// Serves for a while.
    pub fn serve_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            if !self.once() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Serves until something is so.
    pub fn serve_until(&mut self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = soon();
        while !is_so() {
            assert!(Instant::now() < deadline, "not in time: {what}");
            if !self.once() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Serves while something else in this process waits for the host.
    pub fn serve_while<T: Send>(&mut self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(work);
            self.serve_until("what waits for the host", || thread.is_finished());
            thread.join().unwrap()
        })
    }

    /// Gives a peer an order and serves until it has answered.
    pub fn tell(&mut self, peer: &mut Peer, order: &str) -> String {
        peer.order(order);
        let mut answer = None;
        self.serve_until(order, || {
            answer = peer.answer_within(Duration::ZERO);
            answer.is_some()
        });
        answer.unwrap()
    }

    /// An order that has to succeed.
    pub fn ok(&mut self, peer: &mut Peer, order: &str) -> String {
        let answer = self.tell(peer, order);
        assert!(answer.starts_with("ok"), "{order:?} was answered {answer:?}");
        answer[2..].trim().to_owned()
    }

    pub fn assert_clean(&self) {
        let report = self.host.audit();
        assert!(report.is_clean(), "{report}");
    }

    pub fn stat(&self, name: &str) -> u64 {
        let stats = self.host.stats();
        stats.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name}")).1
    }
}
