use super::*;
use crate::segment::SegmentPath;
use crate::segment::tests::{
    Scratch, as_other_user, assert_success, child_task, command_alone, listing, mode, run_alone,
    set_mode,
};
use crate::socket::{ConnectError, Polled};
use std::time::{Duration, Instant};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

// r[verify socket.listener]
#[test]
fn a_guest_reaches_its_host_and_both_know_each_other() {
    let scratch = Scratch::new();
    let (directory, lock) = scratch.locked();
    let listener = AttachListener::bind(&directory, &lock, SocketMode::Private).unwrap();
    assert_eq!(listing(scratch.path.as_path()), ["host.sock", "lock"]);
    assert_eq!(mode(&scratch.file(SOCKET)), 0o600);
    assert!(listener.try_accept().unwrap().is_none());
    let guest = AttachSocket::connect(&scratch.path, soon()).unwrap();
    guest.try_send(b"hello", &[directory.as_fd()]).unwrap();
    let host = listener.try_accept().unwrap().unwrap();
    let mut bytes = [0; 16];
    let received = host.try_receive(&mut bytes, 1).unwrap().unwrap();
    assert_eq!(&bytes[..received.length], b"hello");
    assert_eq!(received.descriptors.len(), 1);
    assert_eq!(received.credentials.pid, Some(std::process::id()));
    assert_eq!(guest.peer_credentials().unwrap().pid, Some(std::process::id()));
    for socket in [guest.as_fd(), host.as_fd(), listener.as_fd()] {
        let flags = rustix::io::fcntl_getfd(socket).unwrap();
        assert_eq!(flags, rustix::io::FdFlags::CLOEXEC);
    }
    drop(host);
    assert_eq!(guest.poll(soon()).unwrap(), Polled::Closed);
}

// r[verify socket.listener]
#[test]
fn a_socket_that_a_dead_host_left_is_replaced() {
    let scratch = Scratch::new();
    let (directory, lock) = scratch.locked();
    let dead = AttachListener::bind(&directory, &lock, SocketMode::Private).unwrap();
    std::fs::write(scratch.file(SOCKET_NEW), b"half made").unwrap();
    let live = AttachListener::bind(&directory, &lock, SocketMode::Private).unwrap();
    let guest = AttachSocket::connect(&scratch.path, soon()).unwrap();
    guest.send_byte(1).unwrap();
    assert!(dead.try_accept().unwrap().is_none());
    assert!(live.try_accept().unwrap().is_some());
    // It does not take the name of the one that came after it.
    drop(dead);
    AttachSocket::connect(&scratch.path, soon()).unwrap();
    drop(live);
    assert_eq!(listing(scratch.path.as_path()), ["lock"]);
}

// r[verify socket.listener]
#[test]
fn a_copy_in_another_process_removes_nothing() {
    let scratch = Scratch::new();
    let (directory, lock) = scratch.locked();
    let live = AttachListener::bind(&directory, &lock, SocketMode::Private).unwrap();
    let copy = AttachListener {
        socket: live.socket.try_clone().unwrap(),
        directory: live.directory.try_clone().unwrap(),
        inode: live.inode,
        spare: Mutex::new(None),
        maker: rustix::process::Pid::INIT,
    };
    drop(copy);
    AttachSocket::connect(&scratch.path, soon()).unwrap();
}

// r[verify socket.listener]
#[test]
fn guests_that_come_while_a_host_is_replaced_find_somebody_who_listens() {
    let scratch = Scratch::new();
    let (directory, lock) = scratch.locked();
    let bind = || AttachListener::bind(&directory, &lock, SocketMode::Private).unwrap();
    // The former ones stay open, so that whatever name a guest found leads to a live one.
    let mut listeners = vec![bind()];
    let connected = std::sync::atomic::AtomicU32::new(0);
    let ordering = std::sync::atomic::Ordering::SeqCst;
    std::thread::scope(|scope| {
        let guest = scope.spawn(|| {
            for _ in 0..300 {
                drop(AttachSocket::connect(&scratch.path, soon()).unwrap());
                connected.fetch_add(1, ordering);
            }
        });
        while !guest.is_finished() {
            if listeners.len() < 200 {
                listeners.push(bind());
            }
            for listener in &listeners {
                while listener.try_accept().unwrap().is_some() {}
            }
        }
        guest.join().unwrap();
    });
    assert_eq!(connected.load(ordering), 300);
    assert!(listeners.len() > 1);
}

// r[verify socket.listener]
// r[verify socket.credentials]
#[test]
fn what_was_sent_before_it_was_accepted_tells_its_sender() {
    const TEST: &str =
        "socket::listener::tests::what_was_sent_before_it_was_accepted_tells_its_sender";
    if child_task().is_some() {
        // As another program would, which asks for no credentials itself.
        rustix::net::send(std::io::stdin(), b"early", rustix::net::SendFlags::empty()).unwrap();
        return;
    }
    let scratch = Scratch::new();
    let (directory, lock) = scratch.locked();
    let listener = AttachListener::bind(&directory, &lock, SocketMode::Private).unwrap();
    let guest = new_socket().unwrap();
    let address = address(directory.as_fd(), SOCKET, &scratch.file(SOCKET)).unwrap();
    rustix::net::connect(&guest, &address).unwrap();
    let mut child = command_alone(TEST, "send", &[])
        .stdin(std::process::Stdio::from(guest))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    assert!(child.wait().unwrap().success());
    let host = listener.try_accept().unwrap().unwrap();
    let received = host.receive(&mut [0; 8], 0, soon()).unwrap();
    assert_eq!(received.credentials.pid, Some(child.id()));
    assert_eq!(host.peer_credentials().unwrap().pid, Some(std::process::id()));
}

// r[verify socket.no-descriptor-left]
#[test]
fn without_a_descriptor_left_guests_are_turned_away_one_by_one() {
    const TEST: &str =
        "socket::listener::tests::without_a_descriptor_left_guests_are_turned_away_one_by_one";
    if child_task().is_none() {
        return assert_success(&run_alone(TEST, "limit", &[]));
    }
    let scratch = Scratch::new();
    let (directory, lock) = scratch.locked();
    let listener = AttachListener::bind(&directory, &lock, SocketMode::Private).unwrap();
    let connect = || AttachSocket::connect(&scratch.path, soon()).unwrap();
    let guests = [connect(), connect()];
    let resource = rustix::process::Resource::Nofile;
    let maximum = rustix::process::getrlimit(resource).maximum;
    let allow = |count| {
        let limit = rustix::process::Rlimit { current: Some(count), maximum };
        rustix::process::setrlimit(resource, limit).unwrap();
    };
    // Not one more than are open now.
    let mut filling: Vec<OwnedFd> = Vec::new();
    allow(64);
    while let Ok(file) = rustix::io::fcntl_dupfd_cloexec(&directory, 0) {
        filling.push(file);
    }
    for guest in &guests {
        let refused = listener.try_accept().unwrap_err();
        assert_eq!(refused, AcceptError::NoDescriptor { source: Errno::MFILE });
        assert_eq!(guest.poll(soon()).unwrap(), Polled::Closed);
    }
    assert!(listener.try_accept().unwrap_err().to_string().contains("ulimit -n"));
    drop(filling);
    assert!(listener.try_accept().unwrap().is_none(), "nobody waits any more");
    let guest = connect();
    let host = listener.try_accept().unwrap().unwrap();
    guest.send_byte(1).unwrap();
    assert_eq!(host.poll(soon()).unwrap(), Polled::Readable);
}

// r[verify socket.long-path]
#[test]
fn a_path_longer_than_a_socket_address_works() {
    let scratch = Scratch::new();
    let long = scratch.above.path().join("a".repeat(150)).join("b".repeat(150)).join("segment");
    assert!(long.as_os_str().len() > 300);
    let path = SegmentPath::new(long).unwrap();
    let directory = SegmentDir::create_or_open(&path).unwrap();
    let lock = SegmentLock::try_lock(&directory).unwrap();
    let listener = AttachListener::bind(&directory, &lock, SocketMode::Private).unwrap();
    let guest = AttachSocket::connect(&path, soon()).unwrap();
    guest.try_send(b"hello", &[]).unwrap();
    let host = listener.try_accept().unwrap().unwrap();
    assert_eq!(host.receive(&mut [0; 8], 0, soon()).unwrap().length, 5);
    drop(listener);
    assert_eq!(listing(path.as_path()), ["lock"]);
}

// r[verify socket.listener]
#[test]
fn other_users_come_only_where_they_may() {
    let scratch = Scratch::new();
    set_mode(scratch.above.path(), 0o711);
    let (directory, lock) = scratch.locked();
    let private = AttachListener::bind(&directory, &lock, SocketMode::Private).unwrap();
    let refused = || AttachSocket::connect(&scratch.path, soon()).err();
    let Some(error) = as_other_user(refused) else { return };
    assert!(matches!(error, Some(ConnectError::NotPermitted { uid: 65534, .. })), "{error:?}");
    directory.allow_other_users().unwrap();
    let error = as_other_user(refused).unwrap();
    assert!(matches!(error, Some(ConnectError::NotPermitted { .. })), "{error:?}");
    drop(private);
    let shared = AttachListener::bind(&directory, &lock, SocketMode::Everybody).unwrap();
    assert_eq!(mode(&scratch.file(SOCKET)), 0o666);
    as_other_user(|| {
        let guest = AttachSocket::connect(&scratch.path, soon()).unwrap();
        guest.try_send(b"hello", &[]).unwrap();
    });
    let host = shared.try_accept().unwrap().unwrap();
    let received = host.try_receive(&mut [0; 8], 0).unwrap().unwrap();
    assert_eq!((received.credentials.uid, received.credentials.gid), (65534, 65534));
    assert_eq!(host.peer_credentials().unwrap().uid, 65534);
}
