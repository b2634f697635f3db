//! Requests to a ledger node, and answers that are checked against the signers' keys: the node is never trusted.

use std::collections::BTreeSet;

use betanet_bar::{Headers, Method, Request};
use betanet_keys::{Common, Envelope};
use betanet_log::{SignedHead, Split};
use betanet_naming::{Alias, Finalized, LIFE_MS, Proof, Status};
use betanet_session::Answer;
use betanet_wire::{Code, NodeId, cbor};
use bytes::Bytes;

use crate::body::{
    AliasBody, ConsistencyBody, EntriesBody, HeadBody, HistoryBody, REGISTRY_MAX, RefusalBody,
    RegistryBody, RegistryListBody, WaitsBody,
};

pub use crate::fault::{ClientError, Refusal};
pub use crate::trust::Trust;

/// Reads the body of an answer with status 200 or 201. Others are refusals.
///
/// # Errors
///
/// [`ClientError::Refused`], [`ClientError::Exchange`] or [`ClientError::TooLong`].
pub async fn body(mut answer: Answer, most: usize) -> Result<Vec<u8>, ClientError> {
    let status = answer.head.status;
    let read = answer.body.all(most).await.map_err(ClientError::Exchange)?;
    let bytes = read.ok_or(ClientError::TooLong)?;
    if (200..300).contains(&status) {
        return Ok(bytes);
    }
    let refusal = match cbor::from_slice::<RefusalBody<'_>>(&bytes) {
        Ok(body) => Refusal {
            status,
            code: Code(u16::try_from(body.code).unwrap_or(u16::MAX)),
            why: shown(body.why),
            held: body
                .held
                .unwrap_or_default()
                .into_iter()
                .map(Bytes::copy_from_slice)
                .collect(),
        },
        // Another service's answer.
        Err(_) => Refusal {
            status,
            code: Code::UNSUPPORTED_FEATURE,
            why: shown(&String::from_utf8_lossy(&bytes)),
            held: Vec::new(),
        },
    };
    Err(ClientError::Refused(Box::new(refusal)))
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(512).collect()
}

fn get(target: &str) -> Request {
    let target = format!("{}/{target}", crate::PREFIX);
    Request::new(Method::Get, &target, Headers::default())
}

/// Asks about an alias: [`resolved`] reads the answer.
#[must_use]
pub fn alias_request(alias: &Alias) -> Request {
    get(&format!("alias/{alias}"))
}

/// Asks for the records of an alias: [`history`] reads the answer.
#[must_use]
pub fn history_request(alias: &Alias) -> Request {
    get(&format!("history/{alias}"))
}

/// Asks for the record that stands for a type and key of a registry: [`registered`] reads the answer.
#[must_use]
pub fn registry_request(ty: &str, key: &[u8]) -> Request {
    get(&format!("registry/{ty}/{}", betanet_wire::text::hex(key)))
}

/// Asks for the records that stand for a type of a registry: [`registry`] reads the answer.
#[must_use]
pub fn registry_list_request(ty: &str) -> Request {
    get(&format!("registry/{ty}"))
}

/// Asks for the newest head: [`newest`] reads the answer.
#[must_use]
pub fn head_request() -> Request {
    get("head")
}

/// Asks for final records: [`entries`] reads the answer.
#[must_use]
pub fn entries_request(from: u64, n: u64) -> Request {
    get(&format!("entries?from={from}&n={n}"))
}

/// Asks for a proof from a size to the newest head: [`consistency`] reads the answer.
#[must_use]
pub fn consistency_request(from: u64) -> Request {
    get(&format!("consistency?from={from}"))
}

/// Submits a record: [`waits`] reads the answer. The request's body is the record.
#[must_use]
pub fn submit_request(record: &[u8]) -> Request {
    let target = format!("{}/records", crate::PREFIX);
    let headers = Headers::default()
        .with("content-type", "application/cbor")
        .with("content-length", record.len().to_string());
    Request::new(Method::Post, &target, headers)
}

/// Index that a submitted record would have if its node proposed now.
///
/// # Errors
///
/// [`ClientError::Form`].
pub fn waits(bytes: &[u8]) -> Result<u64, ClientError> {
    Ok(cbor::from_slice::<WaitsBody>(bytes)?.index)
}

/// The answer about an alias, verified.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The condition. `Unknown` cannot be proved: it is the node's word.
    pub status: Status,
    /// The latest record, and its proof.
    pub latest: Option<(Box<Finalized>, Proof)>,
    /// A record that contradicts it, and its proof.
    pub rival: Option<(Box<Finalized>, Proof)>,
    /// The newest head.
    pub head: Option<SignedHead>,
}

impl Resolved {
    /// Takes another node's answer into account. Returns `false` if that one is newer and should replace this one.
    ///
    /// Two records of one `seq` that are both final are a conflict, whichever nodes showed them.
    #[must_use]
    pub fn merge(&mut self, other: &Self) -> bool {
        if self.seq() != other.seq() {
            return self.seq() > other.seq();
        }
        if let (Some((a, _)), Some((b, _))) = (&self.latest, &other.latest)
            && a.digest() != b.digest()
        {
            self.rival.clone_from(&other.latest);
            self.status = Status::Conflicted;
        }
        if other.status == Status::Conflicted {
            self.status = Status::Conflicted;
            let rival = || other.rival.clone();
            self.rival = self.rival.take().or_else(rival);
        }
        true
    }

    /// The node that the alias leads to. A conflicted alias leads nowhere: its signers contradict themselves.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        let (latest, _) = self.latest.as_ref()?;
        (self.status == Status::Bound).then_some(latest.record().node)
    }

    /// `seq` of the latest record; 0 without one.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.latest.as_ref().map_or(0, |(f, _)| f.record().seq)
    }

    /// UNIX milliseconds at which the latest record expires.
    #[must_use]
    pub fn expires(&self) -> Option<u64> {
        let (latest, _) = self.latest.as_ref()?;
        Some(latest.record().ts.saturating_add(LIFE_MS))
    }
}

/// The condition that a record shows at a time.
#[must_use]
pub fn condition(finalized: &Finalized, unix_ms: u64) -> Status {
    let record = finalized.record();
    if unix_ms >= record.ts.saturating_add(LIFE_MS) {
        Status::Expired
    } else if record.is_retirement() {
        Status::Retired
    } else {
        Status::Bound
    }
}

/// Reads and verifies the answer about an alias. `unix_ms` is the reader's clock.
///
/// # Errors
///
/// [`ClientError`].
pub fn resolved(
    bytes: &[u8],
    alias: &Alias,
    trust: &mut Trust,
    unix_ms: u64,
) -> Result<Resolved, ClientError> {
    let body: AliasBody<'_> = cbor::from_slice(bytes)?;
    trust.follow(body.rotations.iter().copied())?;
    let read = |bytes: Option<&[u8]>| -> Result<Option<(Box<Finalized>, Proof)>, ClientError> {
        let Some(bytes) = bytes else {
            return Ok(None);
        };
        let proof = Proof::from_bytes(bytes)?;
        let finalized = trust.verify(&proof, Some(alias))?;
        Ok(Some((finalized, proof)))
    };
    let (latest, rival) = (read(body.proof)?, read(body.rival)?);
    let head = body.head.map(SignedHead::from_bytes).transpose()?;
    let proofs = latest.iter().chain(&rival).map(|(_, proof)| proof.head());
    let heads: Vec<SignedHead> = proofs.chain(&head).cloned().collect();
    trust.see(&heads)?;
    let conflicts = |(a, _): &(Box<Finalized>, Proof), (b, _): &(Box<Finalized>, Proof)| {
        a.record().seq == b.record().seq && a.digest() != b.digest()
    };
    let shown = match (&latest, &rival) {
        (None, _) => Status::Unknown,
        (Some(a), Some(b)) if conflicts(a, b) => Status::Conflicted,
        (Some((finalized, _)), _) => condition(finalized, unix_ms),
    };
    let word = crate::state::word(shown);
    // Clocks differ: only expiry may.
    let by_clock = [body.status, word].contains(&"expired");
    if body.status != word && !by_clock {
        let said = self::shown(body.status);
        return Err(ClientError::Contradiction { said, shown: word });
    }
    Ok(Resolved {
        status: shown,
        latest,
        rival,
        head,
    })
}

/// Reads and verifies the records of an alias, newest first.
///
/// # Errors
///
/// [`ClientError`].
pub fn history(
    bytes: &[u8],
    alias: &Alias,
    trust: &mut Trust,
) -> Result<Vec<(Box<Finalized>, Proof)>, ClientError> {
    let body: HistoryBody<'_> = cbor::from_slice(bytes)?;
    trust.follow(body.rotations.iter().copied())?;
    let each = body.proofs.iter().map(|bytes| {
        let proof = Proof::from_bytes(bytes)?;
        Ok((trust.verify(&proof, Some(alias))?, proof))
    });
    let all: Vec<(Box<Finalized>, Proof)> = each.collect::<Result<_, ClientError>>()?;
    let heads: Vec<SignedHead> = all.iter().map(|(_, proof)| proof.head().clone()).collect();
    trust.see(&heads)?;
    Ok(all)
}

/// Reads and verifies the registry record that stands for a type and key: it is final, and enough maintainers signed it. `None` is the
/// node's word.
///
/// # Errors
///
/// [`ClientError`].
pub fn registered(
    bytes: &[u8],
    (ty, key): (&str, &[u8]),
    trust: &mut Trust,
) -> Result<Option<Envelope>, ClientError> {
    let body: RegistryBody<'_> = cbor::from_slice(bytes)?;
    trust.follow(body.rotations.iter().copied())?;
    let head = body.head.map(SignedHead::from_bytes).transpose()?;
    let proof = body.proof.map(Proof::from_bytes).transpose()?;
    let heads = proof.iter().map(|proof| proof.head().clone()).chain(head);
    trust.see(&heads.collect::<Vec<_>>())?;
    let Some(proof) = proof else {
        return Ok(None);
    };
    trust.registered(&proof, (ty, key)).map(Some)
}

/// Reads and verifies the registry records that a node says stand for a type, like [`registered`]. Each key comes once.
///
/// # Errors
///
/// [`ClientError`].
pub fn registry(bytes: &[u8], ty: &str, trust: &mut Trust) -> Result<Vec<Envelope>, ClientError> {
    let body: RegistryListBody<'_> = cbor::from_slice(bytes)?;
    trust.follow(body.rotations.iter().copied())?;
    let head = body.head.map(SignedHead::from_bytes).transpose()?;
    let proofs = body.proofs.iter().take(REGISTRY_MAX);
    let proofs: Vec<Proof> = proofs
        .map(|bytes| Proof::from_bytes(bytes))
        .collect::<Result<_, _>>()?;
    let heads = proofs.iter().map(|proof| proof.head().clone()).chain(head);
    trust.see(&heads.collect::<Vec<_>>())?;
    let (mut all, mut keys) = (Vec::new(), BTreeSet::new());
    for proof in &proofs {
        let envelope = trust.registered_as(proof, ty)?;
        let common: Common<'_> = cbor::from_slice(envelope.record())?;
        if !keys.insert(common.key.to_vec()) {
            return Err(ClientError::OtherRecord);
        }
        all.push(envelope);
    }
    Ok(all)
}

/// The newest head of a node.
#[derive(Clone, Debug)]
pub struct Newest {
    /// The head, verified; `None` before the first.
    pub head: Option<SignedHead>,
    /// Evidence of two views, verified.
    pub split: Option<Split>,
    /// Number of records that wait.
    pub waiting: u64,
}

/// Reads and verifies a node's newest head.
///
/// # Errors
///
/// [`ClientError`].
pub fn newest(bytes: &[u8], trust: &mut Trust) -> Result<Newest, ClientError> {
    let body: HeadBody<'_> = cbor::from_slice(bytes)?;
    trust.follow(body.rotations.iter().copied())?;
    let head = body.head.map(SignedHead::from_bytes).transpose()?;
    trust.see(head.as_slice())?;
    let split = body.split.map(Split::from_bytes).transpose()?;
    if let Some(split) = &split {
        trust.check_split(split)?;
    }
    Ok(Newest {
        head,
        split,
        waiting: body.waiting,
    })
}

/// Final records, and the number of all.
///
/// # Errors
///
/// [`ClientError::Form`].
pub fn entries(bytes: &[u8]) -> Result<(Vec<Bytes>, u64), ClientError> {
    let body: EntriesBody<'_> = cbor::from_slice(bytes)?;
    let records = body.records.into_iter().map(Bytes::copy_from_slice);
    Ok((records.collect(), body.size))
}

/// Reads a connection from a size to a head, which is verified.
///
/// # Errors
///
/// [`ClientError`].
pub fn consistency(
    bytes: &[u8],
    trust: &Trust,
) -> Result<(SignedHead, betanet_log::Link), ClientError> {
    let body: ConsistencyBody<'_> = cbor::from_slice(bytes)?;
    let head = SignedHead::from_bytes(body.head)?;
    trust.check(&head)?;
    let (root, proof) = (body.root, body.proof);
    Ok((head, betanet_log::Link { root, proof }))
}
