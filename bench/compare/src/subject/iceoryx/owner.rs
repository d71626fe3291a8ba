//! The process that owns the blocks and answers with them.

use std::collections::BTreeMap;
use std::hint::spin_loop;
use std::io::{self, BufReader};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvError, TryRecvError};
use std::thread::{self, yield_now};

use iceoryx2::prelude::{Node, ipc};

use super::services::{self, Answering, Names, Taking, Told};
use crate::content::Content;
use crate::error::CompareError;
use crate::orders::{self, Answer, Duty, Order};

/// Looks for requests between two looks for orders.
const LOOKS: u32 = 256;

/// The blocks of one size, as words one after the other, and the ends that they go out of and come
/// in by.
struct Store {
    words: Vec<u64>,
    words_each: usize,
    answering: Answering,
    taking: Taking,
}

/// The owner's life: answers when it is told to, until its input ends.
pub(crate) fn serve(directory: &Path) -> Result<(), CompareError> {
    let node = Names::of(directory).node()?;
    let mut stores = BTreeMap::new();
    let orders = orders_of_parent();
    let mut duty = None;
    let done = Answer::Done { blocks: 0, nanoseconds: 0 };
    orders::say(&mut io::stdout(), &done)?;
    loop {
        let order = match next_order(&orders, duty.is_some()) {
            Ok(order) => order,
            Err(_) => return Ok(()),
        };
        match order {
            Some(order) => {
                duty = carry_out(&node, &mut stores, order)?;
                orders::say(&mut io::stdout(), &done)?;
            }
            None => serve_for_a_while(&stores, duty)?,
        }
    }
}

/// Orders arrive on a thread of their own, so that the one that answers need not look at its input.
fn orders_of_parent() -> Receiver<Order> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut input = BufReader::new(io::stdin());
        while let Ok(Some(order)) = orders::read(&mut input) {
            if sender.send(order).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The next order; without a duty it is slept for.
fn next_order(orders: &Receiver<Order>, on_duty: bool) -> Result<Option<Order>, RecvError> {
    if !on_duty {
        return orders.recv().map(Some);
    }
    match orders.try_recv() {
        Ok(order) => Ok(Some(order)),
        Err(TryRecvError::Empty) => Ok(None),
        Err(TryRecvError::Disconnected) => Err(RecvError),
    }
}

fn carry_out(
    node: &Node<ipc::Service>,
    stores: &mut BTreeMap<u64, Store>,
    order: Order,
) -> Result<Option<Duty>, CompareError> {
    match order {
        Order::Fill { size_bytes, blocks, spoil } => {
            stores.insert(size_bytes, Store::new(node, size_bytes, blocks, spoil)?);
            Ok(None)
        }
        Order::Serve(duty) => Ok(Some(duty)),
        Order::Rest => Ok(None),
        order => Err(CompareError::WrongOrder { order: format!("{order:?}") }),
    }
}

fn serve_for_a_while(
    stores: &BTreeMap<u64, Store>,
    duty: Option<Duty>,
) -> Result<(), CompareError> {
    let Some(duty) = duty else { return Ok(()) };
    let Some(store) = stores.get(&duty.size_bytes) else {
        return Err(CompareError::WrongOrder { order: format!("{duty:?}") });
    };
    for _ in 0..LOOKS {
        let found = if duty.puts { store.take()? } else { store.answer()? };
        if !found {
            if duty.yields { yield_now() } else { spin_loop() }
        }
    }
    Ok(())
}

impl Store {
    fn new(
        node: &Node<ipc::Service>,
        size_bytes: u64,
        blocks: u64,
        spoil: bool,
    ) -> Result<Store, CompareError> {
        let words = (0..blocks).flat_map(|number| {
            let is_spoilt = spoil && number == blocks / 2;
            let content = Content { is_spoilt, ..Content::new(size_bytes, number) };
            (0..content.word_count()).map(move |index| content.word(index))
        });
        Ok(Store {
            words: words.collect(),
            words_each: size_bytes as usize / 8,
            answering: services::answering(node, size_bytes)?,
            taking: services::taking(node, size_bytes)?,
        })
    }

    /// Answers one request with all blocks that it names. Whether there was one.
    fn answer(&self) -> Result<bool, CompareError> {
        let Some(request) = self.answering.port.receive().told("receive a request")? else {
            return Ok(false);
        };
        for number in request.payload() {
            let start = *number as usize * self.words_each;
            let Some(words) = self.words.get(start..start + self.words_each) else {
                let size_bytes = self.words_each as u64 * 8;
                return Err(CompareError::Missing { size_bytes, number: *number });
            };
            let response = request.loan_slice_uninit(words.len()).told("loan a response")?;
            response.write_from_slice(words).send().told("send a response")?;
        }
        Ok(true)
    }

    /// Takes one sample, and says what stood at its ends. Whether there was one.
    fn take(&self) -> Result<bool, CompareError> {
        let Some(sample) = self.taking.blocks.receive().told("receive a sample")? else {
            return Ok(false);
        };
        if let [first, .., last] = sample.payload() {
            let ends = first ^ last.rotate_left(1);
            self.taking.seen.send_copy(ends).told("acknowledge a sample")?;
        }
        Ok(true)
    }
}
