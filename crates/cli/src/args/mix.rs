use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::{AccountFlags, Mixing, SettingArgs};

/// A relay of the mix that shows a web site to every other visitor.
#[derive(Debug, Parser)]
#[command(
    name = "mixnode",
    version,
    after_help = "Flags take precedence over BETANET_* variables, and these over --config. SIGTERM and Ctrl-C drain open streams and stop.\n\
                  Exit codes: 0 stopped, 1 network, 2 usage and settings, 3 local files.\n\n\
                  Example: mixnode --listen 203.0.113.7:443 --cover ./site --key ./node.pem --network ./NETWORK.toml --org example",
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub(crate) struct Mixnode {
    #[command(subcommand)]
    pub(crate) command: Option<MixnodeCommand>,
    /// TOML file of settings; dist/mixnode.toml shows those of a mixnode, and dist/gateway.toml all others.
    #[arg(long, value_name = "FILE", env = "BETANET_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) accounts: AccountFlags,
    #[command(flatten)]
    pub(crate) settings: SettingArgs<Mixing>,
    /// Print the node's status as one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MixnodeCommand {
    /// Report every error that prevents a mixnode from starting with these settings, without starting it.
    #[command(
        after_help = "The check creates no file, binds no port and sends nothing. Exit codes: 0 the mixnode can start, 2 it cannot.\n\n\
                      Example: mixnode check /etc/betanet/mixnode.toml"
    )]
    Check(Box<MixnodeCheck>),
}

#[derive(Debug, Args)]
pub(crate) struct MixnodeCheck {
    /// TOML file of settings.
    pub(crate) file: Option<PathBuf>,
    /// Same as FILE.
    #[arg(long, value_name = "FILE", env = "BETANET_CONFIG", hide = true)]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) accounts: AccountFlags,
    #[command(flatten)]
    pub(crate) settings: SettingArgs<Mixing>,
    /// Print the faults as one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MixArgs {
    #[command(subcommand)]
    pub(crate) command: MixCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MixCommand {
    /// Build, sign, join and publish the directory of an epoch's relays.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Directory(DirectoryArgs),
    /// Share a beacon's key among several holders: split it, sign with shares, join signatures.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Beacon(BeaconArgs),
    /// Send loops through the mix back to this client, and report their times and losses.
    #[command(
        after_help = "Example: betanet mix loop --network ./NETWORK.toml --seconds 60 --loops ./loops.jsonl"
    )]
    Loop(LoopArgs),
    /// Check relays' published proofs against measured loops, offline: beacon, layers, proofs, delays.
    #[command(
        after_help = "Fetch a relay's proof after the epoch: betanet get bar://RELAY/.bn/mix/proof/EPOCH -o RELAY.proof\n\n\
                      Example: betanet mix audit --network ./NETWORK.toml --directory 163000.dir --proof a.proof --loops loops.jsonl"
    )]
    Audit(AuditArgs),
}

#[derive(Debug, Args)]
pub(crate) struct BeaconArgs {
    #[command(subcommand)]
    pub(crate) command: BeaconCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BeaconCommand {
    /// Split a beacon's secret into shares. The dealer knows the secret, and should destroy its file and all shares but their
    /// own.
    #[command(
        after_help = "Example: betanet mix beacon split --beacon-key keys/beacon.key --threshold 3 --shares 5 -o shares"
    )]
    Split {
        /// Secret that `network new` created.
        #[arg(long, value_name = "FILE")]
        beacon_key: PathBuf,
        /// Number of holders that sign together.
        #[arg(long, value_name = "T", value_parser = clap::value_parser!(u8).range(1..))]
        threshold: u8,
        /// Number of shares.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
        shares: u8,
        /// New folder for the shares, one file each.
        #[arg(short, long, value_name = "DIR")]
        output: PathBuf,
    },
    /// Sign an epoch with a share, and print the part for `join`.
    #[command(after_help = "Example: betanet mix beacon sign --share shares/2 --epoch 166300")]
    Sign {
        /// Share of this holder.
        #[arg(long, value_name = "FILE")]
        share: PathBuf,
        /// Epoch; by default the next one.
        #[arg(long, value_name = "N")]
        epoch: Option<u32>,
    },
    /// Join the holders' parts, check the result, and print the signature for `directory build --beacon`.
    #[command(
        after_help = "Example: betanet mix beacon join --network ./NETWORK.toml --epoch 166300 1:a0… 2:b1… 4:93…"
    )]
    Join {
        /// Parts that the holders printed.
        #[arg(required = true, value_name = "INDEX:HEX")]
        parts: Vec<String>,
        /// Network file.
        #[arg(long, value_name = "FILE", env = "BETANET_NETWORK")]
        network: PathBuf,
        /// Epoch; by default the next one.
        #[arg(long, value_name = "N")]
        epoch: Option<u32>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DirectoryArgs {
    #[command(subcommand)]
    pub(crate) command: DirectoryCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DirectoryCommand {
    /// Ask the network's relays for their keys and layers, and write an unsigned directory.
    #[command(
        after_help = "Example: betanet mix directory build --network ./NETWORK.toml --beacon-key keys/beacon.key -o 163000.rec"
    )]
    Build(BuildArgs),
    /// Sign a directory as a maintainer.
    #[command(
        after_help = "Example: betanet mix directory sign 163000.rec --key keys/maintainer1.pem -o 163000.sig1"
    )]
    Sign {
        /// File that `build` wrote, or an envelope that others have signed.
        file: PathBuf,
        /// Key of the maintainer.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Output file for the signed envelope.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Join the envelopes of several maintainers, and check that there are enough signatures.
    #[command(
        after_help = "Example: betanet mix directory join --network ./NETWORK.toml 163000.sig? -o 163000.dir"
    )]
    Join {
        /// Envelopes that maintainers signed.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Network file.
        #[arg(long, value_name = "FILE", env = "BETANET_NETWORK")]
        network: PathBuf,
        /// Output file for the joined envelope.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Send a signed directory to the network's seeds.
    #[command(
        after_help = "Example: betanet mix directory publish 163000.dir --network ./NETWORK.toml"
    )]
    Publish {
        /// File that `join` wrote.
        file: PathBuf,
        /// Network file.
        #[arg(long, value_name = "FILE", env = "BETANET_NETWORK")]
        network: PathBuf,
    },
    /// Check a directory and show its relays.
    #[command(
        after_help = "Example: betanet mix directory show 163000.dir --network ./NETWORK.toml"
    )]
    Show {
        /// File that `join` wrote, or that a seed returned.
        file: PathBuf,
        /// Network file.
        #[arg(long, value_name = "FILE", env = "BETANET_NETWORK")]
        network: PathBuf,
        /// Print one line of JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// Network file.
    #[arg(long, value_name = "FILE", env = "BETANET_NETWORK")]
    pub(crate) network: PathBuf,
    /// Epoch; by default the current one.
    #[arg(long, value_name = "N")]
    pub(crate) epoch: Option<u32>,
    /// Secret of the beacon, if one party holds it alone, as in a test network.
    #[arg(long, value_name = "FILE", required_unless_present = "beacon")]
    pub(crate) beacon_key: Option<PathBuf>,
    /// The epoch's beacon signature, 96 hex digits, if several holders made it.
    #[arg(long, value_name = "HEX", conflicts_with = "beacon_key")]
    pub(crate) beacon: Option<String>,
    /// Seconds to wait for relays.
    #[arg(long, default_value_t = 15, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) wait: u64,
    /// Stop waiting once this many relays are known.
    #[arg(long, value_name = "N")]
    pub(crate) relays: Option<usize>,
    /// TOML file of ratings: a table per name, with reputation and performance from 0 to 1, and stake in FOG; [others] is for the
    /// rest. By default all have full marks and no stake. `stake standing` writes such a file.
    #[arg(long, value_name = "FILE")]
    pub(crate) standing: Option<PathBuf>,
    /// Output file for the record.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct LoopArgs {
    /// Network file.
    #[arg(long, value_name = "FILE", env = "BETANET_NETWORK")]
    pub(crate) network: PathBuf,
    /// Number of relays on a path, including the guard, to which a loop returns.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=7))]
    pub(crate) relays: u8,
    /// Duration in seconds.
    #[arg(long, default_value_t = 30, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) seconds: u64,
    /// Mean milliseconds between loops.
    #[arg(long, default_value_t = 500, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub(crate) every: u64,
    /// Folder of your state, which holds the guard. By default it is in your data folder.
    #[arg(long, value_name = "DIR", env = "BETANET_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// Append each loop to this file, for an audit. It holds the tags of this client's own packets; keep it secret.
    #[arg(long, value_name = "FILE")]
    pub(crate) loops: Option<PathBuf>,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Network file.
    #[arg(long, value_name = "FILE", env = "BETANET_NETWORK")]
    pub(crate) network: PathBuf,
    /// Directory that maintainers signed; may be repeated.
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) directory: Vec<PathBuf>,
    /// Delay proof of a relay; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) proof: Vec<PathBuf>,
    /// Results of a client's loops, as `betanet mix loop` writes them.
    #[arg(long, value_name = "FILE")]
    pub(crate) loops: Option<PathBuf>,
    /// Milliseconds by which a loop may be early, to allow for rounding clocks.
    #[arg(long, default_value_t = 2.0, value_name = "MS")]
    pub(crate) tolerance: f64,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
