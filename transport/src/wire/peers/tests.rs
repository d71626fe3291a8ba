use super::*;

fn peer(suspected: Option<SuspectInfo>) -> PeerInfo {
    PeerInfo {
        serial: 7,
        pid: 4711,
        uid: 1000,
        role: Role::Reader,
        state: PeerState::Suspect,
        attached: true,
        suspected,
        granted: Holding { slots: 1, bytes: 2 },
        quarantined: Holding { slots: 3, bytes: 4 },
        leases: 5,
        held: 6,
    }
}

fn suspect(text: &str) -> SuspectInfo {
    let since = Duration::from_millis(1234);
    SuspectInfo { reason: SuspectReason::CutOff, since, text: text.to_owned() }
}

#[test]
fn a_peer_travels_whole() {
    for peer in [peer(None), peer(Some(suspect(""))), peer(Some(suspect("a broken ring")))] {
        assert_eq!(PeerRecord::encode(&peer).decode(), Some(peer));
    }
}

#[test]
fn a_long_text_is_cut_between_two_characters() {
    let long = format!("{}ü{}", "x".repeat(79), "y".repeat(100));
    let there = PeerRecord::encode(&peer(Some(suspect(&long)))).decode().unwrap();
    assert_eq!(there.suspected.unwrap().text, "x".repeat(79));
}

#[test]
fn a_record_of_what_no_host_sends_is_no_peer() {
    let wrong = |change: fn(&mut PeerRecord)| {
        let mut record = PeerRecord::encode(&peer(Some(suspect("a"))));
        change(&mut record);
        record.decode()
    };
    assert!(wrong(|_| {}).is_some());
    assert_eq!(wrong(|record| record.serial = u64::MAX.into()), None);
    assert_eq!(wrong(|record| record.role = 3.into()), None);
    assert_eq!(wrong(|record| record.state = 4.into()), None);
    assert_eq!(wrong(|record| record.suspect_reason = 5.into()), None);
    assert_eq!(wrong(|record| record.text_length = 81.into()), None);
}

#[test]
fn settling_travels_whole() {
    for how in [Settlement::Kill, Settlement::WriteOff] {
        let settle = Settle::new(9, how, Duration::from_secs(3));
        assert_eq!((settle.how(), settle.patience_ms.get()), (Some(how), 3000));
    }
    assert_eq!(Settle::new_zeroed().how(), None);
    let settled =
        Settled { proven: true, slots: Holding { slots: 1, bytes: 2 }, leases: 3, held: 4 };
    assert_eq!(SettledWords::encode(&settled).decode(), settled);
}
