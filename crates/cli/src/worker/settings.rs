//! Settings of a worker: the tables `worker` and `harvest` of a file, and flags over them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use betanet_blobs::{FLOOR, Settings as BlobSettings};
use betanet_fog::{Kind, Level, Signed, Text, Token, Word};
use betanet_fog_client::PEERS_MAX;
use betanet_fog_worker::Described;
use betanet_harvest::{Rules, Table as HarvestTable};
use betanet_keys::{Peer, PublicKey};
use betanet_runtime::Problem;
use serde::Deserialize;

use crate::args::{FLAGS, NodeFlags};
use crate::faults::Faults;
use crate::fog::{cores_of, flag_time, size_of};

/// Size of all blobs and of all compiled modules by default.
const BLOB_QUOTA: u64 = 16 << 30;
const COMPILED_MAX: u64 = 1 << 30;
/// Most children that are kept ready.
const SPARE_MAX: u64 = 64;
/// Time to drain by default, and at most, in ms.
const DRAIN: (u64, u64) = (30_000, 86_400_000);
/// Most bits a second that a node can announce.
const RATE_MAX: u64 = 1 << 40;
/// Least mix traffic of a node with a level above public, in bits a second: one task asks for as much.
const RELAY_LEAST: u64 = 1_000_000;
/// Highest price, in millionths.
const PRICE_MAX: u64 = 100_000_000;

/// Settings that can be used.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) token: Option<Text>,
    /// Coordinators as the command line or the file names them; empty means the token's.
    pub(super) coordinators: Vec<String>,
    pub(super) state: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) admin: Option<SocketAddr>,
    pub(super) drain: Duration,
    pub(super) described: Described,
    pub(super) network: bool,
    pub(super) network_private: Vec<IpAddr>,
    pub(super) harvest: Option<Rules>,
    pub(super) blobs: BlobSettings,
    /// Peer strings of nodes that may have blobs of public tasks.
    pub(super) peers: Vec<String>,
    pub(super) spare: usize,
    pub(super) compiled_max: u64,
    pub(super) log: Option<String>,
}

/// The table as it stands in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    token: Option<String>,
    coordinators: Vec<String>,
    state: Option<PathBuf>,
    key: Option<PathBuf>,
    admin: Option<SocketAddr>,
    log: Option<String>,
    drain: Option<String>,
    org: Option<String>,
    kind: Option<String>,
    region: Option<String>,
    zone: Option<String>,
    price: Option<u64>,
    labels: BTreeMap<String, String>,
    cpu: Option<String>,
    memory: Option<String>,
    storage: Option<String>,
    devices: Vec<String>,
    bandwidth: Option<u64>,
    relay: Option<u64>,
    level: Option<String>,
    network: bool,
    network_private: Vec<IpAddr>,
    peers: Vec<String>,
    blob_quota: Option<String>,
    blob_floor: Option<String>,
    compiled_max: Option<String>,
    spare: Option<u64>,
}

/// The listener's tables are read elsewhere.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    worker: Table,
    harvest: Option<HarvestTable>,
}

impl Faults<'_> {
    /// Reads a value, if there is one.
    fn read<T>(
        &mut self,
        key: &str,
        given: Option<&str>,
        allowed: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = given?;
        let value = read(text);
        if value.is_none() {
            self.say(key, text, allowed);
        }
        value
    }

    fn optional_word(&mut self, key: &str, given: Option<&str>) -> Option<Word> {
        self.read(key, given, "up to 63 of a-z, 0-9, -, _ and .", |t| {
            t.parse().ok()
        })
    }

    fn size(&mut self, key: &str, given: Option<&str>) -> Option<u64> {
        let allowed = "a size such as \"2 GiB\", from 0 B to 2^50 B";
        self.read(key, given, allowed, size_of)
    }

    fn kind(&mut self, key: &str, given: Option<&str>) -> Option<Kind> {
        self.read(key, given, &Kind::WORDS.join(", "), Kind::from_word)
    }

    fn level(&mut self, key: &str, given: Option<&str>) -> Option<Level> {
        self.read(key, given, &Level::WORDS.join(", "), Level::from_word)
    }

    fn cores(&mut self, key: &str, given: Option<&str>) -> Option<u64> {
        self.read(key, given, "cores such as 500m or \"2 cores\"", cores_of)
    }

    fn time(&mut self, key: &str, given: Option<&str>) -> Option<Duration> {
        let allowed = "a time such as \"30 s\", up to 1 d";
        let read = |t: &str| flag_time(t).filter(|ms| *ms <= DRAIN.1);
        self.read(key, given, allowed, read)
            .map(Duration::from_millis)
    }

    fn token(&mut self, key: &str, given: Option<&str>) -> Option<Text> {
        let text = given?;
        // The text is a secret, and is not shown.
        match Signed::<Token>::from_text(text.trim()) {
            Ok(_) => text.trim().parse().ok(),
            Err(refusal) => {
                let why = format!("a token that `betanet node token` printed ({refusal})");
                self.say(key, "", &why);
                None
            }
        }
    }

    fn peers(&mut self, key: &str, given: Vec<String>) -> Vec<String> {
        let allowed = format!(
            "up to {PEERS_MAX} peer strings, as `worker --listen` prints them, names, or aliases"
        );
        if given.len() > PEERS_MAX {
            self.say(key, &given.len().to_string(), &allowed);
        }
        for text in given.iter().filter(|t| !crate::name::is_place(t)) {
            self.say(key, text, &allowed);
        }
        given
    }

    fn price(&mut self, key: &str, given: Option<u64>) -> Option<u64> {
        let wrong = given.filter(|n| !(1..=PRICE_MAX).contains(n));
        if let Some(n) = wrong {
            self.say(key, &n.to_string(), &format!("1 to {PRICE_MAX}"));
        }
        given.filter(|_| wrong.is_none())
    }

    fn bound(&mut self, key: &str, given: Option<u64>, most: u64) -> Option<u64> {
        let over = given.filter(|n| *n > most);
        if let Some(n) = over {
            self.say(key, &n.to_string(), &format!("0 to {most}"));
        }
        given.filter(|n| *n <= most)
    }
}

/// Reads the tables of a file, and lays the flags over them. Returns all faults.
pub(super) fn read(file: Option<&Path>, flags: &NodeFlags) -> Result<Node, Vec<Problem>> {
    let origin = file.map_or_else(|| FLAGS.to_owned(), |f| f.display().to_string());
    let mut faults = Faults::of(&origin);
    let given: File = faults.table(file, "worker");
    let folder = file.and_then(Path::parent).unwrap_or(Path::new(""));
    let mut node = of_file(given, folder, &mut faults);
    let mut found = faults.found;
    let mut faults = Faults::of(FLAGS);
    over(flags, &mut node, &mut faults);
    found.extend(faults.found);
    let described = &node.described;
    if described.level > Level::Public && (1..RELAY_LEAST).contains(&described.relay) {
        found.push(Problem {
            origin: origin.clone(),
            key: "relay".into(),
            value: described.relay.to_string(),
            allowed: format!(
                "above public, {RELAY_LEAST} to {RATE_MAX}: each such task asks for as much"
            ),
        });
    }
    if described.org.is_empty() && found.is_empty() {
        found.push(Problem {
            origin,
            key: "org".into(),
            value: String::new(),
            allowed: "name the organisation that runs the node: --org ORG".to_owned(),
        });
    }
    if found.is_empty() {
        Ok(node)
    } else {
        Err(found)
    }
}

fn of_file(file: File, folder: &Path, faults: &mut Faults<'_>) -> Node {
    let t = file.worker;
    let harvest = file.harvest.and_then(|table| match table.check() {
        Ok(rules) => Some(rules),
        Err(wrong) => {
            for fault in wrong.0 {
                faults.say(
                    &format!("harvest.{}", fault.key),
                    &fault.value,
                    &fault.allowed,
                );
            }
            None
        }
    });
    let mut labels = BTreeMap::new();
    for (name, value) in &t.labels {
        let key = format!("worker.labels.{name}");
        let pair = (
            faults.optional_word(&key, Some(name)),
            faults.optional_word(&key, Some(value)),
        );
        if let (Some(name), Some(value)) = pair {
            labels.insert(name, value);
        }
    }
    let described = Described {
        org: faults
            .optional_word("worker.org", t.org.as_deref())
            .unwrap_or_default(),
        kind: faults
            .kind("worker.kind", t.kind.as_deref())
            .unwrap_or(Kind::Compute),
        region: faults
            .optional_word("worker.region", t.region.as_deref())
            .unwrap_or_default(),
        zone: faults
            .optional_word("worker.zone", t.zone.as_deref())
            .unwrap_or_default(),
        price: faults.price("worker.price", t.price).unwrap_or(1),
        labels,
        cpu: faults.cores("worker.cpu", t.cpu.as_deref()),
        memory: faults.size("worker.memory", t.memory.as_deref()),
        storage: faults.size("worker.storage", t.storage.as_deref()),
        devices: t.devices,
        bandwidth: faults
            .bound("worker.bandwidth", t.bandwidth, RATE_MAX)
            .unwrap_or(0),
        relay: faults.bound("worker.relay", t.relay, RATE_MAX).unwrap_or(0),
        level: faults
            .level("worker.level", t.level.as_deref())
            .unwrap_or(Level::Public),
    };
    let spare = faults
        .bound("worker.spare", t.spare, SPARE_MAX)
        .unwrap_or(1);
    Node {
        token: faults.token("worker.token", t.token.as_deref()),
        coordinators: t.coordinators,
        state: t.state.map(|path| folder.join(path)),
        key: t.key.map(|path| folder.join(path)),
        admin: t.admin,
        drain: faults
            .time("worker.drain", t.drain.as_deref())
            .unwrap_or(Duration::from_millis(DRAIN.0)),
        described,
        network: t.network,
        network_private: t.network_private,
        harvest,
        blobs: BlobSettings {
            quota: faults
                .size("worker.blob_quota", t.blob_quota.as_deref())
                .unwrap_or(BLOB_QUOTA),
            floor: faults
                .size("worker.blob_floor", t.blob_floor.as_deref())
                .unwrap_or(FLOOR),
            ..BlobSettings::default()
        },
        peers: faults.peers("worker.peers", t.peers),
        spare: usize::try_from(spare).unwrap_or(1),
        compiled_max: faults
            .size("worker.compiled_max", t.compiled_max.as_deref())
            .unwrap_or(COMPILED_MAX),
        log: t.log,
    }
}

fn over(flags: &NodeFlags, node: &mut Node, faults: &mut Faults<'_>) {
    fn set<T>(place: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *place = value;
        }
    }
    if let Some(token) = faults.token("token", flags.token.as_deref()) {
        node.token = Some(token);
    }
    if !flags.coordinator.is_empty() {
        node.coordinators.clone_from(&flags.coordinator);
    }
    node.admin = flags.admin.or(node.admin);
    set(
        &mut node.drain,
        faults.time("drain", flags.drain.as_deref()),
    );
    let described = &mut node.described;
    set(
        &mut described.org,
        faults.optional_word("org", flags.org.as_deref()),
    );
    set(
        &mut described.kind,
        faults.kind("kind", flags.kind.as_deref()),
    );
    set(
        &mut described.region,
        faults.optional_word("region", flags.region.as_deref()),
    );
    set(
        &mut described.zone,
        faults.optional_word("zone", flags.zone.as_deref()),
    );
    set(
        &mut described.level,
        faults.level("level", flags.level.as_deref()),
    );
    set(
        &mut described.relay,
        faults.bound("relay", flags.relay, RATE_MAX),
    );
    if let Some(cpu) = faults.cores("cpu", flags.cpu.as_deref()) {
        described.cpu = Some(cpu);
    }
    if let Some(memory) = faults.size("memory", flags.memory.as_deref()) {
        described.memory = Some(memory);
    }
    set(
        &mut node.blobs.quota,
        faults.size("blob-quota", flags.blob_quota.as_deref()),
    );
    if flags.harvest && node.harvest.is_none() {
        node.harvest = HarvestTable::default().check().ok();
    }
    node.network |= flags.allow_network;
}

/// The coordinator that a token names.
pub(crate) fn peer_of(token: &str) -> Option<Peer> {
    let token = Signed::<Token>::from_text(token).ok()?;
    Some(Peer {
        key: PublicKey::from_bytes(&token.key).ok()?,
        addrs: token.addrs.iter().map(|a| a.as_str().to_owned()).collect(),
        pin: token.pin,
    })
}

#[cfg(test)]
mod tests {
    use betanet_fog::List;
    use betanet_keys::Identity;

    use super::*;

    fn token() -> String {
        let me = Identity::from_seed(&[3; 32]);
        let token = Token {
            id: [1; 16],
            exp: 5,
            key: *me.public().as_bytes(),
            org: Word::default(),
            pin: Some([9; 32]),
            node: None,
            addrs: List::try_from(vec!["127.0.0.1:8460".parse().unwrap()]).unwrap(),
            kinds: List::try_from(vec![Kind::Compute]).unwrap(),
        };
        let token = Signed::sign(token, &me).unwrap().to_text().unwrap();
        token.as_str().to_owned()
    }

    fn read_text(text: &str, flags: &NodeFlags) -> Result<Node, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("worker.toml");
        std::fs::write(&path, text).unwrap();
        let told = |all: Vec<Problem>| all.iter().map(ToString::to_string).collect();
        read(Some(&path), flags).map_err(told)
    }

    #[test]
    fn a_table_and_flags_are_read_together() {
        let text = format!(
            "[worker]\ntoken = \"{}\"\norg = \"acme\"\ncpu = \"2 cores\"\nmemory = \"1 GiB\"\n\
             labels = {{ rack = \"r1\" }}\ndrain = \"5 s\"\nstate = \"state\"\n[harvest]\ncpu = 50\n",
            token()
        );
        let flags = NodeFlags {
            zone: Some("z2".into()),
            cpu: Some("500m".into()),
            allow_network: true,
            ..NodeFlags::default()
        };
        let node = read_text(&text, &flags).unwrap();
        assert_eq!(
            (node.described.cpu, node.described.memory),
            (Some(500), Some(1 << 30))
        );
        assert_eq!(&*node.described.zone, "z2");
        assert_eq!(node.drain, Duration::from_secs(5));
        assert!(node.state.unwrap().is_absolute() && node.network && node.harvest.is_some());
        let peer = peer_of(node.token.unwrap().as_str()).unwrap();
        assert_eq!((peer.addrs.len(), peer.pin), (1, Some([9; 32])));
    }

    #[test]
    fn each_fault_names_its_key_and_what_is_allowed_and_no_token() {
        let text = "[worker]\ntoken = \"bnj1secret\"\nkind = \"toaster\"\nmemory = \"much\"\nspare = 1000\n[harvest]\ncpu = 500\n";
        let flags = NodeFlags {
            drain: Some("never".into()),
            ..NodeFlags::default()
        };
        let faults = read_text(text, &flags).unwrap_err();
        let all = faults.join("\n");
        for part in [
            "token",
            "toaster",
            "edge_device",
            "memory",
            "spare",
            "harvest.cpu",
            "drain",
        ] {
            assert!(all.contains(part), "{part}: {all}");
        }
        assert!(!all.contains("bnj1secret"), "{all}");
        let faults = read_text("[worker]\ncolour = 1\n", &NodeFlags::default()).unwrap_err();
        assert!(
            faults[0].contains("colour") && faults[0].contains(":2"),
            "{faults:?}"
        );
        let flags = NodeFlags {
            level: Some("hidden".into()),
            relay: Some(1 << 50),
            ..NodeFlags::default()
        };
        let text = "[worker]\norg = \"acme\"\nlevel = \"private\"\nrelay = 5\n";
        let faults = read_text(text, &flags).unwrap_err().join("\n");
        for part in [
            "hidden",
            "confidential",
            "1125899906842624",
            "relay = \"5\"",
        ] {
            assert!(faults.contains(part), "{part}: {faults}");
        }
        let faults = read_text("[worker]\n", &NodeFlags::default()).unwrap_err();
        assert!(faults[0].contains("--org"), "{faults:?}");
        let mut peers = vec![peer_of(&token()).unwrap().packed(); PEERS_MAX];
        let with = |peers: &[String]| {
            let text = format!("[worker]\norg = \"acme\"\npeers = {peers:?}\n");
            read_text(&text, &NodeFlags::default())
        };
        assert_eq!(with(&peers).unwrap().peers, peers);
        peers.push("bn1:somebody".to_owned());
        let faults = with(&peers).unwrap_err().join("\n");
        for part in ["worker.peers", "\"17\"", "bn1:somebody"] {
            assert!(faults.contains(part), "{part}: {faults}");
        }
    }
}
