//! Requests of one entry or many, and their answers.

use super::Cache;
use crate::error::AskError;
use crate::protocol::{self, Head};
use onecopy_shm::copy_shared;
use onecopy_transport::guest::{CallError, Guest};
use std::mem::size_of;
use std::time::Instant;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const HEAD_BYTES: usize = size_of::<Head>();

impl Cache {
    /// One entry of a request that may be asked twice, without an allocation.
    pub(super) fn ask_one<Entry, Answer>(
        &self,
        kind: u8,
        flags: u32,
        entry: &Entry,
        until: Instant,
    ) -> Result<Answer, AskError>
    where
        Entry: IntoBytes + Immutable,
        Answer: FromBytes + IntoBytes + Copy,
    {
        self.repeatedly(until, |guest| self.ask_one_on(guest, kind, flags, entry, until))
    }

    /// One entry, on this attach only.
    pub(super) fn ask_one_on<Entry, Answer>(
        &self,
        guest: &Guest,
        kind: u8,
        flags: u32,
        entry: &Entry,
        until: Instant,
    ) -> Result<Answer, AskError>
    where
        Entry: IntoBytes + Immutable,
        Answer: FromBytes + IntoBytes + Copy,
    {
        let mut answer = Answer::new_zeroed();
        let found_bytes = call_into(
            guest,
            kind,
            flags,
            std::slice::from_ref(entry),
            answer.as_mut_bytes(),
            until,
        )?;
        check_length(kind, found_bytes, size_of::<Answer>())?;
        Ok(answer)
    }

    /// As many entries as one frame takes (at least one; see [`Cache::entries_max`]) of a request that
    /// may be asked twice.
    pub(super) fn ask_frame<Entry, Answer>(
        &self,
        kind: u8,
        flags: u32,
        entries: &[Entry],
        until: Instant,
    ) -> Result<Vec<Answer>, AskError>
    where
        Entry: IntoBytes + Immutable,
        Answer: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned + Copy,
    {
        self.repeatedly(until, |guest| self.ask_frame_on(guest, kind, flags, entries, until))
    }

    /// As many entries as one frame takes, on this attach only.
    pub(super) fn ask_frame_on<Entry, Answer>(
        &self,
        guest: &Guest,
        kind: u8,
        flags: u32,
        entries: &[Entry],
        until: Instant,
    ) -> Result<Vec<Answer>, AskError>
    where
        Entry: IntoBytes + Immutable,
        Answer: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned + Copy,
    {
        let mut answers = vec![Answer::new_zeroed(); entries.len()];
        let expected_bytes = size_of::<Answer>() * entries.len();
        let found_bytes = call_into(guest, kind, flags, entries, answers.as_mut_bytes(), until)?;
        check_length(kind, found_bytes, expected_bytes)?;
        Ok(answers)
    }

    /// Any number of entries, in as many frames as it takes; answers in the order of the entries.
    // r[impl kv.batch]
    pub(super) fn ask_many<Entry, Answer>(
        &self,
        kind: u8,
        entries: &[Entry],
        until: Instant,
    ) -> Result<Vec<Answer>, AskError>
    where
        Entry: IntoBytes + Immutable,
        Answer: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned + Copy,
    {
        let mut answers = Vec::with_capacity(entries.len());
        for frame in entries.chunks(self.entries_max(kind)?) {
            answers.append(&mut self.ask_frame(kind, 0, frame, until)?);
        }
        Ok(answers)
    }

    /// How many entries of a request of this kind one frame takes.
    pub(super) fn entries_max(&self, kind: u8) -> Result<usize, AskError> {
        self.entries_max_on(&self.current(), kind)
    }

    /// How many of them on this attach.
    pub(super) fn entries_max_on(&self, guest: &Guest, kind: u8) -> Result<usize, AskError> {
        let frame_bytes = guest.inline_bytes_max() as usize;
        let entry_bytes = protocol::entry_bytes(kind);
        let room_bytes = frame_bytes.saturating_sub(HEAD_BYTES);
        match room_bytes.checked_div(entry_bytes) {
            Some(count) if count > 0 => Ok(count),
            _ => {
                Err(AskError::FrameTooSmall { wanted_bytes: HEAD_BYTES + entry_bytes, frame_bytes })
            }
        }
    }
}

// r[impl crash.p2]
fn call_into<Entry: IntoBytes + Immutable>(
    guest: &Guest,
    kind: u8,
    flags: u32,
    entries: &[Entry],
    reply: &mut [u8],
    until: Instant,
) -> Result<usize, CallError> {
    let bytes = entries.as_bytes();
    let length = HEAD_BYTES + bytes.len();
    let head = Head { count: (entries.len() as u32).into(), flags: flags.into() };
    let fill = |payload: &mut [u8]| {
        if let Some((first, rest)) = payload.split_at_mut_checked(HEAD_BYTES) {
            first.copy_from_slice(head.as_bytes());
            copy_shared!("ring.request.half", rest, bytes);
        }
    };
    guest.call_into(kind, length as u32, fill, reply, until)
}

fn check_length(kind: u8, found_bytes: usize, expected_bytes: usize) -> Result<(), AskError> {
    if found_bytes == expected_bytes {
        return Ok(());
    }
    Err(AskError::AnswerLength { kind, found_bytes, expected_bytes })
}
