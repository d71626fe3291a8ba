//! Answers, as the caller gets them.

use super::Inner;
use super::error::CallError;
use super::held::{HeldSlot, Reservation};
use super::pending::{Answer, AnswerBytes};
use crate::wire::RequestError;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// An answer: `Deref` to its bytes. One that stands in a slot is read in place; dropping it puts
/// the slot back into the guest's stock.
pub struct Reply {
    pub(super) body: Body,
}

pub(super) enum Body {
    Inline(AnswerBytes),
    Slot { held: HeldSlot, length_bytes: u64 },
}

impl Reply {
    /// What an answer says. To be called with the link's mutex, under which the answer was taken, so
    /// that its slot is counted all the time; [`Reply::told`] follows without it.
    pub(super) fn new(inner: &Arc<Inner>, answer: Answer) -> Result<Reply, CallError> {
        match answer {
            Answer::Inline(bytes) => Ok(Reply { body: Body::Inline(bytes) }),
            Answer::Refused(words) => Err(match RequestError::decode(&words) {
                Some(refused) => CallError::Refused(refused),
                None => CallError::UnknownAnswer { code: words.code.get() },
            }),
            Answer::Slot { granted, length_bytes } => {
                let held = HeldSlot::new(inner, granted);
                Ok(Reply { body: Body::Slot { held, length_bytes } })
            }
        }
    }

    /// Has growth told before a slot is handed out; that it lies in the pool was checked.
    pub(super) fn told(self) -> Reply {
        if let Body::Slot { held, .. } = &self.body {
            held.inner.growth.covers(held.granted.offset + held.granted.slot_bytes);
        }
        self
    }

    /// Whether the bytes stand in a slot.
    pub fn is_in_slot(&self) -> bool {
        matches!(self.body, Body::Slot { .. })
    }

    /// The slot that the answer stands in, to be filled anew.
    ///
    /// # Errors
    /// The reply, when it travelled in a frame or the guest is a reader.
    pub fn into_reservation(self) -> Result<Reservation, Reply> {
        match self.body {
            Body::Inline(_) => Err(self),
            Body::Slot { held, length_bytes } => Reservation::of(held)
                .map_err(|held| Reply { body: Body::Slot { held, length_bytes } }),
        }
    }
}

impl Deref for Reply {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.body {
            Body::Inline(bytes) => bytes.as_slice(),
            Body::Slot { held, length_bytes } => held.answer_bytes(*length_bytes),
        }
    }
}

impl AsRef<[u8]> for Reply {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("length_bytes", &self.len())
            .field("in_slot", &self.is_in_slot())
            .finish()
    }
}
