//! Journals: fetched and replayed up to the final head, saved, and verified offline.

use std::path::Path;

use betanet_economy_service::body::{LIST_MAX, asked_records, records};
use betanet_economy_service::{EconomyService, Finding, Settings, Verified, Verifier};
use betanet_keys::{Identity, Peer};
use betanet_log::SignedHead;
use betanet_store::{State, disk};
use betanet_tokenomics::journal::Record;
use betanet_tokenomics::{Code, Economy, Role};
use betanet_wire::text::hex;
use serde_json::json;

use super::anchors;
use super::net::{Ledger, genesis, trust, with_ledger};
use crate::args::{BooksArgs, RestoreLedgerArgs, SaveLedgerArgs, VerifyLedgerArgs};
use crate::fail::chain;
use crate::journal::ECONOMY;
use crate::{Fail, name};

/// Exit code where a ledger does not verify.
pub(super) const WRONG: u8 = 6;
/// Longest journal and head that are read from files.
const JOURNAL_MAX: u64 = 16 << 30;
const HEAD_MAX: u64 = 64 << 10;
/// Files of a saved ledger.
const JOURNAL: &str = "journal.cbor";
const HEAD: &str = "head.cbor";
const GENESIS: &str = "genesis.cbor";

/// Tells what is wrong, where, and in what.
pub(super) fn wrong(what: &str, finding: &Finding) -> Fail {
    Fail::Coded(WRONG, format!("{what}: {finding}"))
}

/// Fetches the records under a head, in order, and gives each to `take`.
async fn fetch(
    ledger: &mut Ledger,
    size: u64,
    mut take: impl FnMut(&[u8]) -> Result<(), Fail>,
) -> Result<(), Fail> {
    let mut have = 0;
    while have < size {
        let n = (size - have).min(LIST_MAX);
        let bytes = ledger.get(&format!("journal?after={have}&n={n}")).await?;
        if bytes.is_empty() {
            let why = format!("the node gives {have} of {size} records");
            return Err(Fail::Coded(WRONG, why));
        }
        let list = asked_records(&bytes, n).ok_or_else(|| {
            let why = "do not read, or are more than were asked for";
            Fail::Coded(WRONG, format!("the records from {have} on {why}"))
        })?;
        for record in list {
            take(record)?;
            have += 1;
        }
    }
    Ok(())
}

/// Fetches and verifies the journal up to the final head. `each` sees every record with the codes of its transfers, and the ledger after it.
pub(super) async fn replay(
    ledger: &mut Ledger,
    args: &BooksArgs,
    mut each: impl FnMut(&Record, &[Code], &Economy),
) -> Result<Verified, Fail> {
    let head = ledger.newest().await?;
    let with = (&genesis(&args.genesis)?[..], &args.ledger[..]);
    check(ledger, &head, Vec::new(), with, |bytes, codes, economy| {
        if let Some(record) = Record::from_bytes(bytes) {
            each(&record, codes, economy);
        }
    })
    .await
}

/// Replays the journal under a head, whose signers the records before it list, and keeps what was learnt of the ledger.
async fn check(
    ledger: &mut Ledger,
    head: &SignedHead,
    mut heads: Vec<SignedHead>,
    (genesis, what): (&[u8], &str),
    mut each: impl FnMut(&[u8], &[Code], &Economy),
) -> Result<Verified, Fail> {
    let size = head.head().size;
    heads.push(head.clone());
    heads.extend(ledger.seen.head());
    // What was kept may cover more than the node shows now.
    let most = heads.iter().map(|h| h.head().size).max();
    if let Some(longer) = most.filter(|most| *most > size) {
        let finding = Finding::Short {
            head: longer,
            records: size,
        };
        return Err(wrong(what, &finding));
    }
    let mut heads = Some(heads);
    let mut verifier: Option<Verifier> = None;
    fetch(ledger, size, |bytes| {
        if let Some(verifier) = &mut verifier {
            let codes = verifier.push(bytes).map_err(|f| wrong(what, &f))?;
            each(bytes, &codes, verifier.economy());
            return Ok(());
        }
        let begun = Verifier::new(bytes, Some(genesis), heads.take().unwrap_or_default());
        let begun = begun.map_err(|f| wrong(what, &f))?;
        each(bytes, &[], begun.economy());
        verifier = Some(begun);
        Ok(())
    })
    .await?;
    let verifier = verifier.ok_or_else(|| wrong(what, &Finding::Empty))?;
    let verified = verifier.finish().map_err(|f| wrong(what, &f))?;
    all_covered(&verified, what)?;
    let signers = verified.economy.role(Role::Signers);
    ledger.seen.keep_signers(size, signers)?;
    ledger.seen.keep_head(head)?;
    Ok(verified)
}

/// Records that no head covers may be anybody's.
fn all_covered(verified: &Verified, what: &str) -> Result<(), Fail> {
    let records = verified.economy.records();
    match records.saturating_sub(verified.covered) {
        0 => Ok(()),
        open => {
            let why = format!("no head covers the last {open} of {records} records: give --head");
            Err(Fail::Coded(WRONG, format!("{what}: {why}")))
        }
    }
}

/// Writes a saved ledger: journal, head and genesis.
pub(crate) fn keep(dir: &Path, journal: &[u8], head: &[u8], genesis: &[u8]) -> Result<(), Fail> {
    std::fs::create_dir_all(dir).map_err(Fail::file(dir))?;
    for (name, bytes) in [(JOURNAL, journal), (HEAD, head), (GENESIS, genesis)] {
        let path = dir.join(name);
        disk::write_new(&path, bytes).map_err(Fail::file(&path))?;
    }
    Ok(())
}

pub(super) async fn save(args: &SaveLedgerArgs) -> Result<(), Fail> {
    let dir = &args.dir;
    let genesis = genesis(&args.books.genesis)?;
    let mut all = Vec::new();
    let (size, head) = with_ledger!(Ledger::open(&args.books), |ledger| {
        let head = ledger.newest().await?;
        let with = (&genesis[..], &args.books.ledger[..]);
        check(&mut ledger, &head, Vec::new(), with, |record, _, _| {
            all.extend_from_slice(record);
        })
        .await?;
        Ok::<_, Fail>((head.head().size, head.to_bytes()))
    })?;
    keep(dir, &all, &head, &genesis)?;
    if args.books.json {
        say!(
            "{}",
            json!({ "folder": dir, "records": size, "bytes": all.len() })
        );
    } else {
        say!(
            "{}: {size} records, {} bytes, with their head",
            dir.display(),
            all.len()
        );
    }
    Ok(())
}

fn kept(files: &[std::path::PathBuf]) -> Result<Vec<SignedHead>, Fail> {
    let read = |file: &std::path::PathBuf| {
        let bytes = disk::read_bounded(file, HEAD_MAX).map_err(Fail::file(file))?;
        let head = SignedHead::from_bytes(&bytes);
        head.map_err(|e| Fail::Usage(format!("--head {}: {e}", file.display())))
    };
    files.iter().map(read).collect()
}

/// Whether what is not there is a node. Without a network a word is a file that is missing.
fn is_node(args: &VerifyLedgerArgs) -> bool {
    let named = args.dial.network.is_some() && name::is_named(&args.what);
    named || args.what.parse::<Peer>().is_ok()
}

pub(super) async fn verify(args: &VerifyLedgerArgs) -> Result<(), Fail> {
    let genesis = genesis(&args.genesis)?;
    let (trust, _) = trust(&genesis, &args.dial)?;
    let mut heads = kept(&args.head)?;
    let shown = anchors::shown(&args.names, trust.genesis().id(), &args.dial).await?;
    let mut posted = anchors::agreed(shown).map_err(|why| Fail::Coded(WRONG, why))?;
    heads.extend(posted.iter().map(|posted| posted.head.clone()));
    let posted = posted.pop();
    let path = Path::new(&args.what);
    let verified = if path.is_dir() {
        of_folder(path, &genesis, heads)?.1
    } else if path.exists() {
        if let Some(done) = super::proofs::verified(path, &trust, args.json)? {
            return Ok(done);
        }
        of_file(path, &genesis, heads)?.1
    } else if is_node(args) {
        with_ledger!(
            Ledger::at(&args.what, "WHAT", &genesis, &args.dial),
            |ledger| {
                let head = ledger.newest().await?;
                let with = (&genesis[..], &args.what[..]);
                check(&mut ledger, &head, heads, with, |_, _, _| ()).await
            }
        )?
    } else {
        let why = "there is no such file or folder, and it is no PEER, name or alias of a node that --network knows";
        return Err(Fail::Usage(format!("{}: {why}", args.what)));
    };
    let records = verified.economy.records();
    if args.json {
        let [accounts, holds, reservations, proposals] = verified.economy.counts();
        say!(
            "{}",
            json!({
                "records": records,
                "covered": verified.covered,
                "accounts": accounts,
                "holds": holds.saturating_add(reservations),
                "proposals": proposals,
                "root": hex(&verified.root),
                "state": hex(&verified.state),
                "ts_ms": verified.economy.time(),
                "epoch": verified.economy.epoch(),
                "posted_epoch": posted.as_ref().map(|p| p.epoch),
                "posted_records": posted.as_ref().map(|p| p.head.head().size),
            })
        );
        return Ok(());
    }
    say!("verified  {records} records: signatures, log, state and sums");
    say!("log       {}", hex(&verified.root));
    say!("state     {}", hex(&verified.state));
    if let Some(posted) = posted {
        let (size, epoch) = (posted.head.head().size, posted.epoch);
        say!("posted    the ledger of names has the same first {size} records, in epoch {epoch}");
    }
    Ok(())
}

/// A saved ledger.
struct Saved {
    journal: Vec<u8>,
    head: SignedHead,
}

/// Reads and verifies the folder of a saved ledger, whose genesis is the one that is given.
fn of_folder(
    path: &Path,
    genesis: &[u8],
    mut heads: Vec<SignedHead>,
) -> Result<(Saved, Verified), Fail> {
    let (journal, head) = (path.join(JOURNAL), path.join(HEAD));
    let saved = path.join(GENESIS);
    if self::genesis(&saved)? != genesis {
        return Err(wrong(&saved.display().to_string(), &Finding::Genesis));
    }
    let bytes = disk::read_bounded(&head, HEAD_MAX).map_err(Fail::file(&head))?;
    let read = SignedHead::from_bytes(&bytes);
    let head = read.map_err(|e| Fail::Coded(WRONG, format!("{}: {e}", head.display())))?;
    heads.push(head.clone());
    let (journal, verified) = of_file(&journal, genesis, heads)?;
    Ok((Saved { journal, head }, verified))
}

pub(super) async fn restore(args: &RestoreLedgerArgs) -> Result<(), Fail> {
    let genesis = genesis(&args.genesis)?;
    let (saved, _) = of_folder(&args.dir, &genesis, Vec::new())?;
    // Another process would have the folder.
    let held = State::open(&args.state).map_err(|e| Fail::Local(chain(&e)))?;
    let place = args.state.join(ECONOMY);
    let journal = crate::journal::open(&place, "restore")?;
    // It serves nobody, so any identity does.
    let seed = betanet_runtime::seed().map_err(|e| Fail::Local(e.to_string()))?;
    let me = Identity::from_seed(&betanet_machine::Rng::new(&seed).array());
    let service = EconomyService::new(me, Settings::new(genesis));
    let service = service.map_err(|e| Fail::Local(chain(&e)))?;
    let records = records(&saved.journal).unwrap_or_default();
    let records: Vec<Vec<u8>> = records.into_iter().map(<[u8]>::to_vec).collect();
    let restored = service.restore(journal, &records, saved.head).await;
    let n = restored.map_err(|e| Fail::Local(format!("{}: {}", place.display(), chain(&e))))?;
    drop(held);
    if args.json {
        say!("{}", json!({ "state": args.state, "records": n }));
    } else {
        say!("{}: {n} records, with their head", args.state.display());
    }
    Ok(())
}

fn of_file(
    path: &Path,
    genesis: &[u8],
    heads: Vec<SignedHead>,
) -> Result<(Vec<u8>, Verified), Fail> {
    let journal = disk::read_bounded(path, JOURNAL_MAX).map_err(Fail::file(path))?;
    let verified = betanet_economy_service::verify(&journal, Some(genesis), heads);
    let what = path.display().to_string();
    let verified = verified.map_err(|finding| wrong(&what, &finding))?;
    all_covered(&verified, &what)?;
    Ok((journal, verified))
}
