//! Who is at the other end, and whether that user may attach.

use onecopy_shm::sys_socket::RawCredentials;
use thiserror::Error;

/// What the kernel gives where a user or group has no id in our user namespace, or where nothing
/// was recorded at all.
const ID_OVERFLOW: u32 = 65534;

/// Who sent a record or made a connection, told by the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Process id in our PID namespace; `None` where it has none there.
    pub pid: Option<u32>,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Credentials {
    /// Credentials of a record; `None` where the kernel recorded none when it was sent.
    // r[impl socket.credentials]
    pub(crate) fn of_record(raw: RawCredentials) -> Option<Credentials> {
        let nothing = RawCredentials { pid: 0, uid: ID_OVERFLOW, gid: ID_OVERFLOW };
        (raw != nothing).then(|| Credentials::of_connection(raw))
    }

    /// Credentials of a connection, which are always there.
    pub(crate) fn of_connection(raw: RawCredentials) -> Credentials {
        let pid = u32::try_from(raw.pid).ok().filter(|&pid| pid != 0);
        Credentials { pid, uid: raw.uid, gid: raw.gid }
    }
}

/// A user who is not on the list.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("user {uid} (group {gid}) may not attach; see the list of users and groups of the host")]
pub struct NotAllowed {
    /// The user.
    pub uid: u32,
    /// The user's group.
    pub gid: u32,
}

/// Who may attach: the user of the host, and others by list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Other users, by id.
    pub uids: Vec<u32>,
    /// Groups, by id; only the group a process runs with counts.
    pub gids: Vec<u32>,
}

impl Allowed {
    /// Whether anybody but the user of the host may attach.
    pub fn others(&self) -> bool {
        !self.uids.is_empty() || !self.gids.is_empty()
    }

    /// Says no to a user who is neither the one of this process nor on the list.
    // r[impl socket.allowed]
    pub fn check(&self, credentials: &Credentials) -> Result<(), NotAllowed> {
        let Credentials { uid, gid, .. } = *credentials;
        let own = uid == rustix::process::geteuid().as_raw();
        // Whoever has no id here is not on the list, whatever number stands in for it.
        let listed = (uid != ID_OVERFLOW && self.uids.contains(&uid))
            || (gid != ID_OVERFLOW && self.gids.contains(&gid));
        if own || listed { Ok(()) } else { Err(NotAllowed { uid, gid }) }
    }
}

#[cfg(test)]
mod tests;
