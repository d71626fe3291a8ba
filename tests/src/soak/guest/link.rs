//! Attaching, attaching again, and saying goodbye.

use super::super::board::Count;
use super::super::point::Point;
use super::trouble::Trouble;
use super::{Sabotage, Worker};
use onecopy::cache::{Cache, CacheOptions};
use onecopy_transport::guest::{DetachError, GuestOptions, LinkEnd};
use std::time::{Duration, Instant};

/// Between two attempts to attach while there is no host.
const RETRY: Duration = Duration::from_millis(1);
/// Time for one attempt; a host that dies in the middle of it is seen sooner.
const ATTEMPT: Duration = Duration::from_secs(5);
/// The segment in the directory of a soak.
pub const SEGMENT: &str = "segment";

impl Worker {
    /// After this there is a host that answers, or was a moment ago. A cache that attaches anew by
    /// itself is left to do so in the middle of an operation.
    pub(super) fn ensure_attached(&mut self) -> Result<(), Trouble> {
        let attached = self.cache.as_ref().map(|cache| cache.guest().end());
        match attached {
            Some(None) => Ok(()),
            Some(Some(LinkEnd::HostGone | LinkEnd::HostLeft)) if self.attaches_by_itself => Ok(()),
            None | Some(Some(LinkEnd::HostGone | LinkEnd::HostLeft)) => self.attach(),
            // Only a host that dies or leaves ends the link of a guest that does no wrong.
            Some(Some(end)) => Err(end.into()),
        }
    }

    fn attach(&mut self) -> Result<(), Trouble> {
        let deadline = self.until();
        loop {
            match self.attach_once() {
                Ok(cache) => {
                    self.cache = Some(cache);
                    self.count(Count::Attaches, 1);
                    return self.look_after_attach();
                }
                Err(Trouble::Gone) if Instant::now() < deadline => std::thread::sleep(RETRY),
                Err(Trouble::Gone) => {
                    return Err(Trouble::Late("no host let this guest in".to_owned()));
                }
                Err(other) => return Err(other),
            }
        }
    }

    fn attach_once(&mut self) -> Result<Cache, Trouble> {
        match &self.cache {
            Some(cache) => {
                self.at(Point::Reattaching);
                let again = cache.with_deadline(ATTEMPT).reattach()?;
                Ok(again.with_deadline(self.patience()))
            }
            None => {
                self.at(Point::Attaching);
                self.pins_lost = 0;
                let guest = GuestOptions {
                    role: self.role(),
                    attach_deadline: ATTEMPT,
                    magazine_slots_max: 16,
                    magazine_bytes_max: 1 << 20,
                    ..GuestOptions::at(self.args.dir.join(SEGMENT))
                };
                let options = CacheOptions::new(guest);
                let deadline = self.patience();
                let reattach = self.attaches_by_itself.then_some(deadline);
                Ok(Cache::attach(CacheOptions { deadline, reattach, ..options })?)
            }
        }
    }

    /// Now and then everything is looked for at once after an attach.
    fn look_after_attach(&mut self) -> Result<(), Trouble> {
        if self.args.profile.keeps_all() && self.random.below(3) == 0 {
            return self.sweep();
        }
        Ok(())
    }

    /// Lets go of everything. A process that ends may leave it at that: the last drop says goodbye,
    /// and where there is no host to hear it, its end says the same.
    pub(super) fn end(&mut self) {
        self.let_go_all();
        if self.random.below(2) == 0 {
            let result = self.say_goodbye();
            // What it held is the host's again once this process is gone.
            self.note(result.or_else(|trouble| match trouble {
                Trouble::Gone => Ok(()),
                other => Err(other),
            }));
        }
        self.at(Point::Detaching);
        self.cache = None;
    }

    /// Lets go of everything and says goodbye until a host has heard it: what a host that died has
    /// not been told of, the next one waits for.
    pub(super) fn part(&mut self) {
        self.let_go_all();
        if self.args.sabotage == Some(Sabotage::Leak) {
            let reserved = self.cache().and_then(|cache| Ok(cache.reserve(1)?));
            if let Ok(fill) = reserved {
                std::mem::forget((fill, self.cache.take()));
                return;
            }
        }
        loop {
            match self.say_goodbye() {
                Err(Trouble::Gone) => {
                    let again = self.attach();
                    if !matches!(again, Ok(()) | Err(Trouble::Gone)) {
                        self.cache = None;
                        return self.note(again);
                    }
                }
                other => return self.note(other),
            }
        }
    }

    fn say_goodbye(&mut self) -> Result<(), Trouble> {
        self.at(Point::Detaching);
        let Some(cache) = &self.cache else { return Ok(()) };
        let result = match cache.guest().detach(self.until()) {
            Ok(()) => Ok(()),
            Err(DetachError::Link(end)) => Err(end.into()),
            Err(DetachError::DeadlineExceeded { sent }) => {
                Err(Trouble::Late(format!("detach: the deadline passed, sent: {sent}")))
            }
            Err(other) => Err(Trouble::Broken(format!("{other:?}"))),
        };
        if result != Err(Trouble::Gone) {
            self.cache = None;
        }
        result
    }

    /// The cache, while attached.
    pub(super) fn cache(&self) -> Result<Cache, Trouble> {
        self.cache.clone().ok_or(Trouble::Gone)
    }
}
