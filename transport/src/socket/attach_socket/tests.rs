use super::*;
use crate::segment::tests::{assert_success, can_unshare, child_task, command_alone};
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn file() -> OwnedFd {
    tempfile::tempfile().unwrap().into()
}

/// Whether all copies of what `file` was sent as are closed: they share a lock. A child that another
/// test starts at this moment has copies of everything until it runs its program.
fn only_copy(file: &OwnedFd) -> bool {
    let deadline = soon();
    while !is_free(file) {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

fn is_free(file: &OwnedFd) -> bool {
    let again = crate::segment::reopen(file, onecopy_shm::Access::ReadWrite).unwrap();
    let exclusive = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    rustix::fs::flock(&again, exclusive).is_ok()
}

/// Closes one end, and waits until no copy of it is left (see above).
fn close(one: AttachSocket, other: &AttachSocket) {
    drop(one);
    let deadline = soon();
    while !other.is_closed().unwrap() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A file locked through a copy of its descriptor that was sent and is ours no more.
fn sent_lock(from: &AttachSocket, count: usize) -> OwnedFd {
    let file = file();
    let again = crate::segment::reopen(&file, onecopy_shm::Access::ReadWrite).unwrap();
    rustix::fs::flock(&again, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    from.try_send(b"record", &vec![again.as_fd(); count]).unwrap();
    drop(again);
    assert!(!is_free(&file), "still on its way");
    file
}

// r[verify socket.records]
#[test]
fn records_keep_their_bounds_and_bring_descriptors() {
    let (one, other) = AttachSocket::pair().unwrap();
    let mut bytes = [0; 16];
    assert!(other.try_receive(&mut bytes, 0).unwrap().is_none());
    let (first, second) = (file(), file());
    rustix::io::pwrite(&second, b"second", 0).unwrap();
    one.try_send(b"ab", &[first.as_fd(), second.as_fd()]).unwrap();
    one.send(b"cde", &[], soon()).unwrap();
    let received = other.receive(&mut bytes, 2, soon()).unwrap();
    assert_eq!((&bytes[..received.length], received.descriptors.len()), (&b"ab"[..], 2));
    let mut content = [0; 6];
    rustix::io::pread(&received.descriptors[1], &mut content, 0).unwrap();
    assert_eq!(&content, b"second");
    for descriptor in &received.descriptors {
        let flags = rustix::io::fcntl_getfd(descriptor).unwrap();
        assert_eq!(flags, rustix::io::FdFlags::CLOEXEC);
    }
    let received = other.try_receive(&mut bytes, 0).unwrap().unwrap();
    assert_eq!(&bytes[..received.length], b"cde");
}

// r[verify socket.records]
#[test]
fn what_cannot_be_a_record_is_not_sent() {
    let (one, _other) = AttachSocket::pair().unwrap();
    assert_eq!(one.try_send(b"", &[]).unwrap_err(), SendError::Empty);
    let file = file();
    let many = vec![file.as_fd(); DESCRIPTORS_MAX + 1];
    let count = DESCRIPTORS_MAX + 1;
    assert_eq!(one.try_send(b"x", &many).unwrap_err(), SendError::TooManyDescriptors { count });
    let length = 64 << 20;
    let large = vec![0; length];
    assert_eq!(one.try_send(&large, &[]).unwrap_err(), SendError::TooLarge { length });
}

// r[verify socket.records]
// r[verify socket.no-leaked-descriptors]
#[test]
fn records_that_are_not_as_expected_are_refused_and_leak_nothing() {
    let (one, other) = AttachSocket::pair().unwrap();
    let file = sent_lock(&one, 3);
    let refused = other.try_receive(&mut [0; 16], 2).unwrap_err();
    assert_eq!(refused, ReceiveError::TooManyDescriptors { count: 3, max: 2 });
    assert!(only_copy(&file));

    let file = sent_lock(&one, 1);
    let refused = other.try_receive(&mut [0; 5], 1).unwrap_err();
    assert_eq!(refused, ReceiveError::TooLong { length: 6, max: 5 });
    assert!(only_copy(&file));

    // A byte was expected, and a record with descriptors came.
    let file = sent_lock(&one, 2);
    let refused = other.try_receive_byte().unwrap_err();
    assert_eq!(refused, ReceiveError::TooLong { length: 6, max: 1 });
    assert!(only_copy(&file));

    // A record of no bytes, which only another program sends.
    let sent = rustix::net::send(&one, &[], SendFlags::DONTWAIT).unwrap();
    assert_eq!(sent, 0);
    assert_eq!(other.try_receive(&mut [0; 5], 1).unwrap_err(), ReceiveError::Empty);

    // The record behind them is whole.
    one.try_send(b"after", &[]).unwrap();
    assert_eq!(other.receive(&mut [0; 5], 0, soon()).unwrap().length, 5);
}

// r[verify socket.no-leaked-descriptors]
#[test]
fn more_descriptors_than_any_record_brings_are_lost_loudly() {
    let (one, other) = AttachSocket::pair().unwrap();
    let file = file();
    let again = crate::segment::reopen(&file, onecopy_shm::Access::ReadWrite).unwrap();
    rustix::fs::flock(&again, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    // The kernel lets 253 through: send them as another program would.
    let many = vec![again.as_fd(); 253];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&many)));
    let bytes = [IoSlice::new(b"x")];
    rustix::net::sendmsg(&one, &bytes, &mut control, SendFlags::DONTWAIT).unwrap();
    drop(again);
    let refused = other.try_receive(&mut [0; 16], DESCRIPTORS_MAX).unwrap_err();
    assert_eq!(refused, ReceiveError::DescriptorsLost);
    assert!(only_copy(&file));
}

// r[verify socket.no-leaked-descriptors]
#[test]
fn no_room_for_descriptors_is_an_error() {
    const TEST: &str = "socket::attach_socket::tests::no_room_for_descriptors_is_an_error";
    if child_task().is_none() {
        return assert_success(&crate::segment::tests::run_alone(TEST, "limit", &[]));
    }
    let (one, other) = AttachSocket::pair().unwrap();
    let file = sent_lock(&one, 2);
    let resource = rustix::process::Resource::Nofile;
    let maximum = rustix::process::getrlimit(resource).maximum;
    let limit = |current| rustix::process::Rlimit { current: Some(current), maximum };
    rustix::process::setrlimit(resource, limit(1)).unwrap();
    let refused = other.try_receive(&mut [0; 16], 2).unwrap_err();
    rustix::process::setrlimit(resource, limit(256)).unwrap();
    assert_eq!(refused, ReceiveError::DescriptorsLost);
    assert!(only_copy(&file));
}

// r[verify socket.records]
// r[verify socket.wake-byte]
#[test]
fn a_full_socket_does_not_wait_beyond_the_deadline() {
    let (one, other) = AttachSocket::pair().unwrap();
    let mut sent = 0_u64;
    while one.try_send(b"record", &[]).is_ok() {
        sent += 1;
    }
    assert_eq!(one.try_send(b"record", &[]).unwrap_err(), SendError::Full);
    let now = Instant::now();
    assert_eq!(one.send(b"record", &[], now).unwrap_err(), SendError::TimedOut);
    let short = now + Duration::from_millis(30);
    assert_eq!(one.send(b"record", &[], short).unwrap_err(), SendError::TimedOut);
    assert!(Instant::now() >= short);
    one.send_byte(1).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| one.send(b"late", &[], soon()).unwrap());
        for _ in 0..sent {
            assert_eq!(other.receive(&mut [0; 16], 0, soon()).unwrap().length, 6);
        }
        assert_eq!(other.receive(&mut [0; 16], 0, soon()).unwrap().length, 4);
    });
    let short = Instant::now() + Duration::from_millis(30);
    assert_eq!(other.receive(&mut [0; 16], 0, short).unwrap_err(), ReceiveError::TimedOut);
    assert!(Instant::now() >= short);
}

// r[verify socket.wake-byte]
#[test]
fn bytes_wake_and_are_forgotten() {
    let (one, other) = AttachSocket::pair().unwrap();
    assert_eq!(other.try_receive_byte().unwrap(), WakeByte::Nothing);
    assert_eq!(other.drain().unwrap(), 0);
    one.send_byte(7).unwrap();
    one.send_byte(8).unwrap();
    assert_eq!(other.poll(soon()).unwrap(), Polled::Readable);
    assert_eq!(other.try_receive_byte().unwrap(), WakeByte::Byte(7));
    one.send_byte(9).unwrap();
    assert_eq!(other.drain().unwrap(), 2);
    assert_eq!(other.poll(Instant::now()).unwrap(), Polled::TimedOut);
    one.send_byte(1).unwrap();
    close(one, &other);
    assert_eq!(other.try_receive_byte().unwrap(), WakeByte::Byte(1));
    assert_eq!(other.try_receive_byte().unwrap(), WakeByte::Closed);
    assert_eq!(other.drain().unwrap_err(), ReceiveError::Closed);
    assert_eq!(other.send_byte(1).unwrap_err(), SendError::Closed);
    assert_eq!(other.try_send(b"x", &[]).unwrap_err(), SendError::Closed);
}

// r[verify socket.records]
// r[verify socket.poll]
#[test]
fn what_was_sent_before_closing_arrives_even_if_the_other_end_was_not_read() {
    let (one, other) = AttachSocket::pair().unwrap();
    assert!(!other.is_closed().unwrap());
    // Not read by `one`: the kernel then reports a reset first.
    other.try_send(b"question", &[]).unwrap();
    one.try_send(b"refused: full", &[]).unwrap();
    close(one, &other);
    assert!(other.is_closed().unwrap());
    assert_eq!(other.poll(soon()).unwrap(), Polled::Readable);
    let mut bytes = [0; 16];
    let received = other.receive(&mut bytes, 0, soon()).unwrap();
    assert_eq!(&bytes[..received.length], b"refused: full");
    assert_eq!(other.poll(soon()).unwrap(), Polled::Closed);
    assert_eq!(other.receive(&mut bytes, 0, soon()).unwrap_err(), ReceiveError::Closed);
    assert_eq!(other.try_receive(&mut bytes, 0).unwrap_err(), ReceiveError::Closed);

    // The same where nothing polled before.
    let (one, other) = AttachSocket::pair().unwrap();
    other.try_send(b"question", &[]).unwrap();
    one.try_send(b"answer", &[]).unwrap();
    one.send_byte(1).unwrap();
    close(one, &other);
    assert_eq!(other.try_receive(&mut bytes, 0).unwrap().unwrap().length, 6);
    assert_eq!(other.drain().unwrap_err(), ReceiveError::Closed);
}

// r[verify socket.poll]
#[test]
fn a_wait_ends_with_a_record_the_closing_or_the_deadline() {
    let (one, other) = AttachSocket::pair().unwrap();
    let short = Instant::now() + Duration::from_millis(30);
    assert_eq!(other.poll(short).unwrap(), Polled::TimedOut);
    assert!(Instant::now() >= short);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| other.poll(soon()).unwrap());
        one.send_byte(1).unwrap();
        assert_eq!(waiting.join().unwrap(), Polled::Readable);
        other.drain().unwrap();
        let waiting = scope.spawn(|| other.poll(soon()).unwrap());
        drop(one);
        assert_eq!(waiting.join().unwrap(), Polled::Closed);
    });
    // So long that the kernel has no number for it.
    let far = Instant::now() + Duration::from_secs(u64::MAX / 4);
    assert_eq!(other.poll(far).unwrap(), Polled::Closed);
}

// r[verify socket.pair]
#[test]
fn only_connected_sockets_of_records_are_taken() {
    let (one, other) = AttachSocket::pair().unwrap();
    let inherited = one.into_fd();
    rustix::io::fcntl_setfd(&inherited, rustix::io::FdFlags::empty()).unwrap();
    let one = AttachSocket::from_fd(inherited).unwrap();
    assert_eq!(rustix::io::fcntl_getfd(&one).unwrap(), rustix::io::FdFlags::CLOEXEC);
    one.send_byte(3).unwrap();
    assert_eq!(other.try_receive_byte().unwrap(), WakeByte::Byte(3));

    AttachSocket::from_fd(file()).unwrap_err();
    let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    AttachSocket::from_fd(stream.into()).unwrap_err();
    let lonely = crate::socket::listener::new_socket().unwrap();
    AttachSocket::from_fd(lonely).unwrap_err();
}

// r[verify socket.credentials]
#[test]
fn a_record_tells_its_sender_and_not_who_made_the_pair() {
    const TEST: &str =
        "socket::attach_socket::tests::a_record_tells_its_sender_and_not_who_made_the_pair";
    if child_task().is_some() {
        let own = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
        let socket = AttachSocket::from_fd(own).unwrap();
        return socket.try_send(b"here", &[]).unwrap();
    }
    let (host, guest) = AttachSocket::pair().unwrap();
    let own = host.peer_credentials().unwrap();
    assert_eq!(own.pid, Some(std::process::id()));
    let mut child = command_alone(TEST, "send", &[])
        .stdin(Stdio::from(guest.into_fd()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let received = host.receive(&mut [0; 16], 0, soon()).unwrap();
    assert_eq!(received.credentials.pid, Some(child.id()));
    assert_eq!((received.credentials.uid, received.credentials.gid), (own.uid, own.gid));
    assert!(child.wait().unwrap().success());
    assert_eq!(host.poll(soon()).unwrap(), Polled::Closed);
}

// r[verify socket.credentials]
#[test]
fn a_sender_that_has_no_process_id_here_is_no_error() {
    const TEST: &str =
        "socket::attach_socket::tests::a_sender_that_has_no_process_id_here_is_no_error";
    if child_task().is_some() {
        let own = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
        let socket = AttachSocket::from_fd(own).unwrap();
        let mut bytes = [0; 16];
        let received = socket.receive(&mut bytes, 0, soon()).unwrap();
        assert_eq!(&bytes[..received.length], b"from outside");
        assert_eq!(received.credentials.pid, None);
        assert_eq!(received.credentials.uid, rustix::process::geteuid().as_raw());
        assert_eq!(socket.peer_credentials().unwrap().pid, None);
        return;
    }
    let options = ["-p", "-f", "--mount-proc"];
    if !can_unshare(&options) {
        return;
    }
    let (outside, inside) = AttachSocket::pair().unwrap();
    outside.try_send(b"from outside", &[]).unwrap();
    let before: Vec<&str> = ["unshare"].into_iter().chain(options).collect();
    let output = command_alone(TEST, "receive", &before)
        .stdin(Stdio::from(inside.into_fd()))
        .output()
        .unwrap();
    assert_success(&output);
}

// r[verify socket.credentials]
#[test]
fn without_recorded_credentials_those_of_the_connection_stand_in() {
    // Neither end asks for credentials when this is sent, so none are recorded.
    let kind = SocketType::SEQPACKET;
    let made = rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
    let (one, other) = made.unwrap();
    rustix::net::send(&one, b"early", SendFlags::DONTWAIT).unwrap();
    let other = AttachSocket::from_fd(other).unwrap();
    let received = other.receive(&mut [0; 16], 0, soon()).unwrap();
    assert_eq!(received.credentials, other.peer_credentials().unwrap());
    assert_eq!(received.credentials.pid, Some(std::process::id()));
}

#[test]
fn the_pidfd_of_the_other_end_is_given_by_the_kernel() {
    let (one, _other) = AttachSocket::pair().unwrap();
    match one.peer_pidfd().unwrap() {
        Some(pidfd) => assert_eq!(pidfd.pid().unwrap(), Some(std::process::id())),
        None => {
            writeln!(std::io::stdout(), "skipped: this kernel gives no pidfd of a peer").unwrap();
        }
    }
}
