//! Arguments of `betanet seed`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct SeedArgs {
    /// Address of the panel: http:// and a loopback address with its port. Reach a panel on another machine through an SSH tunnel.
    #[arg(long, value_name = "URL")]
    pub(crate) api: Option<String>,
    /// File with an API token of the panel in its first line, which only you may read. Its scopes are look, submit, read-work and
    /// operate.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Instead of nodes and tasks: make a simulated ledger with a past of 30 days in a new folder. It has accounts, payments, stakes
    /// and five proposals at different stages, and the keys of everybody. `ledger restore` puts it into a coordinator's state.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["api", "remove"])]
    pub(crate) ledger: Option<PathBuf>,
    /// Namespace of the tasks; the coordinator needs a user of it.
    #[arg(long, value_name = "NS", default_value = "lab")]
    pub(crate) ns: String,
    /// Number of simulated devices.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub(crate) devices: u32,
    /// Number of simulated nodes of the kind mixnode. They carry no packets.
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub(crate) mixnodes: u32,
    /// Number of simulated tasks.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub(crate) tasks: u32,
    /// Folder with the keys of the simulated nodes. By default it is in your data folder. A second run goes on with its nodes.
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Cancel the tasks, take the nodes out of the fog, and delete their keys.
    #[arg(long)]
    pub(crate) remove: bool,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
