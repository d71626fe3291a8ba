//! Texts for guests: figures and the audit. They may be longer than a frame, so a guest asks for them
//! piece by piece.

use super::core::{Carried, Core, malformed};
use super::peer::Who;
use super::walks::Walk;
use crate::service::Service;
use crate::wire::{RequestError, TextAsk, TextHead, kind};
use onecopy_shm::FrameHeader;
use std::mem::size_of;
use zerocopy::{FromBytes, IntoBytes};

impl<S: Service> Core<S> {
    /// A piece of the text that the guest asks for: as much as the reply takes. All pieces are of one
    /// text, which `text` keeps from the first to the last.
    // r[impl link.text]
    pub(super) fn text_piece(
        &mut self,
        who: &Who,
        header: &FrameHeader,
        text: &mut Vec<u8>,
        bytes: &[u8],
        reply: &mut [u8],
    ) -> Result<Carried, RequestError> {
        let wrong = malformed(header.kind, bytes, 0);
        let ask = TextAsk::read_from_bytes(bytes).map_err(|_| wrong)?;
        match (ask.offset.get(), header.kind) {
            (0, kind::AUDIT) => return self.wait_for_walk(who, header.request_id, Walk::Audit),
            (0, _) => *text = self.stats_json().into_bytes(),
            _ => {}
        }
        let length = write_piece(text, ask.offset.get(), reply).ok_or(wrong)?;
        Ok(Carried::Answer { length, flags: 0 })
    }
}

/// Writes the piece from `offset` on into a reply, and lets go of the text with its last one. `None`
/// for an offset beyond its end.
pub(super) fn write_piece(text: &mut Vec<u8>, offset: u64, reply: &mut [u8]) -> Option<u32> {
    let rest = text.get(usize::try_from(offset).ok()?..)?;
    let (head, room) = reply.split_at_mut_checked(size_of::<TextHead>())?;
    let length = rest.len().min(room.len());
    head.copy_from_slice(TextHead { text_bytes: (text.len() as u64).into() }.as_bytes());
    room[..length].copy_from_slice(&rest[..length]);
    if length == rest.len() {
        *text = Vec::new();
    }
    Some((size_of::<TextHead>() + length) as u32)
}
