//! The program that this crate's tests start as a child.

fn main() -> std::process::ExitCode {
    if betanet_sandbox::is_child(std::env::args_os()) {
        betanet_sandbox::child_main()
    } else {
        std::process::ExitCode::FAILURE
    }
}
