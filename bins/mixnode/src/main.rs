//! `mixnode`: a relay of the mix that is a web site to everybody else.

fn main() -> std::process::ExitCode {
    betanet_cli::mixnode()
}
