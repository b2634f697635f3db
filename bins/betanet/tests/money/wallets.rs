//! Wallets whose commands are killed at random points between mint, disk and answer.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use betanet_machine::{Rng, Seed};
use betanet_store::{Kind, State, Storage as _};
use betanet_vouchers::Voucher;
use betanet_vouchers::wallet::{Cost, Phrase, Wallet, WalletKey};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::shop::Shop;
use crate::{BETANET, size};

/// Commands after which the gateway is killed too; it grants an address 120 requests a minute.
const GATEWAY: u64 = 25;
/// Kills after which a phrase is compared with its wallet.
const COMPARED: u64 = 100;
const PASSWORD: &str = "secret";

/// Result of a command that may have been killed.
struct Ran {
    killed: bool,
    code: Option<i32>,
    out: String,
    err: String,
}

/// Two wallets of one mint, and what is on its way between them.
struct Pair {
    shop: Shop,
    rng: Rng,
    phrases: Vec<Phrase>,
    /// Coupons that a wallet did not end with yet.
    coupons: Vec<String>,
    bought: u64,
    /// Vouchers that were printed by one wallet, and that the other has not taken.
    printed: Vec<String>,
    /// The longest that a command of this name took, while it was not killed.
    takes: std::collections::BTreeMap<&'static str, Duration>,
    commands: u64,
    kills: u64,
    refused: u64,
    restored: u64,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(&Seed::from_number(seed));
        let shop = Shop::start(6, &mut rng);
        std::fs::write(shop.at("password"), PASSWORD).unwrap();
        let mut pair = Self {
            shop,
            rng,
            phrases: Vec::new(),
            coupons: Vec::new(),
            bought: 0,
            printed: Vec::new(),
            takes: Default::default(),
            commands: 0,
            kills: 0,
            refused: 0,
            restored: 0,
        };
        for who in 0..2 {
            let phrase = Phrase::short(&Zeroizing::new(pair.rng.array()));
            pair.wallet(&Self::name(who), &phrase);
            pair.phrases.push(phrase);
            let peer = pair.shop.peer.to_string();
            let learned = pair.done(who, &["mint", &peer]);
            assert!(learned.contains("keyset"), "{learned}");
        }
        pair
    }

    fn name(who: usize) -> String {
        format!("wallet-{who}")
    }

    /// Writes a wallet whose password costs little: most of a command's time shall be its work.
    fn wallet(&mut self, name: &str, phrase: &Phrase) {
        let cost = Cost {
            memory: 8,
            passes: 1,
        };
        let key = WalletKey::new(PASSWORD.as_bytes(), cost, &mut self.rng).unwrap();
        let wallet = Wallet::new(phrase, "");
        let sealed = wallet.to_bytes(&key, &mut self.rng).unwrap();
        let state = State::open(self.shop.at(name).as_ref()).unwrap();
        let kind = Kind::new("wallet", 1);
        state.replace(kind, "wallet", sealed.as_bytes()).unwrap();
    }

    fn command(&self, wallet: &str, args: &[&str]) -> Command {
        let mut command = Command::new(BETANET);
        command
            .arg("pay")
            .args(args)
            .args(["--wallet", &self.shop.at(wallet)])
            .args(["--password-file", &self.shop.at("password")])
            .env("XDG_DATA_HOME", self.shop.home.path().join("client"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command; kills it after this time if it still runs then.
    fn run(&mut self, wallet: &str, args: &[&str], input: &str, kill: Option<Duration>) -> Ran {
        self.commands += 1;
        if self.commands.is_multiple_of(GATEWAY) {
            self.shop.crash();
        }
        let begun = Instant::now();
        let mut child = self.command(wallet, args).spawn().unwrap();
        // Short enough for the pipe, and whoever reads nothing may be gone.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let mut killed = false;
        if let Some(after) = kill {
            while begun.elapsed() < after && child.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_micros(200));
            }
            killed = child.try_wait().unwrap().is_none();
            let _ = child.kill();
        }
        let (mut out, mut err) = (String::new(), String::new());
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut out)
            .unwrap();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut err)
            .unwrap();
        let code = child.wait().unwrap().code();
        // It may have ended by itself in between.
        killed &= code.is_none();
        self.kills += u64::from(killed);
        Ran {
            killed,
            code,
            out,
            err,
        }
    }

    /// Runs a command to its end.
    fn done(&mut self, who: usize, args: &[&str]) -> String {
        let ran = self.run(&Self::name(who), args, "", None);
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.err);
        ran.out
    }

    /// Runs a command that is killed at some point of the time that it takes.
    fn shaken(&mut self, who: usize, args: &[&'static str], more: &[&str], input: &str) -> Ran {
        let word = args[0];
        let most = self.takes.get(word).copied();
        let kill = most.map(|most| {
            let most = u64::try_from(most.as_micros()).unwrap();
            Duration::from_micros(self.rng.below(most * 9 / 8))
        });
        let all = [args, more].concat();
        let begun = Instant::now();
        let ran = self.run(&Self::name(who), &all, input, kill);
        if !ran.killed {
            let took = begun.elapsed();
            // Follows the machine's load: the mean of what it was and what it is.
            let known = self.takes.entry(word).or_insert(took);
            *known = (*known + took) / 2;
            let good = matches!(ran.code, Some(0..=2));
            assert!(good, "{all:?}: {:?} {}", ran.code, ran.err);
        }
        ran
    }

    fn issue(&mut self, who: usize) {
        if self.coupons.is_empty() {
            let (id, value) = (self.rng.array(), 1 + self.rng.below(60));
            self.coupons.push(self.shop.coupon(id, value).to_string());
            self.bought += value;
        }
        let coupon = self.coupons[0].clone();
        let ran = self.shaken(who, &["issue"], &[&coupon], "");
        self.issued(&ran);
    }

    fn issued(&mut self, ran: &Ran) {
        if ran.killed {
            return;
        }
        // A command that was killed after its last write had done its work.
        let used = ran.err.contains("used before");
        assert!(ran.code == Some(0) || used, "{:?} {}", ran.code, ran.err);
        self.coupons.remove(0);
    }

    fn send(&mut self, who: usize) {
        let amount = (1 + self.rng.below(12)).to_string();
        let ran = self.shaken(who, &["send"], &[&amount], "");
        let whole = ran.out.lines().filter(|l| l.parse::<Voucher>().is_ok());
        self.printed.extend(whole.map(str::to_owned));
        self.poor(&ran);
    }

    fn redeem(&mut self, who: usize) {
        let amount = (1 + self.rng.below(9)).to_string();
        let to = self.shop.peer.name().to_string();
        let ran = self.shaken(who, &["redeem"], &[&amount, "--to", &to], "");
        self.poor(&ran);
    }

    /// A command without vouchers enough ends with 2; one with vouchers that the other wallet has spent, with 1.
    fn poor(&mut self, ran: &Ran) {
        let known = ran.err.contains("not enough") || ran.err.contains("VOUCHER_SPENT");
        let fine = ran.killed || ran.code == Some(0) || known;
        assert!(fine, "{:?} {}", ran.code, ran.err);
        self.refused += u64::from(!ran.killed && ran.code != Some(0));
    }

    fn receive(&mut self, who: usize, kill: bool) {
        if self.printed.is_empty() {
            return;
        }
        let input = self.printed.join("\n") + "\n";
        let ran = match kill {
            true => self.shaken(who, &["receive", "-"], &[], &input),
            false => self.run(&Self::name(who), &["receive", "-"], &input, None),
        };
        self.poor(&ran);
        if !ran.killed {
            // Those that were spent already are dropped, and the others swapped.
            self.printed.clear();
        }
    }

    fn balance(&mut self, wallet: &str) -> (u64, u64) {
        let ran = self.run(wallet, &["balance", "--json"], "", None);
        assert_eq!(ran.code, Some(0), "the wallet opens: {}", ran.err);
        let facts: Value = serde_json::from_str(&ran.out).unwrap();
        let units = facts["keysets"][0]["units"].as_u64().unwrap();
        (units, facts["open_operations"].as_u64().unwrap())
    }

    /// Ends all operations of a wallet, and drops what is spent. Returns its units.
    fn settle(&mut self, who: usize) -> u64 {
        self.settled(&Self::name(who))
    }

    fn settled(&mut self, name: &str) -> u64 {
        // A redemption of what the other wallet has spent is refused, and ends by it.
        for _ in 0..2 {
            let ran = self.run(name, &["resume"], "", None);
            let fine = ran.code == Some(0) || ran.err.contains("VOUCHER_SPENT");
            assert!(fine, "{:?} {}", ran.code, ran.err);
        }
        let (units, open) = self.balance(name);
        assert_eq!(open, 0);
        units
    }

    /// Restores the phrase of a wallet beside it. Returns the name and the units of the new one.
    fn restore(&mut self, who: usize) -> (String, u64) {
        self.restored += 1;
        let name = format!("restored-{}", self.restored);
        std::fs::write(self.shop.at("phrase"), self.phrases[who].words()).unwrap();
        self.shop.crash();
        let (phrase, peer) = (self.shop.at("phrase"), self.shop.peer.to_string());
        let args = ["restore", &phrase, &peer];
        let most = self.takes.get("restore").copied().unwrap_or_default();
        let most = u64::try_from(most.as_micros()).unwrap();
        let kill = (most > 0).then(|| Duration::from_micros(self.rng.below(most)));
        let begun = Instant::now();
        let ran = self.run(&name, &args, "", kill);
        if ran.killed {
            // The wallet is not there, or whole.
            let again = self.run(&name, &args, "", None);
            let there = again.err.contains("is there already");
            assert!(there || again.code == Some(0), "{}", again.err);
            let dropped = self.run(&name, &["resume"], "", None);
            assert_eq!(dropped.code, Some(0), "{}", dropped.err);
        } else {
            assert_eq!(ran.code, Some(0), "{}", ran.err);
            self.takes.insert("restore", begun.elapsed());
        }
        let (units, _) = self.balance(&name);
        (name, units)
    }

    /// Compares wallets, mint and phrases, once nothing is under way.
    fn compare(&mut self) -> [u64; 2] {
        for who in 0..2 {
            self.settle(who);
        }
        while let Some(coupon) = self.coupons.first().cloned() {
            let ran = self.run(&Self::name(0), &["issue", &coupon], "", None);
            self.issued(&ran);
        }
        self.receive(1, false);
        let units = [self.settle(0), self.settle(1)];
        let totals = self.shop.totals();
        assert_eq!(
            totals.balances + totals.unspent(),
            self.bought,
            "{totals:?}"
        );
        assert_eq!(totals.unspent(), units[0] + units[1], "{totals:?}");
        for (who, units) in units.iter().enumerate() {
            let (again, found) = self.restore(who);
            assert_eq!(found, *units, "the phrase of wallet {who}");
            let (own, found) = (self.vouchers(&Self::name(who)), self.vouchers(&again));
            assert_eq!(own, found, "the vouchers of wallet {who}, one by one");
        }
        units
    }

    /// The vouchers in the file of a wallet.
    fn vouchers(&self, name: &str) -> BTreeSet<String> {
        let state = State::open(self.shop.at(name).as_ref()).unwrap();
        let file = state
            .load(Kind::new("wallet", 1), "wallet")
            .unwrap()
            .unwrap();
        let (wallet, _) = Wallet::from_bytes(&file.bytes, PASSWORD.as_bytes()).unwrap();
        assert_eq!(wallet.foreign().count(), 0);
        wallet.vouchers().map(ToString::to_string).collect()
    }
}

/// Two devices of one phrase exchange different vouchers, one after the other, and both have the secrets of the phrase.
fn exchanged_by_two_devices(pair: &mut Pair) {
    for value in [4, 8] {
        let coupon = pair.shop.coupon(pair.rng.array(), value).to_string();
        pair.bought += value;
        pair.done(0, &["issue", &coupon]);
    }
    let ((first, units), (second, same)) = (pair.restore(0), pair.restore(0));
    assert_eq!((units, same), (12, 12));
    // Of 4 one is sent, and there are three left, which the second device does not know of.
    let sent = pair.run(&first, &["send", "1"], "", None);
    assert_eq!(sent.code, Some(0), "{}", sent.err);
    assert_eq!(pair.settled(&second), 8);
    let more = pair.run(&second, &["send", "3"], "", None);
    assert_eq!(more.code, Some(0), "{}", more.err);
    let lines = sent.out.lines().chain(more.out.lines());
    pair.printed.extend(lines.map(str::to_owned));
    pair.receive(1, false);
    assert_eq!([pair.settled(&first), pair.settled(&second)], [3, 5]);
    assert_eq!(pair.settle(0), 0);
    let all = pair.settle(1) + 3 + 5;
    assert_eq!(pair.shop.totals().unspent(), all);
}

#[test]
fn wallets_survive_kills_and_their_phrases_find_every_voucher() {
    let (points, seed) = (size("POINTS", 12), size("SEED", 31));
    let mut pair = Pair::new(seed + 1);
    pair.issue(0);
    let mut compared = 0;
    while pair.kills < points {
        let who = pair.rng.below(2) as usize;
        match pair.rng.below(8) {
            0 | 1 => pair.issue(0),
            2 | 3 => pair.send(0),
            4 => pair.redeem(who),
            5 | 6 => pair.receive(1, true),
            _ => {
                let ran = pair.shaken(who, &["resume"], &[], "");
                pair.poor(&ran);
            }
        }
        if pair.kills >= compared + COMPARED {
            compared = pair.kills;
            pair.compare();
        }
    }
    pair.compare();

    // Two devices of one phrase want to redeem all of it at once.
    pair.issue(0);
    let first = pair.compare()[0];
    let (second, units_there) = pair.restore(0);
    assert_eq!(units_there, first);
    let before = pair.shop.totals();
    let (amount, to) = (first.to_string(), pair.shop.peer.name().to_string());
    let args = ["redeem", &amount, "--to", &to];
    let devices = [Pair::name(0), second];
    let both = devices.map(|wallet| pair.command(&wallet, &args).spawn().unwrap());
    let ends = both.map(|child| child.wait_with_output().unwrap());
    let good = ends.iter().filter(|out| out.status.success()).count();
    assert_eq!(good, 1, "{ends:?}");
    let after = pair.shop.totals();
    assert_eq!(after.balances, before.balances + first);
    assert_eq!(pair.settle(0), 0);
    exchanged_by_two_devices(&mut pair);
    let after = pair.shop.totals();
    println!(
        "wallets: {} commands, {} kills; {} refused; {} phrases restored; balances {} + unspent {} = bought {}",
        pair.commands,
        pair.kills,
        pair.refused,
        pair.restored,
        after.balances,
        after.unspent(),
        pair.bought,
    );
}
