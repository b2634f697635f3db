mod files;
mod mix;
mod network;
mod parse;
mod shape;
mod template;

use std::path::PathBuf;
use std::sync::Arc;

use betanet_runtime::{
    Error, FrontRules, JITTER, Network, Node, Padding, Profile, Settings, Templates, TraceSelector,
    Transport, Trust,
};
use clap::{Args, Parser, Subcommand};

use crate::Fail;
use crate::state;

pub(crate) use files::{DelArgs, GetArgs, PutArgs};
pub(crate) use mix::{
    AuditArgs, BeaconCommand, BuildArgs, CarryArgs, DirectoryCommand, LoopArgs, MixArgs,
    MixCommand, Mixnode, MixnodeCommand,
};
pub(crate) use network::{
    NetworkArgs, NetworkCommand, PathArgs, PathCommand, PeersArgs, StatusArgs, UpArgs, WayArgs,
};
pub(crate) use parse::parse;
pub(crate) use shape::{LearnArgs, ShapeArgs, ShapeCommand};
pub(crate) use template::{
    CalibrateArgs, CaptureArgs, CheckArgs, RecordArgs, SignArgs, TemplateArgs, TemplateCommand,
};

/// What follows every `--help` of a command that names a peer.
const PEERS: &str = "PEER is KEYHEX@HOST:PORT#PINHEX, KEYHEX@HOST:PORT (web PKI), or the bnp1… string that a gateway \
                     prints. It is needed once: peers are kept in the address book.";

/// Betanet from the command line.
#[derive(Debug, Parser)]
#[command(
    name = "betanet",
    version,
    after_help = "Exit codes: 0 fine, 1 peer or network, 2 usage, 3 local files and settings, 130 Ctrl-C, 143 SIGTERM.\n\n\
                  Example: betanet demo"
)]
pub(crate) struct Betanet {
    /// Log lines on standard error: a level, or tracing directives as betanet_htx=debug.
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
    /// Make or show an identity.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Id(IdArgs),
    /// Fetch a resource.
    #[command(after_help = format!("{PEERS}\n\nExample: betanet get bar://bn1:…/file.iso -o file.iso --continue"))]
    Get(GetArgs),
    /// Put a resource in its place.
    #[command(after_help = format!("{PEERS}\n\nExample: betanet put notes.txt bar://bn1:…/notes.txt"))]
    Put(PutArgs),
    /// Post a resource under a place; prints where it went.
    #[command(after_help = format!("{PEERS}\n\nExample: echo hello | betanet post - bar://bn1:…/inbox/"))]
    Post(PutArgs),
    /// Remove a resource.
    #[command(after_help = format!("{PEERS}\n\nExample: betanet del bar://bn1:…/notes.txt"))]
    Del(DelArgs),
    /// Serve a folder.
    #[command(after_help = "Example: betanet serve ./public --listen 0.0.0.0:443 --cover ./site")]
    Serve(Box<ServeArgs>),
    /// Learn what page loads of a site look like, for tunnels to follow.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Shape(ShapeArgs),
    /// Measure the round-trip time to a peer, through a session.
    #[command(after_help = format!("{PEERS}\n\nExample: betanet ping bn1:… --count 3"))]
    Ping(PingArgs),
    /// Tell what a peer speaks; of a bare HOST:PORT, what anybody can see of it.
    #[command(after_help = format!("{PEERS}\n\nExample: betanet probe 127.0.0.1:8443"))]
    Probe(ProbeArgs),
    /// Make a test network, start and stop it, or check a network's file.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Network(NetworkArgs),
    /// Ask a running node how it is: its health, its sessions, who was refused and why.
    #[command(
        after_help = "Exit code 1 where the node is not healthy, or does not answer.\n\nExample: betanet status --admin 127.0.0.1:9090"
    )]
    Status(StatusArgs),
    /// Tell whom a node knows: of a running one, or as a client that joins the network for it.
    #[command(after_help = "Example: betanet peers --admin 127.0.0.1:9090 --json")]
    Peers(PeersArgs),
    /// Choose a path to a peer, or measure one.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Path(PathArgs),
    /// The mix: directories of relays, loops, audits.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Mix(MixArgs),
    /// What a browser looks like from outside, and how far this program looks like it.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Template(TemplateArgs),
    /// Decode and name any wire item: a name, a peer, a ticket, CBOR, a message, a frame.
    #[command(after_help = "Example: betanet inspect a2627071f56770616464696e67f5")]
    Inspect(InspectArgs),
    /// Start real nodes on loopback and show what they do.
    #[command(
        after_help = "Needs no network, no root and no configuration.\n\nExample: betanet demo --keep"
    )]
    Demo(DemoArgs),
    /// Print a shell's completions.
    #[command(after_help = "Example: betanet completions bash > /etc/bash_completion.d/betanet")]
    Completions {
        /// Which shell.
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
    /// Make an identity: PKCS#8 PEM, readable by its owner only.
    #[command(after_help = "Example: betanet id new --key ./node.pem")]
    New(KeyFile),
    /// Show an identity's name, PeerID and public key.
    #[command(after_help = "Example: betanet id show --key ./node.pem --json")]
    Show(KeyFile),
}

#[derive(Debug, Args)]
pub(crate) struct KeyFile {
    /// The key file; without it, the one in the user's data folder.
    #[arg(long, value_name = "FILE", env = "BETANET_KEY")]
    pub(crate) key: Option<PathBuf>,
    /// One line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Who is asked, and as whom.
#[derive(Debug, Args)]
pub(crate) struct PeerArgs {
    /// Where the name is reached; needed once.
    #[arg(long, value_name = "PEER")]
    pub(crate) peer: Option<String>,
    /// Go over this relay, a PEER or a name in the address book; may be repeated, the first is dialled. Each must carry paths
    /// on to the next (gateway --onward). None of them reads what passes, each of them sees the whole path.
    #[arg(long, value_name = "PEER")]
    pub(crate) via: Vec<String>,
    /// Go over a path of this many nodes, the last of which is the peer: relays are found in --network, and others are taken when
    /// one of them fails.
    #[arg(long, value_name = "NODES", requires = "network", conflicts_with = "via",
          value_parser = clap::value_parser!(u8).range(1..=8))]
    pub(crate) path: Option<u8>,
    /// Go through the mix, over this many relays: the peer does not learn who asks, and no relay knows both ends. The first of
    /// them is this user's guard, which is kept for 90 days. No --key is shown to the peer.
    #[arg(long, value_name = "RELAYS", requires = "network", conflicts_with_all = ["via", "path", "peer"],
          value_parser = clap::value_parser!(u8).range(1..=7))]
    pub(crate) mix: Option<u8>,
    /// With --mix, send a packet every MS milliseconds in the mean, real or not, instead of real ones at once: who watches the
    /// line does not see when there are any.
    #[arg(long, value_name = "MS", requires = "mix", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub(crate) mix_cover: Option<u64>,
    /// Dial over this: quic and tcp are those alone, auto is QUIC with TCP beside it where that is not answered soon.
    #[arg(long, value_name = "WHAT", default_value = "auto", value_parser = ["auto", "tcp", "quic"])]
    pub(crate) transport: String,
    /// Send in the bursts and records of this shape, as `betanet shape learn` writes it, over TCP. The gateway follows it too where
    /// it has the same one. The state folder keeps with which of its page loads connections began: none is begun with twice before all
    /// were.
    #[arg(long, value_name = "FILE", conflicts_with = "mix")]
    pub(crate) shape: Option<PathBuf>,
    /// Pad what is sent: buckets fills what leaves together up to a few sizes; a rate as 64k sends so many bytes a second whatever
    /// there is to say; two as 16k..1m go from one to the other with what there is. A gateway pads what it sends by --padding of its own.
    #[arg(long, value_name = "HOW", conflicts_with_all = ["mix", "shape"])]
    pub(crate) padding: Option<Padding>,
    /// Tell the peer the template of its web site: it is looked at with one GET where it was not within a day.
    #[arg(long, conflicts_with = "mix")]
    pub(crate) template: bool,
    /// With extended, a session whose template is not in --front-origins is not begun.
    #[arg(long, default_value = "standard", value_parser = ["standard", "extended"])]
    pub(crate) profile: String,
    /// Signed records of front origins, one a line in hex, of the --network's maintainers.
    #[arg(long, value_name = "FILE", requires = "network")]
    pub(crate) front_origins: Option<PathBuf>,
    /// Find the peer, and relays, in the network that this file names.
    #[arg(long, value_name = "FILE", env = "BETANET_NETWORK")]
    pub(crate) network: Option<PathBuf>,
    /// Dial with this identity. Without it put, post and del use one's own, as betanet id show prints it, and all else a fresh one.
    #[arg(long, value_name = "FILE", env = "BETANET_KEY")]
    pub(crate) key: Option<PathBuf>,
    /// Trust the certificates of this PEM file, in place of Mozilla's roots, where a peer is not known by a pin.
    #[arg(long, value_name = "FILE", env = "BETANET_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// The folder of this user's state: the address book, guards, templates. Without it, the one in the user's data folder.
    #[arg(long, value_name = "DIR", env = "BETANET_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// The address book, a TOML file, in place of the one in the state folder.
    #[arg(long, value_name = "FILE", env = "BETANET_BOOK")]
    pub(crate) book: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct PingArgs {
    /// A name from the address book, or a PEER.
    pub(crate) target: String,
    #[command(flatten)]
    pub(crate) peer: PeerArgs,
    /// How many PINGs.
    #[arg(short, long, default_value_t = 4, value_name = "N")]
    pub(crate) count: u32,
    /// One line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// A name from the address book, a PEER, HOST:PORT, or quic:HOST:PORT.
    pub(crate) target: String,
    #[command(flatten)]
    pub(crate) peer: PeerArgs,
    /// One line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A file, hex digits, or the text of a name, peer or ticket; - is standard input.
    pub(crate) item: String,
    /// One line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Leave the nodes running afterwards and print what to try.
    #[arg(long)]
    pub(crate) keep: bool,
}

/// What every listening node takes from the command line; it wins over the file.
#[derive(Debug, Args)]
pub(crate) struct ListenArgs {
    /// Listen here, HOST:PORT; may be repeated. Port 0 lets the system choose. Without it: 127.0.0.1 and a port that is another one at
    /// each start, which other machines cannot reach. `betanet serve` keeps the port that it first got in its state folder.
    #[arg(
        long,
        value_name = "ADDR",
        env = "BETANET_LISTEN",
        value_delimiter = ','
    )]
    pub(crate) listen: Vec<String>,
    /// Print this address, HOST:PORT or quic:HOST:PORT, for others to dial; may be repeated. Without it: the hosts of --certificate,
    /// or where the node listens, 0.0.0.0 and [::] being this machine's own addresses.
    #[arg(long, value_name = "ADDR")]
    pub(crate) advertise: Vec<String>,
    /// The folder of the web site that everybody sees. Without it, and without --origin, pages that no other node has are made and
    /// kept beside the key; pages of one's own hide more.
    #[arg(long, value_name = "DIR", env = "BETANET_COVER")]
    pub(crate) cover: Option<PathBuf>,
    /// In place of --cover: show this front origin's pages, https://HOST[:PORT] or http://HOST[:PORT]. Fields by which visitors
    /// say where they are (x-forwarded-for and the like) are not passed on. An origin on this machine takes every visitor for a
    /// local one: it must let nobody in for that. It alone gets the visitor's address, as x-forwarded-for.
    #[arg(long, value_name = "URL", conflicts_with = "cover")]
    pub(crate) origin: Option<String>,
    /// Listen for QUIC too, at the UDP port of each TCP port, and be there over HTTP/3. nginx of Debian, which a listener looks like
    /// otherwise, has neither.
    #[arg(long)]
    pub(crate) quic: bool,
    /// With --quic: do not tell visitors over TCP that the site is there over HTTP/3.
    #[arg(long)]
    pub(crate) no_alt_svc: bool,
    /// Be the web site and nothing else, so that the two can be compared: no tunnel is taken.
    #[arg(long)]
    pub(crate) cover_only: bool,
    /// Take sessions that are joined with a leg of protocol version 1.1 at their other end; by itself 1.1 is spoken with nobody.
    #[arg(long)]
    pub(crate) compat11: bool,
    /// Take legs of clients of 1.1: the file of the key for their tickets, made when it is not there.
    #[arg(long, value_name = "FILE", requires = "compat11_to")]
    pub(crate) compat11_tickets: Option<PathBuf>,
    /// The peer that those legs are joined with, as its gateway prints it. A client may ask for a path to it, which begins with an
    /// --onward or a peer that the --network knows.
    #[arg(long, value_name = "PEER", requires = "compat11_tickets")]
    pub(crate) compat11_to: Option<String>,
    /// Join the sessions that --compat11 takes with legs to this server of 1.1: HOST:PORT,key=HEX,id=HEX[,pin=HEX].
    #[arg(long, value_name = "SERVER", requires = "compat11")]
    pub(crate) compat11_dial: Option<String>,
    /// Follow this shape with clients that follow it, as `betanet shape learn` writes it.
    #[arg(long, value_name = "FILE")]
    pub(crate) shape: Option<PathBuf>,
    /// Pad what is sent to clients that follow no shape: buckets, a rate as 64k bytes a second, or two as 16k..1m.
    #[arg(long, value_name = "HOW")]
    pub(crate) padding: Option<Padding>,
    /// What leaves over TCP waits for a drawn time, up to so many milliseconds; but for tunnels that follow a --shape, which is to be
    /// learnt from a site with as much. Times within a site's answers then tell less of what answers. 256 KiB wait at most: with 10, a
    /// connection carries some 50 MB a second.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(JITTER))]
    pub(crate) jitter: Option<u64>,
    /// Signed records of front origins, one a line in hex, of the --network's maintainers.
    #[arg(long, value_name = "FILE", requires = "network")]
    pub(crate) front_origins: Option<PathBuf>,
    /// With extended, sessions whose template is not in --front-origins are ended.
    #[arg(long, value_name = "PROFILE", value_parser = ["standard", "extended"])]
    pub(crate) profile: Option<String>,
    /// The identity's key file; made when it is not there.
    #[arg(long, value_name = "FILE", env = "BETANET_KEY")]
    pub(crate) key: Option<PathBuf>,
    /// The folder of the node's state, which one process at a time uses; without it, one beside the key that ends in .state. Without
    /// --key, the key is in it as id.pem.
    #[arg(long, value_name = "DIR", env = "BETANET_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// A PEM certificate chain; read again when it changes.
    #[arg(long, value_name = "FILE", requires = "certificate_key")]
    pub(crate) certificate: Option<PathBuf>,
    /// The PEM key of --certificate.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(crate) certificate_key: Option<PathBuf>,
    /// Trust the certificates of this PEM file, in place of Mozilla's roots, where a peer that is dialled is not known by a pin.
    #[arg(long, value_name = "FILE", env = "BETANET_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// Carry paths of others on to this peer, as its gateway prints it; may be repeated. Without any, no path is carried on.
    #[arg(long, value_name = "PEER")]
    pub(crate) onward: Vec<String>,
    /// Be part of the network that this file names.
    #[arg(long, value_name = "FILE", env = "BETANET_NETWORK")]
    pub(crate) network: Option<PathBuf>,
    /// What the node does there; may be repeated. entry and core carry paths of others, seed answers who joins.
    #[arg(long = "role", value_name = "ROLE", value_parser = ["entry", "core", "exit", "mix", "gateway", "coordinator", "worker", "seed"])]
    pub(crate) roles: Vec<String>,
    /// Who runs the node, as its record says.
    #[arg(long, value_name = "TEXT")]
    pub(crate) org: Option<String>,
    /// Have nothing to do with this name; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub(crate) ban: Vec<String>,
    /// Dial from this local address.
    #[arg(long, value_name = "IP")]
    pub(crate) dial_from: Option<String>,
    /// Sessions that one address may have (IPv6: one /56); 8 without it, or what the network says.
    #[arg(long, value_name = "N")]
    pub(crate) per_address: Option<usize>,
    /// Serve /metrics, /healthz, /status and /peers on this loopback address; port 0 lets the system choose.
    #[arg(long, value_name = "ADDR", env = "BETANET_ADMIN")]
    pub(crate) admin: Option<String>,
    /// Print the node's facts as one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a node takes that serves a folder.
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    #[command(flatten)]
    pub(crate) carry: CarryArgs,
    /// Let whoever asks PUT, POST and DEL.
    #[arg(long)]
    pub(crate) writable: bool,
    /// Let this name PUT, POST and DEL, and nobody who is not named; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub(crate) allow: Vec<String>,
    /// Bytes that the served folder may grow to: each file's length, and 4096 for each file and folder. [default: 1 GiB]
    #[arg(long, value_name = "BYTES")]
    pub(crate) quota: Option<u64>,
    /// Answer the GET of a folder that has no index.html with a list of what is in it. Hidden names are in no list.
    #[arg(long)]
    pub(crate) listing: bool,
    /// Files and folders that the served folder may grow to; kept headers count as a file. [default: 100000]
    #[arg(long, value_name = "COUNT")]
    pub(crate) entries: Option<u64>,
}

fn some(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

impl PeerArgs {
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
        let selector = TraceSelector::new(Arc::new(crate::shape::read(path)?));
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

impl NodeArgs {
    pub(crate) fn settings(&self, serve: Option<PathBuf>) -> Settings {
        Settings {
            serve,
            writable: self.writable.then_some(true),
            allow: some(&self.allow),
            quota: self.quota,
            listing: self.listing.then_some(true),
            entries: self.entries,
            ..self.listen.settings(&self.carry)
        }
    }
}

impl ListenArgs {
    pub(crate) fn settings(&self, carry: &CarryArgs) -> Settings {
        Settings {
            listen: some(&self.listen),
            advertise: some(&self.advertise),
            cover: self.cover.clone(),
            origin: self.origin.clone(),
            quic: self.quic.then_some(true),
            alt_svc: self.no_alt_svc.then_some(false),
            cover_only: self.cover_only.then_some(true),
            compat11: self.compat11.then_some(true),
            compat11_tickets: self.compat11_tickets.clone(),
            compat11_to: self.compat11_to.clone(),
            compat11_dial: self.compat11_dial.clone(),
            shape: self.shape.clone(),
            padding: self.padding.map(|p| p.to_string()),
            jitter: self.jitter,
            front_origins: self.front_origins.clone(),
            profile: self.profile.clone(),
            key: self.key.clone(),
            state: self.state.clone(),
            certificate: self.certificate.clone(),
            certificate_key: self.certificate_key.clone(),
            ca: self.ca.clone(),
            onward: some(&self.onward),
            network: self.network.clone(),
            roles: some(&self.roles),
            org: self.org.clone(),
            ban: some(&self.ban),
            dial_from: self.dial_from.clone(),
            per_address: self.per_address,
            admin: self.admin.clone(),
            mix_rate: carry.mix_rate,
            mix_memory: carry.mix_memory,
            mix_workers: carry.mix_workers,
            mix_waiting: carry.mix_waiting,
            ..Settings::default()
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The folder to serve.
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

/// A betanet node that serves a folder over BAR and is a web site to everybody else.
#[derive(Debug, Parser)]
#[command(
    name = "gateway",
    version,
    after_help = "Flags win over BETANET_* variables, which win over --config. SIGTERM and Ctrl-C drain and stop.\n\
                  Exit codes: 0 stopped, 1 network, 2 usage, 3 local files and settings.\n\n\
                  Example: gateway --listen 0.0.0.0:443 --serve ./public --cover ./site --key ./node.pem",
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub(crate) struct Gateway {
    #[command(subcommand)]
    pub(crate) command: Option<GatewayCommand>,
    /// A TOML file of settings. Most keys are flags with _ for -; dist/gateway.toml shows all of them.
    #[arg(long, value_name = "FILE", env = "BETANET_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The folder to serve over BAR.
    #[arg(long, value_name = "DIR", env = "BETANET_SERVE")]
    pub(crate) serve: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// text or json.
    #[arg(long, value_name = "FORMAT", env = "BETANET_LOG_FORMAT")]
    pub(crate) log_format: Option<String>,
    /// Log lines on standard error: a level, or tracing directives as betanet_htx=debug.
    #[arg(long, value_name = "FILTER", env = "BETANET_LOG")]
    pub(crate) log: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GatewayCommand {
    /// Tell all that keeps a gateway from starting with these settings, without starting it.
    #[command(
        after_help = "It makes no file, binds no port, asks no network. Exit codes: 0 a node can start, 2 it cannot.\n\n\
                      Example: gateway check /etc/betanet/gateway.toml"
    )]
    Check(Box<GatewayCheck>),
}

#[derive(Debug, Args)]
pub(crate) struct GatewayCheck {
    /// The TOML file of settings.
    pub(crate) file: Option<PathBuf>,
    /// The same.
    #[arg(long, value_name = "FILE", env = "BETANET_CONFIG", hide = true)]
    pub(crate) config: Option<PathBuf>,
    /// The folder to serve over BAR.
    #[arg(long, value_name = "DIR", env = "BETANET_SERVE")]
    pub(crate) serve: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Log lines on standard error.
    #[arg(long, value_name = "FILTER", env = "BETANET_LOG")]
    pub(crate) log: Option<String>,
}
