use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
enum Step {
    Take(u32),
    TakeExactly(u32, u32),
    Give(u32, u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6_u32).prop_map(Step::Take),
        (0..40_u32, 0..6_u32).prop_map(|(first, count)| Step::TakeExactly(first, count)),
        (0..40_u32, 0..6_u32).prop_map(|(first, count)| Step::Give(first, count)),
    ]
}

/// Runs of a plain set of numbers.
fn runs_of(numbers: &BTreeSet<u32>) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((first, count)) if *first + *count == number => *count += 1,
            _ => runs.push((number, 1)),
        }
    }
    runs
}

proptest! {
    #[test]
    fn runs_are_those_of_a_set_of_numbers(steps in proptest::collection::vec(step(), 1..80)) {
        let mut runs = Runs::default();
        let mut model = BTreeSet::new();
        for step in steps {
            match step {
                Step::Take(count) => {
                    let shortest = runs_of(&model)
                        .into_iter()
                        .filter(|&(_, found)| count > 0 && found >= count)
                        .min_by_key(|&(first, found)| (found, first))
                        .map(|(first, _)| first);
                    prop_assert_eq!(runs.take(count), shortest);
                    if let Some(first) = shortest {
                        model.retain(|number| !(first..first + count).contains(number));
                    }
                }
                Step::TakeExactly(first, count) => {
                    let free = (first..first + count).all(|number| model.contains(&number));
                    prop_assert_eq!(runs.take_exactly(first, count), free);
                    if free {
                        model.retain(|number| !(first..first + count).contains(number));
                    }
                }
                Step::Give(first, count) => {
                    // Only numbers that are not there may be given.
                    if (first..first + count).all(|number| !model.contains(&number)) {
                        runs.give(first, count);
                        model.extend(first..first + count);
                    }
                }
            }
            prop_assert_eq!(runs.faults(), None);
            let expected = runs_of(&model);
            prop_assert_eq!(runs.iter().collect::<Vec<_>>(), expected.clone());
            prop_assert_eq!(runs.total(), model.len() as u64);
            let longest = expected.iter().map(|&(_, count)| count).max().unwrap_or(0);
            prop_assert_eq!(runs.longest(), longest);
        }
    }
}

#[test]
fn the_last_numbers_are_no_exception() {
    let mut runs = Runs::default();
    runs.give(u32::MAX - 1, 2);
    assert!(!runs.take_exactly(u32::MAX, 2));
    assert!(runs.take_exactly(u32::MAX, 1));
    runs.give(u32::MAX, 1);
    assert_eq!(runs.take(2), Some(u32::MAX - 1));
    assert_eq!(runs.total(), 0);
}

#[test]
fn numbers_given_twice_are_a_fault() {
    let mut runs = Runs::default();
    runs.give(3, 4);
    runs.give(5, 4);
    assert!(runs.faults().is_some());
}
