//! The ring against the simplest queue that could be right.

use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

#[derive(Clone, Debug)]
enum Step {
    /// Grant this much and commit a part of it.
    Commit {
        granted: u32,
        percent: u32,
    },
    /// Grant, scribble, drop.
    Abandon {
        granted: u32,
    },
    Read,
    /// Read all there is.
    Drain,
    Poll,
}

fn any_step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![0u32..57, 40u32..57, 0u32..3];
    prop_oneof![
        6 => (length.clone(), prop_oneof![Just(100u32), 0u32..101])
            .prop_map(|(granted, percent)| Step::Commit { granted, percent }),
        1 => length.prop_map(|granted| Step::Abandon { granted }),
        4 => Just(Step::Read),
        1 => Just(Step::Drain),
        1 => Just(Step::Poll),
    ]
}

proptest! {
    // r[verify ring.order]
    #[test]
    fn the_ring_is_a_queue(steps in proptest::collection::vec(any_step(), 1..300)) {
        let (mut producer, mut consumer, _) = ring(256);
        let mut queue: VecDeque<(u32, Vec<u8>)> = VecDeque::new();
        let mut committed = 0;
        for step in steps {
            match step {
                Step::Commit { granted, percent } => {
                    let length = granted * percent / 100;
                    match producer.try_grant(granted) {
                        Ok(mut grant) => {
                            grant.bytes_mut().fill(0xff);
                            let payload: Vec<u8> = (0..length).map(|n| (n + committed) as u8 | 1).collect();
                            grant.bytes_mut()[..length as usize].copy_from_slice(&payload);
                            grant.commit(length, 255 - 1, 3, committed).unwrap();
                            queue.push_back((committed, payload));
                            committed += 1;
                        }
                        Err(error) => {
                            prop_assert_eq!(error, GrantError::Full);
                            // Room always comes back: an empty, polled ring takes any frame.
                            prop_assert!(!queue.is_empty());
                        }
                    }
                }
                Step::Abandon { granted } => {
                    if let Ok(mut grant) = producer.try_grant(granted) {
                        grant.bytes_mut().fill(0xee);
                    }
                }
                Step::Read => prop_assert_eq!(take(&mut consumer), queue.pop_front()),
                Step::Drain => {
                    while let Some(frame) = queue.pop_front() {
                        prop_assert_eq!(take(&mut consumer), Some(frame));
                    }
                    prop_assert_eq!(take(&mut consumer), None);
                }
                Step::Poll => prop_assert_eq!(consumer.is_ready(), !queue.is_empty()),
            }
            if queue.is_empty() {
                prop_assert!(!consumer.is_ready());
                prop_assert!(producer.has_room(56).unwrap());
            }
        }
    }
}
