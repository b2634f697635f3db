//! Heads, and proofs of balances and votes, kept in files.

use std::path::Path;

use betanet_economy_service::client::{self, ClientError, Trust};
use betanet_economy_service::rows::{balance_key, table, vote as vote_row, vote_key};
use betanet_log::SignedHead;
use betanet_runtime::NodeId;
use betanet_store::disk;
use betanet_tokenomics::{Asset, Id};
use betanet_wire::text::hex;
use betanet_wire::{cbor, message};
use serde_json::json;

use super::amount::{fog, id, shown};
use super::govern::vote_word;
use super::journal::WRONG;
use super::net::{Ledger, account, under, with_ledger};
use super::tokens::balance_of;
use crate::Fail;
use crate::args::{HeadArgs, ProofArgs};

/// Longest file of a proof that is read.
const PROOF_MAX: u64 = 64 << 10;
/// Version of such files.
const VERSION: u64 = 1;

message! {
    /// A proof of a balance or a vote in a file.
    struct Form<'a> {
        req "v" version: u64,
        req "head" head: &'a [u8],
        req "proof" proof: &'a [u8],
        req "account" account: NodeId,
        opt "proposal" proposal: [u8; 16],
    }
}

impl<'a> Form<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let form = cbor::from_slice::<Self>(bytes).ok();
        form.filter(|form| form.version == VERSION)
    }

    /// Table and key of the row that it proves.
    fn place(&self) -> (u8, Vec<u8>) {
        place(&self.account, self.proposal.as_ref())
    }

    /// The head, and the row that is proven under it.
    fn check(&self, trust: &Trust) -> Result<(SignedHead, Option<Vec<u8>>), ClientError> {
        let head = trust.head(self.head)?;
        let (table, key) = self.place();
        let value = client::state(self.proof, (table, &key), &head)?;
        Ok((head, value))
    }
}

fn place(account: &NodeId, proposal: Option<&Id>) -> (u8, Vec<u8>) {
    match proposal {
        Some(pid) => (table::VOTES, vote_key(pid, account)),
        None => (table::BALANCES, balance_key(account, Asset::Fog)),
    }
}

pub(super) async fn head(args: &HeadArgs) -> Result<(), Fail> {
    let (head, bytes) = with_ledger!(Ledger::open(&args.books), |ledger| ledger.head().await)?;
    if let Some(file) = &args.output {
        disk::write_private(file, &bytes).map_err(Fail::file(file))?;
    }
    let proven = under(&head);
    let signed = head.signatures().iter().map(|s| hex(&s.signer));
    let signed: Vec<String> = signed.collect();
    let head = head.head();
    let state = hex(&head.state.unwrap_or_default());
    if args.books.json {
        say!(
            "{}",
            json!({
                "size": head.size,
                "root": hex(&head.root),
                "state": state,
                "ts_ms": head.ts,
                "signed_by": signed,
            })
        );
        return Ok(());
    }
    say!("shown   {proven}");
    say!("log     {}", hex(&head.root));
    say!("state   {state}");
    for key in signed {
        say!("signer  {key}");
    }
    Ok(())
}

pub(super) async fn proof(args: &ProofArgs) -> Result<(), Fail> {
    let account = account(args.account.as_deref(), &args.books.dial)?;
    let proposal = args.vote.as_deref().map(id).transpose()?;
    let keys = [place(&account, proposal.as_ref())];
    let (head, rows) = with_ledger!(Ledger::open(&args.books), |ledger| {
        ledger.proofs(&keys).await
    })?;
    let Some((value, proof)) = rows.into_iter().next() else {
        return Err(Fail::Peer("the ledger's node gave no proof".into()));
    };
    let form = Form {
        version: VERSION,
        head: &head.to_bytes(),
        proof: &proof,
        account,
        proposal,
    };
    disk::write_private(&args.output, cbor::to_vec(&form)).map_err(Fail::file(&args.output))?;
    tell(&form, value.as_deref(), &head, args.books.json)
}

/// Tells what is proven: a balance, or a vote or that there is none.
fn tell(
    form: &Form<'_>,
    value: Option<&[u8]>,
    head: &SignedHead,
    as_json: bool,
) -> Result<(), Fail> {
    let (account, size, ts) = (shown(&form.account), head.head().size, head.head().ts);
    let proven = under(head);
    let Some(pid) = &form.proposal else {
        let micro = balance_of(value)?.available();
        match as_json {
            true => say!(
                "{}",
                json!({
                    "account": account,
                    "fog_micro": micro.to_string(),
                    "size": size,
                    "ts_ms": ts,
                })
            ),
            false => say!("{account} has {} FOG {proven}", fog(micro)),
        }
        return Ok(());
    };
    let vote = value.map(vote_row).transpose();
    let vote = vote.map_err(|e| Fail::Peer(format!("a row of the ledger does not read: {e}")))?;
    let vote = vote.map(|(v, own, lent)| (vote_word(v), own, lent));
    let proposal = hex(pid);
    if as_json {
        say!(
            "{}",
            json!({
                "account": account,
                "proposal": proposal,
                "vote": vote.map(|(word, ..)| word),
                "own_micro": vote.map(|(_, own, _)| own.to_string()),
                "lent_micro": vote.map(|(.., lent)| lent.to_string()),
                "size": size,
                "ts_ms": ts,
            })
        );
        return Ok(());
    }
    match vote {
        Some((word, own, lent)) => {
            let (own, lent) = (fog(own.into()), fog(lent.into()));
            say!(
                "{account} voted {word} on {proposal} with {own} FOG own and {lent} lent {proven}"
            );
        }
        None => say!("{account} did not vote on {proposal} {proven}"),
    }
    Ok(())
}

/// Verifies a file of a proof. `None`: the file is none.
pub(super) fn verified(path: &Path, trust: &Trust, as_json: bool) -> Result<Option<()>, Fail> {
    let length = std::fs::metadata(path).map_err(Fail::file(path))?.len();
    if length > PROOF_MAX {
        return Ok(None);
    }
    let bytes = disk::read_bounded(path, PROOF_MAX).map_err(Fail::file(path))?;
    let Some(form) = Form::read(&bytes) else {
        return Ok(None);
    };
    let place = path.display();
    let proven = form.check(trust);
    let (head, value) = proven.map_err(|e| Fail::Coded(WRONG, format!("{place}: {e}")))?;
    tell(&form, value.as_deref(), &head, as_json)?;
    Ok(Some(()))
}

#[cfg(test)]
mod tests {
    use betanet_economy_service::body::{StateBody, domain};
    use betanet_keys::Identity;
    use betanet_log::{Head, Signers};
    use betanet_tokenomics::account::{DAY_MS, MICRO, NODE, USER, address};
    use betanet_tokenomics::records::proposal_id;
    use betanet_tokenomics::request::{Effect, Op};
    use betanet_tokenomics::{Code, Economy, Envelope, GenesisDraft, Request, Role};

    use super::*;

    const T0: u64 = 1_700_000_000_000;

    struct Book {
        economy: Economy,
        now: u64,
        made: u8,
    }

    impl Book {
        /// Sends a request, and returns its body.
        fn send(&mut self, by: &Identity, op: &Op) -> Vec<u8> {
            let account = by.public().node_id();
            let by_it = [(account, self.economy.nonce(&account).unwrap())];
            self.made += 1;
            let request = Request::new(&by_it, self.now + 1_000, [self.made; 16], op).unwrap();
            let envelope = Envelope::sign(request, self.economy.genesis().id(), &[by]);
            let answer = self.economy.apply(self.now, &envelope.to_bytes()).unwrap();
            assert_eq!(answer.code, Code::Ok, "{op:?}");
            envelope.request.body().to_vec()
        }

        fn wait(&mut self, ms: u64) {
            self.now += ms;
            while self.economy.tick(self.now).unwrap().code == Code::Ok {}
        }
    }

    #[test]
    fn a_vote_is_proven_offline_and_so_is_that_there_is_none() {
        let [node, user, one, two] = [1, 2, 3, 4].map(|n| Identity::from_seed(&[n; 32]));
        let key = |i: &Identity| *i.public().as_bytes();
        let alloc = [
            (key(&node), NODE, 5_000 * MICRO),
            (key(&user), USER, 5_000 * MICRO),
        ];
        let mut signers = [key(&one).to_vec(), key(&two).to_vec()];
        signers.sort_unstable();
        let draft = GenesisDraft {
            name: "a town",
            t0: T0,
            epoch_ms: DAY_MS,
            cap: 1 << 60,
            halving: 365,
            alloc: &alloc,
            roles: &[(Role::Signers, signers.to_vec())],
            ..GenesisDraft::default()
        };
        let genesis = draft.to_bytes();
        let mut book = Book {
            economy: Economy::new(&genesis).unwrap(),
            now: T0,
            made: 0,
        };
        let bond = Op::Bond {
            amt: 2_000 * MICRO,
            comm: 0,
        };
        book.send(&node, &bond);
        let lend = Op::Delegate {
            amt: 300 * MICRO,
            node: node.public().node_id(),
        };
        book.send(&user, &lend);
        book.wait(DAY_MS);
        let body = book.send(&node, &Op::propose(vec![Effect::Text], [0; 32]));
        let pid = proposal_id(&body);
        book.wait(DAY_MS);
        book.send(&node, &Op::Vote { pid, v: 1 });

        let trust = Trust::new(&genesis).unwrap();
        let state = book.economy.root();
        let id = *book.economy.genesis().id();
        let keys: Vec<_> = [&one, &two].map(|i| *i.public()).into();
        let mut head = SignedHead::new(Head {
            ts: book.economy.time(),
            set: *Signers::new(&keys).unwrap().hash(),
            root: [5; 32],
            size: book.economy.records(),
            state: Some(state),
        });
        for signer in [&one, &two] {
            let signature = head.signature(domain(&id), signer);
            head.add(signature);
        }
        let head = head.to_bytes();
        let mut file = |account: NodeId, proposal: Option<Id>| {
            let (table, key) = place(&account, proposal.as_ref());
            let proof = cbor::to_vec(&StateBody(book.economy.prove(table, &key)));
            cbor::to_vec(&Form {
                version: VERSION,
                head: &head,
                proof: &proof,
                account,
                proposal,
            })
        };
        let check = |file: &[u8]| {
            let form = Form::read(file)?;
            form.check(&trust).ok().map(|(_, value)| value)
        };
        let voted = file(address(&key(&node)), Some(pid));
        let row = check(&voted).unwrap().unwrap();
        let power = (1, 2_000 * MICRO, 300 * MICRO);
        assert_eq!(vote_row(&row).unwrap(), power);
        assert_eq!(vote_word(1), "for");
        let silent = file(address(&key(&user)), Some(pid));
        assert_eq!(check(&silent), Some(None));
        // A file of a balance, as it was before votes could be proven.
        let balance = file(address(&key(&user)), None);
        assert!(check(&balance).unwrap().is_some());
        // What is proven of one account or proposal is not proven of another.
        let form = Form::read(&voted).unwrap();
        let of = |account, proposal| Form {
            account,
            proposal,
            ..form
        };
        assert!(of(form.account, Some(pid)).check(&trust).is_ok());
        assert!(of(address(&key(&user)), Some(pid)).check(&trust).is_err());
        assert!(of(form.account, Some([9; 16])).check(&trust).is_err());
        assert!(of(form.account, None).check(&trust).is_err());
        for at in 0..voted.len() {
            let mut bad = voted.clone();
            bad[at] ^= 1;
            assert!(check(&bad).is_none_or(|row| row.is_none()), "{at}");
        }
    }
}
