//! Customers that hold their vouchers in memory, and send the same bytes until they are answered.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use betanet_bls::Scalar;
use betanet_keys::Identity;
use betanet_machine::Rng;
use betanet_runtime::{Error, ErrorKind, ExchangeError, Node, SessionError};
use betanet_voucher_service::client::{ClientError, Direct, Patience, VoucherClient};
use betanet_vouchers::message::{Answer, Blinded, IssueRequest, Op, RedeemRequest, SwapRequest};
use betanet_vouchers::{Blinding, Denomination, Voucher, digits};
use betanet_wire::Code;
use zeroize::Zeroizing;

use crate::shop::Shop;

/// Requests from one address, before the next one is used: the gateway grants 120 a minute.
const REQUESTS_AN_ADDRESS: u32 = 80;
/// Longest that one request is repeated.
const ANSWERED: Duration = Duration::from_secs(300);

/// What all customers count.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    /// Requests that were begun.
    pub(crate) sent: AtomicU64,
    /// Requests that were sent again, because no answer came.
    pub(crate) retries: AtomicU64,
    /// Redemptions and swaps that were carried out.
    pub(crate) done: AtomicU64,
    /// Requests that were repeated after their answer, and attempts to spend a voucher again.
    pub(crate) probes: AtomicU64,
}

/// One customer, with an identity of its own.
pub(crate) struct Client {
    pub(crate) shop: Arc<Shop>,
    pub(crate) counted: Arc<Counted>,
    pub(crate) rng: Rng,
    pub(crate) unspent: Vec<Voucher>,
    pub(crate) spent: Vec<Voucher>,
    /// The blinded points of what was bought, in the order of the vouchers.
    pub(crate) bought: Vec<[u8; 48]>,
    /// Sum of what was redeemed to its balance.
    pub(crate) redeemed: u64,
    me: Identity,
    net: VoucherClient,
    number: u8,
    address: u8,
    from_address: u32,
}

fn net(me: &Identity, number: u8, address: u8) -> VoucherClient {
    let from = IpAddr::V4(Ipv4Addr::new(127, 20, number, address));
    let node = Node::new(Some(me.clone()), Default::default()).unwrap();
    let node = node.with_source_address(Some(from));
    // Each attempt is counted here.
    let patience = Patience {
        tries: 1,
        ..Patience::default()
    };
    VoucherClient::with_patience(Direct::new(Arc::new(node)), patience)
}

/// A redemption or a swap as it was sent.
pub(crate) struct Sent {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    pub(crate) is_swap: bool,
    points: Vec<Blinded>,
    blindings: Vec<Blinding>,
    id: [u8; 16],
}

impl Client {
    pub(crate) fn new(shop: Arc<Shop>, counted: Arc<Counted>, number: u8, rng: Rng) -> Self {
        let mut rng = rng;
        let me = Identity::from_seed(&rng.array());
        let net = net(&me, number, 1);
        let (address, from_address) = (1, 0);
        Self {
            shop,
            counted,
            rng,
            unspent: Vec::new(),
            spent: Vec::new(),
            bought: Vec::new(),
            redeemed: 0,
            me,
            net,
            number,
            address,
            from_address,
        }
    }

    /// Counts an attempt. Goes on from another address where the gateway would refuse more from this one.
    async fn attempt(&mut self, begun: Instant, first: bool) {
        assert!(begun.elapsed() < ANSWERED, "a request is never answered");
        self.counted.sent.fetch_add(1, Ordering::SeqCst);
        if !first {
            self.counted.retries.fetch_add(1, Ordering::SeqCst);
        }
        self.from_address += 1;
        if self.from_address > REQUESTS_AN_ADDRESS {
            self.net.close().await;
            (self.address, self.from_address) = (self.address % 250 + 1, 0);
            self.net = net(&self.me, self.number, self.address);
        }
    }

    /// Waits before a repetition, which comes from another address if this one has used up its limit.
    async fn rest(&mut self, error: &ClientError) {
        match is_limit(error) {
            true => self.from_address = REQUESTS_AN_ADDRESS,
            false => pause(error).await,
        }
    }

    /// Sends a redemption, a check or a swap until it is answered.
    async fn asked(&mut self, bytes: &[u8], is_swap: bool) -> (Answer, Vec<u8>) {
        let (begun, mut first) = (Instant::now(), true);
        loop {
            self.attempt(begun, first).await;
            first = false;
            let (peer, spender) = (&self.shop.peer, self.shop.keyset.spender());
            let answered = match is_swap {
                true => {
                    let swapped = self.net.swap(peer, spender, bytes).await;
                    swapped.map(|(answer, signed)| (answer, signed.0))
                }
                false => {
                    let redeemed = self.net.redeem(peer, spender, bytes).await;
                    redeemed.map(|answer| (answer, Vec::new()))
                }
            };
            match answered {
                Ok(answer) => return answer,
                Err(error) => self.rest(&error).await,
            }
        }
    }

    async fn issued(&mut self, request: &[u8], blindings: &[Blinding]) -> Vec<Voucher> {
        let (begun, mut first) = (Instant::now(), true);
        loop {
            self.attempt(begun, first).await;
            first = false;
            let peers = [self.shop.peer.clone()];
            let keyset = &self.shop.keyset;
            match self
                .net
                .issue_vouchers(&peers, keyset, request, blindings)
                .await
            {
                Ok(vouchers) => return vouchers,
                Err(error) => self.rest(&error).await,
            }
        }
    }

    fn blind(&mut self, split: &[Denomination]) -> (Vec<Blinding>, Vec<Blinded>) {
        let (mut blindings, mut points) = (Vec::new(), Vec::new());
        for denomination in split {
            let secret: [u8; 32] = self.rng.array();
            let factor = Scalar::draw(|b| self.rng.fill(b));
            let blinding = Blinding::new(*denomination, &secret, factor).unwrap();
            let point = blinding.blinded(&self.shop.keyset).unwrap().to_bytes();
            points.push(Blinded {
                denomination: *denomination,
                point,
            });
            blindings.push(blinding);
        }
        (blindings, points)
    }

    /// Buys vouchers for a coupon.
    pub(crate) async fn buy(&mut self, split: &[Denomination]) {
        let value = split.iter().map(|e| e.value()).sum();
        let coupon = self.shop.coupon(self.rng.array(), value);
        let (blindings, points) = self.blind(split);
        let id = self.rng.array();
        let keyset = self.shop.keyset.id();
        let request = IssueRequest::encode(id, &keyset, &points, &coupon.to_bytes());
        let vouchers = self.issued(&request, &blindings).await;
        self.bought.extend(points.iter().map(|b| b.point));
        self.unspent.extend(vouchers);
    }

    pub(crate) fn redemption(&mut self, vouchers: &[Voucher]) -> Sent {
        let id = self.rng.array();
        let to = self.me.public().node_id();
        Sent {
            bytes: RedeemRequest::encode(Op::Redeem, to, id, vouchers),
            is_swap: false,
            points: Vec::new(),
            blindings: Vec::new(),
            id,
        }
    }

    pub(crate) fn exchange(&mut self, vouchers: &[Voucher], split: &[Denomination]) -> Sent {
        let id = self.rng.array();
        let (blindings, points) = self.blind(split);
        let keyset = self.shop.keyset.id();
        Sent {
            bytes: SwapRequest::encode(id, &keyset, vouchers, &points),
            is_swap: true,
            points,
            blindings,
            id,
        }
    }

    /// Sends an operation. If it is carried out, its value or its new vouchers are booked. Returns the codes.
    pub(crate) async fn send(&mut self, sent: &Sent) -> Vec<Code> {
        let (answer, signed) = self.asked(&sent.bytes, sent.is_swap).await;
        if !answer.is_ok() {
            return answer.codes;
        }
        if sent.is_swap {
            let keyset = self.shop.keyset.id();
            let request = IssueRequest::encode(sent.id, &keyset, &sent.points, &signed);
            let vouchers = self.issued(&request, &sent.blindings).await;
            let value: u64 = vouchers.iter().map(Voucher::value).sum();
            assert_eq!(value, answer.total);
            self.unspent.extend(vouchers);
        } else {
            self.redeemed += answer.total;
            assert_eq!(answer.balance, self.redeemed, "the balance that was told");
        }
        self.counted.done.fetch_add(1, Ordering::SeqCst);
        answer.codes
    }

    /// Repeats a request that was answered.
    pub(crate) async fn repeat(&mut self, sent: &Sent) -> Answer {
        self.counted.probes.fetch_add(1, Ordering::SeqCst);
        self.asked(&sent.bytes, sent.is_swap).await.0
    }

    /// One redemption or swap of own vouchers, and sometimes an attempt to have it twice.
    pub(crate) async fn operate(&mut self) {
        // The smallest is redeemed, and the largest exchanged: so there is always something left.
        self.unspent.sort_by_key(|v| std::cmp::Reverse(v.value()));
        let swaps = self.unspent.len() < 6 || self.rng.below(2) == 0;
        let (vouchers, sent) = if swaps {
            let merges = self.unspent.len() > 12 || self.unspent[0].value() == 1;
            let take = if merges { 3.min(self.unspent.len()) } else { 1 };
            let from = if merges { self.unspent.len() - take } else { 0 };
            let vouchers: Vec<Voucher> = self.unspent.drain(from..from + take).collect();
            let value: u64 = vouchers.iter().map(Voucher::value).sum();
            let halves = [value / 2, value - value / 2];
            let parts = if merges { vec![value] } else { halves.to_vec() };
            let split: Vec<Denomination> = parts
                .into_iter()
                .filter(|part| *part > 0)
                .flat_map(|part| digits(part, 64).unwrap())
                .collect();
            let sent = self.exchange(&vouchers, &split);
            (vouchers, sent)
        } else {
            let vouchers = vec![self.unspent.pop().unwrap()];
            let sent = self.redemption(&vouchers);
            (vouchers, sent)
        };
        let codes = self.send(&sent).await;
        assert!(codes.iter().all(|c| *c == Code::OK), "{codes:?}");
        if self.rng.below(8) == 0 {
            let again = self.repeat(&sent).await;
            assert!(again.is_ok(), "the same request has the same answer");
            if !sent.is_swap {
                assert_eq!(again.balance, self.redeemed);
            }
        }
        if self.rng.below(8) == 0 {
            let second = self.redemption(&vouchers);
            let codes = self.repeat(&second).await.codes;
            assert!(codes.iter().all(|c| *c == Code::VOUCHER_SPENT), "{codes:?}");
        }
        self.spent.extend(vouchers);
    }

    /// Asks of each voucher whether it is spent. Returns the value of those that are not.
    pub(crate) async fn checked(&mut self) -> u64 {
        let mut value = 0;
        for (vouchers, code) in [
            (self.unspent.clone(), Code::OK),
            (self.spent.clone(), Code::VOUCHER_SPENT),
        ] {
            for some in vouchers.chunks(512) {
                let id = self.rng.array();
                let to = self.me.public().node_id();
                let check = RedeemRequest::encode(Op::Check, to, id, some);
                let (answer, _) = self.asked(&check, false).await;
                assert!(
                    answer.codes.iter().all(|c| *c == code),
                    "{:?}",
                    answer.codes
                );
                assert_eq!(answer.balance, self.redeemed);
                value += answer.total;
            }
        }
        let own: u64 = self.unspent.iter().map(Voucher::value).sum();
        assert_eq!(value, own);
        value
    }
}

/// Whether a stream ended at a limit of its address: a stream has no status.
fn is_limit(error: &ClientError) -> bool {
    let ClientError::Session { source, .. } = error else {
        return false;
    };
    let ended = |error: &ExchangeError| {
        matches!(
            error,
            ExchangeError::Ended {
                code: Code::POLICY_REJECTED,
                ..
            }
        )
    };
    matches!(&**source, Error::Session(SessionError::Exchange(error)) if ended(error))
}

/// Waits before a repetition. An error that no repetition mends ends the test.
async fn pause(error: &ClientError) {
    let wait = match error {
        ClientError::Refused {
            status: 429,
            retry_after,
            ..
        } => retry_after.unwrap_or(Duration::from_secs(1)),
        error if error.kind() == ErrorKind::Network => Duration::from_millis(50),
        error => panic!("{error:?}"),
    };
    tokio::time::sleep(wait).await;
}
