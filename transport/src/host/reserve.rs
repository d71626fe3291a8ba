//! Reserve, spawn, claim: a peer for a child process that gets its socket by inheritance.

use super::handle::{Command, HostHandle};
use super::inherit::inherit_in;
use crate::guest::ATTACH_FD_VARIABLE;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command as Process};
use std::sync::Arc;
use thiserror::Error;

/// Why a reserved guest could not be spawned. The reservation is freed.
#[derive(Debug, Error)]
#[error("{program} could not be started: {source}")]
pub struct SpawnError {
    /// The program.
    pub program: String,
    /// What the system said.
    pub source: std::io::Error,
}

/// A place for one guest that is still to be spawned. Dropping it frees the place.
#[derive(Debug)]
pub struct PeerReservation {
    number: u32,
    socket: Option<OwnedFd>,
    handle: HostHandle,
}

impl PeerReservation {
    pub(super) fn new(number: u32, socket: OwnedFd, handle: HostHandle) -> Self {
        PeerReservation { number, socket: Some(socket), handle }
    }

    /// Starts the program with the socket inherited; it claims its place by
    /// `Guest::claim_from_environment`. A child that dies before it does frees the place. The same
    /// `Command` starts no second program.
    ///
    /// # Errors
    /// [`SpawnError`] when the program cannot be started.
    pub fn spawn(mut self, program: &mut Process) -> Result<Child, SpawnError> {
        let name = program.get_program().to_string_lossy().into_owned();
        let Some(socket) = self.socket.take() else {
            let source = std::io::Error::other("the reservation's socket is gone");
            return Err(SpawnError { program: name, source });
        };
        program.env(ATTACH_FD_VARIABLE, socket.as_raw_fd().to_string());
        // Once this process has closed its copy, the end of the child is the end of the place.
        let socket = Arc::new(socket);
        let spawned = inherit_in(program, &socket).spawn();
        spawned.map_err(|source| SpawnError { program: name, source })
    }

    /// The guest's end of the socket, to be claimed in this process or handed on by other means.
    pub fn into_socket(mut self) -> Option<OwnedFd> {
        self.socket.take()
    }
}

impl Drop for PeerReservation {
    // r[impl attach.reservation]
    fn drop(&mut self) {
        if self.socket.is_some() {
            // A host that has ended holds no place either.
            let _ = self.handle.send(Command::CancelReservation(self.number));
        }
    }
}
