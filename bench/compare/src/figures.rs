//! What the rounds say together.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::plan::Measure;
use crate::system::{Placement, System};

/// Of what a figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Subject {
    pub(crate) measure: Measure,
    pub(crate) system: System,
    pub(crate) placement: Placement,
}

/// One figure: the median of the rounds and their extremes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) rounds: usize,
}

/// All that was measured, by subject and number (bytes, batch, guests or blocks).
#[derive(Debug)]
pub(crate) struct Figures<S> {
    measured: BTreeMap<S, BTreeMap<u64, Vec<f64>>>,
}

/// The figures of one subject by number.
pub(crate) type Row = BTreeMap<u64, Figure>;

impl<S: Ord + Copy> Figures<S> {
    pub(crate) fn new() -> Figures<S> {
        Figures { measured: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, subject: S, number: u64, value: f64) {
        self.measured.entry(subject).or_default().entry(number).or_default().push(value);
    }

    /// The figures of those subjects, in their order.
    pub(crate) fn of(&self, is_wanted: impl Fn(S) -> bool) -> Vec<(S, Row)> {
        let subjects = self.measured.iter().filter(|(subject, _)| is_wanted(**subject));
        subjects.map(|(subject, numbers)| (*subject, row(numbers))).collect()
    }
}

fn row(numbers: &BTreeMap<u64, Vec<f64>>) -> Row {
    numbers.iter().filter_map(|(number, values)| Some((*number, Figure::of(values)?))).collect()
}

impl Figure {
    /// None of no values.
    pub(crate) fn of(values: &[f64]) -> Option<Figure> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Some(Figure { median, min, max, rounds: sorted.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let figure = Figure::of(&[3.0, 1.0, 8.0]).unwrap();
        assert_eq!((figure.median, figure.min, figure.max, figure.rounds), (3.0, 1.0, 8.0, 3));
        assert_eq!(Figure::of(&[1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(Figure::of(&[]), None);
    }
}
