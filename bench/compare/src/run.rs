//! The rounds: every system in turn for every point, so that all of them see the same machine.

use indicatif::{ProgressBar, ProgressStyle};

use crate::contest::{Contest, Point};
use crate::cores::Cores;
use crate::error::CompareError;
use crate::figures::{Figures, Subject};
use crate::keeper::Home;
use crate::plan::{Measure, Plan};
use crate::system::{Placement, System};

/// Measures the systems; the blocks of `spoil` are stored with a wrong word, which must end the run.
pub(crate) fn run(
    systems: &[System],
    plan: &Plan,
    cores: &Cores,
    spoil: Option<System>,
) -> Result<Figures<Subject>, CompareError> {
    let home = Home::new()?;
    let mut contests = Vec::new();
    for system in systems.iter().copied() {
        contests.push(Contest::start(system, &home, plan, spoil == Some(system))?);
    }
    let points = points(plan, cores);
    let bar = bar(u64::from(plan.rounds + 1) * points.len() as u64);
    let mut figures = Figures::new();
    for round in 0..=plan.rounds {
        for point in points.iter().copied() {
            for contest in &mut contests {
                let system = contest.system;
                if is_measured_elsewhere(system, point, cores) {
                    continue;
                }
                let value = contest.measure(cores, plan, point)?;
                // The first round warms up.
                if round > 0 {
                    let Point { measure, number, placement } = point;
                    figures.add(Subject { measure, system, placement }, number, value);
                }
            }
            bar.inc(1);
        }
        contests.iter_mut().try_for_each(|contest| contest.verify(plan))?;
    }
    bar.finish_and_clear();
    Ok(figures)
}

/// Whether another point is the same: where no other process takes part, one placement is enough, and a
/// put does not depend on how blocks are looked up.
fn is_measured_elsewhere(system: System, point: Point, cores: &Cores) -> bool {
    let is_first = point.placement != Placement::Together || cores.count() == 1;
    let is_put = system == System::OnecopyDirect && point.measure == Measure::Put;
    is_put || system.gets_alone() && !is_first
}

fn points(plan: &Plan, cores: &Cores) -> Vec<Point> {
    let free: &[Placement] = &[Placement::Free];
    let points = plan.points().into_iter().flat_map(|(measure, number)| {
        let placements = if measure == Measure::Guests { free } else { cores.placements() };
        placements.iter().map(move |placement| Point { measure, number, placement: *placement })
    });
    points.collect()
}

/// Progress on a terminal; nothing elsewhere.
pub(crate) fn bar(steps: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed} {wide_bar} {pos}/{len}");
    ProgressBar::new(steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
