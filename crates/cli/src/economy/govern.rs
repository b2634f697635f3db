//! `gov`: proposals, votes, and the guardians' brake.

mod effects;

use betanet_economy_service::rows::{Proposal, parameter, table, vote as vote_row, vote_key};
use betanet_economy_service::words::effect as effect_line;
use betanet_keys::Identity;
use betanet_runtime::{Error, NodeId, load_identity};
use betanet_tokenomics::journal::Record;
use betanet_tokenomics::records::proposal_id;
use betanet_tokenomics::request::{Effect, Op};
use betanet_tokenomics::{Code, Economy, Envelope, Request};
use betanet_wire::cbor::Error as Cbor;
use betanet_wire::text::hex;
use serde_json::{Value, json};

use super::amount::{fog, id, shown};
use super::journal::{WRONG, replay};
use super::net::{Ledger, fresh_id, identity, now_ms, signs_for, with_ledger};
use super::tokens::told;
use super::words::meaning;
use crate::Fail;
use crate::args::{ActArgs, AskArgs, BrakeArgs, ProposalArgs, ProposeArgs, VoteArgs};

/// Words of votes, by number.
const VOTES: [&str; 3] = ["against", "for", "abstain"];
/// Longest text of a proposal that is read, in bytes.
const TEXT_MAX: u64 = 1 << 20;
/// Validity of the request on the copy, in ms.
const VALID_MS: u64 = 3_600_000;

/// A vote as a word.
pub(super) fn vote_word(v: u64) -> &'static str {
    let at = usize::try_from(v).unwrap_or(usize::MAX);
    VOTES.get(at).copied().unwrap_or("unknown")
}

fn unread(error: Cbor) -> Fail {
    Fail::Peer(format!("a row of the ledger does not read: {error}"))
}

async fn submit(ask: &AskArgs, signers: &[&Identity], op: &Op, what: &str) -> Result<(), Fail> {
    let id = fresh_id()?;
    let accepted = with_ledger!(Ledger::open(&ask.books), |ledger| {
        ledger.submit(ask, signers, op, id).await
    })?;
    told(&accepted, ask.books.json, what, json!({}));
    Ok(())
}

pub(super) async fn propose(args: &ProposeArgs) -> Result<(), Fail> {
    let effects = effects::read(args)?;
    let text = match &args.text {
        Some(file) => {
            let bytes = betanet_store::disk::read_bounded(file, TEXT_MAX);
            betanet_economy_service::client::text_hash(&bytes.map_err(Fail::file(file))?)
        }
        None => [0; 32],
    };
    let op = Op::propose(effects.clone(), text);
    let me = identity(&args.ask.books.dial)?;
    let number = fresh_id()?;
    let as_json = args.ask.books.json;
    with_ledger!(Ledger::open(&args.ask.books), |ledger| {
        let lines = diff(&mut ledger, &effects).await?;
        if !as_json {
            for line in &lines {
                say!("{line}");
            }
        }
        let code = on_copy(&mut ledger, args, &me, &op, number).await?;
        if code != Code::Ok {
            let why = format!(
                "on a copy of the ledger: {}: {}",
                code.name(),
                meaning(code)
            );
            return Err(Fail::Peer(why));
        }
        if args.dry_run {
            match as_json {
                true => say!("{}", json!({ "change": lines, "accepted_on_copy": true })),
                false => say!("a copy of the ledger accepts the proposal; nothing was sent"),
            }
            return Ok(());
        }
        let accepted = ledger.submit(&args.ask, &[&me], &op, number).await?;
        let pid = hex(&proposal_id(accepted.request.body()));
        let more = json!({ "proposal": pid, "change": lines });
        told(&accepted, as_json, &format!("proposal {pid}"), more);
        Ok(())
    })
}

/// Each effect with what it replaces.
async fn diff(ledger: &mut Ledger, effects: &[Effect]) -> Result<Vec<String>, Fail> {
    let mut lines = Vec::new();
    for effect in effects {
        let before = match effect {
            Effect::Param { param, .. } => {
                let keys = [(table::PARAMETERS, param.name().as_bytes().to_vec())];
                let (_, rows) = ledger.rows(&keys).await?;
                let row = rows.first().and_then(Option::as_deref);
                row.map(parameter).transpose().map_err(unread)?
            }
            _ => None,
        };
        lines.push(effect_line(effect, before));
    }
    Ok(lines)
}

/// What a copy of the ledger says of the proposal.
async fn on_copy(
    ledger: &mut Ledger,
    args: &ProposeArgs,
    me: &Identity,
    op: &Op,
    number: [u8; 16],
) -> Result<Code, Fail> {
    let mut copy = replay(ledger, &args.ask.books, |_, _, _| ()).await?.economy;
    let account = signs_for(&args.ask, me)?;
    let by = [(account, copy.nonce(&account).unwrap_or(0))];
    let now = now_ms().max(copy.time());
    // What is due meanwhile happens first.
    while copy.tick(now).is_ok_and(|answer| answer.code == Code::Ok) {}
    let request = Request::new(&by, now + VALID_MS, number, op);
    let request = request.ok_or_else(|| Fail::Usage("a proposal has 1 to 8 effects".into()))?;
    let envelope = Envelope::sign(request, copy.genesis().id(), &[me]);
    let answer = copy.apply(now, &envelope.to_bytes());
    let answer = answer.map_err(|e| Fail::Local(format!("the clock of this machine: {e}")))?;
    Ok(answer.code)
}

fn facts(pid: &str, row: &Proposal, size: u64) -> Value {
    json!({
        "proposal": pid,
        "stage": row.word(),
        "proposer": shown(&row.proposer),
        "effects": effects::lines(&row.eff),
        "opens_ms": row.open,
        "ends_ms": row.end,
        "eta_ms": row.eta,
        "for_micro": row.yes.to_string(),
        "against_micro": row.no.to_string(),
        "abstain_micro": row.abstain.to_string(),
        "need_micro": row.need.to_string(),
        "pass_ppm": row.pass,
        "text": hex(&row.text),
        "size": size,
    })
}

pub(super) async fn show(args: &ProposalArgs) -> Result<(), Fail> {
    let pid = id(&args.proposal)?;
    let keys = [(table::PROPOSALS, pid.to_vec())];
    let (head, rows) = with_ledger!(Ledger::open(&args.books), |ledger| ledger.rows(&keys).await)?;
    let Some(row) = rows.first().and_then(Option::as_deref) else {
        let why = "there is no such proposal under the final head";
        return Err(Fail::Peer(format!("{}: {why}", args.proposal)));
    };
    let row = Proposal::read(row).map_err(unread)?;
    let size = head.head().size;
    if args.books.json {
        say!("{}", facts(&args.proposal, &row, size));
        return Ok(());
    }
    say!("proposal  {}, {}", args.proposal, row.word());
    say!("proposer  {}", shown(&row.proposer));
    for line in effects::lines(&row.eff) {
        say!("effect    {line}");
    }
    let now = now_ms();
    let at = |ms: u64| match ms.checked_sub(now) {
        Some(left) => format!("in {} min", left / 60_000),
        None => format!("{} min ago", (now - ms) / 60_000),
    };
    say!("vote      opens {}, ends {}", at(row.open), at(row.end));
    if row.eta > 0 {
        say!("execution from {}", at(row.eta));
    }
    let votes = [row.yes, row.no, row.abstain, row.need].map(|n| fog(n.into()));
    let [yes, no, abstain, need] = votes;
    say!("votes     {yes} for, {no} against, {abstain} abstain; {need} are needed");
    say!("proven    under the final head of {size} records");
    Ok(())
}

pub(super) async fn vote(args: &VoteArgs) -> Result<(), Fail> {
    let pid = id(&args.proposal)?;
    let v = VOTES.iter().position(|word| *word == args.vote);
    let v = v.map_or(0, |v| v as u64);
    let me = identity(&args.ask.books.dial)?;
    submit(&args.ask, &[&me], &Op::Vote { pid, v }, "vote taken").await
}

pub(super) async fn execute(args: &ActArgs) -> Result<(), Fail> {
    let pid = id(&args.proposal)?;
    let me = identity(&args.ask.books.dial)?;
    submit(&args.ask, &[&me], &Op::Execute { pid }, "executed").await
}

pub(super) async fn brake(args: &BrakeArgs) -> Result<(), Fail> {
    let pid = args.veto.as_deref().map(id).transpose()?;
    let mut signers = vec![identity(&args.ask.books.dial)?];
    for file in &args.guardian {
        signers.push(load_identity(file).map_err(Error::from)?);
    }
    let signers: Vec<&Identity> = signers.iter().collect();
    let what = match pid {
        Some(_) => "vetoed",
        None => "paused for three days",
    };
    submit(&args.ask, &signers, &Op::Brake { pid }, what).await
}

pub(super) async fn tally(args: &ProposalArgs) -> Result<(), Fail> {
    let pid = id(&args.proposal)?;
    let mut voters: Vec<NodeId> = Vec::new();
    let voted = |record: &Record, _: &[Code], _: &Economy| {
        let envelope = Envelope::from_bytes(&record.req);
        if let Some(envelope) = envelope
            && matches!(&envelope.request.op, Op::Vote { pid: of, .. } if *of == pid)
        {
            voters.push(envelope.request.payer());
        }
    };
    let mut verified = with_ledger!(Ledger::open(&args.books), |ledger| {
        replay(&mut ledger, &args.books, voted).await
    })?;
    let economy = &mut verified.economy;
    let Some(row) = economy.value(table::PROPOSALS, &pid) else {
        let why = "there is no such proposal under the final head";
        return Err(Fail::Peer(format!("{}: {why}", args.proposal)));
    };
    let row = Proposal::read(&row).map_err(unread)?;
    let (mut sums, mut votes) = ([0_u64; 3], Vec::new());
    for voter in voters {
        let Some(value) = economy.value(table::VOTES, &vote_key(&pid, &voter)) else {
            continue;
        };
        let (v, own, lent) = vote_row(&value).map_err(unread)?;
        let power = own.saturating_add(lent);
        let at = usize::try_from(v).unwrap_or(usize::MAX);
        if let Some(sum) = sums.get_mut(at) {
            *sum = sum.saturating_add(power);
        }
        votes.push((voter, vote_word(v), own, lent));
    }
    let [no, yes, abstain] = sums;
    if [row.no, row.yes, row.abstain] != sums {
        let why = format!(
            "proposal {}: its votes sum to {yes} for, {no} against, {abstain} abstain, and it says {}, {}, {}",
            args.proposal, row.yes, row.no, row.abstain
        );
        return Err(Fail::Coded(WRONG, why));
    }
    if args.books.json {
        let votes = votes.iter().map(|(voter, word, own, lent)| {
            json!({
                "account": shown(voter),
                "vote": word,
                "own_micro": own.to_string(),
                "lent_micro": lent.to_string(),
            })
        });
        let votes: Vec<Value> = votes.collect();
        let mut all = facts(&args.proposal, &row, verified.covered);
        if let Some(all) = all.as_object_mut() {
            all.insert("votes".into(), votes.into());
        }
        say!("{all}");
        return Ok(());
    }
    for (voter, word, own, lent) in &votes {
        let (own, lent) = (fog((*own).into()), fog((*lent).into()));
        say!("{word:<8} {own} own and {lent} lent by {}", shown(voter));
    }
    let [yes, no, abstain, need] = [yes, no, abstain, row.need].map(|n| fog(n.into()));
    say!(
        "sum      {yes} for, {no} against, {abstain} abstain; {need} are needed: {}",
        row.word()
    );
    Ok(())
}
