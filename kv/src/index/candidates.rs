//! The slots that may have a key, one after the other.

use super::edges::{OVERFLOW_LOAD, mutant};
use super::reader::{IndexReader, entry_of};
use super::{Entry, bucket_at};
use crate::format::{OVERFLOW_BIT, PROBE_BUCKETS_MAX};
use onecopy_shm::{LINE_WORDS, ReadLine};
use std::hint::select_unpredictable;

/// Gives the slots whose fingerprint is that of a hash, in the order of the search; ends where the key
/// can be no further. See [`IndexReader::candidates`].
#[derive(Debug)]
pub struct Candidates<'a> {
    index: &'a IndexReader,
    hash: u64,
    mask: u64,
    /// The bucket that is looked at, where there is one.
    bucket: Option<ReadLine<'a>>,
    /// How far behind the home that is.
    step: u64,
    /// The places in it that are still to be given, a bit each.
    places: u32,
}

impl<'a> Candidates<'a> {
    #[inline]
    pub(super) fn new(index: &'a IndexReader, hash: u64) -> Candidates<'a> {
        let mask = index.load_mask();
        let bucket = mask.and_then(|mask| index.bucket(bucket_at(hash, 0, mask)));
        let places = bucket.as_ref().map_or(0, |bucket| places_of(bucket, hash));
        Candidates { index, hash, mask: mask.unwrap_or(0), bucket, step: 0, places }
    }

    /// The next bucket, when this one was passed; the first again, when the index has grown.
    #[cold]
    fn turn(&mut self, bucket: &ReadLine<'a>) -> Option<ReadLine<'a>> {
        self.step += 1;
        // edge: index.insert; a bit that was cleared because its keys went to the upper half is
        // read before the mask is.
        let goes_on = bucket.load(0, OVERFLOW_LOAD) & OVERFLOW_BIT != 0;
        if !goes_on || self.step == PROBE_BUCKETS_MAX {
            // Each time with a mask that is larger than the one before, so at most 64 times.
            let larger = self.index.load_mask().filter(|&now| now > self.mask);
            (self.mask, self.step) = (larger.filter(|_| !mutant!("index_mask_unread"))?, 0);
        }
        let next = self.index.bucket(bucket_at(self.hash, self.step, self.mask))?;
        self.places = places_of(&next, self.hash);
        Some(next)
    }
}

impl Iterator for Candidates<'_> {
    type Item = u32;

    // r[impl index.find]
    // r[impl index.overflow]
    #[inline]
    fn next(&mut self) -> Option<u32> {
        loop {
            let bucket = self.bucket?;
            while self.places != 0 {
                // Loaded once more, so it may be another one by now, or none: then it was taken out.
                let entry = entry_of(&bucket, self.places.trailing_zeros() as usize);
                self.places &= self.places - 1;
                if !entry.is_empty() {
                    return Some(entry.slot());
                }
            }
            self.bucket = self.turn(&bucket);
        }
    }
}

/// The places of a bucket that have the fingerprint of a hash, a bit each. All eight are compared,
/// whichever it is: a wrongly predicted branch costs more than they do.
#[inline]
fn places_of(bucket: &ReadLine<'_>, hash: u64) -> u32 {
    (0..LINE_WORDS).fold(0, |places, place| {
        let is_wanted = entry_of(bucket, place).has_fingerprint_of(hash);
        places | u32::from(is_wanted) << place
    })
}

/// The first entry of a bucket that has the fingerprint of a hash; the empty one if none does. All eight
/// are compared, as above, and none is loaded twice.
#[inline]
pub(super) fn first_of(bucket: &ReadLine<'_>, hash: u64) -> Entry {
    (0..LINE_WORDS).rev().fold(Entry::EMPTY, |found, place| {
        let entry = entry_of(bucket, place);
        select_unpredictable(entry.has_fingerprint_of(hash), entry, found)
    })
}
