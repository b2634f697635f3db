//! Arguments of `worker`, which `betanet worker` takes too.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::{DialArgs, SettingArgs, StatusArgs, Working};

/// A node of a fog: it takes copies of tasks, runs them in a sandbox, and returns signed receipts.
#[derive(Debug, Parser)]
#[command(
    name = "worker",
    version,
    after_help = "Flags take precedence over BETANET_* variables, and these over --config. SIGTERM and Ctrl-C let copies end within \
                  --drain, give the others back, and stop; a second signal stops at once.\n\
                  A restart runs copies that are still live again, and sends receipts that no coordinator has taken.\n\
                  With --network and --listen, the node is part of the network: it can prove a --level over the mix.\n\
                  It then gives peers the blobs of public tasks.\n\
                  Exit codes: 0 stopped, 1 the coordinator does not take the node, 2 usage and settings, 3 local files and the sandbox.\n\n\
                  Example: worker --token bnj1… --org acme --state ./worker --admin 127.0.0.1:9465\n\n\
                  Example: worker --token bnj1… --org acme --state ./worker --network NETWORK.toml --listen 203.0.113.7:8470 --level private",
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub(crate) struct Worker {
    #[command(flatten)]
    pub(crate) run: WorkerArgs,
}

/// The same as arguments of a subcommand.
#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    #[command(subcommand)]
    pub(crate) command: Option<WorkerCommand>,
    #[command(flatten)]
    pub(crate) settings: WorkerSettings,
    /// Print the node's name and settings as one line of JSON, once it has joined.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkerCommand {
    /// Report every error that prevents a worker from starting with these settings, without starting it.
    #[command(after_help = "The check creates no file and sends nothing.\n\n\
                      Example: worker check --config /etc/betanet/worker.toml")]
    Check(Box<WorkerSettings>),
    /// Show what a running worker does: its copies, what it announced, what its rules decide, and what it gave on each day.
    #[command(
        after_help = "Exit code 1 if it is not healthy or does not answer.\n\nExample: worker status --admin 127.0.0.1:9465"
    )]
    Status(StatusArgs),
}

/// The settings of a worker and of its way to the coordinators.
#[derive(Debug, Args)]
pub(crate) struct WorkerSettings {
    /// TOML file of settings; dist/worker.toml shows all keys.
    #[arg(long, value_name = "FILE", env = "BETANET_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) node: NodeFlags,
    #[command(flatten)]
    pub(crate) dial: DialArgs,
    #[command(flatten)]
    pub(crate) listener: SettingArgs<Working>,
}

/// Description of the node, and the part of it that tasks get.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "The node")]
pub(crate) struct NodeFlags {
    /// Join token, which `betanet node token` prints. It is needed once, and kept in the state folder.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "BETANET_TOKEN",
        hide_env_values = true
    )]
    pub(crate) token: Option<String>,
    /// Coordinator, as a PEER or a name; may be repeated. By default, the one that the token names.
    #[arg(
        long,
        value_name = "COORDINATOR",
        env = "BETANET_COORDINATOR",
        value_delimiter = ','
    )]
    pub(crate) coordinator: Vec<String>,
    /// Local address for `worker status`, /metrics and /healthz.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) admin: Option<std::net::SocketAddr>,
    /// Time for copies to end after SIGTERM, such as "30 s".
    #[arg(long, value_name = "TIME")]
    pub(crate) drain: Option<String>,
    /// Organisation that runs the node. It never changes.
    #[arg(long, value_name = "ORG")]
    pub(crate) org: Option<String>,
    /// Kind of the node: edge_device, relay, mixnode, compute or gateway.
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
    /// Region of the node.
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// Zone of the node.
    #[arg(long, value_name = "ZONE")]
    pub(crate) zone: Option<String>,
    /// Processor for tasks, such as 500m or "2 cores"; by default, all that is there.
    #[arg(long, value_name = "CORES")]
    pub(crate) cpu: Option<String>,
    /// Memory for tasks, such as "2 GiB"; by default, seven eighths of what is there.
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// Maximum size of the blobs that the node keeps, such as "16 GiB".
    #[arg(long, value_name = "SIZE")]
    pub(crate) blob_quota: Option<String>,
    /// Lend the processor by the rules of the table [harvest], or by their defaults: while nobody uses the machine.
    #[arg(long)]
    pub(crate) harvest: bool,
    /// Privacy level that the node claims: public, private, confidential or secret. Above public, it needs --network and --listen,
    /// and proves the level to its coordinators over the mix [default: public]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) level: Option<String>,
    /// Bits a second of mix traffic for tasks above public, each of which asks for at least 1000000. By default, a node with a level
    /// takes one such task at a time.
    #[arg(long, value_name = "BITS")]
    pub(crate) relay: Option<u64>,
    /// Give the network to programs whose tasks have the grant. Only the engine keeps private addresses closed to them.
    #[arg(long)]
    pub(crate) allow_network: bool,
}
