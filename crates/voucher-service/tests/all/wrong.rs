//! Points that are none, and keysets that break a rule: each is refused over a session, which goes on to answer.

use std::sync::{Arc, Mutex};

use betanet_bls::{Error, G1Affine, G2Affine};
use betanet_runtime::{Call, Gateway, GatewayConfig, Reply, StreamType, Substream};
use betanet_voucher_service::client::ClientError;
use betanet_voucher_service::{Offered, PREFIX, Settings};
use betanet_vouchers::message::{Answer, Blinded, IssueRequest, Op, RedeemRequest, SwapRequest};
use betanet_vouchers::{
    Denomination, GRACE, KeysetDraft, KeysetError, MIN_LIFE, SharedKey, Voucher, deal,
};
use betanet_wire::{Code, cbor, message};
use bytes::Bytes;

use super::world::{HOUR, Mint, Town, client, code, deal_at, identity, now_ms, post, session};

/// Compressed encodings of each kind that is no good point, with what is wrong.
fn bad<const N: usize>(read: impl Fn(&[u8; N]) -> Option<Error>) -> Vec<([u8; N], Error)> {
    let mut identity = [0; N];
    identity[0] = 0xc0;
    let mut all = vec![(identity, Error::Identity)];
    for x in 0..=u8::MAX {
        let mut point = [0; N];
        (point[0], point[N - 1]) = (0x80, x);
        let known = |why: &Error| all.iter().any(|(_, known)| known == why);
        if let Some(why) = read(&point).filter(|why| !known(why)) {
            all.push((point, why));
        }
    }
    for why in [Error::Identity, Error::NotOnCurve, Error::WrongSubgroup] {
        assert!(all.iter().any(|(_, known)| *known == why), "{why:?}");
    }
    // No compressed form: of another length, and with a coordinate beyond the field.
    for first in [0x00, 0x9f] {
        let mut point = [0xff; N];
        point[0] = first;
        let why = read(&point).unwrap();
        all.push((point, why));
    }
    all
}

fn bad_g1() -> Vec<([u8; 48], Error)> {
    bad(|point| G1Affine::from_bytes(point).err())
}

/// A voucher with these bytes for its signature and a right checksum.
fn signed_with(voucher: &Voucher, signature: &[u8; 48]) -> Voucher {
    let bytes = voucher.as_bytes();
    let mut bytes = [&bytes[..64], signature, &bytes[112..116]].concat();
    let check = betanet_keys::hash(&[b"BN-VCHK1", &bytes]);
    bytes.extend_from_slice(&check[..12]);
    Voucher::from_bytes(&bytes).unwrap()
}

/// The codes of one redemption over a stream.
async fn over_stream(session: &betanet_runtime::SessionHandle, body: &[u8]) -> Vec<u8> {
    let peer = session.peer_session();
    let mut stream: Substream = peer.open(StreamType::REDEEM.number()).await.unwrap();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let framed = [&length[..], body].concat();
    stream.write(Bytes::from(framed)).await.unwrap();
    stream.end();
    let mut all = Vec::new();
    while let Some(piece) = stream.next().await.unwrap() {
        all.extend_from_slice(&piece);
    }
    all.split_off(4)
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_and_points_that_are_none_are_refused_and_the_rest_is_served() {
    let mut town = Town::new(1, 1, &[0]).await;
    let v = town.issue(&client(80), &[0, 0]).await;
    let session = session(80, &town.mints[0]).await;
    let me = identity(80).public().node_id();
    let (spender, keyset) = (*town.keyset.spender(), town.keyset.id());
    for (n, (point, why)) in (1_u8..).zip(bad_g1()) {
        // In a voucher: over BAR and over a stream, to check and to redeem.
        let pair = [v[0].clone(), signed_with(&v[1], &point)];
        for (op, id) in [(Op::Check, n), (Op::Redeem, 100 + n)] {
            let request = RedeemRequest::encode(op, me, [id; 16], &pair);
            let over_bar = post(&session, "redeem", &request).await.1;
            for answer in [over_bar, over_stream(&session, &request).await] {
                let answer = Answer::verify(&answer, &spender).unwrap();
                assert_eq!(answer.codes, [Code::OK, Code::VOUCHER_INVALID], "{why:?}");
                assert_eq!(answer.balance, 0, "{why:?}");
            }
        }
        // As a point to be signed, for a coupon or for a voucher.
        let wrong = Blinded {
            denomination: Denomination::LEAST,
            point,
        };
        let coupon = town.coupon(1).to_bytes();
        let issue = IssueRequest::encode([n; 16], &keyset, &[wrong], &coupon);
        let swap = SwapRequest::encode([n; 16], &keyset, &v[..1], &[wrong]);
        for (path, body) in [("issue", &issue[..]), ("swap", &swap)] {
            let (status, answer) = post(&session, path, body).await;
            let said = (status, code(&answer));
            assert_eq!(said, (400, Code::MALFORMED_FRAME), "{path}: {why:?}");
        }
    }
    assert!(!session.is_closed());
    let all = RedeemRequest::encode(Op::Redeem, me, [200; 16], &v);
    let (_, answer) = post(&session, "redeem", &all).await;
    let answer = Answer::verify(&answer, &spender).unwrap();
    assert_eq!((answer.codes, answer.balance), (vec![Code::OK; 2], 2));
    town.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vouchers_of_keysets_that_are_unknown_or_not_of_this_time_see_their_codes() {
    let now = now_ms();
    let mut town = Town::dealt(1, 1, &[0]);
    // The same keys would be refused: each keyset is dealt from a seed of its own.
    let (mut folders, mut given) = (vec![town.folder(1)], Vec::new());
    for (begin, code) in [
        (now + MIN_LIFE, Code::POLICY_REJECTED),
        (now - MIN_LIFE - GRACE - HOUR, Code::POLICY_REJECTED),
        (now - HOUR, Code::VOUCHER_INVALID),
    ] {
        let dir = town.dir.path().join(begin.to_string());
        let seed = betanet_machine::Seed::from_number(begin);
        let mut rng = betanet_machine::Rng::new(&seed);
        let deal = betanet_voucher_service::Deal {
            unit: "OTHER",
            ..deal_at(1, 1, &[0], begin, begin + MIN_LIFE)
        };
        betanet_voucher_service::mint_init(&dir, &deal, &mut rng).unwrap();
        let dir = dir.join("mint-1");
        let folder = betanet_voucher_service::MintFolder::open(&dir, &mut rng).unwrap();
        // Signed as its mint would: only the time, or that nobody here knows it, is wrong.
        let secret: [u8; 32] = rng.array();
        let factor = betanet_bls::Scalar::draw(|b| rng.fill(b));
        let e = Denomination::LEAST;
        let blinding = betanet_vouchers::Blinding::new(e, &secret, factor).unwrap();
        let point = blinding.blinded(&folder.keyset).unwrap();
        let signature = betanet_vouchers::sign_blinded(&folder.shares[0], &point).unwrap();
        let partials = betanet_vouchers::Partials {
            share: 1,
            signatures: vec![signature],
        };
        let vouchers =
            betanet_vouchers::finish(&folder.keyset, &[blinding], &[partials], &mut rng).unwrap();
        given.push((vouchers, code));
        if code == Code::POLICY_REJECTED {
            folders.push(folder);
        }
    }
    let mint = Mint::start(1, folders, Settings::default(), None).await;
    town.mints.push(mint);
    let session = session(81, &town.mints[0]).await;
    let me = identity(81).public().node_id();
    let spender = *town.keyset.spender();
    for (n, (vouchers, code)) in (1_u8..).zip(&given) {
        for op in [Op::Check, Op::Redeem] {
            let request = RedeemRequest::encode(op, me, [n; 16], vouchers);
            let over_bar = post(&session, "redeem", &request).await.1;
            for answer in [over_bar, over_stream(&session, &request).await] {
                let answer = Answer::verify(&answer, &spender).unwrap();
                assert_eq!((answer.codes, answer.balance), (vec![*code], 0), "{n}");
            }
        }
    }
    assert!(!session.is_closed());
    let good = town.issue(&client(81), &[0]).await;
    assert!(town.redeem(&client(81), 81, &good).await.is_ok());
    town.end().await;
}

message! {
    struct Entry<'a> {
        req "phase" phase: &'a str,
        opt "share" share: u16,
        req "keyset" keyset: &'a [u8],
    }
}

/// A node whose list of keysets and whose answers to an issue are what the test says.
struct Liar {
    says: Arc<Mutex<Vec<u8>>>,
    gateway: Gateway,
    _home: tempfile::TempDir,
}

impl Liar {
    async fn start() -> Self {
        let says = Arc::new(Mutex::new(Vec::new()));
        let home = tempfile::tempdir().unwrap();
        let mut config = GatewayConfig::in_state(home.path().join("state"));
        config.listener.listen = vec!["127.0.0.1:0".into()];
        let answers = Arc::clone(&says);
        let service = move |_: Call| {
            let body = answers.lock().unwrap().clone();
            async move { Reply::new(200).with_body(body) }
        };
        let gateway = Gateway::builder(identity(9), &config)
            .service(PREFIX, service)
            .start()
            .await
            .unwrap();
        Self {
            says,
            gateway,
            _home: home,
        }
    }

    fn say(&self, body: Vec<u8>) {
        *self.says.lock().unwrap() = body;
    }

    fn offer(&self, keyset: &[u8]) {
        let entry = cbor::to_vec(&Entry {
            phase: "active",
            share: Some(1),
            keyset,
        });
        self.say([&[0x81][..], &entry].concat());
    }
}

/// Bytes with one point in place of another.
fn with(bytes: &[u8], old: &[u8; 96], new: &[u8; 96]) -> Vec<u8> {
    let at = bytes.windows(96).position(|w| w == old).unwrap();
    [&bytes[..at], new, &bytes[at + 96..]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyset_that_breaks_a_rule_is_refused_by_the_client_that_fetches_it() {
    let mut rng = betanet_machine::Rng::new(&betanet_machine::Seed::from_number(31));
    let e = |n| Denomination::new(n).unwrap();
    let mut key = |n: u8, t| (e(n), deal(e(n), t, 3, &mut rng).unwrap().0);
    let (one, two) = (key(1, 2), key(2, 2));
    let draft = |keys: &[(Denomination, SharedKey)]| {
        let (unit, t, spender) = ("FOG", 2, *identity(1).public());
        let (not_before, exp) = (now_ms() - HOUR, now_ms() + MIN_LIFE);
        let draft = KeysetDraft {
            unit,
            not_before,
            exp,
            t,
            spender,
            keys,
        };
        draft.to_bytes()
    };
    let good = draft(&[one.clone(), two.clone()]);
    let (public, share) = (one.1.public.to_bytes(), one.1.shares[2].to_bytes());
    let mut cases = vec![
        (
            draft(&[one.clone(), (e(2), one.1.clone())]),
            KeysetError::KeyTwice(2),
        ),
        // Two shares of one index, as a mint that would count twice.
        (
            with(&good, &share, &one.1.shares[0].to_bytes()),
            KeysetError::Polynomial(1),
        ),
        (
            with(&good, &public, &two.1.public.to_bytes()),
            KeysetError::Polynomial(1),
        ),
    ];
    let bad_g2 = bad(|point| G2Affine::from_bytes(point).err());
    for (point, why) in bad_g2 {
        for old in [&public, &share] {
            let why = KeysetError::Point { e: 1, why };
            cases.push((with(&good, old, &point), why));
        }
    }
    let liar = Liar::start().await;
    let (at, client) = (liar.gateway.listening().peer(), client(82));
    let fetched = async || {
        let offered: Vec<Offered> = client.keysets(&at).await.unwrap();
        offered[0].check(&mut betanet_machine::Rng::new(
            &betanet_machine::Seed::from_number(5),
        ))
    };
    for (keyset, why) in cases {
        liar.offer(&keyset);
        assert_eq!(fetched().await.map(drop), Err(why));
    }
    liar.offer(&good);
    assert_eq!(fetched().await.unwrap().as_bytes(), good);
    // A key of one that is known already.
    let mut known = betanet_vouchers::Keysets::default();
    known.add(fetched().await.unwrap()).unwrap();
    let mixed = draft(&[one, key(3, 2)]);
    liar.offer(&mixed);
    let refused = known.add(fetched().await.unwrap());
    assert_eq!(refused, Err(KeysetError::KeyTwice(1)));
    liar.gateway.shutdown().await;
}

message! {
    struct Signed {
        req "s" signatures: Vec<[u8; 48]>,
        req "id" id: [u8; 16],
        req "share" share: u16,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mint_that_answers_with_points_that_are_none_gets_nothing_accepted() {
    let mut town = Town::new(1, 1, &[0]).await;
    let liar = Liar::start().await;
    let client = client(83);
    let (blindings, points) = town.blind(&[0]);
    let pay = town.coupon(1).to_bytes();
    let request = IssueRequest::encode([7; 16], &town.keyset.id(), &points, &pay);
    let mut peers = vec![liar.gateway.listening().peer()];
    for (point, why) in bad_g1() {
        liar.say(cbor::to_vec(&Signed {
            signatures: vec![point],
            id: [7; 16],
            share: 1,
        }));
        let issued = client.issue_vouchers(&peers, &town.keyset, &request, &blindings);
        let failed = issued.await.unwrap_err();
        let none = matches!(
            failed,
            ClientError::TooFew {
                have: 0,
                need: 1,
                ..
            }
        );
        assert!(none, "{why:?}: {failed}");
    }
    // The next mint's answer counts all the same.
    peers.extend(town.peers());
    let issued = client.issue_vouchers(&peers, &town.keyset, &request, &blindings);
    let vouchers = issued.await.unwrap();
    assert!(town.redeem(&client, 83, &vouchers).await.is_ok());
    client.close().await;
    liar.gateway.shutdown().await;
    town.end().await;
}
