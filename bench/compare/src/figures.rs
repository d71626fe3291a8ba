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

/// All that was measured, by subject and number (bytes, batch or guests).
#[derive(Debug, Default)]
pub(crate) struct Figures {
    measured: BTreeMap<Subject, BTreeMap<u64, Vec<f64>>>,
}

impl Figures {
    pub(crate) fn add(&mut self, subject: Subject, number: u64, value: f64) {
        self.measured.entry(subject).or_default().entry(number).or_default().push(value);
    }

    /// The figures of one measure, in the order of systems and placements.
    pub(crate) fn of(&self, measure: Measure) -> Vec<(Subject, BTreeMap<u64, Figure>)> {
        let subjects = self.measured.iter().filter(|(subject, _)| subject.measure == measure);
        subjects.map(|(subject, numbers)| (*subject, figures(numbers))).collect()
    }
}

fn figures(numbers: &BTreeMap<u64, Vec<f64>>) -> BTreeMap<u64, Figure> {
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
