//! The face over BAR: DET-CBOR bodies.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use betanet_bar::{Client, Method, status};
use betanet_log::SignedHead;
use betanet_naming::{Alias, HeadFault, Reject};
use betanet_session::{Call, CallBody, Part, Reply, Room, Service, ServiceFuture};
use betanet_wire::{Code, cbor};
use bytes::Bytes;

use crate::arithmetic::Arithmetic;
use crate::body::{BODY_MAX, LIST_MAX, Proposal, RefusalBody, SignatureBody, WaitsBody};
use crate::proposer::may_propose;
use crate::rates::Rates;
use crate::shared::Shared;
use crate::state::{Answer, Ask};

/// Seconds after which a refused client may ask again.
const RETRY_AFTER: &str = "1";
/// Longest type and key of a registry record that is asked for, in bytes.
const REGISTRY_TYPE_MAX: usize = 64;
const REGISTRY_KEY_MAX: usize = 256;
/// Longest that a body is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What answers requests.
pub(crate) struct Api {
    pub(crate) shared: Arc<Shared>,
    pub(crate) room: Room,
    /// Room of the nodes that the operator named, which strangers cannot fill.
    pub(crate) reserved: Room,
    pub(crate) rates: Rates,
    pub(crate) arithmetic: Arc<Arithmetic>,
    /// Refusals by code.
    pub(crate) refused: Mutex<BTreeMap<Code, u64>>,
    pub(crate) requests: AtomicU64,
}

/// A refusal.
#[derive(Debug)]
struct Refused {
    status: u16,
    code: Code,
    why: String,
    held: Vec<Bytes>,
}

impl Refused {
    fn new(status: u16, code: Code, why: impl Into<String>) -> Self {
        Self {
            status,
            code,
            why: why.into(),
            held: Vec::new(),
        }
    }

    fn unavailable() -> Self {
        let why = "the ledger's journal is not led here now; try again later";
        Self::new(status::UNAVAILABLE, Code::POLICY_REJECTED, why)
    }

    fn malformed(why: impl std::fmt::Display) -> Self {
        Self::new(status::BAD_REQUEST, Code::MALFORMED_FRAME, why.to_string())
    }

    fn crowded(why: &str) -> Self {
        Self::new(status::TOO_MANY, Code::POLICY_REJECTED, why)
    }
}

impl From<Reject> for Refused {
    fn from(reject: Reject) -> Self {
        let code = reject.code();
        let status = match (reject, code) {
            (Reject::Full, _) => status::TOO_MANY,
            (Reject::Split, _) => status::UNAVAILABLE,
            (_, Code::MALFORMED_FRAME) => status::BAD_REQUEST,
            (_, Code::ALIAS_SEQ_REPLAY | Code::ALIAS_ROTATION_CONFLICT | Code::REPLAY) => {
                status::CONFLICT
            }
            _ => status::FORBIDDEN,
        };
        Self::new(status, code, reject.to_string())
    }
}

impl From<HeadFault> for Refused {
    fn from(fault: HeadFault) -> Self {
        let code = fault.code();
        let status = match code {
            Code::MALFORMED_FRAME => status::BAD_REQUEST,
            Code::ALIAS_SIG_INVALID => status::FORBIDDEN,
            _ => status::CONFLICT,
        };
        Self::new(status, code, fault.to_string())
    }
}

/// The service for the prefix `/names/1`.
pub(crate) struct BarService(pub(crate) Arc<Api>);

impl Service for BarService {
    fn call(&self, call: Call) -> ServiceFuture {
        let api = Arc::clone(&self.0);
        Box::pin(async move {
            api.requests.fetch_add(1, Ordering::Relaxed);
            match api.answer(call).await {
                Ok((status, body)) => whole(status, body),
                Err(refused) => api.refusal(&refused),
            }
        })
    }
}

fn whole(status: u16, body: Vec<u8>) -> Reply {
    Reply::new(status)
        .with_header("content-type", "application/cbor")
        .with_header("content-length", body.len().to_string())
        .with_body(body)
}

impl Api {
    fn refusal(&self, refused: &Refused) -> Reply {
        let mut counts = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(refused.code).or_default() += 1;
        drop(counts);
        let held = || refused.held.iter().map(AsRef::as_ref).collect();
        let body = cbor::to_vec(&RefusalBody {
            why: &refused.why,
            code: refused.code.0.into(),
            held: (!refused.held.is_empty()).then(held),
        });
        let reply = whole(refused.status, body);
        match refused.status {
            status::TOO_MANY | status::UNAVAILABLE => reply.with_header("retry-after", RETRY_AFTER),
            _ => reply,
        }
    }

    async fn answer(&self, call: Call) -> Result<(u16, Vec<u8>), Refused> {
        let charge = match call.client {
            Client::Direct(_) => Some(call.from.charge),
            Client::Anonymous => None,
        };
        let named = match call.client {
            Client::Direct(node) => self.shared.is_named(node),
            Client::Anonymous => false,
        };
        let part = match named {
            true => self.reserved.part(charge),
            false => self.room.part(charge),
        };
        let mut part = part.ok_or_else(|| Refused::crowded("too many requests are under way"))?;
        let target = call.request.target.clone();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let path = path.strip_prefix(crate::PREFIX).unwrap_or_default();
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let now = tokio::time::Instant::now();
        if call.request.method == Method::Post && !named && !self.rates.take(charge, now) {
            return Err(Refused::crowded("too many requests of this address"));
        }
        match (call.request.method, segments.as_slice()) {
            (Method::Get, ["alias", name]) => self.body(Ask::Alias(alias(name)?)).await,
            (Method::Get, ["history", name]) => self.body(Ask::History(alias(name)?)).await,
            (Method::Get, ["registry", ty]) => self.body(Ask::Registry(registry(ty)?)).await,
            (Method::Get, ["registry", ty, key]) => self.body(registered(ty, key)?).await,
            (Method::Get, ["head"]) => self.body(Ask::Newest).await,
            (Method::Get, ["entries"]) => {
                let (from, n) = (number(query, "from")?, number(query, "n")?);
                if n > LIST_MAX {
                    return Err(Refused::malformed("n is at most 256"));
                }
                self.body(Ask::Entries(from, n)).await
            }
            (Method::Get, ["consistency"]) => {
                self.body(Ask::Consistency(number(query, "from")?)).await
            }
            (Method::Post, ["records"]) => {
                let body = read(call.body, &mut part).await?;
                self.submit(body).await
            }
            (Method::Post, ["head"]) => {
                let body = read(call.body, &mut part).await?;
                let head = SignedHead::from_bytes(&body).map_err(Refused::malformed)?;
                match self.ask(Ask::Head(head)).await? {
                    Answer::Head(taken) => taken
                        .map(|_| (status::NO_CONTENT, Vec::new()))
                        .map_err(Into::into),
                    _ => Err(odd()),
                }
            }
            (Method::Post, ["sign"]) => {
                let body = read(call.body, &mut part).await?;
                self.sign(&body).await
            }
            _ => {
                let why = "no such resource";
                Err(Refused::new(
                    status::NOT_FOUND,
                    Code::UNSUPPORTED_FEATURE,
                    why,
                ))
            }
        }
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, Refused> {
        self.shared
            .ask(ask)
            .await
            .map_err(|_| Refused::unavailable())
    }

    async fn body(&self, ask: Ask) -> Result<(u16, Vec<u8>), Refused> {
        match self.ask(ask).await? {
            Answer::Body(Some(body)) => Ok((status::OK, body)),
            Answer::Body(None) => {
                let why = "beyond the final records";
                Err(Refused::new(status::NOT_FOUND, Code::POLICY_REJECTED, why))
            }
            _ => Err(odd()),
        }
    }

    async fn verified(
        &self,
        records: Vec<Bytes>,
    ) -> Result<Vec<betanet_naming::Verified>, Refused> {
        let keys = self.shared.facts().borrow().signers.clone();
        let signers = betanet_log::Signers::from_bytes(&keys);
        let signers = signers.map_err(|_| Refused::unavailable())?;
        let verified = Arc::clone(&self.arithmetic).verify(signers, records).await;
        verified.ok_or_else(odd)
    }

    async fn submit(&self, body: Vec<u8>) -> Result<(u16, Vec<u8>), Refused> {
        let record = self
            .verified(vec![body.into()])
            .await?
            .pop()
            .ok_or_else(odd)?;
        // A record that is none costs the state nothing.
        record.entry()?;
        match self.ask(Ask::Submit(record)).await? {
            Answer::Submitted(Ok(index)) => {
                Ok((status::CREATED, cbor::to_vec(&WaitsBody { index })))
            }
            Answer::Submitted(Err(reject)) => Err(reject.into()),
            _ => Err(odd()),
        }
    }

    async fn sign(&self, body: &[u8]) -> Result<(u16, Vec<u8>), Refused> {
        if self.shared.setup.signer.is_none() {
            let why = "this node signs nothing";
            return Err(Refused::new(
                status::NOT_FOUND,
                Code::UNSUPPORTED_FEATURE,
                why,
            ));
        }
        let proposal = Proposal::from_bytes(body).map_err(|error| match error {
            crate::ProposalError::Signature => Refused::new(
                status::FORBIDDEN,
                Code::ALIAS_SIG_INVALID,
                error.to_string(),
            ),
            error => Refused::malformed(error),
        })?;
        // Strangers are refused before anything is verified for them.
        let facts = self.shared.facts().borrow().clone();
        let signers = betanet_log::Signers::from_bytes(&facts.fixed);
        let signers = signers.map_err(|_| Refused::unavailable())?;
        if !may_propose(&proposal, signers, &facts.maintainers) {
            let why = "the proposer is none of the signers";
            return Err(Refused::new(
                status::FORBIDDEN,
                Code::ALIAS_SIG_INVALID,
                why,
            ));
        }
        let records = self.verified(proposal.records().to_vec()).await?;
        match self.ask(Ask::Cosign(Box::new(proposal), records)).await? {
            Answer::Cosigned(Ok(signature)) => {
                Ok((status::OK, cbor::to_vec(&SignatureBody { signature })))
            }
            Answer::Cosigned(Err(refused)) => Err(Refused {
                held: refused.held,
                ..Refused::new(
                    status::CONFLICT,
                    refused.why.code(),
                    refused.why.to_string(),
                )
            }),
            _ => Err(odd()),
        }
    }
}

fn odd() -> Refused {
    tracing::error!("the ledger answered something else than it was asked");
    Refused::new(
        status::INTERNAL,
        Code::INTERNAL_ERROR,
        "a fault of this node",
    )
}

fn alias(text: &str) -> Result<Alias, Refused> {
    Alias::from_wire(text).map_err(|why| Refused::malformed(format!("{text:?}: {why}")))
}

/// A type of registry records, in letters and digits.
fn registry(ty: &str) -> Result<String, Refused> {
    let named = (1..=REGISTRY_TYPE_MAX).contains(&ty.len())
        && ty.bytes().all(|b| b.is_ascii_alphanumeric());
    match named {
        true => Ok(ty.to_owned()),
        false => Err(Refused::malformed("a type has 1 to 64 letters and digits")),
    }
}

/// A type of registry records, and a key in hex.
fn registered(ty: &str, key: &str) -> Result<Ask, Refused> {
    let ty = registry(ty)?;
    let short = key.len() <= 2 * REGISTRY_KEY_MAX;
    let key = short.then(|| betanet_wire::text::unhex(key)).flatten();
    match key {
        Some(key) => Ok(Ask::Registered(ty, key)),
        None => Err(Refused::malformed("a type and a key in hex")),
    }
}

/// A number of the query.
fn number(query: &str, key: &str) -> Result<u64, Refused> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let text = pairs.find(|(k, _)| *k == key).map(|(_, text)| text);
    let number = text.and_then(|t| t.parse().ok());
    number.ok_or_else(|| Refused::malformed(format!("{key} is a number")))
}

/// Reads a body of bounded length, in bounded time.
async fn read(body: CallBody, part: &mut Part) -> Result<Vec<u8>, Refused> {
    let read = tokio::time::timeout(PATIENCE, read_all(body, part)).await;
    read.map_err(|_| Refused::malformed("the body is not whole after 30 s"))?
}

async fn read_all(mut body: CallBody, part: &mut Part) -> Result<Vec<u8>, Refused> {
    let mut all = Vec::new();
    while let Some(bytes) = body.chunk().await.map_err(Refused::malformed)? {
        if all.len() + bytes.len() > BODY_MAX {
            return Err(Refused::malformed("the body is too long"));
        }
        if !part.grow(bytes.len()) {
            return Err(Refused::crowded("too many bodies are under way"));
        }
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}
