//! Requests to settle a peer. They are carried out between two turns, when all peers can be looked at.

use super::Host;
use super::core::{Carried, Core, malformed};
use super::peer::Who;
use super::settle::{Asker, Settling};
use crate::Serial;
use crate::service::Service;
use crate::wire::{ErrorWords, RequestError, Settle, SettleError, Settlement, flag, kind};
use onecopy_shm::FrameHeader;
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, IntoBytes};

/// The longest that a guest may have the host wait for a proof of death.
const PATIENCE_MAX: Duration = Duration::from_secs(24 * 3600);

/// A request that waits for the end of the turn, or for room for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deferred {
    pub serial: Serial,
    request_id: u32,
    asked: Asked,
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Settle { serial: u64, how: Settlement, patience: Duration },
    Answered(Result<crate::wire::SettledWords, SettleError>),
}

impl<S: Service> Core<S> {
    /// Puts a request to settle a peer aside, if it is one that this guest may make.
    // r[impl peer.settle-allowed]
    pub fn defer(
        &mut self,
        who: &Who,
        header: &FrameHeader,
        bytes: &[u8],
    ) -> Result<Carried, RequestError> {
        self.check_requests(who.serial)?;
        let asked = asked_to_settle(who, bytes)?;
        let (serial, request_id) = (who.serial, header.request_id);
        self.deferred.push(Deferred { serial, request_id, asked });
        Ok(Carried::Silent)
    }
}

fn asked_to_settle(who: &Who, bytes: &[u8]) -> Result<Asked, RequestError> {
    let settle = Settle::read_from_bytes(bytes).map_err(|_| malformed(kind::SETTLE, bytes, 0))?;
    let how = settle.how().ok_or(malformed(kind::SETTLE, bytes, 8))?;
    let expected = rustix::process::geteuid().as_raw();
    if who.uid != expected && who.uid != 0 {
        let (uid, expected) = (who.uid.into(), expected.into());
        return Err(SettleError::NotAllowed { uid, expected }.into());
    }
    let patience = Duration::from_millis(settle.patience_ms.get()).min(PATIENCE_MAX);
    Ok(Asked::Settle { serial: settle.serial.get(), how, patience })
}

impl<S: Service> Host<S> {
    /// Carries out what was put aside. What finds no room for its answer waits on.
    pub(super) fn answer_deferred(&mut self) {
        for deferred in std::mem::take(&mut self.core.deferred) {
            let Deferred { serial, request_id, asked } = deferred;
            match asked {
                Asked::Settle { serial: of, how, patience } => {
                    let asker = Asker::Guest { serial, request_id };
                    let of = Serial::try_from(of).unwrap_or(0);
                    self.settle(Settling::new(of, how, asker, Instant::now() + patience));
                }
                Asked::Answered(_) => self.answer_settled(deferred),
            }
        }
    }

    /// Answers a guest that had a peer settled.
    pub(super) fn tell_settled(
        &mut self,
        serial: Serial,
        request_id: u32,
        result: Result<crate::wire::SettledWords, SettleError>,
    ) {
        self.answer_settled(Deferred { serial, request_id, asked: Asked::Answered(result) });
    }

    fn answer_settled(&mut self, deferred: Deferred) {
        let Asked::Answered(result) = deferred.asked else { return };
        match result {
            Ok(words) => self.reply_later(deferred, kind::SETTLE, 0, words.as_bytes()),
            Err(error) => {
                let words: ErrorWords = RequestError::Settle(error).encode();
                self.reply_later(deferred, kind::SETTLE, flag::ERROR, words.as_bytes());
            }
        }
    }

    /// Sends the answer, or puts the request back where there is no room for it.
    fn reply_later(&mut self, deferred: Deferred, kind: u8, flags: u8, bytes: &[u8]) {
        let Host { peers, core, .. } = self;
        let asker = peers.iter_mut().find(|peer| peer.who.serial == deferred.serial);
        let Some(link) = asker.and_then(|peer| peer.link.as_mut()) else { return };
        let length = bytes.len() as u32;
        let Ok(mut grant) = link.rings.replies.try_grant(length) else {
            core.deferred.push(deferred);
            return;
        };
        grant.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        if grant.commit(length, kind, flags, deferred.request_id).is_ok() {
            link.unannounced = true;
            core.counters.guests_woken += u64::from(link.announce());
        }
    }
}

#[cfg(test)]
mod tests;
