use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::{Mixing, SettingArgs};

/// A relay of the mix that is a web site to everybody else.
#[derive(Debug, Parser)]
#[command(
    name = "mixnode",
    version,
    after_help = "Flags win over BETANET_* variables, which win over --config. SIGTERM and Ctrl-C drain and stop.\n\
                  Exit codes: 0 stopped, 1 network, 2 usage, 3 local files and settings.\n\n\
                  Example: mixnode --listen 203.0.113.7:443 --cover ./site --key ./node.pem --network ./NETWORK.toml --org example",
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub(crate) struct Mixnode {
    #[command(subcommand)]
    pub(crate) command: Option<MixnodeCommand>,
    /// A TOML file of settings. Each flag below is a setting of it, with _ for -; dist/gateway.toml shows all of them.
    #[arg(long, value_name = "FILE", env = "BETANET_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: SettingArgs<Mixing>,
    /// Print the node's facts as one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MixnodeCommand {
    /// Tell all that keeps a mixnode from starting with these settings, without starting it.
    #[command(
        after_help = "It makes no file, binds no port, asks no network. Exit codes: 0 a node can start, 2 it cannot.\n\n\
                      Example: mixnode check /etc/betanet/mixnode.toml"
    )]
    Check(Box<MixnodeCheck>),
}

#[derive(Debug, Args)]
pub(crate) struct MixnodeCheck {
    /// The TOML file of settings.
    pub(crate) file: Option<PathBuf>,
    /// The same.
    #[arg(long, value_name = "FILE", env = "BETANET_CONFIG", hide = true)]
    pub(crate) config: Option<PathBuf>,
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
    /// The directory of an epoch's relays: made, signed by maintainers, joined, brought to the seeds.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Directory(DirectoryArgs),
    /// The beacon of an epoch, where several hold its key in shares: dealt out, signed with, joined.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Beacon(BeaconArgs),
    /// Send loops over the mix to oneself, and tell how long they took and how many were lost.
    #[command(
        after_help = "Example: betanet mix loop --network ./NETWORK.toml --seconds 60 --loops ./loops.jsonl"
    )]
    Loop(LoopArgs),
    /// Check, without a network, what relays published against what loops met: beacon, layers, proofs, delays.
    #[command(
        after_help = "A relay's proof: betanet get bar://RELAY/.bn/mix/proof/EPOCH -o RELAY.proof, once the epoch is over.\n\n\
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
    /// Deal a beacon's secret out to holders. Who deals knows it, and is to destroy the secret's file and all shares but their own.
    #[command(
        after_help = "Example: betanet mix beacon split --beacon-key keys/beacon.key --threshold 3 --shares 5 -o shares"
    )]
    Split {
        /// The secret, as `network new` made it.
        #[arg(long, value_name = "FILE")]
        beacon_key: PathBuf,
        /// How many holders sign together.
        #[arg(long, value_name = "T", value_parser = clap::value_parser!(u8).range(1..))]
        threshold: u8,
        /// How many there are.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
        shares: u8,
        /// The folder for the shares, one file each; made.
        #[arg(short, long, value_name = "DIR")]
        output: PathBuf,
    },
    /// Sign an epoch with a share, and print what to give whoever joins.
    #[command(after_help = "Example: betanet mix beacon sign --share shares/2 --epoch 166300")]
    Sign {
        /// One's share.
        #[arg(long, value_name = "FILE")]
        share: PathBuf,
        /// Which epoch; the next one without it.
        #[arg(long, value_name = "N")]
        epoch: Option<u32>,
    },
    /// Join what holders signed, check it, and print the signature for `directory build --beacon`.
    #[command(
        after_help = "Example: betanet mix beacon join --network ./NETWORK.toml --epoch 166300 1:a0… 2:b1… 4:93…"
    )]
    Join {
        /// What holders printed.
        #[arg(required = true, value_name = "INDEX:HEX")]
        parts: Vec<String>,
        /// The network's file.
        #[arg(long, value_name = "FILE", env = "BETANET_NETWORK")]
        network: PathBuf,
        /// Which epoch; the next one without it.
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
    /// Ask the network's relays where they stand, and write a directory that is still to be signed.
    #[command(
        after_help = "Example: betanet mix directory build --network ./NETWORK.toml --beacon-key keys/beacon.key -o 163000.rec"
    )]
    Build(BuildArgs),
    /// Sign a directory as one of the maintainers.
    #[command(
        after_help = "Example: betanet mix directory sign 163000.rec --key keys/maintainer1.pem -o 163000.sig1"
    )]
    Sign {
        /// What `build` wrote, or an envelope that others have signed.
        file: PathBuf,
        /// The maintainer's key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Where the signed envelope goes.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Join the envelopes of several maintainers into one, and check that they suffice.
    #[command(
        after_help = "Example: betanet mix directory join --network ./NETWORK.toml 163000.sig? -o 163000.dir"
    )]
    Join {
        /// What maintainers signed.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The network's file.
        #[arg(long, value_name = "FILE", env = "BETANET_NETWORK")]
        network: PathBuf,
        /// Where the joined envelope goes.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Bring a signed directory to the network's seeds.
    #[command(
        after_help = "Example: betanet mix directory publish 163000.dir --network ./NETWORK.toml"
    )]
    Publish {
        /// What `join` wrote.
        file: PathBuf,
        /// The network's file.
        #[arg(long, value_name = "FILE", env = "BETANET_NETWORK")]
        network: PathBuf,
    },
    /// Check a directory and show its relays.
    #[command(
        after_help = "Example: betanet mix directory show 163000.dir --network ./NETWORK.toml"
    )]
    Show {
        /// What `join` wrote, or a seed gave.
        file: PathBuf,
        /// The network's file.
        #[arg(long, value_name = "FILE", env = "BETANET_NETWORK")]
        network: PathBuf,
        /// One line of JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The network's file.
    #[arg(long, value_name = "FILE", env = "BETANET_NETWORK")]
    pub(crate) network: PathBuf,
    /// Of which epoch; the one of now without it.
    #[arg(long, value_name = "N")]
    pub(crate) epoch: Option<u32>,
    /// The beacon's secret, where one party holds it alone, as in a test network.
    #[arg(long, value_name = "FILE", required_unless_present = "beacon")]
    pub(crate) beacon_key: Option<PathBuf>,
    /// The epoch's beacon signature, 96 hex digits, where its holders made it together.
    #[arg(long, value_name = "HEX", conflicts_with = "beacon_key")]
    pub(crate) beacon: Option<String>,
    /// How many seconds relays are waited for.
    #[arg(long, default_value_t = 15, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) wait: u64,
    /// No longer than until so many are known.
    #[arg(long, value_name = "N")]
    pub(crate) relays: Option<usize>,
    /// A TOML file of what is held of relays: a table a name, with reputation and performance from 0 to 1, and stake.
    #[arg(long, value_name = "FILE")]
    pub(crate) standing: Option<PathBuf>,
    /// Where the record goes.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct LoopArgs {
    /// The network's file.
    #[arg(long, value_name = "FILE", env = "BETANET_NETWORK")]
    pub(crate) network: PathBuf,
    /// Relays of a path, the guard first; a loop meets the guard once more at its end.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=7))]
    pub(crate) relays: u8,
    /// For how long.
    #[arg(long, default_value_t = 30, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) seconds: u64,
    /// Milliseconds between loops, in the mean.
    #[arg(long, default_value_t = 500, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub(crate) every: u64,
    /// The folder in which the guard is kept; without it, the user's own.
    #[arg(long, value_name = "DIR", env = "BETANET_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// Append each loop to this file, for an audit. It holds the tags of this client's own packets: nobody else is to have it.
    #[arg(long, value_name = "FILE")]
    pub(crate) loops: Option<PathBuf>,
    /// One line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// The network's file.
    #[arg(long, value_name = "FILE", env = "BETANET_NETWORK")]
    pub(crate) network: PathBuf,
    /// A directory as maintainers signed it; may be repeated.
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) directory: Vec<PathBuf>,
    /// A relay's delay proof; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) proof: Vec<PathBuf>,
    /// What a client's loops met, as `betanet mix loop` notes it.
    #[arg(long, value_name = "FILE")]
    pub(crate) loops: Option<PathBuf>,
    /// Milliseconds by which a loop may be early, for what clocks round.
    #[arg(long, default_value_t = 2.0, value_name = "MS")]
    pub(crate) tolerance: f64,
    /// One line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
