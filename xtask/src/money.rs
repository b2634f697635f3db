//! `cargo xtask money`: gateways with a mint, and wallets, that are killed at random moments; and what such a mint learns.

use clap::Args;

use crate::root;

/// Arguments of `money`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Redemptions and swaps of 50 clients, while their gateway is killed.
    #[arg(long, default_value_t = 10_000)]
    pub operations: u64,
    /// Commands of wallets to kill.
    #[arg(long, default_value_t = 1_000)]
    pub points: u64,
    /// Vouchers that a mint, which keeps every byte, tries to link.
    #[arg(long, default_value_t = 10_000)]
    pub vouchers: u64,
    /// Seed of what is done and when processes are killed.
    #[arg(long, default_value_t = 31)]
    pub seed: u64,
    /// Run this part only.
    #[arg(long, value_parser = ["service", "wallets", "unlinkable"])]
    pub only: Option<String>,
}

/// Runs the tests of `bins/betanet/tests/money.rs` in full.
///
/// # Errors
///
/// They do not build, money is lost or spent twice, or a mint can link vouchers.
pub fn run(args: &Arguments) -> Result<(), String> {
    let mut test = std::process::Command::new("cargo");
    test.args([
        "test",
        "--locked",
        "--package",
        "betanet",
        "--test",
        "money",
    ])
    .args(["--", "--nocapture", "--test-threads", "1"])
    .args(args.only.as_ref().map(|part| format!("{part}::")))
    .current_dir(root());
    for (name, n) in [
        ("OPERATIONS", args.operations),
        ("POINTS", args.points),
        ("VOUCHERS", args.vouchers),
        ("SEED", args.seed),
    ] {
        test.env(format!("BETANET_MONEY_{name}"), n.to_string());
    }
    let status = test.status().map_err(|e| format!("cargo test: {e}"))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("cargo test: {status}")),
    }
}
