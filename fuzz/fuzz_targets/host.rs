//! See `onecopy_tests::fuzz::host`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| onecopy_tests::fuzz::host::run(bytes));
