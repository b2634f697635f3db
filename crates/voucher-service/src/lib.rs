//! Vouchers over sessions: the mint, the redemption service, payment for requests, and their client.
//!
//! **Promises.** A voucher is redeemed once: an answer leaves after its commit is on disk, and never after the lease that covers it.
//! The same request has the same answer. Pairings, signatures and decoding of points run on threads for them, as many at once as
//! there are processors. Bodies, requests under way and requests a minute are bounded for each address. A mint signs what was paid
//! for, and a coupon pays once. [`accounts`] between nodes count only with both signatures. A service that is connected to a ledger
//! ([`bridge`]) issues for purchases that a final head proves, and pays redemptions out there, each once.
//!
//! **Below:** `vouchers` (the machines), `durable` and `journal` (how they last), `economy-service` (the ledger), `runtime`. **Above:** `cli`.
//! **Source:** profile chapter 7 (`spec-vectors/PROFILE.md`).
//!
//! A mint in 50 lines, and its first voucher:
//!
//! ```
//! use std::sync::Arc;
//!
//! use betanet_bls::Scalar;
//! use betanet_journal::MemoryStore;
//! use betanet_keys::Identity;
//! use betanet_machine::Rng;
//! use betanet_runtime::{Clock, Gateway, GatewayConfig, Node, StreamType, load_identity, seed};
//! use betanet_voucher_service::client::{Direct, VoucherClient};
//! use betanet_voucher_service::coupon::Coupon;
//! use betanet_voucher_service::{Deal, MintFolder, PREFIX, Settings, VoucherService, mint_init};
//! use betanet_vouchers::message::{Blinded, IssueRequest, Op, RedeemRequest};
//! use betanet_vouchers::{Blinding, Denomination, MIN_LIFE};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let home = tempfile::tempdir()?;
//! # let dir = home.path();
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! // The dealer: one mint of one, for 30 days.
//! let (mint, mut rng) = (Identity::from_seed(&[1; 32]), Rng::new(&seed()?));
//! let now = Clock::start().now().unix_ms;
//! let deal = Deal {
//!     t: 1,
//!     n: 1,
//!     unit: "FOG",
//!     exponents: &[0, 1, 2],
//!     not_before: now,
//!     exp: now + MIN_LIFE,
//!     spender: *mint.public(),
//! };
//! let dealt = mint_init(dir, &deal, &mut rng)?;
//!
//! // The node. A real one keeps a journal in SQLite or PostgreSQL.
//! let folder = MintFolder::open(&dealt.mints[0], &mut rng)?;
//! let service = VoucherService::new(mint.clone(), vec![folder], Settings::default())?;
//! let mut config = GatewayConfig::in_state(dir.join("node"));
//! config.listener.listen = vec!["127.0.0.1:0".into()];
//! let gateway = Gateway::builder(mint, &config)
//!     .service(PREFIX, service.service())
//!     .stream_type(StreamType::REDEEM, service.streams())
//!     .extension(service.extension())
//!     .start()
//!     .await?;
//! let running = service.start(Arc::new(MemoryStore::new().open("one"))).await?;
//! running.leads().await;
//!
//! // A customer with a coupon for 4 units gets one voucher, which the mint cannot recognise.
//! let peer = gateway.listening().peer();
//! let me = Identity::from_seed(&[2; 32]);
//! let node = Node::new(Some(me.clone()), Default::default())?;
//! let client = VoucherClient::new(Direct::new(Arc::new(node)));
//! let (keyset, issuer) = (Arc::new(dealt.keyset), load_identity(&dir.join("issuer.pem"))?);
//! let exp = now + 3_600_000;
//! let coupon = Coupon { id: rng.array(), keyset: keyset.id(), value: 4, exp }.sign(&issuer);
//! let denomination = Denomination::new(2).ok_or("too high")?;
//! let (secret, factor) = (rng.array(), Scalar::draw(|b| rng.fill(b)));
//! let blinding = Blinding::new(denomination, &secret, factor).ok_or("zero")?;
//! let point = blinding.blinded(&keyset).ok_or("identity")?.to_bytes();
//! let blinded = [Blinded { denomination, point }];
//! let request = IssueRequest::encode(rng.array(), &keyset.id(), &blinded, &coupon.to_bytes());
//! let vouchers = client.issue_vouchers(&[peer.clone()], &keyset, &request, &[blinding]).await?;
//!
//! // Somebody redeems it, once.
//! let to = me.public().node_id();
//! let request = RedeemRequest::encode(Op::Redeem, to, rng.array(), &vouchers);
//! let answer = client.redeem(&peer, keyset.spender(), &request).await?;
//! assert!(answer.is_ok() && answer.balance == 4);
//! running.stop().await;
//! gateway.shutdown().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })
//! # }
//! ```

pub mod accounts;
mod allowed;
mod bar;
pub mod bridge;
pub mod client;
pub mod coupon;
mod desk;
mod error;
mod folder;
mod forms;
mod http;
pub mod keygen;
mod keygen_error;
mod keysets;
mod measures;
mod paid;
mod payments;
mod payout;
mod refusal;
mod reports;
mod service;
mod state;
mod stream;
mod watched;

pub use bar::refusal;
pub use betanet_durable::{Role, Settings as JournalSettings, Unavailable};
pub use bridge::LEDGER_UNIT;
pub use coupon::{COUPON_LABEL, COUPON_MAX, Coupon, CouponError, SignedCoupon};
pub use error::Error;
pub use folder::{
    Deal, Dealt, ISSUER_FILE, ISSUER_KEY_FILE, KEYSET_FILE, MintFolder, REFRESH_FILE, SHARE_FILE,
    mint_init, new_issuer,
};
pub use forms::Signed;
pub use keysets::{LIST_MAX, Offered};
pub use paid::{
    CODE_HEADER, HEADER_VOUCHERS_MAX, LocalRedeem, PRICE_HEADER, Paid, Price, Redeem, RedeemFailed,
    Redeeming, RemoteRedeem, VOUCHER_HEADER, with_vouchers,
};
pub use payments::{Coupons, Either, Once, Payment, Payments, Swaps};
pub use service::{Running, Settings, VoucherService};
pub use state::{COUPONS_MAX, Counts, KeysetView, OUTBOX_MAX, View};
pub use watched::Reported;

/// The path prefix of the service.
pub const PREFIX: &str = "/vouchers";
