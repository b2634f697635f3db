//! Rights that end, and what is recorded of those who leave.

use std::time::Duration;

use betanet_auth::audit::{Record, Verdict};
use betanet_wire::text::hex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{PASSWORD, World, answer, world};

const MODULE: &str = "a module that nobody runs";

/// Stores a module, and describes a task with it.
async fn task(world: &World, bearer: &str) -> Value {
    let digest = hex(&betanet_keys::hash(&[MODULE.as_bytes()]));
    let bearer = format!("Bearer {bearer}");
    let path = format!("/api/v1/modules/{digest}");
    let fields = [("authorization", &*bearer)];
    assert_eq!(world.ask("PUT", &path, &fields, MODULE).await.status, 204);
    json!({"ns": "lab", "module": digest})
}

async fn account(world: &World, root: &str, name: &str, grants: &str) -> String {
    let new = json!({"name": name, "password": PASSWORD, "grants": grants});
    let made = world.api("POST", "/api/v1/accounts", root, &new).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.json()["id"].as_str().unwrap().to_owned()
}

async fn disable(world: &World, root: &str, id: &str) {
    let path = format!("/api/v1/accounts/{id}");
    let disabled = json!({"disabled": true});
    let answer = world.api("PATCH", &path, root, &disabled).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Reads until a text has come.
async fn until(tcp: &mut TcpStream, what: &str) -> String {
    let mut text = String::new();
    let mut piece = [0; 4096];
    while !text.contains(what) {
        let n = tcp.read(&mut piece).await.unwrap();
        assert_ne!(n, 0, "{text}");
        text += &String::from_utf8_lossy(&piece[..n]);
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_has_its_records_though_its_client_left() {
    let world = world().await;
    world.admin().await;
    let (root, _) = world.access("root").await;
    let body = task(&world, &root).await.to_string();
    let bearer = format!("Bearer {root}");
    let kind = ("content-type", "application/json");
    let fields = [("authorization", &*bearer), kind];
    let post = ("POST", "/api/v1/tasks");
    for _ in 0..10 {
        drop(world.send(post, &fields, &body, body.len()).await);
    }
    let last = std::cell::RefCell::new(String::new());
    let ended = async {
        loop {
            let list = world.api("GET", "/api/v1/tasks", &root, &Value::Null).await;
            let tasks = list.json()["items"].as_array().unwrap().len();
            let all = world.records(&root).await;
            let of = |verdict| {
                let own = |r: &&Record| r.action == "submitTask" && r.verdict == verdict;
                let mut requests: Vec<_> = all.iter().filter(own).map(|r| r.request).collect();
                requests.sort_unstable();
                requests
            };
            let (begun, done) = (of(Verdict::Begun), of(Verdict::Done));
            if tasks > 0 && begun == done && done.len() == tasks {
                return;
            }
            let all = all.iter().map(|r| format!("{} {:?}", r.action, r.verdict));
            let all = all.collect::<Vec<_>>().join(", ");
            *last.borrow_mut() = format!("{tasks} tasks; {all}");
            // An account has 600 reads a minute.
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
    assert!(ended.is_ok(), "an action has no verdict: {}", last.borrow());
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_end_while_a_body_is_read_do_nothing() {
    let world = world().await;
    world.admin().await;
    let (root, _) = world.access("root").await;
    let body = task(&world, &root).await.to_string();
    let id = account(&world, &root, "eve", "submitter").await;
    let (eve, _) = world.access("eve").await;
    let bearer = format!("Bearer {eve}");
    let fields = [
        ("authorization", &*bearer),
        ("content-type", "application/json"),
        ("expect", "100-continue"),
    ];
    let post = ("POST", "/api/v1/tasks");
    let mut tcp = world.send(post, &fields, "", body.len()).await;
    // The body is asked for once the request was admitted.
    until(&mut tcp, "100 Continue\r\n\r\n").await;
    disable(&world, &root, &id).await;
    tcp.write_all(body.as_bytes()).await.unwrap();
    assert_eq!(answer(tcp).await.status, 401);
    let list = world.api("GET", "/api/v1/tasks", &root, &Value::Null).await;
    assert_eq!(list.json()["items"], json!([]));
    let records = world.records(&root).await;
    let mut own = records.iter().filter(|r| r.action == "submitTask");
    assert!(own.all(|r| r.verdict == Verdict::Denied && r.actor.starts_with("eve ")));
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_of_the_whole_are_for_roles_that_hold_everywhere() {
    let world = world().await;
    world.admin().await;
    let (root, _) = world.access("root").await;
    let new = task(&world, &root).await;
    let made = world.api("POST", "/api/v1/tasks", &root, &new).await;
    assert_eq!(made.status, 201, "{made:?}");
    account(&world, &root, "eve", "viewer@other").await;
    let (eve, _) = world.access("eve").await;
    let overview = async |bearer: &str| {
        let path = "/api/v1/overview";
        world.api("GET", path, bearer, &Value::Null).await.json()
    };
    let (own, whole) = (overview(&eve).await, overview(&root).await);
    assert_eq!((&own["tasks"], &whole["tasks"]), (&json!(0), &json!(1)));
    let told = |all: &Value| all["services"].to_string().contains("leads in epoch");
    assert!(!told(&own) && told(&whole));
    assert!(own.get("refused_without_credentials").is_none());
    let cookie = world.log_in("eve", "").await;
    let fields = [("cookie", &*cookie)];
    let page = world.ask("GET", "/control-panel", &fields, "").await;
    assert_eq!(page.status, 200);
    assert!(!page.body.contains("all-metrics") && !page.body.contains("leads in epoch"));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_with_the_rights_and_tell_what_may_be_read() {
    let world = world().await;
    world.admin().await;
    let (root, _) = world.access("root").await;
    let new = task(&world, &root).await;
    let viewer = account(&world, &root, "eve", "viewer").await;
    account(&world, &root, "tom", "treasurer").await;
    let open = async |name: &str| {
        let cookie = world.log_in(name, "").await;
        let get = ("GET", "/events?topics=tasks,overview");
        let mut tcp = world.send(get, &[("cookie", &*cookie)], "", 0).await;
        let hello = until(&mut tcp, "retry: 2000").await;
        assert!(hello.contains("x-accel-buffering: no"), "{hello}");
        tcp
    };
    let (mut eve, mut tom) = (open("eve").await, open("tom").await);
    let submit = async || {
        let made = world.api("POST", "/api/v1/tasks", &root, &new).await;
        assert_eq!(made.status, 201, "{made:?}");
    };
    submit().await;
    let told = until(&mut tom, "event: overview").await;
    assert!(!told.contains("event: tasks"), "{told}");
    until(&mut eve, "event: tasks").await;
    disable(&world, &root, &viewer).await;
    submit().await;
    let mut rest = String::new();
    eve.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
}
