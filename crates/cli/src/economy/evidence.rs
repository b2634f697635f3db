//! `stake evidence`: two records of one key that exclude each other.

use std::path::Path;

use betanet_fog::{Receipt, Signed};
use betanet_keys::PublicKey;
use betanet_log::SignedHead;
use betanet_store::disk;
use betanet_tokenomics::Hash;
use betanet_tokenomics::account::address;
use betanet_tokenomics::records::HEAD_LABEL;
use betanet_tokenomics::request::{Op, Proof};
use serde_json::json;

use super::amount::shown;
use super::net::{Ledger, fresh_id, identity, with_ledger};
use super::tokens::told;
use crate::Fail;
use crate::args::OffenceArgs;
use crate::receipt;

/// Longest head that is read.
const HEAD_MAX: u64 = 64 << 10;
/// Kinds of offences.
const EQUIVOCATION: u8 = 1;
const DOUBLE_SIGN: u8 = 3;

/// What proves an offence: its kind, and two records of one key for each offender.
type Offences = (u8, Vec<[Proof; 2]>);

fn head(path: &Path) -> Result<Option<SignedHead>, Fail> {
    let length = std::fs::metadata(path).map_err(Fail::file(path))?.len();
    if length > HEAD_MAX {
        return Ok(None);
    }
    let bytes = disk::read_bounded(path, HEAD_MAX).map_err(Fail::file(path))?;
    Ok(SignedHead::from_bytes(&bytes).ok())
}

fn none(why: &str) -> Fail {
    Fail::Usage(format!("the two files prove no offence: {why}"))
}

/// The keys that signed two heads of one size.
fn double_signs(a: &SignedHead, b: &SignedHead, genesis: &Hash) -> Result<Offences, Fail> {
    let (one, other) = (a.head(), b.head());
    if one.size != other.size {
        return Err(none("the heads cover different numbers of records"));
    }
    if (one.root, one.state) == (other.root, other.state) {
        return Err(none("the heads are of the same records"));
    }
    let proof = |head: &SignedHead, signer: &Hash| {
        let mut own = head.signatures().iter().filter(|s| s.signer == *signer);
        let key = PublicKey::from_bytes(signer).ok()?;
        let text: [&[u8]; 2] = [genesis, head.signed_bytes()];
        let good = own.find(|s| key.verify(HEAD_LABEL, &text, &s.sig).is_ok())?;
        Some(Proof {
            record: head.signed_bytes().to_vec(),
            key: *signer,
            sig: good.sig,
        })
    };
    let mut signers: Vec<Hash> = a.signatures().iter().map(|s| s.signer).collect();
    signers.sort_unstable();
    signers.dedup();
    let both = |signer: &Hash| Some([proof(a, signer)?, proof(b, signer)?]);
    let found: Vec<[Proof; 2]> = signers.iter().filter_map(both).collect();
    match found.is_empty() {
        true => Err(none("no key of this ledger signed both heads")),
        false => Ok((DOUBLE_SIGN, found)),
    }
}

/// The key that signed two results of one assignment.
fn equivocation(a: &Signed<Receipt>, b: &Signed<Receipt>) -> Result<Offences, Fail> {
    let assignment = |r: &Receipt| (r.key, r.task, r.copy, r.fence, r.epoch);
    if assignment(a) != assignment(b) {
        return Err(none("the receipts are of different assignments or keys"));
    }
    if (&a.status, a.out) == (&b.status, b.out) {
        return Err(none("the receipts have the same result"));
    }
    let proof = |signed: &Signed<Receipt>| Proof {
        record: signed.rec().to_vec(),
        key: signed.key,
        sig: signed.envelope().sig,
    };
    Ok((EQUIVOCATION, vec![[proof(a), proof(b)]]))
}

pub(super) async fn evidence(args: &OffenceArgs) -> Result<(), Fail> {
    let (one, other) = (&args.one, &args.other);
    let me = identity(&args.ask.books.dial)?;
    let as_json = args.ask.books.json;
    with_ledger!(Ledger::open(&args.ask.books), |ledger| {
        let (kind, offences) = match (head(one)?, head(other)?) {
            (Some(a), Some(b)) => double_signs(&a, &b, ledger.trust.genesis().id())?,
            _ => equivocation(&receipt::read(one)?, &receipt::read(other)?)?,
        };
        let (mut accepted, mut refused) = (0, None);
        for list in offences {
            let node = shown(&address(&list[0].key));
            let op = Op::Evidence {
                kind,
                list: list.into(),
                task: Vec::new(),
            };
            match ledger.submit(&args.ask, &[&me], &op, fresh_id()?).await {
                Ok(taken) => {
                    accepted += 1;
                    let what = format!("evidence against {node}");
                    told(
                        &taken,
                        as_json,
                        &what,
                        json!({ "node": node, "kind": kind }),
                    );
                }
                Err(why) => {
                    note!("{node}: {}", why.why());
                    refused = Some(why);
                }
            }
        }
        match refused {
            Some(why) if accepted == 0 => Err(why),
            _ => Ok(()),
        }
    })
}
