//! Streams of events that send the page that their client shows.

use std::time::Duration;

use betanet_coordinator::Quota;
use betanet_journal::MemoryStore;
use betanet_wire::text::hex;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::world::{World, over};

/// The client of a stream.
struct Client {
    tcp: TcpStream,
    /// What came, and what of it was looked at.
    text: String,
    at: usize,
    seen: String,
}

impl Client {
    async fn open(world: &World, cookie: &str) -> Self {
        let path = "/events?topics=tasks&page=%2Ftasks";
        let fields = [("cookie", cookie)];
        let tcp = world.send(("GET", path), &fields, "", 0).await;
        let mut client = Self {
            tcp,
            text: String::new(),
            at: 0,
            seen: String::new(),
        };
        let hello = client.until("within_s").await;
        let (_, rest) = hello.split_once("\"stream\":\"").unwrap();
        client.seen = format!("/events/seen?stream={}", &rest[..32]);
        client
    }

    /// What comes up to a text and the end of its event.
    async fn until(&mut self, what: &str) -> String {
        let mut piece = [0; 4096];
        loop {
            let new = &self.text[self.at..];
            if let Some(n) = new.find(what)
                && let Some(end) = new[n..].find("\n\n")
            {
                let until = n + end + 2;
                let came = new[..until].to_owned();
                self.at += until;
                return came;
            }
            let n = self.tcp.read(&mut piece).await.unwrap();
            assert_ne!(n, 0, "{}", self.text);
            self.text += &String::from_utf8_lossy(&piece[..n]);
        }
    }

    /// Says that it reads.
    async fn confirm(&self, world: &World, cookie: &str) {
        let said = world
            .ask("GET", &self.seen, &[("cookie", cookie)], "")
            .await;
        assert_eq!(said.status, 204, "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_waits_for_the_word_that_the_one_before_was_read() {
    let world = over(&MemoryStore::new(), Quota::default(), 100).await;
    let (cookie, _) = world.admin().await;
    let (root, _) = world.access("root").await;
    let module = "a module that nobody runs";
    let digest = hex(&betanet_keys::hash(&[module.as_bytes()]));
    let bearer = format!("Bearer {root}");
    let put = format!("/api/v1/modules/{digest}");
    let fields = [("authorization", &*bearer)];
    assert_eq!(world.ask("PUT", &put, &fields, module).await.status, 204);
    let submit = async || {
        let task = json!({"ns": "lab", "module": digest});
        let made = world.api("POST", "/api/v1/tasks", &root, &task).await;
        format!("task-card-{}", made.json()["id"].as_str().unwrap())
    };
    let mut slow = Client::open(&world, &cookie).await;
    let mut quick = Client::open(&world, &cookie).await;
    let first = submit().await;
    slow.until(&first).await;
    quick.until(&first).await;
    let began = Instant::now();
    let mut new = Vec::new();
    for _ in 0..2 {
        quick.confirm(&world, &cookie).await;
        let task = submit().await;
        quick.until(&task).await;
        new.push(task);
    }
    // Pages of a stream are a second apart.
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1), "{took:?}");
    // The other client has got none of them, and gets them in one page.
    slow.confirm(&world, &cookie).await;
    let page = slow.until(&new[1]).await;
    assert!(page.contains(&new[0]), "{page}");
    assert_eq!(page.matches("event: page").count(), 1, "{page}");
}
