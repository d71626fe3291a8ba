//! The orderings of the index, one name for each end of a happens-before edge. The mutants are the
//! weakenings that the models must catch; no build but theirs has them.
//!
//! | edge | model in `index::loom` | weakened |
//! | --- | --- | --- |
//! | index.create | `who_sees_the_magic_sees_the_index` | `index_create_*` |
//! | index.insert | `who_finds_a_key_sees_what_was_said_about_its_slot` | `index_insert_*` |
//! | index.insert | `a_key_behind_its_home_is_found_while_the_index_doubles` | `index_overflow_*` |
//! | index.life | `a_key_is_found_or_the_index_is_known_to_be_made_anew` | `index_life_store_relaxed`, `index_anew_*` |
//! | index.mask | `a_key_is_found_while_the_index_doubles` | `index_mask_*`, `index_insert_store_relaxed` |

use std::sync::atomic::Ordering;

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

/// edge: index.create: the fields of the header happen before what is read after its magic.
pub(super) const CREATE_STORE: Ordering =
    unless(mutant!("index_create_store_relaxed"), Ordering::Release);
/// edge: index.create, its other end.
pub(super) const CREATE_LOAD: Ordering =
    unless(mutant!("index_create_load_relaxed"), Ordering::Acquire);
/// edge: index.insert: what is said about a slot, and overflow bits on the way, happen before what
/// is read after an entry; a larger mask before what is read after a word that was erased.
pub(super) const INSERT_STORE: Ordering =
    unless(mutant!("index_insert_store_relaxed"), Ordering::Release);
/// edge: index.insert, its other end.
pub(super) const INSERT_LOAD: Ordering =
    unless(mutant!("index_insert_load_relaxed"), Ordering::Acquire);
/// edge: index.insert, its other end for an overflow bit.
pub(super) const OVERFLOW_LOAD: Ordering =
    unless(mutant!("index_overflow_load_relaxed"), Ordering::Acquire);
/// edge: index.mask: the copies happen before what is read with the larger mask.
pub(super) const MASK_STORE: Ordering =
    unless(mutant!("index_mask_store_relaxed"), Ordering::Release);
/// edge: index.mask, its other end.
pub(super) const MASK_LOAD: Ordering =
    unless(mutant!("index_mask_load_relaxed"), Ordering::Acquire);
/// edge: index.life: that the index is made anew happens before its entries go, and that they are
/// there again before it is whole.
pub(super) const LIFE_STORE: Ordering =
    unless(mutant!("index_life_store_relaxed"), Ordering::Release);
/// edge: index.life, for the words that are cleared.
pub(super) const ANEW_STORE: Ordering =
    unless(mutant!("index_anew_store_relaxed"), Ordering::Release);
