//! The orderings of this crate, one name for each end of a happens-before edge. The mutants are the
//! weakenings that the models must catch; no build but theirs has them.
//!
//! | edge | model | weakened |
//! | --- | --- | --- |
//! | control.publish | `control::loom::who_sees_a_slot_published_sees_what_was_said_about_it` | `control_publish_*` |
//! | control.note | `control::loom::a_note_read_between_two_looks_is_of_that_publication` | `control_note_*` |
//! | control.extent | `control::loom::who_sees_an_extent_sees_all_of_it` | `control_extent_*` |
//! | control.peer | `control::loom::a_peer_row_is_seen_whole_or_vacant` | `control_peer_*` |
//! | control.sizes | `control::loom::who_sees_a_size_may_touch_what_it_covers` | `control_header_*` |
//! | control.magic | `control::loom::who_sees_the_magic_sees_the_geometry` | `control_header_store_relaxed`, `control_magic_*` |
//! | guest.noticed | `guest::loom::memory_is_handed_out_after_its_callbacks` | `guest_noticed_*` |
//! | guest.clones | `guest::loom::the_last_clone_releases_after_all_have_read` | `guest_clones_*` |
//! | touch.note | `touch::loom::what_is_taken_was_noted_and_in_order` | `touch_*` |
//! | guest.closing | `guest::loom::nothing_is_leased_from_a_guest_that_said_goodbye` | `guest_closing_*` |

use std::sync::atomic::Ordering;

/// Whether this build carries the named weakening.
macro_rules! mutant {
    ($name:literal) => {
        cfg!(onecopy_mutant = $name)
    };
}
pub(crate) use mutant;

const fn unless(mutant: bool, ordering: Ordering) -> Ordering {
    if mutant { Ordering::Relaxed } else { ordering }
}

/// edge: control.publish: what is said about a slot happens before what is read after its word.
pub(crate) const PUBLISH_STORE: Ordering =
    unless(mutant!("control_publish_store_relaxed"), Ordering::Release);
/// edge: control.publish, its other end.
pub(crate) const PUBLISH_LOAD: Ordering =
    unless(mutant!("control_publish_load_relaxed"), Ordering::Acquire);
/// edge: control.note: that a slot is not published any more happens before its next note.
pub(crate) const NOTE_STORE: Ordering =
    unless(mutant!("control_note_store_relaxed"), Ordering::Release);
/// edge: control.extent: the numbers of an extent happen before what is read after its slot size.
pub(crate) const EXTENT_STORE: Ordering =
    unless(mutant!("control_extent_store_relaxed"), Ordering::Release);
/// edge: control.extent, its other end.
pub(crate) const EXTENT_LOAD: Ordering =
    unless(mutant!("control_extent_load_relaxed"), Ordering::Acquire);
/// edge: control.peer: the fields of a row happen before what is read after its state.
pub(crate) const PEER_STORE: Ordering =
    unless(mutant!("control_peer_store_relaxed"), Ordering::Release);
/// edge: control.peer, its other end.
pub(crate) const PEER_LOAD: Ordering =
    unless(mutant!("control_peer_load_relaxed"), Ordering::Acquire);
/// edge: control.sizes: what was made real happens before what is touched below a published size;
/// and control.magic. For the rest of the header it costs nothing and saves a table.
pub(crate) const HEADER_STORE: Ordering =
    unless(mutant!("control_header_store_relaxed"), Ordering::Release);
/// edge: control.sizes, its other end.
pub(crate) const HEADER_LOAD: Ordering =
    unless(mutant!("control_header_load_relaxed"), Ordering::Acquire);
/// edge: control.magic: the geometry happens before what is read after the magic.
pub(crate) const MAGIC_LOAD: Ordering =
    unless(mutant!("control_magic_load_relaxed"), Ordering::Acquire);
/// edge: touch.note: an entry of the touch log happens before what is read after its position.
pub(crate) const TOUCH_STORE: Ordering = unless(mutant!("touch_store_relaxed"), Ordering::Release);
/// edge: touch.note, its other end.
pub(crate) const TOUCH_LOAD: Ordering = unless(mutant!("touch_load_relaxed"), Ordering::Acquire);
/// edge: guest.noticed: what the callbacks did happens before what is done with the new memory.
pub(crate) const NOTICED_STORE: Ordering =
    unless(mutant!("guest_noticed_store_relaxed"), Ordering::Release);
/// edge: guest.noticed, its other end.
pub(crate) const NOTICED_LOAD: Ordering =
    unless(mutant!("guest_noticed_load_relaxed"), Ordering::Acquire);
/// edge: guest.clones: what a clone read happens before the last one's release of the lease.
pub(crate) const CLONES_SUBTRACT: Ordering =
    unless(mutant!("guest_clones_subtract_relaxed"), Ordering::AcqRel);
/// edge: guest.clones, its other end, where no other clone is left.
pub(crate) const CLONES_LOAD: Ordering =
    unless(mutant!("guest_clones_load_relaxed"), Ordering::Acquire);
