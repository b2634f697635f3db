//! Keysets in the network's ledger of names: signed by its maintainers, final there, and proven to whoever learns them.

use std::path::Path;
use std::time::Duration;

use betanet_keys::{Common, Envelope, Maintainers};
use betanet_machine::Rng;
use betanet_naming_service::client::{self, Trust};
use betanet_runtime::{Error, Network, load_identity};
use betanet_store::disk;
use betanet_vouchers::{Keyset, KeysetId};
use betanet_wire::{cbor, message};
use serde_json::json;
use tokio::time::Instant;

use super::purse;
use crate::Fail;
use crate::args::{DialArgs, PublishKeysetArgs};
use crate::name::{Ledgers, genesis_of, nodes};

/// Type of the record.
const PAYMENT: &str = "PaymentRegistry";
/// Longest record's file and keyset.
const FILE_MAX: u64 = 1 << 20;
/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);

message! {
    /// A keyset's record: its key is the keyset's ID.
    struct Form<'a> {
        req "key" key: &'a [u8],
        req "seq" seq: u64,
        req "list" list: [u8; 32],
        req "type" ty: &'a str,
        req "keyset" keyset: &'a [u8],
    }
}

/// The keyset of a record, checked.
fn keyset_of(record: &[u8], rng: &mut Rng) -> Result<Keyset, String> {
    let common: Common<'_> = cbor::from_slice(record).map_err(|e| e.to_string())?;
    if common.ty != PAYMENT {
        return Err(format!("it is no record of type {PAYMENT}"));
    }
    let form: Form<'_> = cbor::from_slice(record).map_err(|e| e.to_string())?;
    let keyset = Keyset::check(form.keyset, rng).map_err(|e| e.to_string())?;
    match form.key == keyset.id().0 {
        true => Ok(keyset),
        false => Err("its key is not the ID of its keyset".to_owned()),
    }
}

fn rng() -> Result<Rng, Fail> {
    let seed = betanet_runtime::seed().map_err(|e| Fail::Local(e.to_string()))?;
    Ok(Rng::new(&seed))
}

fn network(dial: &DialArgs) -> Result<(&Path, Network), Fail> {
    let Some(file) = &dial.network else {
        let why = "the ledger of names needs the keys of its network: --network NETWORK.toml";
        return Err(Fail::Usage(why.to_owned()));
    };
    Ok((file.as_path(), Network::read(file).map_err(Error::from)?))
}

/// The record in a file, or a new one of a keyset.
fn record(args: &PublishKeysetArgs, list: &Maintainers, rng: &mut Rng) -> Result<Envelope, Fail> {
    let wrong = |file: &Path, why: &dyn std::fmt::Display| {
        Fail::Usage(format!("{}: {why}", file.display()))
    };
    if args.file.exists() {
        let bytes = disk::read_bounded(&args.file, FILE_MAX).map_err(Fail::file(&args.file))?;
        let envelope = Envelope::from_bytes(&bytes).map_err(|e| wrong(&args.file, &e))?;
        let keyset = keyset_of(envelope.record(), rng).map_err(|why| wrong(&args.file, &why))?;
        if let Some(file) = &args.keyset {
            let other = disk::read_bounded(file, FILE_MAX).map_err(Fail::file(file))?;
            if other != keyset.as_bytes() {
                return Err(wrong(&args.file, &"it is the record of another keyset"));
            }
        }
        return Ok(envelope);
    }
    let Some(file) = &args.keyset else {
        let why = "there is no such file yet: make it with --keyset KEYSET";
        return Err(wrong(&args.file, &why));
    };
    let bytes = disk::read_bounded(file, FILE_MAX).map_err(Fail::file(file))?;
    let keyset = Keyset::check(&bytes, rng).map_err(|e| wrong(file, &e))?;
    let record = cbor::to_vec(&Form {
        key: &keyset.id().0,
        seq: 0,
        list: list.hash(),
        ty: PAYMENT,
        keyset: keyset.as_bytes(),
    });
    Envelope::new(record).map_err(|e| wrong(file, &e))
}

pub(super) async fn publish(args: &PublishKeysetArgs) -> Result<(), Fail> {
    let (file, network) = network(&args.dial)?;
    let list = Maintainers::new(&network.maintainers);
    let mut rng = rng()?;
    let mut envelope = record(args, &list, &mut rng)?;
    let keyset = keyset_of(envelope.record(), &mut rng).map_err(Fail::Local)?;
    for path in &args.maintainer {
        let key = load_identity(path).map_err(Error::from)?;
        if !network.maintainers.contains(key.public()) {
            let why = format!("{}: the network does not list this key", path.display());
            return Err(Fail::Usage(why));
        }
        envelope.sign(&key);
    }
    let signed = envelope
        .clean(&list)
        .map_err(|e| Fail::Local(e.to_string()))?;
    let bytes = envelope.to_bytes();
    disk::write_shared(&args.file, &bytes).map_err(Fail::file(&args.file))?;
    let id = keyset.id().to_string();
    let needed = list.threshold();
    if signed < needed {
        if args.json {
            say!(
                "{}",
                json!({ "keyset": id, "signed": signed, "needed": needed, "final": false })
            );
        } else {
            say!("keyset {id}: {signed} of {needed} maintainers signed the record");
            say!("give {} to others of them", args.file.display());
        }
        return Ok(());
    }
    let genesis = genesis_of(&network, file)?;
    let nodes = nodes(&args.to, "--to", &args.dial).await?;
    let mut ledgers = Ledgers::new(nodes, Trust::new(&genesis), &args.dial, "--to")?;
    let given = give(&mut ledgers, &bytes, &keyset, args.wait).await;
    ledgers.close().await;
    given?;
    if args.json {
        say!(
            "{}",
            json!({ "keyset": id, "signed": signed, "needed": needed, "final": true })
        );
    } else {
        say!("keyset {id} is final in the ledger of names");
    }
    Ok(())
}

/// Gives a record to the nodes, and waits until it is final.
async fn give(
    ledgers: &mut Ledgers,
    record: &[u8],
    keyset: &Keyset,
    wait: u64,
) -> Result<(), Fail> {
    let (mut taken, mut last) = (false, Fail::Peer("no ledger node answered".into()));
    for node in ledgers.nodes.clone() {
        let request = client::submit_request(record);
        match ledgers.ask(&node, request, Some(record.to_vec())).await {
            Ok(Ok(_)) => taken = true,
            // It may be final already: the next question tells.
            Ok(Err(error)) => last = Fail::Peer(format!("{}: {error}", node.0)),
            Err(fail) => last = fail,
        }
    }
    let deadline = Instant::now() + Duration::from_secs(wait);
    loop {
        if stands(ledgers, &keyset.id()).await?.is_some() {
            return Ok(());
        }
        if !taken {
            return Err(last);
        }
        if Instant::now() >= deadline {
            let why = format!("the record waits for a head of the ledger since {wait} s");
            return Err(Fail::Peer(why));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The keyset with this ID that a node of the ledger proves; `None` if those that answer have none.
async fn stands(ledgers: &mut Ledgers, id: &KeysetId) -> Result<Option<Keyset>, Fail> {
    let mut rng = rng()?;
    let (mut failed, mut answered) = (None, false);
    for node in ledgers.nodes.clone() {
        let request = client::registry_request(PAYMENT, &id.0);
        let found = match ledgers.get(&node, request).await {
            Ok(bytes) => client::registered(&bytes, (PAYMENT, &id.0), &mut ledgers.trust)
                .map_err(|e| e.to_string())
                .and_then(|found| {
                    let read = found.map(|envelope| keyset_of(envelope.record(), &mut rng));
                    read.transpose()
                })
                .map_err(|why| Fail::Peer(format!("{}: {why}", node.0))),
            Err(fail) => Err(fail),
        };
        match found {
            Ok(Some(keyset)) => return Ok(Some(keyset)),
            Ok(None) => answered = true,
            Err(fail) => failed = Some(fail),
        }
    }
    match failed {
        Some(fail) if !answered => Err(fail),
        _ => Ok(None),
    }
}

/// The IDs of those keysets that the ledger of names proves, in hex.
pub(super) async fn proven(keysets: &[Keyset], dial: &DialArgs) -> Result<Vec<String>, Fail> {
    let (file, network) = network(dial)?;
    let trust = Trust::new(&genesis_of(&network, file)?);
    let nodes = nodes(&[], "--network", dial).await?;
    let mut ledgers = Ledgers::new(nodes, trust, dial, "--network")?;
    let mut all = Vec::new();
    let mut failed = None;
    for keyset in keysets {
        match stands(&mut ledgers, &keyset.id()).await {
            Ok(Some(found)) if found.as_bytes() == keyset.as_bytes() => {
                all.push(keyset.id().to_string());
            }
            Ok(_) => {}
            Err(fail) => failed = Some(fail),
        }
    }
    ledgers.close().await;
    match (all.is_empty(), failed) {
        (false, _) => Ok(all),
        (true, Some(fail)) => Err(fail),
        (true, None) => {
            let why = "the ledger of names has no record of a keyset that these mints offer";
            Err(Fail::Peer(why.to_owned()))
        }
    }
}

/// Keysets that mints offer, before any is learnt.
pub(super) async fn offered(
    net: &mut super::Net,
    mints: &[String],
    rng: &mut Rng,
) -> Result<Vec<Keyset>, Fail> {
    let mut all: Vec<Keyset> = Vec::new();
    for text in mints {
        for keyset in net.keysets(&purse::mint(text)?, rng).await? {
            if all.iter().all(|k| k.id() != keyset.id()) {
                all.push(keyset);
            }
        }
    }
    Ok(all)
}
