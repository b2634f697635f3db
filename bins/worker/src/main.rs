//! `worker`: a node of a fog, which runs tasks' programs in a sandbox.

#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    // A child of the sandbox is this very program. It has no runtime, thread or key.
    if betanet_sandbox::is_child(std::env::args_os()) {
        return betanet_sandbox::child_main();
    }
    betanet_cli::worker()
}
