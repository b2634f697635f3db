//! `betanet network`, `betanet peers` and `betanet path`.

mod bootstrap;
mod directories;
mod down;
mod place;
mod up;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use betanet_carrier::Certificate;
use betanet_carrier::disk::write_shared;
use betanet_htx::Config;
use betanet_mix::epoch_at;
use betanet_runtime::{
    Clock, DialError, Error, Identity, Name, Network, Node, Peer, View, new_identity,
};
use betanet_wire::text::hex;
use serde_json::{Value, json};

use crate::Fail;
use crate::admin::ask;
use crate::args::{
    DialArgs, NetworkArgs, NetworkCommand, PathArgs, PathCommand, PeersArgs, WayArgs,
};
use crate::fail::interruptible;
use crate::on_runtime;
use crate::target::{Joined, PATIENCE};

pub(crate) fn network(args: &NetworkArgs) -> Result<(), Fail> {
    match &args.command {
        NetworkCommand::New {
            dir,
            relays,
            mixnodes,
            layers,
            signers,
            port,
            json,
        } => {
            let layers = layers.unwrap_or(if *mixnodes < 12 { 1 } else { 3 });
            let plan = Plan {
                relays: *relays,
                mixnodes: *mixnodes,
                layers,
                signers: *signers,
                port: *port,
            };
            new(dir, &plan, *json)
        }
        NetworkCommand::Check { file, json } => check(file, *json),
        NetworkCommand::Bootstrap(args) => on_runtime(interruptible(bootstrap::publish(args))),
        NetworkCommand::Up(args) => on_runtime(up::up(args)),
        NetworkCommand::Down { dir } => down::down(dir),
        NetworkCommand::Status { dir, json } => on_runtime(interruptible(down::status(dir, *json))),
        NetworkCommand::Node { config } => {
            let _running = place::node_lock(config)?;
            on_runtime(crate::listen::leashed(config))
        }
    }
}

fn check(file: &Path, as_json: bool) -> Result<(), Fail> {
    let network = Network::read(file).map_err(Error::from)?;
    let (seeds, maintainers) = (network.seeds.len(), network.maintainers.len());
    if as_json {
        say!(
            "{}",
            json!({
                "name": network.name,
                "seeds": network.seeds.iter().map(|s| json!({
                    "name": Name::from(s.key.node_id()).to_string(),
                    "addrs": s.addrs.iter().map(ToString::to_string).collect::<Vec<_>>(),
                    "pinned": s.pin.is_some(),
                })).collect::<Vec<_>>(),
                "signers": network.signers.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "ledgers": network.ledgers.iter().map(|l| l.peer.name().to_string()).collect::<Vec<_>>(),
                "maintainers": maintainers,
                "banned": network.banned.len(),
            })
        );
    } else {
        say!(
            "{}: {seeds} seeds, {maintainers} maintainers, {} signers, {} banned: it can be used",
            network.name,
            network.signers.len(),
            network.banned.len()
        );
        for seed in &network.seeds {
            let addrs: Vec<String> = seed.addrs.iter().map(ToString::to_string).collect();
            say!(
                "seed {} {}",
                Name::from(seed.key.node_id()),
                addrs.join(" ")
            );
        }
        for signer in &network.signers {
            let ledger = network.ledgers.iter().find(|l| l.signer == *signer);
            let ledger = ledger.map_or_else(String::new, |l| format!(" ledger {}", l.peer.name()));
            say!("signer {signer}{ledger}");
        }
    }
    Ok(())
}

/// The parameters of a new network.
struct Plan {
    relays: u8,
    mixnodes: u8,
    layers: u8,
    /// Signers of the ledger of names, whose nodes are the first seeds.
    signers: u8,
    port: u16,
}

/// The role of a node of a new network.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Part {
    Seed,
    Relay,
    Mixnode,
}

/// One node of a new network.
struct Fresh {
    name: String,
    part: Part,
    ip: String,
    dir: PathBuf,
    identity: Identity,
    pin: [u8; 32],
}

impl Fresh {
    fn config(&self) -> PathBuf {
        self.dir.join(match self.part {
            Part::Mixnode => "mixnode.toml",
            Part::Seed | Part::Relay => "gateway.toml",
        })
    }
}

/// Creates a node's folder: its key, its certificate and a file to serve.
fn fresh(dir: &Path, n: u8, part: Part, name: String) -> Result<Fresh, Fail> {
    let dir = dir.join(&name);
    let files = dir.join("files");
    fs::create_dir_all(&files).map_err(Fail::file(&files))?;
    let write = |path: PathBuf, text: &str| write_shared(&path, text).map_err(Fail::file(&path));
    write(dir.join("files/hello.txt"), &format!("hello from {name}\n"))?;
    let identity = new_identity(&dir.join("node.pem"))?;
    let path = dir.join("node.pem.tls.pem");
    let certificate = Certificate::load_or_create(&path, &["localhost".to_owned()])
        .map_err(|e| Fail::Local(format!("{}: {e}", path.display())))?;
    Ok(Fresh {
        ip: format!("127.{n}.0.1"),
        pin: *certificate.pin(),
        identity,
        name,
        part,
        dir,
    })
}

/// A folder that is being filled. It is removed on drop unless it is complete.
struct Unfinished<'a>(&'a Path);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        // The next attempt finds and reports any remains.
        let _ = fs::remove_dir_all(self.0);
    }
}

fn new(dir: &Path, plan: &Plan, as_json: bool) -> Result<(), Fail> {
    let (relays, port) = (plan.relays, plan.port);
    if dir.exists() {
        return Err(Fail::Usage(format!(
            "{}: is there already; name a new folder",
            dir.display()
        )));
    }
    let given = dir;
    fs::create_dir_all(dir).map_err(Fail::file(dir))?;
    let unfinished = Unfinished(dir);
    let dir = fs::canonicalize(dir).map_err(Fail::file(dir))?;
    let (seeds, maintainers) = betanet_runtime::LEAST;
    let keys = |what: &str, n: usize| -> Result<Vec<String>, Fail> {
        let folder = dir.join("keys");
        fs::create_dir_all(&folder).map_err(Fail::file(&folder))?;
        let one = |i| {
            let key = new_identity(&folder.join(format!("{what}{i}.pem")))?;
            Ok(format!("  \"{}\",\n", key.public()))
        };
        (1..=n).map(one).collect()
    };
    let mut file = format!(
        "# A network of this machine only, made by `betanet network new`.\nname = \"testnet\"\n\nmaintainers = [\n{}]\n",
        keys("maintainer", maintainers)?.concat(),
    );
    file.push_str(
        "\n[policy]\nprivate = true          # its nodes are on 127.x.0.1\ndial_every_ms = 200\ngossip_every_s = [5, 10]\n",
    );
    if plan.mixnodes > 0 {
        let beacon = crate::mix::new_beacon_key(&dir.join("keys/beacon.key"))?;
        let _ = write!(
            file,
            "\n[mix]\nbeacon_key = \"{}\"\nlayers = {}\nfirst_epoch = {}   # relays of this epoch's directory count at once\n",
            hex(&beacon.to_bytes()),
            plan.layers,
            epoch_at(Clock::start().now().unix_ms),
        );
    }
    let mut nodes = Vec::new();
    let seeds = u8::try_from(seeds).unwrap_or(5);
    let all = u16::from(seeds) + u16::from(relays) + u16::from(plan.mixnodes);
    if all > 240 {
        return Err(Fail::Usage(format!(
            "{all} nodes, where 240 fit 127.11 to 127.250"
        )));
    }
    for n in 1..=seeds + relays + plan.mixnodes {
        let (part, name) = match n {
            n if n <= seeds => (Part::Seed, format!("seed{n}")),
            n if n <= seeds + relays => (Part::Relay, format!("relay{}", n - seeds)),
            n => (Part::Mixnode, format!("mix{}", n - seeds - relays)),
        };
        nodes.push(fresh(&dir, 10 + n, part, name)?);
    }
    for node in nodes.iter().filter(|n| n.part == Part::Seed) {
        let (key, ip, pin) = (node.identity.public(), &node.ip, hex(&node.pin));
        let _ = write!(
            file,
            "\n[[seed]] # {}\nkey = \"{key}\"\naddrs = [\"/ip4/{ip}/tcp/{port}/tls\"]\npin = \"{pin}\"\n",
            node.name
        );
    }
    let mut ledgers = Vec::new();
    for (n, node) in (1..=plan.signers).zip(&nodes) {
        let path = dir.join(format!("keys/signer{n}.pem"));
        let signer = new_identity(&path)?;
        let (key, ip, pin) = (node.identity.public(), &node.ip, hex(&node.pin));
        let _ = write!(
            file,
            "\n[[signer]] # its ledger node is {}\nkey = \"{}\"\npeer = \"{key}@{ip}:{port}#{pin}\"\n",
            node.name,
            signer.public()
        );
        ledgers.push(format!(
            "\n[names]\nserve = true\nsigner = \"{}\"\n",
            path.display()
        ));
    }
    let mut ledgers = ledgers.into_iter();
    let network = dir.join("NETWORK.toml");
    write_shared(&network, file).map_err(Fail::file(&network))?;
    let mut commands = String::new();
    for node in &nodes {
        let ledger = ledgers.next();
        let (binary, roles) = match node.part {
            // Only a gateway publishes a key for requests over the mix.
            Part::Seed if ledger.is_some() => ("gateway", "\"seed\", \"entry\", \"gateway\""),
            Part::Seed => ("gateway", "\"seed\", \"entry\""),
            Part::Relay => ("gateway", "\"entry\", \"core\", \"gateway\""),
            Part::Mixnode => ("mixnode", "\"mix\""),
        };
        let (ip, name, dir) = (&node.ip, &node.name, node.dir.display());
        let config = node.config();
        let text = format!(
            "listen = [\"{ip}:{port}\"]\nserve = \"{dir}/files\"\nkey = \"{dir}/node.pem\"\n\
             network = \"{}\"\nroles = [{roles}]\norg = \"{name}\"\ndial_from = \"{ip}\"\nper_address = 64\nadmin = \"{ip}:{}\"\n",
            network.display(),
            port.saturating_add(1),
        ) + &ledger.unwrap_or_default();
        write_shared(&config, text).map_err(Fail::file(&config))?;
        let _ = writeln!(commands, "{binary} --config {}", config.display());
    }
    let list = dir.join("COMMANDS");
    write_shared(&list, &commands).map_err(Fail::file(&list))?;
    Network::read(&network).map_err(Error::from)?;
    std::mem::forget(unfinished);
    let of = |n: &Fresh| Name::from(n.identity.public().node_id()).to_string();
    if as_json {
        say!(
            "{}",
            json!({
                "network": network,
                "commands": commands.lines().collect::<Vec<_>>(),
                "nodes": nodes.iter().map(|n| json!({
                    "node": n.name, "name": of(n), "seed": n.part == Part::Seed, "address": format!("{}:{port}", n.ip),
                    "admin": format!("{}:{}", n.ip, port.saturating_add(1)), "config": n.config(),
                })).collect::<Vec<_>>(),
            })
        );
        return Ok(());
    }
    say!("{}", network.display());
    for node in &nodes {
        say!("{:<8} {} {}:{port}", node.name, of(node), node.ip);
    }
    let shown = given.display();
    say!("\nbetanet network up {shown} starts all of them; COMMANDS in it has one command a node.");
    if let Some(node) = nodes.iter().find(|n| n.part == Part::Relay) {
        say!("Then:");
        say!(
            "  betanet get --network {} --path {} bar://{}/hello.txt",
            network.display(),
            3.min(plan.relays + 1),
            of(node)
        );
        if plan.mixnodes > 0 {
            say!(
                "  betanet get --network {} --mix {} bar://{}/hello.txt",
                network.display(),
                3.min(plan.mixnodes),
                of(node)
            );
        }
    }
    Ok(())
}

pub(crate) async fn peers(args: PeersArgs) -> Result<(), Fail> {
    interruptible(async {
        let view = match (&args.admin, &args.network) {
            (Some(admin), _) => ask(admin, "/peers").await?,
            (None, Some(file)) => listen(file, args.wait).await?,
            (None, None) => return Err(Fail::Usage("--admin ADDR or --network FILE".into())),
        };
        if args.json {
            say!("{view}");
        } else {
            print_peers(&view);
        }
        Ok(())
    })
    .await
}

async fn listen(file: &Path, seconds: u64) -> Result<Value, Fail> {
    let node = Arc::new(Node::client()?);
    let joined = Joined::join(file, node)?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let view: Option<View> = joined.mesh.view().await;
    joined.mesh.stop().await;
    let view = view.ok_or_else(|| Fail::Peer("the network was left".into()))?;
    if view.peers.is_empty() {
        return Err(Fail::Peer(format!(
            "no seed of {} was reached in {seconds} s",
            file.display()
        )));
    }
    let view = serde_json::from_str(&view.to_json());
    view.map_err(|e| Fail::Peer(e.to_string()))
}

fn print_peers(view: &Value) {
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    for peer in list(&view["peers"]) {
        let reached = peer["reached"]
            .as_str()
            .map_or("not reached".to_owned(), |ip| format!("reached at {ip}"));
        let linked = if peer["linked"] == json!(true) {
            ", linked"
        } else {
            ""
        };
        let rtt = peer["rtt_ms"]
            .as_f64()
            .map_or(String::new(), |ms| format!(", {ms:.1} ms"));
        let roles: Vec<String> = list(&peer["roles"]).iter().map(text).collect();
        say!(
            "{} {} ({}{linked}{rtt})",
            text(&peer["name"]),
            roles.join(","),
            reached
        );
    }
    for (what, names) in [("excluded", &view["excluded"]), ("banned", &view["banned"])] {
        for name in list(names) {
            say!("{what} {}", text(&name));
        }
    }
}

pub(crate) async fn path(args: PathArgs) -> Result<(), Fail> {
    let (args, trace) = match args.command {
        PathCommand::Show(args) => (args, false),
        PathCommand::Trace(args) => (args, true),
    };
    let mut args = args;
    let dial = DialArgs::of_network(Some(args.network.clone()), None);
    crate::name::named([&mut args.name], &dial).await?;
    interruptible(way(&args, trace)).await
}

async fn way(args: &WayArgs, trace: bool) -> Result<(), Fail> {
    let name: Name = args
        .name
        .parse()
        .map_err(|e| Fail::Usage(format!("{}: {e}", args.name)))?;
    let node = Arc::new(Node::new(None, Config::default())?);
    let joined = Joined::join(&args.network, Arc::clone(&node))?;
    let nodes = usize::from(args.nodes);
    let ways = joined.mesh.ways_to(name, nodes, &[], PATIENCE).await?;
    let mut out = Vec::new();
    for (i, way) in ways.iter().enumerate() {
        if ways.len() > 1 && !args.json {
            say!("way {} of {}", i + 1, ways.len());
        }
        out.push(show_way(way, trace.then_some(&*node), args.json).await?);
    }
    if args.json {
        say!("{}", json!({ "name": args.name, "ways": out }));
    }
    node.close().await;
    joined.mesh.stop().await;
    Ok(())
}

/// Prints the nodes of a path, with the round-trip time to each if it is to be measured.
async fn show_way(way: &[Peer], tracing: Option<&Node>, json: bool) -> Result<Vec<Value>, Fail> {
    let mut out = Vec::new();
    for i in 0..way.len() {
        let rtt = match tracing {
            Some(node) => Some(measure(node, &way[..=i]).await?),
            None => None,
        };
        let position = match i {
            _ if i + 1 == way.len() => "exit",
            0 => "entry",
            _ => "core",
        };
        let peer = &way[i];
        if !json {
            let took = rtt.map_or(String::new(), |r| {
                format!(" {:.3} ms", r.as_secs_f64() * 1000.0)
            });
            say!(
                "{position:<5} {} {}{took}",
                peer.name(),
                peer.addrs.join(" ")
            );
        }
        out.push(json!({
            "position": position,
            "name": peer.name().to_string(),
            "addrs": peer.addrs,
            "rtt_ms": rtt.map(|r| r.as_secs_f64() * 1000.0),
        }));
    }
    Ok(out)
}

/// Measures the round-trip time to the last of these nodes, over the others.
async fn measure(node: &Node, way: &[Peer]) -> Result<Duration, Error> {
    let (peer, relays) = way.split_last().ok_or(DialError::NoAddress)?;
    let session = node.session_over(relays, peer).await?;
    // The first answer includes work of the session's start.
    session.ping().await?;
    Ok(session.ping().await?)
}
