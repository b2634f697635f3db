//! `coordinator`: a node that takes tasks, places them on other nodes, and records one result for each.

#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    betanet_cli::coordinator()
}
