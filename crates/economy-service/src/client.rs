//! Requests to a ledger's node, and answers that are checked against the genesis's signers: the node is never trusted.

use betanet_bar::{Headers, Method, Request};
use betanet_keys::{PublicKey, hash};
use betanet_log::{SignedHead, Signers, leaf_hash, verify_inclusion};
use betanet_session::Answer;
use betanet_tokenomics::journal::{AnswerBody, Record};
use betanet_tokenomics::{Envelope, Error as MachineError, Genesis, verify_state};
use betanet_wire::cbor;
use betanet_wire::text::hex;

use crate::PREFIX;
use crate::body::{RecordBody, RefusalBody, SignedAnswer, StateBody, domain};

/// Reason why there is no answer that counts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The node refused before the machine was asked.
    #[error("the node answered {status}: {why}")]
    Refused {
        /// Status of the answer.
        status: u16,
        /// The reason, for people. Control characters are removed.
        why: Box<str>,
        /// The leader, as the node names it.
        location: Option<Box<str>>,
    },
    /// The exchange broke off.
    #[error("the exchange broke off")]
    Exchange(#[source] betanet_session::ExchangeError),
    /// A longer answer than there may be.
    #[error("the node's answer is too long")]
    TooLong,
    /// The answer does not decode.
    #[error("the node's answer does not decode: {0}")]
    Form(#[from] cbor::Error),
    /// The answer to a request does not decode.
    #[error("the node's answer to the request does not decode")]
    Answer,
    /// The answer is not signed by the node that gave it.
    #[error("the node's answer lacks its signature")]
    Signature,
    /// The answer is to another request.
    #[error("the node's answer is to another request")]
    OtherRequest,
    /// A head that enough signers did not sign.
    #[error("the node's head does not count: {0}")]
    Head(#[from] betanet_log::Error),
    /// The genesis is none.
    #[error(transparent)]
    Genesis(#[from] MachineError),
    /// A genesis whose signers are none.
    #[error("the genesis names no set of signers")]
    NoSigners,
    /// The proof shows nothing under the head.
    #[error("the node's proof shows nothing under the final head")]
    Proof,
}

/// A node's answer: its status, and its body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Replied {
    /// Status of the answer.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// The leader, as the node names it.
    pub location: Option<Box<str>>,
}

impl Replied {
    /// Reads an answer of at most so many bytes.
    ///
    /// # Errors
    ///
    /// [`ClientError::Exchange`] or [`ClientError::TooLong`].
    pub async fn of(mut answer: Answer, most: usize) -> Result<Self, ClientError> {
        let status = answer.head.status;
        let location = answer.head.headers.text("location").map(Into::into);
        let read = answer.body.all(most).await.map_err(ClientError::Exchange)?;
        Ok(Self {
            status,
            body: read.ok_or(ClientError::TooLong)?,
            location,
        })
    }

    /// The body of an answer with status 200.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`].
    pub fn good(self) -> Result<Vec<u8>, ClientError> {
        match self.status {
            200 => Ok(self.body),
            _ => Err(self.refusal()),
        }
    }

    fn refusal(&self) -> ClientError {
        let why = match cbor::from_slice::<RefusalBody<'_>>(&self.body) {
            Ok(body) => body.why.to_owned(),
            Err(_) => String::from_utf8_lossy(&self.body).into_owned(),
        };
        let shown: String = why.chars().filter(|c| !c.is_control()).take(512).collect();
        ClientError::Refused {
            status: self.status,
            why: shown.into(),
            location: self.location.clone(),
        }
    }
}

/// A request without a body, below the service's prefix.
#[must_use]
pub fn get(target: &str) -> Request {
    Request::new(
        Method::Get,
        &format!("{PREFIX}/{target}"),
        Headers::default(),
    )
}

/// Asks for a row of the state.
#[must_use]
pub fn state_request(table: u8, key: &[u8]) -> Request {
    match key {
        [] => get(&format!("state/{table}")),
        key => get(&format!("state/{table}/{}", hex(key))),
    }
}

/// Submits an envelope, which is the request's body.
#[must_use]
pub fn submit_request(envelope: &[u8]) -> Request {
    let headers = Headers::default()
        .with("content-type", "application/cbor")
        .with("content-length", envelope.len().to_string());
    Request::new(Method::Post, &format!("{PREFIX}/request"), headers)
}

/// The leader's answer to an envelope, with its signature checked. `leader` is the key of the session.
///
/// # Errors
///
/// [`ClientError::Refused`] if the machine was not asked; otherwise the answer does not count.
pub fn answer(
    replied: &Replied,
    leader: &PublicKey,
    envelope: &Envelope,
) -> Result<AnswerBody, ClientError> {
    let Ok(signed) = cbor::from_slice::<SignedAnswer<'_>>(&replied.body) else {
        return Err(replied.refusal());
    };
    let body = AnswerBody::from_bytes(signed.body).ok_or(ClientError::Answer)?;
    let verified = body.verify(leader, &signed.sig);
    verified.map_err(|_| ClientError::Signature)?;
    match body.req == envelope.request.digest() {
        true => Ok(body),
        false => Err(ClientError::OtherRequest),
    }
}

/// What a reader trusts: a genesis, which names the first signers, or signers that a verified journal led to.
#[derive(Clone, Debug)]
pub struct Trust {
    genesis: Genesis,
    signers: Signers,
}

impl Trust {
    /// Trusts the signers of a genesis.
    ///
    /// # Errors
    ///
    /// [`ClientError::Genesis`] or [`ClientError::NoSigners`].
    pub fn new(genesis: &[u8]) -> Result<Self, ClientError> {
        let genesis = Genesis::from_bytes(genesis)?;
        let signers = Signers::from_bytes(&genesis.signers());
        Ok(Self {
            signers: signers.map_err(|_| ClientError::NoSigners)?,
            genesis,
        })
    }

    /// Trusts these signers instead, which a verified journal of the ledger lists at its last head.
    ///
    /// # Errors
    ///
    /// [`ClientError::NoSigners`].
    pub fn with_signers(mut self, keys: &[[u8; 32]]) -> Result<Self, ClientError> {
        let signers = Signers::from_bytes(keys);
        self.signers = signers.map_err(|_| ClientError::NoSigners)?;
        Ok(self)
    }

    /// The genesis.
    #[must_use]
    pub const fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Reads a final head, and checks its signatures. Those that do not count are removed.
    ///
    /// # Errors
    ///
    /// [`ClientError::Head`], also for a set of signers that a vote put in force: replay the journal then.
    pub fn head(&self, bytes: &[u8]) -> Result<SignedHead, ClientError> {
        let mut head = SignedHead::from_bytes(bytes)?;
        let domain = domain(self.genesis.id());
        head.check(domain, &self.signers)?;
        head.clean(domain, &self.signers);
        Ok(head)
    }
}

/// A row's value, or its absence, under a final head.
///
/// # Errors
///
/// [`ClientError::Form`] or [`ClientError::Proof`].
pub fn state(
    bytes: &[u8],
    (table, key): (u8, &[u8]),
    head: &SignedHead,
) -> Result<Option<Vec<u8>>, ClientError> {
    let StateBody(proof) = cbor::from_slice(bytes)?;
    let root = head.head().state.ok_or(ClientError::Proof)?;
    let other = proof.other.as_ref().map(|(key, value)| (key, &value[..]));
    let value = proof.value.as_deref();
    match verify_state(&root, (table, key), value, &proof.path, other) {
        true => Ok(proof.value),
        false => Err(ClientError::Proof),
    }
}

/// A record under a final head.
///
/// # Errors
///
/// [`ClientError::Form`] or [`ClientError::Proof`].
pub fn record(bytes: &[u8], n: u64, head: &SignedHead) -> Result<Record, ClientError> {
    let body: RecordBody<'_> = cbor::from_slice(bytes)?;
    let head = head.head();
    let leaf = leaf_hash(body.record);
    let record = Record::from_bytes(body.record).ok_or(ClientError::Answer)?;
    match verify_inclusion(&leaf, n, head.size, &body.path, &head.root) && record.seq == n {
        true => Ok(record),
        false => Err(ClientError::Proof),
    }
}

/// The short name of a ledger: the first bytes of its ID.
#[must_use]
pub fn short(genesis: &Genesis) -> String {
    hex(genesis.id().get(..8).unwrap_or_default())
}

/// `H(text)`, by which a proposal names its text.
#[must_use]
pub fn text_hash(text: &[u8]) -> [u8; 32] {
    hash(&[text])
}
