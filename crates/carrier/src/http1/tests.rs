use std::fs;
use std::path::Path;
use std::time::SystemTime;

use serde_json::Value;
use tokio::io::{DuplexStream, duplex};
use tokio::time::sleep;

use super::*;
use crate::cover::crc32;
use crate::{CertSource, Certificate, Cover, Limits};

/// Answers of nginx 1.22.1 of Debian 12 over TLS, with Debian's configuration and one server block: `root` with the files that
/// [`files`] makes, `index index.html`, `try_files $uri $uri/ =404`, on 127.0.0.1:18443. Dates are left out, and long answers
/// are given by length and CRC; `<v*100>` is a hundred times v.
const NGINX: &str = include_str!("nginx.json");

/// Text as long as one of the same kind in `deflate/known.txt`.
fn words(len: usize) -> String {
    let (mut state, mut out) = (u32::try_from(len).unwrap() | 1, String::new());
    while out.len() < len {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        out += &format!("w{} ", (state >> 16) % 700);
    }
    out.truncate(len);
    out
}

fn files(root: &Path) {
    for folder in ["dir/sub", "empty", "dirx/index.html", "sp dir"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let write = |name: &str, text: &str| {
        let path = root.join(name);
        fs::write(&path, text).unwrap();
        let file = fs::File::options().append(true).open(&path).unwrap();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_534_400);
        file.set_modified(modified).unwrap();
    };
    let page =
        "<!doctype html>\n<title>T</title>\n<p>Hello there, this is a page of some length.\n";
    for (name, text) in [
        ("index.html", page),
        ("a.txt", "hello\n"),
        ("dir/index.html", "d\n"),
        ("dir/sub/x.txt", "x\n"),
        ("sp ace.txt", "j\n"),
        ("zero.txt", ""),
        ("zero.html", ""),
        ("mid.html", &words(20_000)),
        ("large.html", &words(300_000)),
    ] {
        write(name, text);
    }
    for name in [
        "s.css",
        "s.js",
        "i.png",
        "f.ico",
        "d.json",
        "u.unknown",
        "noext",
        "x.tar.gz",
        "p.HTML",
        "w.woff2",
        "v.svg",
        "m.map",
        "t.xml",
    ] {
        write(name, &format!("body of {name} which is long enough\n"));
    }
    let pipe = std::process::Command::new("mkfifo")
        .arg(root.join("pipe"))
        .status();
    assert!(pipe.unwrap().success());
}

fn site(cover: Cover) -> Arc<Site> {
    let certificate = Certificate::self_signed(&["localhost".into()]).unwrap();
    let source = Arc::new(CertSource::fixed(certificate));
    Arc::new(Site::new(source, cover, None, Limits::default()).unwrap())
}

fn of_files() -> (tempfile::TempDir, Arc<Site>) {
    let root = tempfile::tempdir().unwrap();
    files(root.path());
    let cover = Cover::new(root.path(), || SystemTime::UNIX_EPOCH).unwrap();
    (root, site(cover))
}

/// A connection to the site, and the client's end of it.
fn connect(
    site: &Arc<Site>,
    wire: usize,
) -> (DuplexStream, tokio::task::JoinHandle<()>, CancellationToken) {
    let (near, far) = duplex(wire);
    let came = Came {
        local: Some("127.0.0.1:18443".parse().unwrap()),
        peer: "192.0.2.1:1".parse().unwrap(),
    };
    let shutdown = CancellationToken::new();
    let served = serve(Arc::clone(site), far, came, shutdown.clone(), false);
    (near, tokio::spawn(served), shutdown)
}

/// Reads until silence; returns the bytes and whether the connection was closed.
async fn read(near: &mut DuplexStream, patience: Duration) -> (Vec<u8>, bool) {
    let mut got = Vec::new();
    loop {
        match timeout(patience, near.read_buf(&mut got)).await {
            Ok(Ok(1..)) => {}
            Ok(_) => return (got, true),
            Err(_) => return (got, false),
        }
    }
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap())
        .collect()
}

/// Expands `<v*100>` to its bytes.
fn unfolded(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        out.extend(latin1(before));
        let run = after.split_once('>').and_then(|(run, after)| {
            let (c, n) = run.split_once('*')?;
            Some((c.repeat(n.parse().ok()?), after))
        });
        match run {
            Some((run, after)) => {
                out.extend(run.into_bytes());
                rest = after;
            }
            None => {
                out.push(b'<');
                rest = after;
            }
        }
    }
    out.extend(latin1(rest));
    out
}

/// An answer in the table's form.
fn shown(got: &[u8]) -> String {
    let mut text: String = got.iter().copied().map(char::from).collect();
    let date = "Date: Thu, 01 Jan 1970 00:00:00 GMT";
    text = text.replace(date, "Date: -");
    if text.chars().count() > 3000 {
        let bytes = latin1(&text);
        return format!("{}-{:08x}", bytes.len(), crc32(&bytes));
    }
    boundaries(&text)
}

/// Normalizes boundaries: twenty digits that count the boundaries before.
fn boundaries(text: &str) -> String {
    let mut out = String::new();
    for piece in text.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let digits = piece.chars().take_while(char::is_ascii_digit).count();
        out += if digits == 20 { "#" } else { &piece[..digits] };
        out += &piece[digits..];
    }
    out
}

#[tokio::test(start_paused = true)]
async fn every_answer_is_the_one_that_nginx_gives() {
    let (_root, site) = of_files();
    let cases: Vec<Value> = serde_json::from_str(NGINX).unwrap();
    assert!(cases.len() > 200);
    let mut wrong = Vec::new();
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        // The user who runs the tests may read files that the server may not.
        if name.starts_with("secret") {
            continue;
        }
        let (mut near, served, _shutdown) = connect(&site, 1 << 20);
        for (n, piece) in case["send"].as_array().unwrap().iter().enumerate() {
            if n > 0 {
                sleep(Duration::from_millis(50)).await;
            }
            let _ = near.write_all(&unfolded(piece.as_str().unwrap())).await;
        }
        let (got, closed) = read(&mut near, Duration::from_millis(800)).await;
        served.abort();
        let end = if closed { "closed" } else { "open" };
        let want = (
            boundaries(case["got"].as_str().unwrap()),
            case["end"].as_str().unwrap(),
        );
        let got = (shown(&got), end);
        if (&got.0, got.1) != (&want.0, want.1) {
            wrong.push(format!("{name}:\n  got  {got:?}\n  want {want:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

#[tokio::test(start_paused = true)]
async fn a_visitor_who_takes_nothing_is_left_and_holds_little() {
    let root = tempfile::tempdir().unwrap();
    let big = fs::File::create(root.path().join("big.bin")).unwrap();
    big.set_len(64 << 20).unwrap();
    let cover = Cover::new(root.path(), || SystemTime::UNIX_EPOCH).unwrap();
    let site = site(cover);
    let began = Instant::now();
    let unsent = || site.stats.unsent.load(std::sync::atomic::Ordering::Relaxed);
    let mut visitors = Vec::new();
    for n in 1..=8 {
        let (mut near, served, _shutdown) = connect(&site, 4 << 10);
        for _ in 0..100 {
            let ask = b"GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n";
            let _ = timeout(Duration::from_millis(1), near.write_all(ask)).await;
            assert!(
                unsent() <= n * (64 << 10),
                "{} of {n} connections",
                unsent()
            );
        }
        visitors.push((near, served));
    }
    // A whole file is 64 MiB.
    assert!(unsent() >= 8 * (16 << 10), "{} wait", unsent());
    for (_near, served) in visitors {
        served.await.unwrap();
    }
    let took = began.elapsed();
    assert!(
        took >= send::STALLED && took < send::STALLED + Duration::from_secs(2),
        "{took:?}"
    );
    assert_eq!(unsent(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_changes_under_an_answer_breaks_it_off() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("big.bin");
    fs::write(&path, vec![b'a'; 1 << 20]).unwrap();
    let cover = Cover::new(root.path(), || SystemTime::UNIX_EPOCH).unwrap();
    let site = site(cover);
    let (mut near, served, _shutdown) = connect(&site, 16 << 10);
    near.write_all(b"GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut some = vec![0; 64 << 10];
    near.read_exact(&mut some).await.unwrap();
    // The same name, but another file.
    fs::write(root.path().join("new"), vec![b'b'; 1 << 20]).unwrap();
    fs::rename(root.path().join("new"), &path).unwrap();
    let (rest, closed) = read(&mut near, Duration::from_secs(5)).await;
    assert!(
        closed && rest.len() < 1 << 19 && !rest.contains(&b'b'),
        "{}",
        rest.len()
    );
    served.await.unwrap();
}

/// How long a connection stays open after these bytes, and whether it was closed with a message.
async fn stays(site: &Arc<Site>, send: &[u8]) -> Duration {
    let (mut near, served, _shutdown) = connect(site, 1 << 20);
    let began = Instant::now();
    near.write_all(send).await.unwrap();
    served.await.unwrap();
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn times_are_those_of_nginx() {
    let (_root, site) = of_files();
    for (send, seconds) in [
        (&b""[..], 60),
        (b"GET / HTT", 60),
        (b"GET /a.txt HTTP/1.1\r\nHost: a\r\n", 60),
        (b"GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n", 75),
        (b"GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\nGET", 60),
        (
            b"POST /a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx",
            5,
        ),
        (
            b"GET /a.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            0,
        ),
        // Unread input causes lingering.
        (
            b"GET /a.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nx",
            5,
        ),
    ] {
        let stayed = stays(&site, send).await;
        let want = Duration::from_secs(seconds);
        assert!(
            stayed >= want && stayed < want + Duration::from_millis(500),
            "{send:?}: {stayed:?}"
        );
    }
    // A body that comes byte by byte is dropped for 30 s, and its answer does not wait for it.
    let (mut near, served, _shutdown) = connect(&site, 1 << 20);
    let began = Instant::now();
    near.write_all(b"POST /a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 12];
    near.read_exact(&mut first).await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(100) && &first == b"HTTP/1.1 405");
    while near.write_all(b"x").await.is_ok() {
        sleep(Duration::from_secs(2)).await;
    }
    served.await.unwrap();
    let stayed = began.elapsed();
    assert!(
        stayed >= LINGERS && stayed < LINGERS + Duration::from_secs(3),
        "{stayed:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_has_a_thousand_requests_and_ends_when_asked() {
    let (_root, site) = of_files();
    let (mut near, served, _shutdown) = connect(&site, 8 << 20);
    let ask = b"HEAD /a.txt HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1001);
    near.write_all(&ask).await.unwrap();
    let (got, closed) = read(&mut near, Duration::from_secs(1)).await;
    let text = String::from_utf8(got).unwrap();
    assert!(closed);
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 1000);
    assert_eq!(text.matches("Connection: close").count(), 1);
    served.await.unwrap();

    let (mut near, served, shutdown) = connect(&site, 1 << 20);
    near.write_all(b"HEAD /a.txt HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let (got, closed) = read(&mut near, Duration::from_secs(1)).await;
    assert!(!closed && got.starts_with(b"HTTP/1.1 200"));
    shutdown.cancel();
    served.await.unwrap();
}

#[test]
fn corpus() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/http1");
    let mut inputs = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        fuzz(&fs::read(entry.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs >= 10, "{inputs} inputs");
    // Also the table's own requests, split into small pieces in all ways.
    let cases: Vec<Value> = serde_json::from_str(NGINX).unwrap();
    for case in &cases {
        let pieces = case["send"].as_array().unwrap().iter();
        let all: Vec<u8> = pieces.flat_map(|p| unfolded(p.as_str().unwrap())).collect();
        for cut in [1, 2, 7, 255] {
            fuzz(&[&[cut], &all[..]].concat());
        }
    }
}
