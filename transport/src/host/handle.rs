//! What other threads say to a host's loop.

use super::reserve::PeerReservation;
use super::settle::{Asker, Settling};
use super::wake::WakeHandle;
use super::{CutOffReason, Host};
use crate::Serial;
use crate::audit::AuditReport;
use crate::service::Service;
use crate::socket::AttachSocket;
use crate::wire::{PeerInfo, SettleError, Settled, Settlement};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;
use thiserror::Error;

/// One thing to do in the loop.
pub(super) enum Command {
    Leave,
    Reserve(Sender<Result<(u32, OwnedFd), String>>),
    CancelReservation(u32),
    Stats(Sender<Vec<(&'static str, u64)>>),
    Audit(Sender<AuditReport>),
    CutOff(Serial, String, Sender<bool>),
    Peers(Sender<Vec<PeerInfo>>),
    Settle(Settling),
}

/// Why a host did not answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandleError {
    /// The host has ended.
    #[error("the host has ended")]
    HostEnded,
    /// The host's loop did not turn in time.
    #[error("the host's loop did not answer before the deadline")]
    DeadlineExceeded,
    /// The peer was not settled.
    #[error(transparent)]
    Settle(#[from] SettleError),
    /// The host could not make what was asked for.
    #[error("the host refused: {reason}")]
    Refused {
        /// Why, in words.
        reason: String,
    },
}

/// Talks to a host's loop from other threads.
#[derive(Clone, Debug)]
pub struct HostHandle {
    pub(super) commands: Sender<Command>,
    pub(super) wake: WakeHandle,
}

impl HostHandle {
    /// Asks the host to say goodbye and end its loop. Safe to call from a signal-watching thread.
    ///
    /// # Errors
    /// [`HandleError::HostEnded`] when there is nothing left to end.
    pub fn leave(&self) -> Result<(), HandleError> {
        self.send(Command::Leave)
    }

    /// Every figure of the host with its name.
    ///
    /// # Errors
    /// [`HandleError`] when the host has ended or does not turn.
    pub fn stats(&self, deadline: Instant) -> Result<Vec<(&'static str, u64)>, HandleError> {
        self.ask(Command::Stats, deadline)
    }

    /// The host's audit.
    ///
    /// # Errors
    /// [`HandleError`] when the host has ended or does not turn.
    pub fn audit(&self, deadline: Instant) -> Result<AuditReport, HandleError> {
        self.ask(Command::Audit, deadline)
    }

    /// Ends a guest's link by hand; what it holds is quarantined until it is proven dead. False
    /// when there is no such guest.
    ///
    /// # Errors
    /// [`HandleError`] when the host has ended or does not turn.
    pub fn cut_off(
        &self,
        serial: Serial,
        reason: &str,
        deadline: Instant,
    ) -> Result<bool, HandleError> {
        let reason = reason.to_owned();
        self.ask(|answer| Command::CutOff(serial, reason, answer), deadline)
    }

    /// Reserves a peer for a guest that this process is about to spawn. Dropping the reservation
    /// frees it.
    ///
    /// # Errors
    /// [`HandleError`] when the host has ended, does not turn, has no place or no descriptors left.
    pub fn reserve(&self, deadline: Instant) -> Result<PeerReservation, HandleError> {
        let (number, socket) = self
            .ask(Command::Reserve, deadline)?
            .map_err(|reason| HandleError::Refused { reason })?;
        Ok(PeerReservation::new(number, socket, self.clone()))
    }

    /// Every peer, by serial: those that are attached and those whose death is not proven yet.
    ///
    /// # Errors
    /// [`HandleError`] when the host has ended or does not turn.
    pub fn peers(&self, deadline: Instant) -> Result<Vec<PeerInfo>, HandleError> {
        self.ask(Command::Peers, deadline)
    }

    /// Settles a peer by hand: kills its process and waits for the proof until the deadline, or
    /// writes off what it holds. See [`Settlement`].
    ///
    /// # Errors
    /// [`HandleError::Settle`] says why not; else the host has ended or does not turn.
    pub fn settle(
        &self,
        serial: Serial,
        how: Settlement,
        deadline: Instant,
    ) -> Result<Settled, HandleError> {
        let asker =
            |answer| Command::Settle(Settling::new(serial, how, Asker::Handle(answer), deadline));
        Ok(self.ask(asker, deadline)??)
    }

    pub(super) fn send(&self, command: Command) -> Result<(), HandleError> {
        self.commands.send(command).map_err(|_| HandleError::HostEnded)?;
        self.wake.wake();
        Ok(())
    }

    fn ask<T>(
        &self,
        command: impl FnOnce(Sender<T>) -> Command,
        deadline: Instant,
    ) -> Result<T, HandleError> {
        let (sender, answer): (Sender<T>, Receiver<T>) = channel();
        self.send(command(sender))?;
        let time = deadline.saturating_duration_since(Instant::now());
        answer.recv_timeout(time).map_err(|error| match error {
            RecvTimeoutError::Timeout => HandleError::DeadlineExceeded,
            RecvTimeoutError::Disconnected => HandleError::HostEnded,
        })
    }
}

impl<S: Service> Host<S> {
    /// Does what other threads have asked for. An answer whose asker has gone is dropped.
    pub(super) fn obey(&mut self) {
        self.wake.reset();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Leave => self.leaving = true,
                Command::Reserve(answer) => {
                    let _ = answer.send(self.reserve());
                }
                Command::CancelReservation(number) => {
                    self.greetings.retain(|greeting| greeting.number != number);
                }
                Command::Stats(answer) => {
                    let _ = answer.send(self.stats());
                }
                Command::Audit(answer) => {
                    let _ = answer.send(self.audit());
                }
                Command::CutOff(serial, reason, answer) => {
                    let index = self.peers.iter().position(|peer| peer.who.serial == serial);
                    if let Some(index) = index {
                        self.cut_off(index, CutOffReason::ByHand(reason));
                    }
                    let _ = answer.send(index.is_some());
                }
                Command::Peers(answer) => {
                    let _ = answer.send(self.peer_infos());
                }
                Command::Settle(settling) => self.settle(settling),
            }
        }
    }

    fn reserve(&mut self) -> Result<(u32, OwnedFd), String> {
        self.check_room().map_err(|refusal| refusal.to_string())?;
        let (ours, theirs) = AttachSocket::pair().map_err(|error| error.to_string())?;
        let number = self.greet(ours, None).map_err(|error| error.to_string())?;
        Ok((number, theirs.into_fd()))
    }
}
