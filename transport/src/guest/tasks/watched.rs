#![expect(unsafe_code, reason = "registers the attach socket with the runtime")]
//! The attach socket, as the runtime watches it.

use crate::socket::AttachSocket;
use rustix::fd::{AsFd, OwnedFd};
use std::io;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Has the runtime that this is called in say when the socket can be read. It watches a descriptor of its
/// own: another driver of the same guest may not be gone yet.
pub(super) fn watch(socket: &AttachSocket) -> io::Result<AsyncFd<OwnedFd>> {
    let watched = socket.as_fd().try_clone_to_owned()?;
    // SAFETY: what is registered owns the descriptor and lends it to nobody, so that it stays open, the
    // same and of the same file description until the registration ends.
    let registered = unsafe { AsyncFd::register_with_interest(watched, Interest::READABLE) };
    Ok(registered?)
}
