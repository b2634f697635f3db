//! What a listening node prints works as it is printed.

use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::*;

/// Runs a printed command, word by word.
fn run_printed(s: &Serving, command: &str) -> Output {
    let mut words = command.split(' ');
    assert_eq!(words.next(), Some("betanet"), "{command}");
    s.run(&words.collect::<Vec<_>>())
}

#[test]
fn the_printed_command_fetches_whatever_the_node_listens_at() {
    for listen in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"] {
        let s = Serving::start(&["--listen", listen]);
        for address in s.facts["addresses"].as_array().unwrap() {
            let address = address.as_str().unwrap();
            assert!(
                !address.contains("0.0.0.0") && !address.contains("[::]"),
                "{address}"
            );
            let seen = s.run(&["probe", address, "--json"]);
            assert_eq!(code(&seen), 0, "{address}: {}", text(&seen.stderr));
            let tcp = address.strip_prefix("quic:").unwrap_or(address);
            let long = format!("{}@{tcp}#{}", s.fact("public_key"), s.fact("pin"));
            let got = s.run(&["ping", &long]);
            assert_eq!(code(&got), 0, "{long}: {}", text(&got.stderr));
        }
        let got = run_printed(&s, s.fact("get"));
        assert_eq!(
            (code(&got), text(&got.stdout)),
            (0, "hello, betanet\n".into()),
            "{listen}: {}",
            text(&got.stderr)
        );
    }
}

#[test]
fn an_address_that_cannot_be_dialled_is_told_why() {
    let s = Serving::start(&[]);
    let key = s.fact("public_key");
    for (address, why) in [
        ("[fe80::1%lo]:443", "zone"),
        ("::1:443", "brackets"),
        ("0.0.0.0:443", "cannot be dialled"),
        ("127.1:443", "a host is"),
        ("node.example:0", "port 0"),
    ] {
        let ping = s.run(&["ping", &format!("{key}@{address}")]);
        assert!(
            code(&ping) == 2 && text(&ping.stderr).contains(why),
            "{}",
            text(&ping.stderr)
        );
    }
}

/// `betanet serve` at a home that is there already.
fn serve(home: &Path, extra: &[&str]) -> (Child, Value, String) {
    std::fs::create_dir_all(home.join("served")).unwrap();
    let mut child = Command::new(BETANET)
        .arg("serve")
        .arg(home.join("served"))
        .arg("--json")
        .args(extra)
        .env("XDG_DATA_HOME", home)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    if line.is_empty() {
        let mut why = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut why)
            .unwrap();
        panic!("{why}");
    }
    child.stdout = None;
    (child, serde_json::from_str(&line).unwrap(), line)
}

/// Ends it as a service manager does; what it said on standard error.
fn end(mut child: Child) -> String {
    let pid = child.id().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(child.wait().unwrap().success());
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    said
}

#[test]
fn one_process_at_a_time_uses_a_state_folder() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("mine");
    let named = ["--state", state.to_str().unwrap()];
    for (args, key) in [(&[][..], "betanet/id.pem"), (&named[..], "mine/id.pem")] {
        let (child, first, _) = serve(home.path(), args);
        let second = Command::new(BETANET)
            .arg("serve")
            .arg(home.path().join("served"))
            .args(args)
            .env("XDG_DATA_HOME", home.path())
            .output()
            .unwrap();
        assert_eq!(second.status.code(), Some(3));
        let said = String::from_utf8_lossy(&second.stderr);
        let held = format!("in use by another process (pid {})", child.id());
        assert!(said.contains(&held) && said.contains("--state"), "{said}");
        end(child);
        assert!(home.path().join(key).is_file());
        let (child, again, _) = serve(home.path(), args);
        assert_eq!(first["peer"], again["peer"]);
        end(child);
    }
}

#[test]
fn serve_keeps_its_port_and_says_when_it_is_taken() {
    let home = tempfile::tempdir().unwrap();
    let (child, first, _) = serve(home.path(), &[]);
    end(child);
    let (child, again, _) = serve(home.path(), &[]);
    assert_eq!(first["peer"], again["peer"]);
    end(child);
    let address = first["addresses"][0].as_str().unwrap();
    let _taken = TcpListener::bind(address).unwrap();
    let (child, other, _) = serve(home.path(), &[]);
    assert_ne!(first["addresses"], other["addresses"]);
    let said = end(child);
    let port = address.rsplit_once(':').unwrap().1;
    assert!(
        said.contains(&format!("port {port} of earlier starts is taken")),
        "{said}"
    );
}

/// A certificate for `localhost` with a fresh key, signed by `issuer`.
fn certificate(issuer: &Issuer<'_, KeyPair>, home: &Path) -> [String; 4] {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let made = params.signed_by(&key, issuer).unwrap();
    let (chain, secret) = (home.join("chain.pem"), home.join("key.pem"));
    std::fs::write(&chain, made.pem()).unwrap();
    std::fs::write(&secret, key.serialize_pem()).unwrap();
    // Where others may read it, it is refused.
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let text = |p: std::path::PathBuf| p.to_str().unwrap().to_owned();
    [
        "--certificate".into(),
        text(chain),
        "--certificate-key".into(),
        text(secret),
    ]
}

#[test]
fn a_renewal_with_a_new_key_cuts_no_known_client_off() {
    let home = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let roots = home.path().join("roots.pem");
    std::fs::write(&roots, authority.pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let get = |args: &[&str]| {
        let mut all = vec!["get"];
        all.extend(args);
        all.extend(["--ca", roots.to_str().unwrap()]);
        run(&all, &home.path().join("client"), b"")
    };
    let with = certificate(&issuer, home.path());
    let (child, before, _) = serve(home.path(), &with.each_ref().map(String::as_str));
    std::fs::write(home.path().join("served/hello.txt"), "hello").unwrap();
    assert_eq!(before["pinned"], false);
    let address = before["addresses"][0].as_str().unwrap();
    assert!(address.starts_with("localhost:"), "{address}");
    let url = format!("bar://{}/hello.txt", before["name"].as_str().unwrap());
    let peer = before["peer"].as_str().unwrap();
    let first = get(&[&url, "--peer", peer]);
    assert_eq!(
        (code(&first), text(&first.stdout)),
        (0, "hello".into()),
        "{}",
        text(&first.stderr)
    );
    // Nobody is trusted whose certificate no root has signed.
    let stranger = run(
        &["get", &url, "--peer", peer],
        &home.path().join("other"),
        b"",
    );
    assert_eq!(code(&stranger), 1);
    end(child);
    let with = certificate(&issuer, home.path());
    let (child, after, _) = serve(home.path(), &with.each_ref().map(String::as_str));
    assert_ne!(before["pin"], after["pin"]);
    assert_eq!(before["peer"], after["peer"]);
    let again = get(&[&url]);
    assert_eq!(
        (code(&again), text(&again.stdout)),
        (0, "hello".into()),
        "{}",
        text(&again.stderr)
    );
    end(child);
}

#[test]
fn a_service_manager_is_told_when_it_is_ready_alive_and_stopping() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("served")).unwrap();
    let at = home.path().join("notify");
    let socket = UnixDatagram::bind(&at).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut child = Command::new(BETANET)
        .arg("serve")
        .arg(home.path().join("served"))
        .env("XDG_DATA_HOME", home.path())
        .env("NOTIFY_SOCKET", &at)
        .env("WATCHDOG_USEC", "300000")
        .env_remove("WATCHDOG_PID")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let next = || {
        let mut bytes = [0; 512];
        let n = socket.recv(&mut bytes).unwrap();
        text(&bytes[..n])
    };
    let ready = next();
    assert!(
        ready.starts_with("READY=1\nSTATUS=serving as bn1:"),
        "{ready}"
    );
    for _ in 0..3 {
        assert_eq!(next().trim_end(), "WATCHDOG=1");
    }
    let pid = child.id().to_string();
    // A process that does not run says nothing.
    Command::new("kill").args(["-STOP", &pid]).status().unwrap();
    Command::new("kill").args(["-CONT", &pid]).status().unwrap();
    Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    let stopping = std::iter::repeat_with(next).find(|m| !m.starts_with("WATCHDOG=1"));
    assert!(stopping.unwrap().starts_with("STOPPING=1"));
    assert!(child.wait().unwrap().success());
}

#[test]
fn status_tells_sessions_refusals_build_and_what_is_wrong() {
    let s = Serving::start(&["--admin", "127.0.0.1:0", "--per-address", "1"]);
    let admin = s.fact("admin").to_owned();
    let first = s.run(&["get", &s.url("/hello.txt"), "--peer", s.fact("peer")]);
    assert_eq!(code(&first), 0);
    // One session stands while another is refused.
    let mut held = Command::new(BETANET)
        .args(["ping", s.fact("name"), "--count", "1000000"])
        .env("XDG_DATA_HOME", s.path("client"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(held.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let refused = s.run(&["ping", s.fact("name")]);
    assert_eq!(code(&refused), 1);
    let out = s.run(&["status", "--admin", &admin, "--json"]);
    assert_eq!(code(&out), 0, "{}", text(&out.stderr));
    let status: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(status["healthy"], true);
    assert_eq!(status["build"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["sessions"]["direct"], 1, "{status}");
    assert!(
        status["sessions"]["oldest"][0]["bytes_in"]
            .as_u64()
            .unwrap()
            > 0
    );
    assert!(status["descriptors"]["open"].as_u64().unwrap() > 3);
    let by = |limit: &str| {
        let all = status["refused"].as_array().unwrap();
        all.iter().find(|r| r["limit"] == limit).unwrap().clone()
    };
    assert_eq!(by("per_address")["allowed"], 1);
    assert!(by("per_address")["count"].as_u64().unwrap() > 0, "{status}");
    let shown = s.run(&["status", "--admin", &admin]);
    let shown = text(&shown.stdout);
    assert!(shown.contains("1 direct, 0 over relays"), "{shown}");
    assert!(
        shown.contains("sessions of one address (per_address = 1)"),
        "{shown}"
    );
    held.kill().unwrap();
    held.wait().unwrap();
    // The folder of the key is gone: the node says so.
    std::fs::rename(s.path("server"), s.path("moved")).unwrap();
    let sick = s.run(&["status", "--admin", &admin, "--json"]);
    assert_eq!(code(&sick), 1);
    let status: Value = serde_json::from_slice(&sick.stdout).unwrap();
    assert_eq!(status["faults"][0]["what"], "folder", "{status}");
}
