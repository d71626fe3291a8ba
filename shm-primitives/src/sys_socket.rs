#![expect(unsafe_code, reason = "control data of sockets that rustix's types cannot hold")]
//! Credentials and descriptors that come with a record on a Unix socket.
//!
//! rustix reads credentials into a type whose process id is never 0. The kernel does send 0, for a
//! sender outside the receiver's PID namespace, so these calls are made here, through libc.

use rustix::io::Errno;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Most descriptors that one record may bring.
pub const DESCRIPTORS_MAX: usize = 16;

// SO_PEERPIDFD of asm-generic/socket.h (Linux 6.5); libc does not name it for every target.
const SO_PEERPIDFD: libc::c_int = 77;

// SAFETY: CMSG_SPACE only computes with its argument.
const RIGHTS_SPACE: usize =
    unsafe { libc::CMSG_SPACE((DESCRIPTORS_MAX * size_of::<libc::c_int>()) as u32) } as usize;
// SAFETY: as above.
const CREDENTIALS_SPACE: usize =
    unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as u32) } as usize;

/// Room for the control data of one record, aligned as `cmsghdr` wants it.
#[repr(C, align(8))]
struct ControlRoom([u8; RIGHTS_SPACE + CREDENTIALS_SPACE]);

/// Who sent a record or made a connection, as the kernel tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawCredentials {
    /// Process id in our PID namespace; 0 where it has none there.
    pub pid: i32,
    /// User id, 65534 where it has none in our user namespace.
    pub uid: u32,
    /// Group id, 65534 where it has none in our user namespace.
    pub gid: u32,
}

impl From<libc::ucred> for RawCredentials {
    fn from(ucred: libc::ucred) -> Self {
        RawCredentials { pid: ucred.pid, uid: ucred.uid, gid: ucred.gid }
    }
}

/// What [`receive_record`] found. Dropping it closes the descriptors.
#[derive(Debug)]
pub struct RawRecord {
    /// Length of the record as it was sent, in bytes; larger than the buffer if it was cut.
    pub length: usize,
    /// Whether the record did not fit the buffer.
    pub bytes_cut: bool,
    /// Whether control data was cut: too many descriptors, or no room for them in this process.
    pub control_cut: bool,
    /// The descriptors that came along, all close-on-exec.
    pub descriptors: Vec<OwnedFd>,
    /// Credentials of the sender, if the socket asks for them.
    pub credentials: Option<RawCredentials>,
}

/// Receives one record without waiting: `AGAIN` where none is there.
pub fn receive_record(socket: impl AsFd, bytes: &mut [u8]) -> Result<RawRecord, Errno> {
    let mut room = ControlRoom([0; RIGHTS_SPACE + CREDENTIALS_SPACE]);
    let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: msghdr is plain data, for which all zeroes is a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = room.0.as_mut_ptr().cast();
    header.msg_controllen = room.0.len() as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC | libc::MSG_TRUNC;
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: the header names `vector`, which names `bytes`, and `room`; all three outlive the call
    // and are mutably ours.
    let length = check(unsafe { libc::recvmsg(socket, &raw mut header, flags) })?;
    let (descriptors, credentials) = read_control(&header);
    Ok(RawRecord {
        length,
        bytes_cut: header.msg_flags & libc::MSG_TRUNC != 0,
        control_cut: header.msg_flags & libc::MSG_CTRUNC != 0,
        descriptors,
        credentials,
    })
}

/// Takes ownership of all that the kernel put into the control room of `header`, which must come
/// from a successful `recvmsg` just now.
fn read_control(header: &libc::msghdr) -> (Vec<OwnedFd>, Option<RawCredentials>) {
    let mut descriptors = Vec::new();
    let mut credentials = None;
    // SAFETY: the kernel left msg_control and msg_controllen naming well-formed control data.
    let mut current = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !current.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give null or a whole header within the room, which
        // is aligned for it.
        let part = unsafe { current.read() };
        // SAFETY: CMSG_DATA only adds the size of the header to the pointer.
        let data = unsafe { libc::CMSG_DATA(current) };
        let length = (part.cmsg_len as usize).saturating_sub(data.addr() - current.addr());
        match (part.cmsg_level, part.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                for number in 0..length / size_of::<libc::c_int>() {
                    // SAFETY: `number` is below the count of whole descriptors in this part.
                    let place = unsafe { data.cast::<libc::c_int>().add(number) };
                    // SAFETY: `place` lies within the part's data, see above.
                    let descriptor = unsafe { place.read_unaligned() };
                    // SAFETY: the kernel just made this descriptor for us; nobody else owns it.
                    descriptors.push(unsafe { OwnedFd::from_raw_fd(descriptor) });
                }
            }
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if length >= size_of::<libc::ucred>() => {
                // SAFETY: the part holds a whole ucred, plain data in which any bits are a value.
                let ucred = unsafe { data.cast::<libc::ucred>().read_unaligned() };
                credentials = Some(ucred.into());
            }
            _ => {}
        }
        // SAFETY: `current` is a header of the control data that `header` names.
        current = unsafe { libc::CMSG_NXTHDR(header, current) };
    }
    (descriptors, credentials)
}

/// Credentials of the process that made the connection (or the pair).
pub fn peer_credentials(socket: impl AsFd) -> Result<RawCredentials, Errno> {
    let mut ucred = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    let socket = socket.as_fd().as_raw_fd();
    let place = (&raw mut ucred).cast();
    // SAFETY: `place` has room for `length` bytes of plain data, and both outlive the call.
    check(unsafe {
        libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_PEERCRED, place, &raw mut length)
    } as isize)?;
    Ok(ucred.into())
}

/// A pidfd of the process that made the connection (or the pair). `NOPROTOOPT` before Linux 6.5.
pub fn peer_pidfd(socket: impl AsFd) -> Result<OwnedFd, Errno> {
    let mut descriptor: libc::c_int = -1;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    let socket = socket.as_fd().as_raw_fd();
    let place = (&raw mut descriptor).cast();
    // SAFETY: `place` has room for `length` bytes of plain data, and both outlive the call.
    check(unsafe {
        libc::getsockopt(socket, libc::SOL_SOCKET, SO_PEERPIDFD, place, &raw mut length)
    } as isize)?;
    if descriptor < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: the call succeeded, so the kernel made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The result of a libc call: the value, or what errno says.
fn check(result: isize) -> Result<usize, Errno> {
    usize::try_from(result)
        .map_err(|_| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}
