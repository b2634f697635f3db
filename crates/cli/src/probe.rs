//! `betanet ping` and `betanet probe`.

use std::time::Duration;

use betanet_keys::Endpoint;
use betanet_runtime::{Clock, Name, OuterFacts, Peer, visit};
use betanet_wire::text::hex;
use serde_json::{Value, json};

use crate::Fail;
use crate::args::{PingArgs, ProbeArgs};
use crate::fail::interruptible;
use crate::name;

fn millis(d: Duration) -> f64 {
    d.as_secs_f64() * 1000.0
}

pub(crate) async fn ping(mut args: PingArgs) -> Result<(), Fail> {
    name::relays(&mut args.peer.dial).await?;
    let mut dialling = name::dialling(&args.target, &args.peer).await?;
    interruptible(async {
        let session = dialling.direct_session().await?;
        dialling.reached();
        let name = Name::from(session.peer().node_id());
        let mut times = Vec::new();
        for n in 1..=args.count {
            let rtt = session.ping().await?;
            if !args.json {
                say!("{n}: {:.3} ms from {name}", millis(rtt));
            }
            times.push(millis(rtt));
            if crate::output::is_closed() {
                break;
            }
        }
        if args.json {
            say!("{}", json!({"name": name.to_string(), "rtt_ms": times}));
        }
        session.close().await;
        dialling.leave().await;
        Ok(())
    })
    .await
}

fn outer_json(facts: &OuterFacts) -> Value {
    json!({
        "tls": facts.version,
        "suite": facts.suite,
        "group": facts.group,
        "alpn": facts.alpn,
        "pin": hex(&facts.pin),
        "instead_of_quic": facts.instead,
    })
}

pub(crate) async fn probe(mut args: ProbeArgs) -> Result<(), Fail> {
    name::relays(&mut args.peer.dial).await?;
    let bare = args.target.parse::<Peer>().is_err()
        && args.target.parse::<Name>().is_err()
        && args.target.contains(':')
        && !args.target.contains('@')
        && !args.target.starts_with("bn1:");
    if bare && let Err(why) = Endpoint::dialled(&args.target) {
        return Err(Fail::Usage(format!("{}: {why}", args.target)));
    }
    interruptible(async {
        let facts = if bare {
            outside(&args.target).await?
        } else {
            inside(&args).await?
        };
        if args.json {
            say!("{facts}");
        } else {
            print_facts("", &facts);
        }
        Ok(())
    })
    .await
}

async fn outside(address: &str) -> Result<Value, Fail> {
    let began = Clock::start();
    let (facts, status, server) = visit(address).await?;
    Ok(json!({
        "address": address,
        "outer": outer_json(&facts),
        "get": {"status": status, "server": server},
        "seconds": began.elapsed().as_secs_f64(),
    }))
}

async fn inside(args: &ProbeArgs) -> Result<Value, Fail> {
    let mut dialling = name::dialling(&args.target, &args.peer).await?;
    let began = Clock::start();
    let session = dialling.direct_session().await?;
    let setup = began.elapsed();
    dialling.reached();
    let rtt = session.ping().await?;
    let facts = session.facts().await?;
    let ids: serde_json::Map<String, Value> = facts
        .ids
        .iter()
        .map(|(k, v)| (k.clone(), Value::from(v.as_str())))
        .collect();
    let template = if facts.template == [0; 32] {
        Value::Null
    } else {
        hex(&facts.template).into()
    };
    let out = json!({
        "name": Name::from(session.peer().node_id()).to_string(),
        "peer_id": session.peer().peer_id().to_string(),
        "outer": outer_json(session.outer()),
        "session": {
            "noise": "Noise_XK_25519_ChaChaPoly_SHA256",
            "pq": if facts.pq { Value::from("ML-KEM-768") } else { Value::Null },
            "aead": facts.aead,
            "transcript": hex(&facts.transcript),
        },
        "ids": ids,
        "features": facts.features,
        "template": template,
        "rtt_ms": millis(rtt),
        "setup_ms": millis(setup),
    });
    session.close().await;
    Ok(out)
}

/// Prints facts as `outer.tls  TLSv1_3`, one per line.
fn print_facts(prefix: &str, value: &Value) {
    match value {
        Value::Object(map) => {
            for (k, v) in map {
                let key = if prefix.is_empty() {
                    k.clone()
                } else {
                    format!("{prefix}.{k}")
                };
                print_facts(&key, v);
            }
        }
        Value::String(s) => say!("{prefix:18} {s}"),
        Value::Null => say!("{prefix:18} none"),
        other => say!("{prefix:18} {other}"),
    }
}
