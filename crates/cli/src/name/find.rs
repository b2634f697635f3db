//! Aliases as targets of other commands: resolved, verified, and remembered for a while.

use std::sync::Arc;

use betanet_keys::Name;
use betanet_naming::{Alias, Entry, Proof};
use betanet_naming_service::client::{Resolved, Trust, condition};
use betanet_runtime::{Error, Node, Peer, SharedFolder, StorageKind};
use betanet_store::{Storage as _, entry_name};
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
use crate::target::{Dialling, Joined, PATIENCE, Url, is_alias, open_book, read_peer};

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

/// Puts names in place of aliases, which the network's ledger resolves. Other texts stay as they are.
pub(crate) async fn named(
    texts: impl IntoIterator<Item = &mut String>,
    dial: &DialArgs,
) -> Result<(), Fail> {
    for text in texts {
        if is_alias(text.trim()) {
            let name = interruptible(found(text.trim(), dial)).await?;
            *text = name.to_string();
        }
    }
    Ok(())
}

/// Puts the peers of relays in place of their aliases.
pub(crate) async fn relays(dial: &mut DialArgs) -> Result<(), Fail> {
    let asks = dial.clone();
    for text in dial.via.iter_mut().filter(|text| is_alias(text.trim())) {
        *text = peer("--via", text, &asks).await?.packed();
    }
    Ok(())
}

/// Whether text can name a peer: a peer string, a name, or an alias.
pub(crate) fn is_place(text: &str) -> bool {
    let text = text.trim();
    text.parse::<Peer>().is_ok() || is_named(text)
}

/// Whether text is a name or an alias: the address is elsewhere.
pub(crate) fn is_named(text: &str) -> bool {
    text.parse::<Name>().is_ok() || is_alias(text)
}

/// The peer of a peer string, a name, or an alias, which the network's ledger resolves. The address of a name is in the address book,
/// or is found in the network.
pub(crate) async fn peer(flag: &str, text: &str, dial: &DialArgs) -> Result<Peer, Fail> {
    let text = text.trim();
    if !is_named(text) {
        return read_peer(flag, text);
    }
    interruptible(located(flag, text, dial)).await
}

async fn located(flag: &str, text: &str, dial: &DialArgs) -> Result<Peer, Fail> {
    let name = match text.parse::<Name>() {
        Ok(name) => name,
        Err(_) => found(text, dial).await.map_err(|fail| match fail {
            Fail::Usage(why) => Fail::Usage(format!("{flag}: {why}")),
            other => other,
        })?,
    };
    if let Some(peer) = open_book(dial)?.find(name) {
        return Ok(peer);
    }
    let Some(file) = &dial.network else {
        return Err(Fail::Usage(format!(
            "{flag} {text}: {name} is not in the address book: give its peer string, or a --network that knows it"
        )));
    };
    let node = Arc::new(dial.dialling(Node::client()?)?);
    let joined = Joined::join(file, node)?;
    let ways = joined.mesh.ways_to(name, 1, &[], PATIENCE).await;
    joined.mesh.stop().await;
    joined.node.close().await;
    let way = ways.map_err(Error::from)?.pop();
    let peer = way.and_then(|mut way| way.pop());
    peer.ok_or_else(|| {
        Fail::Peer(format!(
            "{flag} {text}: the network does not know where {name} is"
        ))
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
            "{text} is an alias: name the network whose ledger resolves it, --network NETWORK.toml, or give the node's peer string, bnp1…"
        )));
    };
    warn(&alias);
    let trust = Trust::new(&genesis(None, Some(network))?);
    let folder = state::folder(dial.state.as_deref());
    let entry = entry_name("alias-", alias.as_str());
    let remembered = remembered(&folder, &entry, &alias, trust, now_ms());
    if let Some(name) = remembered.as_ref().and_then(Remembered::fresh) {
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
    let mut ledgers = Ledgers::open(&args).await?;
    if let Some(remembered) = &remembered {
        ledgers.trust = remembered.trust.clone();
    }
    let asked = ledgers.resolve(&alias).await;
    let rotations = ledgers.trust.rotations().to_vec();
    let seen_counts = remembered
        .as_ref()
        .is_some_and(|seen| ledgers.still_counts(&seen.resolved, &alias));
    ledgers.close().await;
    let (asked, _) = asked?;
    let remembered = remembered.filter(|_| seen_counts);
    let resolved = newest(remembered, asked);
    if let Some((_, proof)) = &resolved.latest {
        remember(&folder, &entry, &alias, proof, &rotations, resolved.seq());
    }
    if let Some(fail) = nowhere(alias.as_str(), &resolved) {
        return Err(fail);
    }
    let node = resolved.node();
    let node = node.ok_or_else(|| Fail::Peer(format!("{alias}: the alias leads nowhere")))?;
    let name = Name::from(node);
    note!("{alias} is {name}");
    Ok(name)
}

/// A record that was seen before, and is verified again: the file may be somebody else's.
struct Remembered {
    resolved: Resolved,
    trust: Trust,
    /// Whether it was seen within an hour.
    recent: bool,
}

impl Remembered {
    /// The node, if the ledger need not be asked.
    fn fresh(&self) -> Option<Name> {
        let node = self.resolved.node().filter(|_| self.recent);
        node.map(Name::from)
    }
}

fn remembered(
    folder: &SharedFolder,
    entry: &str,
    alias: &Alias,
    mut trust: Trust,
    now: u64,
) -> Option<Remembered> {
    let loaded = folder.load(KIND, entry).ok().flatten()?;
    let kept: Kept<'_> = cbor::from_slice(&loaded.bytes).ok()?;
    trust.follow(kept.rotations.iter().copied()).ok()?;
    let proof = Proof::from_bytes(kept.proof).ok()?;
    let finalized = trust.verify(&proof, Some(alias)).ok()?;
    trust.see(std::slice::from_ref(proof.head())).ok()?;
    let resolved = Resolved {
        status: condition(&finalized, now),
        latest: Some((finalized, proof)),
        rival: None,
        head: None,
    };
    Some(Remembered {
        resolved,
        trust,
        recent: now.checked_sub(kept.at).is_some_and(|age| age < FRESH_MS),
    })
}

/// The newer of a record that was seen before and of the ledger nodes' answer. Nodes that hide a newer record lead nobody back.
fn newest(remembered: Option<Remembered>, asked: Resolved) -> Resolved {
    let Some(Remembered {
        resolved: mut seen, ..
    }) = remembered
    else {
        return asked;
    };
    if !seen.merge(&asked) {
        return asked;
    }
    if seen.seq() > asked.seq() {
        note!(
            "warning: the ledger nodes show an older record of this alias than one seen before, which counts"
        );
    }
    seen
}

/// Keeps a proof, unless a later record is kept.
fn remember(
    folder: &SharedFolder,
    entry: &str,
    alias: &Alias,
    proof: &Proof,
    rotations: &[Bytes],
    seq: u64,
) {
    let bytes = cbor::to_vec(&Kept {
        at: now_ms(),
        rotations: rotations.iter().map(AsRef::as_ref).collect(),
        proof: &proof.to_bytes(),
    });
    // Another process may have kept one meanwhile. Whether it counts was checked when it was kept.
    let later = || {
        let loaded = folder.load(KIND, entry).ok()??;
        let kept: Kept<'_> = cbor::from_slice(&loaded.bytes).ok()?;
        let proof = Proof::from_bytes(kept.proof).ok()?;
        match Entry::from_bytes(proof.record()).ok()? {
            Entry::Alias(f) if f.record().alias == *alias => Some(f.record().seq > seq),
            _ => None,
        }
    };
    let replaced = folder.hold(|state| match later() {
        Some(true) => Ok::<_, betanet_store::Error>(()),
        _ => state.replace(KIND, entry, &bytes),
    });
    if let Err(error) = replaced {
        note!("note: the alias is not remembered: {error}");
    }
}

#[cfg(test)]
mod tests {
    use betanet_keys::Identity;
    use betanet_log::{SignedHead, Signers};
    use betanet_naming::signer::{Memory, Signer};
    use betanet_naming::{AliasRecord, DOMAIN, Finalized, Genesis, Ledger, Status};

    use super::*;

    /// Proofs of two records of an alias, of which the later leads to another node.
    fn proofs(alias: &Alias, ts: u64) -> (Genesis, [Proof; 2], [Identity; 2]) {
        let identity = |n| Identity::from_seed(&[n; 32]);
        let keys: Vec<_> = (1..=3).map(|n| *identity(n).public()).collect();
        let genesis = Genesis {
            signers: Signers::new(&keys).unwrap(),
            maintainers: Vec::new(),
        };
        let mut ledger = Ledger::new(&genesis).unwrap();
        let (old, new) = (identity(8), identity(9));
        let first = AliasRecord::bind(alias.clone(), &old, 1, ts);
        let second = AliasRecord::bind(alias.clone(), &new, 2, ts).moved_by(&old);
        let mut proofs = Vec::new();
        for (record, owner) in [(first, &old), (second, &new)] {
            let mut finalized = Finalized::new(record, owner.public());
            for n in 1..=2 {
                let mut signer = Signer::new(identity(n), Memory::default());
                // A signer without a memory signs what is next.
                let signature = signer.sign_record(ts, &ledger, &finalized).unwrap();
                finalized.add(signature.stored());
            }
            let bytes = Bytes::from(finalized.to_bytes());
            ledger.apply(ts, bytes.clone()).unwrap();
            let mut head = SignedHead::new(ledger.next_head(ts).unwrap());
            for n in 1..=2 {
                head.add(head.signature(DOMAIN, &identity(n)));
            }
            ledger.accept(head).unwrap();
            proofs.push(ledger.prove(alias, |_| Some(bytes)).unwrap());
        }
        (genesis, proofs.try_into().unwrap(), [old, new])
    }

    #[test]
    fn a_newer_record_that_was_seen_outlives_the_hour_and_older_answers() {
        let folder = tempfile::tempdir().unwrap();
        let folder = SharedFolder::new(folder.path().join("state"));
        let alias: Alias = "files.example".parse().unwrap();
        let (genesis, [first, second], [_, new]) = proofs(&alias, now_ms());
        let trust = Trust::new(&genesis);
        let read = |at| remembered(&folder, "alias-x", &alias, trust.clone(), at);
        assert!(read(now_ms()).is_none());
        remember(&folder, "alias-x", &alias, &second, &[], 2);
        let node = Name::from(new.public().node_id());
        assert_eq!(read(now_ms()).unwrap().fresh(), Some(node));
        // After an hour the ledger is asked. One that shows the record before it leads nobody back.
        let later = now_ms() + FRESH_MS + 1000;
        assert_eq!(read(later).unwrap().fresh(), None);
        let answer = |proof: &Proof| Resolved {
            status: Status::Bound,
            latest: Some((trust.verify(proof, Some(&alias)).unwrap(), proof.clone())),
            rival: None,
            head: None,
        };
        let resolved = newest(read(later), answer(&first));
        assert_eq!(
            (resolved.seq(), resolved.node()),
            (2, Some(new.public().node_id()))
        );
        let nothing = Resolved {
            status: Status::Unknown,
            latest: None,
            ..answer(&first)
        };
        assert_eq!(newest(read(later), nothing).seq(), 2);
        // Nor is the older one remembered in its place.
        remember(&folder, "alias-x", &alias, &first, &[], 1);
        assert_eq!(read(later).unwrap().resolved.seq(), 2);
        // A later record replaces an older one, as ever.
        remember(&folder, "alias-y", &alias, &first, &[], 1);
        remember(&folder, "alias-y", &alias, &second, &[], 2);
        let kept = remembered(&folder, "alias-y", &alias, trust.clone(), later);
        assert_eq!(kept.unwrap().resolved.seq(), 2);
    }
}
