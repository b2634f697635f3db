//! Encodings, identities, key schedule, frames, tickets, negotiation, BAR heads.

use betanet_bar::{Error, Head as _, HeaderValue, Headers, Method, Request, Response};
use betanet_htx::cipher::Suite;
use betanet_htx::frame::Head;
use betanet_htx::ticket::Ticket;
use betanet_htx::{Cipher, Opener, Sealer};
use betanet_keys::schedule::{self, TrafficSecret};
use betanet_keys::{Identity, Name, PublicKey};
use betanet_wire::caps::{self, CapMsg};
use betanet_wire::{cbor, msg};
use serde_json::Value;

use super::{Tally, array, hex, list, number, same, text};

/// A value of the files' JSON notation, owned.
enum Json {
    Unsigned(u64),
    Negative(u64),
    Bytes(Vec<u8>),
    Text(String),
    Array(Vec<Json>),
    Map(Vec<(Json, Json)>),
    Bool(bool),
    Null,
}

impl Json {
    fn read(v: &Value) -> Result<Self, String> {
        if let Some(n) = v["int"].as_str() {
            let n: i128 = n.parse().map_err(|_| "int")?;
            return Ok(if n >= 0 {
                Self::Unsigned(u64::try_from(n).map_err(|_| "int")?)
            } else {
                Self::Negative(u64::try_from(-1 - n).map_err(|_| "int")?)
            });
        }
        if v.get("bytes").is_some() {
            return Ok(Self::Bytes(hex(v, "bytes")?));
        }
        if let Some(t) = v["text"].as_str() {
            return Ok(Self::Text(t.into()));
        }
        if let Some(items) = v["array"].as_array() {
            return items
                .iter()
                .map(Self::read)
                .collect::<Result<_, _>>()
                .map(Self::Array);
        }
        if let Some(entries) = v["map"].as_array() {
            let pair = |e: &Value| Ok((Self::read(&e[0])?, Self::read(&e[1])?));
            return entries
                .iter()
                .map(pair)
                .collect::<Result<_, String>>()
                .map(Self::Map);
        }
        match v.get("simple") {
            Some(Value::Bool(b)) => Ok(Self::Bool(*b)),
            Some(Value::Null) => Ok(Self::Null),
            _ => Err(format!("unknown notation {v}")),
        }
    }

    fn borrow(&self) -> cbor::Value<'_> {
        match self {
            Self::Unsigned(n) => cbor::Value::Unsigned(*n),
            Self::Negative(n) => cbor::Value::Negative(*n),
            Self::Bytes(b) => cbor::Value::Bytes(b),
            Self::Text(t) => cbor::Value::Text(t),
            Self::Array(items) => cbor::Value::Array(items.iter().map(Self::borrow).collect()),
            Self::Map(entries) => cbor::Value::Map(
                entries
                    .iter()
                    .map(|(k, v)| (k.borrow(), v.borrow()))
                    .collect(),
            ),
            Self::Bool(b) => cbor::Value::Bool(*b),
            Self::Null => cbor::Value::Null,
        }
    }
}

pub(super) fn det_cbor(cases: &Value) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for (i, c) in list(&cases["accept"], "accept")?.iter().enumerate() {
        let run = || {
            let bytes = hex(c, "hex")?;
            let value = Json::read(&c["value"])?;
            let encoded = value.borrow().to_vec().map_err(|e| e.to_string())?;
            same("encode", &encoded, &bytes)?;
            let decoded: cbor::Value<'_> = cbor::from_slice(&bytes).map_err(|e| e.to_string())?;
            let again = decoded.to_vec().map_err(|e| e.to_string())?;
            same("decode and encode", &again, &bytes)?;
            cbor::check(&bytes).map_err(|e| e.to_string())
        };
        tally.case(format!("accept {i}"), run());
    }
    for (i, c) in list(&cases["accept_hex_only"], "accept_hex_only")?
        .iter()
        .enumerate()
    {
        let bytes = c
            .as_str()
            .and_then(betanet_wire::text::unhex)
            .ok_or("hex")?;
        let run = || {
            let decoded: cbor::Value<'_> = cbor::from_slice(&bytes).map_err(|e| e.to_string())?;
            same(
                "again",
                &decoded.to_vec().map_err(|e| e.to_string())?,
                &bytes,
            )
        };
        tally.case(format!("accept_hex_only {i}"), run());
    }
    for (i, c) in list(&cases["reject"], "reject")?.iter().enumerate() {
        let run = || {
            let bytes = hex(c, "hex")?;
            match (
                cbor::from_slice::<cbor::Value<'_>>(&bytes),
                cbor::check(&bytes),
            ) {
                (Err(_), Err(_)) => Ok(()),
                _ => Err(format!("accepted, though: {}", c["why"])),
            }
        };
        tally.case(format!("reject {i}"), run());
    }
    Ok(tally)
}

pub(super) fn identity(cases: &Value) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for (i, c) in list(cases, "cases")?.iter().enumerate() {
        let run = || {
            let id = Identity::from_seed(&array(c, "ed25519_seed")?);
            let key = id.public();
            same("public", key.as_bytes(), &array(c, "public")?)?;
            same("node_id", key.node_id().0, array(c, "node_id")?)?;
            same("peer_id", key.peer_id().0, array(c, "peer_id")?)?;
            let name = Name::from(key.node_id());
            same("name", name.to_string().as_str(), text(c, "name")?)?;
            same("name read", text(c, "name")?.parse(), Ok(name))?;
            same("x25519", key.x25519(), array(c, "x25519_public")?)?;
            let derived = x25519_dalek::x25519(*id.x25519(), x25519_dalek::X25519_BASEPOINT_BYTES);
            same("x25519 from the private half", derived, key.x25519())
        };
        tally.case(format!("case {i}"), run());
    }
    Ok(tally)
}

fn direction(c: &Value, ts: &TrafficSecret) -> Result<(), String> {
    same("ts", ts.as_bytes(), &array(c, "ts")?)?;
    same("key", *ts.key(), array(c, "key")?)?;
    same("nonce", *ts.nonce_salt(), array(c, "nonce")?)?;
    same("next", ts.next().as_bytes(), &array(c, "next")?)
}

pub(super) fn key_schedule(cases: &Value) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for (i, c) in list(&cases["schedule"], "schedule")?.iter().enumerate() {
        let run = || {
            let k0 = schedule::k0(&array(c, "salt")?, &array(c, "ekm")?);
            same("k0", *k0, array(c, "k0")?)?;
            direction(&c["client"], &TrafficSecret::client(&k0))?;
            direction(&c["server"], &TrafficSecret::server(&k0))
        };
        tally.case(format!("schedule {i}"), run());
    }
    for (i, c) in list(&cases["noise_secret"], "noise_secret")?
        .iter()
        .enumerate()
    {
        let run = || {
            let secret = schedule::noise_secret(
                &array(c, "handshake_hash")?,
                &array(c, "k_i2r")?,
                &array(c, "k_r2i")?,
                &hex(c, "ss_pq")?,
            );
            same("noise_secret", *secret, array(c, "noise_secret")?)
        };
        tally.case(format!("noise_secret {i}"), run());
    }
    Ok(tally)
}

pub(super) fn frames(cases: &Value) -> Result<Tally, String> {
    frames_of(Cipher::default(), cases)
}

pub(super) fn frames_aes(cases: &Value) -> Result<Tally, String> {
    let cipher = Cipher {
        suite: Suite::Aes256Gcm,
        ..Cipher::default()
    };
    frames_of(cipher, cases)
}

fn frames_of(cipher: Cipher, cases: &Value) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for (i, c) in list(cases, "cases")?.iter().enumerate() {
        let run = || {
            let (key, salt) = (array(c, "key")?, array(c, "nonce_salt")?);
            let counter = number(c, "counter")?;
            let small = |key| {
                number(c, key)?
                    .try_into()
                    .map_err(|_| format!("{key}: too large"))
            };
            let head = Head {
                ty: u8::try_from(number(c, "type")?).map_err(|e| e.to_string())?,
                stream: small("stream")?,
                mark: u16::try_from(number(c, "mark")?).map_err(|e| e.to_string())?,
            };
            let (payload, frame) = (hex(c, "payload")?, hex(c, "frame")?);
            let sealed = Sealer::from_parts(cipher, &key, salt, counter).seal(head, &payload, &[]);
            same("seal", sealed.as_ref(), frame.as_slice())?;
            let mut opened = frame.clone();
            let got = Opener::from_parts(cipher, &key, salt, counter)
                .open(&mut opened)
                .map_err(|e| e.to_string())?;
            same("head", got, head)?;
            same("payload", &opened[10..frame.len() - 16], &payload)?;
            // The length is no part of a frame that stands alone; every other bit is.
            for bit in 24..frame.len() * 8 {
                let mut bad = frame.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                if Opener::from_parts(cipher, &key, salt, counter)
                    .open(&mut bad)
                    .is_ok()
                {
                    return Err(format!("opens with bit {bit} flipped"));
                }
            }
            for bit in 0..24 {
                let mut bad = frame.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                if Opener::from_parts(cipher, &key, salt, counter)
                    .open(&mut bad)
                    .is_ok()
                {
                    return Err(format!("opens with bit {bit} of its length flipped"));
                }
            }
            Ok(())
        };
        tally.case(format!("case {i}"), run());
    }
    Ok(tally)
}

pub(super) fn ticket(cases: &Value) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for (i, c) in list(&cases["valid"], "valid")?.iter().enumerate() {
        let run = || {
            let ekm = array(c, "exporter")?;
            let node = PublicKey::from_bytes(&array(c, "responder")?).map_err(|e| e.to_string())?;
            let made = Ticket::new(&ekm, &node, text(c, "ctx")?).map_err(|e| e.to_string())?;
            same("tok", made.token().as_slice(), hex(c, "tok")?.as_slice())?;
            same("value", made.value().as_str(), text(c, "value")?)?;
            let read = Ticket::parse(text(c, "value")?).map_err(|e| e.to_string())?;
            if !read.verify(&ekm, &node) {
                return Err("does not verify".into());
            }
            let mut other = ekm;
            other[0] ^= 1;
            if read.verify(&other, &node) {
                return Err("verifies on another connection".into());
            }
            Ok(())
        };
        tally.case(format!("valid {i}"), run());
    }
    for (i, c) in list(&cases["malformed"], "malformed")?.iter().enumerate() {
        let outcome = match Ticket::parse(c.as_str().ok_or("malformed: not text")?) {
            Err(_) => Ok(()),
            Ok(_) => Err("accepted".into()),
        };
        tally.case(format!("malformed {i}"), outcome);
    }
    Ok(tally)
}

pub(super) fn negotiation(cases: &Value) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for (i, c) in list(cases, "cases")?.iter().enumerate() {
        let run = || {
            let (client, server) = (hex(c, "caps_client")?, hex(c, "caps_server")?);
            let read = |b| cbor::from_slice::<CapMsg<'_>>(b).map_err(|e| e.to_string());
            let (a, b) = (read(&client)?, read(&server)?);
            if c.get("fails").is_some() {
                same("fails", text(c, "fails")?, "VERSION_NEGOTIATION_FAILED")?;
                return match (caps::select(&a, &b), caps::select(&b, &a)) {
                    (Err(_), Err(_)) => Ok(()),
                    _ => Err("a selection was made".into()),
                };
            }
            let sel = caps::select(&a, &b).map_err(|e| e.to_string())?;
            same(
                "both sides select alike",
                Ok(sel.clone()),
                caps::select(&b, &a),
            )?;
            same("selection", cbor::to_vec(&sel), hex(c, "selection")?)?;
            caps::verify(&b, &a, &sel).map_err(|e| e.to_string())?;
            let context = caps::context(&sel, &client, &server, &array(c, "template")?);
            same("context", context, hex(c, "exporter_context")?)
        };
        tally.case(format!("case {i}"), run());
    }
    Ok(tally)
}

fn headers(c: &Value) -> Result<Headers, String> {
    let mut out = Headers::default();
    for pair in list(&c["h"]["map"], "h")? {
        let value = if pair[1].get("bytes").is_some() {
            HeaderValue::Bytes(hex(&pair[1], "bytes")?)
        } else {
            text(&pair[1], "text")?.into()
        };
        out.set(text(&pair[0], "text")?, value);
    }
    Ok(out)
}

fn cbor_of(message: &[u8]) -> Result<&[u8], String> {
    match msg::split(message, betanet_bar::HEAD_MAX) {
        Ok(Some((cbor, []))) => Ok(cbor),
        _ => Err("not one message".into()),
    }
}

pub(super) fn bar(cases: &Value) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for (i, c) in list(&cases["accept"], "accept")?.iter().enumerate() {
        let run = || {
            let head = hex(c, "head")?;
            let (h, b) = (headers(c)?, hex(c, "b")?);
            if text(c, "kind")? == "request" {
                let got = Request::from_cbor(cbor_of(&head)?).map_err(|e| e.to_string())?;
                let method = [Method::Get, Method::Put, Method::Post, Method::Del]
                    .into_iter()
                    .find(|m| c["m"] == m.as_str())
                    .ok_or("m")?;
                let mut want = Request::new(method, text(c, "u")?, h);
                want.body = b;
                same("decode", &got, &want)?;
                same(
                    "encode",
                    want.to_message().map_err(|e| e.to_string())?,
                    head,
                )
            } else {
                let got = Response::from_cbor(cbor_of(&head)?).map_err(|e| e.to_string())?;
                let status = u16::try_from(number(c, "s")?).map_err(|e| e.to_string())?;
                let mut want = Response::new(status);
                (want.headers, want.body) = (h, b);
                same("decode", &got, &want)?;
                same(
                    "encode",
                    want.to_message().map_err(|e| e.to_string())?,
                    head,
                )
            }
        };
        tally.case(format!("accept {i}"), run());
    }
    for (i, c) in list(&cases["reject"], "reject")?.iter().enumerate() {
        let run = || {
            let head = hex(c, "head")?;
            // Read as from a stream, so that the bound on the head counts too.
            let refused = if text(c, "kind")? == "request" {
                read_head::<Request>(&head)
            } else {
                read_head::<Response>(&head)
            };
            match (refused, c["status"].as_u64()) {
                (Err(Error::Refused(why)), Some(status)) => {
                    same("status", u64::from(Response::refused(why).status), status)
                }
                (Err(Error::Head(_) | Error::HeadTooLong), None) => Ok(()),
                (other, _) => Err(format!("{other:?}, though: {}", c["why"])),
            }
        };
        tally.case(format!("reject {i}"), run());
    }
    Ok(tally)
}

fn read_head<H: betanet_bar::Head>(bytes: &[u8]) -> Result<(), Error> {
    let mut incoming = betanet_bar::Incoming::<H>::default();
    incoming.push(bytes.to_vec().into(), false)
}
