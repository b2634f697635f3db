//! `NETWORK.toml`: the parameters shared by the nodes of a network.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use betanet_carrier::disk;
use betanet_keys::{Name, PublicKey};
use betanet_mesh::{Addr, Policy, SeedPeer};
use betanet_mix::{BeaconKey, LAYERS_MAX};
use betanet_wire::{NodeId, text};
use serde::Deserialize;
use toml::Spanned;

/// Minimum number of seeds and of maintainers of a network.
pub const LEAST: (usize, usize) = (5, 5);
/// Minimum number of signers, if a network names any.
const SIGNERS_LEAST: usize = 3;

/// A network, as described by its file.
#[derive(Clone, Debug)]
pub struct Network {
    /// Name of the network.
    pub name: String,
    /// Nodes that new nodes ask first.
    pub seeds: Vec<SeedPeer>,
    /// Signers of its ledger's heads, if the file names them. They are not used before there is a ledger.
    pub signers: Vec<PublicKey>,
    /// Maintainers of its registries.
    pub maintainers: Vec<PublicKey>,
    /// Nodes with which no other node may communicate.
    pub banned: Vec<NodeId>,
    /// Limits that its nodes enforce.
    pub policy: Policy,
    /// Parameters of its mix; `None` without a mix.
    pub mix: Option<MixNetwork>,
}

/// The mix parameters of a network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MixNetwork {
    /// Key that verifies its beacons.
    pub beacon_key: BeaconKey,
    /// Number of layers of its directories.
    pub layers: u8,
    /// Whether clients draw the delays.
    pub poisson: bool,
    /// The first epoch with a directory. Relays of that directory count at once.
    pub first_epoch: u32,
}

/// A fault of a network file, with its line.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}{}: {why}", path.display(), At(*line))]
pub struct NetworkError {
    /// The file.
    pub path: PathBuf,
    /// Line number from 1; 0 for the file as a whole.
    pub line: usize,
    /// The fault, and the allowed values.
    pub why: String,
}

/// A line number; displayed as nothing for the file as a whole.
struct At(usize);

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => Ok(()),
            line => write!(f, ":{line}"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Spanned<String>,
    #[serde(default, rename = "seed")]
    seeds: Vec<Spanned<SeedFile>>,
    signers: Option<Spanned<Vec<Spanned<String>>>>,
    maintainers: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    banned: Vec<Spanned<String>>,
    #[serde(default)]
    policy: PolicyFile,
    mix: Option<MixFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MixFile {
    beacon_key: Spanned<String>,
    layers: Option<Spanned<u8>>,
    #[serde(default)]
    poisson: bool,
    first_epoch: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedFile {
    key: Spanned<String>,
    addrs: Vec<Spanned<String>>,
    pin: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PolicyFile {
    links: Option<Spanned<usize>>,
    gossip_every_s: Option<Spanned<(u64, u64)>>,
    link_life_s: Option<Spanned<u64>>,
    dial_every_ms: Option<Spanned<u64>>,
    dial_prefix_every_s: Option<Spanned<u64>>,
    untested: Option<Spanned<usize>>,
    untested_per_teller: Option<Spanned<usize>>,
    per_prefix: Option<Spanned<usize>>,
    per_address: Option<Spanned<usize>>,
    opens: Option<Spanned<(u32, u32)>>,
    anchors: Option<Spanned<usize>>,
    view: Option<Spanned<usize>>,
    private: Option<bool>,
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    keys: BTreeMap<[u8; 32], usize>,
}

impl Reader<'_> {
    fn line(&self, at: usize) -> usize {
        1 + self.text.bytes().take(at).filter(|b| *b == b'\n').count()
    }

    fn wrong(&self, at: usize, why: impl Into<String>) -> NetworkError {
        NetworkError {
            path: self.path.to_owned(),
            line: self.line(at),
            why: why.into(),
        }
    }

    /// Parses a public key that occurs nowhere else in the file.
    fn key(&mut self, text: &Spanned<String>) -> Result<PublicKey, NetworkError> {
        let at = text.span().start;
        let said = text.get_ref();
        let bytes: [u8; 32] = text::unhex_array(said)
            .ok_or_else(|| self.wrong(at, format!("{said:?}: a key is 64 hex digits")))?;
        let key =
            PublicKey::from_bytes(&bytes).map_err(|e| self.wrong(at, format!("{said:?}: {e}")))?;
        if let Some(first) = self.keys.insert(bytes, self.line(at)) {
            return Err(self.wrong(
                at,
                format!("the key {said} stands in line {first} already; each key has one task"),
            ));
        }
        Ok(key)
    }

    fn list(
        &mut self,
        what: &str,
        list: &Spanned<Vec<Spanned<String>>>,
        least: usize,
    ) -> Result<Vec<PublicKey>, NetworkError> {
        let keys: Vec<PublicKey> = list
            .get_ref()
            .iter()
            .map(|k| self.key(k))
            .collect::<Result<_, _>>()?;
        if keys.len() < least {
            let at = list.span().start;
            return Err(self.wrong(
                at,
                format!("{} {what}, where at least {least} are needed", keys.len()),
            ));
        }
        Ok(keys)
    }

    fn seed(&mut self, seed: &SeedFile, at: usize) -> Result<SeedPeer, NetworkError> {
        let key = self.key(&seed.key)?;
        let addr = |text: &Spanned<String>| {
            let said = text.get_ref();
            let read = said.parse::<Addr>();
            read.map_err(|e| self.wrong(text.span().start, format!("{said:?}: {e}")))
        };
        let addrs: Vec<Addr> = seed.addrs.iter().map(addr).collect::<Result<_, _>>()?;
        if addrs.is_empty() {
            return Err(self.wrong(at, "a seed without an address"));
        }
        let pin = match &seed.pin {
            None => None,
            Some(pin) => Some(text::unhex_array(pin.get_ref()).ok_or_else(|| {
                self.wrong(
                    pin.span().start,
                    format!("{:?}: a pin is 64 hex digits", pin.get_ref()),
                )
            })?),
        };
        Ok(SeedPeer { key, addrs, pin })
    }

    fn mix(&self, file: &MixFile) -> Result<MixNetwork, NetworkError> {
        let text = &file.beacon_key;
        let key = text::unhex_array(text.get_ref());
        let beacon_key = key
            .as_ref()
            .and_then(BeaconKey::from_bytes)
            .ok_or_else(|| {
                let why = "beacon_key: a BLS12-381 key is a point of G2, 192 hex digits";
                self.wrong(text.span().start, why)
            })?;
        let layers = match &file.layers {
            None => 3,
            Some(layers) if (1..=LAYERS_MAX).contains(layers.get_ref()) => *layers.get_ref(),
            Some(layers) => {
                let why = format!("layers = {}: 1 to {LAYERS_MAX}", layers.get_ref());
                return Err(self.wrong(layers.span().start, why));
            }
        };
        Ok(MixNetwork {
            beacon_key,
            layers,
            poisson: file.poisson,
            first_epoch: file.first_epoch,
        })
    }

    fn policy(&self, file: &PolicyFile) -> Result<Policy, NetworkError> {
        let mut policy = Policy::default();
        let s = Duration::from_secs;
        macro_rules! take {
            ($key:ident, $range:expr, $put:expr) => {
                if let Some(value) = &file.$key {
                    let range = $range;
                    if !range.contains(value.get_ref()) {
                        let why = format!(
                            "{} = {}: {} to {}",
                            stringify!($key),
                            value.get_ref(),
                            range.start(),
                            range.end()
                        );
                        return Err(self.wrong(value.span().start, why));
                    }
                    $put(&mut policy, *value.get_ref());
                }
            };
        }
        take!(links, 1..=256, |p: &mut Policy, n| p.links = n);
        take!(link_life_s, 60..=604_800, |p: &mut Policy, n| p.link_life =
            s(n));
        take!(dial_every_ms, 10..=60_000, |p: &mut Policy, n| p
            .dial_every =
            Duration::from_millis(n));
        take!(dial_prefix_every_s, 0..=3600, |p: &mut Policy, n| p
            .dial_prefix_every =
            s(n));
        take!(untested, 16..=65_536, |p: &mut Policy, n| p.untested_max =
            n);
        take!(untested_per_teller, 1..=65_536, |p: &mut Policy, n| p
            .untested_per_teller =
            n);
        take!(per_prefix, 1..=65_536, |p: &mut Policy, n| p.per_prefix = n);
        take!(per_address, 1..=1_000_000, |p: &mut Policy, n| p
            .per_address =
            n);
        take!(anchors, 0..=64, |p: &mut Policy, n| p.anchors = n);
        take!(view, 64..=65_536, |p: &mut Policy, n| p.view_max = n);
        if let Some(span) = &file.gossip_every_s {
            let (least, most) = *span.get_ref();
            if least == 0 || least > most || most > 86_400 {
                let why = format!(
                    "gossip_every_s = [{least}, {most}]: the shortest and the longest wait, 1 to 86400"
                );
                return Err(self.wrong(span.span().start, why));
            }
            policy.gossip_every = (s(least), s(most));
        }
        if let Some(opens) = &file.opens {
            let (burst, refill) = *opens.get_ref();
            if burst == 0 || refill == 0 {
                let why = format!(
                    "opens = [{burst}, {refill}]: streams at once and each second, at least 1"
                );
                return Err(self.wrong(opens.span().start, why));
            }
            policy.opens = (burst, refill);
        }
        policy.private = file.private.unwrap_or(false);
        Ok(policy)
    }
}

impl Network {
    /// Reads and checks a network's file.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is invalid; the error names the line.
    pub fn read(path: &Path) -> Result<Self, NetworkError> {
        let text = disk::read_text(path, disk::TEXT_MAX).map_err(|e| NetworkError {
            path: path.to_owned(),
            line: 0,
            why: e.to_string(),
        })?;
        Self::parse(path, &text)
    }

    /// Parses and checks a network's text. `path` is its file, for errors.
    ///
    /// # Errors
    ///
    /// See [`Network::read`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, NetworkError> {
        let mut reader = Reader {
            path,
            text,
            keys: BTreeMap::new(),
        };
        let file: File = toml::from_str(text)
            .map_err(|e| reader.wrong(e.span().map_or(0, |s| s.start), e.message().to_owned()))?;
        let (seeds, maintainers) = LEAST;
        let name = file.name.get_ref();
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.is_empty() || name.len() > 32 || !name.bytes().all(fits) {
            let why = format!("name = {name:?}: 1 to 32 of a-z, 0-9 and -");
            return Err(reader.wrong(file.name.span().start, why));
        }
        let mut found = Vec::new();
        for seed in &file.seeds {
            found.push(reader.seed(seed.get_ref(), seed.span().start)?);
        }
        if found.len() < seeds {
            let at = file.seeds.last().map_or(0, |s| s.span().start);
            return Err(reader.wrong(
                at,
                format!("{} seeds, where at least {seeds} are needed", found.len()),
            ));
        }
        let signers = match &file.signers {
            Some(list) => reader.list("signers", list, SIGNERS_LEAST)?,
            None => Vec::new(),
        };
        let maintainers = reader.list("maintainers", &file.maintainers, maintainers)?;
        let mut banned = Vec::new();
        for text in &file.banned {
            let said = text.get_ref();
            let name: Name = said
                .parse()
                .map_err(|e| reader.wrong(text.span().start, format!("{said:?}: {e}")))?;
            banned.push(name.node_id());
        }
        Ok(Self {
            name: name.clone(),
            seeds: found,
            signers,
            maintainers,
            banned,
            policy: reader.policy(&file.policy)?,
            mix: file.mix.as_ref().map(|m| reader.mix(m)).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use betanet_keys::Identity;
    use std::fmt::Write as _;

    fn key(n: u8) -> String {
        Identity::from_seed(&[n; 32]).public().to_string()
    }

    fn text(seeds: u8, signers: u8, maintainers: u8) -> String {
        let list = |from: u8, n: u8| {
            let keys: Vec<String> = (from..from + n)
                .map(|k| format!("\"{}\"", key(k)))
                .collect();
            keys.join(", ")
        };
        let mut out = format!(
            "name = \"test\"\nsigners = [{}]\nmaintainers = [{}]\n",
            list(50, signers),
            list(100, maintainers)
        );
        for n in 0..seeds {
            let pin = "ab".repeat(32);
            let _ = write!(
                out,
                "\n[[seed]]\nkey = \"{}\"\naddrs = [\"/ip4/192.0.2.{n}/tcp/443/tls\"]\npin = \"{pin}\"\n",
                key(n + 1)
            );
        }
        out
    }

    fn said(text: &str) -> String {
        Network::parse(Path::new("N.toml"), text)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_whole_file_reads() {
        let with =
            text(5, 3, 5) + "\n[policy]\nlinks = 8\ngossip_every_s = [1, 2]\nprivate = true\n";
        let network = Network::parse(Path::new("N.toml"), &with).unwrap();
        assert_eq!(
            (
                network.seeds.len(),
                network.signers.len(),
                network.maintainers.len()
            ),
            (5, 3, 5)
        );
        assert_eq!((network.policy.links, network.policy.private), (8, true));
        assert_eq!(network.policy.per_prefix, 2);
    }

    #[test]
    fn signers_are_not_asked_for_and_read_where_they_are_named() {
        let with = text(5, 3, 5);
        let without: String = with.lines().filter(|l| !l.starts_with("signers")).fold(
            String::new(),
            |mut all, line| {
                all.push_str(line);
                all.push('\n');
                all
            },
        );
        let signers = |text: &str| {
            Network::parse(Path::new("N.toml"), text)
                .unwrap()
                .signers
                .len()
        };
        assert_eq!((signers(&with), signers(&without)), (3, 0));
    }

    #[test]
    fn too_few_and_repeated_keys_are_refused_with_their_line() {
        assert_eq!(
            said(&text(4, 3, 5)),
            "N.toml:20: 4 seeds, where at least 5 are needed"
        );
        assert_eq!(
            said(&text(5, 2, 5)),
            "N.toml:2: 2 signers, where at least 3 are needed"
        );
        assert_eq!(
            said(&text(5, 3, 4)),
            "N.toml:3: 4 maintainers, where at least 5 are needed"
        );
        let twice = text(5, 3, 5).replace(&key(51), &key(1));
        assert!(
            said(&twice).starts_with("N.toml:2: the key "),
            "{}",
            said(&twice)
        );
        assert!(
            said(&twice).contains("stands in line 6 already"),
            "{}",
            said(&twice)
        );
    }

    #[test]
    fn every_other_fault_is_named_with_its_line() {
        let good = text(5, 3, 5);
        for (from, to, why) in [
            (
                "name = \"test\"",
                "name = \"Te st\"",
                "N.toml:1: name = \"Te st\": 1 to 32 of a-z, 0-9 and -",
            ),
            (
                "/ip4/192.0.2.0/tcp/443/tls",
                "192.0.2.0:443",
                "N.toml:7: \"192.0.2.0:443\": an address is",
            ),
            ("pin = \"ab", "pin = \"xb", "N.toml:8: \"xb"),
            ("signers", "singers", "unknown field `singers`"),
            (
                "addrs = [\"/ip4/192.0.2.0/tcp/443/tls\"]",
                "addrs = []",
                "N.toml:5: a seed without an address",
            ),
        ] {
            let bad = good.replacen(from, to, 1);
            assert!(said(&bad).contains(why), "{} / {why}", said(&bad));
        }
        let short = good.replacen(&key(1), "abc", 1);
        assert_eq!(said(&short), "N.toml:6: \"abc\": a key is 64 hex digits");
        let zero = good.replacen(&key(1), &"00".repeat(32), 1);
        assert!(said(&zero).starts_with("N.toml:6: "), "{}", said(&zero));
        let policy = good.clone() + "\n[policy]\nlinks = 0\n";
        assert_eq!(said(&policy), "N.toml:31: links = 0: 1 to 256");
        let bans = format!("banned = [\"bob\"]\n{good}");
        assert!(
            said(&bans).starts_with("N.toml:1: \"bob\": "),
            "{}",
            said(&bans)
        );
    }
}
