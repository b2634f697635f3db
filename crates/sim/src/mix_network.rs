//! The relays of a simulated mix, with a directory that lists them.

use alloc::format;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use betanet_keys::VrfSecret;
use betanet_machine::Rng;
use betanet_mix::{
    BeaconKey, BeaconSecret, Directory, EpochKeys, KeyRing, MixKeys, Net, Relay, epoch_start,
    layer_of, layer_text, weight,
};
use betanet_wire::NodeId;

/// Number of layers of the directory.
const LAYERS: u8 = 3;

/// The relays of a simulated mix. The NodeID of relay `n` is 20 bytes `n`.
#[derive(Clone, Debug)]
pub struct MixNetwork {
    /// Secret keys of each relay.
    pub keys: Vec<EpochKeys>,
    /// Published keys of each relay.
    pub records: Vec<MixKeys>,
    /// The relays' directory of the epoch, with three layers.
    pub directory: Directory,
    /// Key that verifies the directory's beacon.
    pub beacon_key: BeaconKey,
}

impl MixNetwork {
    /// Draws the keys of `relays` relays and lists them in the directory of `epoch`. With `poisson`, clients draw the delays.
    ///
    /// Returns `None` if a drawn key is invalid, which is practically impossible.
    #[must_use]
    pub fn new(rng: &mut Rng, epoch: u32, relays: u8, poisson: bool) -> Option<Self> {
        let secret = BeaconSecret::from_seed(&rng.array())?;
        let beacon_sig = secret.sign(epoch);
        let beacon = secret.public().beacon(epoch, &beacon_sig)?;
        let (mut keys, mut records, mut listed) = (Vec::new(), Vec::new(), Vec::new());
        for n in 0..relays {
            let vrf = VrfSecret::from_seed(&rng.array());
            let (output, proof) = vrf.prove(&layer_text(epoch, &beacon));
            let mut ring = KeyRing::new(vrf);
            ring.turn(epoch_start(epoch), rng);
            let record = ring.record();
            listed.push(Relay {
                node: NodeId([n; 20]),
                key: record.of(epoch)?,
                // A relay's layer is drawn, and the relay can prove the draw.
                layer: layer_of(&output, LAYERS),
                weight: weight(1_000_000, 1_000_000, 0),
                org: format!("org {n}"),
                net: Net::from(IpAddr::V4(Ipv4Addr::new(10, n, 0, 1))),
                vrf: *record.vrf(),
                proof,
            });
            keys.push(ring.keys().clone());
            records.push(record);
        }
        Some(Self {
            keys,
            records,
            directory: Directory {
                epoch,
                seq: 1,
                list: [0; 32],
                layers: LAYERS,
                poisson,
                beacon_sig,
                relays: listed,
            },
            beacon_key: secret.public(),
        })
    }
}
