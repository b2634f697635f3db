//! The directory: relays and their layers in one epoch, signed by maintainers, and the part of it that a client uses.

use alloc::borrow::ToOwned as _;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use betanet_keys::{VRF_PROOF, VrfPublic};
use betanet_wire::lottery::mix_weight;
use betanet_wire::{NodeId, cbor, message};

use crate::beacon::{BEACON_SIG, BeaconKey, layer_of, layer_text};
use crate::build::RelayKey;
use crate::epoch::MixKeys;
use crate::lottery::{Net, NetError, NoRoute, Ticket, draw};

/// Type of the registry record.
pub const DIRECTORY_TYPE: &str = "MixDirectory";
/// Longest accepted directory, in bytes.
pub const DIRECTORY_MAX: usize = 1 << 20;
/// Most relays of one directory.
const RELAYS_MAX: usize = 4096;
/// Most layers.
pub const LAYERS_MAX: u8 = 7;
/// Longest name of an organisation, in bytes.
pub const ORG_MAX: usize = 64;

/// A relay, as a directory lists it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Relay {
    /// NodeID of the relay.
    pub node: NodeId,
    /// Its Sphinx key of the epoch.
    pub key: [u8; 32],
    /// Layer of the relay.
    pub layer: u8,
    /// Weight in draws.
    pub weight: u16,
    /// Operator of the relay.
    pub org: String,
    /// Network prefix where the relay was reached.
    pub net: Net,
    /// Its VRF key.
    pub vrf: [u8; 32],
    /// Proof that the beacon gives the relay its layer.
    pub proof: [u8; VRF_PROOF],
}

impl Relay {
    /// The fields that the lottery uses.
    #[must_use]
    pub fn ticket(&self) -> Ticket<'_> {
        Ticket {
            node: self.node,
            layer: self.layer,
            weight: self.weight,
            org: &self.org,
            net: self.net,
        }
    }
}

impl cbor::Encode for Relay {
    fn encode(&self, w: &mut cbor::Writer) {
        w.array(8);
        self.node.encode(w);
        self.key.encode(w);
        u16::from(self.layer).encode(w);
        self.weight.encode(w);
        self.org.encode(w);
        self.net.to_string().encode(w);
        self.vrf.encode(w);
        self.proof.encode(w);
    }

    fn size_hint(&self) -> usize {
        256
    }
}

impl<'a> cbor::Decode<'a> for Relay {
    fn decode(r: &mut cbor::Reader<'a>) -> Result<Self, cbor::Error> {
        if r.array()? != 8 {
            return Err(cbor::Error::Range("a relay of eight items"));
        }
        let this = Self {
            node: NodeId::decode(r)?,
            key: cbor::Decode::decode(r)?,
            layer: byte(u16::decode(r)?)?,
            weight: u16::decode(r)?,
            org: <&str>::decode(r)?.to_owned(),
            net: <&str>::decode(r)?
                .parse()
                .map_err(|NetError| cbor::Error::Range("a /16, or a /32 of IPv6"))?,
            vrf: cbor::Decode::decode(r)?,
            proof: cbor::Decode::decode(r)?,
        };
        r.leave();
        Ok(this)
    }
}

fn byte(n: u16) -> Result<u8, cbor::Error> {
    u8::try_from(n).map_err(|_| cbor::Error::Range("a u8"))
}

message! {
    struct Form<'a> {
        req "key" key: &'a [u8; 4],
        req "seq" seq: u64,
        req "list" list: &'a [u8; 32],
        req "type" ty: &'a str,
        req "epoch" epoch: u32,
        req "layers" layers: u16,
        req "relays" relays: Vec<Relay>,
        req "poisson" poisson: bool,
        req "beacon_sig" beacon_sig: &'a [u8; BEACON_SIG],
    }
}

/// Reason why a directory is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// It does not decode.
    #[error("the directory does not decode: {0}")]
    Form(#[from] cbor::Error),
    /// The record has another type.
    #[error("a registry record of another type than MixDirectory")]
    Type,
    /// The registry key is not the epoch.
    #[error("the record's key is not its epoch {0}")]
    Key(u32),
    /// The directory has no layers, or more than seven.
    #[error("{0} layers, where 1 to 7 are allowed")]
    Layers(u16),
    /// The directory has more than 4 096 relays.
    #[error("{0} relays, where at most 4096 are allowed")]
    Relays(usize),
    /// The beacon's signature does not belong to the epoch.
    #[error("the beacon of epoch {0} is not signed by the network's key")]
    Beacon(u32),
    /// Relays are not in ascending order of NodeID.
    #[error("relay {0} does not stand behind the one before it")]
    Order(usize),
    /// Two relays have the same key.
    #[error("relay {0} has a key that another relay has")]
    Repeated(usize),
    /// A Sphinx key is invalid.
    #[error("relay {0} has a Sphinx key that is not of prime order")]
    SphinxKey(usize),
    /// An organisation's name is too long.
    #[error("relay {0} names an organisation in more than 64 bytes")]
    Org(usize),
    /// A weight is zero.
    #[error("relay {0} has no weight")]
    Weight(usize),
    /// A layer does not follow from the relay's VRF and the beacon.
    #[error("relay {0} does not prove that it stands in its layer")]
    Layer(usize),
    /// The directory is for another epoch than the requested one.
    #[error("a directory of epoch {got}, where epoch {want} was asked for")]
    Stale {
        /// Epoch of the directory.
        got: u32,
        /// Requested epoch.
        want: u32,
    },
}

/// A directory of relays.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Directory {
    /// Epoch of the directory.
    pub epoch: u32,
    /// Registry sequence number; the highest is valid.
    pub seq: u64,
    /// Hash of the list of maintainers that sign the directory.
    pub list: [u8; 32],
    /// Number of layers.
    pub layers: u8,
    /// Whether clients draw the delays.
    pub poisson: bool,
    /// Signature whose hash is the epoch's beacon.
    pub beacon_sig: [u8; BEACON_SIG],
    /// Relays in ascending order of NodeID.
    pub relays: Vec<Relay>,
}

impl Directory {
    /// Reads the record of a registry's envelope.
    ///
    /// # Errors
    ///
    /// The record does not decode, has another type, or exceeds a bound.
    pub fn from_record(bytes: &[u8]) -> Result<Self, DirectoryError> {
        let form: Form<'_> = cbor::from_slice(bytes)?;
        if form.ty != DIRECTORY_TYPE {
            return Err(DirectoryError::Type);
        }
        if *form.key != form.epoch.to_be_bytes() {
            return Err(DirectoryError::Key(form.epoch));
        }
        let layers = u8::try_from(form.layers).ok();
        let layers = layers.filter(|l| (1..=LAYERS_MAX).contains(l));
        if form.relays.len() > RELAYS_MAX {
            return Err(DirectoryError::Relays(form.relays.len()));
        }
        Ok(Self {
            epoch: form.epoch,
            seq: form.seq,
            list: *form.list,
            layers: layers.ok_or(DirectoryError::Layers(form.layers))?,
            poisson: form.poisson,
            beacon_sig: *form.beacon_sig,
            relays: form.relays,
        })
    }

    /// Encodes the record, for signing.
    #[must_use]
    pub fn to_record(&self) -> Vec<u8> {
        cbor::to_vec(&Form {
            key: &self.epoch.to_be_bytes(),
            seq: self.seq,
            list: &self.list,
            ty: DIRECTORY_TYPE,
            epoch: self.epoch,
            layers: u16::from(self.layers),
            relays: self.relays.clone(),
            poisson: self.poisson,
            beacon_sig: &self.beacon_sig,
        })
    }

    /// Checks everything except the signatures: the order and keys of the relays, the beacon, and each relay's layer.
    ///
    /// # Errors
    ///
    /// The first fault; a relay is given by its index from 0.
    pub fn check(&self, beacon_key: &BeaconKey) -> Result<(), DirectoryError> {
        let beacon = beacon_key
            .beacon(self.epoch, &self.beacon_sig)
            .ok_or(DirectoryError::Beacon(self.epoch))?;
        let text = layer_text(self.epoch, &beacon);
        let mut keys: BTreeMap<[u8; 32], ()> = BTreeMap::new();
        for (i, relay) in self.relays.iter().enumerate() {
            if i > 0 && self.relays[i - 1].node >= relay.node {
                return Err(DirectoryError::Order(i));
            }
            if keys.insert(relay.key, ()).is_some() || keys.insert(relay.vrf, ()).is_some() {
                return Err(DirectoryError::Repeated(i));
            }
            if relay.org.len() > ORG_MAX {
                return Err(DirectoryError::Org(i));
            }
            if relay.weight == 0 {
                return Err(DirectoryError::Weight(i));
            }
            RelayKey::check(relay.key).ok_or(DirectoryError::SphinxKey(i))?;
            let output = VrfPublic::from_bytes(relay.vrf)
                .and_then(|vrf| vrf.verify(&text, &relay.proof))
                .map_err(|_| DirectoryError::Layer(i))?;
            if layer_of(&output, self.layers) != relay.layer {
                return Err(DirectoryError::Layer(i));
            }
        }
        Ok(())
    }

    /// Whether the directory lists a VRF key for this node.
    #[must_use]
    pub fn lists(&self, node: NodeId, vrf: &[u8; 32]) -> bool {
        let found = self.relays.binary_search_by_key(&node, |r| r.node);
        found.is_ok_and(|i| self.relays[i].vrf == *vrf)
    }

    /// Selects the usable relays. A relay counts if `earlier`, a directory at least two epochs older, lists its VRF key, and if
    /// its own peer record, from `record`, lists its keys. For a network's first two epochs, `earlier` is the directory itself.
    #[must_use]
    pub fn topology(&self, earlier: &Self, record: impl Fn(NodeId) -> Option<MixKeys>) -> Topology {
        let counts = |relay: &&Relay| {
            let own = record(relay.node);
            earlier.lists(relay.node, &relay.vrf)
                && own.is_some_and(|own| {
                    *own.vrf() == relay.vrf && own.keys_of(self.epoch).any(|k| k == relay.key)
                })
        };
        let relays: Vec<Relay> = self.relays.iter().filter(counts).cloned().collect();
        // A key of an epoch that the relay listed later is for new packets.
        let newest = |r: &Relay| record(r.node).and_then(|own| own.of(self.epoch));
        let keys = relays
            .iter()
            .map(|r| RelayKey::check(newest(r).unwrap_or(r.key)).or(RelayKey::check(r.key)))
            .collect::<Vec<_>>();
        let both = relays.into_iter().zip(keys);
        let (relays, keys) = both.filter_map(|(r, k)| Some((r, k?))).unzip();
        Topology {
            epoch: self.epoch,
            layers: self.layers,
            poisson: self.poisson,
            relays,
            keys,
        }
    }
}

/// The relays that a client may use in an epoch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Topology {
    epoch: u32,
    layers: u8,
    poisson: bool,
    relays: Vec<Relay>,
    keys: Vec<RelayKey>,
}

impl Topology {
    /// Epoch of the relays.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether clients draw the delays.
    #[must_use]
    pub const fn poisson(&self) -> bool {
        self.poisson
    }

    /// Number of layers.
    #[must_use]
    pub const fn layers(&self) -> u8 {
        self.layers
    }

    /// Relays in ascending order of NodeID.
    #[must_use]
    pub fn relays(&self) -> &[Relay] {
        &self.relays
    }

    /// The key of the relay with this index.
    #[must_use]
    pub fn key(&self, at: usize) -> RelayKey {
        self.keys[at]
    }

    /// Index of a relay in [`Self::relays`].
    #[must_use]
    pub fn find(&self, node: NodeId) -> Option<usize> {
        self.relays.binary_search_by_key(&node, |r| r.node).ok()
    }

    /// Draws the indices of a path's relays.
    ///
    /// # Errors
    ///
    /// [`NoRoute`]; the path is never shorter than requested.
    pub fn draw(
        &self,
        seed: &[u8; 32],
        hops: usize,
        guard: Option<usize>,
    ) -> Result<Vec<usize>, NoRoute> {
        let tickets: Vec<Ticket<'_>> = self.relays.iter().map(Relay::ticket).collect();
        draw(seed, &tickets, self.layers, hops, guard)
    }
}

/// A relay's weight from its reputation and performance, in millionths up to one, and its stake: 65 535 × (0.5 reputation + 0.3
/// performance + 0.2 min(1, ln(1 + stake) / 20)), at least 1. Its integers are those of the ledger of tokens.
#[must_use]
pub fn weight(reputation: u32, performance: u32, stake: u64) -> u16 {
    let part = |ppm: u32| u64::from(ppm.min(1_000_000));
    let weight = mix_weight(part(reputation), part(performance), stake);
    u16::try_from(weight).unwrap_or(u16::MAX)
}
