//! `task`, `job`, `node`, `fog`, `top`.

mod task;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{DialArgs, EscrowArgs};

pub(crate) use task::{
    HistoryArgs, LogArgs, PlanArgs, RunArgs, TaskArgs, TaskCommand, TaskIdArgs, TaskListArgs,
    TaskSpecArgs, VerifyArgs,
};

/// The coordinators, the way to them, and the identity that signs.
#[derive(Clone, Debug, Args)]
pub(crate) struct FogArgs {
    /// Coordinator to ask, as a PEER, or as a name or an alias that the address book or --network knows. May be repeated: the next
    /// one is asked where one does not lead. Through --mix, requests are signed with --key, so it learns your key but not your address.
    #[arg(
        long,
        value_name = "COORDINATOR",
        env = "BETANET_COORDINATOR",
        value_delimiter = ',',
        required = true
    )]
    pub(crate) coordinator: Vec<String>,
    /// Seconds for which a request is repeated while coordinators are busy, unreachable or without a leader.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub(crate) patience: u64,
    /// Print one line of JSON for each answer or item.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) dial: DialArgs,
}

/// Paging of lists.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Show only items after this ID, in hex.
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<String>,
    /// Show at most this many items. Pages are fetched as needed.
    #[arg(short, long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) n: u64,
}

#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    #[command(subcommand)]
    pub(crate) command: JobCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// Check a job file, and report all of its errors at once. No coordinator is asked.
    #[command(
        after_help = "A job file is TOML, or JSON by the same keys; dist/job.toml shows all keys with their units and bounds.\n\
                      Exit codes: 0 the file is valid, 2 it is not.\n\n\
                      Example: betanet job validate ./job.toml"
    )]
    Validate(JobValidateArgs),
    /// Ask where each task of a job would be placed now, and for how much. Nothing is changed.
    #[command(
        after_help = "Tasks after others are planned as if those had succeeded.\n\
                      With --together, all tasks are placed at once by an evolutionary search (NSGA-II). The coordinator keeps no such promise.\n\n\
                      Example: betanet job plan ./job.toml --coordinator bnp1…\n\
                      Example: betanet job plan ./job.toml --together --weights 2,1,1,0 --coordinator bnp1…"
    )]
    Plan(JobPlanArgs),
    /// Store a job's files, submit its tasks, and write its next version. Tasks of the version before are cancelled.
    #[command(
        after_help = "The state folder keeps the tasks of the last versions for `job revert`. A job of 1 to 1024 tasks is one version.\n\
                      With --wait, exit codes: 0 all tasks succeeded, 1 one did not, 130 Ctrl-C, which leaves the job running.\n\n\
                      Example: betanet job run ./job.toml --coordinator bnp1… --wait"
    )]
    Run(JobRunArgs),
    /// Delete a job and cancel its tasks.
    #[command(after_help = "Example: betanet job stop acme/render --coordinator bnp1…")]
    Stop(JobNameArgs),
    /// Run the tasks of a job's version before the present one again, as its next version.
    #[command(
        after_help = "Coordinators keep the present version only, so this needs the state folder that ran the version before.\n\
                      Deadlines and starts are as far away as they were then.\n\n\
                      Example: betanet job revert acme/render --coordinator bnp1…"
    )]
    Revert(JobNameArgs),
}

#[derive(Debug, Args)]
pub(crate) struct JobValidateArgs {
    /// Job file, TOML or JSON.
    pub(crate) file: PathBuf,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct JobPlanArgs {
    /// Job file, TOML or JSON.
    pub(crate) file: PathBuf,
    /// Propose places for all tasks at once, by latency, cost, load and trust.
    #[arg(long)]
    pub(crate) together: bool,
    /// Weights of latency, cost, load and trust, by which one of the proposals is shown; equal ones by default.
    #[arg(long, value_name = "L,C,B,T", requires = "together")]
    pub(crate) weights: Option<String>,
    #[command(flatten)]
    pub(crate) fog: FogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct JobRunArgs {
    /// Job file, TOML or JSON.
    pub(crate) file: PathBuf,
    /// Wait until all tasks have ended, and report their progress.
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) paid: EscrowArgs,
    #[command(flatten)]
    pub(crate) fog: FogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct JobNameArgs {
    /// Namespace and name of the job.
    #[arg(value_name = "NS/NAME")]
    pub(crate) job: String,
    #[command(flatten)]
    pub(crate) fog: FogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    #[command(subcommand)]
    pub(crate) command: NodeCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// List nodes with their states, capacities and reputations.
    #[command(after_help = "Example: betanet node ls --only active --coordinator bnp1…")]
    Ls(NodeListArgs),
    /// Show a node.
    #[command(after_help = "Example: betanet node show bn1:… --coordinator bnp1…")]
    Show(NodeNameArgs),
    /// Give a node nothing new. With --within, its copies yield after that time, and maintenance begins.
    #[command(after_help = "Operators may do this, and the node itself.\n\n\
                      Example: betanet node drain bn1:… --within '1 h' --coordinator bnp1…")]
    Drain(NodeStateArgs),
    /// Make a node active again, after draining, maintenance or quarantine.
    #[command(
        after_help = "Operators may do this, and the node itself. Only operators end a quarantine.\n\n\
                      Example: betanet node undrain bn1:… --coordinator bnp1…"
    )]
    Undrain(NodeNameArgs),
    /// Take a node out of service. Its copies yield at once.
    #[command(after_help = "Operators may do this, and the node itself.\n\n\
                      Example: betanet node maintain bn1:… --coordinator bnp1…")]
    Maintain(NodeNameArgs),
    /// Make a join token, and print all that a node needs to join. The token is a secret until it is used.
    #[command(
        after_help = "The configuration of the coordinator must list your key as an operator's.\n\n\
                      Example: betanet node token --kind compute --org acme --coordinator bnp1…"
    )]
    Token(TokenArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NodeListArgs {
    /// Show only nodes in this state.
    #[arg(long, value_name = "STATE", value_parser = ["joining", "active", "draining", "offline", "maintenance", "quarantined"])]
    pub(crate) only: Option<String>,
    #[command(flatten)]
    pub(crate) list: ListArgs,
    #[command(flatten)]
    pub(crate) fog: FogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct NodeNameArgs {
    /// Name of the node, or its NodeID in hex.
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) fog: FogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct NodeStateArgs {
    /// Name of the node, or its NodeID in hex.
    pub(crate) node: String,
    /// Time after which its copies yield, such as "1 h"; by default, 30 days.
    #[arg(long, value_name = "TIME", default_value = "30 d")]
    pub(crate) within: String,
    #[command(flatten)]
    pub(crate) fog: FogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// Kind of node that may use it: edge_device, relay, mixnode, compute or gateway. May be repeated.
    #[arg(long, value_name = "KIND", default_value = "compute")]
    pub(crate) kind: Vec<String>,
    /// Organisation that the node must have; by default, any.
    #[arg(long, value_name = "ORG")]
    pub(crate) org: Option<String>,
    /// Name of the node that it is for, or its NodeID in hex; by default, any.
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<String>,
    /// Time for which it is valid, such as "1 d".
    #[arg(long, value_name = "TIME", default_value = "1 d")]
    pub(crate) valid: String,
    /// Revoke the token with this ID, instead of making one.
    #[arg(long, value_name = "ID")]
    pub(crate) revoke: Option<String>,
    #[command(flatten)]
    pub(crate) fog: FogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct FogCommands {
    #[command(subcommand)]
    pub(crate) command: FogCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FogCommand {
    /// List tasks that failed, with the reason. They are kept for 30 days.
    #[command(after_help = "Example: betanet fog dead --ns acme --coordinator bnp1…")]
    Dead(DeadArgs),
    /// Show events: tasks that change, nodes that come and go.
    #[command(
        after_help = "Each event has a position. --after continues there, under any coordinator.\n\n\
                      Example: betanet fog events --follow --coordinator bnp1…\n\
                      Example: betanet fog events --only lost --node bn1:… --coordinator bnp1…"
    )]
    Events(EventArgs),
    /// Show the last snapshots of the cluster: capacity, nodes and tasks.
    #[command(after_help = "A coordinator makes one each minute, and keeps 100.\n\n\
                      Example: betanet fog topology --coordinator bnp1…\n\
                      Example: betanet fog topology -n 60 --json --coordinator bnp1…")]
    Topology(TopologyArgs),
    /// Show the demand factor of each resource, by which prices are fixed.
    #[command(after_help = "Example: betanet fog price --coordinator bnp1…")]
    Price(ViewArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DeadArgs {
    /// Show only tasks of this namespace.
    #[arg(long, value_name = "NS")]
    pub(crate) ns: Option<String>,
    #[command(flatten)]
    pub(crate) list: ListArgs,
    #[command(flatten)]
    pub(crate) fog: FogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EventArgs {
    /// Show only events after this position.
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    pub(crate) after: u64,
    /// Show at most this many events.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) n: Option<u64>,
    /// Show only events of this kind, such as ended or lost.
    #[arg(long, value_name = "KIND")]
    pub(crate) only: Option<String>,
    /// Show only events of this task.
    #[arg(long, value_name = "TASK")]
    pub(crate) task: Option<String>,
    /// Show only events of this node.
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<String>,
    /// Wait for more events until Ctrl-C.
    #[arg(short, long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) fog: FogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TopologyArgs {
    /// Show only snapshots after this position.
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    pub(crate) after: u64,
    /// Show at most this many snapshots, the newest ones; by default one, or with --json all.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100))]
    pub(crate) n: Option<u64>,
    #[command(flatten)]
    pub(crate) fog: FogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ViewArgs {
    #[command(flatten)]
    pub(crate) fog: FogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Print the view once.
    #[arg(long)]
    pub(crate) once: bool,
    /// Seconds between two views.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) every: u64,
    #[command(flatten)]
    pub(crate) fog: FogArgs,
}
