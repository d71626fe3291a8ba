//! Where frames from the host end up: answers at their requests, grants in the magazines.

use super::error::LinkError;
use super::magazine::{GrantedSlot, Magazines};
use super::parker::Parked;
use super::pending::{Answer, AnswerBytes, Expected, PendingTable};
use super::slots::SlotDirectory;
use crate::wire::{ErrorWords, GrantedAt, Grants, SlotPayload, flag, kind};
use onecopy_shm::Frame;
use onecopy_shm::crash_point;
use std::mem::size_of;
use zerocopy::FromBytes;

/// Everything that a frame from the host can change.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) pending: PendingTable,
    pub(super) magazines: Magazines,
    pub(super) slots: SlotDirectory,
    pub(super) parked: Parked,
    /// The host has said goodbye.
    pub(super) leaving: bool,
}

/// The fixed payload `T` of a frame of this kind.
fn record<T: FromBytes>(frame: &Frame<'_>, expected: &'static str) -> Result<T, LinkError> {
    let header = frame.header();
    let wrong = LinkError::WrongLength { kind: header.kind, length: header.length, expected };
    // No record of the transport is longer.
    let mut bytes = [0; 64];
    let copied = frame.copy_into(&mut bytes);
    if header.length as usize != copied {
        return Err(wrong);
    }
    T::read_from_bytes(&bytes[..copied]).map_err(|_| wrong)
}

impl Desk {
    /// Takes in one frame.
    ///
    /// # Errors
    /// [`LinkError`] ends the link: the host sends nothing of the kind.
    // r[impl guest.answer.checked]
    pub(super) fn dispatch(&mut self, frame: &Frame<'_>) -> Result<(), LinkError> {
        let header = frame.header();
        if header.request_id == 0 {
            return self.dispatch_unasked(frame);
        }
        let expected = self.pending.match_answer(header.request_id, header.kind)?;
        let answer = self.read_answer(frame)?;
        self.settle(expected, answer);
        Ok(())
    }

    fn dispatch_unasked(&mut self, frame: &Frame<'_>) -> Result<(), LinkError> {
        match frame.header().kind {
            kind::GRANTS => self.stock(frame),
            kind::LEAVING => {
                self.leaving = true;
                Ok(())
            }
            kind => Err(LinkError::UnknownKind { kind }),
        }
    }

    fn read_answer(&mut self, frame: &Frame<'_>) -> Result<Answer, LinkError> {
        let header = frame.header();
        if header.flags & flag::ERROR != 0 {
            return Ok(Answer::Refused(record::<ErrorWords>(
                frame,
                "an error's code and numbers",
            )?));
        }
        if header.flags & flag::SLOT != 0 {
            let payload = record::<SlotPayload>(frame, "a slot and a length")?;
            return self.read_slot(payload);
        }
        if header.kind == kind::REFILL {
            self.stock(frame)?;
            return Ok(Answer::Inline(AnswerBytes::filled(0, |_| {})));
        }
        Ok(Answer::Inline(AnswerBytes::filled(header.length as usize, |target| {
            frame.copy_into(target);
        })))
    }

    fn read_slot(&self, payload: SlotPayload) -> Result<Answer, LinkError> {
        let granted = self.slots.of_any_class(payload.slot.get())?;
        let length_bytes = payload.length_bytes.get();
        if length_bytes > granted.slot_bytes {
            let GrantedSlot { slot, slot_bytes, .. } = granted;
            return Err(LinkError::AnswerBeyondSlot { slot: slot.slot, length_bytes, slot_bytes });
        }
        Ok(Answer::Slot { granted, length_bytes })
    }

    /// The answer to a request is here: the slot it came in is ours again, unless the answer stands
    /// in it.
    // r[impl guest.call.slot]
    fn settle(&mut self, expected: Expected, answer: Answer) {
        let answer_slot = match &answer {
            Answer::Slot { granted, .. } => Some(granted.slot),
            Answer::Inline(_) | Answer::Refused(_) => None,
        };
        if let Some(request_slot) = expected.request_slot
            && Some(request_slot.slot) != answer_slot
        {
            self.magazines.push(request_slot);
        }
        if expected.abandoned {
            self.pending.close_index(expected.index);
            self.discard(answer);
        } else {
            self.pending.answer(expected.index, answer);
            self.parked.wake_for(expected.index);
        }
    }

    /// Gives back what an answer that nobody takes holds.
    pub(super) fn discard(&mut self, answer: Answer) {
        if let Answer::Slot { granted, .. } = answer {
            self.magazines.push(granted);
        }
    }

    /// Puts granted slots into their magazine.
    // r[impl crash.s4]
    fn stock(&mut self, frame: &Frame<'_>) -> Result<(), LinkError> {
        let header = frame.header();
        let head_bytes = size_of::<Grants>();
        let length = header.length as usize;
        let entry_bytes = size_of::<GrantedAt>();
        if length < head_bytes || !(length - head_bytes).is_multiple_of(entry_bytes) {
            return Err(LinkError::WrongLength {
                kind: header.kind,
                length: header.length,
                expected: "a class, then slots and their places",
            });
        }
        // Words travel little-endian; `Frame::word` gives memory order.
        let word = |offset| u64::from_le(frame.word(offset).unwrap_or(0));
        let class = word(0);
        for entry in (head_bytes..length).step_by(entry_bytes) {
            let granted = self.slots.of_class(word(entry), word(entry + 8), class)?;
            crash_point!("guest.grant.taken");
            self.magazines.push(granted);
        }
        Ok(())
    }
}
