//! A whole session, both sides, byte by byte.

use betanet_bar::Request;
use betanet_htx::frame::{Frame, HEADER, TAG};
use betanet_htx::{
    Command, Config, Event, Extra, Input, Opener, Pq, Secrets, Session, Transmit, kind,
    offered_caps,
};
use betanet_keys::{Identity, schedule};
use betanet_machine::{Machine as _, Now};
use betanet_wire::cbor::{self, Value as Cbor};
use bytes::Bytes;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Tally, array, hex, list, same, text};

const NOW: Now = Now::new(betanet_machine::Time::ZERO, 0);

pub(super) fn run(cases: &Value) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for (i, c) in list(cases, "cases")?.iter().enumerate() {
        tally.case(format!("case {i}"), case(c));
    }
    Ok(tally)
}

fn said<T>(r: Result<T, impl std::fmt::Display>) -> Result<T, String> {
    r.map_err(|e| e.to_string())
}

/// The next bytes that a side sends.
fn next(side: &mut Session, what: &str) -> Result<Bytes, String> {
    match side.poll_transmit() {
        Some(Transmit::Bytes(b)) => Ok(b),
        other => Err(format!("{what}: {other:?} instead of bytes")),
    }
}

fn feed(side: &mut Session, bytes: &Bytes) -> Result<(), String> {
    said(side.handle_input(NOW, Input::Bytes(bytes.clone())))
}

/// A handshake message without its length.
fn message(bytes: &Bytes) -> &[u8] {
    &bytes[2..]
}

/// The capabilities of one side, out of the context.
fn caps_in(context: &[u8], key: &str) -> Result<Vec<u8>, String> {
    let value: Cbor<'_> = said(cbor::from_slice(context))?;
    let Cbor::Map(entries) = value else {
        return Err("the context is no map".into());
    };
    let (_, caps) = entries
        .iter()
        .find(|(k, _)| *k == Cbor::Text(key))
        .ok_or("no caps in the context")?;
    said(caps.to_vec())
}

fn kem(c: &Value, keys: &[&str]) -> Result<[u8; 64], String> {
    let mut out = [0; 64];
    let mut at = 0;
    for key in keys {
        let bytes = hex(c, key)?;
        out[at..at + bytes.len()].copy_from_slice(&bytes);
        at += 32;
    }
    Ok(out)
}

fn case(c: &Value) -> Result<(), String> {
    let pq = !text(c, "mlkem_d")?.is_empty();
    let client_id = Identity::from_seed(&array(c, "client_seed")?);
    let server_id = Identity::from_seed(&array(c, "server_seed")?);
    let ekm0: [u8; 32] = array(c, "ekm0")?;
    let context = hex(c, "exporter_context")?;
    let config = |side: &str| {
        Ok::<_, String>(Config {
            pq: if pq { Pq::Require } else { Pq::Off },
            caps: caps_in(&context, side)?,
            template: array(c, "template")?,
            ..Config::default()
        })
    };
    let secrets = Secrets::new(
        array(c, "client_ephemeral")?,
        kem(c, &["mlkem_d", "mlkem_z"])?,
    );
    let mut client = said(Session::connect(
        NOW,
        config("caps_client")?,
        &client_id,
        server_id.public(),
        &ekm0,
        secrets,
    ))?;
    let m1 = next(&mut client, "message 1")?;
    same("message1", message(&m1), hex(c, "message1")?.as_slice())?;
    let secrets = Secrets::new(array(c, "server_ephemeral")?, kem(c, &["mlkem_m"])?);
    let mut server = said(Session::accept(
        NOW,
        config("caps_server")?,
        &server_id,
        &ekm0,
        message(&m1),
        secrets,
    ))?;
    let m2 = next(&mut server, "message 2")?;
    same("message2", message(&m2), hex(c, "message2")?.as_slice())?;
    feed(&mut client, &m2)?;
    let m3 = next(&mut client, "message 3")?;
    same("message3", message(&m3), hex(c, "message3")?.as_slice())?;
    feed(&mut server, &m3)?;
    let hash: Option<[u8; 32]> = Some(array(c, "handshake_hash")?);
    same("handshake hash", client.transcript().copied(), hash)?;
    same("handshake hash", server.transcript().copied(), hash)?;

    for step in list(&c["epoch0"], "epoch0")? {
        let (from, to) = if text(step, "from")? == "client" {
            (&mut client, &mut server)
        } else {
            (&mut server, &mut client)
        };
        let frame = next(from, "epoch 0")?;
        same(
            "epoch 0 frame",
            frame.as_ref(),
            hex(step, "frame")?.as_slice(),
        )?;
        feed(to, &frame)?;
    }
    let ekm1: [u8; 32] = array(c, "ekm1")?;
    for side in [&mut client, &mut server] {
        same(
            "exporter context",
            side.poll_transmit(),
            Some(Transmit::NeedExport(context.clone())),
        )?;
        said(side.handle_input(NOW, Input::Exported(Zeroizing::new(ekm1))))?;
    }
    epoch1(c, &mut client, &mut server)?;
    noise_secret_agrees(c)
}

/// The schedule's secret is not shown by a session; the frames that came out of it were compared.
fn noise_secret_agrees(c: &Value) -> Result<(), String> {
    let k0 = schedule::k0(&array(c, "noise_secret")?, &array(c, "ekm1")?);
    let ts = schedule::TrafficSecret::client(&k0);
    let mut sealer = betanet_htx::Sealer::new(ts, false);
    let head = betanet_htx::frame::Head::connection(betanet_htx::frame::ty::WINDOW_UPDATE);
    let first = sealer.seal(head, &betanet_htx::frame::window_update(0, 196_609), &[]);
    let want = list(&c["epoch1"], "epoch1")?
        .iter()
        .find(|s| s["from"] == "client")
        .ok_or("no client frame")?;
    same(
        "noise_secret",
        first.as_ref(),
        hex(want, "frame")?.as_slice(),
    )
}

/// The request that the other implementation sent: opened with the schedule's keys, and read.
fn request_in(c: &Value) -> Result<Vec<u8>, String> {
    let k0 = schedule::k0(&array(c, "noise_secret")?, &array(c, "ekm1")?);
    let mut opener = Opener::new(schedule::TrafficSecret::client(&k0), false);
    for step in list(&c["epoch1"], "epoch1")? {
        if step["from"] == "client" {
            let mut frame = hex(step, "frame")?;
            let head = said(opener.open(&mut frame))?;
            let payload = &frame[HEADER..frame.len() - TAG];
            if let Frame::Stream { data, .. } = said(Frame::read(head, payload))? {
                let (kind, message) = data.split_first().ok_or("an empty stream")?;
                same("stream type", *kind, kind::BAR)?;
                let mut incoming = betanet_bar::Incoming::<Request>::default();
                said(incoming.push(message.to_vec().into(), true))?;
                return Ok(message.to_vec());
            }
        }
    }
    Err("no request among the frames".into())
}

fn epoch1(c: &Value, client: &mut Session, server: &mut Session) -> Result<(), String> {
    let get = request_in(c)?;
    for step in list(&c["epoch1"], "epoch1")? {
        let want = Bytes::from(hex(step, "frame")?);
        let what = text(step, "what")?;
        if text(step, "from")? == "server" {
            let frame = next(server, what)?;
            same(what, frame.as_ref(), want.as_ref())?;
            feed(client, &frame)?;
            continue;
        }
        match what {
            "first" => {}
            "BAR GET on stream 3" => {
                let opened = client.handle_command(NOW, Command::Open { kind: kind::BAR });
                same("stream", said(opened)?, Some(3))?;
                let write = Command::Write {
                    stream: 3,
                    data: get.clone().into(),
                    fin: true,
                };
                said(client.handle_command(NOW, write)).map(drop)?;
            }
            "KEY_UPDATE" => said(client.handle_command(NOW, Command::Rekey)).map(drop)?,
            // Its token is the other implementation's own: ours reads and answers it.
            "PING under the next key" => {
                while server.poll_transmit().is_some() {}
                feed(server, &want)?;
                let answer = next(server, "PING's answer")?;
                same(
                    "type of the answer",
                    answer[3],
                    betanet_htx::frame::ty::PING,
                )?;
                same("mark of the answer", answer[9], 1)?;
                continue;
            }
            other => return Err(format!("unknown step {other}")),
        }
        let frame = next(client, what)?;
        same(what, frame.as_ref(), want.as_ref())?;
        feed(server, &frame)?;
    }
    let mut data = Vec::new();
    while let Some(event) = server.poll_event() {
        if let Event::Data { data: d, .. } = event {
            data.extend_from_slice(&d);
        }
    }
    same("the request that arrived", data, get)?;
    same("rekeys", server.stats().rekeys_in, 1)?;
    // The default offer is one that the vectors' peer would understand.
    let caps = offered_caps(true, Extra::default());
    said(cbor::check(&caps))
}
