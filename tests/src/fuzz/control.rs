//! A segment whose files hold what the input says: looking at it, checking it as a guest does and
//! starting a host on it give an error or a segment that adds up, and never anything else.

use super::Input;
use super::image::Image;
use crate::harness::{RawGuest, Segment, key};
use onecopy::index::IndexReader;
use onecopy::protocol::kind as kv_kind;
use onecopy::service::{CacheService, CacheServiceOptions};
use onecopy_shm::{Access, Mapping};
use onecopy_transport::control::{ControlReader, read_geometry};
use onecopy_transport::format::Role;
use onecopy_transport::host::Host;
use onecopy_transport::inspect::inspect;
use onecopy_transport::layout::ControlLayout;
use onecopy_transport::segment::SegmentPath;
use onecopy_transport::wire::kind;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

const CHANGES_MAX: usize = 64;

/// Damages a sound segment as the input says and has everybody look at it.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut image = Image::sound();
    let choices = input.byte();
    for _ in 0..CHANGES_MAX {
        if input.is_empty() {
            break;
        }
        image.change(&mut input);
    }
    // Most changes of the geometry end at the fingerprint: with the right one they get further.
    if choices & 1 == 1 {
        image.mend_fingerprint(choices & 2 == 2);
    }
    let segment = Segment::new();
    image.write(segment.path());
    check_as_guest(segment.path());
    look(segment.path());
    serve(segment.path());
}

fn service() -> CacheService {
    CacheService::new(CacheServiceOptions::default())
}

fn look(path: &Path) {
    let path = SegmentPath::new(path).unwrap();
    match inspect(&path, service()) {
        Ok(found) => assert!(found.audit.is_some(), "a segment without a host is audited"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// What a guest reads of a control area before it believes it, and what it then reads through it.
fn check_as_guest(path: &Path) {
    let Ok(file) = File::open(path.join("control")) else { return };
    let file_bytes = file.metadata().unwrap().len();
    if file_bytes < ControlLayout::HEADER_BYTES {
        return;
    }
    let header = Mapping::map(&file, ControlLayout::HEADER_BYTES, Access::ReadOnly).unwrap();
    let Ok((geometry, _)) = read_geometry(&header) else { return };
    let layout = ControlLayout::new(&geometry);
    if file_bytes < layout.size_bytes {
        return;
    }
    let mapping = Mapping::map(&file, layout.size_bytes, Access::ReadOnly).unwrap();
    let control = ControlReader::new(mapping, geometry).unwrap();
    for row in 0..=control.geometry().peers_max {
        let _ = control.peer(row);
    }
    if let Ok(index) = IndexReader::open(&control.service_region()) {
        for number in 0..8 {
            let hash = index.hash(&key(number));
            index.find(hash, |slot| control.slot_word(slot) == 0 && slot % 2 == 0);
        }
    }
}

fn serve(path: &Path) {
    let options = Image::options(path);
    let mut host = match Host::start(options, service()) {
        Ok(host) => host,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert_clean(&host);
    let look_twice = || {
        for _ in 0..2 {
            host.look(Duration::ZERO).unwrap();
        }
    };
    if let Ok(mut guest) = RawGuest::try_attach_while(path, Role::Writer, look_twice) {
        for (kind, bytes) in [(kind::PING, vec![1]), (kv_kind::LOOKUP, one_key(1))] {
            guest.send(kind, 0, 1, &bytes);
            host.turn();
            let answer = guest.receive_until(Instant::now());
            assert_eq!(answer.map(|answer| answer.header.kind), Some(kind));
        }
    }
    assert_clean(&host);
}

fn assert_clean(host: &Host<CacheService>) {
    let report = host.audit();
    assert!(report.is_clean(), "{report}");
}

fn one_key(number: u64) -> Vec<u8> {
    [&1_u64.to_le_bytes()[..], key(number).as_bytes()].concat()
}
