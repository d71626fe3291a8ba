//! Taking over what an earlier life of the host left: published slots are kept, what its guests may
//! still write or read is quarantined until they are proven dead.

use super::Host;
use super::files::scan_of;
use super::peer::{Peer, Who};
use super::poller::Ready;
use super::start::StartError;
use crate::Serial;
use crate::control::PeerFields;
use crate::format::PeerState;
use crate::pool::FoundSlot;
use crate::process::{self, Pidfd, ProcessError};
use crate::segment::AreaFile;
use crate::service::{Found, Service, ServiceContext};
use onecopy_shm::{Access, SlotState};

impl<S: Service> Host<S> {
    /// Sorts out the slots and peers of an earlier life, before anybody is let in.
    // r[impl host.take_over]
    pub(super) fn take_over(&mut self, found: Vec<FoundSlot>) -> Result<(), StartError> {
        let rows = self.core.geometry.peers_max;
        for row in 0..rows {
            match self.core.control.reader().peer(row)? {
                Some(fields) => self.take_over_peer(row as u32, &fields)?,
                None => self.core.control.clear_peer(row),
            }
        }
        self.free_ownerless();
        self.offer_published(&found);
        self.core.reclaim();
        self.remove_ownerless_files()
    }

    /// A guest of the earlier life: waited for while its process lives.
    fn take_over_peer(&mut self, row: u32, fields: &PeerFields) -> Result<(), StartError> {
        let serial = fields.serial;
        let Some(pidfd) = living_process(fields).map_err(|error| StartError::Process {
            serial,
            pid: fields.pid,
            error,
        })?
        else {
            self.core.pool.take_back(serial);
            self.core.control.clear_peer(row.into());
            return Ok(());
        };
        let file = self.dir.open_file(AreaFile::Leases(fields.lease_serial), Access::ReadOnly)?;
        let scan = scan_of(&file, self.core.geometry.leases_max)
            .map_err(|error| StartError::Leases { serial, reason: error.to_string() })?;
        self.core.leases.push((serial, scan));
        self.core.pool.quarantine(serial);
        self.core.control.set_peer_state(row.into(), PeerState::Suspect);
        let watched = self.poller.watch(&pidfd, Ready::Death(serial));
        watched.map_err(|source| StartError::Resources { what: "to watch a process", source })?;
        tracing::info!(serial, pid = fields.pid, "a guest of an earlier host still lives");
        self.peers.push(Peer {
            who: Who {
                serial,
                row,
                role: fields.role,
                pid: fields.pid,
                lease_serial: fields.lease_serial,
            },
            pidfd,
            link: None,
            state: PeerState::Suspect,
            stock: Vec::new(),
            heartbeat_seen: 0,
            heartbeat_tick: 0,
            ended: None,
        });
        Ok(())
    }

    /// Slots granted to serials without a row: their guests were never let in, or are recovered.
    fn free_ownerless(&mut self) {
        for serial in self.core.pool.owners() {
            if !self.peers.iter().any(|peer| peer.who.serial == serial) {
                self.core.pool.release_quarantined(serial);
                self.core.pool.take_back(serial);
            }
        }
    }

    /// The service says which of the published slots it still knows.
    fn offer_published(&mut self, found: &[FoundSlot]) {
        let mut context = ServiceContext { pool: &mut self.core.pool, clock_s: self.core.clock_s };
        for slot in found.iter().filter(|slot| slot.state == SlotState::Published) {
            let known = self.core.service.slot_found(slot.slot, &mut context);
            if known == Found::Retire
                && let Err(error) = context.pool.retire(slot.slot)
            {
                tracing::warn!(%error, "an unknown slot was not retired");
            }
        }
    }

    fn remove_ownerless_files(&mut self) -> Result<(), StartError> {
        let known =
            |of: fn(&Who) -> Serial, serial| self.peers.iter().any(|peer| of(&peer.who) == serial);
        for serial in self.dir.rings_found()? {
            if !known(|who| who.serial, serial) {
                self.dir.remove_file(AreaFile::Rings(serial))?;
            }
        }
        for serial in self.dir.leases_found()? {
            if !known(|who| who.lease_serial, serial) {
                self.dir.remove_file(AreaFile::Leases(serial))?;
            }
        }
        Ok(())
    }
}

/// The process of a row, if it is not proven dead: same boot, same process id, same start time. To
/// be unable to look is no proof.
fn living_process(fields: &PeerFields) -> Result<Option<Pidfd>, ProcessError> {
    if process::boot_id()? != fields.boot_id {
        return Ok(None);
    }
    match Pidfd::of_process(fields.pid, fields.start_time_ticks) {
        Ok(pidfd) => Ok((!pidfd.is_dead()?).then_some(pidfd)),
        Err(ProcessError::NoProcess { .. } | ProcessError::OtherProcess { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
