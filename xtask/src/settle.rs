//! `cargo xtask settle`: a process that settles tasks, which is killed at random moments.

use clap::Args;

use crate::root;

/// Arguments of `settle`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Moments at which the process is killed.
    #[arg(long, default_value_t = 10_000)]
    pub points: u64,
    /// Seed of the moments.
    #[arg(long, default_value_t = 33)]
    pub seed: u64,
}

/// Runs the test `kills` of `crates/escrow-service` in full.
///
/// # Errors
///
/// It does not build, or a task is not paid exactly and once.
pub fn run(args: &Arguments) -> Result<(), String> {
    let mut test = std::process::Command::new("cargo");
    test.args(["test", "--locked", "--package", "betanet-escrow-service"])
        .args(["--test", "all", "--", "--exact", "--nocapture"])
        .arg("kills::a_process_that_is_killed_while_it_settles_pays_each_task_once")
        .env("BETANET_SETTLE_POINTS", args.points.to_string())
        .env("BETANET_SETTLE_SEED", args.seed.to_string())
        .current_dir(root());
    let status = test.status().map_err(|e| format!("cargo test: {e}"))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("cargo test: {status}")),
    }
}
