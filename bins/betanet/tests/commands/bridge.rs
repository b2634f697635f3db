//! Vouchers for a ledger's units with real processes: two signers, a mint that redeems, and people who buy, send and redeem.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::*;

/// Longest that a step is waited for.
const PATIENCE: Duration = Duration::from_secs(90);

/// A process that tells its facts in its first line.
struct Running {
    child: Child,
    facts: Value,
}

impl Running {
    fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let facts = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line:?}: {e}"));
        Self { child, facts }
    }

    fn peer(&self) -> String {
        self.facts["peer"].as_str().unwrap().to_owned()
    }
}

impl Drop for Running {
    /// As by a power cut.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keys, a keyset, a genesis that lists it, and the ports of everybody.
struct Town {
    home: tempfile::TempDir,
    ports: Vec<u16>,
    keyset: String,
}

impl Town {
    fn new() -> Self {
        let held: Vec<TcpListener> = (0..3)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let ports = held
            .iter()
            .map(|l| l.local_addr().unwrap().port())
            .collect();
        let mut town = Self {
            home: tempfile::tempdir().unwrap(),
            ports,
            keyset: String::new(),
        };
        town.write("password", "secret\n");
        std::fs::create_dir(town.home.path().join("served")).unwrap();
        for name in ["alice", "bob", "shop", "lead", "second", "stranger"] {
            town.done(&["id", "new", "--key", &format!("{name}.pem")]);
        }
        town.keyset = town.mint("mint", "FOG");
        town.mint("foreign", "FOG");
        town.mint("credit", "credit");
        let genesis = |town: &Self, name: &str, keysets: &str| {
            let key = |name| town.fact(name, "public_key");
            let alloc = |name, amount: u32| {
                format!("[[alloc]]\nkey = \"{}\"\namount = {amount}\n", key(name))
            };
            let file = format!(
                "name = \"{name}\"\nepoch_seconds = 3600\ncap = 1000000\nbase = 1\nhalving = 1000\ntreasury = 0\n\
                 signers = [\"{}\", \"{}\"]\n{}{}{}{keysets}",
                key("lead"),
                key("second"),
                alloc("alice", 100),
                alloc("bob", 10),
                alloc("shop", 1),
            );
            town.write("ledger.toml", &file);
            town.done(&["ledger", "genesis", "ledger.toml", "-o", name]);
        };
        genesis(
            &town,
            "GENESIS",
            "[[keysets]]\nfile = \"mint/keyset.cbor\"\n",
        );
        genesis(&town, "OTHER", "");
        town
    }

    fn mint(&self, folder: &str, unit: &str) -> String {
        let init = [
            "pay",
            "mint-init",
            folder,
            "--spender",
            "shop.pem",
            "--json",
        ];
        let made = self.done(&[&init[..], &["--unit", unit, "--max", "6"]].concat());
        made["keyset"].as_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.home.path().join(name), content).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BETANET);
        command
            .args(args)
            .current_dir(self.home.path())
            .env("XDG_DATA_HOME", self.home.path().join("data"))
            .env("BETANET_GENESIS", "GENESIS")
            .env("BETANET_WALLET_PASSWORD_FILE", "password");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that succeeds; its facts, if it tells JSON.
    fn done(&self, args: &[&str]) -> Value {
        let out = self.run(args);
        assert_eq!(code(&out), 0, "{args:?}: {}", text(&out.stderr));
        serde_json::from_slice(&out.stdout).unwrap_or(Value::Null)
    }

    fn refused(&self, args: &[&str], want: i32) -> String {
        let out = self.run(args);
        let said = text(&out.stderr);
        assert_eq!(code(&out), want, "{args:?}: {said}");
        said
    }

    /// Repeats a look until it shows what is waited for.
    fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn fact(&self, name: &str, fact: &str) -> String {
        let key = format!("{name}.pem");
        let facts = self.done(&["id", "show", "--json", "--key", &key]);
        facts[fact].as_str().unwrap().to_owned()
    }

    fn coordinate(&self, name: &str, port: usize, more: &[&str]) -> Running {
        let (key, state) = (format!("{name}.pem"), format!("state-{name}"));
        let listen = format!("127.0.0.1:{}", self.ports[port]);
        let operator = self.fact("alice", "public_key");
        let args = ["coordinator", "--json", "--key", &key, "--state", &state];
        let args = [&args[..], &["--listen", &listen, "--operator", &operator]].concat();
        let economy = ["--economy", "GENESIS", "--economy-head", "1"];
        Running::of(self.command(&[&args[..], &economy, more].concat()))
    }

    fn leader(&self) -> Running {
        self.coordinate("lead", 0, &[])
    }

    fn second(&self, leader: &str) -> Running {
        self.coordinate("second", 1, &["--economy-leader", leader])
    }

    /// The gateway that issues and redeems.
    fn shop(&self, folders: &[&str], more: &[&str]) -> Running {
        let listen = format!("127.0.0.1:{}", self.ports[2]);
        let args = [
            "serve", "served", "--json", "--key", "shop.pem", "--listen", &listen,
        ];
        let mut args = args.to_vec();
        for folder in folders {
            args.extend(["--mint", folder]);
        }
        Running::of(self.command(&[&args[..], more].concat()))
    }

    fn bridged(&self, ledgers: &[&str]) -> Running {
        let mut more = vec!["--mint-genesis", "GENESIS"];
        for ledger in ledgers {
            more.extend(["--mint-ledger", ledger]);
        }
        self.shop(&["mint/mint-1"], &more)
    }

    fn balance(&self, ledger: &str, name: &str) -> (u64, u64) {
        let key = format!("{name}.pem");
        let args = [
            "token", "balance", "--json", "--ledger", ledger, "--key", &key,
        ];
        let facts = self.until("a balance", || {
            let out = self.run(&args);
            (code(&out) == 0).then(|| serde_json::from_slice::<Value>(&out.stdout).unwrap())
        });
        let of = |asset: &str| facts[asset]["available"].as_str().unwrap().parse().unwrap();
        (of("fog_micro"), of("units"))
    }

    /// Units that were bought and redeemed, and those that the ledger holds for vouchers.
    fn books(&self, ledger: &str) -> (u64, u64, u64) {
        let args = [
            "token",
            "keyset",
            &self.keyset,
            "--json",
            "--ledger",
            ledger,
        ];
        let facts = self.done(&args);
        let supply = self.done(&["token", "supply", "--json", "--ledger", ledger]);
        let held = supply["units_in_vouchers"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        let of = |key: &str| facts[key].as_u64().unwrap();
        (of("bought"), of("redeemed"), held)
    }

    fn wallet(&self, name: &str) -> u64 {
        let facts = self.done(&["pay", "balance", "--json", "--wallet", name]);
        facts["keysets"][0]["units"].as_u64().unwrap_or(0)
    }

    fn open(&self, name: &str) -> u64 {
        let facts = self.done(&["pay", "balance", "--json", "--wallet", name]);
        facts["open_operations"].as_u64().unwrap()
    }

    fn buying<'a>(&self, amount: &'a str, mint: &'a str, ledger: &'a str) -> Vec<&'a str> {
        vec![
            "pay",
            "buy",
            amount,
            "--mint",
            mint,
            "--ledger",
            ledger,
            "--key",
            "alice.pem",
            "--wallet",
            "alice",
            "--new-keyset",
        ]
    }
}

#[test]
fn units_become_vouchers_are_sent_redeemed_and_become_fog_again() {
    let town = Town::new();
    let lead = town.leader();
    let leader = lead.peer();
    let _second = town.second(&leader);
    let shop = town.bridged(&[&leader]);
    let mint = shop.peer();
    for wallet in ["alice", "bob"] {
        town.done(&["pay", "new", "--wallet", wallet]);
    }
    let begun = town.balance(&leader, "alice");
    assert_eq!(begun, (100_000_000, 0));

    // What is wrong is told before anything is paid.
    let buy = |amount| town.buying(amount, &mint, &leader);
    let poor = town.refused(&buy("13"), 2);
    assert!(poor.contains("token swap"), "{poor}");
    town.done(&[
        "token",
        "swap",
        "20",
        "--wait",
        "--ledger",
        &leader,
        "--key",
        "alice.pem",
    ]);
    let (fog, units) = town.balance(&leader, "alice");
    assert_eq!((fog, units), (79_999_900, 20), "less the fee");
    let mut young = buy("13");
    young.pop();
    let young = town.refused(&young, 2);
    assert!(
        young.contains("24 h are needed") && young.contains("--new-keyset"),
        "{young}"
    );
    let many = town.refused(&buy("21"), 2);
    assert!(many.contains("more than the 20"), "{many}");
    let other = [&buy("13")[..], &["--genesis", "OTHER"]].concat();
    let other = town.refused(&other, 2);
    assert!(other.contains("--genesis is of the ledger"), "{other}");
    let mut nobody = buy("1");
    nobody[8] = "stranger.pem";
    let nobody = town.refused(&nobody, 2);
    assert!(nobody.contains("no account"), "{nobody}");
    assert_eq!(town.open("alice"), 0);

    // The circle.
    let bought = town.done(&[&buy("13")[..], &["--json"]].concat());
    assert_eq!(bought["bought"], 13);
    assert_eq!(
        (town.wallet("alice"), town.balance(&leader, "alice").1),
        (13, 7)
    );
    assert_eq!(town.books(&leader), (13, 0, 13));
    let sent = town.run(&["pay", "send", "5", "--wallet", "alice"]);
    assert_eq!(code(&sent), 0, "{}", text(&sent.stderr));
    town.done(&["pay", "mint", &mint, "--wallet", "bob"]);
    let lines = text(&sent.stdout);
    let receive = ["pay", "receive", "--wallet", "bob"];
    let receive: Vec<&str> = receive
        .into_iter()
        .chain(lines.split_whitespace())
        .collect();
    town.done(&receive);
    let bob = town.fact("bob", "name");
    // A payee without an account is refused, and nothing is spent.
    let stranger = town.fact("stranger", "name");
    let redeem = |to: &str| town.run(&["pay", "redeem", "5", "--to", to, "--wallet", "bob"]);
    let refused = redeem(&stranger);
    let said = text(&refused.stderr);
    assert!(
        code(&refused) == 1 && said.contains("account on the ledger"),
        "{said}"
    );
    assert_eq!(town.wallet("bob"), 5);
    let redeemed = redeem(&bob);
    assert_eq!(code(&redeemed), 0, "{}", text(&redeemed.stderr));
    town.until("units arrive", || {
        (town.balance(&leader, "bob").1 == 5).then_some(())
    });
    assert_eq!(town.books(&leader), (13, 5, 8));
    assert_eq!(
        town.wallet("alice") + town.wallet("bob"),
        8,
        "what is not redeemed"
    );
    town.done(&[
        "token", "swap", "5", "--back", "--wait", "--ledger", &leader, "--key", "bob.pem",
    ]);
    assert_eq!(town.balance(&leader, "bob"), (14_999_900, 0));

    // A mint without the ledger, and a keyset that the ledger does not list.
    drop(shop);
    let alone = [
        "serve",
        "served",
        "--key",
        "shop.pem",
        "--mint",
        "mint/mint-1",
    ];
    let alone = town.refused(&alone, 2);
    assert!(alone.contains("belongs to a ledger"), "{alone}");
    let coupon = town.refused(&["pay", "coupon", "5", "--mint", "mint"], 2);
    assert!(coupon.contains("pay buy"), "{coupon}");
    let shop = town.shop(&["credit/mint-1"], &[]);
    let without = town.refused(&town.buying("1", &shop.peer(), &leader), 1);
    assert!(without.contains("--mint-ledger"), "{without}");
    drop(shop);
    let more = ["--mint-genesis", "GENESIS", "--mint-ledger", &leader];
    let shop = town.shop(&["foreign/mint-1"], &more);
    let foreign = town.refused(&town.buying("1", &shop.peer(), &leader), 1);
    assert!(foreign.contains("does not list it"), "{foreign}");
    assert_eq!(town.books(&leader), (13, 5, 8));
}

/// Kills a purchase once it says that its record is there. No head becomes final, as one signer of two is away.
fn killed_at_its_record(town: &Town, mint: &str, leader: &str) {
    let mut command = town.command(&town.buying("3", mint, leader));
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(child.stderr.take().unwrap());
    let at = said
        .lines()
        .map_while(Result::ok)
        .find(|line| line.contains("bought: record"));
    assert!(at.is_some());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_purchase_that_is_killed_anywhere_goes_on_and_is_made_once() {
    let town = Town::new();
    let lead = town.leader();
    let leader = lead.peer();
    let second = town.second(&leader);
    let shop = town.bridged(&[&leader]);
    let mint = shop.peer();
    town.done(&["pay", "new", "--wallet", "alice"]);
    town.balance(&leader, "alice");
    town.done(&[
        "token",
        "swap",
        "20",
        "--wait",
        "--ledger",
        &leader,
        "--key",
        "alice.pem",
    ]);

    // Between the record and its final head.
    drop(second);
    killed_at_its_record(&town, &mint, &leader);
    assert_eq!((town.open("alice"), town.wallet("alice")), (1, 0));
    let resume = ["pay", "resume", "--wallet", "alice", "--json"];
    let unnamed = town.refused(&resume, 1);
    assert!(unnamed.contains("--ledger PEER"), "{unnamed}");
    let second = town.second(&leader);
    // Between the final head and the issue: the mint is away.
    drop(shop);
    let resume = [&resume[..], &["--ledger", &leader]].concat();
    town.refused(&resume, 1);
    assert_eq!((town.open("alice"), town.books(&leader)), (1, (3, 0, 3)));
    let shop = town.bridged(&[&leader]);
    assert_eq!(town.done(&resume)["ended"], 1);
    assert_eq!((town.open("alice"), town.wallet("alice")), (0, 3));

    // Between the issue and the store: a copy of the wallet from before it.
    drop(shop);
    town.refused(&town.buying("4", &mint, &leader), 1);
    let shop = town.bridged(&[&leader]);
    assert_eq!(
        town.open("alice"),
        0,
        "nothing was bought: the mint was away"
    );
    let copy = |from: &str, to: &str| {
        let status = Command::new("cp")
            .args(["-r", from, to])
            .current_dir(town.home.path())
            .status();
        assert!(status.unwrap().success());
    };
    drop(second);
    killed_at_its_record(&town, &mint, &leader);
    copy("alice", "before");
    let second = town.second(&leader);
    assert_eq!(town.done(&resume)["ended"], 1);
    assert_eq!(town.wallet("alice"), 6);
    let mut again = resume.clone();
    again[3] = "before";
    assert_eq!(town.done(&again)["ended"], 1);
    assert_eq!(town.wallet("before"), 6, "the same vouchers");
    assert_eq!(town.books(&leader), (6, 0, 6));
    assert_eq!(town.balance(&leader, "alice").1, 14);
    drop((shop, second, lead));
}

#[test]
fn a_spender_that_is_killed_before_it_pays_out_pays_once_afterwards() {
    let town = Town::new();
    let lead = town.leader();
    let leader = lead.peer();
    let second = town.second(&leader);
    let follower = second.peer();
    let shop = town.bridged(&[&leader, &follower]);
    let mint = shop.peer();
    town.done(&["pay", "new", "--wallet", "alice"]);
    town.balance(&leader, "alice");
    town.done(&[
        "token",
        "swap",
        "9",
        "--wait",
        "--ledger",
        &leader,
        "--key",
        "alice.pem",
    ]);
    town.done(&town.buying("9", &mint, &leader));
    let bob = town.fact("bob", "name");
    let redeem = |amount: &str| {
        let out = town.run(&["pay", "redeem", amount, "--to", &bob, "--wallet", "alice"]);
        assert_eq!(code(&out), 0, "{}", text(&out.stderr));
    };
    // The follower shows the state, once it has the head; nobody takes the request.
    town.until("the follower has the head", || {
        let args = ["token", "keyset", &town.keyset, "--json"];
        let out = town.run(&[&args[..], &["--ledger", &follower]].concat());
        let facts: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        (facts["bought"] == 9).then_some(())
    });
    drop(lead);
    redeem("4");
    drop(shop);
    let shop = town.bridged(&[&leader, &follower]);
    assert_eq!(town.books(&follower), (9, 0, 9));
    let lead = town.leader();
    town.until("units arrive", || {
        (town.balance(&leader, "bob").1 == 4).then_some(())
    });
    // Killed at any moment around the payment.
    redeem("2");
    drop(shop);
    let _shop = town.bridged(&[&leader, &follower]);
    redeem("3");
    town.until("all units arrive", || {
        (town.balance(&leader, "bob").1 == 9).then_some(())
    });
    assert_eq!(town.books(&leader), (9, 9, 0));
    assert_eq!(town.wallet("alice"), 0);
    drop(lead);
}
