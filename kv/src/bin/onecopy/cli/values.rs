//! Values with a range; what is outside is an error of the command line that names the flag.

use onecopy::size::ByteSize;

pub fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.001..=86_400.0).contains(&value) => Ok(value),
        _ => Err("expected a number of seconds from 0.001 to 86400".to_owned()),
    }
}

pub fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.001..=1e6).contains(&value) => Ok(value),
        _ => Err("expected a number from 0.001 to 1000000".to_owned()),
    }
}

/// The smallest slot.
pub fn granule(text: &str) -> Result<ByteSize, String> {
    power_of_two(text, 64, 2 << 20)
}

/// Capacity of a ring.
pub fn ring(text: &str) -> Result<ByteSize, String> {
    power_of_two(text, 1 << 10, 64 << 20)
}

/// A size that is not 0.
pub fn positive(text: &str) -> Result<ByteSize, String> {
    let size = parse(text)?;
    if size.bytes() == 0 { Err("expected at least 1 byte".to_owned()) } else { Ok(size) }
}

// r[impl cli.values]
fn power_of_two(text: &str, min: u64, max: u64) -> Result<ByteSize, String> {
    let size = parse(text)?;
    if size.bytes().is_power_of_two() && (min..=max).contains(&size.bytes()) {
        return Ok(size);
    }
    let (min, max) = (ByteSize::from_bytes(min), ByteSize::from_bytes(max));
    Err(format!("expected a power of two from {min} to {max}"))
}

fn parse(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|error: onecopy::size::ParseSizeError| error.to_string())
}
