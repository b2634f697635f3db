//! A keyset, the nodes that have its shares, and a client.

use std::sync::Arc;

use betanet_bls::Scalar;
use betanet_journal::{Journal, MemoryStore};
use betanet_keys::{Identity, Peer};
use betanet_machine::{Rng, Seed};
use betanet_runtime::{
    Clock, Gateway, GatewayConfig, Headers, Method, Node, Request, SessionHandle, StreamType,
    load_identity,
};
use betanet_voucher_service::client::{Direct, Patience, VoucherClient};
use betanet_voucher_service::coupon::{Coupon, SignedCoupon};
use betanet_voucher_service::{
    Deal, MintFolder, Paid, Price, Running, Settings, VoucherService, mint_init,
};
use betanet_vouchers::message::{Answer, Blinded, IssueRequest, Op, RedeemRequest};
use betanet_vouchers::{Blinding, Denomination, Keyset, MIN_LIFE, Voucher};
use betanet_wire::{Code, cbor, message};

pub(crate) const HOUR: u64 = 3_600_000;

message! {
    pub(crate) struct Refused {
        req "code" code: u16,
    }
}

pub(crate) fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

pub(crate) fn now_ms() -> u64 {
    Clock::start().now().unix_ms
}

/// The code in the body of a refusal.
pub(crate) fn code(body: &[u8]) -> Code {
    Code(cbor::from_slice::<Refused>(body).unwrap().code)
}

/// A node with the service.
pub(crate) struct Mint {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) service: VoucherService,
    pub(crate) running: Option<Running>,
    pub(crate) home: tempfile::TempDir,
}

impl Mint {
    /// Starts a node; its state is in `journal`, or in memory.
    pub(crate) async fn start(
        me: u8,
        folders: Vec<MintFolder>,
        settings: Settings,
        journal: Option<Arc<dyn Journal>>,
    ) -> Self {
        Self::start_before(me, folders, settings, journal, Vec::new()).await
    }

    async fn leads(self) -> Self {
        if let Some(running) = &self.running {
            running.leads().await;
        }
        self
    }

    /// The same, and relays paths to these nodes.
    pub(crate) async fn start_before(
        me: u8,
        folders: Vec<MintFolder>,
        settings: Settings,
        journal: Option<Arc<dyn Journal>>,
        onward: Vec<Peer>,
    ) -> Self {
        let begun = Self::begin(me, folders, settings, journal, onward).await;
        begun.leads().await
    }

    /// The same, and does not wait until it leads.
    pub(crate) async fn begin(
        me: u8,
        folders: Vec<MintFolder>,
        settings: Settings,
        journal: Option<Arc<dyn Journal>>,
        onward: Vec<Peer>,
    ) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut config = GatewayConfig::in_state(home.path().join("state"));
        config.listener.listen = vec!["127.0.0.1:0".into()];
        config.relay.onward = onward;
        // All clients of a test come from one address.
        config.limits.per_address = Some(128);
        let service = VoucherService::new(identity(me), folders, settings).unwrap();
        let mut builder = Gateway::builder(identity(me), &config)
            .service(betanet_voucher_service::PREFIX, service.service())
            .stream_type(StreamType::REDEEM, service.streams())
            .extension(service.extension());
        if let Some(keyset) = service.keysets().iter().next() {
            let price = Price {
                units: 2,
                unit: keyset.unit().to_owned(),
                keyset: keyset.id(),
            };
            let paid = Paid::new(inner, service.redeemer(), price, ["/files".into()]);
            builder = builder.service("/", paid);
        }
        let gateway = builder.start().await.unwrap();
        let journal = journal.unwrap_or_else(|| Arc::new(MemoryStore::new().open("one")));
        let running = service.start(journal).await.unwrap();
        Self {
            gateway: Arc::new(gateway),
            service,
            running: Some(running),
            home,
        }
    }

    pub(crate) fn peer(&self) -> Peer {
        self.gateway.listening().peer()
    }

    pub(crate) async fn end(mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
        self.gateway.shutdown().await;
        drop(self.home);
    }
}

/// What stands behind a paid service: answers the length of the header of vouchers, and 404 below `/files/none`.
pub(crate) async fn inner(call: betanet_runtime::Call) -> betanet_runtime::Reply {
    use betanet_bar::HeaderValue;
    if call.request.path().starts_with("/files/none") {
        return betanet_runtime::Reply::text(404, "none");
    }
    let n = match call.request.headers.get("bn-voucher") {
        Some(HeaderValue::Bytes(bytes)) => bytes.len(),
        Some(HeaderValue::Text(_)) => 1,
        None => 0,
    };
    betanet_runtime::Reply::text(200, n.to_string())
}

/// A keyset with all its mints; the first also keeps the spent set.
pub(crate) struct Town {
    pub(crate) mints: Vec<Mint>,
    pub(crate) keyset: Arc<Keyset>,
    pub(crate) issuer: Identity,
    pub(crate) rng: Rng,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) fn deal_at(t: u8, n: u8, exponents: &[u8], not_before: u64, exp: u64) -> Deal<'_> {
    Deal {
        t,
        n,
        unit: "FOG",
        exponents,
        not_before,
        exp,
        spender: *identity(1).public(),
    }
}

/// Deals a keyset that is active now.
pub(crate) fn deal(t: u8, n: u8, exponents: &[u8]) -> Deal<'_> {
    let begin = now_ms() - HOUR;
    deal_at(t, n, exponents, begin, begin + MIN_LIFE)
}

impl Town {
    pub(crate) async fn new(t: u8, n: u8, exponents: &[u8]) -> Self {
        Self::with(t, n, exponents, Settings::default()).await
    }

    pub(crate) async fn with(t: u8, n: u8, exponents: &[u8], settings: Settings) -> Self {
        let mut town = Self::dealt(t, n, exponents);
        for me in 1..=n {
            let folder = town.folder(me);
            town.mints
                .push(Mint::start(me, vec![folder], settings, None).await);
        }
        town
    }

    /// A keyset that others made, and no node yet.
    pub(crate) fn made(keyset: Arc<Keyset>, issuer: Identity, dir: tempfile::TempDir) -> Self {
        Self {
            mints: Vec::new(),
            keyset,
            issuer,
            rng: Rng::new(&Seed::from_number(79)),
            dir,
        }
    }

    /// The files, and no node yet.
    pub(crate) fn dealt(t: u8, n: u8, exponents: &[u8]) -> Self {
        Self::of(&deal(t, n, exponents))
    }

    /// The same of any keyset.
    pub(crate) fn of(deal: &Deal<'_>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = Rng::new(&Seed::from_number(77));
        let dealt = mint_init(dir.path(), deal, &mut rng).unwrap();
        Self {
            mints: Vec::new(),
            keyset: Arc::new(dealt.keyset),
            issuer: load_identity(&dir.path().join("issuer.pem")).unwrap(),
            rng,
            dir,
        }
    }

    pub(crate) fn folder(&mut self, index: u8) -> MintFolder {
        let dir = self.dir.path().join(format!("mint-{index}"));
        MintFolder::open(&dir, &mut self.rng).unwrap()
    }

    pub(crate) fn peers(&self) -> Vec<Peer> {
        self.mints.iter().map(Mint::peer).collect()
    }

    pub(crate) fn blind(&mut self, exponents: &[u8]) -> (Vec<Blinding>, Vec<Blinded>) {
        let (mut blindings, mut points) = (Vec::new(), Vec::new());
        for e in exponents {
            let denomination = Denomination::new(*e).unwrap();
            let secret: [u8; 32] = self.rng.array();
            let factor = Scalar::draw(|b| self.rng.fill(b));
            let blinding = Blinding::new(denomination, &secret, factor).unwrap();
            let point = blinding.blinded(&self.keyset).unwrap().to_bytes();
            points.push(Blinded {
                denomination,
                point,
            });
            blindings.push(blinding);
        }
        (blindings, points)
    }

    pub(crate) fn coupon(&mut self, value: u64) -> SignedCoupon {
        let coupon = Coupon {
            id: self.rng.array(),
            keyset: self.keyset.id(),
            value,
            exp: now_ms() + HOUR,
        };
        coupon.sign(&self.issuer)
    }

    /// Issues vouchers for a coupon, from the first byte to the last.
    pub(crate) async fn issue(&mut self, client: &VoucherClient, exponents: &[u8]) -> Vec<Voucher> {
        let (blindings, points) = self.blind(exponents);
        let value = exponents.iter().map(|e| 1 << e).sum();
        let pay = self.coupon(value).to_bytes();
        let request = IssueRequest::encode(self.rng.array(), &self.keyset.id(), &points, &pay);
        let peers = self.peers();
        let issued = client.issue_vouchers(&peers, &self.keyset, &request, &blindings);
        issued.await.unwrap()
    }

    /// Redeems to the client's balance.
    pub(crate) async fn redeem(
        &mut self,
        client: &VoucherClient,
        who: u8,
        vouchers: &[Voucher],
    ) -> Answer {
        let id = self.rng.array();
        let to = identity(who).public().node_id();
        let request = RedeemRequest::encode(Op::Redeem, to, id, vouchers);
        let spender = *self.keyset.spender();
        client
            .redeem(&self.mints[0].peer(), &spender, &request)
            .await
            .unwrap()
    }

    pub(crate) async fn end(self) {
        for mint in self.mints {
            mint.end().await;
        }
    }
}

/// A voucher with the secret of one and the signature of another: its checksum is right.
pub(crate) fn forged(secret: &Voucher, signature: &Voucher) -> Voucher {
    let (a, b) = (secret.as_bytes(), signature.as_bytes());
    let mut bytes = [&a[..64], &b[64..116]].concat();
    let check = betanet_keys::hash(&[b"BN-VCHK1", &bytes]);
    bytes.extend_from_slice(&check[..12]);
    Voucher::from_bytes(&bytes).unwrap()
}

pub(crate) fn node(who: u8) -> Node {
    Node::new(Some(identity(who)), Default::default()).unwrap()
}

pub(crate) fn client(who: u8) -> VoucherClient {
    let patience = Patience {
        tries: 2,
        ..Patience::default()
    };
    VoucherClient::with_patience(Direct::new(Arc::new(node(who))), patience)
}

pub(crate) async fn session(who: u8, mint: &Mint) -> SessionHandle {
    node(who).connect(&mint.peer()).await.unwrap()
}

/// Sends one request, whose body is streamed where it is long.
pub(crate) async fn ask(
    session: &SessionHandle,
    method: Method,
    path: &str,
    headers: Headers,
    body: &[u8],
) -> (u16, Headers, Vec<u8>) {
    let mut request = Request::new(method, path, headers);
    let mut answer = if body.len() < 30_000 {
        request.body = body.to_vec();
        session.ask(request).await.unwrap()
    } else {
        let upload = session.upload(request).await.unwrap();
        // Whoever refuses the request reads no more of it.
        let _ = upload.send(body.to_vec().into()).await;
        upload.finish().await.unwrap()
    };
    let read = answer.body.all(1 << 22).await.unwrap().unwrap();
    (answer.head.status, answer.head.headers, read)
}

pub(crate) async fn post(session: &SessionHandle, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let path = format!("/vouchers/{path}");
    let (status, headers, read) = ask(session, Method::Post, &path, Headers::default(), body).await;
    assert_eq!(headers.text("content-type"), Some("application/cbor"));
    (status, read)
}
