//! Keeps the guests' magazines filled: grants on request, and ahead of need.

use super::Host;
use super::core::{Carried, Core, answer, bad_slot, malformed};
use super::peer::{Peer, Stock, Who, raise_stock};
use crate::Serial;
use crate::format::{PeerState, Role};
use crate::pool::{ClassIndex, GrantError, NoRoom};
use crate::service::{Service, ServiceContext};
use crate::wire::{GrantedAt, Grants, QuotaError, Refill, RequestError, flag, kind};
use onecopy_shm::SlotRef;
use onecopy_shm::copy_shared;
use std::mem::size_of;
use zerocopy::{FromBytes, IntoBytes, little_endian as le};

/// Most bytes of free slots kept ready in one magazine, if that is more than one slot.
const MAGAZINE_BYTES_MAX: u64 = 1 << 20;

/// Bytes of a grant of so many slots.
fn grants_bytes(slots: u32) -> u32 {
    (size_of::<Grants>() as u32)
        .saturating_add((size_of::<GrantedAt>() as u32).saturating_mul(slots))
}

/// What slots are granted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// A guest waits for one.
    Asked,
    /// To be at hand later: only what is free anyway.
    Stock,
}

/// A refill that waits for the pool to grow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parked {
    pub serial: Serial,
    pub request_id: u32,
    pub class: ClassIndex,
    pub count: u32,
}

impl<S: Service> Core<S> {
    /// Answer bytes of the largest refill.
    pub fn refill_bytes_max(&self) -> u32 {
        grants_bytes(self.options.magazine_slots_max)
    }

    /// Most free slots that one guest's magazine of this class is kept supplied with.
    fn magazine_slots_max(&self, class: ClassIndex) -> u32 {
        let by_bytes = MAGAZINE_BYTES_MAX / self.pool.classes().slot_bytes(class).max(1);
        (by_bytes as u32).clamp(1, self.options.magazine_slots_max.max(1))
    }

    pub fn refill(
        &mut self,
        who: &Who,
        stock: &mut Vec<Stock>,
        header: &onecopy_shm::FrameHeader,
        bytes: &[u8],
        reply: &mut [u8],
    ) -> Result<Carried, RequestError> {
        let refill =
            Refill::read_from_bytes(bytes).map_err(|_| malformed(kind::REFILL, bytes, 0))?;
        if who.role != Role::Writer {
            return Err(RequestError::WrongRole);
        }
        let class = self.pool.classes().class_for(refill.size_bytes.get()).map_err(|error| {
            RequestError::TooLarge {
                size_bytes: error.size_bytes,
                slot_bytes_max: error.slot_bytes_max,
            }
        })?;
        let most = self.magazine_slots_max(class);
        let asked = u32::try_from(refill.count.get()).unwrap_or(u32::MAX).clamp(1, most);
        let count = raise_stock(stock, class, asked, most).max(asked);
        match self.grant_into(who.serial, class, count, Need::Asked, reply) {
            Ok(carried) => Ok(carried),
            Err(RequestError::NoRoom { growable_bytes, .. })
                if growable_bytes > 0 && self.park(who, header.request_id, class, count)? =>
            {
                Ok(Carried::Silent)
            }
            Err(error) => Err(error),
        }
    }

    /// Lets a refill wait for growth that is under way or can be started.
    // r[impl growth.refill_waits]
    fn park(
        &mut self,
        who: &Who,
        request_id: u32,
        class: ClassIndex,
        count: u32,
    ) -> Result<bool, QuotaError> {
        self.check_requests(who.serial)?;
        if !self.grow_for(self.pool.classes().slot_bytes(class)) {
            return Ok(false);
        }
        self.parked.push(Parked { serial: who.serial, request_id, class, count });
        Ok(true)
    }

    /// Whether one more request of this guest may wait at the host.
    // r[impl link.requests_quota]
    pub fn check_requests(&self, serial: Serial) -> Result<(), QuotaError> {
        let parked = self.parked.iter().filter(|parked| parked.serial == serial).count();
        let deferred = self.deferred.iter().filter(|deferred| deferred.serial == serial).count();
        let settling = self.settling.iter().filter(|settling| settling.is_asked_by(serial)).count();
        let in_flight = (parked + deferred + settling + self.walks.count_of(serial)) as u64;
        let requests_max = u64::from(self.options.requests_max);
        if in_flight < requests_max {
            return Ok(());
        }
        Err(QuotaError::Requests { in_flight, requests_max })
    }

    /// Grants up to `count` slots and writes them into `reply` as a [`Grants`] payload. Published
    /// blocks give way to the first one that was asked for, and to no other.
    fn grant_into(
        &mut self,
        serial: Serial,
        class: ClassIndex,
        count: u32,
        need: Need,
        reply: &mut [u8],
    ) -> Result<Carried, RequestError> {
        let head = Grants { class: u64::from(class).into() };
        let room = reply.len().saturating_sub(size_of::<Grants>()) / size_of::<GrantedAt>();
        let mut length = size_of::<Grants>();
        reply[..length].copy_from_slice(head.as_bytes());
        for granted in 0..count.min(room as u32) {
            let need = if granted == 0 { need } else { Need::Stock };
            match self.grant_one(serial, class, need) {
                Ok(slot) => {
                    let offset = self.pool.slot(slot).map_or(0, |view| view.offset);
                    let at = GrantedAt { slot: slot.to_u64().into(), offset: offset.into() };
                    let end = length + size_of::<GrantedAt>();
                    copy_shared!("ring.reply.half", &mut reply[length..end], at.as_bytes());
                    length = end;
                }
                Err(error) if granted == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(Carried::Answer { length: length as u32, flags: 0 })
    }

    /// One slot for a guest: a free one, one whose last reader has gone, or one that the service
    /// gives up. Growth comes before eviction: it is asked for, and this fails until it is there.
    /// Looks at most twice through the leases, and only once if nothing was retired since the last
    /// look: what somebody read then he mostly still reads.
    // r[impl host.looks]
    fn grant_one(
        &mut self,
        serial: Serial,
        class: ClassIndex,
        need: Need,
    ) -> Result<SlotRef, RequestError> {
        self.check_quota(serial, class)?;
        let mut refused = match self.pool.grant(serial, class) {
            Ok(slot) => return Ok(slot),
            Err(error) => error,
        };
        if need == Need::Stock {
            return Err(self.refused(refused, false));
        }
        if self.pool.limbo_len() > self.limbo_left && self.reclaim() > 0 {
            match self.pool.grant(serial, class) {
                Ok(slot) => return Ok(slot),
                Err(error) => refused = error,
            }
        }
        if self.can_grow() {
            return Err(self.refused(refused, true));
        }
        let mut context = ServiceContext { pool: &mut self.pool, clock_s: self.clock_s };
        self.service.make_room(class, &mut context);
        self.reclaim();
        self.pool.grant(serial, class).map_err(|error| self.refused(error, false))
    }

    fn refused(&self, error: GrantError, can_grow: bool) -> RequestError {
        let held_bytes = self.pool.counts().granted.bytes;
        match error {
            GrantError::NoRoom(NoRoom {
                slot_bytes,
                free_bytes_elsewhere,
                limbo_slots,
                growable_bytes,
                ..
            }) => RequestError::NoRoom {
                slot_bytes,
                free_elsewhere_bytes: free_bytes_elsewhere,
                limbo_slots,
                growable_bytes: if can_grow { growable_bytes } else { 0 },
            },
            // A class or serial that cannot be has been checked before.
            _ => RequestError::Quota { held_bytes, wanted_bytes: 0, quota_bytes: 0 },
        }
    }

    // r[impl pool.quota]
    fn check_quota(&self, serial: Serial, class: ClassIndex) -> Result<(), RequestError> {
        let held = self.pool.granted_to(serial);
        let (held_slots, slots_max) = (held.slots, u64::from(self.options.grant_slots_max));
        if held_slots >= slots_max {
            return Err(QuotaError::Slots { held_slots, slots_max }.into());
        }
        let held_bytes = held.bytes;
        let wanted_bytes = self.pool.classes().slot_bytes(class);
        if held_bytes + wanted_bytes <= self.grant_quota_bytes {
            return Ok(());
        }
        Err(RequestError::Quota { held_bytes, wanted_bytes, quota_bytes: self.grant_quota_bytes })
    }

    /// Slots that a guest no longer needs. It has too many of their classes: from now on it is kept
    /// supplied with what is left, until it asks for more.
    pub fn give_back(
        &mut self,
        who: &Who,
        stock: &mut [Stock],
        bytes: &[u8],
    ) -> Result<Carried, RequestError> {
        for word in bytes.chunks(8) {
            let slot = le::U64::read_from_bytes(word)
                .ok()
                .and_then(|word| SlotRef::from_u64(word.get()))
                .ok_or(malformed(kind::GIVE_BACK, bytes, 0));
            let class = slot.ok().and_then(|slot| self.pool.slot(slot)).map(|view| view.class);
            match slot.and_then(|slot| {
                self.pool.give_back(who.serial, slot).map_err(|_| bad_slot(slot, 0))
            }) {
                Ok(()) => self.aim_lower(who, stock, class),
                Err(_) => self.counters.refused += 1,
            }
        }
        Ok(Carried::Silent)
    }

    fn aim_lower(&self, who: &Who, stock: &mut [Stock], class: Option<ClassIndex>) {
        for entry in stock.iter_mut().filter(|entry| Some(entry.class) == class) {
            let held = self.pool.granted_of_class(who.serial, entry.class);
            entry.target = entry.target.min(held);
        }
    }

    /// Fills the magazines of a guest that has used half of one, before it has to ask.
    pub fn top_up(&mut self, peer: &mut Peer) {
        let Peer { who, link: Some(link), stock, state: PeerState::Attached, .. } = peer else {
            return;
        };
        for entry in stock.iter() {
            let held = self.pool.granted_of_class(who.serial, entry.class);
            if held * 2 > entry.target || held >= entry.target {
                continue;
            }
            let bound =
                grants_bytes(entry.target - held).min(link.rings.replies.frame_length_max());
            let Ok(mut grant) = link.rings.replies.try_grant(bound) else { return };
            let granted = self.grant_into(
                who.serial,
                entry.class,
                entry.target - held,
                Need::Stock,
                grant.bytes_mut(),
            );
            if let Ok(Carried::Answer { length, .. }) = granted
                && grant.commit(length, kind::GRANTS, 0, 0).is_ok()
            {
                link.unannounced = true;
            }
        }
    }
}

impl<S: Service> Host<S> {
    /// Answers the refills that waited for growth: it has come, or it has failed. Then room is made for
    /// one of them only, so that however many wait the leases are looked through for one; what that leaves
    /// free is for the others, and who gets nothing waits for the next time.
    // r[impl growth.refill_waits]
    pub(super) fn answer_parked(&mut self) {
        let Host { peers, core, .. } = self;
        let looks = core.counters.lease_looks;
        let mut refused = Vec::new();
        for parked in std::mem::take(&mut core.parked) {
            let peer = peers.iter_mut().find(|peer| peer.who.serial == parked.serial);
            let Some(link) = peer.and_then(|peer| peer.link.as_mut()) else { continue };
            let bound = core.refill_bytes_max().min(link.rings.replies.frame_length_max());
            let Ok(mut grant) = link.rings.replies.try_grant(bound) else {
                core.parked.push(parked);
                continue;
            };
            let may_look = looks == core.counters.lease_looks && !refused.contains(&parked.class);
            let need = if may_look { Need::Asked } else { Need::Stock };
            let Parked { serial, class, count, .. } = parked;
            let carried = match core.grant_into(serial, class, count, need, grant.bytes_mut()) {
                Ok(carried) => carried,
                Err(error) if core.goes_on_waiting(&error, need, refused.contains(&class)) => {
                    core.parked.push(parked);
                    continue;
                }
                Err(error) => {
                    // For the others of this class there is no more room than for this one.
                    refused.extend(matches!(error, RequestError::NoRoom { .. }).then_some(class));
                    answer(error.encode().as_bytes(), grant.bytes_mut(), flag::ERROR)
                }
            };
            if let Carried::Answer { length, flags } = carried
                && grant.commit(length, kind::REFILL, flags, parked.request_id).is_ok()
            {
                link.unannounced = true;
                core.counters.guests_woken += u64::from(link.announce());
            }
        }
    }
}

impl<S: Service> Core<S> {
    /// Whether a refill that got nothing waits on: for growth, or for its turn to have room made.
    fn goes_on_waiting(&mut self, error: &RequestError, need: Need, is_hopeless: bool) -> bool {
        match (error, need) {
            (RequestError::NoRoom { growable_bytes, .. }, Need::Asked) => {
                *growable_bytes > 0 && self.grow_for(0)
            }
            (RequestError::NoRoom { .. }, Need::Stock) => !is_hopeless,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
