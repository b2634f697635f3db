//! Claims: an owner makes one, signers sign it one after the other, and the ledger takes it.

use std::path::Path;
use std::time::Duration;

use betanet_keys::{Identity, Name};
use betanet_naming::signer::{Refusal, Signer};
use betanet_naming::{AliasRecord, Finalized, Look, Status};
use betanet_naming_service::client::{self, Trust};
use betanet_naming_service::{CLAIM_MAX, Claim, ClientError};
use betanet_runtime::load_identity;
use betanet_store::disk;
use betanet_wire::{Code, text::hex};
use serde_json::{Value, json};

use super::ledgers::{Ledgers, nodes, of_node};
use super::memory::MemoryFile;
use super::{alias, genesis, now_ms};
use crate::Fail;
use crate::args::{ClaimArgs, PublishArgs, SignNameArgs};
use crate::id::default_key;

/// Time between two looks whether a record is final.
const LOOK: Duration = Duration::from_millis(500);

pub(super) fn read(file: &Path) -> Result<Claim, Fail> {
    let bytes = disk::read_bounded(file, CLAIM_MAX as u64).map_err(Fail::file(file))?;
    Claim::from_bytes(&bytes).map_err(|e| Fail::Local(format!("{}: {e}", file.display())))
}

fn write(file: &Path, claim: &Claim) -> Result<(), Fail> {
    disk::write_shared(file, claim.to_bytes()).map_err(Fail::file(file))
}

pub(super) async fn claim(args: &ClaimArgs) -> Result<(), Fail> {
    let alias = alias(&args.alias)?;
    warn(&alias);
    let key = args.ledger.dial.key.clone().unwrap_or_else(default_key);
    let owner = load_identity(&key)?;
    let name = Name::from(owner.public().node_id());
    if let Some(text) = &args.node {
        let node: Name = text
            .parse()
            .map_err(|e| Fail::Usage(format!("--node {text}: {e}")))?;
        if node != name {
            let why = format!("the key is that of {name}: only a node's own key can claim for it");
            return Err(Fail::Usage(format!("--node {text}: {why}")));
        }
    }
    let mut claim = Claim {
        record: Finalized::new(
            AliasRecord::bind(alias.clone(), &owner, 1, now_ms()),
            owner.public(),
        ),
        history: Vec::new(),
        rotations: Vec::new(),
    };
    let asks = !args.ledger.from.is_empty() || args.ledger.dial.network.is_some();
    let mut seq = args.seq;
    if asks {
        let mut dial = args.ledger.clone();
        // The key is that of the claim, and not one to be shown.
        dial.dial.key = None;
        let mut ledgers = Ledgers::open(&dial).await?;
        let asked = history(&mut ledgers, &alias).await;
        claim.rotations = ledgers.trust.rotations().to_vec();
        ledgers.close().await;
        claim.history = asked?;
        let trust = genesis(
            args.ledger.trust.signers.as_deref(),
            dial.dial.network.as_deref(),
        )?;
        let ledger = claim.ledger(&trust);
        let ledger = ledger.map_err(|e| Fail::Peer(format!("the ledger's answer: {e}")))?;
        seq = seq.or_else(|| ledger.last_seq(&alias).checked_add(1));
    }
    let (seq, ts) = (seq.unwrap_or(1), now_ms());
    let mut record = match args.retire {
        true => AliasRecord::retire(alias.clone(), &owner, seq, ts),
        false => AliasRecord::bind(alias.clone(), &owner, seq, ts),
    };
    if let Some(file) = &args.prev_key {
        record = record.moved_by(&load_identity(file)?);
    }
    claim.record = Finalized::new(record, owner.public());
    write(&args.output, &claim)?;
    told(&claim, args.json, &args.output, None);
    Ok(())
}

/// Proofs of an alias's records, from the node that has the newest.
async fn history(
    ledgers: &mut Ledgers,
    alias: &betanet_naming::Alias,
) -> Result<Vec<betanet_naming::Proof>, Fail> {
    let (mut best, mut last) = (None, Fail::Peer("no ledger node answered".into()));
    for node in ledgers.nodes.clone() {
        let bytes = match ledgers.get(&node, client::history_request(alias)).await {
            Ok(bytes) => bytes,
            Err(fail) => {
                last = fail;
                continue;
            }
        };
        match client::history(&bytes, alias, &mut ledgers.trust) {
            Ok(list) => {
                let seq = list.first().map_or(0, |(f, _)| f.record().seq);
                if best.as_ref().is_none_or(|(known, _)| *known < seq) {
                    best = Some((seq, list));
                }
            }
            Err(error) => last = of_node(&node, &error),
        }
    }
    let (_, list) = best.ok_or(last)?;
    Ok(list.into_iter().map(|(_, proof)| proof).collect())
}

pub(super) fn warn(alias: &betanet_naming::Alias) {
    let look = Look::of(alias);
    if look.mixed {
        note!(
            "warning: {alias}: a label mixes scripts: {}",
            look.scripts.join(", ")
        );
    }
    if let Some(like) = &look.like_ascii {
        note!(
            "warning: {alias} ({}) can be taken for {like}",
            alias.to_unicode()
        );
    }
}

/// What a claim says, as JSON.
pub(super) fn facts(finalized: &Finalized) -> Value {
    let record = finalized.record();
    let look = Look::of(&record.alias);
    json!({
        "alias": record.alias.as_str(),
        "unicode": record.alias.to_unicode(),
        "scripts": look.scripts,
        "mixed_scripts": look.mixed,
        "looks_like": look.like_ascii,
        "node": Name::from(finalized.owner()).to_string(),
        "from": finalized.giver().map(|n| Name::from(n).to_string()),
        "retires": record.is_retirement(),
        "seq": record.seq,
        "ts_ms": record.ts,
        "digest": hex(&finalized.digest()),
    })
}

fn told(claim: &Claim, as_json: bool, file: &Path, signer: Option<&Identity>) {
    let finalized = &claim.record;
    if as_json {
        let mut value = facts(finalized);
        value["file"] = json!(file.display().to_string());
        let signers = finalized.signatures().iter().map(|s| hex(&s.signer));
        value["signed_by"] = json!(signers.collect::<Vec<_>>());
        say!("{value}");
        return;
    }
    let record = finalized.record();
    let node = Name::from(finalized.owner());
    let what = match (record.is_retirement(), finalized.giver()) {
        (true, _) => format!("{node} retires {}", record.alias),
        (false, Some(from)) => {
            format!("{} moves from {} to {node}", record.alias, Name::from(from))
        }
        (false, None) => format!("a record of {} for {node}", record.alias),
    };
    say!("{what}");
    say!("unicode    {}", record.alias.to_unicode());
    say!("scripts    {}", Look::of(&record.alias).scripts.join(", "));
    say!("seq        {}", record.seq);
    say!("time       {} ms", record.ts);
    say!("signatures {}", finalized.signatures().len());
    if let Some(signer) = signer {
        say!("signed by  {}", signer.public());
    }
    say!("file       {}", file.display());
}

pub(super) fn sign(args: &SignNameArgs) -> Result<(), Fail> {
    let mut claim = read(&args.file)?;
    let genesis = genesis(
        args.offline.trust.signers.as_deref(),
        args.offline.network.as_deref(),
    )?;
    let ledger = claim.ledger(&genesis);
    let ledger = ledger.map_err(|e| Fail::Local(format!("{}: {e}", args.file.display())))?;
    let identity = load_identity(&args.signer)?;
    let mut held = MemoryFile::open(&args.memory, args.new_memory, identity.public())?;
    warn(claim.alias());
    let mut signer = Signer::new(identity.clone(), held.take());
    let pending = signer
        .sign_record(now_ms(), &ledger, &claim.record)
        .map_err(|why| refused(args, why))?;
    // The memory is on the disk before the signature leaves.
    held.write(signer.memory())?;
    claim.record.add(pending.stored());
    write(&args.file, &claim)?;
    told(&claim, args.offline.json, &args.file, Some(&identity));
    Ok(())
}

fn refused(args: &SignNameArgs, why: Refusal) -> Fail {
    match why {
        Refusal::NotSigner => Fail::Usage(format!("{}: {why}", args.signer.display())),
        _ => Fail::Local(format!("{}: not signed: {why}", args.file.display())),
    }
}

pub(super) async fn publish(args: &PublishArgs) -> Result<(), Fail> {
    let claim = read(&args.file)?;
    let genesis = genesis(args.trust.signers.as_deref(), args.dial.network.as_deref())?;
    let mut trust = Trust::new(&genesis);
    let followed = trust.follow(claim.rotations.iter().map(AsRef::as_ref));
    followed.map_err(|e| Fail::Local(format!("{}: {e}", args.file.display())))?;
    if let Some(signers) = trust.sets().last()
        && let Err(why) = claim.record.check(signers)
    {
        let more = "; betanet name sign adds signatures";
        return Err(Fail::Local(format!("{}: {why}{more}", args.file.display())));
    }
    let mut dial = args.dial.clone();
    dial.key = None;
    let nodes = nodes(&args.to, "--to", &dial).await?;
    let mut ledgers = Ledgers::new(nodes, trust, &dial, "--to")?;
    let done = give(&mut ledgers, &claim, args).await;
    ledgers.close().await;
    done
}

async fn give(ledgers: &mut Ledgers, claim: &Claim, args: &PublishArgs) -> Result<(), Fail> {
    let record = claim.record.to_bytes();
    let (mut taken, mut last) = (false, Fail::Peer("no ledger node answered".into()));
    for node in ledgers.nodes.clone() {
        let request = client::submit_request(&record);
        match ledgers.ask(&node, request, Some(record.clone())).await {
            Ok(Ok(_)) => taken = true,
            // It may be final already: the next question tells.
            Ok(Err(ClientError::Refused(refusal))) if refusal.code == Code::ALIAS_SEQ_REPLAY => {
                last = of_node(&node, &ClientError::Refused(refusal));
            }
            Ok(Err(error)) => {
                last = of_node(&node, &error);
                note!("note: {}", last.why());
            }
            Err(fail) => {
                note!("note: {}", fail.why());
                last = fail;
            }
        }
    }
    let alias = claim.alias();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(args.wait);
    loop {
        let found = ledgers.resolve(alias).await;
        if let Ok((found, node)) = &found
            && let Some((latest, proof)) = &found.latest
            && latest.digest() == claim.record.digest()
        {
            if args.json {
                let mut value = facts(latest);
                value["final"] = json!(true);
                value["index"] = json!(proof.index());
                value["size"] = json!(proof.head().head().size);
                say!("{value}");
            } else {
                say!(
                    "{alias} is final: record {} of {node}'s ledger",
                    proof.index()
                );
            }
            if found.status == Status::Conflicted {
                return Err(Fail::Peer(format!(
                    "{alias} is conflicted: signers made two records of this seq final"
                )));
            }
            return Ok(());
        }
        if !taken {
            return Err(last);
        }
        if args.wait == 0 {
            if args.json {
                let mut value = facts(&claim.record);
                value["final"] = json!(false);
                say!("{value}");
            } else {
                say!("{alias} waits for a head of the ledger");
            }
            return Ok(());
        }
        if tokio::time::Instant::now() >= deadline {
            let why = format!(
                "{alias} is not final after {} s: it may become so until 10 minutes after its making",
                args.wait
            );
            return Err(Fail::Peer(why));
        }
        tokio::time::sleep(LOOK).await;
    }
}
