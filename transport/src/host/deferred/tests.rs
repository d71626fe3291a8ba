use super::*;
use crate::format::Role;
use crate::host::peer::ProcessName;

// r[verify peer.settle-allowed]
#[test]
fn only_the_hosts_user_and_root_may_settle() {
    let own = rustix::process::geteuid().as_raw();
    let settle = Settle::new(7, Settlement::WriteOff, Duration::from_secs(90 * 24 * 3600));
    let ask = |uid| {
        let process = ProcessName { pid: 1, inode: 1 };
        let who = Who { serial: 1, row: 0, role: Role::Reader, process, uid, lease_serial: 1 };
        asked_to_settle(&who, settle.as_bytes())
    };
    for uid in [own, 0] {
        let Ok(Asked::Settle { serial, how, patience }) = ask(uid) else {
            panic!("user {uid} is refused")
        };
        assert_eq!((serial, how, patience), (7, Settlement::WriteOff, PATIENCE_MAX));
    }
    let uid = own.wrapping_add(1000);
    let refused = SettleError::NotAllowed { uid: uid.into(), expected: own.into() };
    assert_eq!(ask(uid).unwrap_err(), RequestError::Settle(refused));
}

// r[verify link.requests_quota]
#[test]
fn who_waits_for_a_peer_to_end_waits_at_the_host() {
    use crate::guest::{Guest, GuestOptions};
    use crate::host::tests::host_at;
    let base = tempfile::tempdir().unwrap();
    let mut host = host_at(&base, Duration::from_millis(10));
    let segment = host.segment().to_owned();
    let attach = std::thread::spawn(move || Guest::attach(GuestOptions::at(segment)).unwrap());
    while !attach.is_finished() {
        host.look(Duration::from_millis(1)).unwrap();
    }
    let guest = attach.join().unwrap();
    let who = host.peers[0].who;
    let far = Instant::now() + Duration::from_secs(3600);
    host.core.options.requests_max = 3;
    for request_id in 1..=3 {
        host.core.check_requests(who.serial).unwrap();
        let asker = Asker::Guest { serial: who.serial, request_id };
        host.core.settling.push(Settling::new(99, Settlement::Kill, asker, far));
    }
    let refused = host.core.check_requests(who.serial).unwrap_err();
    assert_eq!(refused, crate::wire::QuotaError::Requests { in_flight: 3, requests_max: 3 });
    assert_eq!(host.core.check_requests(who.serial + 1), Ok(()), "each has a quota of its own");
    // Nobody is left to be told.
    host.part_with(&who);
    assert!(host.core.settling.is_empty());
    drop(guest);
}
