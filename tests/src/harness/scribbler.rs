//! A guest that does harm, with all that it is given, again and again until it is killed.

use super::{Random, RawGuest, hello_descriptors};
use onecopy_shm::{Access, Mapping, Region, SlotRef, Words, lease_table_bytes};
use onecopy_transport::control::read_geometry;
use onecopy_transport::format::{RingsHeader, Role};
use onecopy_transport::segment::SegmentPath;
use onecopy_transport::socket::AttachSocket;
use onecopy_transport::wire::{Hello, Refill, kind};
use rustix::fs::{
    FallocateFlags, FlockOperation, OFlags, fallocate, fcntl_setfl, flock, ftruncate,
};
use std::mem::offset_of;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// Bytes of the first granule, which names the segment: whoever attaches looks at it.
const POOL_HEAD_BYTES: u64 = 4096;

/// One attach of the guest, with everything mapped that it may write.
struct Attach {
    guest: RawGuest,
    rings: Region,
    leases: Words,
    slots: u64,
    pool: Option<Region>,
}

/// What has been done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Harm {
    /// Times it attached.
    pub attached: u64,
    /// Deeds.
    pub deeds: u64,
}

/// Does so much harm as fits in `time`, with this seed. What it maps it guards: it cuts its own files.
pub fn scribble(segment: &Path, role: Role, seed: u64, time: Duration) -> Harm {
    let mut random = Random::new(seed);
    let mut harm = Harm::default();
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        junk_hello(segment, &mut random);
        let Some(mut attach) = Attach::new(segment, role) else { continue };
        harm.attached += 1;
        for _ in 0..40 {
            attach.deed(&mut random);
            harm.deeds += 1;
            if attach.guest.is_cut_off() || Instant::now() >= deadline {
                break;
            }
        }
    }
    harm
}

/// A hello that is none, with descriptors that do not belong to it.
fn junk_hello(segment: &Path, random: &mut Random) {
    let (pidfd, doorbell) = hello_descriptors();
    let file = std::fs::File::open("/dev/null").unwrap();
    let directory = std::fs::File::open("/").unwrap();
    let (pipe, _other_end) = rustix::pipe::pipe().unwrap();
    let all = [pidfd.as_fd(), doorbell.as_fd(), file.as_fd(), directory.as_fd(), pipe.as_fd()];
    let count = random.below(4) as usize;
    let descriptors: Vec<_> = (0..count).map(|_| all[random.below(5) as usize]).collect();
    let mut bytes = Hello::new(Role::Writer, random.below(9) as u32, 0).as_bytes().to_vec();
    for _ in 0..random.below(3) {
        let index = random.below(bytes.len() as u64) as usize;
        bytes[index] = random.below(256) as u8;
    }
    bytes.truncate(bytes.len() - random.below(3) as usize);
    let Ok(path) = SegmentPath::new(segment) else { return };
    let Ok(socket) = AttachSocket::connect(&path, Instant::now() + Duration::from_secs(5)) else {
        return;
    };
    // Refused or not, nobody waits for an answer.
    let _ = socket.send(&bytes, &descriptors, Instant::now() + Duration::from_secs(5));
}

impl Attach {
    fn new(segment: &Path, role: Role) -> Option<Attach> {
        let guest = RawGuest::try_attach_while(segment, role, || {}).ok()?;
        guest.rings.mapping().guard().unwrap();
        let control_bytes = guest.welcome.control_bytes.get();
        let control = Mapping::map(&guest.descriptors[0], control_bytes, Access::ReadOnly).unwrap();
        let (geometry, _) = read_geometry(&control).unwrap();
        let bytes = lease_table_bytes(geometry.leases_max as u32);
        let table = Mapping::map(&guest.descriptors[3], bytes, Access::ReadWrite).unwrap();
        table.guard().unwrap();
        let pool = guest.descriptors.get(4).map(|pool| {
            let size_bytes = geometry.pool_bytes_max;
            let mapping = Mapping::map(pool, size_bytes, Access::ReadWrite).unwrap();
            mapping.region(0, size_bytes).unwrap()
        });
        Some(Attach {
            rings: guest.rings.clone(),
            leases: table.region(0, bytes).unwrap().words(0, bytes / 8).unwrap(),
            slots: geometry.slots_max.min(4096),
            pool,
            guest,
        })
    }

    fn deed(&mut self, random: &mut Random) {
        match random.below(13) {
            0 => self.noise_in_rings(random),
            1 => self.lie_in_rings(random),
            2 => self.noise_in_leases(random),
            3 => self.lie_in_leases(random),
            4 => self.lie_about_itself(),
            5 => self.noise_in_pool(random),
            6 => self.cut(random),
            7 => self.punch(random),
            8 => self.flood(),
            9 => self.flip_flags(random),
            10 => self.ask_for_much(),
            _ => self.ask_nonsense(random),
        }
    }

    fn word(&self, offset: u64) -> onecopy_shm::Word {
        self.rings.word(offset / 8 * 8).unwrap()
    }

    fn noise_in_rings(&self, random: &mut Random) {
        for _ in 0..random.below(2000) {
            let offset = random.below(self.rings.size_bytes() - 8);
            self.word(offset).store(random.below(u64::MAX), Ordering::Relaxed);
        }
        self.guest.ring();
    }

    /// Headers and positions that could be: nothing, too much, a wrap, a little off.
    fn lie_in_rings(&self, random: &mut Random) {
        let lies =
            [0, 8, 1 << 24, 1 << 24 | 0xff_ffff, 32 << 24 | 40, 0xff << 24, u64::MAX, u64::MAX - 7];
        for _ in 0..16 {
            let lie = lies[random.below(lies.len() as u64) as usize];
            let offset = random.below((self.rings.size_bytes() - 8).min(80_000));
            self.word(offset).store(lie, Ordering::Release);
        }
        self.guest.ring();
    }

    fn noise_in_leases(&self, random: &mut Random) {
        for _ in 0..200 {
            let index = random.below(self.leases.count());
            self.leases.store(index, random.below(u64::MAX), Ordering::Relaxed).unwrap();
        }
    }

    /// Every cell a lease of a slot that there may be, and more lines in use than there are.
    fn lie_in_leases(&self, random: &mut Random) {
        for index in 1..self.leases.count() {
            let slot = SlotRef {
                slot: 1 + random.below(self.slots) as u32,
                generation: 1 + random.below(4) as u32,
            };
            self.leases.store(index, slot.to_u64(), Ordering::Relaxed).unwrap();
        }
        // The head, and what there may be below it of the summary.
        (0..16).for_each(|word| self.leases.store(word, u64::MAX, Ordering::Relaxed).unwrap());
    }

    fn lie_about_itself(&self) {
        let words =
            [offset_of!(RingsHeader, guest_heartbeat), offset_of!(RingsHeader, guest_asleep)];
        for offset in words {
            self.word(offset as u64).store(u64::MAX, Ordering::Relaxed);
        }
    }

    fn noise_in_pool(&self, random: &mut Random) {
        let Some(pool) = &self.pool else { return };
        for _ in 0..500 {
            let at = POOL_HEAD_BYTES + random.below((4 << 20) - POOL_HEAD_BYTES);
            let word = pool.word(at / 8 * 8).unwrap();
            word.store(random.below(u64::MAX), Ordering::Relaxed);
        }
    }

    fn cut(&self, random: &mut Random) {
        let file = &self.guest.descriptors[2 + random.below(2) as usize];
        let _ = ftruncate(file, random.below(100_000));
        // What is only readable stays as long as it was.
        for read_only in &self.guest.descriptors[..2] {
            assert!(ftruncate(read_only, 0).is_err());
        }
        self.guest.ring();
    }

    fn punch(&self, random: &mut Random) {
        let file = &self.guest.descriptors[2 + random.below(2) as usize];
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let _ = fallocate(file, flags, 0, 1 + random.below(200_000));
        assert!(fallocate(&self.guest.descriptors[1], flags, 0, 1 << 20).is_err());
        self.guest.ring();
    }

    fn flood(&self) {
        for _ in 0..2000 {
            self.guest.ring();
            let _ = self.guest.socket.send_byte(7);
        }
    }

    fn flip_flags(&self, random: &mut Random) {
        for descriptor in &self.guest.descriptors {
            let flags = [OFlags::APPEND, OFlags::NONBLOCK, OFlags::empty()];
            let _ = fcntl_setfl(descriptor, flags[random.below(3) as usize]);
            let _ = flock(descriptor, FlockOperation::NonBlockingLockExclusive);
        }
    }

    fn ask_for_much(&mut self) {
        for id in 1..40 {
            let refill = Refill { size_bytes: (1 << (id % 18)).into(), count: u64::MAX.into() };
            self.try_send(kind::REFILL, 0, id, refill.as_bytes());
        }
    }

    /// Frames of every kind with any bytes; slots given back twice; answers to what nobody asked.
    fn ask_nonsense(&mut self, random: &mut Random) {
        for _ in 0..20 {
            let mut bytes = vec![0; random.below(200) as usize];
            bytes.iter_mut().for_each(|byte| *byte = random.below(256) as u8);
            if random.below(2) == 0 {
                let slot = (1 + random.below(64)) | (1 << 32);
                bytes = [slot, slot].map(u64::to_le_bytes).concat();
            }
            let (kind, flags) = (1 + random.below(60) as u8, random.below(4) as u8);
            self.try_send(kind, flags, random.below(1 << 24) as u32, &bytes);
        }
    }

    /// Sends if its own end of the ring lets it; it may have spoilt that.
    fn try_send(&mut self, kind: u8, flags: u8, request_id: u32, bytes: &[u8]) {
        // A goodbye would be an honest end.
        let is_goodbye = kind == onecopy_transport::wire::kind::GOODBYE;
        if let Ok(mut grant) = self.guest.requests.try_grant(bytes.len() as u32)
            && !is_goodbye
        {
            grant.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
            let _ = grant.commit(bytes.len() as u32, kind, flags, request_id);
        }
        self.guest.ring();
    }
}
