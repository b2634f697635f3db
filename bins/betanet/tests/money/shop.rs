//! A gateway with a mint, as a process that is killed and started again on the same state.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use betanet_keys::{Identity, Peer};
use betanet_machine::Rng;
use betanet_runtime::{Clock, load_identity, new_identity};
use betanet_voucher_service::{Coupon, Deal, SignedCoupon, mint_init};
use betanet_vouchers::{Keyset, MIN_LIFE};
use serde_json::Value;

use crate::BETANET;

/// Longest that a start of the gateway takes, until its mint answers.
const START: Duration = Duration::from_secs(120);
const HOUR: u64 = 3_600_000;

/// Sums of values in units, as the redemption service counts them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Totals {
    pub(crate) balances: u64,
    pub(crate) issued: u64,
    pub(crate) redeemed: u64,
}

impl Totals {
    /// Value of the vouchers that are issued and neither redeemed nor swapped.
    pub(crate) const fn unspent(&self) -> u64 {
        self.issued - self.redeemed
    }
}

pub(crate) struct Shop {
    pub(crate) home: tempfile::TempDir,
    pub(crate) keyset: Arc<Keyset>,
    pub(crate) peer: Peer,
    issuer: Identity,
    listen: SocketAddr,
    admin: SocketAddr,
    child: Mutex<Option<Child>>,
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

impl Shop {
    /// Makes a keyset of one mint with the denominations 2^0 to 2^max, and starts its gateway.
    pub(crate) fn start(max: u8, rng: &mut Rng) -> Self {
        let home = tempfile::tempdir().unwrap();
        let me = new_identity(&home.path().join("shop.pem")).unwrap();
        std::fs::create_dir(home.path().join("served")).unwrap();
        let begin = Clock::start().now().unix_ms - HOUR;
        let exponents: Vec<u8> = (0..=max).collect();
        let deal = Deal {
            t: 1,
            n: 1,
            unit: "credit",
            exponents: &exponents,
            not_before: begin,
            exp: begin + MIN_LIFE,
            spender: *me.public(),
        };
        let dealt = mint_init(&home.path().join("mint"), &deal, rng).unwrap();
        let issuer = load_identity(&home.path().join("mint/issuer.pem")).unwrap();
        let (listen, admin) = (free(), free());
        let (child, peer) = spawn(home.path(), listen, admin);
        let shop = Self {
            home,
            keyset: Arc::new(dealt.keyset),
            peer: peer.parse().unwrap(),
            issuer,
            listen,
            admin,
            child: Mutex::new(Some(child)),
        };
        shop.totals();
        shop
    }

    pub(crate) fn at(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    pub(crate) fn coupon(&self, id: [u8; 16], value: u64) -> SignedCoupon {
        let coupon = Coupon {
            id,
            keyset: self.keyset.id(),
            value,
            exp: Clock::start().now().unix_ms + HOUR,
        };
        coupon.sign(&self.issuer)
    }

    /// Ends the gateway with SIGKILL, and starts it again. It keeps its address and its state.
    pub(crate) fn crash(&self) {
        let mut child = self.child.lock().unwrap();
        let mut dead = child.take().unwrap();
        dead.kill().unwrap();
        assert!(dead.wait().unwrap().code().is_none(), "it was not killed");
        let (again, peer) = spawn(self.home.path(), self.listen, self.admin);
        *child = Some(again);
        assert_eq!(peer, self.peer.to_string());
    }

    /// Totals, once the mint answers.
    pub(crate) fn totals(&self) -> Totals {
        let begun = Instant::now();
        loop {
            if let Some(totals) = self.asked() {
                return totals;
            }
            assert!(begun.elapsed() < START, "the mint does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn asked(&self) -> Option<Totals> {
        let mut stream = TcpStream::connect(self.admin).ok()?;
        stream.set_read_timeout(Some(START)).ok()?;
        let host = self.admin;
        // Of HTTP/1.0, so that the body comes as it is.
        let request = format!("GET /vouchers/1/keysets HTTP/1.0\r\nhost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        if !head.lines().next()?.contains(" 200 ") {
            return None;
        }
        let facts: Value = serde_json::from_str(body).unwrap();
        assert_eq!(facts["keysets"][0]["alarm"], false);
        let denominations = facts["keysets"][0]["denominations"].as_array().unwrap();
        let sum = |key: &str| {
            let of = |d: &Value| d[key].as_u64().unwrap() << d["e"].as_u64().unwrap();
            denominations.iter().map(of).sum()
        };
        Some(Totals {
            balances: facts["balances"]["credit"].as_u64().unwrap(),
            issued: sum("issued"),
            redeemed: sum("redeemed"),
        })
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        if let Ok(mut child) = self.child.lock()
            && let Some(mut child) = child.take()
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts the gateway. Returns its peer string once it listens.
fn spawn(home: &std::path::Path, listen: SocketAddr, admin: SocketAddr) -> (Child, String) {
    let at = |name: &str| home.join(name).display().to_string();
    let (listen, admin) = (listen.to_string(), admin.to_string());
    let mut child = Command::new(BETANET)
        .args(["serve", &at("served"), "--json", "--key", &at("shop.pem")])
        .args(["--mint", &at("mint/mint-1"), "--listen", &listen])
        .args(["--admin", &admin, "--per-address", "64"])
        // All clients have one address here.
        .args(["--mint-swaps", "1000000"])
        .env("XDG_DATA_HOME", home.join("data"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let facts: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
    let peer = facts["peer"].as_str().unwrap().to_owned();
    (child, peer)
}
