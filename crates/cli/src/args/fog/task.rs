use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{FogArgs, ListArgs};
use crate::args::EscrowArgs;

#[derive(Debug, Args)]
pub(crate) struct TaskArgs {
    #[command(subcommand)]
    pub(crate) command: TaskCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Store a program and its inputs, submit a task, print its ID, and wait for its end.
    #[command(
        mut_arg("coordinator", |arg| arg.required(false).required_unless_present("local")),
        after_help = "Ctrl-C leaves the task running; `task show` finds it, and `task cancel` ends it.\n\
                      With --local nothing is sent: the program runs here in the sandbox of a worker, with the same limits, and Ctrl-C ends it.\n\
                      Exit codes: 0 the task succeeded, the program's own if it ended with one, 1 it failed otherwise, 4 it was cancelled, \
                      5 it expired. Others are those of every command.\n\n\
                      Example: betanet task run ./hello.wasm --ns acme --cpu 500m --memory '64 MiB' --coordinator bnp1… -- arg1 arg2\n\
                      Example: betanet task run ./fetch.wasm --ns acme --host api.example:443 --coordinator bnp1…\n\
                      Example: betanet task run ./count.wasm --local --input ./book.txt -- count book.txt"
    )]
    Run(Box<RunArgs>),
    /// Ask where a task would be placed now, for how much, and if it would not, why. Nothing is changed.
    #[command(
        after_help = "Example: betanet task plan ./hello.wasm --ns acme --set tier=gold --coordinator bnp1…"
    )]
    Plan(Box<PlanArgs>),
    /// List tasks.
    #[command(after_help = "Example: betanet task ps --ns acme --only running --coordinator bnp1…")]
    Ps(TaskListArgs),
    /// Show a task's state, copies and cost.
    #[command(after_help = "Example: betanet task show 5d41… --coordinator bnp1…")]
    Show(TaskIdArgs),
    /// Print the log of a task's newest copy.
    #[command(
        after_help = "With --json, each line has a piece of the log in hex, with its fence and offset.\n\n\
                      Example: betanet task logs 5d41… --follow --coordinator bnp1…"
    )]
    Logs(LogArgs),
    /// Check a node's receipt without a network: its signature and fields, and the output that it names against a folder.
    #[command(
        after_help = "A worker keeps its last receipts in the folder `receipts` of its state. Exit codes: 0 the receipt is right, 1 it is not.\n\n\
                      Example: betanet task verify ./5d41….receipt --output ./out --module ./hello.wasm"
    )]
    Verify(VerifyArgs),
    /// Cancel a task.
    #[command(after_help = "Example: betanet task cancel 5d41… --coordinator bnp1…")]
    Cancel(TaskIdArgs),
    /// Show the events of a task, oldest first.
    #[command(
        after_help = "Coordinators keep events for a while; those of secret tasks are never shown.\n\n\
                      Example: betanet task history 5d41… --coordinator bnp1…"
    )]
    History(HistoryArgs),
}

/// A task's program and conditions.
#[derive(Clone, Debug, Args)]
pub(crate) struct TaskSpecArgs {
    /// WebAssembly module. It may be named in --file instead.
    pub(crate) module: Option<PathBuf>,
    /// Arguments of the program.
    #[arg(last = true)]
    pub(crate) args: Vec<String>,
    /// TOML or JSON file of conditions, with the keys of a task in dist/job.toml. Flags take precedence.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Namespace.
    #[arg(long, value_name = "NS")]
    pub(crate) ns: Option<String>,
    /// Processor, such as 500m or 2 cores.
    #[arg(long, value_name = "CORES")]
    pub(crate) cpu: Option<String>,
    /// Memory, such as "64 MiB".
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// Input file as PATH=FILE: the program finds FILE at PATH; without PATH=, at its own name. May be repeated.
    #[arg(long, value_name = "[PATH=]FILE")]
    pub(crate) input: Vec<String>,
    /// Environment variable of the program as NAME=VALUE. May be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Host and port that the program may connect to over TCP, with brackets around an IPv6 address. May be repeated. It adds the
    /// grant network, which a component can use, on workers that allow it; the host needs a public address.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) host: Vec<String>,
    /// Any other condition as KEY=VALUE, with the keys of a task in dist/job.toml: tier=gold, resources.gpu=1. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) spec: TaskSpecArgs,
    /// Return once the task is submitted.
    #[arg(short, long, conflicts_with = "output")]
    pub(crate) detach: bool,
    /// Show the program's log on standard error while it runs, and then its standard output; the task's ID goes to standard error.
    #[arg(short, long, conflicts_with_all = ["detach", "json"])]
    pub(crate) watch: bool,
    /// Run the program here, without a network: standard output and log are shown as they are.
    #[arg(long, conflicts_with_all = ["detach", "watch"])]
    pub(crate) local: bool,
    /// Service tier: bronze, silver, gold or platinum.
    #[arg(long, value_name = "TIER")]
    pub(crate) tier: Option<String>,
    /// Privacy level: public, private, confidential or secret. Above public, --mix with at least 3, 5 or 7
    /// relays is needed; confidential and secret need --mix-cover too.
    #[arg(long, value_name = "LEVEL")]
    pub(crate) privacy: Option<String>,
    /// New folder for the output's files, once the task has succeeded.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) paid: EscrowArgs,
    #[command(flatten)]
    pub(crate) fog: FogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// File with the receipt: as a worker keeps it, in hex, or as JSON.
    pub(crate) receipt: PathBuf,
    /// Folder with the files of the output; standard output is the file `stdout`.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Exit code of the program, where it was not 0.
    #[arg(long, value_name = "CODE", default_value_t = 0, requires = "output")]
    pub(crate) exit: i64,
    /// File of the module that is to have run.
    #[arg(long, value_name = "FILE")]
    pub(crate) module: Option<PathBuf>,
    /// Name of the node that is to have signed, or its NodeID in hex.
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<String>,
    /// ID of the task that is to have run, 64 hex digits.
    #[arg(long, value_name = "TASK")]
    pub(crate) task: Option<String>,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) spec: TaskSpecArgs,
    #[command(flatten)]
    pub(crate) fog: FogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TaskListArgs {
    /// Show only tasks of this namespace.
    #[arg(long, value_name = "NS")]
    pub(crate) ns: Option<String>,
    /// Show only tasks in this state.
    #[arg(long, value_name = "STATE",
          value_parser = ["accepted", "queued", "assigned", "running", "verifying", "succeeded", "failed", "cancelled", "expired"])]
    pub(crate) only: Option<String>,
    #[command(flatten)]
    pub(crate) list: ListArgs,
    #[command(flatten)]
    pub(crate) fog: FogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TaskIdArgs {
    /// ID of the task, 64 hex digits.
    pub(crate) task: String,
    #[command(flatten)]
    pub(crate) fog: FogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// ID of the task, 64 hex digits.
    pub(crate) task: String,
    /// Fence of the copy, as `task show` lists it; by default, the newest copy's.
    #[arg(long, value_name = "FENCE")]
    pub(crate) fence: Option<u64>,
    /// Wait for more until the task has ended.
    #[arg(short, long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) fog: FogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// ID of the task, 64 hex digits.
    pub(crate) task: String,
    /// Show only events after this position.
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    pub(crate) after: u64,
    /// Show at most this many events.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) n: Option<u64>,
    /// Wait for more until the task has ended.
    #[arg(short, long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) fog: FogArgs,
}
