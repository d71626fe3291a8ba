//! Lines over logarithmic axes, as SVG.

use std::fmt::Write;

use crate::figures::Figure;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 650.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 404.0;
/// Room beyond the outermost points, as a part of the axis.
const MARGIN: f64 = 0.03;
/// Colours that are told apart also by those who see few.
const COLOURS: [&str; 8] =
    ["#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#cc79a7", "#555555", "#8f6d00"];

/// One line.
pub(crate) struct Line {
    pub(crate) name: String,
    /// Which colour; lines of one subject share it.
    pub(crate) colour: usize,
    pub(crate) is_dashed: bool,
    pub(crate) points: Vec<(u64, Figure)>,
}

/// A plot; both axes are logarithmic.
pub(crate) struct Plot {
    pub(crate) title: String,
    pub(crate) across: &'static str,
    pub(crate) lines: Vec<Line>,
    /// How a number is told on the axis across, and a value on the one upwards.
    pub(crate) number_text: fn(u64) -> String,
    pub(crate) value_text: fn(f64) -> String,
}

/// An axis from one place of the picture to another.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// For values above 0. `None` without any.
    fn of(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Option<Axis> {
        let logs: Vec<f64> = values.map(f64::ln).collect();
        let low = logs.iter().copied().reduce(f64::min)?;
        let high = logs.iter().copied().reduce(f64::max)?;
        let room = ((high - low) * MARGIN).max(0.05);
        Some(Axis { low: low - room, high: high + room, from, to })
    }

    fn place(&self, value: f64) -> f64 {
        let part = (value.ln() - self.low) / (self.high - self.low);
        self.from + part * (self.to - self.from)
    }

    /// Powers of ten, and their double and fivefold where there is room for them.
    fn ticks(&self) -> Vec<f64> {
        let decades = (self.high - self.low) / 10_f64.ln();
        let steps: &[f64] = if decades > 3.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let powers =
            (-3..15).flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
        powers.filter(|tick| (self.low..=self.high).contains(&tick.ln())).collect()
    }
}

impl Plot {
    /// The picture; none of nothing.
    pub(crate) fn svg(&self) -> Option<String> {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let across = Axis::of(points().map(|(number, _)| *number as f64), LEFT, RIGHT)?;
        let figures = points().flat_map(|(_, figure)| [figure.min, figure.max]);
        let upwards = Axis::of(figures, BOTTOM, TOP)?;
        let mut svg = String::new();
        self.frame(&mut svg, &across, &upwards).ok()?;
        for (index, line) in self.lines.iter().enumerate() {
            draw(&mut svg, line, index, &across, &upwards).ok()?;
        }
        svg.push_str("</svg>\n");
        Some(svg)
    }

    fn frame(&self, svg: &mut String, across: &Axis, upwards: &Axis) -> std::fmt::Result {
        writeln!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" \
             fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{}</text>",
            escaped(&self.title)
        )?;
        for tick in upwards.ticks() {
            let y = upwards.place(tick);
            let (text, x) = ((self.value_text)(tick), LEFT - 8.0);
            writeln!(
                svg,
                "<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"#dddddd\"/><text x=\"{x}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{text}</text>",
                y + 4.0
            )?;
        }
        for number in self.numbers() {
            let x = across.place(number as f64);
            let (text, y) = ((self.number_text)(number), BOTTOM + 18.0);
            writeln!(
                svg,
                "<path d=\"M{x:.1} {TOP}V{BOTTOM}\" stroke=\"#eeeeee\"/><text x=\"{x:.1}\" y=\"{y}\" \
                 text-anchor=\"middle\">{text}</text>"
            )?;
        }
        let (x, y) = (f64::midpoint(LEFT, RIGHT), BOTTOM + 40.0);
        writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{}</text>", self.across)
    }

    fn numbers(&self) -> Vec<u64> {
        let points = self.lines.iter().flat_map(|line| &line.points);
        let mut numbers: Vec<u64> = points.map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }
}

/// One line with its name: the medians, and from the least to the greatest of the rounds.
fn draw(
    svg: &mut String,
    line: &Line,
    index: usize,
    across: &Axis,
    upwards: &Axis,
) -> std::fmt::Result {
    let colour = COLOURS[line.colour % COLOURS.len()];
    let dashes = if line.is_dashed { " stroke-dasharray=\"5 4\"" } else { "" };
    let (mut path, mut marks) = (String::new(), String::new());
    for (number, figure) in &line.points {
        let x = across.place(*number as f64);
        let y = upwards.place(figure.median);
        let (low, high) = (upwards.place(figure.min), upwards.place(figure.max));
        write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { "L" })?;
        write!(marks, "M{x:.1} {low:.1}V{high:.1}M{:.1} {y:.1}h6", x - 3.0)?;
    }
    let y = TOP + 14.0 + 20.0 * index as f64;
    let (from, to, text) = (RIGHT + 14.0, RIGHT + 42.0, RIGHT + 50.0);
    writeln!(
        svg,
        "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>\
         <path d=\"{marks}\" fill=\"none\" stroke=\"{colour}\"/>\
         <path d=\"M{from} {y}H{to}\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>\
         <text x=\"{text}\" y=\"{}\">{}</text>",
        y + 4.0,
        escaped(&line.name)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(lines: Vec<Line>) -> Plot {
        Plot {
            title: "a < b".to_owned(),
            across: "numbers",
            lines,
            number_text: |number| number.to_string(),
            value_text: |value| value.to_string(),
        }
    }

    fn figure(median: f64) -> Figure {
        Figure { median, min: median / 2.0, max: median * 2.0, rounds: 3 }
    }

    #[test]
    fn a_plot_of_nothing_is_none() {
        assert_eq!(plot(Vec::new()).svg(), None);
    }

    #[test]
    fn lines_stand_where_their_values_are() {
        let axis = Axis::of([1.0, 100.0].into_iter(), 0.0, 100.0).unwrap();
        assert!((axis.place(10.0) - 50.0).abs() < 1e-9);
        assert!(axis.place(1.0) > 0.0 && axis.place(100.0) < 100.0);
        assert_eq!(axis.ticks(), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
    }

    #[test]
    fn every_line_has_its_name_and_its_points() {
        let line = |name: &str, points| Line {
            name: name.to_owned(),
            colour: 0,
            is_dashed: false,
            points,
        };
        let lines = vec![
            line("one", vec![(1, figure(10.0)), (4, figure(20.0))]),
            line("two & three", vec![(4, figure(1000.0))]),
        ];
        let svg = plot(lines).svg().unwrap();
        assert!(svg.contains(">one<") && svg.contains("two &amp; three"), "{svg}");
        assert!(svg.contains("a &lt; b"), "{svg}");
        assert!(svg.contains(">4<") && svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert!(!svg.contains("NaN"), "{svg}");
    }
}
