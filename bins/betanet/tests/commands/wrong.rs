//! What `betanet name` and `betanet pay` say of wrong input: the thing, and what is allowed.

use betanet_keys::Identity;
use betanet_machine::{Rng, Seed};
use betanet_naming::testkit::Network;
use betanet_vouchers::{Denomination, KeysetDraft, MIN_LIFE, SharedKey, deal};

use super::*;

/// A folder with keys, a list of signers, and files that are nothing.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(home.path().join(name), bytes).unwrap();
    let network = Network::new(3, 0);
    let signers = network.genesis().signers;
    let keys: Vec<String> = signers.keys().iter().map(ToString::to_string).collect();
    write("signers", keys.join("\n").as_bytes());
    write("garbage", b"garbage");
    write("password", b"secret\n");
    std::fs::create_dir(home.path().join("public")).unwrap();
    for (name, bytes) in keysets() {
        write(name, &bytes);
    }
    for name in ["me.pem", "other.pem"] {
        let made = run_in(&home, &["id", "new", "--key", name]);
        assert_eq!(code(&made), 0, "{}", text(&made.stderr));
    }
    home
}

fn run_in(home: &tempfile::TempDir, args: &[&str]) -> Output {
    let mut command = Command::new(BETANET);
    command
        .args(args)
        .current_dir(home.path())
        .env("XDG_DATA_HOME", home.path().join("data"))
        .env("BETANET_WALLET_PASSWORD_FILE", "password");
    command.output().unwrap()
}

/// Keysets that break a rule, by their files.
fn keysets() -> Vec<(&'static str, Vec<u8>)> {
    let mut rng = Rng::new(&Seed::from_number(8));
    let e = |n| Denomination::new(n).unwrap();
    let mut key = |n: u8| (e(n), deal(e(n), 2, 3, &mut rng).unwrap().0);
    let (one, two) = (key(1), key(2));
    let draft = |keys: &[(Denomination, SharedKey)], t| {
        let draft = KeysetDraft {
            unit: "credit",
            not_before: 1,
            exp: 1 + MIN_LIFE,
            t,
            spender: *Identity::from_seed(&[9; 32]).public(),
            keys,
        };
        draft.to_bytes()
    };
    let good = draft(&[one.clone(), two.clone()], 2);
    let with = |new: &[u8; 96]| {
        let old = one.1.shares[0].to_bytes();
        let at = good.windows(96).position(|w| w == old).unwrap();
        [&good[..at], new, &good[at + 96..]].concat()
    };
    let (mut identity, mut off) = ([0; 96], [0; 96]);
    (identity[0], off[0], off[95]) = (0xc0, 0x80, 1);
    vec![
        (
            "twice.cbor",
            draft(&[one.clone(), (e(2), one.1.clone())], 2),
        ),
        ("few.cbor", draft(&[one.clone(), two], 4)),
        ("identity.cbor", with(&identity)),
        ("off.cbor", with(&off)),
        ("cut.cbor", good[..good.len() - 1].to_vec()),
    ]
}

/// Runs each command, which has to fail with this exit code and these words.
fn each_says(home: &tempfile::TempDir, cases: &[(&[&str], i32, &[&str])]) {
    for (args, exit, words) in cases {
        let out = run_in(home, args);
        let said = text(&out.stderr);
        assert_eq!(code(&out), *exit, "{args:?}: {said}");
        for word in *words {
            assert!(said.contains(word), "{args:?}: {word:?} is not in: {said}");
        }
    }
}

#[test]
fn wrong_input_of_name_is_named_with_what_is_allowed() {
    let home = home();
    let label = "a".repeat(64);
    let part = "a".repeat(63);
    let long = [&part[..], &part, &part, &part].join(".");
    let claim = |alias| {
        [
            "name",
            "claim",
            alias,
            "--key",
            "me.pem",
            "-o",
            "x.claim",
            "--seq",
            "1",
            "--signers",
            "signers",
        ]
    };
    let good = run_in(
        &home,
        &[&claim("files.example")[..7], &claim("x")[7..]].concat(),
    );
    assert_eq!(code(&good), 0, "{}", text(&good.stderr));
    for (alias, words) in [
        ("", &["at least one character"][..]),
        (&label, &["a label of 64 characters", "63 are allowed"]),
        (&long, &["an alias of 255 characters", "253 are allowed"]),
        ("a..b", &["a..b", "a label between dots is empty"]),
        ("-a", &["-a", "hyphen"]),
        ("b.a-", &["b.a-", "begins or ends with a hyphen"]),
        ("ab--c", &["ab--c", "reserved"]),
        ("192.0.2.1", &["192.0.2.1", "reserved"]),
        ("a_b", &["a_b", "letters, digits, hyphens and dots are"]),
        ("a b", &["a b", "letters, digits, hyphens and dots are"]),
    ] {
        let mut args = claim(alias).to_vec();
        if alias.starts_with('-') {
            // After the options, so that it is no option.
            args = [&["name", "claim"], &args[3..], &["--", alias]].concat();
        }
        each_says(&home, &[(&args, 2, words)]);
    }
    let peer = "bn1:e24udde4j3w74dfs2yo2sq4yutpy6hbat44h3py";
    each_says(
        &home,
        &[
            (
                &[&claim("a")[..], &["--node", "bn1:abc"]].concat(),
                2,
                &["--node bn1:abc", "39 characters"],
            ),
            (
                &[&claim("a")[..], &["--node", peer]].concat(),
                2,
                &["only a node's own key"],
            ),
            (
                &["name", "claim", "a", "--key", "none.pem", "-o", "c"],
                3,
                &["none.pem"],
            ),
            (
                &[
                    "name", "claim", "a", "--key", "me.pem", "-o", "c", "--seq", "x",
                ],
                2,
                &["--seq", "x"],
            ),
            (
                &[
                    "name",
                    "sign",
                    "none",
                    "--signer",
                    "me.pem",
                    "--memory",
                    "m",
                    "--signers",
                    "signers",
                ],
                3,
                &["none"],
            ),
            (
                &[
                    "name",
                    "sign",
                    "garbage",
                    "--signer",
                    "me.pem",
                    "--memory",
                    "m",
                    "--signers",
                    "signers",
                ],
                3,
                &["garbage"],
            ),
            // Somebody who is no signer, and a memory that is not there.
            (
                &[
                    "name",
                    "sign",
                    "x.claim",
                    "--signer",
                    "me.pem",
                    "--memory",
                    "m",
                    "--new-memory",
                    "--signers",
                    "signers",
                ],
                2,
                &["me.pem", "not one of the signers"],
            ),
            (
                &[
                    "name",
                    "sign",
                    "x.claim",
                    "--signer",
                    "me.pem",
                    "--memory",
                    "none",
                    "--signers",
                    "signers",
                ],
                2,
                &["none", "--new-memory"],
            ),
            (&["name", "resolve", "a"], 2, &["--network"]),
            (
                &[
                    "name",
                    "resolve",
                    "a_b",
                    "--signers",
                    "signers",
                    "--from",
                    peer,
                ],
                2,
                &["a_b"],
            ),
            (
                &[
                    "name",
                    "history",
                    "ab--c",
                    "--signers",
                    "signers",
                    "--from",
                    peer,
                ],
                2,
                &["ab--c", "reserved"],
            ),
            (
                &[
                    "name",
                    "resolve",
                    "a",
                    "--signers",
                    "signers",
                    "--from",
                    "127.0.0.1:1",
                ],
                2,
                &["--from 127.0.0.1:1", "KEYHEX@HOST:PORT"],
            ),
            (
                &[
                    "name",
                    "resolve",
                    "a",
                    "--signers",
                    "garbage",
                    "--from",
                    peer,
                ],
                2,
                &["garbage"],
            ),
            (
                &["name", "verify", "garbage", "--signers", "signers"],
                3,
                &["garbage"],
            ),
            (
                &[
                    "name",
                    "publish",
                    "garbage",
                    "--signers",
                    "signers",
                    "--to",
                    peer,
                ],
                3,
                &["garbage"],
            ),
            (&["name", "audit"], 2, &["--network"]),
        ],
    );
}

#[test]
fn wrong_input_of_pay_is_named_with_what_is_allowed() {
    let home = home();
    let made = run_in(&home, &["pay", "new", "--wallet", "purse"]);
    assert_eq!(code(&made), 0, "{}", text(&made.stderr));
    let init = [
        "pay",
        "mint-init",
        "mint",
        "--spender",
        "me.pem",
        "--max",
        "2",
    ];
    let made = run_in(&home, &init);
    assert_eq!(code(&made), 0, "{}", text(&made.stderr));
    let with =
        |more: &[&'static str]| [&["pay", "mint-init", "m2", "--spender", "me.pem"], more].concat();
    let wallet = |more: &[&'static str]| [&["pay"], more, &["--wallet", "purse"]].concat();
    let unit = "u".repeat(33);
    let (long, zero) = (
        [
            "pay",
            "mint-init",
            "m2",
            "--spender",
            "me.pem",
            "--unit",
            &unit,
        ],
        "00".repeat(32),
    );
    each_says(
        &home,
        &[
            (&with(&["--max", "41"]), 2, &["--max", "41", "0..=40"]),
            (
                &with(&["--mints", "0"]),
                2,
                &["--mints 0", "one mint at least"],
            ),
            (
                &with(&["--mints", "3", "--threshold", "1"]),
                2,
                &["--threshold 1", "2 to 3"],
            ),
            (
                &with(&["--mints", "3", "--threshold", "4"]),
                2,
                &["--threshold 4", "2 to 3"],
            ),
            (
                &with(&["--unit", ""]),
                2,
                &["--unit", "1 to 32 visible ASCII characters"],
            ),
            (
                &with(&["--unit", "a b"]),
                2,
                &["--unit", "1 to 32 visible ASCII characters"],
            ),
            (&long, 2, &["--unit", "1 to 32 visible ASCII characters"]),
            (&with(&["--days", "0"]), 2, &["--days", "1..=3650"]),
            (
                &["pay", "mint-init", "m2", "--spender", &zero],
                2,
                &["--spender"],
            ),
            (
                &["pay", "mint-init", "m2", "--spender", "none.pem"],
                3,
                &["none.pem"],
            ),
            (
                &["pay", "coupon", "1", "--mint", "none"],
                3,
                &["--mint none", "betanet pay mint-init"],
            ),
            (&["pay", "coupon", "0", "--mint", "mint"], 2, &["0"]),
            (&["pay", "coupon", "x", "--mint", "mint"], 2, &["x"]),
            (&wallet(&["issue", "bnc1x"]), 2, &["coupon"]),
            (
                &wallet(&["receive", "bnv1qqqq"]),
                2,
                &["voucher 1", "mistyped or damaged"],
            ),
            (
                &wallet(&["receive", "bnv1qqqq", "--offline"]),
                2,
                &["voucher 1", "bnv1"],
            ),
            (&wallet(&["send", "0"]), 2, &["0", "1.."]),
            (&wallet(&["send", "3"]), 2, &["betanet pay mint"]),
            (
                &wallet(&["redeem", "1", "--to", "bn1:abc"]),
                2,
                &["--to bn1:abc", "39 characters"],
            ),
            (
                &wallet(&["mint", "127.0.0.1:1"]),
                2,
                &["127.0.0.1:1", "KEYHEX@HOST:PORT"],
            ),
            (
                &["pay", "restore", "garbage", "bnp1x", "--wallet", "w2"],
                2,
                &["bnp1x"],
            ),
            (
                &["pay", "balance", "--wallet", "none"],
                3,
                &["betanet pay new"],
            ),
            (&["pay", "new", "--wallet", "purse"], 2, &["purse"]),
            (&["pay", "evidence", "garbage"], 3, &["garbage"]),
        ],
    );
    // A phrase that is none, before anybody is asked.
    let peer = format!("{}@127.0.0.1:1#{}", "17".repeat(32), "00".repeat(32));
    let restore = ["pay", "restore", "garbage", &peer, "--wallet", "w2"];
    let out = run_in(&home, &restore);
    assert_eq!(code(&out), 2, "{}", text(&out.stderr));
    // Keysets that break a rule: for the ledger of names, and in a mint's folder.
    for (file, why) in [
        ("twice.cbor", "a public key of 2^2 occurs twice"),
        ("few.cbor", "4 of 3 is no threshold"),
        ("identity.cbor", "a point of 2^1: the point is the identity"),
        (
            "off.cbor",
            "a point of 2^1: not the encoding of a point on the curve",
        ),
        ("cut.cbor", "not a keyset"),
        ("garbage", "not a keyset"),
    ] {
        let mint = home.path().join("mint/mint-1/keyset.cbor");
        std::fs::copy(home.path().join(file), &mint).unwrap();
        let served = run_in(
            &home,
            &[
                "serve",
                "public",
                "--key",
                "me.pem",
                "--mint",
                "mint/mint-1",
            ],
        );
        let said = text(&served.stderr);
        assert!(
            code(&served) == 3 && said.contains("keyset.cbor") && said.contains(why),
            "{file}: {said}"
        );
    }
}
