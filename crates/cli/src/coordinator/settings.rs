//! Settings of the fog: the table `fog` of a file, and flags over it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use betanet_fog::Word;
use betanet_fog_service::{BlobPlace, Namespace, Quota, Settings};
use betanet_keys::PublicKey;
use betanet_runtime::Problem;
use serde::Deserialize;

use crate::args::{ClusterArgs, FLAGS};
use crate::faults::Faults;

/// Maximum size of all blobs by default.
const BLOB_QUOTA: u64 = 64 << 30;

/// The name of the table.
pub(super) const TABLE: &str = "fog";

/// Settings of the fog that can be used.
#[derive(Clone, Debug)]
pub(super) struct Fog {
    pub(super) settings: Settings,
    /// URL of PostgreSQL; `None` for SQLite.
    pub(super) store: Option<String>,
    /// PEM file of the authorities of the database's certificate.
    pub(super) store_ca: Option<PathBuf>,
    /// Schema of the database.
    pub(super) schema: Option<String>,
    /// Free space below which the journal takes nothing, in bytes.
    pub(super) floor: Option<u64>,
    pub(super) blobs: BlobPlace,
    pub(super) blob_quota: u64,
}

/// The table as it stands in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    store: Option<String>,
    store_ca: Option<PathBuf>,
    schema: Option<String>,
    floor: Option<u64>,
    operators: Vec<String>,
    coordinators: Vec<String>,
    blobs: Option<String>,
    blob_quota: Option<u64>,
    snapshot_every: Option<u64>,
    snapshots: Option<usize>,
    tasks_max: Option<usize>,
    nodes_max: Option<usize>,
    namespaces: BTreeMap<String, NamespaceTable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NamespaceTable {
    users: Vec<String>,
    cpu: Option<u64>,
    memory: Option<u64>,
    gpu: Option<u64>,
    copies: Option<u64>,
    waiting: Option<u64>,
    spend: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    fog: Table,
}

impl Faults<'_> {
    fn key(&mut self, key: &str, text: &str) -> Option<PublicKey> {
        let parsed = betanet_wire::text::unhex_array::<32>(text);
        let parsed = parsed.and_then(|bytes| PublicKey::from_bytes(&bytes).ok());
        if parsed.is_none() {
            let allowed = "a public key, 64 hex digits: betanet id show prints yours";
            self.say(key, text, allowed);
        }
        parsed
    }

    fn keys(&mut self, key: &str, texts: &[String]) -> Vec<PublicKey> {
        texts.iter().filter_map(|t| self.key(key, t)).collect()
    }

    fn word(&mut self, key: &str, text: &str) -> Option<Word> {
        let word = text.parse::<Word>().ok().filter(|w| !w.is_empty());
        if word.is_none() {
            self.say(key, text, "1 to 63 of a-z, 0-9, -, _ and .");
        }
        word
    }

    fn blobs(&mut self, key: &str, text: &str) -> Option<BlobPlace> {
        let place = text.parse::<BlobPlace>();
        if let Err(e) = &place {
            // Before an @ there may be a key.
            let shown = if text.contains('@') { "" } else { text };
            self.say(key, shown, &e.to_string());
        }
        place.ok()
    }

    fn store(&mut self, text: &str) -> Option<Option<String>> {
        match text {
            "sqlite" => Some(None),
            // A URL, or the text form of libpq.
            url if ["postgres://", "postgresql://", "host="]
                .iter()
                .any(|p| url.starts_with(p)) =>
            {
                Some(Some(url.to_owned()))
            }
            // The text may have a password.
            _ => {
                let allowed =
                    "sqlite, or postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=require";
                self.say("store", "", allowed);
                None
            }
        }
    }
}

/// Reads the table of a file, and lays the flags over it. Returns all faults.
pub(super) fn read(file: Option<&Path>, flags: &ClusterArgs) -> Result<Fog, Vec<Problem>> {
    let origin = file.map_or_else(|| FLAGS.to_owned(), |f| f.display().to_string());
    let mut faults = Faults::of(&origin);
    let File { fog: table } = faults.table(file, TABLE);
    let mut fog = of_table(table, &mut faults);
    let mut found = faults.found;
    let mut faults = Faults::of(FLAGS);
    over(flags, &mut fog, &mut faults);
    found.extend(faults.found);
    if found.is_empty() {
        Ok(fog)
    } else {
        Err(found)
    }
}

fn of_table(table: Table, faults: &mut Faults<'_>) -> Fog {
    let default = Settings::default();
    let mut namespaces = BTreeMap::new();
    for (name, of) in table.namespaces {
        let quota = Quota::default();
        let quota = Quota {
            cpu: of.cpu.unwrap_or(quota.cpu),
            memory: of.memory.unwrap_or(quota.memory),
            gpu: of.gpu.unwrap_or(quota.gpu),
            copies: of.copies.unwrap_or(quota.copies),
            waiting: of.waiting.unwrap_or(quota.waiting),
            spend: of.spend.unwrap_or(quota.spend),
        };
        let users = faults.keys(&format!("fog.namespaces.{name}.users"), &of.users);
        if let Some(ns) = faults.word("fog.namespaces", &name) {
            namespaces.insert(ns, Namespace { users, quota });
        }
    }
    let blobs = table
        .blobs
        .and_then(|text| faults.blobs("fog.blobs", &text));
    let store = table.store.and_then(|text| faults.store(&text));
    let at_least_one = |faults: &mut Faults<'_>, key, n: Option<u64>| {
        if n == Some(0) {
            faults.say(key, "0", "a number from 1 on");
        }
    };
    at_least_one(faults, "fog.snapshot_every", table.snapshot_every);
    at_least_one(faults, "fog.snapshots", table.snapshots.map(|n| n as u64));
    at_least_one(faults, "fog.tasks_max", table.tasks_max.map(|n| n as u64));
    at_least_one(faults, "fog.nodes_max", table.nodes_max.map(|n| n as u64));
    at_least_one(faults, "fog.blob_quota", table.blob_quota);
    Fog {
        settings: Settings {
            operators: faults.keys("fog.operators", &table.operators),
            coordinators: faults.keys("fog.coordinators", &table.coordinators),
            namespaces,
            snapshot_every: table.snapshot_every.unwrap_or(default.snapshot_every),
            snapshots: table.snapshots.unwrap_or(default.snapshots),
            tasks_max: table.tasks_max.unwrap_or(default.tasks_max),
            nodes_max: table.nodes_max.unwrap_or(default.nodes_max),
        },
        store: store.flatten(),
        store_ca: table.store_ca,
        schema: table.schema,
        floor: table.floor,
        blobs: blobs.unwrap_or_default(),
        blob_quota: table.blob_quota.unwrap_or(BLOB_QUOTA),
    }
}

fn over(flags: &ClusterArgs, fog: &mut Fog, faults: &mut Faults<'_>) {
    let settings = &mut fog.settings;
    settings
        .operators
        .extend(faults.keys("operator", &flags.operator));
    settings
        .coordinators
        .extend(faults.keys("coordinator", &flags.coordinator));
    for text in &flags.user {
        let Some((ns, key)) = text.split_once('=') else {
            faults.say("user", text, "NS=KEYHEX, such as lab=3b6a…");
            continue;
        };
        let (ns, key) = (faults.word("user", ns), faults.key("user", key));
        if let (Some(ns), Some(key)) = (ns, key) {
            settings.namespaces.entry(ns).or_default().users.push(key);
        }
    }
    if let Some(store) = flags.store.as_deref().and_then(|text| faults.store(text)) {
        fog.store = store;
    }
    if let Some(text) = &flags.blobs
        && let Some(place) = faults.blobs("blobs", text)
    {
        fog.blobs = place;
    }
    match flags.blob_quota {
        Some(0) => faults.say("blob-quota", "0", "a number of bytes from 1 on"),
        Some(quota) => fog.blob_quota = quota,
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29";

    fn read_text(text: &str, flags: &ClusterArgs) -> Result<Fog, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("coordinator.toml");
        std::fs::write(&path, text).unwrap();
        let faults = |all: Vec<Problem>| all.iter().map(ToString::to_string).collect();
        read(Some(&path), flags).map_err(faults)
    }

    #[test]
    fn a_table_and_flags_are_read_together() {
        let text = format!(
            "[listener]\nlisten = [\"127.0.0.1:0\"]\n[fog]\nstore = \"sqlite\"\nsnapshots = 3\n\
             [fog.namespaces.lab]\nusers = [\"{KEY}\"]\ncpu = 4000\n"
        );
        let flags = ClusterArgs {
            operator: vec![KEY.into()],
            user: vec![format!("web={KEY}")],
            store: Some("postgres://a:b@127.0.0.1/c".into()),
            ..ClusterArgs::default()
        };
        let fog = read_text(&text, &flags).unwrap();
        assert_eq!(fog.settings.operators.len(), 1);
        assert_eq!(fog.settings.snapshots, 3);
        let names: Vec<String> = fog
            .settings
            .namespaces
            .keys()
            .map(|w| w.to_string())
            .collect();
        assert_eq!(names, ["lab", "web"]);
        let lab = &fog.settings.namespaces[&"lab".parse::<Word>().unwrap()];
        assert_eq!((lab.users.len(), lab.quota.cpu), (1, 4000));
        assert!(fog.store.unwrap().starts_with("postgres"));
        assert_eq!(fog.blobs, BlobPlace::Folder);
    }

    #[test]
    fn each_fault_names_its_key_and_what_is_allowed_and_no_password() {
        let text =
            "[fog]\noperators = [\"xyz\"]\nsnapshots = 0\n[fog.namespaces.Lab]\nusers = []\n";
        let flags = ClusterArgs {
            store: Some("mysql://root:hunter2@db".into()),
            user: vec!["lab".into()],
            ..ClusterArgs::default()
        };
        let faults = read_text(text, &flags).unwrap_err();
        assert_eq!(faults.len(), 5, "{faults:#?}");
        let all = faults.join("\n");
        for part in [
            "fog.operators",
            "fog.snapshots",
            "\"Lab\"",
            "store",
            "NS=KEYHEX",
        ] {
            assert!(all.contains(part), "{part}: {all}");
        }
        assert!(!all.contains("hunter2"));
        let faults = read_text("[fog]\ncolour = 1\n", &ClusterArgs::default()).unwrap_err();
        assert!(
            faults[0].contains("colour") && faults[0].contains("operators"),
            "{faults:?}"
        );
        let faults = read_text("[fog]\nsnapshots = -1\n", &ClusterArgs::default()).unwrap_err();
        assert!(
            faults[0].contains(":2: fog = ") && faults[0].contains("-1"),
            "{faults:?}"
        );
        let faults = read_text(
            "[fog]\nstore = \"postgres://root:hunter2@db\n",
            &ClusterArgs::default(),
        );
        assert!(!faults.unwrap_err().join("").contains("hunter2"));
        let flags = ClusterArgs {
            blob_quota: Some(0),
            ..ClusterArgs::default()
        };
        let faults = read_text("[fog]\nblobs = \"s3://Fog/a\"\n", &ClusterArgs::default());
        let faults = faults.unwrap_err().join("\n");
        assert!(faults.contains("fog.blobs = \"s3://Fog/a\""), "{faults}");
        let flags_blobs = ClusterArgs {
            blobs: Some("s3://fog/a".into()),
            ..ClusterArgs::default()
        };
        let fog = read_text("[fog]\nblobs = \"folder\"\n", &flags_blobs).unwrap();
        assert_eq!(format!("{:?}", fog.blobs), "S3(s3://fog/a)");
        let faults = read_text("[fog]\ntasks_max = 0\nnodes_max = 0\n", &flags).unwrap_err();
        assert_eq!(faults.len(), 3, "{faults:#?}");
    }
}
