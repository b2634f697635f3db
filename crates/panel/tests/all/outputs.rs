//! Outputs of tasks, and who may take them.

use betanet_auth::Role;
use betanet_coordinator::{Item, Quota, Reply, Request};
use betanet_fog::{Outcome, Output, OutputFile, Receipt, Signed, TaskId};
use betanet_keys::{Identity, hash};
use betanet_sim::fog::{caller, identity, receipt, task_of};
use betanet_wire::text::hex;
use serde_json::{Value, json};

use crate::fleet::{beats, journal, now_ms};
use crate::world::{PASSWORD, World, over};

/// Lets a node run a task of a user, and report this output.
async fn run(world: &World, node: &Identity, out: &Output) -> TaskId {
    let user = identity(20);
    let mut task = task_of(&user, 1);
    task.deadline = now_ms() + 3_600_000;
    let task = Box::new(Signed::sign(task, &user).unwrap());
    let (id, missing) = (task.id(), None);
    let submit = Request::Submit { task, missing };
    let answer = world.handle().ask(caller(&user, false), submit).await;
    assert_eq!(answer, Ok(Reply::Created));
    let ask = async |request| world.handle().ask(caller(node, false), request).await;
    let me = node.public().node_id();
    let work = loop {
        let (node, after) = (me, 0);
        let Ok(Reply::Work(items)) = ask(Request::Work { node, after }).await else {
            panic!("no stream");
        };
        let mut runs = items.into_iter().filter_map(|item| match item {
            Item::Run { work, .. } => Some(work),
            Item::Drop { .. } => None,
        });
        if let Some(work) = runs.next() {
            break work;
        }
        tokio::task::yield_now().await;
    };
    let started = ask(Request::Start(id, work.fence)).await;
    assert_eq!(started, Ok(Reply::Done));
    let receipt = Receipt {
        out: Some(out.digest()),
        ..receipt(node, &work, Outcome::Ok)
    };
    let receipt = Box::new(Signed::sign(receipt, node).unwrap());
    let done = ask(Request::Done(id, receipt)).await;
    assert_eq!(done, Ok(Reply::Done));
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_is_taken_file_by_file_by_those_who_may_read_the_task() {
    let node = identity(1_000_000);
    let store = journal(std::slice::from_ref(&node)).await;
    let world = over(&store, Quota::default(), 10).await;
    let (cookie, _) = world.admin().await;
    let (root, _) = world.access("root").await;
    beats(&world, std::slice::from_ref(&node), 1).await;
    let put = async |bytes: &[u8]| {
        let path = format!("/api/v1/modules/{}", hex(&hash(&[bytes])));
        let bearer = format!("Bearer {root}");
        let text = std::str::from_utf8(bytes).unwrap();
        let fields = [("authorization", &*bearer)];
        assert_eq!(world.ask("PUT", &path, &fields, text).await.status, 204);
    };
    let (content, other) = ("<b>forty-two</b>\n", "a module that nobody runs");
    put(content.as_bytes()).await;
    put(other.as_bytes()).await;
    let file = |path: &str| OutputFile {
        path: path.parse().unwrap(),
        digest: hash(&[content.as_bytes()]),
        size: content.len() as u64,
    };
    let files = vec![file("out/a \"b\".html")];
    let out = Output {
        exit: 3,
        files: files.try_into().unwrap(),
    };
    let id = hex(&run(&world, &node, &out).await.0);

    // It is named before it is stored, and then its files are.
    let page = format!("/tasks/{id}");
    let api = format!("/api/v1/tasks/{id}/output");
    let show = async || {
        let page = world.ask("GET", &page, &[("cookie", &cookie)], "").await;
        (page.status, page.body)
    };
    let (status, body) = show().await;
    assert!(
        status == 200 && body.contains("has not stored it"),
        "{body}"
    );
    let none = world.api("GET", &api, &root, &Value::Null).await;
    assert_eq!(none.status, 404);
    let local = world.local();
    local.store(betanet_fog::to_vec(&out).into()).await.unwrap();
    let (_, body) = show().await;
    let digest = hex(&hash(&[content.as_bytes()]));
    let link = format!("{page}/output/{digest}");
    assert!(
        body.contains(&link) && body.contains("Exit code 3"),
        "{body}"
    );
    let listed = world.api("GET", &api, &root, &Value::Null).await.json();
    assert_eq!(listed["exit"], 3);
    assert_eq!(listed["files"][0]["digest"], json!(digest));

    let taken = world.ask("GET", &link, &[("cookie", &cookie)], "").await;
    assert_eq!((taken.status, &*taken.body), (200, content));
    for (name, value) in [
        ("content-type", "application/octet-stream"),
        ("content-disposition", "attachment; filename=\"a__b_.html\""),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("content-length", &content.len().to_string()),
    ] {
        assert_eq!(taken.field(name), [value], "{name}");
    }
    let path = format!("{api}/{digest}");
    let taken = world.api("GET", &path, &root, &Value::Null).await;
    assert_eq!((taken.status, &*taken.body), (200, content));
    // Other blobs are no part of it.
    for other in [
        hex(&hash(&[other.as_bytes()])),
        hex(&out.digest()),
        "x".into(),
    ] {
        let path = format!("{api}/{other}");
        let none = world.api("GET", &path, &root, &Value::Null).await;
        assert_eq!(none.status, 404, "{other}");
    }
    // It needs the right to read work, in the namespace of the task.
    let roles = Role::ALL.iter().map(|r| (r.to_string(), r.permissions()));
    let may = |p: betanet_auth::Permissions| p.has(betanet_auth::Permission::ReadWork);
    let cases = roles.map(|(role, p)| (role, if may(p) { 200 } else { 403 }));
    for (grants, status) in cases.chain([("viewer@other".to_owned(), 403)]) {
        let name = grants.replace('@', "-");
        let new = json!({"name": name, "password": PASSWORD, "grants": grants});
        let made = world.api("POST", "/api/v1/accounts", &root, &new).await;
        assert_eq!(made.status, 201, "{made:?}");
        let (bearer, _) = world.access(&name).await;
        for path in [&api, &format!("{api}/{digest}")] {
            let answer = world.api("GET", path, &bearer, &Value::Null).await;
            let hidden = status == 403 && answer.status == 404;
            assert!(answer.status == status || hidden, "{grants} {answer:?}");
        }
    }
}
