use super::{AsyncGuest, TasksError};
use crate::guest::tests::scripted::{INLINE_MAX, ScriptedHost, UNIT, attached, in_ms, soon};
use crate::guest::{CallError, LinkEnd, Pending, Reply, ReserveError};
use crate::wire::{RequestError, SlotPayload, flag, kind};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use tokio::runtime::{Builder, Runtime};
use zerocopy::IntoBytes;

const ECHO: u8 = 40;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A guest for the tasks of a runtime, and its host.
fn rig() -> (Runtime, AsyncGuest, ScriptedHost) {
    let runtime = runtime();
    let (guest, host) = attached();
    let guest = runtime.block_on(async { AsyncGuest::new(guest) }).unwrap();
    (runtime, guest, host)
}

/// Lets a test see that something was woken.
#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

async fn others_run() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn echo(guest: AsyncGuest, number: u32) -> Result<Reply, CallError> {
    guest.call(ECHO, &number.to_le_bytes(), soon()).await
}

// r[verify guest.tasks]
#[test]
fn many_tasks_get_each_its_own_answer_in_whatever_order_they_come() {
    let (runtime, guest, mut host) = rig();
    const TASKS: u32 = 40;
    let host = thread::spawn(move || {
        for _ in 0..5 {
            let asked: Vec<_> = (0..TASKS).map(|_| host.next()).collect();
            // Not all at once: some are woken from sleep, some are not.
            for (count, (header, bytes)) in asked.iter().rev().enumerate() {
                if count == 7 {
                    host.wait_for_sleep();
                }
                host.send(header.kind, 0, header.request_id, bytes);
            }
        }
        host
    });
    runtime.block_on(async {
        for round in 0..5 {
            let numbers = round * 1000..round * 1000 + TASKS;
            let ask = |number| (number, tokio::spawn(echo(guest.clone(), number)));
            let asked: Vec<_> = numbers.map(ask).collect();
            for (number, task) in asked {
                assert_eq!(*task.await.unwrap().unwrap(), number.to_le_bytes());
            }
        }
    });
    host.join().unwrap();
}

// r[verify guest.tasks]
// r[verify guest.abandon]
#[test]
fn a_future_that_is_dropped_gives_its_request_up_and_loses_no_slot() {
    let (runtime, guest, mut host) = rig();
    runtime.block_on(async {
        let slot = host.areas.grant(1, 4 * UNIT, 256);
        for is_answered in [false, true] {
            let mut call = Box::pin(guest.call(ECHO, b"?", soon()));
            assert!(poll_once(call.as_mut()).is_pending());
            let (header, _) = host.next();
            let payload = SlotPayload { slot: slot.to_u64().into(), length_bytes: 9.into() };
            if is_answered {
                host.send(ECHO, flag::SLOT, header.request_id, payload.as_bytes());
                drop(call);
            } else {
                drop(call);
                host.send(ECHO, flag::SLOT, header.request_id, payload.as_bytes());
            }
            let reserved = guest.reserve(256, soon()).await.unwrap();
            assert_eq!(reserved.slot(), slot, "what came with the answer is in stock");
            reserved.into_slot();
            let state = guest.inner().link.lock();
            assert_eq!(state.desk.pending.in_flight(), 0);
            assert!(!state.desk.parked.tasks.any());
        }
        drop(guest.call(ECHO, b"never polled", soon()));
        assert!(host.is_idle(), "what was not sent is not sent");
    });
}

// r[verify guest.tasks.room]
// r[verify guest.deadline]
#[test]
fn tasks_wait_for_room_and_for_answers_and_not_beyond_their_deadlines() {
    let (runtime, guest, mut host) = rig();
    runtime.block_on(async {
        let late = guest.call(ECHO, b"?", in_ms(30)).await.unwrap_err();
        assert_eq!(late, CallError::DeadlineExceeded { sent: true });
        let mut sent: Vec<Pending> = Vec::new();
        let payload = [7; INLINE_MAX as usize];
        let full = loop {
            match guest.submit(ECHO, &payload, in_ms(30)).await {
                Ok(pending) => sent.push(pending),
                Err(error) => break error,
            }
        };
        assert_eq!(full, CallError::DeadlineExceeded { sent: false });
        assert!(sent.len() > 8, "{}", sent.len());
        let answering = sent.len() + 2;
        let host = thread::spawn(move || {
            for _ in 0..answering {
                host.echo();
            }
            host
        });
        assert_eq!(*guest.call(ECHO, &payload, soon()).await.unwrap(), payload);
        for pending in sent {
            assert_eq!(*guest.answer(pending, soon()).await.unwrap(), payload);
        }
        assert!(host.join().unwrap().is_idle());
        let length_bytes = u64::from(INLINE_MAX) + 1;
        let error = guest.call(ECHO, &vec![0; length_bytes as usize], soon()).await.unwrap_err();
        let max_bytes = INLINE_MAX.into();
        assert_eq!(error, CallError::TooLarge { length_bytes, max_bytes });
    });
}

// r[verify guest.tasks.driver]
#[test]
fn a_task_that_is_not_polled_holds_nobody_up() {
    let (runtime, guest, mut host) = rig();
    runtime.block_on(async {
        let mut lazy = pin!(guest.call(ECHO, b"lazy", soon()));
        assert!(poll_once(lazy.as_mut()).is_pending());
        let host = thread::spawn(move || {
            let first = host.next();
            for number in 0..20_u32 {
                if number == 10 {
                    host.wait_for_sleep();
                }
                assert_eq!(host.echo().kind, ECHO);
            }
            host.send(ECHO, 0, first.0.request_id, &first.1);
            host
        });
        for number in 0..20_u32 {
            // A thread asks as well; it sleeps for itself or leaves that to the driver.
            let threads = guest.guest().clone();
            let bytes = number.to_le_bytes();
            let answer = match number % 2 {
                0 => guest.call(ECHO, &bytes, soon()).await,
                _ => {
                    let ask = move || threads.call(ECHO, &bytes, soon());
                    tokio::task::spawn_blocking(ask).await.unwrap()
                }
            };
            assert_eq!(*answer.unwrap(), bytes);
        }
        assert_eq!(*lazy.await.unwrap(), *b"lazy");
        drop(host.join().unwrap());
    });
}

// r[verify guest.tasks.driver]
#[test]
fn a_guest_sleeps_while_tasks_wait_and_threads_take_over_when_the_tasks_end() {
    let (runtime, guest, mut host) = rig();
    let threads = guest.guest().clone();
    runtime.block_on(async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!host.guest_sleeps(), "nobody waits");
        let mut call = pin!(guest.call(ECHO, b"?", soon()));
        assert!(poll_once(call.as_mut()).is_pending());
        while !host.guest_sleeps() {
            tokio::task::yield_now().await;
        }
    });
    let (header, _) = host.next();
    // The driver is the receiver, and a thread relies on it when its runtime ends.
    let asking = thread::spawn(move || threads.call(ECHO, b"a thread", soon()));
    let (other, bytes) = host.next();
    drop(guest);
    drop(runtime);
    host.send(ECHO, 0, header.request_id, b"");
    host.send(ECHO, 0, other.request_id, &bytes);
    assert_eq!(*asking.join().unwrap().unwrap(), *b"a thread");
}

// r[verify guest.tasks]
// r[verify guest.host-gone]
#[test]
fn every_task_is_told_that_the_host_is_gone() {
    let (runtime, guest, mut host) = rig();
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for number in 0..10 {
            tasks.push(tokio::spawn(echo(guest.clone(), number)));
        }
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        (0..10).for_each(|_| drop(host.next()));
        while !host.guest_sleeps() {
            tokio::task::yield_now().await;
        }
        drop(host);
        for task in tasks {
            let error = task.await.unwrap().unwrap_err();
            assert_eq!(error, CallError::Link(LinkEnd::HostGone));
        }
        let error = echo(guest.clone(), 1).await.unwrap_err();
        assert_eq!(error, CallError::Link(LinkEnd::HostGone));
        let error = guest.reserve(64, soon()).await.unwrap_err();
        assert!(matches!(error, ReserveError::Link(LinkEnd::HostGone)), "{error}");
    });
}

// r[verify guest.tasks.reserve]
#[test]
fn a_task_reserves_out_of_stock_or_asks_and_is_told_why_not() {
    let (runtime, guest, mut host) = rig();
    runtime.block_on(async {
        let slots = [(1, 256), (2, 256), (3, 256)];
        let place = |(slot, bytes)| host.areas.grant(slot, u64::from(slot) * UNIT, bytes);
        let slots = slots.map(place);
        let mut asked = Box::pin(guest.reserve(200, soon()));
        assert!(poll_once(asked.as_mut()).is_pending());
        others_run().await;
        host.refill(1, &slots[..2]);
        let one = asked.await.unwrap();
        let two = guest.reserve(65, soon()).await.unwrap();
        assert!(slots[..2].contains(&one.slot()) && slots[..2].contains(&two.slot()));
        assert!(host.is_idle(), "the second was in stock");

        let refused = RequestError::Quota { held_bytes: 1, wanted_bytes: 2, quota_bytes: 3 };
        let mut asked = Box::pin(guest.reserve(256, soon()));
        assert!(poll_once(asked.as_mut()).is_pending());
        others_run().await;
        let (header, _) = host.next();
        host.send(kind::REFILL, flag::ERROR, header.request_id, refused.encode().as_bytes());
        let error = asked.await.unwrap_err();
        assert!(matches!(error, ReserveError::Refused(of) if of == refused), "{error}");

        // A slot that waits for its last reader: the host is asked again.
        let waits = RequestError::NoRoom {
            slot_bytes: 256,
            free_elsewhere_bytes: 0,
            limbo_slots: 1,
            growable_bytes: 0,
        };
        let mut asked = Box::pin(guest.reserve(256, soon()));
        assert!(poll_once(asked.as_mut()).is_pending());
        others_run().await;
        let (header, _) = host.next();
        host.send(kind::REFILL, flag::ERROR, header.request_id, waits.encode().as_bytes());
        let host = thread::spawn(move || {
            host.refill(1, &slots[2..]);
            host
        });
        let three = asked.await.unwrap();
        assert_eq!(three.slot(), slots[2]);
        let mut host = host.join().unwrap();

        // Given up: what it brings is in stock.
        let mut asked = Box::pin(guest.reserve(256, soon()));
        assert!(poll_once(asked.as_mut()).is_pending());
        others_run().await;
        drop(asked);
        host.refill(1, &[host.areas.grant(4, 4 * UNIT, 256)]);
        assert_eq!(guest.reserve(256, soon()).await.unwrap().slot().slot, 4);
        assert!(host.is_idle());
        let error = guest.reserve(1 << 40, soon()).await.unwrap_err();
        assert!(matches!(error, ReserveError::TooLarge { .. }), "{error}");
    });
}

// r[verify guest.tasks]
#[test]
fn a_task_is_woken_for_its_own_answer_and_no_others() {
    let (runtime, guest, mut host) = rig();
    runtime.block_on(async {
        let bells = [Arc::new(Bell::default()), Arc::new(Bell::default())];
        let mut calls: Vec<_> = (0..2).map(|_| Box::pin(guest.call(ECHO, b"", soon()))).collect();
        for (call, bell) in calls.iter_mut().zip(&bells) {
            let waker = Waker::from(Arc::clone(bell));
            assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        let (_, second) = (host.next(), host.next());
        host.send(ECHO, 0, second.0.request_id, b"2");
        while !bells[1].0.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
        assert!(!bells[0].0.load(Ordering::Relaxed));
        assert_eq!(*calls.pop().unwrap().await.unwrap(), *b"2");
    });
}

// r[verify guest.tasks.driver]
#[test]
fn handles_that_are_made_and_dropped_leave_the_others_their_driver() {
    let (runtime, guest, mut host) = rig();
    runtime.block_on(async {
        let plain = guest.guest().clone();
        for number in 0..20 {
            let other = AsyncGuest::new(plain.clone()).unwrap();
            let asked =
                [tokio::spawn(echo(other.clone(), number)), tokio::spawn(echo(guest.clone(), 99))];
            tokio::task::yield_now().await;
            if number % 2 == 0 {
                drop(other);
            }
            for _ in 0..2 {
                host.echo();
            }
            for (task, expected) in asked.into_iter().zip([number, 99]) {
                assert_eq!(*task.await.unwrap().unwrap(), expected.to_le_bytes());
            }
        }
        // The last one goes, and a new one may come before its driver is gone.
        drop(guest);
        let again = AsyncGuest::new(plain).unwrap();
        let task = tokio::spawn(echo(again.clone(), 7));
        tokio::task::yield_now().await;
        host.echo();
        assert_eq!(*task.await.unwrap().unwrap(), 7_u32.to_le_bytes());
    });
}

#[test]
fn outside_a_runtime_there_are_no_tasks() {
    let (guest, _host) = attached();
    assert!(matches!(AsyncGuest::new(guest), Err(TasksError::NoRuntime)));
}
