//! Offline audit: compares relays' published proofs with the delays that loops observed.

use std::collections::BTreeMap;

use betanet_keys::{Maintainers, VRF_PROOF, VrfPublic};
use betanet_mix::{Directory, delay_text, own_delay};
use betanet_runtime::{Name, NodeId, PublishedProof, check_directory};
use betanet_wire::{cbor, text};
use serde::Deserialize;
use serde_json::json;

use super::{network, read, wrong};
use crate::Fail;
use crate::args::AuditArgs;

#[derive(Deserialize)]
struct LoopLine {
    epoch: u32,
    took_ms: f64,
    hops: Vec<HopLine>,
}

#[derive(Deserialize)]
struct HopLine {
    node: String,
    tag: String,
    delay_by: String,
    ms: u16,
}

/// The results of loops for one relay.
#[derive(Default)]
struct Seen {
    loops: u64,
    early: u64,
    beyond: Vec<f64>,
}

/// The results of an audit.
#[derive(Default)]
struct Found {
    proofs: usize,
    loops: u64,
    checked: u64,
    early: u64,
    relays: BTreeMap<NodeId, Seen>,
}

pub(super) fn run(args: &AuditArgs) -> Result<(), Fail> {
    let (net, mix) = network(&args.network)?;
    let maintainers = Maintainers::new(&net.maintainers);
    let mut directories: BTreeMap<u32, Directory> = BTreeMap::new();
    for path in &args.directory {
        let checked = check_directory(&read(path)?, &maintainers, &mix.beacon_key);
        let (_, directory) = checked.map_err(|e| wrong(path, e))?;
        if let Some(other) = directories.get(&directory.epoch)
            && *other != directory
        {
            let why = format!(
                "another directory of epoch {} is signed as well",
                directory.epoch
            );
            return Err(wrong(path, why));
        }
        directories.insert(directory.epoch, directory);
    }
    let mut found = Found::default();
    let mut seeds: BTreeMap<(u32, NodeId), [u8; 64]> = BTreeMap::new();
    for path in &args.proof {
        let bytes = read(path)?;
        let proof: PublishedProof<'_> = cbor::from_slice(&bytes).map_err(|e| wrong(path, e))?;
        let (epoch, node) = (proof.epoch, proof.node);
        let name = Name::from(node);
        let relay = directories
            .get(&epoch)
            .and_then(|d| d.relays.iter().find(|r| r.node == node));
        let relay = relay.ok_or_else(|| {
            wrong(
                path,
                format!("{name} is in no directory of epoch {epoch} that was given"),
            )
        })?;
        let seed = verified(&relay.vrf, epoch, proof.proof);
        let why = || {
            wrong(
                path,
                format!("{name}'s proof for epoch {epoch} does not hold"),
            )
        };
        seeds.insert((epoch, node), seed.ok_or_else(why)?);
        found.proofs += 1;
    }
    if let Some(path) = &args.loops {
        let lines = String::from_utf8(read(path)?).map_err(|e| wrong(path, e))?;
        for (i, line) in lines.lines().enumerate() {
            let parsed: LoopLine = serde_json::from_str(line)
                .map_err(|e| wrong(path, format!("line {}: {e}", i + 1)))?;
            weigh(&parsed, &seeds, args.tolerance, &mut found)
                .map_err(|why| wrong(path, format!("line {}: {why}", i + 1)))?;
        }
    }
    report(args.json, &directories, &found);
    if found.early > 0 {
        let (early, checked) = (found.early, found.checked);
        return Err(Fail::Peer(format!(
            "{early} of {checked} loops came back before their delays were over"
        )));
    }
    Ok(())
}

/// Returns the seed of a relay's own delays if its proof is valid.
fn verified(vrf: &[u8; 32], epoch: u32, proof: &[u8; VRF_PROOF]) -> Option<[u8; 64]> {
    let vrf = VrfPublic::from_bytes(*vrf).ok()?;
    vrf.verify(&delay_text(epoch), proof).ok()
}

/// Compares the duration of a loop with the sum of its relays' delays, if all of them are known.
fn weigh(
    line: &LoopLine,
    seeds: &BTreeMap<(u32, NodeId), [u8; 64]>,
    tolerance: f64,
    found: &mut Found,
) -> Result<(), String> {
    found.loops += 1;
    let mut owed = 0.0;
    let mut nodes = Vec::new();
    for hop in &line.hops {
        let name: Name = hop.node.parse().map_err(|e| format!("{}: {e}", hop.node))?;
        let tag: [u8; 16] = text::unhex_array(&hop.tag).ok_or("a tag is 32 hex digits")?;
        let node = name.node_id();
        owed += f64::from(match hop.delay_by.as_str() {
            "client" => hop.ms,
            "relay" => match seeds.get(&(line.epoch, node)) {
                Some(seed) => own_delay(seed, &tag, hop.ms),
                // Without this proof, the loop proves nothing.
                None => return Ok(()),
            },
            other => return Err(format!("delay_by {other:?}: client or relay")),
        });
        if !nodes.contains(&node) {
            nodes.push(node);
        }
    }
    let beyond = line.took_ms - owed;
    let early = beyond < -tolerance;
    found.checked += 1;
    found.early += u64::from(early);
    for node in nodes {
        let seen = found.relays.entry(node).or_default();
        seen.loops += 1;
        seen.early += u64::from(early);
        seen.beyond.push(beyond);
    }
    Ok(())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn report(as_json: bool, directories: &BTreeMap<u32, Directory>, found: &Found) {
    let relays: usize = directories.values().map(|d| d.relays.len()).sum();
    if as_json {
        let per_relay = found.relays.iter().map(|(node, seen)| {
            json!({
                "name": Name::from(*node).to_string(),
                "loops": seen.loops,
                "early": seen.early,
                "beyond_ms": median(&seen.beyond),
            })
        });
        let facts = json!({
            "directories": directories.keys().collect::<Vec<_>>(),
            "layers_proved": relays,
            "proofs": found.proofs,
            "loops": found.loops,
            "checked": found.checked,
            "early": found.early,
            "relays": per_relay.collect::<Vec<_>>(),
        });
        say!("{facts}");
        return;
    }
    for directory in directories.values() {
        let n = directory.relays.len();
        say!(
            "epoch {}: beacon and signatures hold, {n} relays prove their layers",
            directory.epoch
        );
    }
    say!("{} delay proofs hold", found.proofs);
    say!(
        "{} loops, {} of them with all proofs, {} early",
        found.loops,
        found.checked,
        found.early
    );
    for (node, seen) in &found.relays {
        let name = Name::from(*node);
        let beyond = median(&seen.beyond);
        say!(
            "{name} {} loops, {} early, {beyond:.1} ms beyond the delays in the median",
            seen.loops,
            seen.early
        );
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use betanet_keys::VrfSecret;
    use betanet_mix::{Net, Relay};

    use super::*;

    const EPOCH: u32 = 7;

    fn relay(n: u8) -> (Relay, VrfSecret) {
        let vrf = VrfSecret::from_seed(&[n; 32]);
        let relay = Relay {
            node: NodeId([n; 20]),
            key: [n; 32],
            layer: 0,
            weight: 1,
            org: String::new(),
            net: Net::from(IpAddr::from([10, n, 0, 1])),
            vrf: *vrf.public(),
            proof: [0; 80],
        };
        (relay, vrf)
    }

    /// Returns a loop over relays 1 and 2 that returned so many milliseconds after the sum of its delays.
    fn line(tag: u8, seeds: &BTreeMap<(u32, NodeId), [u8; 64]>, beyond: f64) -> LoopLine {
        let hop = |n: u8| HopLine {
            node: Name::from(NodeId([n; 20])).to_string(),
            tag: text::hex(&[tag; 16]),
            delay_by: "relay".into(),
            ms: 150,
        };
        let owed = |n: u8| {
            f64::from(own_delay(
                &seeds[&(EPOCH, NodeId([n; 20]))],
                &[tag; 16],
                150,
            ))
        };
        LoopLine {
            epoch: EPOCH,
            took_ms: owed(1) + owed(2) + beyond,
            hops: vec![hop(1), hop(2)],
        }
    }

    #[test]
    fn loops_that_come_back_early_are_found_with_the_relays_that_they_met() {
        let mut seeds = BTreeMap::new();
        for n in [1, 2] {
            let (relay, vrf) = relay(n);
            let (_, proof) = vrf.prove(&delay_text(EPOCH));
            let seed = verified(&relay.vrf, EPOCH, &proof).unwrap();
            assert_eq!(
                verified(&relay.vrf, EPOCH + 1, &proof),
                None,
                "another epoch's"
            );
            let mut bad = proof;
            bad[3] ^= 1;
            assert_eq!(verified(&relay.vrf, EPOCH, &bad), None);
            seeds.insert((EPOCH, relay.node), seed);
        }
        let mut found = Found::default();
        for tag in 0..20 {
            weigh(&line(tag, &seeds, 5.0), &seeds, 2.0, &mut found).unwrap();
        }
        assert_eq!((found.loops, found.checked, found.early), (20, 20, 0));
        // This loop skipped its delays.
        weigh(&line(50, &seeds, -40.0), &seeds, 2.0, &mut found).unwrap();
        assert_eq!((found.checked, found.early), (21, 1));
        assert!(found.relays.values().all(|s| s.early == 1 && s.loops == 21));
        // Without a proof, a loop proves nothing.
        let mut lone = seeds.clone();
        lone.remove(&(EPOCH, NodeId([2; 20])));
        weigh(&line(60, &seeds, -40.0), &lone, 2.0, &mut found).unwrap();
        assert_eq!((found.loops, found.checked, found.early), (22, 21, 1));
        let mut strange = line(70, &seeds, 0.0);
        strange.hops[0].delay_by = "nobody".into();
        assert!(weigh(&strange, &seeds, 2.0, &mut found).is_err());
    }
}
