//! Vouchers, from a mint's keys to a file that they pay for, with real processes.

use super::*;

/// A served folder with a mint whose requests cost two units, and wallets beside it.
pub(crate) struct Shop {
    s: Serving,
    mint: tempfile::TempDir,
}

impl Shop {
    pub(crate) fn start() -> Self {
        let mint = tempfile::tempdir().unwrap();
        let at = |name: &str| mint.path().join(name).display().to_string();
        let password = mint.path().join("password");
        std::fs::write(password, "secret\n").unwrap();
        let data = mint.path().join("data");
        let made = run(&["id", "new", "--key", &at("shop.pem")], &data, b"");
        assert_eq!(code(&made), 0, "{}", text(&made.stderr));
        let init = [
            "pay",
            "mint-init",
            &at("mint"),
            "--spender",
            &at("shop.pem"),
            "--max",
            "6",
        ];
        let made = run(&init, &data, b"");
        assert_eq!(code(&made), 0, "{}", text(&made.stderr));
        let again = run(&init, &data, b"");
        assert_eq!(code(&again), 3, "nothing is overwritten");
        let folder = at("mint/mint-1");
        let s = Serving::start(&["--key", &at("shop.pem"), "--mint", &folder, "--price", "2"]);
        Self { s, mint }
    }

    pub(crate) fn at(&self, name: &str) -> String {
        self.mint.path().join(name).display().to_string()
    }

    pub(crate) fn peer(&self) -> &str {
        self.s.fact("peer")
    }

    /// Runs `betanet pay` with a wallet.
    pub(crate) fn pay(&self, wallet: &str, args: &[&str], input: &str) -> Output {
        let (wallet, password) = (self.at(wallet), self.at("password"));
        let flags = ["--wallet", &wallet, "--password-file", &password];
        let all = [&["pay"], args, &flags].concat();
        run(&all, &self.s.path("client"), input.as_bytes())
    }

    pub(crate) fn paid(&self, wallet: &str, args: &[&str]) -> String {
        let out = self.pay(wallet, args, "");
        assert_eq!(code(&out), 0, "{args:?}: {}", text(&out.stderr));
        text(&out.stdout).to_owned()
    }

    /// A wallet that knows the mint. Returns its phrase.
    fn wallet(&self, name: &str) -> String {
        let phrase = self.paid(name, &["new", "--words", "12"]);
        self.paid(name, &["mint", self.s.fact("peer")]);
        phrase
    }

    fn coupon(&self, value: &str) -> String {
        let coupon = ["pay", "coupon", value, "--mint", &self.at("mint")];
        let out = run(&coupon, &self.s.path("client"), b"");
        assert_eq!(code(&out), 0, "{}", text(&out.stderr));
        text(&out.stdout).trim().to_owned()
    }

    fn units(&self, wallet: &str) -> u64 {
        let out = self.paid(wallet, &["balance", "--json"]);
        let balance: Value = serde_json::from_str(&out).unwrap();
        balance["keysets"][0]["units"].as_u64().unwrap()
    }

    fn get(&self, out: &str, more: &[&str]) -> Output {
        let url = format!("bar://{}/hello.txt", self.s.fact("peer"));
        let out = self.at(out);
        self.s.run(&[&["get", &url, "-o", &out], more].concat())
    }
}

#[test]
fn vouchers_are_bought_spent_once_and_found_again() {
    let shop = Shop::start();
    let phrase = shop.wallet("mine");
    let coupon = shop.coupon("11");
    let issued = shop.pay("mine", &["issue", &coupon], "");
    assert!(
        text(&issued.stdout).contains("issued 11"),
        "{}",
        text(&issued.stderr)
    );
    assert!(
        text(&issued.stderr).contains("wait some"),
        "{}",
        text(&issued.stderr)
    );
    assert_eq!(shop.units("mine"), 11);
    let again = shop.pay("mine", &["issue", &coupon], "");
    assert_eq!(code(&again), 1);
    assert!(
        text(&again.stderr).contains("used before"),
        "{}",
        text(&again.stderr)
    );
    assert!(
        shop.paid("mine", &["balance", "--json"])
            .contains("\"open_operations\":0")
    );

    let unpaid = shop.get("unpaid", &[]);
    assert_eq!(code(&unpaid), 1);
    assert!(text(&unpaid.stderr).contains("429"));
    let (wallet, password) = (shop.at("mine"), shop.at("password"));
    let purse = ["--wallet", &wallet, "--password-file", &password];
    let little = shop.get("little", &[&["--pay-max", "1"], &purse[..]].concat());
    assert_eq!(code(&little), 2);
    assert!(
        text(&little.stderr).contains("asks 2"),
        "{}",
        text(&little.stderr)
    );
    let paid = shop.get(
        "paid",
        &[&["--pay-max", "2", "--json"], &purse[..]].concat(),
    );
    assert_eq!(code(&paid), 0, "{}", text(&paid.stderr));
    let facts: Value = serde_json::from_slice(&paid.stdout).unwrap();
    assert_eq!(
        (facts["paid"].as_u64(), facts["bytes"].as_u64()),
        (Some(2), Some(15))
    );
    assert_eq!(shop.units("mine"), 9);
    let missing = format!("bar://{}/missing", shop.s.fact("peer"));
    let missing = [&["get", &missing, "--pay-max", "2"], &purse[..]].concat();
    assert_eq!(code(&shop.s.run(&missing)), 1);
    assert_eq!(shop.units("mine"), 9, "what is not there costs nothing");

    // 9 is 8 and 1: some is swapped for the exact amount.
    let sent = shop.paid("mine", &["send", "3"]);
    assert!(sent.lines().all(|line| line.starts_with("bnv1")), "{sent}");
    assert_eq!(shop.units("mine"), 6);
    shop.wallet("other");
    let taken = shop.pay("other", &["receive", "-"], &sent);
    assert_eq!(code(&taken), 0, "{}", text(&taken.stderr));
    assert_eq!(shop.units("other"), 3);
    let twice = shop.pay("other", &["receive", "-"], &sent);
    assert_eq!(code(&twice), 1);
    assert!(
        text(&twice.stderr).contains("VOUCHER_SPENT"),
        "{}",
        text(&twice.stderr)
    );
    assert_eq!(shop.units("other"), 3);
    let typo = sent
        .lines()
        .next()
        .unwrap()
        .replace("bnv1q", "bnv1p")
        .replacen("bnv1", "bnv1l", 1);
    assert_eq!(code(&shop.pay("other", &["receive", &typo], "")), 2);

    shop.paid("mine", &["redeem", "2", "--to", shop.s.fact("name")]);
    assert_eq!(shop.units("mine"), 4);
    std::fs::write(shop.at("phrase"), phrase).unwrap();
    shop.paid(
        "again",
        &["restore", &shop.at("phrase"), shop.s.fact("peer")],
    );
    assert_eq!(shop.units("again"), 4, "the phrase finds what is not spent");
    let wrong = shop.pay(
        "more",
        &["restore", &shop.at("password"), shop.s.fact("peer")],
        "",
    );
    assert_eq!(code(&wrong), 2);
    // Two wallets of one phrase hold the same vouchers. The one that comes late drops them.
    let sent = shop.paid("again", &["send", "4"]);
    assert_eq!(code(&shop.pay("other", &["receive", "-"], &sent)), 0);
    assert_eq!((shop.units("other"), shop.units("mine")), (7, 4));
    let late = shop.get("late", &[&["--pay-max", "2"], &purse[..]].concat());
    assert_eq!(code(&late), 1, "{}", text(&late.stderr));
    shop.paid("mine", &["resume"]);
    assert_eq!(shop.units("mine"), 0);
    // A copy opens with the wallet's password, and has what the wallet had.
    shop.paid("other", &["backup", &shop.at("copy")]);
    let copied = ["restore", &shop.at("copy"), shop.s.fact("peer")];
    shop.paid("copied", &copied);
    assert_eq!((shop.units("copied"), shop.units("other")), (7, 7));
    let twice = shop.pay("copied", &copied, "");
    assert_eq!(code(&twice), 2);
    let damaged = std::fs::read(shop.at("copy")).unwrap();
    std::fs::write(shop.at("copy"), &damaged[..damaged.len() - 1]).unwrap();
    assert_eq!(code(&shop.pay("damaged", &copied, "")), 3);
}

#[test]
fn wallets_and_mints_that_are_not_there_are_named() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).display().to_string();
    std::fs::write(at("password"), "secret").unwrap();
    std::fs::write(at("empty"), "\n").unwrap();
    let pay = |args: &[&str]| run(&[&["pay"], args].concat(), home.path(), b"");
    let (wallet, password, empty) = (at("wallet"), at("password"), at("empty"));
    let none = pay(&["balance", "--wallet", &wallet, "--password-file", &password]);
    assert_eq!(code(&none), 3);
    assert!(text(&none.stderr).contains("betanet pay new"));
    let none = pay(&["new", "--wallet", &wallet, "--password-file", &empty]);
    assert_eq!(code(&none), 2);
    assert!(text(&none.stderr).contains("first line is empty"));
    let none = pay(&["new", "--wallet", &wallet]);
    assert_eq!(code(&none), 2);
    assert!(text(&none.stderr).contains("--password-file"));
    let purse = ["--wallet", &wallet, "--password-file", &password];
    assert_eq!(code(&pay(&[&["new"], &purse[..]].concat())), 0);
    assert_eq!(
        code(&pay(&[&["new"], &purse[..]].concat())),
        2,
        "one wallet a folder"
    );
    let poor = pay(&[&["send", "3"], &purse[..]].concat());
    assert_eq!(code(&poor), 2);
    assert!(text(&poor.stderr).contains("betanet pay mint"));
    let bad = pay(&[&["issue", "bnc1x"], &purse[..]].concat());
    assert_eq!(code(&bad), 2);
    let mint = pay(&["mint-init", &at("mint"), "--spender", &at("none.pem")]);
    assert_eq!(code(&mint), 3);
    let mint = pay(&[
        "mint-init",
        &at("mint"),
        "--spender",
        &"00".repeat(32),
        "--threshold",
        "3",
    ]);
    assert_eq!(code(&mint), 2);
    assert_eq!(code(&pay(&["coupon", "3", "--mint", &at("mint")])), 3);

    // A mint's shares are never served.
    let key = at("shop.pem");
    assert_eq!(
        code(&run(&["id", "new", "--key", &key], home.path(), b"")),
        0
    );
    let inside = at("public/mint");
    let init = pay(&["mint-init", &inside, "--spender", &key, "--max", "1"]);
    assert_eq!(code(&init), 0, "{}", text(&init.stderr));
    let folder = format!("{inside}/mint-1");
    let serve = ["serve", &at("public"), "--key", &key, "--mint", &folder];
    let served = run(&serve, home.path(), b"");
    assert_eq!(code(&served), 2);
    assert!(
        text(&served.stderr).contains("would be served"),
        "{}",
        text(&served.stderr)
    );
}

/// The keysets at an admin address, once they are there.
fn keysets_at(admin: std::net::SocketAddr) -> Option<Value> {
    use std::io::Read as _;
    let mut stream = std::net::TcpStream::connect(admin).ok()?;
    // Of HTTP/1.0, so that the body comes as it is.
    let request = format!("GET /vouchers/1/keysets HTTP/1.0\r\nhost: {admin}\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    serde_json::from_str(body).ok()
}

#[test]
fn a_gateway_asks_the_other_mints_what_they_signed() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).display().to_string();
    let key = at("shop.pem");
    let made = run(&["id", "new", "--key", &key], home.path(), b"");
    assert_eq!(code(&made), 0);
    let numbers = ["--threshold", "2", "--mints", "3", "--max", "1"];
    let init = ["pay", "mint-init", &at("mint"), "--spender", &key];
    let made = run(&[&init[..], &numbers].concat(), home.path(), b"");
    assert_eq!(code(&made), 0, "{}", text(&made.stderr));
    let others = ["mint/mint-2", "mint/mint-3"].map(|m| Serving::start(&["--mint", &at(m)]));
    let peers = others.each_ref().map(|o| o.fact("peer"));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = free.local_addr().unwrap();
    drop(free);
    let (folder, at_admin) = (at("mint/mint-1"), admin.to_string());
    let own = ["--key", &key, "--mint", &folder, "--admin", &at_admin];
    let asked = ["--mint-peer", peers[0], "--mint-peer", peers[1]];
    let _shop = Serving::start(&[&own[..], &asked].concat());
    let begun = std::time::Instant::now();
    loop {
        let seen = keysets_at(admin);
        let reported = seen.as_ref().map(|s| &s["keysets"][0]["reported"]);
        if reported == Some(&serde_json::json!([1, 2, 3])) {
            break;
        }
        assert!(begun.elapsed().as_secs() < 60, "{seen:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let none = ["serve", &at("mint"), "--mint-peer", peers[0]];
    let none = run(&none, home.path(), b"");
    assert_eq!(code(&none), 2);
    assert!(text(&none.stderr).contains("need a keyset"), "{none:?}");
}

/// Five mints, each with a key and a folder of its own, and nothing but files between them.
struct Mints {
    home: tempfile::TempDir,
    keys: Vec<String>,
}

impl Mints {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut mints = Self {
            home,
            keys: Vec::new(),
        };
        for n in 1..=5 {
            let key = format!("key{n}.pem");
            mints.pay_less(&["id", "new", "--key", &key]);
            mints.keys.push(mints.at(&key));
        }
        mints
    }

    fn at(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(BETANET);
        let command = command.args(args).current_dir(self.home.path());
        command.output().unwrap()
    }

    fn pay_less(&self, args: &[&str]) -> Value {
        let out = self.run(&[args, &["--json"]].concat());
        assert_eq!(code(&out), 0, "{args:?}: {}", text(&out.stderr));
        serde_json::from_slice(&out.stdout).unwrap_or_default()
    }

    /// The flags that name the members.
    fn members(&self) -> Vec<&str> {
        let each = self.keys.iter();
        each.flat_map(|key| ["--member", key.as_str()]).collect()
    }

    /// One step of a mint.
    fn step(&self, run: &str, n: usize, plan: &str, files: &[String], old: Option<&str>) -> Output {
        let dir = format!("{run}{n}");
        let old = old.map(|old| format!("{old}{n}/mint"));
        let mut args = vec![
            "pay",
            "mint-round",
            &dir,
            "--key",
            &self.keys[n - 1],
            "--json",
        ];
        args.extend(["--plan", plan]);
        args.extend(old.iter().flat_map(|old| ["--mint", old.as_str()]));
        args.extend(files.iter().map(String::as_str));
        self.run(&args)
    }

    /// All steps. Returns the last answers.
    fn make(&self, run: &str, plan: &str, old: Option<&str>) -> Vec<Value> {
        let mut files: Vec<String> = Vec::new();
        for _ in 0..8 {
            let mut all = Vec::new();
            for n in 1..=5 {
                let out = self.step(run, n, plan, &files, old);
                assert_eq!(code(&out), 0, "{}", text(&out.stderr));
                all.push(serde_json::from_slice::<Value>(&out.stdout).unwrap());
            }
            if all.iter().all(|one| !one["made"].is_null()) {
                return all;
            }
            let file = |one: &Value| one["file"].as_str().unwrap().to_owned();
            files = all.iter().map(file).collect();
        }
        panic!("the run does not end")
    }
}

#[test]
fn five_mints_make_their_keys_over_files_and_refresh_their_shares() {
    let mints = Mints::new();
    let spender = &mints.keys[0];
    let init = [
        "pay",
        "mint-init",
        "plan",
        "--dkg",
        "--spender",
        spender,
        "--max",
        "1",
    ];
    let plan = mints.pay_less(&[&init[..], &mints.members()].concat());
    assert_eq!(
        (plan["mints"].as_u64(), plan["threshold"].as_u64()),
        (Some(5), Some(3))
    );
    let few = [&init[..], &mints.members(), &["--threshold", "2"]].concat();
    assert_eq!(code(&mints.run(&few)), 2, "half and less is no threshold");
    let made = mints.make("run", "plan/plan.cbor", None);
    let keyset = &made[0]["keyset"];
    assert!(
        made.iter()
            .all(|one| one["keyset"] == *keyset && one["cheats"] == serde_json::json!([]))
    );

    use std::os::unix::fs::PermissionsExt as _;
    let mode = |name: &str| {
        let file = std::fs::metadata(mints.at(name)).unwrap();
        file.permissions().mode() & 0o777
    };
    assert_eq!((mode("run2"), mode("run2/mint/share.bin")), (0o700, 0o600));
    // A coupon of the plan's issuer is good for what they made.
    std::fs::copy(
        mints.at("run1/mint/keyset.cbor"),
        mints.at("plan/keyset.cbor"),
    )
    .unwrap();
    let coupon = mints.pay_less(&["pay", "coupon", "2", "--mint", "plan"]);
    assert_eq!(coupon["keyset"], *keyset);
    // The spender's gateway takes its folder.
    let serve = Serving::start(&["--key", spender, "--mint", &mints.at("run1/mint")]);
    drop(serve);

    let refresh = ["pay", "mint-refresh", "again", "--mint", "run1/mint"];
    mints.pay_less(&[&refresh[..], &mints.members()].concat());
    let fresh = mints.make("fresh", "again/plan.cbor", Some("run"));
    assert!(
        fresh.iter().all(|one| one["keyset"] == *keyset),
        "the keyset stays"
    );
    let share = |name: &str| std::fs::read(mints.at(name)).unwrap();
    assert_ne!(share("run3/mint/share.bin"), share("fresh3/mint/share.bin"));
    // The old share beside the fresh keys is refused.
    std::fs::copy(
        mints.at("run1/mint/share.bin"),
        mints.at("fresh1/mint/share.bin"),
    )
    .unwrap();
    let mixed = mints.at("fresh1/mint");
    let mixed = [
        "serve",
        "plan",
        "--key",
        spender,
        "--mint",
        &mixed,
        "--listen",
        "127.0.0.1:0",
    ];
    let refused = mints.run(&mixed);
    assert_eq!(code(&refused), 3, "{}", text(&refused.stderr));
    assert!(
        text(&refused.stderr).contains("shares of keyset"),
        "{}",
        text(&refused.stderr)
    );
}

#[test]
fn a_mint_that_signs_two_files_of_a_round_is_named() {
    let mints = Mints::new();
    let init = [
        "pay",
        "mint-init",
        "plan",
        "--dkg",
        "--spender",
        &mints.keys[0],
        "--max",
        "0",
    ];
    mints.pay_less(&[&init[..], &mints.members()].concat());
    let plan = "plan/plan.cbor";
    let file = |run: &str, n: usize| {
        let out = mints.step(run, n, plan, &[], None);
        let facts: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(facts["round"], 1);
        facts["file"].as_str().unwrap().to_owned()
    };
    file("run", 1);
    // Mint 4 begins twice, and so deals two different things.
    let two = [file("run", 4), file("other", 4)];
    let refused = mints.step("run", 1, plan, &two, None);
    assert_eq!(code(&refused), 3);
    assert!(
        text(&refused.stderr).contains("mint 4 cheats"),
        "{}",
        text(&refused.stderr)
    );
    let garbage = mints.at("garbage");
    std::fs::write(&garbage, "no file of a round").unwrap();
    let refused = mints.step("run", 1, plan, &[garbage], None);
    assert!(text(&refused.stderr).contains("not a file of a round"));
}
