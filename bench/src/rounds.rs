//! Rounds of baseline and subject in turns, so that both see the same machine.

use crate::error::BenchError;

/// What the rounds say together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Comparison {
    /// Median over the rounds, nanoseconds for each operation of the baseline.
    pub(crate) baseline_ns: f64,
    /// Median over the rounds, nanoseconds for each operation of the subject.
    pub(crate) ns: f64,
    /// Median of the ratios within a round.
    pub(crate) ratio: f64,
    /// The least ratio within a round.
    pub(crate) ratio_min: f64,
    /// The greatest ratio within a round.
    pub(crate) ratio_max: f64,
    /// How many rounds of each.
    pub(crate) rounds: u32,
}

/// Measures the baseline and the subject in turns, `rounds` times each after a round of each that
/// does not count. Both tell nanoseconds for each operation.
pub(crate) fn interleave(
    rounds: u32,
    mut baseline: impl FnMut() -> Result<f64, BenchError>,
    mut subject: impl FnMut() -> Result<f64, BenchError>,
) -> Result<Comparison, BenchError> {
    baseline()?;
    subject()?;
    let mut measured = Vec::new();
    for _ in 0..rounds {
        measured.push((baseline()?, subject()?));
    }
    Ok(compare(&measured))
}

/// Pairs of baseline and subject, at least one.
pub(crate) fn compare(measured: &[(f64, f64)]) -> Comparison {
    let ratios = sorted(measured.iter().map(|(baseline, subject)| subject / baseline));
    Comparison {
        baseline_ns: median(&sorted(measured.iter().map(|(baseline, _)| *baseline))),
        ns: median(&sorted(measured.iter().map(|(_, subject)| *subject))),
        ratio: median(&ratios),
        ratio_min: ratios.first().copied().unwrap_or(f64::NAN),
        ratio_max: ratios.last().copied().unwrap_or(f64::NAN),
        rounds: u32::try_from(measured.len()).unwrap_or(u32::MAX),
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.len() % 2) {
        (Some(upper), 0) => (sorted[middle - 1] + upper) / 2.0,
        (Some(value), _) => *value,
        (None, _) => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_ratios_is_not_the_ratio_of_medians() {
        let comparison = compare(&[(100.0, 200.0), (200.0, 220.0), (400.0, 500.0)]);
        assert_eq!(comparison.baseline_ns, 200.0);
        assert_eq!(comparison.ns, 220.0);
        assert_eq!(comparison.ratio, 1.25);
        assert_eq!((comparison.ratio_min, comparison.ratio_max), (1.1, 2.0));
        assert_eq!(comparison.rounds, 3);
    }

    #[test]
    fn an_even_number_of_rounds_has_a_median_between_two() {
        assert_eq!(compare(&[(1.0, 1.0), (1.0, 2.0)]).ratio, 1.5);
    }

    #[test]
    fn rounds_take_turns_after_one_that_does_not_count() {
        let log = std::cell::RefCell::new(Vec::new());
        let mut times = [9.0, 1.0, 3.0].into_iter();
        let comparison = interleave(
            2,
            || {
                log.borrow_mut().push('a');
                Ok(1.0)
            },
            || {
                log.borrow_mut().push('b');
                Ok(times.next().unwrap())
            },
        );
        assert_eq!(comparison.unwrap().ns, 2.0);
        assert_eq!(log.into_inner(), ['a', 'b', 'a', 'b', 'a', 'b']);
    }

    #[test]
    fn a_failed_round_ends_the_run() {
        let failed = interleave(2, || Err(BenchError::PartnerEnded), || Ok(1.0));
        assert!(failed.is_err());
    }
}
