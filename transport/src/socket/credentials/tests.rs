use super::*;

fn raw(pid: i32, uid: u32, gid: u32) -> RawCredentials {
    RawCredentials { pid, uid, gid }
}

// r[verify socket.credentials]
#[test]
fn a_process_id_of_zero_is_none_here() {
    let seen = Credentials::of_record(raw(0, 1000, 100)).unwrap();
    assert_eq!(seen, Credentials { pid: None, uid: 1000, gid: 100 });
    assert_eq!(Credentials::of_connection(raw(-1, 7, 8)).pid, None);
    assert_eq!(Credentials::of_record(raw(5, ID_OVERFLOW, ID_OVERFLOW)).unwrap().pid, Some(5));
    assert_eq!(Credentials::of_record(raw(0, ID_OVERFLOW, ID_OVERFLOW)), None);
}

// r[verify socket.allowed]
#[test]
fn only_the_own_user_and_who_is_listed_may_attach() {
    let own = rustix::process::geteuid().as_raw();
    let credentials = |uid, gid| Credentials { pid: Some(1), uid, gid };
    let nobody = Allowed::default();
    assert!(!nobody.others());
    nobody.check(&credentials(own, 12345)).unwrap();
    let refused = nobody.check(&credentials(own + 1, 12345)).unwrap_err();
    assert_eq!(refused, NotAllowed { uid: own + 1, gid: 12345 });
    let listed = Allowed { uids: vec![own + 1], gids: vec![12345] };
    assert!(listed.others());
    listed.check(&credentials(own + 1, 1)).unwrap();
    listed.check(&credentials(own + 2, 12345)).unwrap();
    listed.check(&credentials(own + 2, 1)).unwrap_err();
    // 65534 may be anybody from another user namespace.
    let careless = Allowed { uids: vec![ID_OVERFLOW], gids: vec![ID_OVERFLOW] };
    careless.check(&credentials(ID_OVERFLOW, ID_OVERFLOW)).unwrap_err();
}
