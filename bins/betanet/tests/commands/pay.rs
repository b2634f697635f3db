//! Vouchers, from a mint's keys to a file that they pay for, with real processes.

use super::*;

/// A served folder with a mint whose requests cost two units, and wallets beside it.
struct Shop {
    s: Serving,
    mint: tempfile::TempDir,
}

impl Shop {
    fn start() -> Self {
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

    fn at(&self, name: &str) -> String {
        self.mint.path().join(name).display().to_string()
    }

    /// Runs `betanet pay` with a wallet.
    fn pay(&self, wallet: &str, args: &[&str], input: &str) -> Output {
        let (wallet, password) = (self.at(wallet), self.at("password"));
        let flags = ["--wallet", &wallet, "--password-file", &password];
        let all = [&["pay"], args, &flags].concat();
        run(&all, &self.s.path("client"), input.as_bytes())
    }

    fn paid(&self, wallet: &str, args: &[&str]) -> String {
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
    assert!(shop.paid("mine", &["issue", &coupon]).contains("issued 11"));
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
