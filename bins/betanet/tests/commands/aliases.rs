//! Aliases wherever a command or a setting names a node: one network, and a table of commands.

use super::names::{bind_as, json};
use super::updown::Net;
use super::*;

/// A process that serves until the test ends.
struct Running {
    child: Child,
    facts: Value,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A network with a ledger of names, which every command knows.
struct Place {
    net: Net,
}

impl Place {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.net.command(args);
        command
            .env("BETANET_NETWORK", "net/NETWORK.toml")
            .env("BETANET_WALLET_PASSWORD_FILE", "password")
            .env("BETANET_GENESIS", "GENESIS");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that has to succeed. Returns its output.
    fn done(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert_eq!(code(&out), 0, "{args:?}: {}", text(&out.stderr));
        text(&out.stdout)
    }

    /// Starts a node. Returns it once it has told where it is.
    fn start(&self, args: &[&str]) -> Running {
        let mut command = self.command(&[args, &["--json"]].concat());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let facts = serde_json::from_str(&line);
        let facts = facts.unwrap_or_else(|_| panic!("{args:?}: {line:?}"));
        Running { child, facts }
    }

    fn key(&self, name: &str) -> Value {
        let file = format!("{name}.pem");
        self.done(&["id", "new", "--key", &file]);
        json(&self.run(&["id", "show", "--key", &file, "--json"]))
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.net.path(name), content).unwrap();
    }
}

fn word<'a>(facts: &'a Value, key: &str) -> &'a str {
    facts[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key}: {facts}"))
}

/// Each node listens in a /24 of its own: of one, nodes and clients use two peers.
///
/// A shop with a mint and a folder, `shop.example`; a coordinator that leads a fog and a ledger, `books.example`.
fn set_up() -> (Place, Running, Running) {
    let net = Net::with(&["--relays", "1", "--signers", "3"]);
    assert_eq!(code(&net.run(&["network", "up", "net", "--detach"])), 0);
    let place = Place { net };
    place.write("password", "secret\n");
    place.write("new", "new");
    std::fs::create_dir(place.net.path("public")).unwrap();
    place.write("public/hello.txt", "hello from the shop\n");
    let (shop, books, second) = (place.key("shop"), place.key("books"), place.key("second"));
    place.done(&[
        "pay",
        "mint-init",
        "mint",
        "--spender",
        "shop.pem",
        "--max",
        "4",
    ]);
    let genesis = format!(
        "name = \"books\"\nepoch_seconds = 60\ncap = 1000000\nbase = \"0.5\"\nhalving = 1000\ntreasury = 500\n\
         signers = [\"{}\", \"{}\"]\n[[alloc]]\nkey = \"{}\"\namount = 1000\n\
         [[alloc]]\nkey = \"{}\"\namount = 1000\n",
        word(&books, "public_key"),
        word(&second, "public_key"),
        word(&shop, "public_key"),
        word(&books, "public_key"),
    );
    place.write("ledger.toml", &genesis);
    place.done(&["ledger", "genesis", "ledger.toml", "-o", "GENESIS"]);
    let serve = [
        "serve",
        "public",
        "--key",
        "shop.pem",
        "--mint",
        "mint/mint-1",
        "--listing",
        "--writable",
        "--listen",
        "127.101.0.1:0",
    ];
    let shop = place.start(&serve);
    let lead = [
        "coordinator",
        "--state",
        "lead",
        "--key",
        "books.pem",
        "--listen",
        "127.102.0.1:0",
        "--economy",
        "GENESIS",
        "--economy-signer",
        "second.pem",
        "--economy-head",
        "1",
        "--operator",
        word(&second, "public_key"),
    ];
    let books = place.start(&lead);
    for (alias, key) in [
        ("shop.example", "shop.pem"),
        ("books.example", "books.pem"),
        ("ledger.example", "net/seed1/node.pem"),
        ("second.example", "net/seed2/node.pem"),
    ] {
        bind_as(&place.net, alias, &["--key", key]);
    }
    (place, shop, books)
}

#[test]
fn an_alias_stands_wherever_a_node_is_named() {
    let (place, shop, _books) = set_up();
    let name = word(&shop.facts, "name");
    let url = "bar://shop.example/hello.txt";
    let hello = "hello from the shop\n";

    // Requests, relays and paths.
    assert_eq!(place.done(&["get", url]), hello);
    place.done(&["get", "-r", "bar://shop.example/", "-o", "all"]);
    let fetched = std::fs::read_to_string(place.net.path("all/hello.txt")).unwrap();
    assert_eq!(fetched, hello);
    place.done(&[
        "put",
        "new",
        "bar://shop.example/new.txt",
        "--key",
        "books.pem",
    ]);
    place.done(&["del", "bar://shop.example/new.txt", "--key", "books.pem"]);
    place.done(&["ping", "shop.example", "-c", "1"]);
    assert!(
        place
            .done(&["path", "show", "shop.example", "--nodes", "1"])
            .contains(name)
    );
    assert!(
        place
            .done(&["path", "trace", "shop.example", "--nodes", "1"])
            .contains(name)
    );

    // A node that carries paths on to the shop. Its address is known to nobody who asks for the first time.
    let onward = [
        "serve",
        "public",
        "--key",
        "onward.pem",
        "--onward",
        "shop.example",
        "--listen",
        "127.103.0.1:0",
    ];
    place.key("onward");
    let onward = place.start(&onward);
    bind_as(&place.net, "onward.example", &["--key", "onward.pem"]);
    let via = ["get", url, "--via", "onward.example", "--state", "fresh"];
    assert_eq!(place.done(&via), hello);
    let by_peer = ["get", url, "--via", word(&onward.facts, "peer")];
    assert_eq!(place.done(&by_peer), hello);

    // Names: ledger nodes.
    for args in [
        &["resolve", "shop.example", "--from", "ledger.example"][..],
        &["history", "shop.example", "--from", "ledger.example"],
        &[
            "prove",
            "shop.example",
            "--from",
            "ledger.example",
            "-o",
            "proof",
        ],
        &[
            "audit",
            "--from",
            "ledger.example",
            "--from",
            "second.example",
        ],
        &["publish", "f.claim", "--to", "ledger.example"],
    ] {
        place.done(&[&["name"], args].concat());
    }
    let peer = ["network", "bootstrap", "rec", "--peer", "shop.example"];
    place.done(&[&peer[..], &["--maintainer", "net/keys/maintainer1.pem"]].concat());

    // Vouchers.
    let pay =
        |wallet: &str, args: &[&str]| place.done(&[&["pay"], args, &["--wallet", wallet]].concat());
    for wallet in ["mine", "other"] {
        let phrase = pay(wallet, &["new"]);
        place.write(&format!("{wallet}.phrase"), &phrase);
        pay(wallet, &["mint", "shop.example"]);
    }
    let coupon = place.done(&["pay", "coupon", "9", "--mint", "mint"]);
    pay("mine", &["issue", coupon.trim()]);
    let sent = pay("mine", &["send", "3"]);
    let sent: Vec<&str> = sent.lines().collect();
    pay("other", &[&["receive"], &sent[..]].concat());
    pay("mine", &["redeem", "2", "--to", "shop.example"]);
    pay("again", &["restore", "mine.phrase", "shop.example"]);
    let held: Value = serde_json::from_str(&pay("again", &["balance", "--json"])).unwrap();
    assert_eq!(held["keysets"][0]["units"], 4);
    let publish = [
        "pay",
        "publish",
        "keys",
        "--keyset",
        "mint/keyset.cbor",
        "--to",
        "ledger.example",
    ];
    let mut said = String::new();
    for n in 1..=5 {
        let key = format!("net/keys/maintainer{n}.pem");
        said = place.done(&[&publish[..], &["--maintainer", &key]].concat());
    }
    assert!(said.contains("is final"), "{said}");

    // A ledger of tokens: its node, and accounts.
    let ledger = ["--ledger", "books.example"];
    let supplied = std::time::Instant::now();
    while code(&place.run(&[&["token", "supply"], &ledger[..]].concat())) != 0 {
        assert!(supplied.elapsed().as_secs() < 60, "no head was signed");
    }
    for args in [
        &["token", "supply"][..],
        &["token", "balance", "shop.example"],
        &["token", "history", "shop.example"],
        &[
            "token",
            "send",
            "1",
            "--to",
            "books.example",
            "--key",
            "shop.pem",
        ],
        &["token", "balance", "treasury"],
        &["ledger", "head", "-o", "head"],
        &["ledger", "save", "saved"],
        &["ledger", "proof", "shop.example", "-o", "p"],
    ] {
        place.done(&[args, &ledger[..]].concat());
    }
    place.done(&["ledger", "verify", "books.example"]);
    // What the ledger says of accounts that are no nodes, under the names that the aliases lead to.
    for args in [
        &["stake", "status", "shop.example"][..],
        &[
            "stake",
            "delegate",
            "1",
            "--node",
            "books.example",
            "--key",
            "shop.pem",
        ],
        &[
            "stake",
            "redelegate",
            "1",
            "--from",
            "books.example",
            "--to",
            "shop.example",
            "--key",
            "shop.pem",
        ],
        &["stake", "audit", "books.example=2/1", "--key", "shop.pem"],
        &[
            "gov",
            "undelegate",
            "1",
            "--node",
            "books.example",
            "--key",
            "shop.pem",
        ],
        &[
            "token",
            "hold",
            "1",
            "--to",
            "books.example",
            "--price",
            "1",
            "--key",
            "shop.pem",
        ],
    ] {
        let out = place.run(&[args, &ledger[..]].concat());
        let said = text(&out.stderr);
        let is_usage = said.contains("an account is a name") || said.contains("alias:");
        assert!(said.contains(" is bn1:") && !is_usage, "{args:?}: {said}");
    }

    // A fog, and the settings of its nodes.
    let fog = ["--coordinator", "books.example", "--key", "second.pem"];
    let token = ["node", "token", "--kind", "compute", "--org", "acme"];
    let token = place.done(&[&token[..], &fog].concat());
    place.done(&[&["node", "ls"], &fog[..]].concat());
    for args in [
        &["node", "show", "shop.example"][..],
        &["node", "drain", "shop.example"],
    ] {
        let out = place.run(&[args, &fog].concat());
        let said = text(&out.stderr);
        let told = format!("shop.example is {name}");
        assert!(code(&out) == 1 && said.contains(&told), "{args:?}: {said}");
    }
    let worker = [
        "worker",
        "--token",
        token.trim(),
        "--org",
        "acme",
        "--state",
        "work",
        "--coordinator",
        "books.example",
    ];
    let _worker = place.start(&worker);
    let follow = [
        "coordinator",
        "--state",
        "follow",
        "--key",
        "second.pem",
        "--listen",
        "127.104.0.1:0",
        "--economy",
        "GENESIS",
        "--economy-leader",
        "books.example",
        "--economy-cosigner",
        "books.example",
    ];
    let _follower = place.start(&follow);

    // A mint that asks another what it signed, and a gateway of version 1.1 whose peer is the shop.
    place.key("first");
    let init = [
        "pay",
        "mint-init",
        "mints",
        "--spender",
        "first.pem",
        "--mints",
        "2",
        "--max",
        "1",
    ];
    place.done(&init);
    let mint = [
        "serve",
        "public",
        "--key",
        "first.pem",
        "--mint",
        "mints/mint-1",
        "--mint-peer",
        "shop.example",
        "--listen",
        "127.105.0.1:0",
    ];
    let _mint = place.start(&mint);

    // An alias that nobody has is named, wherever it stands.
    for args in [
        &["get", "bar://nobody.example/x"][..],
        &["path", "show", "nobody.example"],
        &["serve", "public", "--onward", "nobody.example"],
        &["token", "supply", "--ledger", "nobody.example"],
        &[
            "worker",
            "--org",
            "acme",
            "--state",
            "w2",
            "--coordinator",
            "nobody.example",
        ],
        &["pay", "mint", "nobody.example", "--wallet", "mine"],
        &["name", "audit", "--from", "nobody.example"],
    ] {
        let out = place.run(args);
        let said = text(&out.stderr);
        assert_eq!(code(&out), 1, "{args:?}: {said}");
        assert!(
            said.contains("nobody.example") && said.contains("no record of this alias"),
            "{args:?}: {said}"
        );
    }
    assert_eq!(code(&place.net.run(&["network", "down", "net"])), 0);
}
