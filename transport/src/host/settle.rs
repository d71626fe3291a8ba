//! Settling a peer by hand whose death nobody has proven: SIGKILL and waiting for the proof, or
//! writing off what it holds. Nothing is freed without a proof.

use super::Host;
use super::events::HostEvent;
use super::leases::Leases;
use super::liveness::Gone;
use super::peer::Who;
use crate::Serial;
use crate::format::{PeerState, SuspectReason};
use crate::pool::{Holding, LeaseVisitor};
use crate::process::ProcessError;
use crate::service::{Service, ServiceContext};
use crate::wire::{SettleError, Settled, SettledWords, Settlement};
use rustix::process::Signal;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// Who waits for a peer to be settled.
pub(super) enum Asker {
    Handle(Sender<Result<Settled, SettleError>>),
    Guest { serial: Serial, request_id: u32 },
}

/// One peer to be settled, and who asked for it.
pub(super) struct Settling {
    serial: Serial,
    how: Settlement,
    asker: Asker,
    asked: Instant,
    deadline: Instant,
}

impl Settling {
    pub fn new(serial: Serial, how: Settlement, asker: Asker, deadline: Instant) -> Settling {
        Settling { serial, how, asker, asked: Instant::now(), deadline }
    }

    /// Whether this guest waits for the answer.
    pub fn is_asked_by(&self, guest: Serial) -> bool {
        matches!(self.asker, Asker::Guest { serial, .. } if serial == guest)
    }
}

impl<S: Service> Host<S> {
    /// Settles a peer. The answer comes when it is done, or when the proof did not come in time.
    // r[impl peer.settle]
    pub(super) fn settle(&mut self, settling: Settling) {
        let serial = settling.serial;
        let Some(index) = self.peers.iter().position(|peer| peer.who.serial == serial) else {
            let error = SettleError::UnknownPeer { serial: serial.into() };
            return self.answer_asker(settling.asker, Err(error));
        };
        // Where there is a proof, nothing needs settling but to act on it.
        if self.peers[index].is_dead() {
            self.core.settling.push(settling);
            return self.recover(index, Gone::Dead);
        }
        match settling.how {
            Settlement::Kill => match self.kill(index) {
                Ok(()) => self.core.settling.push(settling),
                Err(error) => self.answer_asker(settling.asker, Err(error)),
            },
            Settlement::WriteOff => {
                let result = self.write_off(index);
                self.answer_asker(settling.asker, result);
            }
        }
    }

    /// Sends SIGKILL through the pidfd, which can only reach this very process.
    fn kill(&mut self, index: usize) -> Result<(), SettleError> {
        let peer = &self.peers[index];
        let (serial, pid) = (peer.who.serial, peer.who.process.pid);
        let cannot =
            |errno: u32| SettleError::CannotKill { serial: serial.into(), errno: errno.into() };
        if pid == std::process::id() {
            return Err(SettleError::HostItself { serial: serial.into(), pid: pid.into() });
        }
        let pidfd = peer.pidfd.as_ref().ok_or(cannot(0))?;
        pidfd.send_signal(Signal::KILL).map_err(|error| match error {
            ProcessError::System { source, .. } => cannot(source.raw_os_error().unsigned_abs()),
            _ => cannot(0),
        })?;
        tracing::warn!(serial, pid, "guest sent SIGKILL");
        self.core.counters.peers_killed += 1;
        self.core.tell(HostEvent::Killed { serial, pid });
        Ok(())
    }

    /// Kills those who have been suspect for too long, if that is the policy. The time is that of the
    /// host's own loop: after a stop of the host or of the whole machine everybody has all of it left.
    /// That the host was replaced is nobody's fault: a guest attaches anew when it has something to ask.
    // r[impl peer.kill-suspects]
    pub(super) fn kill_old_suspects(&mut self) {
        let options = &self.core.options;
        let Some(after) = options.kill_suspects_after else { return };
        let ticks = after.as_nanos().div_ceil(options.heartbeat_interval.as_nanos().max(1));
        for index in 0..self.peers.len() {
            let (tick, is_in_use) = (self.core.tick, self.is_in_good_standing(index));
            let Some(suspected) = self.peers[index].suspected.as_mut() else { continue };
            let waited = u128::from(tick.saturating_sub(suspected.tick));
            let is_spared = is_in_use || suspected.reason == SuspectReason::HostReplaced;
            if waited < ticks || suspected.kill_tried || is_spared {
                continue;
            }
            suspected.kill_tried = true;
            match self.kill(index) {
                Ok(()) => self.core.counters.suspects_killed += 1,
                Err(error) => tracing::warn!(%error, "a suspect was not killed"),
            }
        }
    }

    /// Whether the process of a peer has another attach that is not suspect.
    fn is_in_good_standing(&self, index: usize) -> bool {
        let process = self.peers[index].who.process;
        self.peers
            .iter()
            .any(|peer| peer.state == PeerState::Attached && peer.who.process.is_same(&process))
    }

    /// Forgets a peer whose process may live on. What it may still write or read is never used
    /// again; all of that is stored before its row is free, so a host that dies here finds either.
    // r[impl peer.write-off]
    fn write_off(&mut self, index: usize) -> Result<Settled, SettleError> {
        let who = self.peers[index].who;
        if self.peers[index].state == PeerState::Attached {
            return Err(SettleError::Healthy { serial: who.serial.into() });
        }
        // From here on its leases are refused, so the look below finds all that ever count.
        self.core.control.set_attached(who.row.into(), 0);
        // edge: lease.cut-off
        self.core.pool.fence_against_readers().map_err(|error| SettleError::NoFence {
            serial: who.serial.into(),
            errno: error.source.raw_os_error() as u64,
        })?;
        let peer = self.peers.swap_remove(index);
        if let Some(pidfd) = &peer.pidfd {
            self.poller.forget(pidfd);
        }
        if let Some(link) = peer.link.as_ref() {
            self.poller.forget_link(link);
        }
        let leases = self.core.lease_count(who.serial);
        let held = self.core.service.held_by(who.serial);
        let mut slots = Holding::default();
        if !self.shares_leases(&who) {
            slots = self.write_off_leased(who.serial);
        }
        slots = slots.with(self.core.pool.write_off(who.serial));
        self.part_with(&who);
        self.core.counters.peers_written_off += 1;
        tracing::warn!(
            serial = who.serial,
            pid = who.process.pid,
            slots = slots.slots,
            "guest written off"
        );
        let (serial, pid) = (who.serial, who.process.pid);
        self.core.tell(HostEvent::WrittenOff { serial, pid, slots: slots.slots });
        let settled = Settled { proven: false, slots, leases, held };
        self.settled(serial, settled);
        Ok(settled)
    }

    /// Whether another attach goes on with the lease table of this one.
    pub(super) fn shares_leases(&self, who: &Who) -> bool {
        self.peers
            .iter()
            .any(|peer| peer.who.lease_serial == who.lease_serial && peer.who.serial != who.serial)
    }

    fn write_off_leased(&mut self, serial: Serial) -> Holding {
        let tables = self.core.leases.iter().filter(|leases| leases.who.serial == serial);
        let tables: Vec<Leases> = tables.map(|leases| leases.leases.clone()).collect();
        let mut scan = |visit: &mut LeaseVisitor<'_>| {
            for table in &tables {
                table.for_each(&mut *visit);
            }
        };
        for slot in self.core.pool.published_leased(&mut scan) {
            let clock_s = self.core.clock_s;
            let mut context = ServiceContext { pool: &mut self.core.pool, clock_s };
            self.core.service.withdraw(slot, &mut context);
            // Done already by every service that keeps to the contract.
            let _ = self.core.pool.retire(slot);
        }
        self.core.pool.write_off_leased(&mut scan)
    }

    /// Whether somebody waits for this peer to be settled.
    pub(super) fn is_settling(&self, serial: Serial) -> bool {
        self.core.settling.iter().any(|settling| settling.serial == serial)
    }

    /// Answers all who wait for this peer.
    pub(super) fn settled(&mut self, serial: Serial, settled: Settled) {
        let waiting = std::mem::take(&mut self.core.settling);
        for settling in waiting {
            match settling.serial == serial {
                true => self.answer_asker(settling.asker, Ok(settled)),
                false => self.core.settling.push(settling),
            }
        }
    }

    /// Tells those whose time is over that the process has not ended yet.
    pub(super) fn expire_settling(&mut self, now: Instant) {
        let waiting = std::mem::take(&mut self.core.settling);
        for settling in waiting {
            let Settling { serial, asked, deadline, .. } = settling;
            if now < deadline {
                self.core.settling.push(settling);
                continue;
            }
            let waited_ms = milliseconds(now.saturating_duration_since(asked));
            let error = SettleError::NotProven { serial: serial.into(), waited_ms };
            self.answer_asker(settling.asker, Err(error));
        }
    }

    fn answer_asker(&mut self, asker: Asker, result: Result<Settled, SettleError>) {
        match asker {
            // Nobody may be there any more to hear it.
            Asker::Handle(answer) => {
                let _ = answer.send(result);
            }
            Asker::Guest { serial, request_id } => {
                let words = result.map(|settled| SettledWords::encode(&settled));
                self.tell_settled(serial, request_id, words);
            }
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
