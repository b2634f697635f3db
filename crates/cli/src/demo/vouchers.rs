//! The demo's part of vouchers: buy them blind, pay for a file, and fail to pay twice.

use std::path::Path;

use betanet_bar::{Headers, Method, Request, status};
use betanet_keys::PublicKey;
use betanet_machine::Rng;
use betanet_runtime::{Clock, Gateway, GatewayConfig, Node, SessionHandle, new_identity, seed};
use betanet_voucher_service::{
    CODE_HEADER, Coupon, Deal, ISSUER_KEY_FILE, MintFolder, PREFIX, Paid, Price, Running, Settings,
    VoucherService, mint_init, with_vouchers,
};
use betanet_vouchers::message::{IssueAnswer, MESSAGE_MAX};
use betanet_vouchers::wallet::{Cost, Phrase, Wallet, WalletKey};
use betanet_vouchers::{Keyset, Voucher};
use zeroize::Zeroizing;

use super::{Steps, failed};
use crate::Fail;
use crate::fail::chain;

/// Units that the demo buys, and the price of a file.
const BOUGHT: u64 = 11;
const PRICE: u64 = 3;

const DAY: u64 = 86_400_000;

/// A gateway that issues vouchers, and asks them for its files.
struct Shop {
    gateway: Gateway,
    running: Running,
    keyset: Keyset,
    coupon: Vec<u8>,
    coupon_id: [u8; 16],
}

fn wrong(error: &(dyn std::error::Error + 'static)) -> Fail {
    failed(chain(error))
}

async fn shop(home: &Path, rng: &mut Rng) -> Result<Shop, Fail> {
    let key = home.join("shop.pem");
    let identity = new_identity(&key)?;
    let spender: PublicKey = *identity.public();
    let folder = home.join("mint");
    let now = Clock::start().now().unix_ms;
    let deal = Deal {
        t: 1,
        n: 1,
        unit: "credit",
        exponents: &[0, 1, 2, 3],
        not_before: now,
        exp: now + 30 * DAY,
        spender,
    };
    let dealt = mint_init(&folder, &deal, rng)?;
    let issuer = betanet_runtime::load_identity(&folder.join(ISSUER_KEY_FILE))?;
    let mints: Result<Vec<MintFolder>, _> = dealt
        .mints
        .iter()
        .map(|dir| MintFolder::open(dir, rng))
        .collect();
    let service = VoucherService::new(identity.clone(), mints?, Settings::default())?;
    let coupon = Coupon {
        id: rng.array(),
        keyset: dealt.keyset.id(),
        value: BOUGHT,
        exp: now + DAY,
    };
    let mut config = GatewayConfig::default();
    config.folder.serve = Some(home.join("served"));
    config.node.key = key;
    config.check().map_err(|p| Fail::Local(p.to_string()))?;
    let price = Price {
        units: PRICE,
        unit: "credit".to_owned(),
        keyset: dealt.keyset.id(),
    };
    let paid = Paid::new(
        config.folder_service()?,
        service.redeemer(),
        price,
        ["/".to_owned()],
    );
    let gateway = Gateway::builder(identity, &config)
        .service(PREFIX, service.service())
        .service("/", paid)
        .start()
        .await?;
    let journal = crate::journal::open(&home.join("shop-journal"), "shop")?;
    let running = service.start(journal).await?;
    running.leads().await;
    Ok(Shop {
        gateway,
        running,
        coupon: coupon.sign(&issuer).to_bytes(),
        coupon_id: coupon.id,
        keyset: dealt.keyset,
    })
}

async fn ask(session: &SessionHandle, request: Request) -> Result<(u16, Headers, Vec<u8>), Fail> {
    let mut answer = session.ask(request).await?;
    let body = answer.body.all(MESSAGE_MAX.max(1 << 20)).await;
    let body = body.map_err(|e| wrong(&e))?.unwrap_or_default();
    Ok((answer.head.status, answer.head.headers, body))
}

fn file(vouchers: &[Voucher]) -> Request {
    let headers = if vouchers.is_empty() {
        Headers::default()
    } else {
        with_vouchers(Headers::default(), vouchers)
    };
    Request::new(Method::Get, "/1k.bin", headers)
}

/// Runs the steps.
pub(super) async fn run(home: &Path, steps: &mut Steps) -> Result<(), Fail> {
    let random = seed()?;
    let mut rng = Rng::new(&random);
    let shop = shop(home, &mut rng).await?;
    steps.done(&format!(
        "started a gateway with a mint, whose files cost {PRICE} credits each"
    ));

    let phrase = Phrase::short(&Zeroizing::new(rng.array()));
    let mut wallet = Wallet::new(&phrase, "");
    let cost = Cost {
        memory: 8,
        passes: 1,
    };
    let key = WalletKey::new(b"demo", cost, &mut rng).map_err(|e| wrong(&e))?;
    let save = |wallet: &mut Wallet, rng: &mut Rng| -> Result<(), Fail> {
        let sealed = wallet.to_bytes(&key, rng).map_err(|e| wrong(&e))?;
        let path = home.join("wallet");
        betanet_runtime::write_private(&path, sealed.as_bytes())?;
        wallet.stored(sealed.revision());
        Ok(())
    };
    let node = Node::client()?;
    let session = node.connect(&shop.gateway.listening().peer()).await?;
    let (keyset, id) = (&shop.keyset, shop.coupon_id);
    wallet.buy(keyset, BOUGHT, id).map_err(|e| wrong(&e))?;
    wallet.paid(&id, &shop.coupon).map_err(|e| wrong(&e))?;
    save(&mut wallet, &mut rng)?;
    let mut request = Request::new(Method::Post, "/vouchers/issue", Headers::default());
    request.body = wallet
        .request(&id, keyset)
        .map_err(|e| wrong(&e))?
        .bytes
        .to_vec();
    let (code, _, answer) = ask(&session, request).await?;
    if code != status::OK {
        return Err(failed(format!("the mint answered {code}")));
    }
    let answer = IssueAnswer::from_bytes(&answer).map_err(|e| wrong(&e))?;
    let bought = wallet
        .issued(&id, keyset, &[answer.partials], &mut rng)
        .map_err(|e| wrong(&e))?;
    save(&mut wallet, &mut rng)?;
    steps.done(&format!("bought {bought} credits with a coupon: the mint signed blinded points, and has not seen the vouchers"));

    let (code, headers, _) = ask(&session, file(&[])).await?;
    let price = headers.text("price").unwrap_or_default().to_owned();
    if code != 429 || !price.starts_with(&format!("{PRICE} credit ")) {
        return Err(failed(format!("without payment: {code}, price {price:?}")));
    }
    steps.done(&format!(
        "refused without payment: status {code}, the price is {PRICE} credits"
    ));

    let number: [u8; 16] = rng.array();
    wallet
        .give(&keyset.id(), PRICE, number)
        .map_err(|e| wrong(&e))?;
    save(&mut wallet, &mut rng)?;
    let vouchers = wallet.given(&number).map_err(|e| wrong(&e))?;
    let (code, _, bytes) = ask(&session, file(&vouchers)).await?;
    if code != status::OK || bytes.len() != 1 << 10 {
        return Err(failed(format!("paid: {code}, {} bytes", bytes.len())));
    }
    wallet.gone(&number).map_err(|e| wrong(&e))?;
    save(&mut wallet, &mut rng)?;
    steps.done(&format!(
        "paid {PRICE} credits in {} vouchers, and got the file",
        vouchers.len()
    ));

    let (code, headers, _) = ask(&session, file(&vouchers)).await?;
    let why = headers.text(CODE_HEADER).unwrap_or_default().to_owned();
    if code != 429 {
        return Err(failed(format!("the same vouchers paid twice: {code}")));
    }
    let view = shop.running.view().await.map_err(|e| wrong(&e))?;
    let free: u64 = wallet.vouchers().map(Voucher::value).sum();
    let balance: u128 = view.balances.values().sum();
    if balance + u128::from(free) != u128::from(bought) {
        return Err(failed(format!("{balance} + {free} are not {bought}")));
    }
    steps.done(&format!(
        "refused: the same vouchers again (code {why}); the balance of {balance} and {free} unspent are the {bought} issued"
    ));
    session.close().await;
    shop.running.stop().await;
    if !shop.gateway.shutdown().await {
        return Err(failed("a node did not stop in time"));
    }
    Ok(())
}
