use std::io::Write;

use tempfile::NamedTempFile;

use super::{BlockCountError, LineError, Request, Trace, TraceError};

fn read(text: &[u8]) -> Result<Trace, TraceError> {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text).unwrap();
    Trace::read(file.path())
}

fn line_error(text: &[u8]) -> (u64, LineError) {
    match read(text) {
        Err(TraceError::Line { line, source, .. }) => (line, source),
        other => panic!("{other:?}"),
    }
}

const GOOD: &str = r#"{"timestamp": 7, "input_length": 513, "output_length": 3, "hash_ids": [0, 18446744073709551615]}"#;

// r[verify replay.trace.read]
#[test]
fn lines_are_requests_in_their_order() {
    let second = r#"{"hash_ids":[],"output_length":1,"input_length":0,"timestamp":9,"more":[]}"#;
    let trace = read(format!("{GOOD}\r\n\n  \n{second}").as_bytes()).unwrap();
    let requests: Vec<_> = trace.requests().collect();
    let first =
        Request { timestamp_ms: 7, input_tokens: 513, output_tokens: 3, block_ids: &[0, u64::MAX] };
    let second = Request { timestamp_ms: 9, input_tokens: 0, output_tokens: 1, block_ids: &[] };
    assert_eq!(requests, [first, second]);
    assert_eq!(trace.request(1), Some(second));
    assert_eq!(trace.request(2), None);
    assert_eq!((trace.request_count(), trace.reference_count(), trace.distinct_count()), (2, 2, 2));
}

// r[verify replay.trace.read]
#[test]
fn a_wrong_line_is_named() {
    for wrong in
        ["x", "{}", "[1]", "{\"timestamp\": -1}", "\u{e9}", "{", &GOOD.replace("513", "1.5")]
    {
        let (line, error) = line_error(format!("{GOOD}\n\n{wrong}\n{GOOD}\n").as_bytes());
        assert_eq!(line, 3, "{wrong}");
        assert!(matches!(error, LineError::Json { .. }), "{wrong}: {error}");
    }
    let (line, error) = line_error(b"\xff\xfe\n");
    assert_eq!(line, 1);
    assert!(matches!(error, LineError::Json { .. }), "{error}");
}

// r[verify replay.trace.blocks]
#[test]
fn block_ids_that_do_not_match_the_tokens_are_refused() {
    for (tokens, expected) in [(512, 1), (1025, 3), (0, 0)] {
        let (line, error) = line_error(GOOD.replace("513", &tokens.to_string()).as_bytes());
        assert_eq!(line, 1);
        let LineError::BlockCount { source } = error else { panic!("{error}") };
        assert_eq!(source, BlockCountError { input_tokens: tokens, found: 2, expected });
    }
}

// r[verify replay.trace.read]
#[test]
fn files_that_are_no_trace_are_refused() {
    let missing = Trace::read("/nonexistent/trace".as_ref()).unwrap_err();
    assert!(matches!(missing, TraceError::Read { .. }), "{missing}");
    assert!(missing.to_string().contains("/nonexistent/trace"), "{missing}");
    let directory = Trace::read("/".as_ref()).unwrap_err();
    assert!(matches!(directory, TraceError::Read { .. }), "{directory}");
    let empty = read(b"\n \n").unwrap_err();
    assert!(matches!(empty, TraceError::Empty { .. }), "{empty}");
    let (line, error) = line_error(&vec![b' '; (16 << 20) + 1]);
    assert_eq!(line, 1);
    assert!(matches!(error, LineError::TooLong { max: 16_777_216 }), "{error}");
}
