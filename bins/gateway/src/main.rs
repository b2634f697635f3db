//! `gateway`: a node that serves a folder over BAR and is a web site to everybody else.

fn main() -> std::process::ExitCode {
    betanet_cli::gateway()
}
