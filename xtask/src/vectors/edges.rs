//! Edge cases of the curves, and the Noise vectors that the snow crate ships.

use betanet_htx::handshake;
use betanet_keys::{KeyError, PublicKey};
use serde_json::Value;

use super::{Tally, array, hex, list, same, text};

/// Keys and signatures that must be accepted or refused, and why.
pub(super) fn ed25519(cases: &Value) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for c in list(&cases["keys"], "keys")? {
        let run = || {
            let got = match PublicKey::from_bytes(&array(c, "key")?) {
                Ok(_) => "ok",
                Err(KeyError::NotCanonical) => "not canonical",
                Err(KeyError::WrongSubgroup) => "wrong subgroup",
                Err(_) => "other",
            };
            same("key", got, text(c, "result")?)
        };
        tally.case(text(c, "note")?, run());
    }
    for c in list(&cases["signatures"], "signatures")? {
        let run = || {
            let key = PublicKey::from_bytes(&array(c, "key")?).map_err(|e| e.to_string())?;
            let good = key
                .verify_digest(&array(c, "digest")?, &array(c, "sig")?)
                .is_ok();
            same("signature", good, c["valid"] == true)
        };
        tally.case(text(c, "note")?, run());
    }
    Ok(tally)
}

/// Scalar multiplications through the Noise primitives: the shared secret, or a refusal where it is zero.
pub(super) fn x25519(cases: &Value) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for c in list(cases, "cases")? {
        let run = || {
            let got = handshake::x25519(&array(c, "private")?, &array(c, "public")?);
            let want = match text(c, "shared")? {
                "refused" => None,
                _ => Some(array(c, "shared")?),
            };
            same("shared", got, want)
        };
        tally.case(text(c, "note")?, run());
    }
    Ok(tally)
}

pub(super) fn noise_xk(cases: &Value) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for (i, c) in list(cases, "cases")?.iter().enumerate() {
        tally.case(format!("case {i}"), noise_case(c));
    }
    Ok(tally)
}

fn noise_case(c: &Value) -> Result<(), String> {
    let said = |e: snow::Error| e.to_string();
    let params: snow::params::NoiseParams = text(c, "protocol_name")?.parse().map_err(said)?;
    let side = |who: &str| {
        let private = hex(c, &format!("{who}_static"))?;
        let prologue = hex(c, &format!("{who}_prologue"))?;
        let ephemeral = array(c, &format!("{who}_ephemeral"))?;
        let builder = |b: snow::Builder<'_>| {
            if who == "init" {
                b.build_initiator()
            } else {
                b.build_responder()
            }
        };
        let remote = if who == "init" {
            hex(c, "init_remote_static")?
        } else {
            Vec::new()
        };
        let mut b = snow::Builder::with_resolver(params.clone(), handshake::resolver(ephemeral))
            .local_private_key(&private)
            .and_then(|b| b.prologue(&prologue))
            .map_err(said)?;
        if !remote.is_empty() {
            b = b.remote_public_key(&remote).map_err(said)?;
        }
        builder(b).map_err(said)
    };
    let (mut init, mut resp) = (side("init")?, side("resp")?);
    let messages = list(&c["messages"], "messages")?;
    for (n, m) in messages.iter().take(3).enumerate() {
        let (from, to) = if n % 2 == 0 {
            (&mut init, &mut resp)
        } else {
            (&mut resp, &mut init)
        };
        let payload = hex(m, "payload")?;
        let mut out = vec![0; payload.len() + 256];
        let len = from.write_message(&payload, &mut out).map_err(said)?;
        same("ciphertext", &out[..len], &hex(m, "ciphertext")?)?;
        let mut plain = vec![0; len];
        let got = to.read_message(&out[..len], &mut plain).map_err(said)?;
        same("payload", &plain[..got], &payload)?;
    }
    if c.get("handshake_hash").is_some() {
        same(
            "hash",
            init.get_handshake_hash(),
            &hex(c, "handshake_hash")?,
        )?;
    }
    let mut init = init.into_transport_mode().map_err(said)?;
    let mut resp = resp.into_transport_mode().map_err(said)?;
    for (n, m) in messages.iter().enumerate().skip(3) {
        let from = if n % 2 == 0 { &mut init } else { &mut resp };
        let payload = hex(m, "payload")?;
        let mut out = vec![0; payload.len() + 16];
        let len = from.write_message(&payload, &mut out).map_err(said)?;
        same("transport", &out[..len], &hex(m, "ciphertext")?)?;
    }
    Ok(())
}
