mod audit;
mod coordinator;
mod economy;
mod files;
mod fog;
mod mix;
mod name;
mod network;
mod parse;
mod pay;
mod seed;
mod settings;
mod shape;
mod template;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;

use betanet_runtime::{
    Error, FrontRules, Network, Node, Padding, Profile, Templates, TraceSelector, Transport, Trust,
};
use clap::{Args, Parser, Subcommand};

use crate::Fail;
use crate::state;

pub(crate) use audit::{AuditCommand, AuditVerifyArgs, PanelAuditArgs};
pub(crate) use coordinator::{
    ClusterArgs, Coordinator, CoordinatorArgs, CoordinatorCommand, CoordinatorInspectArgs,
    CoordinatorSettings, PanelArgs, RestoreArgs, SaveArgs, SnapshotCommand, StoreArgs,
};
pub(crate) use economy::{
    AccountArgs, ActArgs, AskArgs, BondArgs, BooksArgs, BrakeArgs, EconomyFlags, EscrowArgs,
    GenesisArgs, GovArgs, GovCommand, HeadArgs, HoldArgs, KeysetArgs, LedgerCommand, LedgersArgs,
    MeterArgs, MoveStakeArgs, OffenceArgs, OpenArgs, ProbesArgs, ProofArgs, ProposalArgs,
    ProposeArgs, RedelegateArgs, RekeyArgs, RestoreLedgerArgs, SaveLedgerArgs, SendArgs, StakeArgs,
    StakeCommand, StandingArgs, SwapArgs, TokenCommand, TokensArgs, VerifyLedgerArgs, VoteArgs,
};
pub(crate) use files::{DelArgs, GetArgs, PutArgs};
pub(crate) use fog::{
    DeadArgs, EventArgs, FogArgs, FogCommand, FogCommands, HistoryArgs, JobArgs, JobCommand,
    JobNameArgs, JobPlanArgs, JobRunArgs, JobValidateArgs, ListArgs, LogArgs, NodeArgs,
    NodeCommand, NodeListArgs, NodeNameArgs, PlanArgs, RunArgs, TaskArgs, TaskCommand, TaskIdArgs,
    TaskListArgs, TaskSpecArgs, TokenArgs, TopArgs, TopologyArgs, VerifyArgs,
};
pub(crate) use mix::{
    AuditArgs, BeaconCommand, BuildArgs, DirectoryCommand, LoopArgs, MixArgs, MixCommand, Mixnode,
    MixnodeCommand,
};
pub(crate) use name::{
    AliasArgs, AuditNameArgs, ClaimArgs, LedgerArgs, NameArgs, NameCommand, NamesFlags, ProveArgs,
    PublishArgs, SignNameArgs, TrustArgs, VerifyNameArgs,
};
pub(crate) use network::{
    BootstrapArgs, NetworkArgs, NetworkCommand, PathArgs, PathCommand, PeersArgs, RegistryArgs,
    StatusArgs, UpArgs, WayArgs,
};
pub(crate) use parse::parse;
pub(crate) use pay::{
    AccountFlags, AccountsArgs, AmountArgs, BackupArgs, BuyArgs, CouponArgs, EvidenceArgs,
    IssueArgs, LearnMintArgs, MintFlags, MintInitArgs, MintRefreshArgs, MintRoundArgs, NewArgs,
    OnlineArgs, PayArgs, PayCommand, PublishKeysetArgs, ReceiveArgs, RedeemArgs, RestoreWalletArgs,
    ResumeArgs, SpendArgs, WalletArgs,
};
pub(crate) use seed::SeedArgs;
pub(crate) use settings::{All, Choice, FLAGS, Mixing, Serving, SettingArgs, Working};
pub(crate) use shape::{LearnArgs, ShapeArgs, ShapeCommand};
pub(crate) use template::{
    CalibrateArgs, CaptureArgs, CheckArgs, RecordArgs, SignArgs, TemplateArgs, TemplateCommand,
};
pub(crate) use worker::{NodeFlags, Worker, WorkerArgs, WorkerCommand, WorkerSettings};

/// Footer of `--help` of each command that names a peer.
const PEERS: &str = "PEER is KEYHEX@HOST:PORT#PINHEX, KEYHEX@HOST:PORT (web PKI), or the bnp1… string that a gateway \
                     prints. Pass it once: the client stores peers in its address book.";

/// Betanet from the command line.
#[derive(Debug, Parser)]
#[command(
    name = "betanet",
    version,
    after_help = "Exit codes: 0 success, 1 peer or network, 2 usage, 3 local files and settings, 130 Ctrl-C, 143 SIGTERM.\n\
                  Codes 4 and 5 say that a task was cancelled or expired, and 6 that a ledger is wrong. A task's program gives its own code.\n\n\
                  Example: betanet demo"
)]
pub(crate) struct Betanet {
    /// Log level for standard error, or tracing directives such as betanet_htx=debug.
    #[arg(
        long,
        global = true,
        default_value = "warn",
        env = "BETANET_LOG",
        value_name = "FILTER"
    )]
    pub(crate) log: String,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create or show an identity.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Id(IdArgs),
    /// Fetch a resource.
    #[command(after_help = format!("{PEERS}\n\nExample: betanet get bar://bn1:…/file.iso -o file.iso --continue"))]
    Get(GetArgs),
    /// Store a file at a path.
    #[command(after_help = format!("{PEERS}\n\nExample: betanet put notes.txt bar://bn1:…/notes.txt"))]
    Put(PutArgs),
    /// Store a file under a folder, and print its new path.
    #[command(after_help = format!("{PEERS}\n\nExample: echo hello | betanet post - bar://bn1:…/inbox/"))]
    Post(PutArgs),
    /// Delete a resource.
    #[command(after_help = format!("{PEERS}\n\nExample: betanet del bar://bn1:…/notes.txt"))]
    Del(DelArgs),
    /// Serve a folder.
    #[command(after_help = "Example: betanet serve ./public --listen 0.0.0.0:443 --cover ./site")]
    Serve(Box<ServeArgs>),
    /// Learn a traffic shape from recorded page loads.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Shape(ShapeArgs),
    /// Measure the round-trip time to a peer through a session.
    #[command(after_help = format!("{PEERS}\n\nExample: betanet ping bn1:… --count 3"))]
    Ping(PingArgs),
    /// Show a peer's protocol versions and features; for a bare HOST:PORT, everything that any visitor can see.
    #[command(after_help = format!("{PEERS}\n\nExample: betanet probe 127.0.0.1:8443"))]
    Probe(ProbeArgs),
    /// Create, start and stop a test network, or check a network file.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Network(NetworkArgs),
    /// Show a running node's health, sessions and refusals.
    #[command(
        after_help = "Exit code 1 if the node is unhealthy or does not answer.\n\nExample: betanet status --admin 127.0.0.1:9090"
    )]
    Status(StatusArgs),
    /// List the peers that a running node knows, or that a client finds when it joins a network.
    #[command(after_help = "Example: betanet peers --admin 127.0.0.1:9090 --json")]
    Peers(PeersArgs),
    /// Choose a path to a peer, or measure one.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Path(PathArgs),
    /// Verify the audit log of a control panel.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Audit(PanelAuditArgs),
    /// Run tasks on the fog, and look at them.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Task(TaskArgs),
    /// Run jobs on the fog: named groups of tasks from a file, in versions.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Job(JobArgs),
    /// List the fog's nodes, change their states, and make join tokens.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Node(NodeArgs),
    /// Show the fog as a whole: failed tasks, events, topology, prices.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Fog(FogCommands),
    /// Watch the fog's capacity, nodes and tasks in the terminal.
    #[command(
        after_help = "The view is redrawn every --every seconds until Ctrl-C. If standard output is no terminal, it is printed once.\n\n\
                      Example: betanet top --coordinator bnp1…"
    )]
    Top(Box<TopArgs>),
    /// Pay with vouchers: make a mint, keep a wallet, send, receive and redeem.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Pay(Box<PayArgs>),
    /// Hold and send the tokens of a fog's economy.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Token(Box<TokensArgs>),
    /// Bond and delegate stake in a fog's economy.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Stake(Box<StakeArgs>),
    /// Propose changes of a fog's economy, and vote on them.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Gov(Box<GovArgs>),
    /// Make, save, prove and verify the ledger of a fog's economy.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Ledger(Box<LedgersArgs>),
    /// Bind aliases to nodes, sign and publish them, and look them up.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Name(Box<NameArgs>),
    /// Manage the mix: relay directories, beacons, loops and audits.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Mix(MixArgs),
    /// Record a browser's handshake, and compare this program with it.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Template(TemplateArgs),
    /// Decode any wire item: a name, a peer, a ticket, CBOR, a message or a frame.
    #[command(after_help = "Example: betanet inspect a2627071f56770616464696e67f5")]
    Inspect(InspectArgs),
    /// Run a coordinator of a fog, or manage its journal.
    #[command(
        after_help = "Example: betanet coordinator --state ./coordinator --listen 127.0.0.1:8460 --operator KEYHEX --user lab=KEYHEX",
        args_conflicts_with_subcommands = true
    )]
    Coordinator(Box<CoordinatorArgs>),
    /// Run a node of a fog, which runs tasks' programs, or look at a running one.
    #[command(
        after_help = "Example: betanet worker --token bnj1… --org acme --state ./worker --admin 127.0.0.1:9465",
        args_conflicts_with_subcommands = true
    )]
    Worker(Box<WorkerArgs>),
    /// Fill a control panel with simulated nodes and tasks, and run the nodes until Ctrl-C.
    #[command(
        after_help = "All of it is made through the panel's API and the protocol of fog nodes, as real records. Names begin with \"simulated\".\n\
                      Simulated nodes run no programs. They take tasks of the whole fog and fail those of others: seed only a fog for trials.\n\
                      A second run makes what is missing. Tasks that have ended stay in the history after --remove.\n\
                      Exit codes: 0 stopped or removed, 1 API or coordinator, 2 usage, 3 local files, 130 Ctrl-C before all was made.\n\n\
                      Example: betanet seed --api http://127.0.0.1:9470 --token-file ./token"
    )]
    Seed(SeedArgs),
    /// Start real nodes on loopback and show their features.
    #[command(
        after_help = "The demo needs no network, root rights or configuration.\n\nExample: betanet demo --panel"
    )]
    Demo(DemoArgs),
    /// Print a shell's completions.
    #[command(after_help = "Example: betanet completions bash > /etc/bash_completion.d/betanet")]
    Completions {
        /// Shell, such as bash.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    #[command(subcommand)]
    pub(crate) command: IdCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IdCommand {
    /// Create an identity, as a PKCS#8 PEM file that only its owner can read.
    #[command(after_help = "Example: betanet id new --key ./node.pem")]
    New(KeyFile),
    /// Show an identity's name, PeerID and public key.
    #[command(after_help = "Example: betanet id show --key ./node.pem --json")]
    Show(KeyFile),
}

#[derive(Debug, Args)]
pub(crate) struct KeyFile {
    /// Key file; by default the one in the user's data folder.
    #[arg(long, value_name = "FILE", env = "BETANET_KEY")]
    pub(crate) key: Option<PathBuf>,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The peer, the way to it, and the identity shown to it.
#[derive(Debug, Args)]
pub(crate) struct PeerArgs {
    /// Address of the peer; needed once.
    #[arg(long, value_name = "PEER", conflicts_with = "mix")]
    pub(crate) peer: Option<String>,
    #[command(flatten)]
    pub(crate) dial: DialArgs,
}

/// The way to a peer, and the identity shown to it.
#[derive(Clone, Debug, Args)]
pub(crate) struct DialArgs {
    /// Relay to use, as a PEER, or as a name or an alias of a node in the address book; may be repeated, in order. Each relay needs
    /// --onward with the next one. Relays cannot read the content, but each sees the whole path.
    #[arg(long, value_name = "PEER")]
    pub(crate) via: Vec<String>,
    /// Use a path of this many nodes, including the peer. The client finds relays in --network, and replaces one that fails.
    #[arg(long, value_name = "NODES", requires = "network", conflicts_with = "via",
          value_parser = clap::value_parser!(u8).range(1..=8))]
    pub(crate) path: Option<u8>,
    /// Send the request through this many mix relays. The peer does not learn who asks; with two relays or more, no relay knows
    /// both ends. The first relay is your guard, kept for 90 days. --key is not shown to the peer.
    #[arg(long, value_name = "RELAYS", requires = "network", conflicts_with_all = ["via", "path"],
          value_parser = clap::value_parser!(u8).range(1..=7))]
    pub(crate) mix: Option<u8>,
    /// With --mix, send a packet every MS milliseconds on average, real or cover. An observer of the line then cannot see when
    /// you send. By default, real packets are sent at once.
    #[arg(long, value_name = "MS", requires = "mix", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub(crate) mix_cover: Option<u64>,
    /// Transport: quic, tcp, or auto, which tries QUIC and soon afterwards TCP.
    #[arg(long, value_name = "WHAT", default_value = "auto", value_parser = ["auto", "tcp", "quic"])]
    pub(crate) transport: String,
    /// Send over TCP in the bursts and records of this shape, which `betanet shape learn` writes. A gateway with the same file
    /// follows it too. The state folder records the used page loads, so that each begins a connection before any does so twice.
    #[arg(long, value_name = "FILE", conflicts_with = "mix")]
    pub(crate) shape: Option<PathBuf>,
    /// Pad sent data. "buckets" fills data that leaves together to one of a few sizes. A rate such as 64k sends that many bytes
    /// per second, data or padding. A range such as 16k..1m adapts the rate. A gateway's own --padding pads its answers.
    #[arg(long, value_name = "HOW", conflicts_with_all = ["mix", "shape"])]
    pub(crate) padding: Option<Padding>,
    /// Send the peer the template of its web site. The client fetches the site once per day to make it.
    #[arg(long, conflicts_with = "mix")]
    pub(crate) template: bool,
    /// Under extended, do not begin a session whose template is not in --front-origins.
    #[arg(long, default_value = "standard", value_parser = ["standard", "extended"])]
    pub(crate) profile: String,
    /// Signed records of front origins, one per line in hex, signed by the maintainers of --network.
    #[arg(long, value_name = "FILE", requires = "network")]
    pub(crate) front_origins: Option<PathBuf>,
    /// Network file in which to find the peer and relays.
    #[arg(long, value_name = "FILE", env = "BETANET_NETWORK")]
    pub(crate) network: Option<PathBuf>,
    /// Key file of the identity to dial with. By default, put, post, del and the fog's commands use your own (see betanet id show).
    /// Other commands use a fresh one.
    #[arg(long, value_name = "FILE", env = "BETANET_KEY")]
    pub(crate) key: Option<PathBuf>,
    /// Trust the certificates of this PEM file instead of Mozilla's roots, for peers without a pin.
    #[arg(long, value_name = "FILE", env = "BETANET_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// Folder of your state: the address book, guards and templates. By default it is in your data folder.
    #[arg(long, value_name = "DIR", env = "BETANET_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// Address book, a TOML file, instead of the one in the state folder.
    #[arg(long, value_name = "FILE", env = "BETANET_BOOK")]
    pub(crate) book: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct PingArgs {
    /// Name from the address book, a PEER, or an alias.
    pub(crate) target: String,
    #[command(flatten)]
    pub(crate) peer: PeerArgs,
    /// Number of PINGs.
    #[arg(short, long, default_value_t = 4, value_name = "N")]
    pub(crate) count: u32,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// Name from the address book, a PEER, an alias, HOST:PORT, or quic:HOST:PORT.
    pub(crate) target: String,
    #[command(flatten)]
    pub(crate) peer: PeerArgs,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// File, hex digits, or the text of a name, peer or ticket; - reads standard input.
    pub(crate) item: String,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Leave the nodes running afterwards, and print commands to try.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Start a coordinator with its control panel on loopback instead, fill it with simulated nodes and tasks, and print its address
    /// and a login. It runs until Ctrl-C, and keeps nothing.
    #[arg(long, conflicts_with = "keep")]
    pub(crate) panel: bool,
    /// Print the address and the login as one line of JSON.
    #[arg(long, requires = "panel")]
    pub(crate) json: bool,
}

impl DialArgs {
    /// Those of a command that takes a network and no other of them.
    pub(crate) fn of_network(network: Option<PathBuf>, state: Option<PathBuf>) -> Self {
        Self {
            via: Vec::new(),
            path: None,
            mix: None,
            mix_cover: None,
            transport: "auto".to_owned(),
            shape: None,
            padding: None,
            template: false,
            profile: "standard".to_owned(),
            front_origins: None,
            network,
            key: None,
            ca: None,
            state,
            book: None,
        }
    }

    /// The node that dials as it was asked for.
    pub(crate) fn dialling(&self, node: Node) -> Result<Node, Fail> {
        let mut node = node.with_transport(self.transport());
        if let Some(file) = &self.ca {
            let trust = Trust::roots_of(file).map_err(Error::Certificate)?;
            node = node.with_trust(trust);
        }
        if self.template {
            let templates = Templates::new(state::folder(self.state.as_deref()).folder()).ok_or_else(|| {
                let why = "--template: this build looks like no browser, and has no template; build it with --features mimic";
                Fail::Usage(why.into())
            })?;
            node = node.with_templates(templates);
        }
        let profile = Profile::of_name(&self.profile.to_uppercase()).unwrap_or_default();
        let rules = match &self.network {
            Some(path) => {
                let network = Network::read(path).map_err(Error::from)?;
                FrontRules::read(profile, self.front_origins.as_deref(), &network)?
            }
            None => FrontRules {
                profile,
                ..FrontRules::default()
            },
        };
        let mut node = node.with_front_rules(rules);
        if let Some(padding) = self.padding {
            node = node.with_padding(padding);
        }
        let Some(path) = &self.shape else {
            return Ok(node);
        };
        if self.transport == "quic" {
            let why = "--shape: traffic over QUIC is not shaped; leave --transport out";
            return Err(Fail::Usage(why.into()));
        }
        let mut kept = path.clone().into_os_string();
        kept.push(".followed");
        let selector = TraceSelector::new(Arc::new(crate::shape_file::read(path)?));
        let folder = state::folder(self.state.as_deref());
        Ok(node.with_trace_selector(selector.with_state(folder, kept.into())))
    }

    fn transport(&self) -> Transport {
        match self.transport.as_str() {
            "tcp" => Transport::Tcp,
            "quic" => Transport::Quic,
            _ => Transport::Either,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Folder to serve.
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) mint: MintFlags,
    #[command(flatten)]
    pub(crate) names: NamesFlags,
    #[command(flatten)]
    pub(crate) settings: SettingArgs<Serving>,
    /// Print the node's status as one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A betanet node that serves a folder over BAR and shows a web site to every other visitor.
#[derive(Debug, Parser)]
#[command(
    name = "gateway",
    version,
    after_help = "Flags take precedence over BETANET_* variables, and these over --config. SIGTERM and Ctrl-C drain open streams and stop.\n\
                  Exit codes: 0 stopped, 1 network, 2 usage, 3 local files and settings.\n\n\
                  Example: gateway --listen 0.0.0.0:443 --serve ./public --cover ./site --key ./node.pem",
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub(crate) struct Gateway {
    #[command(subcommand)]
    pub(crate) command: Option<GatewayCommand>,
    /// TOML file of settings; dist/gateway.toml shows its keys.
    #[arg(long, value_name = "FILE", env = "BETANET_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) mint: MintFlags,
    #[command(flatten)]
    pub(crate) names: NamesFlags,
    #[command(flatten)]
    pub(crate) accounts: AccountFlags,
    #[command(flatten)]
    pub(crate) settings: SettingArgs<All>,
    /// Print the node's status as one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GatewayCommand {
    /// Report every error that prevents a gateway from starting with these settings, without starting it.
    #[command(
        after_help = "The check creates no file, binds no port and sends nothing. Exit codes: 0 the gateway can start, 2 it cannot.\n\n\
                      Example: gateway check /etc/betanet/gateway.toml"
    )]
    Check(Box<GatewayCheck>),
}

#[derive(Debug, Args)]
pub(crate) struct GatewayCheck {
    /// TOML file of settings.
    pub(crate) file: Option<PathBuf>,
    /// Same as FILE.
    #[arg(long, value_name = "FILE", env = "BETANET_CONFIG", hide = true)]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) mint: MintFlags,
    #[command(flatten)]
    pub(crate) names: NamesFlags,
    #[command(flatten)]
    pub(crate) accounts: AccountFlags,
    #[command(flatten)]
    pub(crate) settings: SettingArgs<All>,
    /// Print the faults as one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests;
