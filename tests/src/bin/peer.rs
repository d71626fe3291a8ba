//! A peer of the process tests: does what standard input says, answers on standard output.

fn main() -> std::process::ExitCode {
    onecopy_tests::harness::run_script()
}
