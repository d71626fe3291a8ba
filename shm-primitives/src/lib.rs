//! Shared-memory primitives: memory mapped into several processes, and the words and rings in it.
//!
//! | module | what it has |
//! | --- | --- |
//! | [`mapping`] | [`Mapping`] owns memory: a file mapped once at its largest size, or the heap |
//! | [`region`] | [`Region`], a checked window of it; [`Word`] and [`Words`], loaded and stored whole |
//! | [`slot`] | [`SlotRef`]; [`SlotWord`], with a method for each legal change of state |
//! | [`lease`] | [`LeaseTable`] of a guest's readers; [`LeaseScan`] for the host that wants to reuse |
//! | [`ring`], [`frame`] | the `BipBuffer`, a one-way byte queue: [`Producer`], [`Consumer`], [`FrameHeader`] |
//! | [`doorbell`], [`spin`] | sleeping without missing a wake-up: [`Sleeper`], [`Waker`], [`SpinBudget`] |
//! | `barrier` | a fence that one side of a race pays for both |
//! | [`copy`] | [`copy_in`](copy::copy_in) for payloads, large ones past the caches |
//! | [`fault`] | crash points and counted stores, in test builds alone |
//! | `sigbus` | surviving that a mapped file is cut: [`Mapping`]`::guard` |
//! | [`fork`] | [`ForkGuard`] tells a forked child apart |
//! | [`sys`], [`sys_socket`] | system calls that need unsafe code |
//! | [`error`] | what can go wrong, one enum per operation |
//!
//! No shared word has two writers, so nothing here reads and writes a shared word in one step and no
//! process can die holding something that another needs. What a peer wrote is never trusted: it is
//! loaded once, checked, and an error or a bound is all that it can cause.
//!
//! # Happens-before edges
//!
//! Every ordering in the code names one of these. `model` is the loom model that runs the shipped
//! source for it, and `weakened` a change of the source that this model is seen to catch.
//!
//! | edge | from | to | where | model | weakened |
//! | --- | --- | --- | --- | --- | --- |
//! | `ring.commit` | payload, following zero and wrapped header; Release store of a header | Acquire load of it | `ring/producer.rs`, `ring/consumer.rs` | `ring::loom::frames_arrive_in_order_each_once_over_a_wrap_and_a_full_ring` | `ring_commit_*` |
//! | `ring.release` | reads of frames; Release store of the read position | Acquire load when room is short | `ring/consumer.rs`, `ring/producer.rs` | `ring::loom::released_bytes_are_reused_only_after_the_reader_is_through` | `ring_release_*` |
//! | `doorbell.sleep` | the odd store; SeqCst fence | SeqCst fence; the waker's load, and the same the other way round with the commit | `doorbell.rs` | `doorbell::loom::no_wake_up_is_lost_with_an_eventfd` | `doorbell_*_without_fence` |
//! | `slot.publish` | the writer's bytes; Release store of `Published` (the host's) | the state load of a reader, relaxed with an Acquire fence | `lease.rs`, `region.rs` | `lease::loom::a_lease_sees_what_was_published` | `read_word_acquire` |
//! | `lease.check` | the lease; the reader's SeqCst fence, or the host's in the reader's thread (`barrier.rs`) | the host's SeqCst fence; its look at the cells, and the same the other way round with `Retired` and the state load | `lease.rs`, `lease/scan.rs` | `lease::loom::a_slot_is_reused_or_read_never_both` | `lease_fence_*`, `lease_check_first` |
//! | `lease.cut-off` | as `lease.check`, with `attached = 0` in place of `Retired` | | `lease.rs`, `lease/scan.rs` | `lease::loom::a_guest_is_cut_off_or_its_lease_is_seen` | `lease_attached_unchecked` |
//! | `lease.listed` | the line listed; the SeqCst fence behind a lease in it, as for `lease.check` | the host's SeqCst fence; its loads of the summary | `lease/lines.rs`, `lease/summary.rs` | `lease::loom::listed::a_lease_in_a_new_line_is_seen`, `lease::loom::listed::a_line_that_is_listed_again_is_visited_again` | `lease_list_late` |
//! | `lease.unlist` | Acquire loads of the line's zeros; Release store that takes its bit back, and of all later values of that word | the host's loads of the summary; its Acquire fence behind the look | `lease/lines.rs`, `lease/summary.rs` | `lease::loom::listed::a_look_that_passes_over_a_line_comes_after_its_reads` | `lease_unlist_relaxed` |
//! | `lease.emptied` | a release in a line that nobody owns; SeqCst fence; its look at the other cells | the same by another thread (within one process) | `lease/lines.rs` | `lease::loom::listed::the_last_lease_of_a_line_takes_it_off_the_list` | `lease_fence_release` |
//! | `lease.release` | the reader's last look at the slot; Release store of 0 | the host's Acquire fence behind its look at the cells; reuse | `lease/lines.rs`, `lease/scan.rs` | `lease::loom::a_slot_is_reused_or_read_never_both` | `lease_release_relaxed`, `lease_scan_relaxed` |
//! | `lease.reuse` | a release by any thread | Acquire load that finds the cell free; Release store of its next lease, which the host meets | `lease/lines.rs` | `lease::loom::the_next_lease_of_a_cell_hands_on_a_release_elsewhere` | `lease_find_relaxed`, `lease_store_relaxed` |
//! | `lease.part` | the line marked full; SeqCst fence | a release elsewhere; SeqCst fence; its load of the mark (within one process) | `lease/lines.rs` | `lease::loom::no_cell_is_lost_when_a_line_is_parted_with` | `lease_fence_part`, `lease_fence_release` |
//! | `guard.entry` | the numbers of a guarded range; Release store of the even sequence | Acquire load of the sequence by a fault (within one process) | `guard_table.rs` | `guard_table::loom::a_range_is_found_whole_or_not_at_all` | `guard_finish_relaxed` |
//! | `guard.change` | the odd sequence; Release fence before the numbers change | a fault's loads of the numbers; Acquire fence before it looks at the sequence again (within one process) | `guard_table.rs` | `guard_table::loom::a_range_is_found_whole_or_not_at_all` | `guard_read_without_fence`, `guard_write_without_fence` |

#[cfg(not(loom))]
pub mod barrier;
pub mod copy;
pub mod doorbell;
pub mod error;
pub mod fault;
pub mod fork;
mod format;
pub mod frame;
mod guard_table;
pub mod lease;
pub mod mapping;
pub mod region;
pub mod ring;
#[cfg(not(loom))]
pub mod sigbus;
pub mod slot;
pub mod spin;
mod sync;
pub mod sys;
mod sys_descriptors;
pub mod sys_numa;
pub mod sys_socket;

pub use doorbell::{
    FUTEX_DOORBELL_BYTES, FutexSleeper, FutexWaitError, FutexWaker, Sleeper, Waker,
};
pub use fork::ForkGuard;
pub use format::LEASE_CELLS_PER_LINE;
pub use frame::{
    FRAME_HEADER_BYTES, FRAME_KIND_MAX, FRAME_LENGTH_LIMIT, FrameFieldError, FrameHeader,
    HeaderWordError, REQUEST_ID_MAX,
};
pub use lease::{
    LEASES_MAX, LeaseCell, LeaseScan, LeaseTable, MakeReal, fence_before_scan, lease_table_bytes,
    lease_table_fresh_bytes,
};
pub use mapping::{Access, Mapping};
pub use region::{LINE_WORDS, ReadLine, ReadWord, ReadWords, Region, Word, Words};
pub use ring::{
    CommitError, Consumer, Frame, Grant, GrantError, MalformedReason, Producer, ReadError,
    RingError, RingLayout, ring_layout,
};
pub use slot::{SERIAL_MAX, SlotRef, SlotState, SlotWord};
pub use spin::SpinBudget;
pub use sys_descriptors::close_inherited;
