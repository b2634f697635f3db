//! The command line of `cargo xtask`. Each chore with arguments of its own defines them beside its code.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{
    distinguish, economy, fog, measured, money, no_std, replays, schema, settle, sim, x25519,
};

/// Repository chores.
#[derive(Debug, Parser)]
#[command(
    name = "xtask",
    bin_name = "cargo xtask",
    after_help = "Exit codes: 0 success, 1 a check failed, 2 usage.\n\nExample: cargo xtask vectors spec-vectors"
)]
pub struct Xtask {
    /// Chore to run.
    #[command(subcommand)]
    pub chore: Chore,
}

/// A chore.
#[derive(Debug, Subcommand)]
pub enum Chore {
    /// Check tiers, purity and the listed exceptions.
    #[command(after_help = "Example: cargo xtask layers")]
    Layers,
    /// Check the lengths of source files.
    #[command(after_help = "Example: cargo xtask sizes")]
    Sizes,
    /// Check that the constants and tests named in SECURITY's table of bounds exist.
    #[command(after_help = "Example: cargo xtask bounds")]
    Bounds,
    /// Run the known answers of a folder through the crates.
    #[command(after_help = "Example: cargo xtask vectors spec-vectors")]
    Vectors(Vectors),
    /// Check the README's layout and commands, and the crates' READMEs beside their docs.
    #[command(after_help = "Example: cargo xtask readme --write")]
    Readme(Readme),
    /// Check that tiers 0 to 3 build for a target without std.
    #[command(
        after_help = "The target comes from rustup, its C compiler from Debian's gcc-arm-none-eabi; as root both are installed.\n\n\
                      Example: cargo xtask no-std"
    )]
    NoStd(no_std::Arguments),
    /// Compare the crates' public interfaces with those of the last tag.
    #[command(after_help = "Example: cargo xtask semver")]
    Semver,
    /// Measure speed and memory, as ratios to other implementations.
    #[command(after_help = "Example: cargo xtask bench --quick --only quic")]
    Bench(measured::Bench),
    /// Attack a gateway from other processes. Show its memory, connections and files, and whether honest clients are served.
    #[command(after_help = "Example: cargo xtask attacks 20 --only half-open")]
    Attacks(measured::Attacks),
    /// Compare a gateway's answers with those of the same site without betanet, and of nginx.
    #[command(
        after_help = "Install nginx-core first. From 100 tries on, the chore includes requests that wait for timeouts.\n\n\
                      Example: cargo xtask probes 200 --only 'post h2'"
    )]
    Probes(measured::Probes),
    /// Simulate scenarios: thousands of nodes of a network, or many seeds of a fog.
    #[command(
        after_help = "Build it with --release. Scenarios of the fog take --seeds: sim --seeds 1000 scenarios/fog/rough.toml.\n\n\
                      Example: cargo xtask sim --nodes 100 scenarios/join.toml"
    )]
    Sim(sim::Arguments),
    /// Compare random multiplications with another implementation.
    #[command(after_help = "Build it with --release.\n\nExample: cargo xtask x25519 100000")]
    X25519(x25519::Arguments),
    /// Measure how well the mix hides senders, beside the theory's prediction.
    #[command(
        after_help = "Build it with --release.\n\nExample: cargo xtask anonymity target/anonymity.svg"
    )]
    Anonymity(Anonymity),
    /// Send tags and packets twice, and again after a restart.
    #[command(
        after_help = "Build it with --release.\n\nExample: cargo xtask replays 1000000 10000"
    )]
    Replays(replays::Arguments),
    /// Kill a gateway while clients redeem and swap vouchers, and kill commands of wallets. Check that no money is lost or made.
    #[command(
        after_help = "The full form takes many minutes. The tests have a short one.\n\nExample: cargo xtask money --operations 10000 --points 1000"
    )]
    Money(money::Arguments),
    /// Give the economy's machine random commands, and check its laws after each.
    #[command(
        after_help = "The full form takes about an hour. The test has a short one.\n\nExample: cargo xtask economy --commands 20000 --seeds 500"
    )]
    Economy(economy::Arguments),
    /// Kill a process that pays for tasks from a ledger of tokens. Check that each task is paid exactly and once.
    #[command(
        after_help = "The full form takes hours. The test has a short one.\n\nExample: cargo xtask settle --points 500"
    )]
    Settle(settle::Arguments),
    /// Send the API of a control panel what its OpenAPI document allows and what it does not, and compare the answers with it.
    #[command(
        after_help = "As root it installs schemathesis. CI runs it with few examples.\n\nExample: cargo xtask schema --examples 2000"
    )]
    Schema(schema::Arguments),
    /// Run six nodes in network namespaces; kill one, cut one off, move one.
    #[command(
        after_help = "Run it as root, with iproute2 and python3.\n\nExample: cargo xtask netns"
    )]
    Netns,
    /// Record Chromium's page loads and as many tunnels; train classifiers to tell them apart.
    #[command(
        after_help = "Run it as root, with chromium and python3-venv.\n\nExample: cargo xtask distinguish 300 plain"
    )]
    Distinguish(distinguish::Arguments),
    /// Place the tasks of a real GPU cluster by each strategy.
    #[command(after_help = "Build it with --release.\n\nExample: cargo xtask fog openb")]
    Fog(fog::Arguments),
    /// Run the README's first command.
    #[command(after_help = "Example: cargo xtask demo")]
    Demo,
    /// Run all checks and tests.
    #[command(after_help = "Example: cargo xtask ci")]
    Ci,
}

/// Arguments of `vectors`.
#[derive(Args, Debug)]
pub struct Vectors {
    /// Folder of the known answers; by default spec-vectors.
    pub dir: Option<PathBuf>,
}

/// Arguments of `readme`.
#[derive(Args, Debug)]
pub struct Readme {
    /// Write the crates' READMEs from their docs, and check nothing.
    #[arg(long)]
    pub write: bool,
}

/// Arguments of `anonymity`.
#[derive(Args, Debug)]
pub struct Anonymity {
    /// Output file for the plot.
    #[arg(default_value = "target/anonymity.svg")]
    pub svg: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Xtask, clap::Error> {
        let words = line.strip_prefix("cargo ").unwrap_or(line);
        // One argument of the examples stands in quotes.
        let words = words.split('\'').enumerate().flat_map(|(i, part)| {
            let whole = i % 2 == 1;
            let parts: Vec<&str> = match whole {
                true => vec![part],
                false => part.split_whitespace().collect(),
            };
            parts
        });
        Xtask::try_parse_from(words)
    }

    #[test]
    fn each_chore_has_an_example_that_parses() {
        let command = Xtask::command();
        command.clone().debug_assert();
        for chore in command.get_subcommands() {
            let name = chore.get_name();
            let help = chore.get_after_help().map(ToString::to_string);
            let help = help.unwrap_or_default();
            let example = help
                .lines()
                .last()
                .and_then(|l| l.strip_prefix("Example: "));
            let example = example.unwrap_or_else(|| panic!("{name} has no example"));
            assert!(
                example.starts_with(&format!("cargo xtask {name}")),
                "{example}"
            );
            assert!(parse(example).is_ok(), "{example}");
            assert!(chore.get_about().is_some(), "{name} says nothing of itself");
        }
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for line in [
            "xtask",
            "xtask nothing",
            "xtask layers more",
            "xtask sim",
            "xtask x25519 0",
            "xtask replays 0",
            "xtask attacks 86401",
            "xtask distinguish 300 other",
            "xtask bench --compare one",
            "xtask bench --compare one two --quick",
            "xtask bench --compare one two --strict",
            "xtask probes --only",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn every_chore_answers_help() {
        for chore in Xtask::command().get_subcommands() {
            let asked = parse(&format!("xtask {} --help", chore.get_name())).unwrap_err();
            assert_eq!(asked.kind(), clap::error::ErrorKind::DisplayHelp);
        }
    }
}
