//! One end of the socket between a host and a guest. Records keep their bounds.

use super::credentials::Credentials;
use super::error::{ReceiveError, SendError, SocketError};
use crate::process::Pidfd;
use onecopy_shm::sys_socket::{DESCRIPTORS_MAX, peer_credentials, peer_pidfd, receive_record};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::{Errno, IoSlice};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType,
};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

/// A record that was received.
#[derive(Debug)]
pub struct Received {
    /// Bytes written to the start of the caller's memory; at least 1.
    pub length: usize,
    /// Descriptors that came along, close-on-exec.
    pub descriptors: Vec<OwnedFd>,
    /// Who sent it; or who made the connection, where the kernel recorded no sender.
    pub credentials: Credentials,
}

/// What [`AttachSocket::poll`] saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// There is a record.
    Readable,
    /// The other end is closed and nothing is left to receive.
    Closed,
    /// The deadline passed.
    TimedOut,
}

/// What [`AttachSocket::try_receive_byte`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeByte {
    /// A byte.
    Byte(u8),
    /// Nothing at the moment.
    Nothing,
    /// The other end is closed and nothing is left to receive.
    Closed,
}

/// One end of a connected socket of whole records (`SOCK_SEQPACKET`). No method waits in the kernel
/// beyond its deadline, whatever the flags of the descriptor say.
#[derive(Debug)]
pub struct AttachSocket(OwnedFd);

impl AttachSocket {
    /// Two ends that are connected with each other, both close-on-exec.
    // r[impl socket.pair]
    pub fn pair() -> Result<(AttachSocket, AttachSocket), SocketError> {
        let made = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        );
        let (one, other) = made.map_err(SocketError::on("make a pair of sockets"))?;
        // Both before anybody can send: the sender's credentials are recorded when it sends.
        Ok((AttachSocket::new(one)?, AttachSocket::new(other)?))
    }

    /// Takes a descriptor that came from elsewhere (an inherited one, say), after looking that it is
    /// a connected Unix socket of whole records.
    // r[impl socket.pair]
    pub fn from_fd(descriptor: OwnedFd) -> Result<AttachSocket, SocketError> {
        use rustix::net::sockopt::{socket_domain, socket_type};
        let refused = SocketError::on("use the descriptor as an attach socket");
        let is_unix = socket_domain(&descriptor).map_err(&refused)? == AddressFamily::UNIX;
        let is_records = socket_type(&descriptor).map_err(&refused)? == SocketType::SEQPACKET;
        if !is_unix || !is_records {
            return Err(refused(Errno::PROTOTYPE));
        }
        rustix::net::getpeername(&descriptor).map_err(&refused)?;
        let flags = rustix::io::FdFlags::CLOEXEC;
        rustix::io::fcntl_setfd(&descriptor, flags).map_err(&refused)?;
        AttachSocket::new(descriptor)
    }

    /// A socket that asks for the credentials of who sends.
    pub(super) fn new(descriptor: OwnedFd) -> Result<AttachSocket, SocketError> {
        rustix::net::sockopt::set_socket_passcred(&descriptor, true)
            .map_err(SocketError::on("ask a socket for credentials"))?;
        Ok(AttachSocket(descriptor))
    }

    /// Sends one record of at least one byte, or says why not at once. The descriptors stay ours.
    // r[impl socket.records]
    pub fn try_send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), SendError> {
        if bytes.is_empty() {
            return Err(SendError::Empty);
        }
        let count = descriptors.len();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if count > DESCRIPTORS_MAX
            || (count > 0 && !control.push(SendAncillaryMessage::ScmRights(descriptors)))
        {
            return Err(SendError::TooManyDescriptors { count });
        }
        loop {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, flags) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(send_error(errno, bytes.len())),
            }
        }
    }

    /// Sends one record, waiting for room until the deadline.
    pub fn send(
        &self,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
        deadline: Instant,
    ) -> Result<(), SendError> {
        loop {
            match self.try_send(bytes, descriptors) {
                Err(SendError::Full) => {}
                result => return result,
            }
            if Instant::now() >= deadline {
                return Err(SendError::TimedOut);
            }
            self.wait_for(PollFlags::OUT, deadline)?;
        }
    }

    /// Receives one record if there is one. More bytes than fit or more descriptors than
    /// `descriptors_max` are an error, and the record is gone.
    // r[impl socket.records]
    // r[impl socket.no-leaked-descriptors]
    pub fn try_receive(
        &self,
        bytes: &mut [u8],
        descriptors_max: usize,
    ) -> Result<Option<Received>, ReceiveError> {
        let record = loop {
            match receive_record(&self.0, bytes) {
                Ok(record) => break record,
                // RESET is told once, when the other end closed without reading all we sent; what
                // it sent before is still there.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(source) => return Err(SocketError::on("receive a record")(source).into()),
            }
        };
        if record.length == 0 {
            // The end brings nothing; a record of no bytes brings the credentials of who sent it.
            let is_end = record.credentials.is_none() && record.descriptors.is_empty();
            return Err(if is_end { ReceiveError::Closed } else { ReceiveError::Empty });
        }
        if record.bytes_cut {
            let length = record.length;
            return Err(ReceiveError::TooLong { length, max: bytes.len() });
        }
        if record.control_cut {
            return Err(ReceiveError::DescriptorsLost);
        }
        let count = record.descriptors.len();
        if count > descriptors_max {
            return Err(ReceiveError::TooManyDescriptors { count, max: descriptors_max });
        }
        let credentials = match record.credentials.and_then(Credentials::of_record) {
            Some(credentials) => credentials,
            None => self.peer_credentials()?,
        };
        let descriptors = record.descriptors;
        Ok(Some(Received { length: record.length, descriptors, credentials }))
    }

    /// Receives one record, waiting for it until the deadline.
    pub fn receive(
        &self,
        bytes: &mut [u8],
        descriptors_max: usize,
        deadline: Instant,
    ) -> Result<Received, ReceiveError> {
        loop {
            if let Some(received) = self.try_receive(bytes, descriptors_max)? {
                return Ok(received);
            }
            if Instant::now() >= deadline {
                return Err(ReceiveError::TimedOut);
            }
            self.wait_for(PollFlags::IN, deadline)?;
        }
    }

    /// Sends one byte to wake the other end. A full socket is no error: then it has something to
    /// wake up for already.
    // r[impl socket.wake-byte]
    pub fn send_byte(&self, byte: u8) -> Result<(), SendError> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            match rustix::net::send(&self.0, &[byte], flags) {
                Ok(_) | Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(send_error(errno, 1)),
            }
        }
    }

    /// Receives one byte if there is one, in one system call. A longer record is an error, and
    /// gone, with whatever descriptors it brought.
    // r[impl socket.wake-byte]
    pub fn try_receive_byte(&self) -> Result<WakeByte, ReceiveError> {
        let mut byte = [0_u8; 1];
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        loop {
            return match rustix::net::recv(&self.0, &mut byte, flags) {
                Ok((_, 1)) => Ok(WakeByte::Byte(byte[0])),
                Ok((_, 0)) => Ok(WakeByte::Closed),
                Ok((_, length)) => Err(ReceiveError::TooLong { length, max: 1 }),
                Err(Errno::INTR | Errno::CONNRESET) => continue,
                Err(Errno::AGAIN) => Ok(WakeByte::Nothing),
                Err(source) => Err(SocketError::on("receive a byte")(source).into()),
            };
        }
    }

    /// Receives all bytes that are there and forgets them.
    pub fn drain(&self) -> Result<u64, ReceiveError> {
        let mut count = 0;
        loop {
            match self.try_receive_byte()? {
                WakeByte::Byte(_) => count += 1,
                WakeByte::Nothing => return Ok(count),
                WakeByte::Closed => return Err(ReceiveError::Closed),
            }
        }
    }

    /// Waits until there is a record, the other end is closed or the deadline passes. A deadline in
    /// the past looks once.
    // r[impl socket.poll]
    pub fn poll(&self, deadline: Instant) -> Result<Polled, SocketError> {
        let seen = self.wait_for(PollFlags::IN, deadline)?;
        if seen.intersects(PollFlags::HUP | PollFlags::ERR) {
            return self.poll_closed();
        }
        Ok(if seen.contains(PollFlags::IN) { Polled::Readable } else { Polled::TimedOut })
    }

    /// A closed socket is always readable: looks whether anything is left in it.
    fn poll_closed(&self) -> Result<Polled, SocketError> {
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK | RecvFlags::TRUNC;
        loop {
            return match rustix::net::recv(&self.0, &mut [0_u8; 1], flags) {
                Ok((_, 0)) | Err(Errno::AGAIN) => Ok(Polled::Closed),
                Ok(_) => Ok(Polled::Readable),
                Err(Errno::INTR | Errno::CONNRESET) => continue,
                Err(source) => Err(SocketError::on("look into a socket")(source)),
            };
        }
    }

    /// Whether the other end is closed; something it sent before may still be there.
    pub fn is_closed(&self) -> Result<bool, SocketError> {
        let seen = self.wait_for(PollFlags::empty(), Instant::now())?;
        Ok(seen.intersects(PollFlags::HUP | PollFlags::ERR))
    }

    /// Whether the other end is known to be closed: false where the system has no memory to say.
    pub(crate) fn is_known_closed(&self) -> bool {
        self.is_closed() == Ok(true)
    }

    fn wait_for(&self, events: PollFlags, deadline: Instant) -> Result<PollFlags, SocketError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // A deadline too far away for the kernel is none.
            let timeout = Timespec::try_from(left).ok();
            let mut polled = [PollFd::new(&self.0, events)];
            match rustix::event::poll(&mut polled, timeout.as_ref()) {
                Ok(_) => return Ok(polled[0].revents()),
                Err(Errno::INTR) => {}
                Err(source) => return Err(SocketError::on("wait for a socket")(source)),
            }
        }
    }

    /// Who made the connection (or the pair).
    pub fn peer_credentials(&self) -> Result<Credentials, SocketError> {
        let raw = peer_credentials(&self.0)
            .map_err(SocketError::on("ask who is at the other end of a socket"))?;
        Ok(Credentials::of_connection(raw))
    }

    /// A pidfd of the process that made the connection (or the pair); `None` where the kernel
    /// cannot give one (before Linux 6.5) or the process is gone.
    pub fn peer_pidfd(&self) -> Result<Option<Pidfd>, SocketError> {
        match peer_pidfd(&self.0) {
            Ok(descriptor) => Ok(Pidfd::from_fd(descriptor).ok()),
            Err(Errno::NOPROTOOPT | Errno::SRCH | Errno::NODATA | Errno::INVAL) => Ok(None),
            Err(source) => Err(SocketError::on("ask for the pidfd of a socket's peer")(source)),
        }
    }

    /// Gives the descriptor away, for a child to inherit.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }
}

impl AsFd for AttachSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn send_error(errno: Errno, length: usize) -> SendError {
    match errno {
        Errno::AGAIN | Errno::NOBUFS => SendError::Full,
        Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => SendError::Closed,
        Errno::MSGSIZE => SendError::TooLarge { length },
        Errno::TOOMANYREFS => SendError::TooManyInFlight,
        source => SocketError::on("send a record")(source).into(),
    }
}

#[cfg(test)]
mod tests;
