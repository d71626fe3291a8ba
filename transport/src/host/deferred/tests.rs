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
