use super::*;
use proptest::prelude::*;

// r[verify ring.header.layout]
#[test]
fn fields_sit_where_the_drawing_says() {
    let header =
        FrameHeader { length: 0x00ab_cdef, kind: 0x12, flags: 0x34, request_id: 0x56_789a };
    assert_eq!(header.encode(), Ok(0x5678_9a34_12ab_cdef));
    assert_eq!(HeaderWord::decode(0xff00_0000), Ok(HeaderWord::Wrap));
    assert_eq!(HeaderWord::decode(0), Ok(HeaderWord::Empty));
}

// r[verify ring.header.fields]
#[test]
fn fields_that_do_not_fit_are_refused() {
    let good = FrameHeader { length: 1, kind: 1, flags: 0, request_id: 1 };
    assert!(good.encode().is_ok());
    for kind in [0, 255] {
        assert_eq!(
            FrameHeader { kind, ..good }.encode(),
            Err(FrameFieldError::ReservedKind { kind })
        );
    }
    let length = FRAME_LENGTH_LIMIT + 1;
    assert_eq!(FrameHeader { length, ..good }.encode(), Err(FrameFieldError::Length { length }));
    let request_id = REQUEST_ID_MAX + 1;
    assert_eq!(
        FrameHeader { request_id, ..good }.encode(),
        Err(FrameFieldError::RequestId { request_id })
    );
}

proptest! {
    // r[verify ring.header.decode]
    #[test]
    fn every_word_means_one_thing(word in any::<u64>(), kind in prop_oneof![Just(0u64), Just(255), 0u64..256]) {
        let word = word & !(0xff << 24) | kind << 24;
        let frame = match HeaderWord::decode(word) {
            Ok(HeaderWord::Frame(header)) => Some(header),
            _ => None,
        };
        prop_assert_eq!(HeaderWord::frame(word), frame);
        match HeaderWord::decode(word) {
            Ok(HeaderWord::Empty) => prop_assert_eq!(word, 0),
            Ok(HeaderWord::Wrap) => prop_assert_eq!(word, 0xff00_0000),
            Ok(HeaderWord::Frame(header)) => prop_assert_eq!(header.encode(), Ok(word)),
            Err(HeaderWordError::ZeroKind) => prop_assert!(kind == 0 && word != 0),
            Err(HeaderWordError::WrapWithFields) => prop_assert!(kind == 255 && word != 0xff00_0000),
        }
    }
}
