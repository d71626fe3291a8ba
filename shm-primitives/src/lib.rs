//! Shared-memory primitives: memory mapped into several processes, and the words and rings in it.

pub mod doorbell;
pub mod error;
pub mod fork;
mod format;
pub mod frame;
pub mod lease;
pub mod mapping;
pub mod region;
pub mod ring;
pub mod slot;
pub mod spin;
mod sync;
pub mod sys;
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
    LEASES_MAX, LeaseCell, LeaseScan, LeaseTable, fence_before_scan, lease_table_bytes,
};
pub use mapping::{Access, Mapping};
pub use region::{ReadWord, ReadWords, Region, Word, Words};
pub use ring::{
    CommitError, Consumer, Frame, Grant, GrantError, MalformedReason, Producer, ReadError,
    RingError, RingLayout, ring_layout,
};
pub use slot::{SERIAL_MAX, SlotRef, SlotState, SlotWord};
pub use spin::SpinBudget;
