//! Requests that are paid by vouchers in the header `bn-voucher`.

mod redeem;

use std::collections::BTreeSet;
use std::sync::Arc;

use betanet_bar::{Client, HeaderValue, Headers, Method, Response};
use betanet_session::{Call, Clock, Reply, Service, ServiceFuture};
use betanet_vouchers::message::{Answer, Op, RedeemRequest};
use betanet_vouchers::{Allowance, KeysetId, VOUCHER, Voucher};
use betanet_wire::text::unhex_array;
use betanet_wire::{ChargeTo, Code};

use crate::allowed::{Allowed, over_mix};
pub use redeem::{LocalRedeem, Redeem, RedeemFailed, Redeeming, RemoteRedeem};

/// Most vouchers in one header.
pub const HEADER_VOUCHERS_MAX: usize = 64;
/// The header of vouchers.
pub const VOUCHER_HEADER: &str = "bn-voucher";
/// The header of a price, `UNITS UNIT KEYSETHEX`.
pub const PRICE_HEADER: &str = "price";
/// The header of the wire code of a refused payment, as a decimal number.
pub const CODE_HEADER: &str = "code";

/// Seconds after which a payer beyond its allowance, or one whose redemption service does not answer, may ask again.
const RETRY_AFTER: &str = "5";

/// The price of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Price {
    /// Units.
    pub units: u64,
    /// Unit of the keyset.
    pub unit: String,
    /// The keyset whose vouchers pay.
    pub keyset: KeysetId,
}

impl Price {
    /// The header's text.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{} {} {}", self.units, self.unit, self.keyset)
    }

    /// Reads the header's text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let (units, unit, keyset) = (parts.next()?, parts.next()?, parts.next()?);
        let units = units.parse().ok()?;
        let keyset = KeysetId(unhex_array(keyset)?);
        let visible = unit.bytes().all(|b| b.is_ascii_graphic());
        let good = parts.next().is_none() && (1..=32).contains(&unit.len()) && visible;
        good.then(|| Self {
            units,
            unit: unit.to_owned(),
            keyset,
        })
    }
}

/// Puts vouchers into the header of a request; at most [`HEADER_VOUCHERS_MAX`] are taken by whoever is paid.
#[must_use]
pub fn with_vouchers(headers: Headers, vouchers: &[Voucher]) -> Headers {
    let bytes: Vec<u8> = vouchers.iter().flat_map(|v| *v.as_bytes()).collect();
    headers.with(VOUCHER_HEADER, HeaderValue::Bytes(bytes))
}

/// Lets a service answer requests below some prefixes only for vouchers. Other requests pass unchanged, as on nodes without vouchers.
///
/// The inner service is called before anything is redeemed, and only its answers of 200 to 299 cost anything. All vouchers of the
/// header are redeemed then, in one commit, before the first byte of the answer leaves: there is no change. Requests that may store
/// something are called only after the vouchers were found good. The inner service does not see the vouchers.
pub struct Paid {
    inner: Arc<dyn Service>,
    desk: Arc<Cashier>,
}

/// What takes the money.
struct Cashier {
    redeem: Box<dyn Redeem>,
    price: Price,
    /// Keysets before this one, whose vouchers pay as well.
    older: Vec<KeysetId>,
    prefixes: Vec<String>,
    limits: Allowed,
    clock: Clock,
}

impl std::fmt::Debug for Paid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Paid")
            .field("price", &self.desk.price)
            .finish_non_exhaustive()
    }
}

impl Paid {
    /// Asks this price for each request below `prefixes`, such as `/`. A prefix covers paths as those of services do: `/a` covers
    /// `/a` and `/a/b`, not `/ab`.
    #[must_use]
    pub fn new(
        inner: impl Service,
        redeem: impl Redeem,
        price: Price,
        prefixes: impl IntoIterator<Item = String>,
    ) -> Self {
        Self {
            inner: Arc::new(inner),
            desk: Arc::new(Cashier {
                redeem: Box::new(redeem),
                price,
                older: Vec::new(),
                prefixes: prefixes.into_iter().collect(),
                limits: Allowed::new(Allowance::default(), over_mix(Allowance::default())),
                clock: Clock::start(),
            }),
        }
    }

    /// Takes vouchers of older keysets of the same unit too, while they are redeemed.
    #[must_use]
    pub fn and_of(mut self, older: impl IntoIterator<Item = KeysetId>) -> Self {
        if let Some(desk) = Arc::get_mut(&mut self.desk) {
            desk.older.extend(older);
        }
        self
    }
}

impl Service for Paid {
    fn call(&self, call: Call) -> ServiceFuture {
        let inner = Arc::clone(&self.inner);
        let path = call.request.path();
        if !self
            .desk
            .prefixes
            .iter()
            .any(|prefix| is_below(path, prefix))
        {
            return inner.call(call);
        }
        let desk = Arc::clone(&self.desk);
        Box::pin(async move {
            match desk.serve(&*inner, call).await {
                Ok(reply) | Err(reply) => reply,
            }
        })
    }
}

/// Whether a path is below a prefix, as the router of services decides it.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/'))
}

impl Cashier {
    async fn serve(&self, inner: &dyn Service, mut call: Call) -> Result<Reply, Reply> {
        let payer = match call.client {
            Client::Direct(_) => Some(call.from.charge),
            Client::Anonymous => None,
        };
        let Some(header) = call.request.headers.remove(VOUCHER_HEADER) else {
            return Err(self.refuse("this request costs vouchers", None));
        };
        let vouchers = self.vouchers(&header)?;
        self.charge(payer, vouchers.len())?;
        if call.request.method != Method::Get {
            self.redeem(payer, Op::Check, &vouchers).await?;
        }
        let reply = inner.call(call).await;
        if (200..300).contains(&reply.head.status) {
            self.redeem(payer, Op::Redeem, &vouchers).await?;
        }
        Ok(reply)
    }

    /// Reads the header's vouchers, which must be enough.
    fn vouchers(&self, header: &HeaderValue) -> Result<Vec<Voucher>, Reply> {
        let HeaderValue::Bytes(bytes) = header else {
            return Err(self.refuse(
                "bn-voucher is not a byte string",
                Some(Code::MALFORMED_FRAME),
            ));
        };
        let (all, rest) = bytes.as_chunks::<VOUCHER>();
        if all.is_empty() || !rest.is_empty() || all.len() > HEADER_VOUCHERS_MAX {
            let why = "bn-voucher is not 1 to 64 vouchers of 128 bytes";
            return Err(self.refuse(why, Some(Code::MALFORMED_FRAME)));
        }
        let (mut vouchers, mut keys, mut sum) = (Vec::new(), BTreeSet::new(), 0_u64);
        for one in all {
            let invalid = |_| self.refuse("a voucher is damaged", Some(Code::VOUCHER_INVALID));
            let voucher = Voucher::from_bytes(one).map_err(invalid)?;
            let keyset = voucher.keyset();
            if keyset != self.price.keyset && !self.older.contains(&keyset) {
                let why = "a voucher is of another keyset";
                return Err(self.refuse(why, Some(Code::POLICY_REJECTED)));
            }
            if !keys.insert((keyset, voucher.spend_key())) {
                return Err(self.refuse("a voucher is there twice", Some(Code::VOUCHER_INVALID)));
            }
            sum = sum.saturating_add(voucher.value());
            vouchers.push(voucher);
        }
        match sum >= self.price.units {
            true => Ok(vouchers),
            false => Err(self.refuse("the vouchers are not enough", Some(Code::POLICY_REJECTED))),
        }
    }

    /// Charges a payer; `None` stands for all over the mix together.
    fn charge(&self, payer: Option<ChargeTo>, vouchers: usize) -> Result<(), Reply> {
        match self.limits.charge(self.clock.now().mono, payer, vouchers) {
            true => Ok(()),
            false => {
                let reply = self.refuse("too many requests", Some(Code::POLICY_REJECTED));
                Err(reply.with_header("retry-after", RETRY_AFTER))
            }
        }
    }

    /// Checks or redeems all vouchers.
    async fn redeem(
        &self,
        payer: Option<ChargeTo>,
        op: Op,
        vouchers: &[Voucher],
    ) -> Result<(), Reply> {
        let seed = betanet_session::seed().map_err(|_| unavailable())?;
        // A number of its own each time: the same vouchers never pay for two requests.
        let id = betanet_machine::Rng::new(&seed).array();
        let request = RedeemRequest::encode(op, self.redeem.payee(), id, vouchers);
        let answer = self
            .redeem
            .redeem(request)
            .await
            .map_err(|RedeemFailed| unavailable())?;
        let Some(bad) = first_bad(&answer) else {
            return Ok(());
        };
        let forged = answer
            .codes
            .iter()
            .filter(|c| **c == Code::VOUCHER_INVALID)
            .count();
        let now = self.clock.now().mono;
        self.limits.charge_forged(now, payer, forged);
        let why = match bad {
            Code::VOUCHER_SPENT => "a voucher is spent",
            Code::VOUCHER_INVALID => "a voucher is not valid",
            _ => "a voucher is not taken",
        };
        Err(self.refuse(why, Some(bad)))
    }

    fn refuse(&self, why: &str, code: Option<Code>) -> Reply {
        let mut head = Response::new(429).because(why);
        head.headers.set(PRICE_HEADER, self.price.text());
        if let Some(code) = code {
            head.headers.set(CODE_HEADER, code.0.to_string());
        }
        head.into()
    }
}

fn first_bad(answer: &Answer) -> Option<Code> {
    answer.codes.iter().find(|c| **c != Code::OK).copied()
}

/// The redemption service does not answer. Nothing was charged, as far as is known.
fn unavailable() -> Reply {
    let head = Response::new(503).because("vouchers cannot be redeemed now");
    Reply::from(head).with_header("retry-after", RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_has_one_text() {
        let price = Price {
            units: 3,
            unit: "FOG".into(),
            keyset: KeysetId([0xab; 32]),
        };
        let text = price.text();
        assert_eq!(text, format!("3 FOG {}", "ab".repeat(32)));
        assert_eq!(Price::parse(&text), Some(price));
        for bad in [
            "",
            "3",
            "3 FOG",
            "3 FOG ab",
            "x FOG ",
            "3  FOG",
            "-1 FOG ab",
        ] {
            assert_eq!(Price::parse(bad), None, "{bad}");
        }
        assert_eq!(Price::parse(&(text + " more")), None);
    }

    #[test]
    fn prefixes_cover_whole_segments() {
        assert!(is_below("/a", "/a") && is_below("/a/b", "/a") && is_below("/x", "/"));
        assert!(!is_below("/ab", "/a") && !is_below("/", "/a"));
    }
}
