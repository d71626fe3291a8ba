//! Texts for guests: figures and the audit. They may be longer than a frame, so a guest asks for them
//! piece by piece.

use super::core::{Carried, Core, malformed};
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
        &self,
        header: &FrameHeader,
        text: &mut Vec<u8>,
        bytes: &[u8],
        reply: &mut [u8],
    ) -> Result<Carried, RequestError> {
        let wrong = malformed(header.kind, bytes, 0);
        let ask = TextAsk::read_from_bytes(bytes).map_err(|_| wrong)?;
        if ask.offset.get() == 0 {
            let made =
                if header.kind == kind::AUDIT { self.audit_text() } else { self.stats_json() };
            *text = made.into_bytes();
        }
        let offset = usize::try_from(ask.offset.get()).map_err(|_| wrong)?;
        let rest = text.get(offset..).ok_or(wrong)?;
        let (head, room) = reply.split_at_mut_checked(size_of::<TextHead>()).ok_or(wrong)?;
        let length = rest.len().min(room.len());
        head.copy_from_slice(TextHead { text_bytes: (text.len() as u64).into() }.as_bytes());
        room[..length].copy_from_slice(&rest[..length]);
        if length == rest.len() {
            *text = Vec::new();
        }
        Ok(Carried::Answer { length: (size_of::<TextHead>() + length) as u32, flags: 0 })
    }
}
