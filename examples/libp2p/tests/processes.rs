//! Three processes with unchanged libp2p behaviours over betanet sessions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

struct Node {
    child: Child,
    orders: ChildStdin,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    fn start(cover: &str, dial: Option<&str>) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_nodes"))
            .args(["127.0.0.1:0", cover])
            .args(dial)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            orders: child.stdin.take().unwrap(),
            child,
            lines,
            seen: Vec::new(),
        }
    }

    fn order(&mut self, line: &str) {
        writeln!(self.orders, "{line}").unwrap();
    }

    /// The rest of the first line that starts so, those already seen among them.
    fn wait(&mut self, start: &str) -> String {
        loop {
            if let Some(rest) = self.seen.iter().find_map(|l| l.strip_prefix(start)) {
                return rest.trim().to_owned();
            }
            match self.lines.recv_timeout(Duration::from_secs(60)) {
                Ok(line) => self.seen.push(line),
                Err(_) => panic!("no line {start:?} among {:#?}", self.seen),
            }
        }
    }
}

fn id(address: &str) -> String {
    address.rsplit_once("/p2p/").unwrap().1.to_owned()
}

#[test]
fn identify_ping_kad_gossipsub_and_requests_run_unchanged() {
    let cover = tempfile::tempdir().unwrap();
    std::fs::write(cover.path().join("index.html"), "<h1>Hello</h1>").unwrap();
    let cover = cover.path().to_str().unwrap();
    let mut a = Node::start(cover, None);
    let at = a.wait("listening ");
    let mut b = Node::start(cover, Some(&at));
    let mut c = Node::start(cover, Some(&at));
    let (a_id, b_id) = (id(&at), id(&b.wait("listening ")));
    let c_id = id(&c.wait("listening "));
    for (node, peers) in [
        (&mut b, vec![&a_id]),
        (&mut c, vec![&a_id]),
        (&mut a, vec![&b_id, &c_id]),
    ] {
        for peer in peers {
            node.wait(&format!("identified {peer} /betanet-example/1"));
            node.wait(&format!("ping {peer} "));
            node.wait(&format!("subscribed {peer}"));
        }
    }
    // B knows of C only by asking A, and reaches it by what A says.
    b.order(&format!("find {c_id}"));
    b.wait(&format!("found {c_id}"));
    b.order(&format!("ask {c_id} hello"));
    assert_eq!(b.wait("answer "), "HELLO");
    c.order("publish it works");
    c.wait("published ");
    assert_eq!(b.wait("message "), "it works");
    drop(c);
    a.wait(&format!("closed {c_id}"));
}
