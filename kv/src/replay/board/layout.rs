//! Where things stand on the board. It is shared by processes of one program for the time of one
//! replay, in words of 8 bytes.
//!
//! ```text
//! header    magic, version, places, requests, 4 reserved           supervisor writes
//! cursor    the next request, 7 reserved                           workers count up
//! places    for each: life, redo, 6 reserved                       supervisor writes
//!                     request in hand + 1 or 0, 7 reserved         its worker writes
//!                     latencies of lookups, of publishes           its worker writes
//! records   for each request: state, then the outcome's 7 words    who has claimed it writes
//! ```

use super::latency::LATENCY_WORDS;
use super::record::RECORD_WORDS;

/// First word of a board: the bytes `onboard\0`.
pub(super) const BOARD_MAGIC: u64 = u64::from_le_bytes(*b"onboard\0");
/// Version of what is said here.
pub(super) const BOARD_VERSION: u64 = 1;

/// Words of a cache line.
const LINE: u64 = 8;

pub(super) const MAGIC: u64 = 0;
pub(super) const VERSION: u64 = 1;
pub(super) const PLACES: u64 = 2;
pub(super) const REQUESTS: u64 = 3;
pub(super) const CURSOR: u64 = LINE;

const PLACES_START: u64 = 2 * LINE;
const PLACE_WORDS: u64 = 2 * LINE + 2 * LATENCY_WORDS;

const _: () = assert!(LATENCY_WORDS.is_multiple_of(LINE) && RECORD_WORDS == LINE);

/// Geometry of a board; every word it names lies inside of [`Layout::size_bytes`] as long as place and
/// request are below their numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) places: u32,
    pub(super) requests: u32,
    size_bytes: u64,
}

impl Layout {
    pub(super) fn new(places: u32, requests: u32) -> Option<Layout> {
        let places_words = u64::from(places).checked_mul(PLACE_WORDS)?;
        let records_words = u64::from(requests).checked_mul(RECORD_WORDS)?;
        let words = PLACES_START.checked_add(places_words)?.checked_add(records_words)?;
        let size_bytes = words.checked_mul(8).filter(|&size_bytes| size_bytes <= 1 << 40)?;
        Some(Layout { places, requests, size_bytes })
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    pub(super) fn life(&self, place: u32) -> u64 {
        self.place(place)
    }

    pub(super) fn redo(&self, place: u32) -> u64 {
        self.place(place) + 1
    }

    pub(super) fn in_hand(&self, place: u32) -> u64 {
        self.place(place) + LINE
    }

    pub(super) fn lookups(&self, place: u32) -> u64 {
        self.place(place) + 2 * LINE
    }

    pub(super) fn publishes(&self, place: u32) -> u64 {
        self.lookups(place) + LATENCY_WORDS
    }

    pub(super) fn state(&self, request: u32) -> u64 {
        self.place(self.places) + u64::from(request) * RECORD_WORDS
    }

    pub(super) fn outcome(&self, request: u32) -> u64 {
        self.state(request) + 1
    }

    fn place(&self, place: u32) -> u64 {
        PLACES_START + u64::from(place) * PLACE_WORDS
    }
}
