//! Front origins: their templates, and the records that maintainers sign.

use std::time::Duration;

use betanet_carrier::disk::write_shared;
use betanet_keys::{Envelope, Maintainers};
use betanet_runtime::{
    Clock, Error, FrontRecord, Network, Profile, Templates, Trust, calibrate_origin, load_identity,
};
use betanet_wire::text::{hex, unhex, unhex_array};
use serde_json::json;

use crate::Fail;
use crate::args::{CalibrateArgs, RecordArgs, SignArgs};
use crate::state;

const DAY_MS: u64 = 24 * 3600 * 1000;

pub(super) async fn calibrate(args: CalibrateArgs) -> Result<(), Fail> {
    let trust = match &args.pin {
        Some(pin) => Trust::Pin(
            unhex_array(pin).ok_or_else(|| Fail::Usage(format!("--pin {pin}: 64 hex digits")))?,
        ),
        None => Trust::web_pki(),
    };
    let templates = Templates::new(state::folder(args.state.as_deref()).folder()).ok_or_else(|| {
        let why = "this build looks like no browser, and has no client shape to make a template of; build it with --features mimic";
        Fail::Usage(why.into())
    })?;
    let idle = Duration::from_secs(args.idle);
    let again = args.refresh || args.idle > 0;
    let found = calibrate_origin(&templates, &args.origin, &trust, again, idle).await?;
    let template = &found.template;
    let settings = template.origin_h2.clone().unwrap_or_default();
    let id = hex(&template.id());
    if args.json {
        let asked = found
            .asked
            .map(|(path, status)| json!({"path": path, "status": status}));
        let facts = json!({
            "template_id": id,
            "origin_alpn": template.origin_alpn,
            "origin_h2": settings.0.iter().map(|(k, v)| (k.to_string(), json!(v))).collect::<serde_json::Map<_, _>>(),
            "ping_ms": template.ping_ms,
            "fetched_ms": found.fetched_ms,
            "fresh": found.fresh,
            "changed": found.changed,
            "asked": asked,
            "map": hex(&template.to_bytes()),
        });
        say!("{facts}");
    } else {
        say!("TemplateID  {id}");
        say!("selects     {}", template.origin_alpn);
        // Over QUIC, neither is visible.
        if template.origin_h2.is_some() {
            let list: Vec<String> = settings.0.iter().map(|(k, v)| format!("{k}={v}")).collect();
            say!("SETTINGS    {}", list.join(" "));
            match template.ping_ms {
                0 => say!("PING        none seen"),
                ms => say!("PING        every {ms} ms"),
            }
        }
        match found.asked {
            Some((path, status)) => say!("asked       {path}: {status}"),
            None => say!("asked       not now: it was looked at within a day"),
        }
        if found.changed {
            say!("changed     the origin's half is another one than before");
        }
    }
    Ok(())
}

pub(super) fn record(args: &RecordArgs) -> Result<(), Fail> {
    let template = unhex_array(&args.template)
        .ok_or_else(|| Fail::Usage(format!("{}: a TemplateID is 64 hex digits", args.template)))?;
    let network = Network::read(&args.network).map_err(Error::from)?;
    let front = FrontRecord {
        template,
        seq: args.seq,
        expiry: Clock::start().now().unix_ms + args.days * DAY_MS,
        host_pattern: args.host_pattern.to_lowercase(),
        profile: Profile::of_name(&args.profile.to_uppercase()).unwrap_or_default(),
    };
    let record = front.record(&Maintainers::new(&network.maintainers));
    let envelope = Envelope::new(record).map_err(|e| Fail::Local(e.to_string()))?;
    say!("{}", hex(&envelope.to_bytes()));
    Ok(())
}

pub(super) fn sign(args: &SignArgs) -> Result<(), Fail> {
    let name = args.record.display();
    let text = std::fs::read_to_string(&args.record).map_err(Fail::file(&args.record))?;
    let bytes = unhex(text.trim()).ok_or_else(|| Fail::Local(format!("{name}: not hex digits")))?;
    let mut envelope =
        Envelope::from_bytes(&bytes).map_err(|e| Fail::Local(format!("{name}: {e}")))?;
    envelope.sign(&load_identity(&args.key)?);
    let text = hex(&envelope.to_bytes()) + "\n";
    write_shared(&args.record, text).map_err(Fail::file(&args.record))?;
    say!("{} signatures", envelope.signatures());
    Ok(())
}
