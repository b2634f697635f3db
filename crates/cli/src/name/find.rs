//! Aliases as targets of other commands: resolved, verified, and remembered for a while.

use betanet_keys::Name;
use betanet_naming::{Alias, Proof};
use betanet_naming_service::client::{Trust, condition};
use betanet_runtime::{SharedFolder, StorageKind};
use betanet_store::entry_name;
use betanet_wire::{cbor, message};
use bytes::Bytes;

use super::claim::warn;
use super::ledgers::Ledgers;
use super::show::nowhere;
use super::{genesis, now_ms};
use crate::Fail;
use crate::args::{DialArgs, LedgerArgs, PeerArgs, TrustArgs};
use crate::fail::interruptible;
use crate::state;
use crate::target::{Dialling, Url, is_alias};

/// Time for which a proof is used without asking again: an hour.
const FRESH_MS: u64 = 3600 * 1000;
/// Kind of the file of a remembered alias.
const KIND: StorageKind = StorageKind::new("alias", 1);

message! {
    struct Kept<'a> {
        req "at" at: u64,
        req "rots" rotations: Vec<&'a [u8]>,
        req "proof" proof: &'a [u8],
    }
}

/// Parses a URL like [`Url::parse`], and also takes `bar://ALIAS/path`: the alias is resolved by the network's ledger.
pub(crate) async fn url(text: &str, dial: &DialArgs) -> Result<Url, Fail> {
    let who = text.strip_prefix("bar://").unwrap_or_default();
    let end = who.find(['/', '?', '#']).unwrap_or(who.len());
    let (who, path) = who.split_at(end);
    if !is_alias(who) {
        return Url::parse(text);
    }
    let name = interruptible(found(who, dial)).await?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(Url {
        name,
        peer: None,
        target: format!("{slash}{path}"),
    })
}

/// Finds the peer of a name, a peer string, or an alias, which the network's ledger resolves.
pub(crate) async fn dialling(text: &str, args: &PeerArgs) -> Result<Dialling, Fail> {
    if args.dial.mix.is_none() && is_alias(text) {
        let name = interruptible(found(text, &args.dial)).await?;
        return Dialling::to_name(name, args);
    }
    Dialling::to_text(text, args)
}

/// The node that an alias leads to now. It is told, with a warning where the alias mixes scripts.
async fn found(text: &str, dial: &DialArgs) -> Result<Name, Fail> {
    let alias: Alias = text.parse().map_err(|why| {
        Fail::Usage(format!(
            "{text}: neither a name, nor a peer string, nor an alias: {why}"
        ))
    })?;
    let Some(network) = &dial.network else {
        return Err(Fail::Usage(format!(
            "{text} is an alias: name the network whose ledger resolves it, --network NETWORK.toml"
        )));
    };
    warn(&alias);
    let trust = Trust::new(&genesis(None, Some(network))?);
    let folder = state::folder(dial.state.as_deref());
    let entry = entry_name("alias-", alias.as_str());
    if let Some(name) = remembered(&folder, &entry, &alias, trust.clone()) {
        note!("{alias} is {name}");
        return Ok(name);
    }
    let mut dial = dial.clone();
    // The ledger nodes are asked directly or over the mix, not over the peer's path.
    (dial.key, dial.via, dial.path) = (None, Vec::new(), None);
    let args = LedgerArgs {
        from: Vec::new(),
        trust: TrustArgs { signers: None },
        dial,
    };
    let mut ledgers = Ledgers::open(&args)?;
    let asked = ledgers.resolve(&alias).await;
    let rotations = ledgers.trust.rotations().to_vec();
    ledgers.close().await;
    let (resolved, _) = asked?;
    if let Some(fail) = nowhere(alias.as_str(), &resolved) {
        return Err(fail);
    }
    let node = resolved.node();
    let node = node.ok_or_else(|| Fail::Peer(format!("{alias}: the alias leads nowhere")))?;
    if let Some((_, proof)) = &resolved.latest {
        remember(&folder, &entry, proof, &rotations);
    }
    let name = Name::from(node);
    note!("{alias} is {name}");
    Ok(name)
}

/// The node of a proof that is at most an hour old. It is verified again: the file may be somebody else's.
fn remembered(folder: &SharedFolder, entry: &str, alias: &Alias, mut trust: Trust) -> Option<Name> {
    let loaded = folder.load(KIND, entry).ok().flatten()?;
    let kept: Kept<'_> = cbor::from_slice(&loaded.bytes).ok()?;
    let now = now_ms();
    if now.checked_sub(kept.at).is_none_or(|age| age >= FRESH_MS) {
        return None;
    }
    trust.follow(kept.rotations.iter().copied()).ok()?;
    let proof = Proof::from_bytes(kept.proof).ok()?;
    let finalized = trust.verify(&proof, Some(alias)).ok()?;
    let bound = condition(&finalized, now) == betanet_naming::Status::Bound;
    bound.then(|| Name::from(finalized.record().node))
}

fn remember(folder: &SharedFolder, entry: &str, proof: &Proof, rotations: &[Bytes]) {
    let bytes = cbor::to_vec(&Kept {
        at: now_ms(),
        rotations: rotations.iter().map(AsRef::as_ref).collect(),
        proof: &proof.to_bytes(),
    });
    if let Err(error) = folder.replace(KIND, entry, &bytes) {
        note!("note: the alias is not remembered: {error}");
    }
}
