use super::*;
use crate::segment::AreaFile;
use crate::segment::tests::Scratch;
use crate::socket::{AttachListener, SocketMode};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn refused(scratch: &Scratch) -> ConnectError {
    AttachSocket::connect(&scratch.path, soon()).unwrap_err()
}

/// Waits for the error that comes once a listening socket is closed everywhere: a child that another
/// test starts at this moment has a copy of it until it runs its program.
#[track_caller]
fn assert_no_host(scratch: &Scratch) {
    let expected = Some(ConnectError::NoHost { path: scratch.path.as_path().to_owned() });
    let deadline = soon();
    loop {
        let refused = AttachSocket::connect(&scratch.path, deadline).err();
        if refused == expected || Instant::now() >= deadline {
            return assert_eq!(refused, expected);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

// r[verify socket.connect]
#[test]
fn nothing_something_else_and_no_host_are_told_apart() {
    let scratch = Scratch::new();
    let path = scratch.path.as_path().to_owned();
    assert_eq!(refused(&scratch), ConnectError::NoSegment { path: path.clone() });

    std::fs::write(&path, b"a file").unwrap();
    let text = refused(&scratch).to_string();
    assert!(text.ends_with("is no segment: it is a regular file"), "{text}");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/", &path).unwrap();
    let text = refused(&scratch).to_string();
    assert!(text.ends_with("is no segment: it is a symbolic link"), "{text}");
    std::fs::remove_file(&path).unwrap();

    let (directory, lock) = scratch.locked();
    let text = refused(&scratch).to_string();
    assert!(text.ends_with("it is a directory without control"), "{text}");
    drop(directory.create_file(AreaFile::Control).unwrap());
    assert_eq!(refused(&scratch), ConnectError::NoHost { path: path.clone() });

    std::fs::write(scratch.file(SOCKET), b"").unwrap();
    let text = refused(&scratch).to_string();
    assert!(text.ends_with("a directory where host.sock is a regular file"), "{text}");
    std::fs::remove_file(scratch.file(SOCKET)).unwrap();
    let stream = std::os::unix::net::UnixListener::bind(scratch.file(SOCKET)).unwrap();
    let text = refused(&scratch).to_string();
    assert!(text.ends_with("host.sock is another kind of socket"), "{text}");
    drop(stream);
    assert_no_host(&scratch);

    // A host that was killed leaves its socket behind.
    let listener = AttachListener::bind(&directory, &lock, SocketMode::Private).unwrap();
    std::fs::rename(scratch.file(SOCKET), scratch.file("kept")).unwrap();
    drop(listener);
    std::fs::rename(scratch.file("kept"), scratch.file(SOCKET)).unwrap();
    assert_no_host(&scratch);
}

// r[verify socket.connect]
#[test]
fn where_too_many_wait_a_guest_waits_until_its_deadline_or_its_turn() {
    let scratch = Scratch::new();
    let (directory, lock) = scratch.locked();
    let listener = AttachListener::bind(&directory, &lock, SocketMode::Private).unwrap();
    let mut waiting = Vec::new();
    let refused = loop {
        match AttachSocket::connect(&scratch.path, Instant::now()) {
            Ok(guest) => waiting.push(guest),
            Err(error) => break error,
        }
    };
    let path = scratch.path.as_path().to_owned();
    assert_eq!(refused, ConnectError::TimedOut { path });
    assert!(!waiting.is_empty());
    let short = Instant::now() + Duration::from_millis(30);
    let refused = AttachSocket::connect(&scratch.path, short).unwrap_err();
    assert!(matches!(refused, ConnectError::TimedOut { .. }), "{refused}");
    assert!(Instant::now() >= short);
    std::thread::scope(|scope| {
        let late = scope.spawn(|| AttachSocket::connect(&scratch.path, soon()));
        std::thread::sleep(Duration::from_millis(5));
        for _ in 0..waiting.len() {
            assert!(listener.try_accept().unwrap().is_some());
        }
        late.join().unwrap().unwrap();
    });
}
