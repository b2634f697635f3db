//! The face over BAR: DET-CBOR bodies.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use betanet_bar::{Client, Method, status};
use betanet_keys::Identity;
use betanet_log::SignedHead;
use betanet_session::{Call, CallBody, Part, Reply, Room, Service, ServiceFuture};
use betanet_tokenomics::Code;
use betanet_tokenomics::request::ENVELOPE_MAX;
use betanet_wire::text::unhex;
use betanet_wire::{ChargeTo, cbor};
use tokio::time::Instant;

use crate::body::{RefusalBody, SignedAnswer};
use crate::rates::Rates;
use crate::shared::Shared;
use crate::state::{Answer, Ask};

/// Seconds after which a refused client may ask again.
const RETRY_AFTER: &str = "1";
/// Longest that a body is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest key of a table, in bytes: a proposal or snapshot with an account is shorter.
const KEY_MAX: usize = 128;

/// What answers requests.
pub(crate) struct Api {
    pub(crate) shared: Arc<Shared>,
    /// Signs answers: the key of the node's sessions.
    pub(crate) identity: Identity,
    pub(crate) room: Room,
    pub(crate) rates: Rates,
    /// Heads that brought no signature, by address: apart from requests, so that neither stops the other.
    pub(crate) heads: Rates,
    /// Requests to the machine that were refused, by code.
    pub(crate) refused: Mutex<BTreeMap<Code, u64>>,
    pub(crate) requests: AtomicU64,
    pub(crate) accepted: AtomicU64,
}

/// A refusal that the machine did not decide.
#[derive(Debug)]
struct Refused {
    status: u16,
    code: u16,
    why: &'static str,
    location: Option<String>,
}

impl Refused {
    const fn new(status: u16, why: &'static str) -> Self {
        Self {
            status,
            code: 0,
            why,
            location: None,
        }
    }

    const fn malformed(why: &'static str) -> Self {
        Self::new(status::BAD_REQUEST, why)
    }

    fn crowded(why: &'static str) -> Self {
        Self {
            code: Code::Busy.number(),
            ..Self::new(status::TOO_MANY, why)
        }
    }
}

/// The service for the prefix `/economy/1`.
pub(crate) struct BarService(pub(crate) Arc<Api>);

impl Service for BarService {
    fn call(&self, call: Call) -> ServiceFuture {
        let api = Arc::clone(&self.0);
        Box::pin(async move {
            api.requests.fetch_add(1, Ordering::Relaxed);
            match api.answer(call).await {
                Ok((status, body)) => whole(status, body),
                Err(refused) => refusal(refused),
            }
        })
    }
}

fn whole(status: u16, body: Vec<u8>) -> Reply {
    let reply = Reply::new(status)
        .with_header("content-type", "application/cbor")
        .with_header("content-length", body.len().to_string())
        .with_body(body);
    match status {
        status::TOO_MANY | status::UNAVAILABLE => reply.with_header("retry-after", RETRY_AFTER),
        _ => reply,
    }
}

fn refusal(refused: Refused) -> Reply {
    let body = cbor::to_vec(&RefusalBody {
        why: refused.why,
        code: refused.code.into(),
    });
    let reply = whole(refused.status, body);
    match refused.location {
        Some(leader) => reply.with_header("location", leader),
        None => reply,
    }
}

impl Api {
    fn elsewhere(&self) -> Refused {
        let why = match self.shared.location() {
            Some(_) => "this node follows: the leader is named in location",
            None => "the ledger's journal is not led here now; try again later",
        };
        Refused {
            location: self.shared.location(),
            ..Refused::new(status::UNAVAILABLE, why)
        }
    }

    async fn answer(&self, call: Call) -> Result<(u16, Vec<u8>), Refused> {
        let charge = match call.client {
            Client::Direct(_) => Some(call.from.charge),
            Client::Anonymous => None,
        };
        let part = self.room.part(charge);
        let mut part = part.ok_or_else(|| Refused::crowded("too many requests are under way"))?;
        let target = call.request.target.clone();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let path = path.strip_prefix(crate::PREFIX).unwrap_or_default();
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (call.request.method, segments.as_slice()) {
            (Method::Post, ["request"]) => {
                let now = Instant::now();
                if !self.rates.allows(charge, now) {
                    let why = "too many requests of this address were refused";
                    return Err(Refused::crowded(why));
                }
                if self.shared.leader().is_some() {
                    return Err(self.elsewhere());
                }
                let envelope = read(call.body, &mut part, ENVELOPE_MAX).await?;
                let (code, repeat, body) = self.request(envelope).await?;
                // Neither a refusal nor a repeat costs a fee.
                if code != Code::Ok || repeat {
                    self.rates.refused(charge, now);
                }
                Ok((code.status(), body))
            }
            (Method::Post, ["sign"]) => {
                if self.shared.leader().is_some() {
                    return Err(self.elsewhere());
                }
                let now = Instant::now();
                self.may_bring(charge, now)?;
                let body = read(call.body, &mut part, ENVELOPE_MAX).await?;
                // A head can carry many signatures that do not verify.
                let (is_new, answer) = match self.sign(&body).await {
                    Ok((is_new, answer)) => (is_new, Ok(answer)),
                    Err(refused) => (false, Err(refused)),
                };
                if !is_new {
                    self.heads.refused(charge, now);
                }
                answer
            }
            (Method::Post, ["anchor"]) => {
                if self.shared.leader().is_some() {
                    return Err(self.elsewhere());
                }
                let now = Instant::now();
                self.may_bring(charge, now)?;
                let body = read(call.body, &mut part, ENVELOPE_MAX).await?;
                let taken = self.countersigned(&body);
                if !matches!(taken, Ok(true)) {
                    self.heads.refused(charge, now);
                }
                taken.map(|is_new| (status::OK, cbor::to_vec(&is_new)))
            }
            (Method::Get, ["anchor"]) => match self.shared.posted.open() {
                Some(envelope) => Ok((status::OK, envelope)),
                None => Err(Refused::new(status::NOT_FOUND, "no record waits")),
            },
            (Method::Get, ["genesis"]) => {
                let genesis = self.shared.setup.genesis.as_bytes();
                Ok((status::OK, genesis.to_vec()))
            }
            (Method::Get, segments) => self.body(asked(segments, query)?).await,
            _ => Err(Refused::new(status::NOT_FOUND, "no such resource")),
        }
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, Refused> {
        let answer = self.shared.ask(ask).await;
        answer.map_err(|_| self.elsewhere())
    }

    async fn body(&self, ask: Ask) -> Result<(u16, Vec<u8>), Refused> {
        match self.ask(ask).await? {
            Answer::Body(Some(body)) => Ok((status::OK, body)),
            Answer::Body(None) => Err(Refused::new(status::NOT_FOUND, "there is none yet")),
            _ => Err(odd()),
        }
    }

    /// The code of an answer, whether it repeats another, and its body.
    async fn request(&self, envelope: Vec<u8>) -> Result<(Code, bool, Vec<u8>), Refused> {
        let body = match self.ask(Ask::Request(envelope)).await? {
            Answer::Answered(body) => body,
            Answer::Ahead => {
                let why = "the ledger's last record is over 10 minutes ahead of this node's clock";
                return Err(Refused::new(status::UNAVAILABLE, why));
            }
            _ => return Err(odd()),
        };
        let code = body.answer.code;
        match code {
            Code::Ok => {
                self.accepted.fetch_add(1, Ordering::Relaxed);
            }
            _ => {
                let mut counts = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
                *counts.entry(code).or_default() += 1;
            }
        }
        let repeat = body.answer.repeat;
        let bytes = body.to_bytes();
        let sig = body.sign(&self.identity);
        let signed = cbor::to_vec(&SignedAnswer { sig, body: &bytes });
        Ok((code, repeat, signed))
    }

    /// Refuses who has brought too many heads without a new signature.
    fn may_bring(&self, charge: Option<ChargeTo>, now: Instant) -> Result<(), Refused> {
        let why = "too many heads of this address brought no signature";
        match self.heads.allows(charge, now) {
            true => Ok(()),
            false => Err(Refused::crowded(why)),
        }
    }

    /// Takes maintainers' signatures of the record for the ledger of names. Returns whether one was new.
    fn countersigned(&self, body: &[u8]) -> Result<bool, Refused> {
        let brought = betanet_keys::Envelope::from_bytes(body);
        let brought = brought.map_err(|_| Refused::malformed("the body is no registry record"))?;
        let list = self.shared.maintainers.as_ref();
        let taken = list.and_then(|list| self.shared.posted.take(brought, list));
        let why = "the record is not the one that waits for signatures";
        taken.ok_or(Refused::new(status::CONFLICT, why))
    }

    /// Whether a head brought a signature, and the answer.
    async fn sign(&self, body: &[u8]) -> Result<(bool, (u16, Vec<u8>)), Refused> {
        let head =
            SignedHead::from_bytes(body).map_err(|_| Refused::malformed("the body is no head"))?;
        match self.ask(Ask::Sign(head)).await? {
            Answer::Taken(Ok(taken)) => {
                let body = cbor::to_vec(&taken.is_final);
                Ok((taken.is_new, (status::OK, body)))
            }
            Answer::Taken(Err(error)) => {
                tracing::debug!(%error, "signatures of a head are not taken");
                let why = "the head is not the one that waits for signatures";
                Err(Refused::new(status::CONFLICT, why))
            }
            _ => Err(odd()),
        }
    }
}

/// Reads what a GET asks for.
fn asked(segments: &[&str], query: &str) -> Result<Ask, Refused> {
    Ok(match segments {
        ["head"] => Ask::Head,
        ["proposal"] => Ask::Proposal,
        ["record", n] => {
            let n = n
                .parse()
                .map_err(|_| Refused::malformed("a record has a number"))?;
            Ask::Record(n, number(query, "size")?)
        }
        ["consistency"] => Ask::Consistency(number(query, "from")?, number(query, "to")?),
        ["journal"] => Ask::Journal(number(query, "after")?, number(query, "n")?),
        ["state", table, key] => {
            let table = table
                .parse()
                .ok()
                .filter(|t| usize::from(*t) < betanet_tokenomics::TABLES);
            let table = table.ok_or(Refused::malformed("a table is 0 to 19"))?;
            Ask::State(table, hex_key(key)?)
        }
        // The one row of table 0 has no key.
        ["state", "0"] => Ask::State(0, Vec::new()),
        _ => return Err(Refused::new(status::NOT_FOUND, "no such resource")),
    })
}

fn hex_key(text: &str) -> Result<Vec<u8>, Refused> {
    let short = text.len() <= 2 * KEY_MAX;
    let key = short.then(|| unhex(text)).flatten();
    key.ok_or(Refused::malformed("a key is at most 128 bytes in hex"))
}

fn odd() -> Refused {
    tracing::error!("the ledger answered something else than it was asked");
    Refused::new(status::INTERNAL, "a fault of this node")
}

/// A number of the query.
fn number(query: &str, key: &'static str) -> Result<u64, Refused> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let text = pairs.find(|(k, _)| *k == key).map(|(_, text)| text);
    let number = text.and_then(|t| t.parse().ok());
    number.ok_or(Refused::malformed("the query lacks a number"))
}

/// Reads a body of bounded length, in bounded time.
async fn read(body: CallBody, part: &mut Part, most: usize) -> Result<Vec<u8>, Refused> {
    let read = tokio::time::timeout(PATIENCE, read_all(body, part, most)).await;
    read.map_err(|_| Refused::malformed("the body is not whole after 30 s"))?
}

async fn read_all(mut body: CallBody, part: &mut Part, most: usize) -> Result<Vec<u8>, Refused> {
    let mut all = Vec::new();
    let broken = |_| Refused::malformed("the body broke off");
    while let Some(bytes) = body.chunk().await.map_err(broken)? {
        if all.len() + bytes.len() > most {
            return Err(Refused {
                code: Code::Malformed.number(),
                ..Refused::malformed("the body is too long")
            });
        }
        if !part.grow(bytes.len()) {
            return Err(Refused::crowded("too many bodies are under way"));
        }
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}
