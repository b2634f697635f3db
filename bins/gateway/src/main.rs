//! `gateway`: a node that serves a folder over BAR and is a web site to everybody else.

#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    betanet_cli::gateway()
}
