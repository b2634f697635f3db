//! Arguments of `coordinator`, which `betanet coordinator` takes too.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::EconomyFlags;
use super::settings::{Coordinating, SettingArgs};

/// A node that takes tasks, places them on other nodes, and records one result for each.
#[derive(Debug, Parser)]
#[command(
    name = "coordinator",
    version,
    after_help = "Flags take precedence over BETANET_* variables, and these over --config. SIGTERM and Ctrl-C commit what was accepted, \
                  and stop.\n\
                  Every client of the --admin address is an operator: the same requests are served there as JSON, under /fog/1.\n\
                  The panel asks for an account. Until there is an administrator, each start prints a new code that makes the first one.\n\
                  Exit codes: 0 stopped, 1 network, 2 usage and settings, 3 local files and the journal.\n\n\
                  Example: coordinator --state ./coordinator --listen 127.0.0.1:8460 --operator KEYHEX --user lab=KEYHEX",
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub(crate) struct Coordinator {
    #[command(flatten)]
    pub(crate) run: CoordinatorArgs,
}

/// The same as arguments of a subcommand.
#[derive(Debug, Args)]
pub(crate) struct CoordinatorArgs {
    #[command(subcommand)]
    pub(crate) command: Option<CoordinatorCommand>,
    #[command(flatten)]
    pub(crate) settings: CoordinatorSettings,
    /// Print the node's status as one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The settings of a coordinator and of its node.
#[derive(Debug, Args)]
pub(crate) struct CoordinatorSettings {
    /// TOML file of settings; dist/coordinator.toml shows all keys.
    #[arg(long, value_name = "FILE", env = "BETANET_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) fog: ClusterArgs,
    #[command(flatten)]
    pub(crate) economy: EconomyFlags,
    #[command(flatten)]
    pub(crate) panel: PanelArgs,
    #[command(flatten)]
    pub(crate) node: SettingArgs<Coordinating>,
}

/// The settings of the fog.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "The fog")]
pub(crate) struct ClusterArgs {
    /// Journal: sqlite, a file in the state folder, or the URL of a PostgreSQL database that several coordinators share.
    #[arg(
        long,
        value_name = "URL",
        env = "BETANET_STORE",
        hide_env_values = true
    )]
    pub(crate) store: Option<String>,
    /// Key of an operator, who manages nodes and tokens; may be repeated. `betanet id show` prints it.
    #[arg(long, value_name = "KEYHEX")]
    pub(crate) operator: Vec<String>,
    /// Key of a user of a namespace; may be repeated.
    #[arg(long, value_name = "NS=KEYHEX")]
    pub(crate) user: Vec<String>,
    /// Key of another coordinator of the cluster; may be repeated.
    #[arg(long, value_name = "KEYHEX")]
    pub(crate) coordinator: Vec<String>,
    /// Place of the blobs: folder, which is in the state folder, or s3://BUCKET/PREFIX, whose endpoint and keys AWS_* variables name
    /// [default: folder]
    #[arg(long, value_name = "PLACE", env = "BETANET_BLOBS")]
    pub(crate) blobs: Option<String>,
    /// Maximum size of all blobs in bytes [default: 68719476736]
    #[arg(long, value_name = "BYTES")]
    pub(crate) blob_quota: Option<u64>,
}

/// The control panel.
#[derive(Debug, Args)]
#[command(next_help_heading = "Control panel")]
pub(crate) struct PanelArgs {
    /// Serve the control panel and its API at this address, over plain HTTP. It is a loopback address, unless --panel-host and
    /// --panel-proxy name the way to it
    #[arg(long, value_name = "ADDR", env = "BETANET_PANEL")]
    pub(crate) panel: Option<std::net::SocketAddr>,
    /// Name under which browsers reach the panel over TLS, with its port unless that is 443; may be repeated. A proxy terminates TLS
    /// and passes the field Host on. Needs --panel-proxy; the panel then answers only those proxies
    #[arg(
        long,
        value_name = "NAME",
        requires = "panel",
        requires = "panel_proxy"
    )]
    pub(crate) panel_host: Vec<String>,
    /// Address or network of a TLS proxy, whose X-Forwarded-For names the client; may be repeated. Needs --panel-host
    #[arg(long, value_name = "NET", requires = "panel", requires = "panel_host")]
    pub(crate) panel_proxy: Vec<String>,
    /// Admin address of another node that the panel reads for its pages of names, vouchers and the network; may be repeated, at most 16
    /// times. The names are those on the pages
    #[arg(long, value_name = "NAME=URL", requires = "panel")]
    pub(crate) panel_source: Vec<String>,
    /// Give accounts this many times 60 writes and 600 reads a minute, for programs that manage the fog. Logins keep their limit
    #[arg(long, value_name = "N", requires = "panel", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) panel_rate_factor: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CoordinatorCommand {
    /// Report every error that prevents a coordinator from starting with these settings, without starting it.
    #[command(after_help = "Example: coordinator check --config /etc/betanet/coordinator.toml")]
    Check(Box<CoordinatorSettings>),
    /// Save, inspect or restore a snapshot of the journal.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Snapshot(SnapshotArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    #[command(subcommand)]
    pub(crate) command: SnapshotCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Save the state to a file.
    #[command(
        after_help = "With --admin, the running coordinator saves. Otherwise it must be stopped.\n\n\
                      Example: coordinator snapshot save fog.snapshot --admin 127.0.0.1:9090"
    )]
    Save(SaveArgs),
    /// Check a snapshot's file, and show its content.
    #[command(after_help = "Example: coordinator snapshot inspect fog.snapshot --json")]
    Inspect(CoordinatorInspectArgs),
    /// Replace the journal by a snapshot. The coordinator must be stopped.
    #[command(
        after_help = "Records after the snapshot are lost. Nodes drop what it does not know.\n\n\
                      Example: coordinator snapshot restore fog.snapshot --state ./coordinator"
    )]
    Restore(RestoreArgs),
}

/// The journal of a coordinator that does not run.
#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    /// State folder of the coordinator.
    #[arg(long, value_name = "DIR", env = "BETANET_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// URL of its PostgreSQL database.
    #[arg(
        long,
        value_name = "URL",
        env = "BETANET_STORE",
        hide_env_values = true
    )]
    pub(crate) store: Option<String>,
    /// Schema of the database, as in the settings of the coordinator.
    #[arg(long, value_name = "NAME", requires = "store")]
    pub(crate) schema: Option<String>,
    /// PEM file of the authorities of the database's certificate.
    #[arg(long, value_name = "FILE", requires = "store")]
    pub(crate) store_ca: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    /// File to write; it must not be there yet.
    pub(crate) file: PathBuf,
    /// Admin address of the running coordinator.
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["state", "store"])]
    pub(crate) admin: Option<String>,
    #[command(flatten)]
    pub(crate) journal: StoreArgs,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CoordinatorInspectArgs {
    /// Snapshot's file.
    pub(crate) file: PathBuf,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// Snapshot's file.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) journal: StoreArgs,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
