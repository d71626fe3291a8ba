//! Every parser of what a peer sends, on the same bytes: the ring's frames, the records of the
//! handshake, the requests and answers of the cache.

use onecopy::protocol::{self, Head, KeyAnswer, KvRequest, PublishAnswer};
use onecopy_shm::{Consumer, FrameHeader, Mapping, ReadError, Region, ring_layout};
use onecopy_transport::wire::{ErrorWords, Hello, Refusal, RequestError, Welcome};
use std::mem::size_of;
use std::sync::atomic::Ordering;
use zerocopy::{FromBytes, IntoBytes};

const CAPACITY_BYTES: u32 = 1024;

/// Reads the bytes as the content of a ring, as each record and as a payload of each kind.
pub fn run(bytes: &[u8]) {
    read_ring(bytes);
    read_records(bytes);
    if let Some((&kind, payload)) = bytes.split_first() {
        read_payload(kind, payload);
    }
}

/// A ring whose producer wrote these bytes. Every frame that is found keeps inside the ring; what
/// is no frame is an error for good.
fn read_ring(bytes: &[u8]) {
    let layout = ring_layout(CAPACITY_BYTES.into()).unwrap();
    let memory = Mapping::heap(layout.size_bytes).unwrap();
    let region = memory.region(0, layout.size_bytes).unwrap();
    let mut consumer = Consumer::new(region.clone(), CAPACITY_BYTES).unwrap();
    write_words(&region, layout.data_offset, bytes);
    let mut payload = Vec::new();
    // Once around and a bit: the same bytes are met again at another position.
    let mut taken_bytes = 0;
    while taken_bytes < 2 * u64::from(CAPACITY_BYTES) {
        let length_max = consumer.frame_length_max();
        let found = consumer.try_read().map(|frame| {
            frame.map(|frame| {
                frame.copy_to(&mut payload);
                frame.header()
            })
        });
        match found {
            Ok(Some(header)) => {
                check_header(header, length_max);
                assert_eq!(payload.len(), header.length as usize);
                taken_bytes += 8 + u64::from(header.length);
                read_payload(header.kind, &payload);
            }
            Ok(None) => return assert!(!consumer.is_ready()),
            Err(error) => return assert_stays(&mut consumer, error),
        }
    }
}

fn check_header(header: FrameHeader, length_max: u32) {
    assert!(header.length <= length_max, "{header:?}");
    header.encode().unwrap_or_else(|error| panic!("{header:?}: {error}"));
}

fn assert_stays(consumer: &mut Consumer, error: ReadError) {
    assert!(consumer.is_ready());
    assert_eq!(consumer.try_read().map(|_| ()), Err(error));
}

fn write_words(region: &Region, offset: u64, bytes: &[u8]) {
    let words = region.words(offset, CAPACITY_BYTES as u64 / 8).unwrap();
    for (index, part) in (0..words.count()).zip(bytes.chunks(8)) {
        let mut word = [0; 8];
        word[..part.len()].copy_from_slice(part);
        words.store(index, u64::from_le_bytes(word), Ordering::Relaxed).unwrap();
    }
}

/// What is understood says the same when it is written again.
fn read_records(bytes: &[u8]) {
    if let Ok((hello, role)) = Hello::parse(bytes) {
        assert_eq!(hello.as_bytes(), bytes);
        assert_eq!(u64::from(hello.role.get()), role.bits());
        hello.lease_serial_in(1);
    }
    if let Ok((welcome, _)) = Welcome::read_from_prefix(bytes) {
        let detail = welcome.detail.map(|number| number.get());
        if let Some(refusal) = Refusal::decode(welcome.refusal.get(), detail) {
            let (code, numbers) = refusal.encode();
            assert_eq!(code, welcome.refusal.get());
            assert_eq!(Refusal::decode(code, numbers), Some(refusal));
        }
    }
    if let Ok((words, _)) = ErrorWords::read_from_prefix(bytes)
        && let Some(error) = RequestError::decode(&words)
    {
        assert_eq!(RequestError::decode(&error.encode()), Some(error));
        assert!(!error.to_string().is_empty());
    }
    if let Ok((answer, _)) = KeyAnswer::read_from_prefix(bytes)
        && let Some(outcome) = answer.decode()
    {
        assert_eq!(outcome.encode().decode(), Some(outcome));
    }
    if let Ok((answer, _)) = PublishAnswer::read_from_prefix(bytes)
        && let Some(outcome) = answer.decode()
    {
        assert_eq!(outcome.encode().decode(), Some(outcome));
    }
}

/// A request that is understood accounts for every byte, and so does the room for its answer.
fn read_payload(kind: u8, payload: &[u8]) {
    let Ok(request) = KvRequest::parse(kind, payload) else { return };
    let entries = match request {
        KvRequest::Lookup { keys, .. } => keys.len(),
        KvRequest::Exists(keys)
        | KvRequest::Delete(keys)
        | KvRequest::Pin(keys)
        | KvRequest::Unpin(keys) => keys.len(),
        KvRequest::Publish(entries) => entries.len(),
        KvRequest::Report(entries) => entries.len(),
        KvRequest::Stats => return assert!(payload.is_empty()),
    };
    let entry_bytes = protocol::entry_bytes(kind);
    assert_eq!(payload.len(), size_of::<Head>() + entries * entry_bytes);
    let answer_bytes = protocol::answer_bytes_max(kind, payload.len());
    assert_eq!(answer_bytes, entries * protocol::answer_bytes(kind));
}
