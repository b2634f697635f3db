//! The client of mints and of redemption services.

mod error;
mod link;
mod send;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use betanet_bar::Method;
use betanet_keys::{Name, Peer, PublicKey, hash};
use betanet_machine::Rng;
use betanet_runtime::Clock;
use betanet_vouchers::message::{
    Answer, AnswerError, IssueAnswer, IssueRequest, MESSAGE_MAX, RestoreAnswer, SignedAnswer,
};
use betanet_vouchers::{Blinding, Keyset, KeysetId, Partials, Voucher, finish, is_good};
use betanet_wire::cbor;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use crate::forms::{self, Asked, REPORT_MAX, Signed};
use crate::keysets::{LIST_MAX, Offered, read as read_keysets};
pub use error::{ClientError, Part};
pub use link::{Connect, Connecting, Direct, Link, Mixed};

/// Most nodes with which sessions are kept.
const LINKS_MAX: usize = 256;

/// Limits of a client's waiting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Patience {
    /// Time for which a request is repeated while a node is busy or cannot be reached.
    pub repeat: Duration,
    /// Most attempts.
    pub tries: u32,
    /// Time in which a node must answer. Over the mix, six times as long.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            repeat: Duration::from_secs(30),
            tries: 8,
            answer: Duration::from_secs(20),
        }
    }
}

struct Inner {
    connect: Box<dyn Connect>,
    patience: Patience,
    clock: Clock,
    links: Mutex<BTreeMap<Name, Link>>,
}

/// A client of mints and redemption services. Clones share its sessions.
///
/// A request that got no answer is sent again with the same bytes: its number makes it idempotent.
#[derive(Clone)]
pub struct VoucherClient(Arc<Inner>);

impl std::fmt::Debug for VoucherClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VoucherClient").finish_non_exhaustive()
    }
}

impl VoucherClient {
    /// Creates a client.
    #[must_use]
    pub fn new(connect: impl Connect) -> Self {
        Self::with_patience(connect, Patience::default())
    }

    /// Creates a client with other time limits.
    #[must_use]
    pub fn with_patience(connect: impl Connect, patience: Patience) -> Self {
        Self(Arc::new(Inner {
            connect: Box::new(connect),
            patience,
            clock: Clock::start(),
            links: Mutex::default(),
        }))
    }

    /// The keysets that a node offers. They are not checked: see [`Keyset::check`].
    ///
    /// # Errors
    ///
    /// The node does not answer, or with something else.
    pub async fn keysets(&self, at: &Peer) -> Result<Vec<Offered>, ClientError> {
        let what = "list the keysets";
        let bytes = self
            .send(what, at, (Method::Get, "keysets", &[]), LIST_MAX)
            .await?;
        read_keysets(&bytes).map_err(|_| ClientError::Answer {
            what,
            part: Part::Body,
        })
    }

    /// Sends an encoded [`betanet_vouchers::message::RedeemRequest`], a check too, to the node with the key `spender`. The answer
    /// says of each voucher whether it was good.
    ///
    /// # Errors
    ///
    /// The node does not answer, or its answer is not signed by it, or not to this request.
    pub async fn redeem(
        &self,
        at: &Peer,
        spender: &PublicKey,
        request: &[u8],
    ) -> Result<Answer, ClientError> {
        let answer = self
            .signed("redeem the vouchers", at, "redeem", (spender, request))
            .await?;
        Ok(answer.0)
    }

    /// Sends an encoded [`betanet_vouchers::message::SwapRequest`]. The signed answer is the proof of payment with which mints
    /// sign the points ([`VoucherClient::issue`]).
    ///
    /// # Errors
    ///
    /// See [`VoucherClient::redeem`].
    pub async fn swap(
        &self,
        at: &Peer,
        spender: &PublicKey,
        request: &[u8],
    ) -> Result<(Answer, SignedAnswer), ClientError> {
        self.signed("swap the vouchers", at, "swap", (spender, request))
            .await
    }

    async fn signed(
        &self,
        what: &'static str,
        at: &Peer,
        path: &str,
        (spender, request): (&PublicKey, &[u8]),
    ) -> Result<(Answer, SignedAnswer), ClientError> {
        let bytes = self
            .send(what, at, (Method::Post, path, request), MESSAGE_MAX)
            .await?;
        let signed = |source| ClientError::Signed { what, source };
        let answer = Answer::verify(&bytes, spender).map_err(signed)?;
        if answer.request != hash(&[request]) {
            return Err(signed(AnswerError::OtherRequest));
        }
        Ok((answer, SignedAnswer(bytes)))
    }

    /// Sends an encoded [`IssueRequest`] to mints until as many have answered as the keyset's threshold, with different shares.
    /// Shares in `without` are not taken. The signatures are not verified; [`betanet_vouchers::finish`] does that. A mint that names
    /// another's share keeps that one out: [`VoucherClient::issue_vouchers`] verifies each answer before it counts.
    ///
    /// # Errors
    ///
    /// Too few mints answered; the last refusal is named.
    pub async fn issue(
        &self,
        mints: &[Peer],
        keyset: &Keyset,
        request: &[u8],
        without: &[u8],
    ) -> Result<Vec<Partials>, ClientError> {
        let in_range = |share| share > 0 && share <= keyset.shares() && !without.contains(&share);
        let in_range = &in_range;
        let ask = move |mint| async move {
            let answer = self.issue_at(mint, request).await?;
            Ok(in_range(answer.share).then_some(answer))
        };
        gather(mints, keyset, ask).await
    }

    async fn issue_at(&self, mint: &Peer, request: &[u8]) -> Result<Partials, ClientError> {
        let what = "issue vouchers";
        let asked = (Method::Post, "issue", request);
        let bytes = self.send(what, mint, asked, MESSAGE_MAX).await?;
        let wrong = |part| ClientError::Answer { what, part };
        let asked = IssueRequest::from_bytes(request).map_err(|_| wrong(Part::Request))?;
        // Points are decoded at a cost.
        let read = tokio::task::spawn_blocking(move || IssueAnswer::from_bytes(&bytes)).await;
        let answer = read
            .map_err(|_| wrong(Part::Body))?
            .map_err(|_| wrong(Part::Body))?;
        let fits = answer.id == asked.id && answer.partials.signatures.len() == asked.blinded.len();
        match fits {
            true => Ok(answer.partials),
            false => Err(wrong(Part::OtherRequest)),
        }
    }

    /// Issues vouchers: sends the request to mints, and joins their answers. Each answer is verified before it counts: one that is
    /// wrong, whatever share it names, keeps no other out.
    ///
    /// # Errors
    ///
    /// Too few mints answer rightly.
    pub async fn issue_vouchers(
        &self,
        mints: &[Peer],
        keyset: &Arc<Keyset>,
        request: &[u8],
        blindings: &[Blinding],
    ) -> Result<Vec<Voucher>, ClientError> {
        let blindings: Arc<[Blinding]> = blindings.into();
        let points = &blindings;
        let ask = move |mint| async move {
            let answer = self.issue_at(mint, request).await?;
            let (keyset, blindings) = (Arc::clone(keyset), Arc::clone(points));
            let verified =
                arithmetic(move |rng| is_good(&keyset, &blindings, &answer, rng).then_some(answer));
            verified.await
        };
        let answers = gather(mints, keyset, ask).await?;
        let (keyset, blindings) = (Arc::clone(keyset), Arc::clone(&blindings));
        let joined = arithmetic(move |rng| finish(&keyset, &blindings, &answers, rng));
        joined.await?.map_err(ClientError::Join)
    }

    /// Sends an encoded [`betanet_vouchers::message::RestoreRequest`] to one mint.
    ///
    /// # Errors
    ///
    /// The mint does not answer, or with something else.
    pub async fn restore(&self, mint: &Peer, request: &[u8]) -> Result<RestoreAnswer, ClientError> {
        let what = "restore vouchers";
        let asked = (Method::Post, "restore", request);
        let bytes = self.send(what, mint, asked, MESSAGE_MAX).await?;
        let wrong = |_| ClientError::Answer {
            what,
            part: Part::Body,
        };
        let read = tokio::task::spawn_blocking(move || RestoreAnswer::from_bytes(&bytes)).await;
        read.map_err(|_| wrong(()))?.map_err(|_| wrong(()))
    }

    /// Asks a mint how many points of each denomination it signed, and for the index of its share. It tells the keyset's spender
    /// only, so the client dials as that node.
    ///
    /// # Errors
    ///
    /// The mint does not answer, or with something else.
    pub async fn signed_points(
        &self,
        mint: &Peer,
        keyset: &KeysetId,
    ) -> Result<(u8, Signed), ClientError> {
        let what = "ask for the counts";
        let body = cbor::to_vec(&Asked { keyset: keyset.0 });
        let asked = (Method::Post, "signed", &body[..]);
        let bytes = self.send(what, mint, asked, REPORT_MAX).await?;
        forms::read(&bytes).map_err(|_| ClientError::Answer {
            what,
            part: Part::Body,
        })
    }

    /// Closes all sessions.
    pub async fn close(&self) {
        let links =
            std::mem::take(&mut *self.0.links.lock().unwrap_or_else(PoisonError::into_inner));
        for link in links.into_values() {
            link.close().await;
        }
    }
}

/// Asks mints until t of them gave an answer of a share each. `ask` gives none for an answer that does not count.
async fn gather<'a, F>(
    mints: &'a [Peer],
    keyset: &Keyset,
    ask: impl Fn(&'a Peer) -> F,
) -> Result<Vec<Partials>, ClientError>
where
    F: Future<Output = Result<Option<Partials>, ClientError>>,
{
    let need = usize::from(keyset.threshold());
    let mut rest = mints.iter();
    let mut asked: FuturesUnordered<F> = rest.by_ref().take(need).map(&ask).collect();
    let (mut got, mut last): (Vec<Partials>, _) = (Vec::new(), None);
    while got.len() < need {
        let Some(answered) = asked.next().await else {
            break;
        };
        match answered {
            Ok(Some(partials)) if got.iter().all(|g| g.share != partials.share) => {
                got.push(partials);
                continue;
            }
            Ok(_) => {}
            Err(error) => last = Some(Box::new(error)),
        }
        asked.extend(rest.next().map(&ask));
    }
    match got.len() >= need {
        true => Ok(got),
        false => Err(ClientError::TooFew {
            have: got.len(),
            need,
            last,
        }),
    }
}

/// Does arithmetic with fresh randomness, on a thread for it.
async fn arithmetic<T: Send + 'static>(
    work: impl FnOnce(&mut Rng) -> T + Send + 'static,
) -> Result<T, ClientError> {
    let seed = betanet_runtime::seed().map_err(|_| ClientError::Randomness)?;
    let done = tokio::task::spawn_blocking(move || work(&mut Rng::new(&seed)));
    done.await.map_err(|_| ClientError::Answer {
        what: "issue vouchers",
        part: Part::Body,
    })
}
