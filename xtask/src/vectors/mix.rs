//! Sphinx packets, reply blocks, and the wide-block cipher under them.

use betanet_mix::{
    Command, Delay, EpochKeys, Hctr2, Hop, Packet, Refusal, RelayKey, Ticket, Way, build, draw,
    lottery_seed, surb, unwrap_batch,
};
use betanet_wire::NodeId;
use serde_json::Value;

use super::{Tally, array, hex, list, number, same, text};

pub(super) fn mix(cases: &Value) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for (i, case) in list(&cases["hctr2"], "hctr2")?.iter().enumerate() {
        tally.case(format!("hctr2 {i}"), hctr2(case));
    }
    for (i, case) in list(&cases["packets"], "packets")?.iter().enumerate() {
        tally.case(format!("packet {i}"), packet(case));
    }
    let private = array(&cases["dropped"], "private")?;
    for case in list(&cases["dropped"]["packets"], "packets")? {
        let why = text(case, "why")?;
        tally.case(format!("dropped: {why}"), dropped(case, why, private));
    }
    for (i, case) in list(&cases["surb"], "surb")?.iter().enumerate() {
        tally.case(format!("surb {i}"), reply(case));
    }
    Ok(tally)
}

fn hctr2(case: &Value) -> Result<(), String> {
    let cipher = Hctr2::new(&array(case, "key")?);
    let (plain, enciphered) = (hex(case, "plain")?, hex(case, "cipher")?);
    let mut message = plain.clone();
    cipher.encrypt(&mut message);
    same("cipher", &message, &enciphered)?;
    cipher.decrypt(&mut message);
    same("plain", message, plain)
}

fn unhex<const N: usize>(v: &Value, what: &str) -> Result<[u8; N], String> {
    let bytes = betanet_wire::text::unhex(v.as_str().unwrap_or_default());
    let bytes = bytes.ok_or_else(|| format!("{what} is no hex"))?;
    bytes
        .try_into()
        .map_err(|_| format!("{what} has not {N} bytes"))
}

/// What a slot of the file says.
fn command(slot: &Value) -> Result<Command, String> {
    let text = slot.as_str().unwrap_or_default();
    let bytes = betanet_wire::text::unhex(text).ok_or("a slot is no hex")?;
    let (head, rest) = bytes.split_at_checked(4).ok_or("a slot is short")?;
    let word = u16::from_be_bytes([head[2], head[3]]);
    if let Ok(next) = <[u8; 20]>::try_from(rest) {
        let delay = match word >> 15 {
            0 => Delay::Chosen(word),
            _ => Delay::Sampled(word & 0x7fff),
        };
        let next = NodeId(next);
        return Ok(Command::Forward { delay, next });
    }
    let id = *rest.first_chunk::<16>().ok_or("a slot is short")?;
    match head[0] {
        1 => Ok(Command::Deliver { id }),
        2 => Ok(Command::Reply { id }),
        3 => Ok(Command::Drop { id }),
        other => Err(format!("a slot with command {other}")),
    }
}

fn relay_key(bytes: [u8; 32]) -> Result<RelayKey, String> {
    RelayKey::check(bytes).ok_or_else(|| "a key that does not stand".into())
}

fn padded(case: &Value) -> Result<[u8; 320], String> {
    let pad = hex(case, "pad")?;
    let mut out = [0; 320];
    out.get_mut(..pad.len())
        .ok_or("pad is long")?
        .copy_from_slice(&pad);
    Ok(out)
}

/// One hop's work, and the tag that it asked about.
fn unwrap(private: [u8; 32], packet: &mut Packet) -> (Result<Command, Refusal>, Option<[u8; 16]>) {
    let mut keys = EpochKeys::new();
    let held = keys.add(packet.epoch(), private, [0; 64]);
    let mut tag = None;
    let mut outcome = [Err(Refusal::Epoch)];
    let seen = |_, _, t: &[u8; 16]| {
        tag = Some(*t);
        !held
    };
    unwrap_batch(&keys, std::slice::from_mut(packet), seen, &mut outcome);
    (outcome[0].map(|u| u.command), tag)
}

fn packet(case: &Value) -> Result<(), String> {
    let hops = list(&case["hops"], "hops")?;
    let slots = list(&case["slots"], "slots")?;
    let hop = |(hop, slot)| {
        Ok(Hop {
            key: relay_key(array(hop, "public")?)?,
            command: command(slot)?,
        })
    };
    let path: Vec<Hop> = hops
        .iter()
        .zip(slots)
        .map(hop)
        .collect::<Result<_, String>>()?;
    let way = Way {
        epoch: u8::try_from(number(case, "epoch")?).map_err(|e| e.to_string())?,
        hops: &path,
        x: array(case, "x")?,
        pad: padded(case)?,
    };
    let payload = array(case, "payload")?;
    let mut packet = build(way, &payload).map_err(|e| e.to_string())?;
    same("packet", packet.0.to_vec(), hex(case, "packet")?)?;
    for (hop, at) in hops.iter().zip(&path) {
        let digest = betanet_keys::hash(&[&packet.0]);
        same("packet_in_sha256", digest, array(hop, "packet_in_sha256")?)?;
        let (outcome, tag) = unwrap(array(hop, "private")?, &mut packet);
        same("command", outcome, Ok(at.command))?;
        same("tag", tag, Some(array(hop, "tag")?))?;
    }
    // A dropped one is not even deciphered.
    if !matches!(path.last().map(|h| h.command), Some(Command::Drop { .. })) {
        same("payload", packet.payload(), &payload[..])?;
    }
    Ok(())
}

fn dropped(case: &Value, why: &str, private: [u8; 32]) -> Result<(), String> {
    let bytes = hex(case, "packet")?;
    let Ok(bytes) = bytes.try_into() else {
        return if why.contains("byte short") || why.contains("byte long") {
            Ok(())
        } else {
            Err("another length".into())
        };
    };
    let mut packet = Packet(bytes);
    let expected = match why {
        "version" | "zero field" => Refusal::Version,
        "small-order alpha" => Refusal::Point,
        _ => Refusal::Mac,
    };
    same("outcome", unwrap(private, &mut packet).0, Err(expected))
}

fn reply(case: &Value) -> Result<(), String> {
    let (publics, slots) = (
        list(&case["publics"], "publics")?,
        list(&case["slots"], "slots")?,
    );
    let hop = |(key, slot)| {
        Ok(Hop {
            key: relay_key(unhex(key, "publics")?)?,
            command: command(slot)?,
        })
    };
    let path: Vec<Hop> = publics
        .iter()
        .zip(slots)
        .map(hop)
        .collect::<Result<_, String>>()?;
    let expected: [u8; 440] = array(case, "surb")?;
    let first = NodeId(expected[..20].try_into().map_err(|_| "no first node")?);
    let key: [u8; 32] = expected[392..424].try_into().map_err(|_| "no key")?;
    let way = Way {
        epoch: u8::try_from(number(case, "epoch")?).map_err(|e| e.to_string())?,
        hops: &path,
        x: array(case, "x")?,
        pad: padded(case)?,
    };
    let (made, opener) = surb(&way, first, &key).map_err(|e| e.to_string())?;
    same("surb", made.as_bytes(), &expected)?;
    let payload: [u8; 2048] = array(case, "payload")?;
    let (to, mut packet) = made.reply(&payload);
    same("first node", to, first)?;
    same(
        "reply_packet",
        packet.0.to_vec(),
        hex(case, "reply_packet")?,
    )?;
    for (private, at) in list(&case["privates"], "privates")?.iter().zip(&path) {
        let (outcome, _) = unwrap(unhex(private, "privates")?, &mut packet);
        same("command", outcome, Ok(at.command))?;
    }
    same("arrives", packet.body(), &hex(case, "arrives")?[..])?;
    same("payload", opener.open(&mut packet), Some(&payload[..]))
}

pub(super) fn lottery(cases: &Value) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for (i, case) in list(cases, "cases")?.iter().enumerate() {
        tally.case(format!("case {i}"), one_draw(case));
    }
    Ok(tally)
}

fn one_draw(case: &Value) -> Result<(), String> {
    let random = array(case, "client_random")?;
    let bucket = text(case, "bucket")?.parse().map_err(|_| "bucket")?;
    let seed = lottery_seed(&array(case, "session_key")?, bucket, &random);
    same("seed", seed, array(case, "seed")?)?;
    let ticket = |relay| {
        let net: std::net::IpAddr = text(relay, "net")?.parse().map_err(|_| "net")?;
        Ok(Ticket {
            node: NodeId(array(relay, "node")?),
            layer: u8::try_from(number(relay, "layer")?).map_err(|_| "layer")?,
            weight: u16::try_from(number(relay, "weight")?).map_err(|_| "weight")?,
            org: text(relay, "org")?,
            net: net.into(),
        })
    };
    let relays = list(&case["relays"], "relays")?.iter().map(ticket);
    let relays = relays.collect::<Result<Vec<_>, String>>()?;
    let drawn = draw(&seed, &relays, 3, 3, None).ok();
    let drawn = drawn.map(|path| path.iter().map(|i| relays[*i].node).collect::<Vec<_>>());
    let wanted = case["path"].as_array().map(|path| {
        let nodes = path.iter().map(|n| unhex(n, "path").map(NodeId));
        nodes.collect::<Result<Vec<_>, String>>()
    });
    same("path", drawn, wanted.transpose()?)
}
