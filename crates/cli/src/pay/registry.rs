//! Keysets in the network's ledger of names: signed by its maintainers, final there, and proven to whoever learns them.

use std::path::Path;

use betanet_keys::{Common, Envelope, Maintainers};
use betanet_machine::Rng;
use betanet_naming_service::client::Trust;
use betanet_store::disk;
use betanet_vouchers::{Keyset, KeysetId};
use betanet_wire::{cbor, message};
use serde_json::json;

use super::purse;
use crate::args::{DialArgs, PublishKeysetArgs};
use crate::name::{Ledgers, genesis_of, nodes};
use crate::{Fail, registry};

/// Type of the record.
const PAYMENT: &str = "PaymentRegistry";
/// Longest record's file and keyset.
const FILE_MAX: u64 = 1 << 20;

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

/// The record in a file, or a new one of a keyset.
fn record(args: &PublishKeysetArgs, list: &Maintainers, rng: &mut Rng) -> Result<Envelope, Fail> {
    let wrong = |file: &Path, why: &dyn std::fmt::Display| {
        Fail::Usage(format!("{}: {why}", file.display()))
    };
    if args.record.file.exists() {
        let bytes = disk::read_bounded(&args.record.file, FILE_MAX)
            .map_err(Fail::file(&args.record.file))?;
        let envelope = Envelope::from_bytes(&bytes).map_err(|e| wrong(&args.record.file, &e))?;
        let keyset =
            keyset_of(envelope.record(), rng).map_err(|why| wrong(&args.record.file, &why))?;
        if let Some(file) = &args.keyset {
            let other = disk::read_bounded(file, FILE_MAX).map_err(Fail::file(file))?;
            if other != keyset.as_bytes() {
                return Err(wrong(
                    &args.record.file,
                    &"it is the record of another keyset",
                ));
            }
        }
        return Ok(envelope);
    }
    let Some(file) = &args.keyset else {
        let why = "there is no such file yet: make it with --keyset KEYSET";
        return Err(wrong(&args.record.file, &why));
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
    let (file, network) = registry::network(&args.record.dial)?;
    let list = Maintainers::new(&network.maintainers);
    let mut rng = rng()?;
    let mut envelope = record(args, &list, &mut rng)?;
    let keyset = keyset_of(envelope.record(), &mut rng).map_err(Fail::Local)?;
    let signed = registry::sign(&mut envelope, &network, &args.record)?;
    let (id, needed) = (keyset.id(), list.threshold());
    let is_final = signed >= needed;
    if is_final {
        let read = |found: &Envelope| keyset_of(found.record(), &mut rng).map(Some);
        let subject = (PAYMENT, &id.0[..]);
        registry::give(&envelope, subject, (file, &network), &args.record, read).await?;
    }
    if args.record.json {
        say!(
            "{}",
            json!({ "keyset": id.to_string(), "signed": signed, "needed": needed, "final": is_final })
        );
    } else if is_final {
        say!("keyset {id} is final in the ledger of names");
    } else {
        say!("keyset {id}: {signed} of {needed} maintainers signed the record");
        say!("give {} to others of them", args.record.file.display());
    }
    Ok(())
}

/// The keyset with this ID that a node of the ledger proves; `None` if those that answer have none.
async fn stands(ledgers: &mut Ledgers, id: &KeysetId) -> Result<Option<Keyset>, Fail> {
    let mut rng = rng()?;
    let mut read = |found: &Envelope| keyset_of(found.record(), &mut rng).map(Some);
    registry::stands(ledgers, (PAYMENT, &id.0), &mut read).await
}

/// The IDs of those keysets that the ledger of names proves, in hex.
pub(super) async fn proven(keysets: &[Keyset], dial: &DialArgs) -> Result<Vec<String>, Fail> {
    let (file, network) = registry::network(dial)?;
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
