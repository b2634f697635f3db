//! `network`, `peers`, `path`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct NetworkArgs {
    #[command(subcommand)]
    pub(crate) command: NetworkCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NetworkCommand {
    /// Write a whole test network into a new folder: keys, NETWORK.toml, and one command a node.
    #[command(
        after_help = "Node N listens on 127.N.0.1. Example: betanet network new ./testnet --relays 4"
    )]
    New {
        /// The folder; made, and not there before.
        dir: PathBuf,
        /// Nodes beside the five seeds, which carry paths and serve a folder each.
        #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=200))]
        relays: u8,
        /// Relays of the mix; with any, a beacon key is made and NETWORK.toml has a [mix] part.
        #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=200))]
        mixnodes: u8,
        /// Layers of the mix; 3 without it, or 1 where there are fewer than twelve relays.
        #[arg(long, value_name = "N", requires = "mixnodes", value_parser = clap::value_parser!(u8).range(1..=7))]
        layers: Option<u8>,
        /// The port of all nodes; their admin addresses have the next one.
        #[arg(long, default_value_t = 7443, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..65_535))]
        port: u16,
        /// One line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Start all nodes of a test network, each a process of its own, and stay until Ctrl-C, which ends them all.
    #[command(
        after_help = "Its folder then holds run/NAME.pid and run/NAME.log for each node. Where it has mixnodes, a directory of relays is\n\
                      made, signed and published for each epoch, one epoch ahead. Nodes end with this process, however it ends.\n\n\
                      Example: betanet network up ./testnet --detach"
    )]
    Up(UpArgs),
    /// End a test network that is up, and wait until all of its processes have.
    #[command(after_help = "Example: betanet network down ./testnet")]
    Down {
        /// The network's folder.
        dir: PathBuf,
    },
    /// Tell whether a test network is up, and how each of its nodes is.
    #[command(
        after_help = "Exit code 1 where it is not up, or a node is not well.\n\nExample: betanet network status ./testnet"
    )]
    Status {
        /// The network's folder.
        dir: PathBuf,
        /// One line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run one node of a test network for as long as standard input is open.
    #[command(hide = true)]
    Node {
        /// Its settings.
        config: PathBuf,
    },
    /// Read a network's file and say what is wrong with it, and in which line.
    #[command(after_help = "Example: betanet network check ./NETWORK.toml")]
    Check {
        /// The file.
        file: PathBuf,
        /// One line of JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// The network's folder, as `betanet network new` made it.
    pub(crate) dir: PathBuf,
    /// Return once all nodes stand, and leave them running until `betanet network down`.
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// One line of JSON, once all nodes stand.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The node's admin address, as its --admin says.
    #[arg(long, value_name = "ADDR", env = "BETANET_ADMIN")]
    pub(crate) admin: String,
    /// One line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PeersArgs {
    /// Ask the running node whose gateway has this --admin address.
    #[arg(
        long,
        value_name = "ADDR",
        env = "BETANET_ADMIN",
        conflicts_with = "network",
        required_unless_present = "network"
    )]
    pub(crate) admin: Option<String>,
    /// Join this network as a client, and tell what it is told.
    #[arg(long, value_name = "FILE", env = "BETANET_NETWORK")]
    pub(crate) network: Option<PathBuf>,
    /// How many seconds a client listens.
    #[arg(long, default_value_t = 5, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) wait: u64,
    /// One line of JSON.
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
    /// Choose a path as `get --path` does, and print its nodes.
    #[command(after_help = "Example: betanet path show bn1:… --network ./NETWORK.toml")]
    Show(WayArgs),
    /// Choose a path, build it node by node, and measure the round-trip time to each.
    #[command(after_help = "Example: betanet path trace bn1:… --network ./NETWORK.toml")]
    Trace(WayArgs),
}

#[derive(Debug, Args)]
pub(crate) struct WayArgs {
    /// Where the path ends.
    pub(crate) name: String,
    /// The network's file.
    #[arg(long, value_name = "FILE", env = "BETANET_NETWORK")]
    pub(crate) network: PathBuf,
    /// Nodes of the path, the last of which is NAME.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=8))]
    pub(crate) nodes: u8,
    /// One line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
