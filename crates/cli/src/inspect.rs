//! `betanet inspect`: names and decodes any wire format.

use std::io::Read as _;
use std::path::Path;

use betanet_bar::{Head as _, Request, Response};
use betanet_htx::frame::{self, Head};
use betanet_htx::handshake::{MESSAGE_1, MESSAGE_2, MESSAGE_3};
use betanet_htx::ticket::Ticket;
use betanet_path::{Cf, Control, Segment};
use betanet_runtime::{Name, Peer, PublicKey};
use betanet_wire::caps::{CapMsg, SelMsg};
use betanet_wire::text::{hex, unhex};
use betanet_wire::{cbor, msg};
use serde_json::{Value, json};

use crate::Fail;
use crate::args::InspectArgs;

/// Maximum number of bytes inspected.
const INPUT_MAX: u64 = 2 << 20;

pub(crate) fn run(args: &InspectArgs) -> Result<(), Fail> {
    let found = match text_item(&args.item) {
        Some(found) => found,
        None => inspect(&bytes_of(&args.item)?),
    };
    let Some(found) = found else {
        return Err(Fail::Peer(format!(
            "{}: no name, peer, ticket, CBOR, message, frame or handshake message",
            args.item
        )));
    };
    if args.json {
        say!("{found}");
    } else {
        print_lines(&found);
    }
    Ok(())
}

fn print_lines(found: &Value) {
    if let Value::Object(map) = found {
        for (key, value) in map {
            match value {
                Value::String(s) => say!("{key:12} {s}"),
                other => say!("{key:12} {other}"),
            }
        }
    }
}

/// Returns `Some(None)` for text that clearly intends one of these formats and is invalid.
fn text_item(text: &str) -> Option<Option<Value>> {
    let text = text.trim();
    if text.len() > 4096 {
        return None;
    }
    if let Ok(name) = text.parse::<Name>() {
        return Some(Some(json!({
            "what": "name",
            "name": name.to_string(),
            "node_id": name.node_id().to_string(),
        })));
    }
    if let Ok(peer) = text.parse::<Peer>() {
        return Some(Some(json!({
            "what": "peer",
            "name": peer.name().to_string(),
            "public_key": peer.key.to_string(),
            "addresses": peer.addrs,
            "pin": peer.pin.map(|p| hex(&p)),
        })));
    }
    if text.starts_with("v=") || text.contains("tok=:") {
        return Some(Ticket::parse(text).ok().map(
            |t| json!({"what": "ticket", "label": t.label(), "token_bytes": t.token().len()}),
        ));
    }
    None
}

fn bytes_of(item: &str) -> Result<Vec<u8>, Fail> {
    let compact: String = item.chars().filter(|c| !c.is_whitespace()).collect();
    if item != "-"
        && !compact.is_empty()
        && let Some(bytes) = unhex(&compact)
    {
        return Ok(bytes);
    }
    let mut bytes = Vec::new();
    let read = if item == "-" {
        std::io::stdin().take(INPUT_MAX).read_to_end(&mut bytes)
    } else {
        let path = Path::new(item);
        let file = std::fs::File::open(path).map_err(Fail::file(path))?;
        file.take(INPUT_MAX).read_to_end(&mut bytes)
    };
    read.map_err(|e| Fail::Local(format!("{item}: {e}")))?;
    // A file may hold hex, or one of the text formats.
    match std::str::from_utf8(&bytes) {
        Ok(text) => {
            let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
            Ok(unhex(&compact).filter(|b| !b.is_empty()).unwrap_or(bytes))
        }
        Err(_) => Ok(bytes),
    }
}

fn inspect(bytes: &[u8]) -> Option<Value> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(Some(found)) = text_item(text)
    {
        return Some(found);
    }
    if let Ok(Some((cbor, []))) = msg::split(bytes, msg::MAX)
        && let Some(mut found) = cbor_item(cbor)
    {
        found["what"] = format!("message: {}", found["what"].as_str().unwrap_or("CBOR")).into();
        return Some(found);
    }
    if let Some(found) = frames(bytes) {
        return Some(found);
    }
    if let Some(found) = handshake(bytes) {
        return Some(found);
    }
    if let Ok(control) = Control::from_bytes(bytes) {
        return Some(path(&control));
    }
    if let Some(found) = cbor_item(bytes) {
        return Some(found);
    }
    let key: [u8; 32] = bytes.try_into().ok()?;
    let key = PublicKey::from_bytes(&key).ok()?;
    Some(json!({
        "what": "public key",
        "name": Name::from(key.node_id()).to_string(),
        "peer_id": key.peer_id().to_string(),
    }))
}

fn path(control: &Control) -> Value {
    let congestion = |cf: &Cf| {
        json!({
            "level": format!("{:?}", cf.ecn).to_uppercase(),
            "loss_percent": cf.loss,
            "rtt_ms": cf.rtt_ms,
            "queue": cf.queue,
        })
    };
    let route = |what: &str, segments: &[Segment], cf: &Option<Cf>| {
        let hops: Vec<Value> = segments
            .iter()
            .map(|s| {
                json!({
                    "to": Name::from(s.next).to_string(),
                    "expiry_s": s.expiry,
                    "timestamp_ms": s.timestamp,
                    "signed": s.sig.is_some(),
                })
            })
            .collect();
        json!({"what": what, "segments": hops, "congestion": cf.as_ref().map(congestion)})
    };
    match control {
        Control::Single { segments, cf } => route("path header SINGLE", segments, cf),
        Control::Multi { segments, cf } => route("path header MULTI", segments, cf),
        Control::Probe(token) => json!({"what": "path PROBE", "token": hex(token)}),
        Control::ProbeAck { token, cf } => {
            json!({"what": "path PROBE_ACK", "token": hex(token), "congestion": congestion(cf)})
        }
        Control::Congestion(cf) => {
            json!({"what": "congestion feedback", "congestion": congestion(cf)})
        }
        Control::Error {
            failure, path, key, ..
        } => json!({
            "what": "path ERROR",
            "why": format!("{failure:?}"),
            "path": hex(path),
            "by": PublicKey::from_bytes(key).map(|k| Name::from(k.node_id()).to_string()).ok(),
        }),
    }
}

fn cbor_item(bytes: &[u8]) -> Option<Value> {
    let value: cbor::Value<'_> = cbor::from_slice(bytes).ok()?;
    let what = if Request::from_cbor(bytes).is_ok() {
        "BAR request head"
    } else if Response::from_cbor(bytes).is_ok() {
        "BAR response head"
    } else if cbor::from_slice::<CapMsg<'_>>(bytes).is_ok() {
        "CapMsg"
    } else if cbor::from_slice::<SelMsg<'_>>(bytes).is_ok() {
        "SelMsg"
    } else {
        "DET-CBOR"
    };
    Some(json!({"what": what, "value": value.to_string(), "bytes": bytes.len()}))
}

/// Decodes consecutive frames, whose payloads are encrypted.
fn frames(bytes: &[u8]) -> Option<Value> {
    let mut rest = bytes;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let total = frame::total_length(rest).ok()??;
        let (one, after) = rest.split_at_checked(total)?;
        let head = Head::from_bytes(one.first_chunk()?);
        let skippable = (0x40..=0x7f).contains(&head.ty);
        let name = frame::type_name(head.ty).or_else(|| skippable.then_some("unknown, skipped"))?;
        out.push(json!({
            "type": name,
            "stream": head.stream,
            "mark": head.mark,
            "payload_bytes": total - frame::HEADER - frame::TAG,
            "tag": hex(&one[total - frame::TAG..]),
        }));
        rest = after;
    }
    match out.len() {
        0 => None,
        1 => {
            let mut one = out.pop()?;
            one["what"] = "frame (payload sealed)".into();
            Some(one)
        }
        n => Some(json!({"what": format!("{n} frames (payloads sealed)"), "frames": out})),
    }
}

fn handshake(bytes: &[u8]) -> Option<Value> {
    let (len, message) = bytes.split_first_chunk::<2>()?;
    let len = usize::from(u16::from_be_bytes(*len));
    if message.len() != len {
        return None;
    }
    let (what, pq) = match len {
        n if n == MESSAGE_1[1] => ("handshake message 1", true),
        n if n == MESSAGE_2[1] => ("handshake message 2", true),
        n if n == MESSAGE_1[0] => ("handshake message 1 or 2", false),
        MESSAGE_3 => ("handshake message 3", false),
        _ => return None,
    };
    Some(json!({"what": what, "ml_kem_768": pq, "bytes": len}))
}
