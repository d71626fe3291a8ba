//! Texts of the host, which may be longer than a frame and then come in pieces.

use super::error::CallError;
use super::link::Outgoing;
use super::{Guest, Inner};
use crate::wire::{TextAsk, TextHead};
use std::mem::size_of;
use std::sync::{MutexGuard, TryLockError};
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, IntoBytes};

/// How often a thread looks whether another one has its text.
const TURN_INTERVAL: Duration = Duration::from_millis(1);

impl Guest {
    /// Asks for a text until all of it is here.
    pub(super) fn ask_text(&self, kind: u8, deadline: Instant) -> Result<Vec<u8>, CallError> {
        self.inner.enter()?;
        let _turn = self.inner.text_turn(deadline)?;
        let mut text = Vec::new();
        loop {
            let text_bytes = self.ask_piece(kind, &mut text, deadline)?;
            if text.len() as u64 >= text_bytes {
                return Ok(text);
            }
        }
    }

    /// Appends the next piece; returns how long the whole text is.
    fn ask_piece(&self, kind: u8, text: &mut Vec<u8>, deadline: Instant) -> Result<u64, CallError> {
        let ask = TextAsk { offset: (text.len() as u64).into() };
        let outgoing = Outgoing::inline(kind, size_of::<TextAsk>() as u32);
        let fill = |target: &mut [u8]| target.copy_from_slice(ask.as_bytes());
        let reply = self.inner.ask(outgoing, fill, deadline)?;
        let piece = TextHead::read_from_prefix(&reply).ok().and_then(|(head, piece)| {
            let (text_bytes, here) = (head.text_bytes.get(), text.len() as u64);
            // A piece without bytes would be asked for without end.
            let fits = !piece.is_empty() && piece.len() as u64 <= text_bytes.checked_sub(here)?;
            fits.then_some((text_bytes, piece))
        });
        let Some((text_bytes, piece)) = piece else {
            return Err(self.no_answer(kind, &reply, "a head and at most the rest of the text"));
        };
        text.extend_from_slice(piece);
        Ok(text_bytes)
    }
}

impl Inner {
    /// One text at a time: the host keeps one for each guest.
    fn text_turn(&self, deadline: Instant) -> Result<MutexGuard<'_, ()>, CallError> {
        loop {
            match self.text_turn.try_lock() {
                Ok(turn) => return Ok(turn),
                Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(CallError::DeadlineExceeded { sent: false });
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(TURN_INTERVAL),
            }
        }
    }
}
