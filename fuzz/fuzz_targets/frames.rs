//! See `onecopy_tests::fuzz::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| onecopy_tests::fuzz::frames::run(bytes));
