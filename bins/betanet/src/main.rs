//! `betanet`: fetch, publish, probe and inspect from the command line.

fn main() -> std::process::ExitCode {
    betanet_cli::betanet()
}
