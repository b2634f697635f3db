//! Requests to mints and redemption services.

use std::time::Duration;

use betanet_bar::{Headers, Method, Request, status};
use betanet_machine::Rng;
use betanet_voucher_service::{LIST_MAX, Offered};
use betanet_vouchers::Keyset;
use bytes::Bytes;
use tokio::time::timeout;

use crate::Fail;
use crate::args::DialArgs;
use crate::opened::Opened;
use crate::target::Dialling;

use super::purse::Mint;

/// Time limit of one request.
const LIMIT: Duration = Duration::from_secs(60);
/// Attempts at a request that gets no answer. Each sends the same bytes.
const ATTEMPTS: u32 = 3;
/// Pause before the second attempt; each further one doubles it.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest inline body of a request.
const INLINE: usize = 32 << 10;

/// A keyset of a mint.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) keyset: Keyset,
    /// The ledger for which the mint sells it.
    pub(super) ledger: Option<[u8; 32]>,
}

/// The way to mints: one session at a time, with a fresh identity unless the flags name one.
pub(super) struct Net {
    dialling: Dialling,
    open: Option<(Mint, Opened)>,
    /// Status of the last answer.
    status: Option<u16>,
}

impl Net {
    pub(super) fn new(mints: &[Mint], dial: &DialArgs) -> Result<Self, Fail> {
        let dialling = Dialling::to_any_of(mints, dial, dial.key.as_deref())?;
        Ok(Self {
            dialling,
            open: None,
            status: None,
        })
    }

    async fn session(&mut self, mint: &Mint) -> Result<&Opened, Fail> {
        let usable =
            matches!(&self.open, Some((of, session)) if of.0 == mint.0 && !session.is_closed());
        if !usable {
            if let Some((_, session)) = self.open.take() {
                session.close().await;
            }
            self.dialling.turn_to(mint.0, mint.1.clone())?;
            let session = self.dialling.session().await?;
            self.dialling.reached();
            self.open = Some((mint.clone(), session));
        }
        match &self.open {
            Some((_, session)) => Ok(session),
            None => Err(Fail::Peer(format!("{}: no session", mint.0))),
        }
    }

    async fn once(
        &mut self,
        mint: &Mint,
        method: Method,
        path: &str,
        body: &[u8],
    ) -> Result<(u16, Vec<u8>), Fail> {
        let session = self.session(mint).await?;
        let mut headers = Headers::default();
        if method.has_body() {
            headers.set("content-length", body.len().to_string());
            headers.set("content-type", "application/cbor");
        }
        let mut request = Request::new(method, path, headers);
        let mut answer = if body.len() <= INLINE {
            request.body = body.to_vec();
            session.ask(request).await?
        } else {
            let upload = session.upload(request).await?;
            // An answer before the end of the body is the answer.
            let _ = upload.send(Bytes::copy_from_slice(body)).await;
            upload
                .finish()
                .await
                .map_err(betanet_runtime::Error::from)?
        };
        let all = answer.body.all(LIST_MAX).await;
        let all = all.map_err(|e| Fail::Peer(format!("{}: {e}", mint.0)))?;
        let all = all.ok_or_else(|| {
            Fail::Peer(format!(
                "{}: its answer is longer than {LIST_MAX} bytes",
                mint.0
            ))
        })?;
        Ok((answer.head.status, all))
    }

    /// Sends a request until it is answered. The same bytes are sent each time.
    pub(super) async fn ask(
        &mut self,
        mint: &Mint,
        method: Method,
        path: &str,
        body: &[u8],
    ) -> Result<Vec<u8>, Fail> {
        let mut pause = PAUSE;
        let mut attempt = 1;
        loop {
            self.status = None;
            let asked = timeout(LIMIT, self.once(mint, method, path, body)).await;
            let failed = match asked {
                Ok(Ok((status::OK, answer))) => return Ok(answer),
                Ok(Ok((code, answer))) => {
                    self.status = Some(code);
                    let failed =
                        Fail::Peer(format!("{}: {path}: {}", mint.0, refused(code, &answer)));
                    if code != 503 && code != 429 {
                        return Err(failed);
                    }
                    failed
                }
                Ok(Err(failed @ Fail::Peer(_))) => failed,
                Ok(Err(failed)) => return Err(failed),
                Err(_) => Fail::Peer(format!(
                    "{}: no answer within {} s",
                    mint.0,
                    LIMIT.as_secs()
                )),
            };
            self.open = None;
            if attempt == ATTEMPTS {
                return Err(failed);
            }
            note!("{}: trying again", failed.why());
            tokio::time::sleep(pause).await;
            (attempt, pause) = (attempt + 1, pause * 2);
        }
    }

    /// The keysets that a mint offers, checked.
    pub(super) async fn keysets(
        &mut self,
        mint: &Mint,
        rng: &mut Rng,
    ) -> Result<Vec<Keyset>, Fail> {
        let offers = self.offers(mint, rng).await?;
        Ok(offers.into_iter().map(|offer| offer.keyset).collect())
    }

    /// The same, with the ledgers that they belong to.
    pub(super) async fn offers(&mut self, mint: &Mint, rng: &mut Rng) -> Result<Vec<Offer>, Fail> {
        let bytes = self
            .ask(mint, Method::Get, "/vouchers/keysets", &[])
            .await?;
        let broken =
            |e: &dyn std::fmt::Display| Fail::Peer(format!("{}: its keysets: {e}", mint.0));
        let offered = Offered::read_list(&bytes).map_err(|e| broken(&e))?;
        let check = |o: &Offered| {
            let keyset = o.check(rng).map_err(|e| broken(&e))?;
            let ledger = o.ledger;
            Ok(Offer { keyset, ledger })
        };
        offered.iter().map(check).collect()
    }

    /// Whether the last request was refused, so that nothing came of it.
    pub(super) fn is_refused(&self) -> bool {
        self.status == Some(status::FORBIDDEN)
    }

    pub(super) async fn close(mut self) {
        if let Some((_, session)) = self.open.take() {
            session.close().await;
        }
        self.dialling.leave().await;
    }
}

/// The reason of an answer that is none of 200: `{"code": u16}` names it.
fn refused(status: u16, body: &[u8]) -> String {
    match betanet_voucher_service::refusal(body) {
        Some(code) => format!("status {status}, {code}"),
        None => format!("status {status}"),
    }
}
