use super::*;
use crate::segment::SegmentPath;
use crate::socket::Polled;
use std::time::{Duration, Instant};

#[test]
fn a_guest_reaches_its_host_and_both_know_each_other() {
    let above = tempfile::tempdir().unwrap();
    let path = SegmentPath::new(above.path().join("segment")).unwrap();
    let directory = SegmentDir::create_or_open(&path).unwrap();
    let lock = SegmentLock::try_lock(&directory).unwrap();
    let listener = AttachListener::bind(&directory, &lock, SocketMode::Private).unwrap();
    assert!(listener.try_accept().unwrap().is_none());
    let deadline = Instant::now() + Duration::from_secs(10);
    let guest = AttachSocket::connect(&path, deadline).unwrap();
    let host = listener.try_accept().unwrap().unwrap();
    guest.try_send(b"hello", &[directory.as_fd()]).unwrap();
    let mut bytes = [0; 16];
    let received = host.try_receive(&mut bytes, 1).unwrap().unwrap();
    assert_eq!(&bytes[..received.length], b"hello");
    assert_eq!(received.descriptors.len(), 1);
    assert_eq!(received.credentials.pid, Some(std::process::id()));
    drop(host);
    assert_eq!(guest.poll(deadline).unwrap(), Polled::Closed);
}
