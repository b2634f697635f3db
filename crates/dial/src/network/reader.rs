//! Checks the values of a network file.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use betanet_keys::{Name, Peer, PublicKey};
use betanet_mesh::{Addr, Policy, SeedPeer};
use betanet_mix::{BeaconKey, LAYERS_MAX};
use betanet_wire::{NodeId, text};
use toml::Spanned;

use super::file::{MixFile, PolicyFile, SeedFile, SignerFile};
use super::{LedgerNode, MixNetwork, NetworkError, NetworkProblem as Problem};

pub(super) struct Reader<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
    /// Line of each key that was read.
    pub(super) keys: BTreeMap<[u8; 32], usize>,
}

impl Reader<'_> {
    fn line(&self, at: usize) -> usize {
        1 + self.text.bytes().take(at).filter(|b| *b == b'\n').count()
    }

    pub(super) fn wrong(&self, at: usize, why: Problem) -> NetworkError {
        NetworkError {
            path: self.path.to_owned(),
            line: self.line(at),
            why,
        }
    }

    pub(super) fn name(&self, name: &Spanned<String>) -> Result<String, NetworkError> {
        let text = name.get_ref();
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if text.is_empty() || text.len() > 32 || !text.bytes().all(fits) {
            return Err(self.wrong(name.span().start, Problem::Name(text.clone())));
        }
        Ok(text.clone())
    }

    /// Parses a public key that occurs nowhere else in the file.
    fn key(&mut self, text: &Spanned<String>) -> Result<PublicKey, NetworkError> {
        let at = text.span().start;
        let said = text.get_ref();
        let bytes: [u8; 32] = text::unhex_array(said)
            .ok_or_else(|| self.wrong(at, Problem::KeyDigits(said.clone())))?;
        let key = PublicKey::from_bytes(&bytes).map_err(|source| {
            let text = said.clone();
            self.wrong(at, Problem::Key { text, source })
        })?;
        if let Some(first) = self.keys.insert(bytes, self.line(at)) {
            let key = said.clone();
            return Err(self.wrong(at, Problem::KeyRepeated { key, first }));
        }
        Ok(key)
    }

    /// Parses the keys of a list that has at least `least`.
    pub(super) fn keys(
        &mut self,
        list: &'static str,
        keys: &Spanned<Vec<Spanned<String>>>,
        least: usize,
    ) -> Result<Vec<PublicKey>, NetworkError> {
        let all = keys.get_ref().iter().map(|k| self.key(k));
        let all: Vec<PublicKey> = all.collect::<Result<_, _>>()?;
        self.enough(list, all.len(), least, keys.span().start)?;
        Ok(all)
    }

    /// Parses the signers of the ledger, and the nodes of those that have one. `more` are keys of a list without nodes.
    pub(super) fn signers(
        &mut self,
        more: Option<&Spanned<Vec<Spanned<String>>>>,
        signers: &[Spanned<SignerFile>],
        least: usize,
    ) -> Result<(Vec<PublicKey>, Vec<LedgerNode>), NetworkError> {
        let mut keys = match more {
            Some(list) => self.keys("signers", list, 0)?,
            None => Vec::new(),
        };
        let mut ledgers = Vec::new();
        for signer in signers {
            let signer = signer.get_ref();
            let key = self.key(&signer.key)?;
            keys.push(key);
            if let Some(text) = &signer.peer {
                let said = text.get_ref();
                let peer = said.parse::<Peer>().map_err(|source| {
                    let text_of = said.clone();
                    let why = Problem::Peer {
                        text: text_of,
                        source,
                    };
                    self.wrong(text.span().start, why)
                })?;
                ledgers.push(LedgerNode { signer: key, peer });
            }
        }
        let given = more.map(|list| list.span().start);
        let last = signers.last().map(|s| s.span().start);
        if let Some(at) = last.or(given) {
            self.enough("signers", keys.len(), least, at)?;
        }
        Ok((keys, ledgers))
    }

    fn enough(
        &self,
        list: &'static str,
        found: usize,
        least: usize,
        at: usize,
    ) -> Result<(), NetworkError> {
        if found >= least {
            return Ok(());
        }
        let why = Problem::TooFew { list, found, least };
        Err(self.wrong(at, why))
    }

    pub(super) fn seeds(
        &mut self,
        seeds: &[Spanned<SeedFile>],
        least: usize,
    ) -> Result<Vec<SeedPeer>, NetworkError> {
        let all = seeds.iter().map(|s| self.seed(s.get_ref(), s.span().start));
        let all: Vec<SeedPeer> = all.collect::<Result<_, _>>()?;
        let last = seeds.last().map_or(0, |s| s.span().start);
        self.enough("seeds", all.len(), least, last)?;
        Ok(all)
    }

    fn seed(&mut self, seed: &SeedFile, at: usize) -> Result<SeedPeer, NetworkError> {
        let key = self.key(&seed.key)?;
        let addr = |text: &Spanned<String>| {
            let said = text.get_ref();
            let read = said.parse::<Addr>();
            read.map_err(|source| {
                let why = Problem::Address {
                    text: said.clone(),
                    source,
                };
                self.wrong(text.span().start, why)
            })
        };
        let addrs: Vec<Addr> = seed.addrs.iter().map(addr).collect::<Result<_, _>>()?;
        if addrs.is_empty() {
            return Err(self.wrong(at, Problem::NoAddress));
        }
        let pin = match &seed.pin {
            None => None,
            Some(pin) => Some(text::unhex_array(pin.get_ref()).ok_or_else(|| {
                self.wrong(pin.span().start, Problem::Pin(pin.get_ref().clone()))
            })?),
        };
        Ok(SeedPeer { key, addrs, pin })
    }

    pub(super) fn banned(&self, names: &[Spanned<String>]) -> Result<Vec<NodeId>, NetworkError> {
        let node = |text: &Spanned<String>| {
            let name = text.get_ref().parse::<Name>().map_err(|source| {
                let why = Problem::Banned {
                    text: text.get_ref().clone(),
                    source,
                };
                self.wrong(text.span().start, why)
            })?;
            Ok(name.node_id())
        };
        names.iter().map(node).collect()
    }

    pub(super) fn mix(&self, file: &MixFile) -> Result<MixNetwork, NetworkError> {
        let text = &file.beacon_key;
        let key = text::unhex_array(text.get_ref());
        let beacon_key = key
            .as_ref()
            .and_then(BeaconKey::from_bytes)
            .ok_or_else(|| self.wrong(text.span().start, Problem::BeaconKey))?;
        let layers = match &file.layers {
            None => 3,
            Some(layers) if (1..=LAYERS_MAX).contains(layers.get_ref()) => *layers.get_ref(),
            Some(layers) => {
                let why = Problem::Layers(*layers.get_ref());
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

    /// Returns the value of a limit, which is checked if it is given.
    fn limit<T: Copy + Into<Number>>(
        &self,
        key: &'static str,
        given: Option<&Spanned<T>>,
        range: RangeInclusive<u64>,
    ) -> Result<Option<T>, NetworkError> {
        let Some(given) = given else {
            return Ok(None);
        };
        let Number(value) = (*given.get_ref()).into();
        if !range.contains(&value) {
            let why = Problem::Range {
                key,
                value,
                least: *range.start(),
                most: *range.end(),
            };
            return Err(self.wrong(given.span().start, why));
        }
        Ok(Some(*given.get_ref()))
    }

    pub(super) fn policy(&self, file: &PolicyFile) -> Result<Policy, NetworkError> {
        let mut policy = Policy::default();
        let s = Duration::from_secs;
        macro_rules! take {
            ($key:ident, $range:expr, $put:expr) => {
                if let Some(value) = self.limit(stringify!($key), file.$key.as_ref(), $range)? {
                    $put(&mut policy, value);
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
                return Err(self.wrong(span.span().start, Problem::GossipInterval(least, most)));
            }
            policy.gossip_every = (s(least), s(most));
        }
        if let Some(opens) = &file.opens {
            let (burst, refill) = *opens.get_ref();
            if burst == 0 || refill == 0 {
                return Err(self.wrong(opens.span().start, Problem::Opens(burst, refill)));
            }
            policy.opens = (burst, refill);
        }
        policy.private = file.private.unwrap_or(false);
        Ok(policy)
    }
}

/// The number of a limit, whatever its type.
struct Number(u64);

impl From<u64> for Number {
    fn from(n: u64) -> Self {
        Self(n)
    }
}

impl From<usize> for Number {
    fn from(n: usize) -> Self {
        Self(u64::try_from(n).unwrap_or(u64::MAX))
    }
}
