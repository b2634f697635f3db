//! `network`, `peers`, `path`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::DialArgs;

#[derive(Debug, Args)]
pub(crate) struct NetworkArgs {
    #[command(subcommand)]
    pub(crate) command: NetworkCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NetworkCommand {
    /// Write a test network into a new folder: keys, NETWORK.toml and one command per node.
    #[command(
        after_help = "Nodes listen on 127.11.0.1, 127.12.0.1 and so on, in the order of the file COMMANDS. They are at most 240 in all.\n\nExample: betanet network new ./testnet --relays 4"
    )]
    New {
        /// New folder.
        dir: PathBuf,
        /// Nodes besides the five seeds; each carries paths and serves a folder.
        #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=200))]
        relays: u8,
        /// Relays of the mix. With one or more, a beacon key is created, and NETWORK.toml gets a [mix] part.
        #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=200))]
        mixnodes: u8,
        /// Layers of the mix; by default 3, or 1 with fewer than twelve relays.
        #[arg(long, value_name = "N", requires = "mixnodes", value_parser = clap::value_parser!(u8).range(1..=7))]
        layers: Option<u8>,
        /// Signers of a ledger of names, at least 3. The first seeds keep the ledger, and sign its heads.
        #[arg(long, default_value_t = 0, value_name = "N", value_parser = signers)]
        signers: u8,
        /// Port of all nodes; their admin addresses use the next port.
        #[arg(long, default_value_t = 7443, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..65_535))]
        port: u16,
        /// Print one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Start all nodes of a test network as processes, and run until Ctrl-C, which stops them.
    #[command(
        after_help = "The folder then holds run/NAME.pid and run/NAME.log for each node. With mixnodes, a directory of relays is signed\n\
                      and published for each epoch, one epoch ahead. Nodes end with this process, however it ends.\n\n\
                      Example: betanet network up ./testnet --detach"
    )]
    Up(UpArgs),
    /// Stop a running test network, and wait until all of its processes have ended.
    #[command(after_help = "Example: betanet network down ./testnet")]
    Down {
        /// Folder of the network.
        dir: PathBuf,
    },
    /// Show whether a test network runs, and the health of each node.
    #[command(
        after_help = "Exit code 1 if the network does not run, or a node is unhealthy.\n\nExample: betanet network status ./testnet"
    )]
    Status {
        /// Folder of the network.
        dir: PathBuf,
        /// Print one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Name a bootstrap peer in the network's ledger of names: nodes ask it when they join, beside the seeds of the network file.
    #[command(
        after_help = "The first call makes the record; each maintainer signs the same file. Once enough of them signed, it is given to the\n\
                      ledger. The record of a later call for the same peer replaces it.\n\n\
                      Example: betanet network bootstrap ./record --peer bnp1… --maintainer ./me.pem --network NETWORK.toml"
    )]
    Bootstrap(Box<BootstrapArgs>),
    /// Run one node of a test network for as long as standard input is open.
    #[command(hide = true)]
    Node {
        /// Settings file.
        config: PathBuf,
    },
    /// Check a network file, and report each error with its line.
    #[command(after_help = "Example: betanet network check ./NETWORK.toml")]
    Check {
        /// Network file.
        file: PathBuf,
        /// Print one line of JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Reads the number of signers of a new network.
fn signers(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(n @ (0 | 3..=5)) => Ok(n),
        _ => Err("0, or 3 to 5".into()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct BootstrapArgs {
    /// The peer, for a new record: a PEER, or a name or an alias that the network knows.
    #[arg(long, value_name = "PEER")]
    pub(crate) peer: Option<String>,
    /// Name the peer no longer.
    #[arg(long, requires = "peer")]
    pub(crate) withdraw: bool,
    /// Days for which a new record counts.
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u16).range(1..=3650))]
    pub(crate) days: u16,
    #[command(flatten)]
    pub(crate) record: RegistryArgs,
}

/// A record of a registry, and where it is given.
#[derive(Debug, Args)]
pub(crate) struct RegistryArgs {
    /// File of the record: made, or signed further.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Key file of a maintainer, who signs the record; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) maintainer: Vec<PathBuf>,
    /// Ledger node to give the record to, in place of those of the network file; may be repeated.
    #[arg(long, value_name = "PEER")]
    pub(crate) to: Vec<String>,
    /// Seconds to wait until the record is final.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) wait: u64,
    #[command(flatten)]
    pub(crate) dial: DialArgs,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Folder of the network, which `betanet network new` created.
    pub(crate) dir: PathBuf,
    /// Return once all nodes run, and leave them running until `betanet network down`.
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Print one line of JSON once all nodes run.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Admin address of the node, as given to its --admin.
    #[arg(long, value_name = "ADDR", env = "BETANET_ADMIN")]
    pub(crate) admin: String,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PeersArgs {
    /// Ask the running node with this --admin address.
    #[arg(
        long,
        value_name = "ADDR",
        env = "BETANET_ADMIN",
        conflicts_with = "network",
        required_unless_present = "network"
    )]
    pub(crate) admin: Option<String>,
    /// Join this network as a client, and list the peers that it reports.
    #[arg(long, value_name = "FILE", env = "BETANET_NETWORK")]
    pub(crate) network: Option<PathBuf>,
    /// Seconds for which the client listens.
    #[arg(long, default_value_t = 5, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) wait: u64,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PathArgs {
    #[command(subcommand)]
    pub(crate) command: PathCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PathCommand {
    /// Choose a path like `get --path`, and print its nodes.
    #[command(after_help = "Example: betanet path show bn1:… --network ./NETWORK.toml")]
    Show(WayArgs),
    /// Choose a path, build it node by node, and measure the round-trip time to each node.
    #[command(after_help = "Example: betanet path trace bn1:… --network ./NETWORK.toml")]
    Trace(WayArgs),
}

#[derive(Debug, Args)]
pub(crate) struct WayArgs {
    /// Name of the last node.
    pub(crate) name: String,
    /// Network file.
    #[arg(long, value_name = "FILE", env = "BETANET_NETWORK")]
    pub(crate) network: PathBuf,
    /// Number of nodes, including NAME.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=8))]
    pub(crate) nodes: u8,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
