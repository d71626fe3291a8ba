//! See `onecopy_tests::fuzz::control`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| onecopy_tests::fuzz::control::run(bytes));
