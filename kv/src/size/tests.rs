use proptest::prelude::*;

use super::{ByteSize, ParseSizeError};

fn bytes(text: &str) -> u64 {
    text.parse::<ByteSize>().unwrap().bytes()
}

// r[verify size.parse]
#[test]
fn sizes_read_as_people_write_them() {
    assert_eq!(bytes("4G"), 4 << 30);
    assert_eq!(bytes("16K"), 16 << 10);
    assert_eq!(bytes("16k"), 16 << 10);
    assert_eq!(bytes("64MiB"), 64 << 20);
    assert_eq!(bytes("64 mib"), 64 << 20);
    assert_eq!(bytes("1.5G"), 3 << 29);
    assert_eq!(bytes("0.50T"), 1 << 39);
    assert_eq!(bytes("4096"), 4096);
    assert_eq!(bytes("4096B"), 4096);
    assert_eq!(bytes("0"), 0);
    assert_eq!(bytes("18446744073709551615"), u64::MAX);
    assert_eq!(bytes("16777215T"), 16_777_215 << 40);
}

// r[verify size.parse]
#[test]
fn what_is_no_size_says_why() {
    for text in ["", "G", ".5G", "-1", "1.G", "1.2.3K", "."] {
        let wrong = Err(ParseSizeError::Number { text: text.to_owned() });
        assert_eq!(text.parse::<ByteSize>(), wrong, "{text:?}");
    }
    for (text, unit) in [("4GB", "GB"), ("4kb", "kb"), ("1iB", "iB"), ("1X", "X"), ("1Bib", "Bib")]
    {
        let wrong = Err(ParseSizeError::Unit { unit: unit.to_owned() });
        assert_eq!(text.parse::<ByteSize>(), wrong, "{text:?}");
    }
    for text in ["0.3K", "1.5", "1.00000000000000000000000000000000000001T"] {
        let wrong = Err(ParseSizeError::Fraction { text: text.to_owned() });
        assert_eq!(text.parse::<ByteSize>(), wrong, "{text:?}");
    }
    for text in ["18446744073709551616", "16777216T", "99999999999999999999999K"] {
        let wrong = Err(ParseSizeError::TooLarge { text: text.to_owned() });
        assert_eq!(text.parse::<ByteSize>(), wrong, "{text:?}");
    }
}

#[test]
fn rounded_sizes_are_for_people() {
    assert_eq!(ByteSize::from_bytes(812).rounded(), "812 B");
    assert_eq!(ByteSize::from_bytes(3 << 29).rounded(), "1.5 GiB");
    assert_eq!(ByteSize::from_bytes((1 << 20) - 1).rounded(), "1024.0 KiB");
    assert_eq!(ByteSize::from_bytes(u64::MAX).rounded(), "16777216.0 TiB");
}

proptest! {
    // r[verify size.display]
    #[test]
    fn a_shown_size_reads_back(mantissa: u64, shift in 0u32..64) {
        let size = ByteSize::from_bytes(mantissa << shift);
        prop_assert_eq!(size.to_string().parse::<ByteSize>(), Ok(size));
    }

    // r[verify size.parse]
    #[test]
    fn no_text_panics(text: String) {
        let _ = text.parse::<ByteSize>();
    }
}
