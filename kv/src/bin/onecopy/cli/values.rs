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

/// Cells of a lease table.
pub fn leases(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(value) if (8..=1 << 20).contains(&value) && value.is_multiple_of(8) => Ok(value),
        _ => Err("expected a multiple of 8 from 8 to 1048576".to_owned()),
    }
}

/// A user's id.
pub fn user(text: &str) -> Result<u32, String> {
    id(text, "user", "/etc/passwd")
}

/// A group's id.
pub fn group(text: &str) -> Result<u32, String> {
    id(text, "group", "/etc/group")
}

/// What the kernel gives where there is no id: nobody can be listed by it.
const ID_OVERFLOW: u32 = 65_534;

/// A number, or the number of a name in a file whose lines begin with name, password and number.
// r[impl cli.serve.allow]
fn id(text: &str, what: &str, file: &str) -> Result<u32, String> {
    let found = match text.parse() {
        Ok(id) => Some(id),
        Err(_) => {
            let known =
                std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
            known.lines().find_map(|line| {
                let mut fields = line.split(':');
                let named = fields.next() == Some(text);
                fields.nth(1).filter(|_| named)?.parse().ok()
            })
        }
    };
    match found {
        Some(ID_OVERFLOW) => Err(format!(
            "{what} {ID_OVERFLOW} stands for whoever has no id here and cannot be let in"
        )),
        Some(u32::MAX) => Err(format!("{} is no {what}'s id", u32::MAX)),
        Some(id) => Ok(id),
        None => Err(format!("{file} has no {what} {text:?}, expected a name there or a number")),
    }
}
