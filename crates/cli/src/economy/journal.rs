//! Journals: fetched and replayed up to the final head, saved, and verified offline.

use std::path::Path;

use betanet_economy_service::body::{LIST_MAX, records};
use betanet_economy_service::client::Trust;
use betanet_economy_service::{Finding, Verified, Verifier};
use betanet_keys::Peer;
use betanet_log::SignedHead;
use betanet_store::disk;
use betanet_tokenomics::Code;
use betanet_tokenomics::journal::Record;
use betanet_wire::text::hex;
use serde_json::json;

use super::net::{Ledger, genesis, with_ledger};
use crate::Fail;
use crate::args::{BooksArgs, SaveLedgerArgs, VerifyLedgerArgs};

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
        let list = records(&bytes);
        let list = list
            .map_err(|_| Fail::Coded(WRONG, format!("the records from {have} on do not read")))?;
        if list.is_empty() {
            let why = format!("the node gives {have} of {size} records");
            return Err(Fail::Coded(WRONG, why));
        }
        for record in list {
            take(record)?;
            have += 1;
        }
    }
    Ok(())
}

/// Fetches and verifies the journal up to the final head. `each` sees every record with the codes of its transfers.
pub(super) async fn replay(
    ledger: &mut Ledger,
    args: &BooksArgs,
    each: impl FnMut(&Record, &[Code]),
) -> Result<Verified, Fail> {
    let (head, _) = ledger.head().await?;
    let size = head.head().size;
    check(
        ledger,
        size,
        &genesis(&args.genesis)?,
        vec![head],
        &args.ledger,
        each,
    )
    .await
}

async fn check(
    ledger: &mut Ledger,
    size: u64,
    genesis: &[u8],
    heads: Vec<SignedHead>,
    what: &str,
    mut each: impl FnMut(&Record, &[Code]),
) -> Result<Verified, Fail> {
    let mut heads = Some(heads);
    let mut verifier: Option<Verifier> = None;
    fetch(ledger, size, |bytes| {
        let codes = match &mut verifier {
            Some(verifier) => verifier.push(bytes).map_err(|f| wrong(what, &f))?,
            None => {
                let begun = Verifier::new(bytes, Some(genesis), heads.take().unwrap_or_default());
                verifier = Some(begun.map_err(|f| wrong(what, &f))?);
                Vec::new()
            }
        };
        if let Some(record) = Record::from_bytes(bytes) {
            each(&record, &codes);
        }
        Ok(())
    })
    .await?;
    let verifier = verifier.ok_or_else(|| wrong(what, &Finding::Empty))?;
    verifier.finish().map_err(|f| wrong(what, &f))
}

pub(super) async fn save(args: &SaveLedgerArgs) -> Result<(), Fail> {
    let dir = &args.dir;
    let file = |name: &str| dir.join(name);
    let genesis = genesis(&args.books.genesis)?;
    let mut all = Vec::new();
    let (size, head) = with_ledger!(Ledger::open(&args.books), |ledger| {
        let (head, bytes) = ledger.head().await?;
        let size = head.head().size;
        fetch(&mut ledger, size, |record| {
            all.extend_from_slice(record);
            Ok(())
        })
        .await?;
        Ok::<_, Fail>((size, bytes))
    })?;
    std::fs::create_dir_all(dir).map_err(Fail::file(dir))?;
    for (name, bytes) in [(JOURNAL, &all), (HEAD, &head), (GENESIS, &genesis)] {
        let path = file(name);
        disk::write_new(&path, bytes).map_err(Fail::file(&path))?;
    }
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

pub(super) async fn verify(args: &VerifyLedgerArgs) -> Result<(), Fail> {
    let genesis = genesis(&args.genesis)?;
    let trust = Trust::new(&genesis);
    let trust = trust.map_err(|e| Fail::Usage(format!("--genesis: {e}")))?;
    let mut heads = kept(&args.head)?;
    let path = Path::new(&args.what);
    let verified = if path.is_dir() {
        let (journal, head) = (path.join(JOURNAL), path.join(HEAD));
        heads.extend(kept(&[head])?);
        of_file(&journal, &genesis, heads)?
    } else if path.exists() {
        if let Some(done) = super::proofs::verified(path, &trust, args.json)? {
            return Ok(done);
        }
        of_file(path, &genesis, heads)?
    } else if args.what.parse::<Peer>().is_ok() {
        with_ledger!(
            Ledger::at(&args.what, "WHAT", &genesis, &args.dial),
            |ledger| {
                let (head, _) = ledger.head().await?;
                // What was kept may cover more than the node shows now.
                let most = heads.iter().map(|h| h.head().size);
                let size = head.head().size;
                if let Some(longer) = most.max().filter(|most| *most > size) {
                    let finding = Finding::Short {
                        head: longer,
                        records: size,
                    };
                    return Err(wrong(&args.what, &finding));
                }
                heads.push(head);
                check(&mut ledger, size, &genesis, heads, &args.what, |_, _| ()).await
            }
        )?
    } else {
        let why = "there is no such file or folder, and it is no PEER";
        return Err(Fail::Usage(format!("{}: {why}", args.what)));
    };
    let records = verified.economy.records();
    let uncovered = records - verified.covered;
    if args.json {
        say!(
            "{}",
            json!({
                "records": records,
                "covered": verified.covered,
                "root": hex(&verified.root),
                "state": hex(&verified.state),
                "ts_ms": verified.economy.time(),
                "epoch": verified.economy.epoch(),
            })
        );
        return Ok(());
    }
    say!("verified  {records} records: signatures, log, state and sums");
    say!("log       {}", hex(&verified.root));
    say!("state     {}", hex(&verified.state));
    if uncovered > 0 {
        note!("note: no head that was given covers the last {uncovered} of them");
    }
    Ok(())
}

fn of_file(path: &Path, genesis: &[u8], heads: Vec<SignedHead>) -> Result<Verified, Fail> {
    let journal = disk::read_bounded(path, JOURNAL_MAX).map_err(Fail::file(path))?;
    let verified = betanet_economy_service::verify(&journal, Some(genesis), heads);
    verified.map_err(|finding| wrong(&path.display().to_string(), &finding))
}
