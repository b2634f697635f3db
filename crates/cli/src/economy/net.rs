//! Requests to a ledger's node: over one session, each answer verified.

use std::time::Duration;

use betanet_bar::Request as Asked;
use betanet_economy_service::body::ANSWER_MAX;
use betanet_economy_service::client::{self, ClientError, Replied, Trust};
use betanet_economy_service::rows::{Account, balance_key, table};
use betanet_keys::{Identity, Peer};
use betanet_log::SignedHead;
use betanet_runtime::{Clock, Error, NodeId, load_identity};
use betanet_store::disk;
use betanet_tokenomics::journal::{AnswerBody, RECORD_MAX, Record};
use betanet_tokenomics::request::Op;
use betanet_tokenomics::{Asset, Code, Envelope, GENESIS_MAX, Genesis, Hash, Id, Request};
use betanet_wire::text::hex;
use bytes::Bytes;
use tokio::time::timeout;

use super::amount::{fog, shown};
use super::journal::WRONG;
use super::nonces::Kept;
use super::seen::Seen;
use super::tokens::balance_of;
use super::words::meaning;
use crate::args::{AskArgs, BooksArgs, DialArgs};
use crate::fail::chain;
use crate::id::default_key;
use crate::opened::Opened;
use crate::target::Dialling;
use crate::{Fail, name};

/// Time limit of one request, and of one over the mix.
const LIMIT: Duration = Duration::from_secs(30);
const LIMIT_OVER_MIX: Duration = Duration::from_secs(90);
/// Time for leaving.
const GOODBYE: Duration = Duration::from_secs(3);
/// Longest wait for a final head, and pause between two looks.
const FINAL: Duration = Duration::from_secs(150);
const LOOK: Duration = Duration::from_millis(500);
/// Validity of a request, in ms: less than the ledger's day, so that clocks may differ.
const VALID_MS: u64 = 3_600_000;
/// Heads that may change between two parts of an answer before it is given up.
const TRIES: usize = 5;

/// Looks, with the same pause, at a node that shows less than this machine saw: one that follows may be a moment behind.
const LOOKS: usize = 20;

/// A ledger's node.
pub(crate) struct Ledger {
    pub(crate) trust: Trust,
    pub(crate) seen: Seen,
    peer: Peer,
    dialling: Dialling,
    mixed: bool,
    state: Option<std::path::PathBuf>,
    open: Option<Opened>,
}

/// What was accepted.
pub(crate) struct Accepted {
    pub(crate) body: AnswerBody,
    pub(crate) request: Request,
    pub(crate) is_final: bool,
}

pub(crate) fn genesis(file: &std::path::Path) -> Result<Vec<u8>, Fail> {
    disk::read_bounded(file, GENESIS_MAX as u64).map_err(Fail::file(file))
}

/// The identity of an account: that of --key, or the user's own.
pub(crate) fn identity(dial: &DialArgs) -> Result<Identity, Fail> {
    let path = dial.key.clone().unwrap_or_else(default_key);
    load_identity(&path).map_err(|e| Error::from(e).into())
}

/// The account of a command: the one that is named, or that of the identity.
pub(crate) fn account(named: Option<&str>, dial: &DialArgs) -> Result<NodeId, Fail> {
    match named {
        Some(text) => super::amount::account(text),
        None => Ok(identity(dial)?.public().node_id()),
    }
}

/// The account that the key of --key signs for: that of --account, or the key's own.
pub(crate) fn signs_for(ask: &AskArgs, me: &Identity) -> Result<NodeId, Fail> {
    match &ask.account {
        Some(text) => super::amount::account(text),
        None => Ok(me.public().node_id()),
    }
}

/// Fresh bytes for an ID.
pub(crate) fn fresh_id() -> Result<Id, Fail> {
    let seed = betanet_runtime::seed().map_err(|e| Fail::Local(e.to_string()))?;
    Ok(betanet_machine::Rng::new(&seed).array())
}

pub(crate) fn now_ms() -> u64 {
    Clock::start().now().unix_ms
}

/// A head and how long ago its last record was, in words.
pub(crate) fn under(head: &SignedHead) -> String {
    let head = head.head();
    let s = now_ms().saturating_sub(head.ts) / 1000;
    let ago = match s {
        0..120 => format!("{s} s"),
        120..7_200 => format!("{} min", s / 60),
        7_200..172_800 => format!("{} h", s / 3_600),
        _ => format!("{} days", s / 86_400),
    };
    format!(
        "under the final head of {} records, the last of {ago} ago",
        head.size
    )
}

/// The signers that are trusted: those of the newest journal that was replayed here, at first those of the genesis.
pub(crate) fn trust(genesis: &[u8], dial: &DialArgs) -> Result<(Trust, Seen), Fail> {
    let trust = Trust::new(genesis);
    let trust = trust.map_err(|e| Fail::Usage(format!("--genesis: {}", chain(&e))))?;
    let seen = Seen::of(dial.state.as_deref(), trust.genesis().id());
    let Some(keys) = seen.signers() else {
        return Ok((trust, seen));
    };
    let newer = trust.with_signers(&keys).map_err(|e| {
        let why = chain(&e);
        Fail::Local(format!("the signers that were kept of the ledger: {why}"))
    })?;
    Ok((newer, seen))
}

impl Ledger {
    pub(crate) async fn open(args: &BooksArgs) -> Result<Self, Fail> {
        let genesis = genesis(&args.genesis)?;
        Self::at(&args.ledger, "--ledger", &genesis, &args.dial).await
    }

    /// The ledger's node: the key in its peer string, or the one that a name or an alias leads to, signs its answers.
    pub(crate) async fn at(
        text: &str,
        flag: &str,
        genesis: &[u8],
        dial: &DialArgs,
    ) -> Result<Self, Fail> {
        let (trust, seen) = trust(genesis, dial)?;
        let peer = name::peer(flag, text, dial).await?;
        let named = [(peer.name(), Some(peer.clone()))];
        // Requests are signed by themselves; the session shows nobody's identity.
        let dialling = Dialling::to_any_of(&named, dial, None)?;
        Ok(Self {
            trust,
            seen,
            mixed: dialling.is_mixed(),
            peer,
            dialling,
            state: dial.state.clone(),
            open: None,
        })
    }

    async fn session(&mut self) -> Result<Opened, Fail> {
        if let Some(session) = &self.open
            && !session.is_closed()
        {
            return Ok(session.clone());
        }
        let session = self.dialling.session().await?;
        self.dialling.reached();
        self.open = Some(session.clone());
        Ok(session)
    }

    /// Sends a request, with a body where the request says so.
    async fn ask(&mut self, request: Asked, body: Option<Vec<u8>>) -> Result<Replied, Fail> {
        let limit = if self.mixed { LIMIT_OVER_MIX } else { LIMIT };
        let asked = async {
            let session = self.session().await?;
            let answer = match body {
                None => session.ask(request).await?,
                Some(body) => {
                    let upload = session.upload(request).await?;
                    // An answer before the end of the body is the answer.
                    let _ = upload.send(Bytes::from(body)).await;
                    upload.finish().await.map_err(Error::from)?
                }
            };
            let read = Replied::of(answer, ANSWER_MAX + RECORD_MAX).await;
            read.map_err(|e| self.fault(&e))
        };
        let asked = timeout(limit, asked).await;
        asked.unwrap_or_else(|_| {
            let (name, s) = (self.peer.name(), limit.as_secs());
            Err(Fail::Peer(format!("{name}: no answer within {s} s")))
        })
    }

    pub(super) fn fault(&self, error: &ClientError) -> Fail {
        let mut why = format!("{}: {}", self.peer.name(), chain(error));
        if let ClientError::Refused {
            location: Some(leader),
            ..
        } = error
        {
            why = format!("{why}: {leader}");
        }
        Fail::Peer(why)
    }

    /// A body of what a target below the service's prefix names.
    pub(crate) async fn get(&mut self, target: &str) -> Result<Vec<u8>, Fail> {
        let replied = self.ask(client::get(target), None).await?;
        replied.good().map_err(|e| self.fault(&e))
    }

    /// The final head that the node shows, its signatures unchecked.
    async fn shown(&mut self) -> Result<SignedHead, Fail> {
        let replied = self.ask(client::get("head"), None).await?;
        if replied.status == 404 {
            let why = "the ledger has no final head yet: its signers sign the first one within a minute of their start";
            return Err(Fail::Peer(format!("{}: {why}", self.peer.name())));
        }
        let bytes = replied.good().map_err(|e| self.fault(&e))?;
        SignedHead::from_bytes(&bytes).map_err(|e| self.fault(&e.into()))
    }

    /// The final head, not older than one that was seen before, its signatures unchecked.
    pub(crate) async fn newest(&mut self) -> Result<SignedHead, Fail> {
        let Some(seen) = self.seen.head() else {
            return self.shown().await;
        };
        let (most, name) = (seen.head().size, self.peer.name());
        for _ in 0..LOOKS {
            let head = self.shown().await?;
            if head.head().size == most && head.signed_bytes() != seen.signed_bytes() {
                let why = "the node shows another head than this machine saw before";
                return Err(Fail::Coded(
                    WRONG,
                    format!("{name}: {why}, of {most} records"),
                ));
            }
            if head.head().size >= most {
                return Ok(head);
            }
            tokio::time::sleep(LOOK).await;
        }
        let why = "the node shows an older head than this machine saw before";
        Err(Fail::Peer(format!("{name}: {why}, of {most} records")))
    }

    /// Refuses a node that serves another ledger than the one of `--genesis`.
    async fn same_ledger(&mut self) -> Result<(), Fail> {
        let Ok(bytes) = self.get("genesis").await else {
            return Ok(());
        };
        match Genesis::from_bytes(&bytes) {
            Ok(served) if served.id() != self.trust.genesis().id() => {
                let (name, served) = (self.peer.name(), hex(served.id()));
                let mine = hex(self.trust.genesis().id());
                let why = format!("the node serves ledger {served}, and --genesis is of {mine}");
                Err(Fail::Usage(format!("{name}: {why}")))
            }
            _ => Ok(()),
        }
    }

    /// The final head, verified, and its bytes.
    pub(crate) async fn head(&mut self) -> Result<(SignedHead, Vec<u8>), Fail> {
        let shown = self.newest().await?;
        if let Some(seen) = self.seen.head()
            && seen.signed_bytes() == shown.signed_bytes()
        {
            let bytes = seen.to_bytes();
            return Ok((seen, bytes));
        }
        let read = self.trust.head(&shown.to_bytes());
        if read.is_err() {
            self.same_ledger().await?;
        }
        let head = read.map_err(|e| match e {
            ClientError::Head(betanet_log::Error::Set) => {
                let hint = "if a vote replaced them, betanet ledger verify PEER replays the ledger and learns the new ones";
                Fail::Peer(format!(
                    "{}: the head is not of the signers that this machine knows: {hint}",
                    self.peer.name()
                ))
            }
            e => self.fault(&e),
        })?;
        self.seen.keep_head(&head)?;
        let bytes = head.to_bytes();
        Ok((head, bytes))
    }

    /// Rows under one final head, verified. Tells the head too.
    pub(crate) async fn rows(
        &mut self,
        keys: &[(u8, Vec<u8>)],
    ) -> Result<(SignedHead, Vec<Option<Vec<u8>>>), Fail> {
        let (head, rows) = self.proofs(keys).await?;
        Ok((head, rows.into_iter().map(|(value, _)| value).collect()))
    }

    /// The same with the proofs' bytes.
    pub(crate) async fn proofs(&mut self, keys: &[(u8, Vec<u8>)]) -> Result<Proven, Fail> {
        let mut last = Fail::Peer("no proof".into());
        // A new head may come between two answers: then all are asked again.
        'tries: for _ in 0..TRIES {
            let (head, _) = self.head().await?;
            let mut rows = Vec::with_capacity(keys.len());
            for (table, key) in keys {
                let replied = self.ask(client::state_request(*table, key), None).await?;
                let bytes = replied.good().map_err(|e| self.fault(&e))?;
                match client::state(&bytes, (*table, key), &head) {
                    Ok(value) => rows.push((value, bytes)),
                    Err(error) => {
                        last = self.fault(&error);
                        continue 'tries;
                    }
                }
            }
            return Ok((head, rows));
        }
        Err(last)
    }

    /// Signs an operation as these accounts, the first of them that of --account, sends it, and verifies the answer.
    pub(crate) async fn submit(
        &mut self,
        ask: &AskArgs,
        signers: &[&Identity],
        op: &Op,
        id: Id,
    ) -> Result<Accepted, Fail> {
        let mut accounts: Vec<NodeId> = signers.iter().map(|s| s.public().node_id()).collect();
        if let (Some(first), Some(me)) = (accounts.first_mut(), signers.first()) {
            *first = signs_for(ask, me)?;
        }
        let keys: Vec<_> = accounts
            .iter()
            .map(|id| (table::ACCOUNTS, id.0.to_vec()))
            .collect();
        let (_, rows) = self.rows(&keys).await?;
        let mut by = Vec::new();
        for (account, row) in accounts.iter().zip(&rows) {
            let read = row.as_deref().map(Account::read).transpose();
            let read = read.map_err(|e| self.fault(&e.into()))?;
            by.push((*account, read.map_or(0, |row| row.nonce)));
        }
        let kept: Vec<Kept> = accounts.iter().map(|id| self.kept(id)).collect();
        let next = by
            .iter()
            .zip(&kept)
            .map(|((id, nonce), kept)| (*id, kept.next().max(*nonce)));
        let next: Vec<(NodeId, u64)> = next.collect();
        let mut sent = self.send(&next, signers, op, id).await?;
        // What this machine kept may be of records that were dropped.
        if sent.0.answer.code == Code::BadNonce && next != by {
            sent = self.send(&by, signers, op, id).await?;
        }
        let (body, request) = sent;
        if body.answer.code != Code::Ok {
            let code = body.answer.code;
            let mut why = format!("{}: {}", code.name(), meaning(code));
            if code == Code::Funds
                && let Some((payer, _)) = by.first()
            {
                why = format!("{why}{}", self.available(payer).await);
            }
            return Err(Fail::Peer(why));
        }
        for ((_, nonce), kept) in request.by.iter().zip(&kept) {
            kept.keep(kept.next().max(nonce + 1))?;
        }
        let is_final = match ask.wait {
            true => self.covered(body.answer.seq, &request).await?,
            false => false,
        };
        Ok(Accepted {
            body,
            request,
            is_final,
        })
    }

    /// What an account has under the final head, in words; empty where that cannot be learnt.
    async fn available(&mut self, account: &NodeId) -> String {
        let keys = [Asset::Fog, Asset::Units].map(|a| (table::BALANCES, balance_key(account, a)));
        let Ok((_, rows)) = self.rows(&keys).await else {
            return String::new();
        };
        let mut all = rows.iter().map(|row| balance_of(row.as_deref()));
        let (Some(Ok(coins)), Some(Ok(units))) = (all.next(), all.next()) else {
            return String::new();
        };
        let (name, coins) = (shown(account), fog(coins.available()));
        match units.available() {
            0 => format!("; {name} has {coins} FOG under the final head"),
            units => format!("; {name} has {coins} FOG and {units} units under the final head"),
        }
    }

    pub(super) fn kept(&self, account: &NodeId) -> Kept {
        let ledger = client::short(self.trust.genesis());
        Kept::of(self.state.as_deref(), &ledger, account)
    }

    async fn send(
        &mut self,
        by: &[(NodeId, u64)],
        signers: &[&Identity],
        op: &Op,
        id: Id,
    ) -> Result<(AnswerBody, Request), Fail> {
        let request = Request::new(by, now_ms() + VALID_MS, id, op);
        let request = request.ok_or_else(|| {
            Fail::Usage(
                "the request is out of its bounds: an amount is 1 or more, payer and payee differ"
                    .into(),
            )
        })?;
        let genesis: Hash = *self.trust.genesis().id();
        let envelope = Envelope::sign(request, &genesis, signers);
        let body = self.post(&envelope).await?;
        Ok((body, envelope.request))
    }

    /// Sends a signed request, and verifies the answer.
    pub(super) async fn post(&mut self, envelope: &Envelope) -> Result<AnswerBody, Fail> {
        let bytes = envelope.to_bytes();
        let replied = self
            .ask(client::submit_request(&bytes), Some(bytes.clone()))
            .await?;
        let body = client::answer(&replied, &self.peer.key, envelope);
        body.map_err(|e| self.fault(&e))
    }

    /// Waits until a final head covers a record, and checks that it is the one of this request.
    pub(super) async fn covered(&mut self, seq: u64, request: &Request) -> Result<bool, Fail> {
        let wait = async {
            let mut is_told = false;
            loop {
                if let Ok((head, _)) = self.head().await
                    && head.head().size > seq
                {
                    return Ok::<_, Fail>(head);
                }
                if !is_told {
                    note!("record {seq} waits for a final head; signers make one within a minute");
                    is_told = true;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let waited = timeout(FINAL, wait).await;
        let head = waited.unwrap_or_else(|_| {
            let s = FINAL.as_secs();
            Err(Fail::Peer(format!(
                "record {seq} is under no final head after {s} s: see whether the signers run"
            )))
        })?;
        let record = self.record(seq, &head).await?;
        let read = Envelope::from_bytes(&record.req);
        match read.is_some_and(|read| read.request.digest() == request.digest()) {
            true => Ok(true),
            false => Err(self.fault(&ClientError::Proof)),
        }
    }

    /// A record, proven under a final head.
    pub(super) async fn record(&mut self, n: u64, head: &SignedHead) -> Result<Record, Fail> {
        let size = head.head().size;
        let bytes = self.get(&format!("record/{n}?size={size}")).await?;
        client::record(&bytes, n, head).map_err(|e| self.fault(&e))
    }

    pub(crate) async fn close(mut self) {
        // Do not wait longer for a peer that does not respond.
        let _ = timeout(GOODBYE, async {
            if let Some(session) = self.open.take() {
                session.close().await;
            }
            self.dialling.leave().await;
        })
        .await;
    }
}

/// A head, and values with their proofs.
pub(crate) type Proven = (SignedHead, Vec<(Option<Vec<u8>>, Vec<u8>)>);

/// Runs work with a ledger, which is closed afterwards.
macro_rules! with_ledger {
    ($open:expr, |$ledger:ident| $work:expr) => {{
        let mut $ledger = $open.await?;
        let done = async { $work }.await;
        $ledger.close().await;
        done
    }};
}
pub(crate) use with_ledger;
