use super::*;
use crate::segment::SegmentPath;
use crate::segment::tests::{Scratch, as_other_user, listing, mode, set_mode};
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
        maker: rustix::process::Pid::INIT,
    };
    drop(copy);
    AttachSocket::connect(&scratch.path, soon()).unwrap();
}

// r[verify socket.listener]
#[test]
fn guests_that_come_while_a_host_is_replaced_never_meet_a_dead_socket() {
    let scratch = Scratch::new();
    let (directory, lock) = scratch.locked();
    let mut live = AttachListener::bind(&directory, &lock, SocketMode::Private).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let ordering = std::sync::atomic::Ordering::SeqCst;
    std::thread::scope(|scope| {
        let guest = scope.spawn(|| {
            let mut connected = 0;
            while !stop.load(ordering) {
                match AttachSocket::connect(&scratch.path, soon()) {
                    Ok(_) => connected += 1,
                    // The former socket, closed between our finding it and our connecting.
                    Err(ConnectError::NoHost { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            connected
        });
        for _ in 0..200 {
            // The new one is there before the former goes.
            live = AttachListener::bind(&directory, &lock, SocketMode::Private).unwrap();
            assert!(scratch.file(SOCKET).exists());
            while live.try_accept().unwrap().is_some() {}
        }
        stop.store(true, ordering);
        assert!(guest.join().unwrap() > 0);
    });
    drop(live);
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
