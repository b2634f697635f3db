//! Queries a running node's admin address; `betanet status`.

use std::io::Write as _;
use std::time::Duration;

use betanet_keys::Address;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::Fail;
use crate::args::StatusArgs;
use crate::fail::interruptible;

/// Maximum length of an admin address's answer.
const ANSWER_MAX: u64 = 64 << 20;

/// Time limit of an admin address's answer, longer than its own wait for tasks and disks.
const PATIENCE: Duration = Duration::from_secs(15);

/// Returns a running node's answer for `path`.
pub(crate) async fn ask(admin: &str, path: &str) -> Result<Value, Fail> {
    ask_within(PATIENCE, admin, path).await
}

/// Returns the bytes that a running node has for `path`.
pub(crate) async fn bytes(admin: &str, path: &str) -> Result<Vec<u8>, Fail> {
    within(PATIENCE, admin, body(admin, path)).await
}

async fn ask_within(patience: Duration, admin: &str, path: &str) -> Result<Value, Fail> {
    within(patience, admin, answer(admin, path)).await
}

async fn within<T>(
    patience: Duration,
    admin: &str,
    answer: impl Future<Output = Result<T, Fail>>,
) -> Result<T, Fail> {
    if let Err(why) = Address::dialled(admin) {
        return Err(Fail::Usage(format!("--admin {admin}: {why}")));
    }
    let answered = tokio::time::timeout(patience, answer).await;
    answered.unwrap_or_else(|_| {
        let why = format!("{admin}: no answer within {patience:?}");
        Err(Fail::Peer(why))
    })
}

async fn answer(admin: &str, path: &str) -> Result<Value, Fail> {
    let body = body(admin, path).await?;
    serde_json::from_slice(&body).map_err(|e| Fail::Peer(format!("{admin}: {e}")))
}

/// Why a node may not have a path.
fn absent(path: &str) -> String {
    let why = match path.split('/').nth(1) {
        Some("accounts") => {
            "a node keeps accounts with its peers only if it started with --accounts"
        }
        _ => "the part that answers there does not run, or this is another kind of node",
    };
    format!("the node has no {path}: {why}")
}

async fn body(admin: &str, path: &str) -> Result<Vec<u8>, Fail> {
    let fail = |e: &dyn std::fmt::Display| Fail::Peer(format!("{admin}: {e}"));
    let mut tcp = tokio::net::TcpStream::connect(admin)
        .await
        .map_err(|e| Fail::Peer(format!("{admin}: {e}: no node has this --admin address")))?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes())
        .await
        .map_err(|e| fail(&e))?;
    let mut answer = Vec::new();
    tcp.take(ANSWER_MAX)
        .read_to_end(&mut answer)
        .await
        .map_err(|e| fail(&e))?;
    const END: &[u8] = b"\r\n\r\n";
    let end = answer.windows(END.len()).position(|w| w == END);
    let end = end.ok_or_else(|| fail(&"no HTTP answer"))?;
    let body = answer.split_off(end + END.len());
    let head = String::from_utf8_lossy(&answer);
    if head.starts_with("HTTP/1.1 404") {
        return Err(fail(&absent(path)));
    }
    if !head.starts_with("HTTP/1.1 200") {
        let status = head.lines().next().unwrap_or_default();
        let said = format!("{status}: {}", String::from_utf8_lossy(&body).trim());
        // The program that answers there may not be a node.
        let said: String = said.chars().filter(|c| !c.is_control()).take(200).collect();
        return Err(fail(&said));
    }
    Ok(body)
}

/// Sends a POST without a body to a running node, and writes the body of its answer to a file.
pub(crate) async fn post_to_file(
    admin: &str,
    path: &str,
    file: &mut std::fs::File,
) -> Result<(), Fail> {
    if let Err(why) = Address::dialled(admin) {
        return Err(Fail::Usage(format!("--admin {admin}: {why}")));
    }
    let fail = |e: &dyn std::fmt::Display| Fail::Peer(format!("{admin}: {e}"));
    let tcp = tokio::net::TcpStream::connect(admin)
        .await
        .map_err(|e| Fail::Peer(format!("{admin}: {e}: no node has this --admin address")))?;
    let io = hyper_util::rt::TokioIo::new(tcp);
    let connecting = hyper::client::conn::http1::handshake(io).await;
    let (mut sender, connection) = connecting.map_err(|e| fail(&e))?;
    let driving = tokio::spawn(connection);
    let request = hyper::Request::post(path)
        .header("host", admin)
        .body(http_body_util::Empty::<bytes::Bytes>::new())
        .map_err(|e| fail(&e))?;
    let mut answer = sender.send_request(request).await.map_err(|e| fail(&e))?;
    let status = answer.status();
    let mut said = Vec::new();
    while let Some(frame) = answer.frame().await {
        let frame = frame.map_err(|e| fail(&e))?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if status.is_success() {
            file.write_all(data)
                .map_err(|e| Fail::Local(e.to_string()))?;
        } else if said.len() < 1_000 {
            said.extend_from_slice(data);
        }
    }
    driving.abort();
    if status.is_success() {
        return Ok(());
    }
    let said: String = String::from_utf8_lossy(&said)
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    Err(fail(&format!("{status}: {said}")))
}

pub(crate) async fn status(args: StatusArgs) -> Result<(), Fail> {
    interruptible(async {
        let status = ask(&args.admin, "/status").await?;
        if args.json {
            say!("{status}");
        } else {
            print(&status);
        }
        if status["healthy"] == true {
            Ok(())
        } else {
            Err(Fail::Peer(format!(
                "{}: the node is not healthy",
                args.admin
            )))
        }
    })
    .await
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "unknown".to_owned(),
        other => other.to_string(),
    }
}

fn print(status: &Value) {
    let addresses: Vec<String> = list(&status["addresses"]).iter().map(text).collect();
    say!("name        {}", text(&status["name"]));
    say!("addresses   {}", addresses.join(" "));
    say!(
        "build       {} ({})",
        text(&status["build"]["version"]),
        text(&status["build"]["profile"])
    );
    say!("up          {}", duration(&status["uptime_s"]));
    let faults = list(&status["faults"]);
    say!(
        "health      {}",
        if faults.is_empty() {
            "ok"
        } else {
            "not healthy"
        }
    );
    for fault in faults {
        say!(
            "            {}: {}",
            text(&fault["what"]),
            text(&fault["why"])
        );
    }
    let fd = &status["descriptors"];
    say!(
        "descriptors {} of {}",
        text(&fd["open"]),
        text(&fd["limit"])
    );
    say!("panics      {}", text(&status["panics"]));
    let sessions = &status["sessions"];
    say!(
        "sessions    {}: {} direct, {} over relays",
        text(&sessions["standing"]),
        text(&sessions["direct"]),
        text(&sessions["over_relays"])
    );
    for one in list(&sessions["oldest"]) {
        say!(
            "            {:<6} for {}, {} bytes in, {} out",
            text(&one["way"]),
            duration(&one["age_s"]),
            text(&one["bytes_in"]),
            text(&one["bytes_out"])
        );
    }
    say!("refused");
    for one in list(&status["refused"]) {
        let limit = match (&one["limit"], &one["allowed"]) {
            (Value::Null, _) => String::new(),
            (limit, Value::Null) => format!(" ({})", text(limit)),
            (limit, allowed) => format!(" ({} = {})", text(limit), text(allowed)),
        };
        say!("{:>11} {}{limit}", text(&one["count"]), text(&one["what"]));
    }
}

/// Formats seconds for people.
fn duration(seconds: &Value) -> String {
    let s = seconds.as_u64().unwrap_or(0);
    match (s / 86_400, s / 3600 % 24, s / 60 % 60, s % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, h, _, _) => format!("{d} d {h} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_that_is_stopped_is_not_waited_for() {
        // The kernel accepts the connection, and nobody answers.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = listener.local_addr().unwrap().to_string();
        let asked = ask_within(Duration::from_millis(50), &admin, "/status").await;
        let why = format!("{:?}", asked.unwrap_err());
        assert!(why.contains("no answer within 50ms"), "{why}");
    }

    #[tokio::test]
    async fn an_address_that_does_not_read_is_a_usage_error() {
        for bad in ["", "node", "node:port", "127.0.0.1:0", "http://127.0.0.1:1"] {
            let asked = ask(bad, "/status").await;
            assert!(matches!(asked, Err(Fail::Usage(_))), "{bad}: {asked:?}");
        }
    }

    #[test]
    fn times_are_told_in_their_two_largest_units() {
        for (s, said) in [
            (0, "0 s"),
            (61, "1 min 1 s"),
            (3_660, "1 h 1 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(&s.into()), said);
        }
    }
}
