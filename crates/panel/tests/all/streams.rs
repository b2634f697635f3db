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
        Self::of(world, cookie, "tasks").await
    }

    /// A stream of a page whose tasks change.
    async fn of(world: &World, cookie: &str, page: &str) -> Self {
        let path = &format!("/events?topics=tasks&page=%2F{page}");
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

    /// The number of the page that came last.
    fn number(&self) -> u64 {
        let (_, rest) = self.text[..self.at]
            .rsplit_once("data: {\"number\":")
            .unwrap();
        rest.split(',').next().unwrap().parse().unwrap()
    }

    /// Says that it reads, and which page came last.
    async fn confirm(&self, world: &World, cookie: &str) {
        let path = format!("{}&page={}", self.seen, self.number());
        let said = world.ask("GET", &path, &[("cookie", cookie)], "").await;
        assert_eq!(said.status, 204, "{said:?}");
    }
}

/// Tasks that are submitted one by one.
struct Tasks<'a> {
    world: &'a World,
    root: String,
    digest: String,
}

impl<'a> Tasks<'a> {
    async fn of(world: &'a World) -> Self {
        let (root, _) = world.access("root").await;
        let module = "a module that nobody runs";
        let digest = hex(&betanet_keys::hash(&[module.as_bytes()]));
        let bearer = format!("Bearer {root}");
        let put = format!("/api/v1/modules/{digest}");
        let fields = [("authorization", &*bearer)];
        assert_eq!(world.ask("PUT", &put, &fields, module).await.status, 204);
        Self {
            world,
            root,
            digest,
        }
    }

    /// Submits one; the test ID of its card.
    async fn submit(&self) -> String {
        let task = json!({"ns": "lab", "module": self.digest});
        let post = ("POST", "/api/v1/tasks");
        let made = self.world.api(post.0, post.1, &self.root, &task).await;
        format!("task-card-{}", made.json()["id"].as_str().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_waits_for_the_word_that_the_one_before_was_read() {
    let world = over(&MemoryStore::new(), Quota::default(), 100).await;
    let (cookie, _) = world.admin().await;
    let tasks = Tasks::of(&world).await;
    let mut slow = Client::open(&world, &cookie).await;
    let mut quick = Client::open(&world, &cookie).await;
    let first = tasks.submit().await;
    slow.until(&first).await;
    quick.until(&first).await;
    let began = Instant::now();
    let mut new = Vec::new();
    for _ in 0..4 {
        quick.confirm(&world, &cookie).await;
        let task = tasks.submit().await;
        quick.until(&task).await;
        new.push(task);
    }
    // Pages of a stream are some time apart: the first may have come long before.
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(3 * 80), "{took:?}");
    // The other client has got none of them, and gets them in one page.
    slow.confirm(&world, &cookie).await;
    let page = slow.until(&new[3]).await;
    assert!(new.iter().all(|task| page.contains(task)), "{page}");
    assert_eq!(page.matches("event: page").count(), 1, "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_was_sent_is_confirmed_without_a_charge_and_only_once() {
    let world = over(&MemoryStore::new(), Quota::default(), 1).await;
    let (cookie, _) = world.admin().await;
    let tasks = Tasks::of(&world).await;
    let mut client = Client::open(&world, &cookie).await;
    let fields = [("cookie", &*cookie)];
    // Takes all reads that the account has left; one comes back every 100 ms.
    let drain = async |path: &str| {
        for _ in 0..1000 {
            if world.ask("GET", path, &fields, "").await.status == 429 {
                return;
            }
        }
        panic!("{path} costs no read");
    };
    for _ in 0..5 {
        let task = tasks.submit().await;
        client.until(&task).await;
        drain("/settings").await;
        // Nobody but its account takes the place of the stream's word.
        let word = format!("{}&page={}", client.seen, client.number());
        let stranger = world.ask("GET", &word, &[], "").await;
        assert_eq!(stranger.status, 303, "{stranger:?}");
        client.confirm(&world, &cookie).await;
        // The same word again is charged, and so is one about a stream that nobody has.
        let again = format!("{}&page={}", client.seen, client.number());
        drain(&again).await;
        drain(&format!("/events/seen?stream={}", "0".repeat(32))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_about_an_older_page_lets_no_page_out() {
    let world = over(&MemoryStore::new(), Quota::default(), 100).await;
    let (cookie, _) = world.admin().await;
    let tasks = Tasks::of(&world).await;
    let mut client = Client::open(&world, &cookie).await;
    let mut other = Client::open(&world, &cookie).await;
    let first = tasks.submit().await;
    client.until(&first).await;
    other.until(&first).await;
    // What an answer to a beat from before the page says.
    let fields = [("cookie", &*cookie)];
    assert_eq!(client.number(), 1);
    let path = format!("{}&page=0", client.seen);
    assert_eq!(world.ask("GET", &path, &fields, "").await.status, 204);
    other.confirm(&world, &cookie).await;
    let second = tasks.submit().await;
    other.until(&second).await;
    client.confirm(&world, &cookie).await;
    let page = client.until(&second).await;
    assert_eq!(page.matches("event: page").count(), 1, "{page}");
    assert_eq!(client.number(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_for_several_readers_has_no_secret_of_any() {
    let world = over(&MemoryStore::new(), Quota::default(), 100).await;
    let (cookie, token) = world.admin().await;
    let (other, other_token) = {
        let cookie = world.log_in("root", "").await;
        let token = world.form_token(&cookie).await;
        (cookie, token)
    };
    assert_ne!(token, other_token);
    let tasks = Tasks::of(&world).await;
    let mut clients = Vec::new();
    for cookie in [&cookie, &other] {
        clients.push(Client::of(&world, cookie, "jobs").await);
    }
    tasks.submit().await;
    for client in &mut clients {
        let page = client.until("event: page").await;
        assert!(page.contains("form_token"), "{page}");
        assert!(!page.contains(&token) && !page.contains(&other_token));
    }
}
