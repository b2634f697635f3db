//! `legs`: tickets and frames of peers of version 1.1.

use betanet_compat11::frame::{self, Head};
use betanet_compat11::{Opener, Reading, Sealer, TicketKey, make_ticket, path};
use betanet_wire::NodeId;
use betanet_wire::text::unhex_array;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Tally, array, hex, list, number, same, text};

const READING: Reading = Reading::PROFILE;

pub(super) fn legs(cases: &Value) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for (n, case) in list(&cases["tickets"], "tickets")?.iter().enumerate() {
        tally.case(format!("ticket {n}"), ticket(case));
    }
    for case in list(&cases["refused"], "refused")? {
        tally.case(text(case, "why")?, refused(case));
    }
    for (n, case) in list(&cases["frames"], "frames")?.iter().enumerate() {
        let exported = hex(case, "exported")?;
        let (client, server) = exported.split_at(exported.len() / 2);
        for (side, key) in [("client", client), ("server", server)] {
            let frames = list(&case[side], side)?;
            tally.case(format!("frames {n}, {side}"), conversation(key, frames));
        }
    }
    for (n, case) in list(&cases["paths"], "paths")?.iter().enumerate() {
        tally.case(format!("path {n}"), asked(case));
    }
    for case in list(&cases["refused_paths"], "refused_paths")? {
        let read = path::read(&hex(case, "header")?);
        tally.case(text(case, "why")?, same("refused", read.is_err(), true));
    }
    Ok(tally)
}

fn ticket(case: &Value) -> Result<(), String> {
    let key = TicketKey::new(&array(case, "ticket_secret")?, READING);
    same("key", *key.public(), array(case, "ticket_key")?)?;
    same("key id", *key.id(), array(case, "key_id")?)?;
    let (client, nonce) = (array(case, "client_secret")?, array(case, "nonce")?);
    let (pad, at) = (hex(case, "pad")?, number(case, "unix_ms")?);
    let made = make_ticket(&READING, &client, key.public(), key.id(), at, &nonce, &pad);
    let made = made.map_err(|e| e.to_string())?;
    same("ticket", made.as_str(), text(case, "ticket")?)?;
    let admitted = key.open(&made, at).ok_or("it does not open")?;
    same("client", admitted.client, array(case, "client")?)
}

fn refused(case: &Value) -> Result<(), String> {
    let key = TicketKey::new(&array(case, "ticket_secret")?, READING);
    let admitted = key.open(text(case, "ticket")?, number(case, "unix_ms")?);
    same("admitted", admitted, None)
}

fn conversation(key: &[u8], frames: &[Value]) -> Result<(), String> {
    let key = || {
        let mut half = Zeroizing::new([0; 32]);
        half.copy_from_slice(key.get(..32).ok_or("no key")?);
        Ok::<_, String>(half)
    };
    let mut sealer = Sealer::new(key()?, READING);
    let mut opener = Opener::new(key()?, READING);
    for case in frames {
        let stream = || number(case, "stream");
        let head = match text(case, "type")? {
            "STREAM" => Head::Stream(stream()?),
            "PING" => Head::Ping,
            "CLOSE" => Head::Close,
            "KEY_UPDATE" => Head::KeyUpdate,
            "WINDOW_UPDATE" => Head::WindowUpdate(stream()?),
            other => return Err(format!("unknown type {other}")),
        };
        let (body, want) = (hex(case, "body")?, hex(case, "frame")?);
        let sealed = match head {
            Head::KeyUpdate => sealer.turn(),
            head => sealer.seal(head, &body),
        };
        same("frame", &sealed, &want)?;
        let framed = frame::read(&want).map_err(|e| e.to_string())?;
        let framed = framed.ok_or("cut short")?;
        same("head", framed.head, head)?;
        let mut opened = want;
        opener
            .open(&framed, &mut opened)
            .ok_or("it does not open")?;
        same(
            "body",
            &opened[framed.at..framed.at + body.len()],
            &body[..],
        )?;
    }
    Ok(())
}

fn asked(case: &Value) -> Result<(), String> {
    let bytes = hex(case, "header")?;
    let header = path::read(&bytes).map_err(|e| e.to_string())?;
    let header = header.ok_or("cut short")?;
    same("length", header.len, bytes.len())?;
    let mut nodes = Vec::new();
    for node in list(&case["nodes"], "nodes")? {
        let text = node.as_str().ok_or("no node")?;
        nodes.push(NodeId(unhex_array(text).ok_or("no node")?));
    }
    same("nodes", header.nodes, nodes)
}
