//! A mint that sells for a ledger, and redeems to its accounts: both over sockets.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use betanet_economy_service::Settings as LedgerSettings;
use betanet_economy_service::client::Trust;
use betanet_economy_service::rows::{Balance, KeysetRow, balance_key, table};
use betanet_economy_service::{EconomyService, PREFIX as ECONOMY, Remote, Running as Ruling};
use betanet_journal::MemoryStore;
use betanet_keys::Peer;
use betanet_runtime::{Gateway, GatewayConfig};
use betanet_tokenomics::account::{MICRO, USER};
use betanet_tokenomics::request::Op as Asked;
use betanet_tokenomics::{Asset, Code as Ruled, Envelope, GenesisDraft, Request, Role};
use betanet_voucher_service::bridge::purchase_pay;
use betanet_voucher_service::client::{ClientError, VoucherClient};
use betanet_voucher_service::{MintFolder, Running, Settings, VoucherService};
use betanet_vouchers::message::{
    Answer, Blinded, IssueRequest, Op, RedeemRequest, blinded_hash, blinded_value,
};
use betanet_vouchers::{Blinding, MIN_LIFE, Voucher};
use betanet_wire::{Code, NodeId};

use super::world::{HOUR, Town, client, deal_at, identity, node, now_ms};

const ALICE: u8 = 21;
const BOB: u8 = 22;
const SHOP: u8 = 1;
const SIGNERS: [u8; 2] = [11, 12];

fn account(n: u8) -> NodeId {
    identity(n).public().node_id()
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looked = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let looked = tokio::time::timeout(Duration::from_secs(60), looked).await;
    looked.unwrap_or_else(|_| panic!("{what}"))
}

fn config(home: &Path, name: &str, listen: &str) -> GatewayConfig {
    let mut config = GatewayConfig::in_state(home.join(name));
    config.listener.listen = vec![listen.to_owned()];
    config.limits.per_address = Some(128);
    config.limits.opens = Some(100_000);
    config.limits.opens_per_second = Some(100_000);
    config
}

/// The node of a ledger.
struct Ledger {
    gateway: Gateway,
    running: Ruling,
    peer: Peer,
}

impl Ledger {
    async fn start(home: &Path, genesis: &[u8], store: &MemoryStore, listen: &str) -> Self {
        let config = config(home, "ledger", listen);
        let me = betanet_runtime::load_or_new_identity(&config.node.key).unwrap();
        let mut settings = LedgerSettings::new(genesis.to_vec());
        settings.signers = SIGNERS.map(identity).to_vec();
        settings.head_every = Duration::from_millis(20);
        let service = EconomyService::new(me.clone(), settings).unwrap();
        let gateway = Gateway::builder(me, &config)
            .service(ECONOMY, service.service())
            .start()
            .await
            .unwrap();
        let running = service.start(Arc::new(store.open("one"))).await.unwrap();
        running.leads().await;
        Self {
            peer: gateway.listening().peer(),
            gateway,
            running,
        }
    }

    async fn stop(self) {
        self.running.stop().await;
        self.gateway.shutdown().await;
    }
}

/// The mint, which also redeems.
struct Shop {
    gateway: Gateway,
    running: Running,
    peer: Peer,
}

/// A ledger that lists a keyset, and everybody's files.
struct Sale {
    town: Town,
    genesis: Vec<u8>,
    home: tempfile::TempDir,
    books: MemoryStore,
    till: MemoryStore,
    ledger: Peer,
    reader: Remote,
    client: VoucherClient,
    nonce: u64,
}

impl Sale {
    /// A keyset that is active from a begin on. The ledger is one hour old.
    async fn new(begin: u64) -> (Self, Ledger, Shop) {
        let town = Town::of(&deal_at(1, 1, &[0, 1, 2], begin, begin + MIN_LIFE));
        let home = tempfile::tempdir().unwrap();
        let key = |n: u8| *identity(n).public().as_bytes();
        let alloc = [ALICE, BOB, SHOP].map(|n| (key(n), USER, 100 * MICRO));
        let signers = SIGNERS.map(|n| key(n).to_vec()).to_vec();
        // The ledger sells a little longer, so that what it takes too late is seen.
        let exp = town.keyset.exp() + HOUR;
        let keysets = [(town.keyset.id().0, account(SHOP), exp)];
        let genesis = GenesisDraft {
            name: "a sale",
            t0: now_ms() - HOUR,
            epoch_ms: 86_400_000,
            cap: 1_000_000 * MICRO,
            halving: 365,
            alloc: &alloc,
            roles: &[(Role::Signers, signers)],
            keysets: &keysets,
            ..GenesisDraft::default()
        }
        .to_bytes();
        let books = MemoryStore::new();
        let ledger = Ledger::start(home.path(), &genesis, &books, "127.0.0.1:0").await;
        let sale = Self {
            reader: remote(&genesis, &ledger.peer, 40),
            ledger: ledger.peer.clone(),
            till: MemoryStore::new(),
            client: client(41),
            nonce: 0,
            town,
            genesis,
            home,
            books,
        };
        let shop = sale.shop().await;
        (sale, ledger, shop)
    }

    async fn shop(&self) -> Shop {
        let mut rng = betanet_machine::Rng::new(&betanet_runtime::seed().unwrap());
        let folder = self.town.dir.path().join("mint-1");
        let folder = MintFolder::open(&folder, &mut rng).unwrap();
        assert!(folder.issuer.is_some(), "it could sell for coupons");
        let service = VoucherService::new(identity(SHOP), vec![folder], Settings::default());
        let service = service.unwrap();
        let ledger = remote(&self.genesis, &self.ledger, SHOP);
        service.connect_ledger(ledger).unwrap();
        let config = config(self.home.path(), "shop", "127.0.0.1:0");
        let gateway = Gateway::builder(identity(SHOP), &config)
            .service(betanet_voucher_service::PREFIX, service.service())
            .extension(service.extension())
            .start()
            .await
            .unwrap();
        let running = service
            .start(Arc::new(self.till.open("one")))
            .await
            .unwrap();
        running.leads().await;
        Shop {
            peer: gateway.listening().peer(),
            gateway,
            running,
        }
    }

    /// The ledger's node again, where it was.
    async fn ledger_again(&self) -> Ledger {
        let listen = self.ledger.addrs[0].clone();
        Ledger::start(self.home.path(), &self.genesis, &self.books, &listen).await
    }

    async fn ask(&mut self, id: [u8; 16], op: &Asked) -> u64 {
        let by = [(account(ALICE), self.nonce)];
        let request = Request::new(&by, now_ms() + HOUR, id, op).unwrap();
        let genesis = *self.reader.genesis().id();
        let envelope = Envelope::sign(request, &genesis, &[&identity(ALICE)]);
        let answer = self.reader.submit(&envelope).await.unwrap().answer;
        assert_eq!(answer.code, Ruled::Ok);
        self.nonce += 1;
        answer.seq
    }

    async fn buys(&mut self, id: [u8; 16], points: &[Blinded]) -> u64 {
        let op = Asked::Buy {
            bh: blinded_hash(points),
            keyset: self.town.keyset.id().0,
            vu: blinded_value(points).unwrap(),
        };
        self.ask(id, &op).await
    }

    async fn issue(
        &self,
        shop: &Shop,
        id: [u8; 16],
        (blindings, points): (&[Blinding], &[Blinded]),
        pay: &[u8],
    ) -> Result<Vec<Voucher>, ClientError> {
        let keyset = &self.town.keyset;
        let request = IssueRequest::encode(id, &keyset.id(), points, pay);
        let mints = [shop.peer.clone()];
        self.client
            .issue_vouchers(&mints, keyset, &request, blindings)
            .await
    }

    async fn redeem(&self, shop: &Shop, id: u8, to: NodeId, v: &[Voucher]) -> Answer {
        let request = RedeemRequest::encode(Op::Redeem, to, [id; 16], v);
        let spender = *self.town.keyset.spender();
        let answer = self.client.redeem(&shop.peer, &spender, &request).await;
        answer.unwrap()
    }

    async fn units(&self, who: u8) -> u128 {
        let keys = [(table::BALANCES, balance_key(&account(who), Asset::Units))];
        let (_, rows) = self.reader.rows(&keys).await.unwrap();
        let row = rows[0].as_deref().map(|row| Balance::read(row).unwrap());
        row.unwrap_or_default().available()
    }

    /// Units that were bought and redeemed.
    async fn sold(&self) -> (u64, u64) {
        let keys = [(table::KEYSETS, self.town.keyset.id().0.to_vec())];
        let (_, rows) = self.reader.rows(&keys).await.unwrap();
        let row = KeysetRow::read(rows[0].as_deref().unwrap()).unwrap();
        (row.issued, row.redeemed)
    }
}

fn remote(genesis: &[u8], peer: &Peer, who: u8) -> Remote {
    let peers = vec![peer.clone()];
    Remote::new(Arc::new(node(who)), peers, Trust::new(genesis).unwrap())
}

/// Status and code of a refusal.
fn refused(result: Result<Vec<Voucher>, ClientError>) -> (u16, Code) {
    match result.unwrap_err() {
        ClientError::TooFew {
            last: Some(last), ..
        } => match *last {
            ClientError::Refused {
                status,
                code: Some(code),
                ..
            } => (status, code),
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    }
}

const FOR_EVER: (u16, Code) = (403, Code::POLICY_REJECTED);
const LATER: (u16, Code) = (503, Code::INTERNAL_ERROR);

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_pays_once_for_its_own_points_and_redemptions_arrive() {
    let (mut sale, ledger, shop) = Sale::new(now_ms() - HOUR).await;
    sale.ask(
        [1; 16],
        &Asked::Swap {
            back: false,
            vu: 30,
        },
    )
    .await;
    let (blindings, points) = sale.town.blind(&[2, 1, 0]);
    let of = (&blindings[..], &points[..]);
    let record = sale.buys([7; 16], &points).await;
    let pay = purchase_pay(record);
    let vouchers = until("the purchase is final", async || {
        match sale.issue(&shop, [7; 16], of, &pay).await {
            Ok(vouchers) => Some(vouchers),
            Err(error) => {
                assert_eq!(refused(Err(error)), LATER, "never a refusal for ever");
                None
            }
        }
    })
    .await;
    assert_eq!(vouchers.iter().map(Voucher::value).sum::<u64>(), 7);
    // Again the same, and nothing else for it.
    assert!(sale.issue(&shop, [7; 16], of, &pay).await.is_ok());
    let (others, other_points) = sale.town.blind(&[2, 1, 0]);
    let other = (&others[..], &other_points[..]);
    let wrong = sale.issue(&shop, [7; 16], other, &pay).await;
    assert_eq!(refused(wrong), FOR_EVER, "other points");
    let wrong = sale.issue(&shop, [8; 16], of, &pay).await;
    assert_eq!(refused(wrong), FOR_EVER, "another's record");
    let wrong = sale.issue(&shop, [8; 16], other, &purchase_pay(1)).await;
    assert_eq!(refused(wrong), FOR_EVER, "a swap's record");
    let wrong = sale.issue(&shop, [8; 16], other, &purchase_pay(0)).await;
    assert_eq!(refused(wrong), FOR_EVER, "the genesis");
    let early = sale.issue(&shop, [8; 16], other, &purchase_pay(99)).await;
    assert_eq!(refused(early), LATER, "no record yet");
    let coupon = sale.town.coupon(7).to_bytes();
    let wrong = sale.issue(&shop, [8; 16], other, &coupon).await;
    assert_eq!(refused(wrong), FOR_EVER, "a coupon");
    assert_eq!((sale.units(ALICE).await, sale.sold().await), (23, (7, 0)));

    // A payee without an account keeps its vouchers; one with an account has the units soon.
    let nobody = sale.redeem(&shop, 1, account(99), &vouchers[..1]).await;
    assert_eq!(nobody.codes, [Code::POLICY_REJECTED]);
    let answer = sale.redeem(&shop, 2, account(BOB), &vouchers[..2]).await;
    assert!(answer.is_ok() && answer.total == 6 && answer.balance == 0);
    until("units arrive", async || {
        (sale.units(BOB).await == 6).then_some(())
    })
    .await;
    assert_eq!(
        sale.redeem(&shop, 2, account(BOB), &vouchers[..2]).await,
        answer
    );
    assert_eq!(sale.sold().await, (7, 6));
    let view = shop.running.view().await.unwrap();
    assert_eq!(view.balances["FOG"], 0, "nothing is owed here too");

    // Without the ledger nothing is refused for ever, and what was signed is signed again.
    ledger.stop().await;
    let down = sale.issue(&shop, [8; 16], other, &pay).await;
    assert_eq!(refused(down), LATER);
    assert!(sale.issue(&shop, [7; 16], of, &pay).await.is_ok());
    let request = RedeemRequest::encode(Op::Redeem, account(BOB), [3; 16], &vouchers[2..]);
    let spender = *sale.town.keyset.spender();
    let down = sale.client.redeem(&shop.peer, &spender, &request).await;
    assert!(matches!(
        down,
        Err(ClientError::Refused { status: 503, .. })
    ));

    // Killed after the commit, and before the ledger takes it; it pays once afterwards.
    let ledger = sale.ledger_again().await;
    let last = until("the ledger is back", async || {
        let answer = sale.client.redeem(&shop.peer, &spender, &request).await;
        answer.ok()
    })
    .await;
    assert!(last.is_ok());
    drop(shop.running);
    shop.gateway.shutdown().await;
    let shop = sale.shop().await;
    until("the last unit arrives", async || {
        (sale.units(BOB).await == 7).then_some(())
    })
    .await;
    assert_eq!(sale.sold().await, (7, 7));
    shop.running.stop().await;
    shop.gateway.shutdown().await;
    ledger.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_after_the_end_of_a_keyset_buys_nothing() {
    // It expired a moment ago, and signs for purchases of before.
    let (mut sale, ledger, shop) = Sale::new(now_ms() - MIN_LIFE).await;
    sale.ask([1; 16], &Asked::Swap { back: false, vu: 5 }).await;
    let (blindings, points) = sale.town.blind(&[0]);
    let record = sale.buys([7; 16], &points).await;
    until("the purchase is final", async || {
        let record = sale.reader.record(record).await;
        record.ok().flatten()
    })
    .await;
    let of = (&blindings[..], &points[..]);
    let late = sale.issue(&shop, [7; 16], of, &purchase_pay(record)).await;
    assert_eq!(refused(late), FOR_EVER);
    shop.running.stop().await;
    shop.gateway.shutdown().await;
    ledger.stop().await;
}
