//! The orderings of the ring, one name for each happens-before edge. The mutants are the weakenings
//! that the models must catch; no build but theirs has them.

use crate::sync::Ordering;

/// Whether this build carries the named weakening.
macro_rules! mutant {
    ($name:literal) => {
        cfg!(onecopy_mutant = $name)
    };
}
pub(super) use mutant;

const fn unless(mutant: bool, ordering: Ordering) -> Ordering {
    if mutant { Ordering::Relaxed } else { ordering }
}

/// edge: ring.commit: payload, following zero and a wrapped frame's header happen before the load of
/// the header word that publishes them.
pub(super) const COMMIT_STORE: Ordering =
    unless(mutant!("ring_commit_store_relaxed"), Ordering::Release);
/// edge: ring.commit, its other end.
pub(super) const COMMIT_LOAD: Ordering =
    unless(mutant!("ring_commit_load_relaxed"), Ordering::Acquire);
/// edge: ring.release: reads of released frames happen before the stores that reuse their bytes.
pub(super) const RELEASE_STORE: Ordering =
    unless(mutant!("ring_release_store_relaxed"), Ordering::Release);
/// edge: ring.release, its other end.
pub(super) const RELEASE_LOAD: Ordering =
    unless(mutant!("ring_release_load_relaxed"), Ordering::Acquire);
