//! Sizes as people write them: `4G`, `16K`, `64MiB`, `1.5G`, or plain bytes.

use std::fmt;
use std::str::FromStr;

#[cfg(test)]
mod tests;

/// A size in bytes that reads and shows the way people write one.
///
/// Units are powers of 1024: `K`, `M`, `G`, `T`, each also as `KiB` and so on, in any case; `B` or
/// no unit is bytes. `KB` and its kind are refused, because half of their readers mean 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// Text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseSizeError {
    /// No digits where the number should be.
    #[error("{text:?} is no size: expected a number with a unit, such as 4G, 16K, 64MiB or 4096")]
    Number {
        /// The whole text.
        text: String,
    },
    /// A unit that is not known.
    #[error(
        "{unit:?} is no unit of size: expected B, K, M, G or T (powers of 1024), or KiB, MiB, GiB, TiB"
    )]
    Unit {
        /// What stands behind the number.
        unit: String,
    },
    /// A fraction that does not come out at whole bytes.
    #[error("{text:?} is not a whole number of bytes (fractions may have up to 19 digits)")]
    Fraction {
        /// The whole text.
        text: String,
    },
    /// More than fits 64 bits.
    #[error("{text:?} is more than the largest size, {max} bytes", max = u64::MAX)]
    TooLarge {
        /// The whole text.
        text: String,
    },
}

/// Units from the largest down; their letter and their power of two.
const UNITS: [(&str, u32); 4] = [("T", 40), ("G", 30), ("M", 20), ("K", 10)];

impl ByteSize {
    /// The size of so many bytes.
    pub const fn from_bytes(bytes: u64) -> ByteSize {
        ByteSize(bytes)
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The size for a person to read, rounded to one decimal: `1.5 GiB`, `812 B`.
    pub fn rounded(self) -> String {
        for (letter, power) in UNITS {
            if self.0 >> power > 0 {
                let tenths = (u128::from(self.0) * 10 + (1 << (power - 1))) >> power;
                return format!("{}.{} {letter}iB", tenths / 10, tenths % 10);
            }
        }
        format!("{} B", self.0)
    }
}

/// Shows a size so that it reads back as itself: the largest unit that divides it.
impl fmt::Display for ByteSize {
    // r[impl size.display]
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, power)| self.0 > 0 && self.0.trailing_zeros() >= *power);
        match unit {
            Some((letter, power)) => write!(out, "{}{letter}", self.0 >> power),
            None => write!(out, "{}", self.0),
        }
    }
}

impl FromStr for ByteSize {
    type Err = ParseSizeError;

    // r[impl size.parse]
    fn from_str(text: &str) -> Result<ByteSize, ParseSizeError> {
        let text = text.trim();
        let number_size = text.find(|c: char| !c.is_ascii_digit() && c != '.');
        let number_size = number_size.unwrap_or(text.len());
        let (number, unit) = text.split_at(number_size);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || fraction.contains('.') || number.ends_with('.') {
            return Err(ParseSizeError::Number { text: text.to_owned() });
        }
        let power = parse_unit(unit.trim_start())?;
        let bytes = scale(whole, fraction, power, text)?;
        Ok(ByteSize(bytes))
    }
}

/// The power of two of a unit.
fn parse_unit(unit: &str) -> Result<u32, ParseSizeError> {
    let lower = unit.to_ascii_lowercase();
    match lower.strip_suffix("ib").unwrap_or(&lower) {
        "" if lower.is_empty() => Ok(0),
        "b" if lower == "b" => Ok(0),
        "k" => Ok(10),
        "m" => Ok(20),
        "g" => Ok(30),
        "t" => Ok(40),
        _ => Err(ParseSizeError::Unit { unit: unit.to_owned() }),
    }
}

/// `whole.fraction << power` in exact arithmetic.
fn scale(whole: &str, fraction: &str, power: u32, text: &str) -> Result<u64, ParseSizeError> {
    let too_large = || ParseSizeError::TooLarge { text: text.to_owned() };
    let not_whole = || ParseSizeError::Fraction { text: text.to_owned() };
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let fraction = fraction.trim_end_matches('0');
    let bytes = if fraction.is_empty() {
        0
    } else {
        let digits: u64 = fraction.parse().map_err(|_| not_whole())?;
        let places = u32::try_from(fraction.len()).map_err(|_| not_whole())?;
        let divisor = 10u128.checked_pow(places).ok_or_else(not_whole)?;
        let scaled = u128::from(digits) << power;
        if !scaled.is_multiple_of(divisor) {
            return Err(not_whole());
        }
        scaled / divisor
    };
    let total = (u128::from(whole) << power) + bytes;
    u64::try_from(total).map_err(|_| too_large())
}
