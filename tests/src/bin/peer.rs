//! A peer of the process tests: does what standard input says, answers on standard output.

fn main() -> std::process::ExitCode {
    // A peer that is a host reserves memory through this program started anew.
    match onecopy_transport::growth_helper::GrowthHelper::register() {
        Some(code) => code,
        None => onecopy_tests::harness::run_script(),
    }
}
