//! Taking over what an earlier life of the host left: published slots are kept, what its guests may
//! still write or read is quarantined until they are proven dead.

use super::Host;
use super::core::Core;
use super::error::StartError;
use super::files::scan_of;
use super::leases::{Leases, LeasesOf};
use super::liveness::Gone;
use super::peer::{Peer, ProcessName, Who};
use super::poller::Ready;
use super::unmapped::is_unmapped;
use crate::Serial;
use crate::control::PeerFields;
use crate::format::{PeerState, SuspectReason};
use crate::pool::FoundSlot;
use crate::process::{self, Pidfd, ProcessError};
use crate::segment::{AreaFile, FileError};
use crate::service::{Found, Service, ServiceContext};
use onecopy_shm::{Access, LeaseScan, SlotRef, SlotState};
use std::sync::Arc;

/// A row of the peer table, and what is needed to wait for its process if that may still live.
pub(super) struct FoundPeer {
    row: u32,
    fields: PeerFields,
    living: Option<Living>,
}

impl FoundPeer {
    /// Whether its process is not proven gone.
    pub(super) fn may_live(&self) -> bool {
        self.living.is_some()
    }
}

/// What it takes to wait for a process, and to honour its leases.
struct Living {
    pidfd: Option<Pidfd>,
    /// `None` where its lease table is not there any more.
    scan: Option<LeaseScan>,
}

impl<S: Service> Host<S> {
    /// Reads the peer table of an earlier life and opens what it needs of those who may still live.
    /// Everything that can fail is here: nothing has been stored yet.
    // r[impl host.take_over]
    pub(super) fn find_peers(&self) -> Result<Vec<FoundPeer>, StartError> {
        let mut found = Vec::new();
        for row in 0..self.core.geometry.peers_max {
            let Some(fields) = self.core.control.reader().peer(row)? else { continue };
            let living = self.living(&fields)?;
            if let Some(Living { pidfd: Some(pidfd), .. }) = &living {
                let watched = self.poller.watch(pidfd, Ready::Death(fields.serial));
                watched.map_err(|source| StartError::Resources {
                    what: "to watch a process",
                    source,
                })?;
            }
            found.push(FoundPeer { row: row as u32, fields, living });
        }
        Ok(found)
    }

    /// Sorts out the slots and peers of an earlier life, before anybody is let in.
    // r[impl host.take_over]
    // r[impl crash.host]
    // r[impl crash.double]
    pub(super) fn take_over(&mut self, peers: Vec<FoundPeer>, slots: Vec<FoundSlot>) {
        let readable = readable(&slots);
        for peer in peers {
            self.take_over_peer(peer, &readable);
        }
        self.free_ownerless();
        self.join_attaches();
        self.put_guard_up();
        self.offer_published(&slots);
        // What it puts in order for its first request is part of the start.
        self.core.tick_service();
        self.core.reclaim();
        if let Err(error) = self.remove_ownerless_files() {
            tracing::warn!(%error, "files of guests of an earlier host were not removed");
        }
    }

    /// What is needed of a process that is not proven gone: the proof is another boot of the machine,
    /// or that nobody has its lease table mapped. Its process id tells only whom to wait for, because
    /// this host may be in another PID namespace than the one that stored it.
    // r[impl host.take_over.proof]
    fn living(&self, fields: &PeerFields) -> Result<Option<Living>, StartError> {
        // The life before had its proof: it was recovering this peer.
        if fields.state == PeerState::Dead {
            return Ok(None);
        }
        let (serial, pid) = (fields.serial, fields.pid);
        let refused = |error| StartError::Process { serial, pid, error };
        if process::boot_id().map_err(refused)? != fields.boot_id {
            return Ok(None);
        }
        let pidfd = match Pidfd::of_process(pid, fields.start_time_ticks) {
            Ok(pidfd) if !has_inode(&pidfd, fields.process_inode).map_err(refused)? => None,
            Ok(pidfd) if pidfd.is_dead().map_err(refused)? => return Ok(None),
            Ok(pidfd) => Some(pidfd),
            Err(ProcessError::NoProcess { .. } | ProcessError::OtherProcess { .. }) => None,
            Err(error) => return Err(refused(error)),
        };
        match is_unmapped(&self.dir, fields.lease_serial) {
            Ok(true) => Ok(None),
            Ok(false) => Ok(Some(Living { pidfd, scan: Some(self.lease_scan(fields)?) })),
            // Rows are emptied before their files are removed: this was taken away by somebody else,
            // and proves nothing.
            Err(error) if is_lost(&error) => {
                tracing::warn!(serial, pid, %error, "the lease table of a guest is lost");
                Ok(Some(Living { pidfd, scan: None }))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn lease_scan(&self, fields: &PeerFields) -> Result<LeaseScan, StartError> {
        let file = self.dir.open_file(AreaFile::Leases(fields.lease_serial), Access::ReadOnly)?;
        scan_of(&file, self.core.geometry.leases_max, self.core.options.guard).map_err(|error| {
            StartError::Leases { serial: fields.serial, reason: error.to_string() }
        })
    }

    /// A guest of the earlier life: waited for while its process lives.
    fn take_over_peer(&mut self, peer: FoundPeer, readable: &Arc<[SlotRef]>) {
        let FoundPeer { row, fields, living } = peer;
        let serial = fields.serial;
        let Some(Living { pidfd, scan }) = living else {
            self.core.pool.release_quarantined(serial);
            self.core.pool.take_back(serial);
            self.core.control.clear_peer(row.into());
            return;
        };
        let PeerFields { role, pid, process_inode: inode, uid, lease_serial, .. } = fields;
        // Without a process behind it here the number is that of another namespace, or was used again:
        // it names nobody.
        let pid = if pidfd.is_some() { pid } else { 0 };
        let who = Who { serial, row, role, process: ProcessName { pid, inode }, uid, lease_serial };
        let leases = match scan {
            Some(scan) => Leases::Table(scan),
            None => {
                self.core.control.set_attached(row.into(), 0);
                Leases::Lost(Arc::clone(readable))
            }
        };
        self.core.leases.push(LeasesOf { who, leases, is_earlier: true });
        self.core.pool.quarantine(serial);
        tracing::info!(serial, pid = fields.pid, "a guest of an earlier host still lives");
        let mut peer = Peer {
            who,
            pidfd,
            link: None,
            state: PeerState::Suspect,
            suspected: None,
            stock: Vec::new(),
            heartbeat_seen: 0,
            heartbeat_tick: 0,
            ended: None,
            settles: false,
            quiet_turns: 0,
        };
        self.core.set_suspect(&mut peer, SuspectReason::HostReplaced, String::new());
        self.peers.push(peer);
    }

    /// A guest that was interrupted while it attached anew has several rows. One is enough for what it
    /// may still use, so that guests of few rows can be interrupted as often as it happens.
    // r[impl host.take_over.one-row]
    fn join_attaches(&mut self) {
        let attaches: Vec<Who> = self.peers.iter().map(|peer| peer.who).collect();
        for who in &attaches {
            let latest = attaches.iter().filter(|other| who.is_earlier_of(other));
            if let Some(latest) = latest.max_by_key(|other| other.serial)
                && let Some(index) =
                    self.peers.iter().position(|peer| peer.who.serial == who.serial)
            {
                self.core.pool.quarantine_as(who.serial, latest.serial);
                self.recover(index, Gone::HandedOver);
            }
        }
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

impl<S: Service> Core<S> {
    /// Whether the leases of this attach show nowhere.
    pub fn is_lease_table_lost(&self, serial: Serial) -> bool {
        self.leases.iter().any(|leases| leases.who.serial == serial && leases.leases.is_lost())
    }

    /// Attaches whose lease table is lost.
    pub fn lease_tables_lost(&self) -> u64 {
        self.leases.iter().filter(|leases| leases.leases.is_lost()).count() as u64
    }
}

/// Everything that a guest of the earlier life may have leased.
fn readable(slots: &[FoundSlot]) -> Arc<[SlotRef]> {
    let readable =
        |slot: &&FoundSlot| matches!(slot.state, SlotState::Published | SlotState::Retired);
    slots.iter().filter(readable).map(|slot| slot.slot).collect()
}

/// Whether what stands in the place of a lease table is none; else the system refused to tell.
fn is_lost(error: &FileError) -> bool {
    matches!(
        error,
        FileError::NotFound { .. }
            | FileError::NotAFile { .. }
            | FileError::WrongOwner { .. }
            | FileError::WrongMode { .. }
    )
}

/// Whether this is the process of that inode, as far as the kernel tells. Process id and start time may
/// both be those of another process in another PID namespace.
// r[impl process.inode]
fn has_inode(pidfd: &Pidfd, expected: u64) -> Result<bool, ProcessError> {
    let inode = pidfd.inode()?.unwrap_or(0);
    Ok(inode == 0 || expected == 0 || inode == expected)
}
