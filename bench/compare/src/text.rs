//! Figures in words: three digits and a unit.

/// Nanoseconds.
pub(crate) fn time(nanoseconds: f64) -> String {
    scaled(nanoseconds, &[(1e9, "s"), (1e6, "ms"), (1e3, "us"), (1.0, "ns")])
}

/// So many a second.
pub(crate) fn rate(a_second: f64) -> String {
    scaled(a_second, &[(1e9, "G/s"), (1e6, "M/s"), (1e3, "k/s"), (1.0, "/s")])
}

/// Bytes, for the powers of two that sizes are.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..0x10_0000 => format!("{} KiB", count >> 10),
        _ => format!("{} MiB", count >> 20),
    }
}

/// A number of guests.
pub(crate) fn guests(number: u64) -> String {
    if number == 1 { "1 guest".to_owned() } else { format!("{number} guests") }
}

/// A number of blocks.
pub(crate) fn count(number: u64) -> String {
    match number {
        0..1000 => number.to_string(),
        1000..1_000_000 => format!("{} k", number / 1000),
        _ => format!("{} M", number / 1_000_000),
    }
}

fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let unit = units.iter().find(|(least, _)| value >= least * 0.9995).or(units.last());
    let (least, name) = unit.copied().unwrap_or((1.0, ""));
    let value = value / least;
    // Three digits are more than the rounds agree upon.
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    let text = format!("{value:.digits$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_unit() {
        assert_eq!(time(52.34), "52.3 ns");
        assert_eq!(time(1234.0), "1.23 us");
        assert_eq!(time(316_400.0), "316 us");
        assert_eq!(time(100.0), "100 ns");
        assert_eq!(rate(15_300_000.0), "15.3 M/s");
        assert_eq!(rate(0.5), "0.5 /s");
        assert_eq!(
            (bytes(64), bytes(4096), bytes(4 << 20)),
            ("64 B".into(), "4 KiB".into(), "4 MiB".into())
        );
        assert_eq!((count(10_000), count(10_000_000)), ("10 k".into(), "10 M".into()));
    }
}
