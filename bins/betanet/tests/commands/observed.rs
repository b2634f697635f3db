//! What an observer sees, as a user looks at it: recordings, shapes, records of front origins, and the carriers.

use std::path::Path;

use serde_json::Value;

use super::{Serving, run, text};

/// A pcap file of IP packets: from which side, TCP flags and the sequence number, payload.
fn pcap(packets: &[(bool, u8, u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend([0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0]);
    out.extend([0; 8]);
    out.extend(65_535_u32.to_le_bytes());
    // Raw IP.
    out.extend(101_u32.to_le_bytes());
    for (n, (up, flags, number, payload)) in packets.iter().enumerate() {
        let len = u16::try_from(40 + payload.len()).unwrap();
        let (from, to, ports) = if *up {
            ([10, 0, 0, 1], [10, 0, 0, 2], [40_000_u16, 443])
        } else {
            ([10, 0, 0, 2], [10, 0, 0, 1], [443, 40_000])
        };
        let mut packet = vec![0x45, 0];
        packet.extend(len.to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        packet.extend(from);
        packet.extend(to);
        packet.extend(ports[0].to_be_bytes());
        packet.extend(ports[1].to_be_bytes());
        packet.extend(number.to_be_bytes());
        packet.extend([0, 0, 0, 0, 0x50, *flags, 0xff, 0xff, 0, 0, 0, 0]);
        packet.extend(*payload);
        let seconds = u32::try_from(n / 100).unwrap();
        let micros = u32::try_from(n % 100).unwrap() * 10_000;
        out.extend(seconds.to_le_bytes());
        out.extend(micros.to_le_bytes());
        out.extend(u32::from(len).to_le_bytes());
        out.extend(u32::from(len).to_le_bytes());
        out.extend(packet);
    }
    out
}

const SYN: u8 = 2;
const ACK: u8 = 0x10;

fn record(kind: u8, len: u16) -> Vec<u8> {
    let mut bytes = vec![kind, 3, 3];
    bytes.extend(len.to_be_bytes());
    bytes.resize(bytes.len() + usize::from(len), 7);
    bytes
}

/// Chromium's hello, from its capture.
fn hello() -> Vec<u8> {
    let capture: Value = serde_json::from_str(betanet_carrier::CHROMIUM_156).unwrap();
    betanet_wire::text::unhex(capture["hellos"][0].as_str().unwrap()).unwrap()
}

fn write(home: &Path, name: &str, bytes: &[u8]) -> String {
    let path = home.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_recorded_hello_is_compared_field_by_field() {
    let home = tempfile::tempdir().unwrap();
    let hello = hello();
    let (one, two) = hello.split_at(700);
    // The second part comes before the first, and the first twice.
    let file = pcap(&[
        (true, SYN, 999, b""),
        (false, SYN | ACK, 4999, b""),
        (true, ACK, 1700, two),
        (true, ACK, 1000, one),
        (true, ACK, 1000, one),
        (false, ACK, 5000, &record(22, 1210)),
    ]);
    let path = write(home.path(), "own.pcap", &file);
    let out = run(&["template", "check", &path, "--json"], home.path(), b"");
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    let ja4 = "t13d1517h2_8daaf6152771_cb7bf5808d99";
    assert_eq!(said["ja4"]["theirs"][0], ja4, "{said}");
    assert_eq!(said["same"], cfg!(feature = "mimic"), "{said}");
    // Firefox is another one, whatever this build looks like.
    let out = run(&["template", "check", "firefox"], home.path(), b"");
    assert_eq!(out.status.code(), Some(1));
    for (bad, why) in [
        (&file[..file.len() - 9], "cut short"),
        (&file[..24], "no hello in it"),
        (&b"\xff\xfe"[..], "neither a capture nor pcap"),
    ] {
        let path = write(home.path(), "bad.pcap", bad);
        let out = run(&["template", "check", &path], home.path(), b"");
        assert_eq!(out.status.code(), Some(3), "{why}");
        assert!(text(&out.stderr).contains(why), "{}", text(&out.stderr));
    }
}

#[test]
fn what_tunnels_are_later_than_their_loads_is_told_and_taken_off() {
    let home = tempfile::tempdir().unwrap();
    let recording = |name, answer: f64| {
        let records = [
            (0.0, 1, 22, 1900),
            (0.001, -1, 23, 1210),
            (0.005, 1, 23, 53),
            (0.005, 1, 23, 87),
            (0.006, 1, 23, 463),
            (0.011, -1, 23, 4501),
            (0.020, 1, 23, 100),
            (0.020 + answer, -1, 23, 1000),
        ];
        let line = serde_json::json!({ "records": records }).to_string();
        write(home.path(), name, line.as_bytes())
    };
    let (loads, tunnels) = (
        recording("loads.json", 0.005),
        recording("tunnels.json", 0.007),
    );
    let none = write(home.path(), "none.json", b"{\"records\": []}");
    let shape = home.path().join("site.shape");
    let shape = shape.to_str().unwrap();
    let learn = ["shape", "learn", &loads, "--skip", "0", "-o", shape];
    let with = |more: &[&str]| run(&[&learn[..], more].concat(), home.path(), b"");
    let took = |out: std::process::Output| {
        assert!(out.status.success(), "{}", text(&out.stderr));
        let said: Value = serde_json::from_slice(&out.stdout).unwrap();
        (
            said["mean_ms"].clone(),
            said["lag_us"]["answers"][1].clone(),
        )
    };
    assert_eq!(took(with(&["--json"])), (19.into(), 0.into()));
    // From tunnels that follow what was learnt before, over and over.
    let followed = ["--lag", &tunnels, "--followed", shape, "--json"];
    assert_eq!(took(with(&followed)), (17.into(), 2000.into()));
    assert_eq!(took(with(&followed)), (15.into(), 4000.into()));
    let twice = ["--lag", &tunnels, "--followed", shape, "--followed", shape];
    let refused = with(&twice);
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    assert!(said.contains("2 shapes for 1 recordings"), "{said}");
    let both = [&twice[..], &["--lag", &tunnels, "--json"]].concat();
    // An answer of 5 ms can't lose more than that: what is left is the time between the requests.
    assert_eq!(took(with(&both)), (14.into(), 6000.into()));
    // What followed no load is counted, so that a shape named by mistake is seen.
    let counted = with(&["--lag", &tunnels, "--lag", &none, "--followed", shape]);
    let said = text(&counted.stdout);
    assert!(said.contains("lag of 1 of 2 tunnels"), "{said}");
    for (bad, why) in [
        ([&none[..], shape], "no connection over TLS"),
        ([&tunnels, &none], "no shape"),
    ] {
        let out = with(&["--lag", bad[0], "--followed", bad[1]]);
        assert_eq!(out.status.code(), Some(3));
        assert!(text(&out.stderr).contains(why), "{}", text(&out.stderr));
    }
    assert_eq!(with(&["--lag", &tunnels]).status.code(), Some(2));
    assert_eq!(with(&["--followed", shape]).status.code(), Some(2));
}

#[test]
fn a_shape_is_learnt_from_recordings_and_followed_by_both_ends() {
    let home = tempfile::tempdir().unwrap();
    let (up, down) = (
        [record(23, 53), record(23, 87), record(23, 463)].concat(),
        record(23, 4501),
    );
    let early = [record(23, 179), record(23, 44), record(23, 39)].concat();
    let more = record(23, 9000);
    let at = |n: usize| u32::try_from(n).unwrap();
    let (hello, server) = (hello(), record(22, 1210));
    let file = pcap(&[
        (true, SYN, 999, b""),
        (false, SYN | ACK, 4999, b""),
        (true, ACK, 1000, &hello),
        (false, ACK, 5000, &server),
        (true, ACK, at(1000 + hello.len()), &up),
        (false, ACK, at(5000 + server.len()), &early),
        (false, ACK, at(5000 + server.len() + early.len()), &down),
        (
            true,
            ACK,
            at(1000 + hello.len() + up.len()),
            &record(23, 200),
        ),
        (
            false,
            ACK,
            at(5000 + server.len() + early.len() + down.len()),
            &more,
        ),
    ]);
    let pcap = write(home.path(), "loads.pcap", &file);
    let json = r#"{"records": [[0, 1, 23, 53], [0, 1, 23, 87], [0, 1, 23, 463], [0.001, -1, 23, 900], [0.002, -1, 23, 4501]]}"#;
    let json = write(home.path(), "loads.json", json.as_bytes());
    let shape = home.path().join("site.shape");
    let shape = shape.to_str().unwrap();
    let out = run(
        &["shape", "learn", &pcap, "-o", shape, "--json"],
        home.path(),
        b"",
    );
    assert!(out.status.success(), "{}", text(&out.stderr));
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(
        (&said["connections"], &said["traces"]),
        (&1.into(), &1.into())
    );
    assert_eq!(
        (&said["mean_up"], &said["mean_down"]),
        (&663.into(), &13_501.into())
    );
    let both = ["shape", "learn", &pcap, &json, "--skip", "0", "-o", shape];
    let out = run(&both, home.path(), b"");
    assert!(
        text(&out.stdout).contains("2 page loads of 2 connections"),
        "{}",
        text(&out.stderr)
    );
    for (bad, why) in [
        ("{\"records\": [[0, 1, 23]]}", "line 1:"),
        ("{\"records\": []}", "of 1 connections 0 are page loads"),
        ("nonsense", "line 1:"),
    ] {
        let bad = write(home.path(), "bad.json", bad.as_bytes());
        let out = run(&["shape", "learn", &bad, "-o", shape], home.path(), b"");
        assert_eq!(out.status.code(), Some(3));
        assert!(text(&out.stderr).contains(why), "{}", text(&out.stderr));
    }
    let serving = Serving::start(&["--shape", shape]);
    let peer = serving.fact("peer").to_owned();
    let file = serving.path("got.txt");
    let file = file.to_str().unwrap();
    let url = serving.url("/hello.txt");
    let get = [
        "get", &url, "--peer", &peer, "--shape", shape, "-o", file, "--json",
    ];
    let out = serving.run(&get);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(said["padded"]["bursts"].as_u64().unwrap() > 0, "{said}");
    assert_eq!(std::fs::read(file).unwrap(), b"hello, betanet\n");
    // Which of its two loads was followed is known to who follows it next.
    let followed = || {
        let names = std::fs::read_dir(serving.path("client/betanet"))
            .unwrap()
            .flatten();
        let mut names =
            names.filter(|e| e.file_name().as_encoded_bytes().starts_with(b"followed-"));
        let kept = std::fs::read(names.next().unwrap().path()).unwrap();
        kept[kept.iter().position(|b| *b == b'\n').unwrap() + 1..].to_vec()
    };
    let first = followed();
    assert!(first.len() == 1 && first[0].count_ones() == 1);
    let again = ["get", &url, "--peer", &peer, "--shape", shape, "-o", file];
    let out = serving.run(&again);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert_eq!(followed(), [0b11]);
    let out = serving.run(&["get", &url, "--peer", &peer, "--shape", &json]);
    assert_eq!(out.status.code(), Some(3));
    assert!(
        text(&out.stderr).contains("no shape"),
        "{}",
        text(&out.stderr)
    );
    let quic = [
        "get",
        &url,
        "--peer",
        &peer,
        "--shape",
        shape,
        "--transport",
        "quic",
    ];
    assert_eq!(serving.run(&quic).status.code(), Some(2));
}

#[test]
fn a_peer_is_reached_over_what_was_asked_for() {
    let serving = Serving::start(&["--quic"]);
    let peer = serving.fact("peer").to_owned();
    for (transport, alpn) in [("auto", "h3"), ("quic", "h3"), ("tcp", "h2")] {
        let out = serving.run(&["probe", &peer, "--transport", transport, "--json"]);
        assert!(out.status.success(), "{}", text(&out.stderr));
        let said: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(said["outer"]["alpn"], alpn, "{transport}");
    }
    // Without a word over TCP alone, which whoever does not ask for QUIC takes at once.
    let serving = Serving::start(&[]);
    let peer = serving.fact("peer").to_owned();
    let out = serving.run(&["probe", &peer, "--json"]);
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(said["outer"]["alpn"], "h2");
    assert_eq!(said["outer"]["instead_of_quic"], Value::Null);
    let out = serving.run(&["probe", &peer, "--transport", "quic"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(
        text(&out.stderr).contains("no QUIC address"),
        "{}",
        text(&out.stderr)
    );
    let out = serving.run(&["probe", &peer, "--transport", "udp"]);
    assert_eq!(out.status.code(), Some(2));
}

#[test]
fn a_front_origins_record_is_made_signed_and_counts_from_five_on() {
    let home = tempfile::tempdir().unwrap();
    let mut keys = Vec::new();
    let mut list = Vec::new();
    let mut name = String::new();
    for n in 0..13 {
        let key = home.path().join(format!("{n}.pem"));
        let key = key.to_str().unwrap().to_owned();
        let out = run(&["id", "new", "--key", &key, "--json"], home.path(), b"");
        let said: Value = serde_json::from_slice(&out.stdout).unwrap();
        list.push(format!("\"{}\"", said["public_key"].as_str().unwrap()));
        name = said["name"].as_str().unwrap().to_owned();
        keys.push(key);
    }
    let mut file = format!(
        "name = \"test\"\nsigners = [{}]\nmaintainers = [{}]\n[policy]\nprivate = true\n",
        list[..3].join(", "),
        list[3..8].join(", ")
    );
    for (n, key) in list[8..].iter().enumerate() {
        file += &format!(
            "[[seed]]\nkey = {key}\naddrs = [\"/ip4/127.0.0.{}/tcp/1/tls\"]\n",
            n + 2
        );
    }
    let network = write(home.path(), "NETWORK.toml", file.as_bytes());
    let id = "07".repeat(32);
    let record = [
        "template",
        "record",
        &id,
        "--host-pattern",
        "*.front.example",
        "--seq",
        "1",
        "--network",
        &network,
    ];
    let out = run(&record, home.path(), b"");
    assert!(out.status.success(), "{}", text(&out.stderr));
    let fronts = write(home.path(), "fronts.hex", &out.stdout);
    let url = format!("bar://{name}/x");
    let get = [
        "get",
        &url,
        "--network",
        &network,
        "--front-origins",
        &fronts,
    ];
    for (n, key) in keys[3..8].iter().enumerate() {
        let out = run(&get, home.path(), b"");
        let said = text(&out.stderr);
        let few = format!("fronts.hex:1: signed by {n} of the maintainers, where 5 are needed");
        assert!(said.contains(&few), "{said}");
        assert_eq!(out.status.code(), Some(3));
        let out = run(
            &["template", "sign", &fronts, "--key", key],
            home.path(),
            b"",
        );
        assert_eq!(text(&out.stdout), format!("{} signatures\n", n + 1));
    }
    let bad = [
        "template",
        "record",
        "07",
        "--host-pattern",
        "a",
        "--seq",
        "1",
        "--network",
        &network,
    ];
    assert_eq!(run(&bad, home.path(), b"").status.code(), Some(2));
    let out = run(
        &["template", "sign", &network, "--key", &keys[3]],
        home.path(),
        b"",
    );
    assert_eq!(out.status.code(), Some(3));
}
