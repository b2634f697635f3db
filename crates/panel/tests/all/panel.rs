//! What a panel does for those who may use it.

use betanet_auth::audit::{self, Fault, Record, SignedHead, Verdict};
use betanet_auth::routes::{Access, Method, ROUTES};
use betanet_auth::{Grant, Role};
use betanet_wire::text::{hex, unbase64url};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{PASSWORD, world};

#[tokio::test(flavor = "multi_thread")]
async fn the_code_makes_one_administrator_and_accounts_outlast_a_restart() {
    let mut world = world().await;
    let login = world.ask("GET", "/login", &[], "").await;
    assert!(login.body.contains("first-admin-form"));
    let wrong = "code=bnfa_x&name=root&password=xK9!rQ2%23vB7z";
    assert_eq!(world.form("/login/first", "", wrong).await.status, 401);
    let (cookie, form) = world.admin().await;
    let again = format!("code={}&name=eve&password=xK9!rQ2%23vB7z", world.code);
    let again = world.form("/login/first", "", &again).await;
    assert_eq!(again.status, 409, "the door is closed: {again:?}");

    world.panel.take().unwrap().stop().await;
    world.start().await;
    assert!(world.code.is_empty());
    let page = world
        .ask("GET", "/control-panel", &[("cookie", &cookie)], "")
        .await;
    assert_eq!(page.status, 200);
    for id in [
        "scheduler",
        "edge",
        "harvest",
        "onion",
        "vpn_coordinator",
        "betanet",
        "fog_coordinator",
        "p2p",
        "dao",
    ] {
        assert!(
            page.body.contains(&format!("service-status-{id}\"")),
            "{id}"
        );
    }
    assert!(page.body.contains("leads in epoch"));
    let out = world
        .form("/logout", &cookie, &format!("form_token={form}"))
        .await;
    assert_eq!((out.status, out.field("location")), (303, vec!["/login"]));
    let page = world
        .ask("GET", "/tasks?page=2", &[("cookie", &cookie)], "")
        .await;
    assert_eq!(page.status, 303);
    assert_eq!(page.field("location"), ["/login?next=%2Ftasks%3Fpage%3D2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_change_nothing() {
    let world = world().await;
    let (cookie, form) = world.admin().await;
    let body = format!("form_token={form}&kind=compute&org=acme");
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let (own, cookie) = (world.origin(), ("cookie", &*cookie));
    let ask = |fields: Vec<(&'static str, String)>, body: String| {
        let world = &world;
        async move {
            let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
            let all = [&fields[..], &[kind, cookie]].concat();
            world.ask("POST", "/nodes/token", &all, &body).await.status
        }
    };
    let origin = |o: &str| vec![("origin", o.to_owned())];
    assert_eq!(ask(origin(&own), body.clone()).await, 200);
    assert_eq!(ask(Vec::new(), body.clone()).await, 403);
    for other in [
        "null",
        "http://evil.example",
        &own.replace("http:", "https:"),
    ] {
        assert_eq!(ask(origin(other), body.clone()).await, 403, "{other}");
    }
    for token in ["", "form_token=x&"] {
        let body = format!("{token}kind=compute&org=acme");
        assert_eq!(ask(origin(&own), body).await, 403, "{token}");
    }
    // A name that leads here, as in DNS rebinding.
    let evil = [("host", "evil.example"), cookie];
    let page = world.ask("GET", "/control-panel", &evil, "").await;
    assert_eq!(page.status, 421);
    let page = world.ask("GET", "/control-panel", &[cookie], "").await;
    assert_eq!(page.field("cache-control"), ["no-store"]);
    assert_eq!(page.field("x-frame-options"), ["DENY"]);
    let csp = page.field("content-security-policy")[0];
    assert!(csp.starts_with("default-src 'none'") && !csp.contains("unsafe"));
    assert!(page.body.len() < 30_000, "{}", page.body.len());
    // Text of a client is shown as text.
    let query = "/tasks?ns=%22%3E%3Cscript%3Ealert(1)%3C/script%3E";
    let page = world.ask("GET", query, &[cookie], "").await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("&lt;script&gt;") && !page.body.contains("<script>alert"));
    let unknown = world.ask("GET", "/tasks?nothing=1", &[cookie], "").await;
    assert_eq!(unknown.status, 400);
    let none = world.ask("GET", "/api/v1/nothing", &[cookie], "").await;
    assert_eq!(
        (none.status, none.json()["status"].as_u64()),
        (404, Some(404))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn join_tokens_are_made_by_the_hundred_and_each_is_in_the_log() {
    let world = world().await;
    world.admin().await;
    let (root, _) = world.access("root").await;
    let order = async |body: Value| {
        let path = "/api/v1/node-tokens";
        world.api("POST", path, &root, &body).await
    };
    let made = order(json!({"kind": "mixnode", "org": "acme", "count": 128})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    let items = made["items"].as_array().unwrap();
    let ids: std::collections::BTreeSet<&str> =
        items.iter().map(|i| i["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 128);
    for bad in [
        json!({"count": 129}),
        json!({"count": 0}),
        json!({"kind": " mixnode"}),
    ] {
        assert_eq!(order(bad).await.status, 400);
    }
    let one = order(Value::Null).await;
    assert_eq!(one.status, 201, "{one:?}");
    assert!(one.json()["token"].as_str().unwrap().starts_with("bnj1"));
    let records = world.records(&root).await;
    let begun = |id: &&str| {
        let target = format!("node-token {id}");
        records
            .iter()
            .any(|r| r.target == target && r.verdict == Verdict::Begun)
    };
    assert!(ids.iter().all(begun));
}

/// Every route of the table × six roles and nobody, over a socket.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_asks_every_role_and_nobody() {
    let world = world().await;
    world.admin().await;
    let (root, _) = world.access("root").await;
    let mut asked = 0;
    for role in Role::ALL {
        let name = format!("a-{role}");
        let new = json!({"name": name, "password": PASSWORD, "grants": role.as_str()});
        let made = world.api("POST", "/api/v1/accounts", &root, &new).await;
        assert_eq!(made.status, 201, "{made:?}");
        let (bearer, _) = world.access(&name).await;
        let bearer = format!("Bearer {bearer}");
        let cookie = world.log_in(&name, "").await;
        let form = format!("form_token={}", world.form_token(&cookie).await);
        let mut routes: Vec<_> = ROUTES.iter().collect();
        // They end the session and the token that ask.
        routes.sort_by_key(|r| matches!(r.id, "logOut" | "endSessions"));
        for route in routes {
            let (Access::Needs(p) | Access::Lists(p)) = route.access else {
                continue;
            };
            let segment = |s: &'static str| if s.starts_with('{') { "x1" } else { s };
            let path: Vec<&str> = route.path.split('/').map(segment).collect();
            let path = path.join("/");
            let (kind, body) = match route.is_api() {
                true => ("application/json", ""),
                false => ("application/x-www-form-urlencoded", form.as_str()),
            };
            let by = match route.needs_session() {
                true => ("cookie", cookie.as_str()),
                false => ("authorization", bearer.as_str()),
            };
            let fields = [by, ("content-type", kind), ("origin", &*world.origin())];
            let n = if route.writes() && !route.is_api() {
                3
            } else {
                2
            };
            let (verb, fields) = (route.method.as_str(), &fields[..n]);
            let answer = world.ask(verb, &path, fields, body).await;
            let may = Grant::everywhere(*role).role.permissions().has(p);
            assert_eq!(answer.status != 403, may, "{} {role}: {answer:?}", route.id);
            assert_ne!(answer.status, 401, "{} {role}", route.id);
            assert!(answer.status < 500, "{} {role}: {answer:?}", route.id);
            asked += 1;
        }
    }
    for route in ROUTES.iter().filter(|r| r.access != Access::Open) {
        let path = route.path.replace("{id}", "x1").replace("{digest}", "x1");
        let answer = world.ask(route.method.as_str(), &path, &[], "").await;
        let expected = match (route.is_api(), route.method) {
            (true, _) => 401,
            (false, Method::Get) => 303,
            // No page of this site sent it.
            (false, _) => 403,
        };
        assert_eq!(answer.status, expected, "{}: {answer:?}", route.id);
        if route.is_api() {
            assert_eq!(answer.field("content-type"), ["application/problem+json"]);
        }
        asked += 1;
    }
    assert!(asked > 300, "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_submits_sees_and_cancels_a_task() {
    let world = world().await;
    world.admin().await;
    let (root, refresh) = world.access("root").await;
    let module = "a module that nobody runs";
    let digest = hex(&betanet_keys::hash(&[module.as_bytes()]));
    let bearer = format!("Bearer {root}");
    let fields = [("authorization", &*bearer)];
    let put = format!("/api/v1/modules/{digest}");
    assert_eq!(world.ask("PUT", &put, &fields, module).await.status, 204);
    assert_eq!(world.ask("PUT", &put, &fields, "another").await.status, 400);
    let task = json!({"ns": "lab", "module": digest, "args": ["x"], "cpu": 10});
    let plan = world.api("POST", "/api/v1/tasks/plan", &root, &task).await;
    assert_eq!(plan.status, 200, "{plan:?}");
    let made = world.api("POST", "/api/v1/tasks", &root, &task).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let list = world
        .api("GET", "/api/v1/tasks", &root, &Value::Null)
        .await
        .json();
    assert_eq!(list["items"][0]["id"], json!(id));
    let path = format!("/api/v1/tasks/{id}");
    let one = world.api("GET", &path, &root, &Value::Null).await.json();
    assert_eq!(one["state"], "queued");
    let cancel = world
        .api("POST", &format!("{path}/cancel"), &root, &Value::Null)
        .await;
    assert_eq!(cancel.status, 204, "{cancel:?}");
    let one = world.api("GET", &path, &root, &Value::Null).await.json();
    assert_eq!(one["state"], "cancelled");
    let other = json!({"ns": "other", "module": digest});
    assert_eq!(
        world
            .api("POST", "/api/v1/tasks", &root, &other)
            .await
            .status,
        403
    );
    let unknown = json!({"ns": "lab", "module": digest, "colour": 1});
    let unknown = world.api("POST", "/api/v1/tasks", &root, &unknown).await;
    assert_eq!(
        (unknown.status, unknown.json()["code"].clone()),
        (400, json!("unknown_field"))
    );
    // Twenty refreshes at once get one successor; a later reuse ends the family.
    let body = json!({"refresh_token": refresh}).to_string();
    let kind = [("content-type", "application/json")];
    let turn = || world.ask("POST", "/api/v1/refresh", &kind, &body);
    let all = futures_util::future::join_all((0..20).map(|_| turn())).await;
    let mut successors: Vec<String> = all
        .iter()
        .map(|a| a.json()["refresh_token"].as_str().unwrap().to_owned())
        .collect();
    successors.dedup();
    assert_eq!(successors.len(), 1);
    let keys = world
        .ask("GET", "/.well-known/jwks.json", &[], "")
        .await
        .json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_bounded() {
    let world = world().await;
    world.admin().await;
    let (root, _) = world.access("root").await;
    let long = |n: usize| json!({"name": "x".repeat(n), "password": "", "grants": "viewer"});
    let answer = world
        .api("POST", "/api/v1/accounts", &root, &long(60_000))
        .await;
    assert_eq!(answer.status, 400, "{}", answer.head);
    let answer = world
        .api("POST", "/api/v1/accounts", &root, &long(70_000))
        .await;
    assert_eq!(answer.status, 413, "{}", answer.head);
    let query = format!("/api/v1/tasks?q={}", "x".repeat(5_000));
    let answer = world.api("GET", &query, &root, &Value::Null).await;
    assert_eq!(answer.status, 413, "{}", answer.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_are_limited_and_names_are_not_told() {
    let world = world().await;
    world.admin().await;
    let mut statuses = Vec::new();
    for n in 0..40 {
        let name = if n % 2 == 0 { "root" } else { "nobody" };
        let body = format!("name={name}&password=wrong");
        let forwarded = format!("198.51.100.{n}");
        let fields = [
            ("origin", &*world.origin()),
            ("content-type", "application/x-www-form-urlencoded"),
            ("x-forwarded-for", &*forwarded),
        ];
        let answer = world.ask("POST", "/login", &fields, &body).await;
        if answer.status == 401 {
            assert!(answer.body.contains("the credentials are missing or wrong"));
        } else {
            assert_eq!(answer.status, 429);
            assert_eq!(answer.field("retry-after").len(), 1);
        }
        statuses.push(answer.status);
    }
    // Four guesses at each name: three without a delay, and the one that begins the delay.
    let right = statuses.iter().filter(|s| **s == 401).count();
    assert!((6..=16).contains(&right), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_tells_who_did_what_and_finds_edits() {
    let world = world().await;
    world.admin().await;
    let (root, _) = world.access("root").await;
    let new = json!({"name": "eve", "password": PASSWORD, "grants": "viewer"});
    assert_eq!(
        world
            .api("POST", "/api/v1/accounts", &root, &new)
            .await
            .status,
        201
    );
    let (eve, _) = world.access("eve").await;
    assert_eq!(
        world
            .api("GET", "/api/v1/audit", &eve, &Value::Null)
            .await
            .status,
        403
    );
    let read = world
        .api("GET", "/api/v1/audit?from=0&n=1000", &root, &Value::Null)
        .await
        .json();
    let head = world
        .api("GET", "/api/v1/audit/head", &root, &Value::Null)
        .await
        .json();
    let rest = world
        .api("GET", "/api/v1/audit?from=2&n=2", &root, &Value::Null)
        .await
        .json();
    assert_eq!(rest["items"][0]["seq"], 2);
    assert_eq!(rest["items"].as_array().unwrap().len(), 2);
    let items = read["items"].as_array().unwrap();
    let bytes: Vec<Vec<u8>> = items
        .iter()
        .map(|i| unbase64url(i["record"].as_str().unwrap()).unwrap())
        .collect();
    let records: Vec<Record> = bytes
        .iter()
        .map(|b| Record::from_bytes(b).unwrap())
        .collect();
    let has = |action: &str, actor: &str, verdict| {
        let mut all = records.iter();
        all.any(|r| r.action == action && r.actor.starts_with(actor) && r.verdict == verdict)
    };
    assert!(has("firstAdmin", "127.0.0.1", Verdict::Done));
    assert!(has("apiLogIn", "root ", Verdict::Done));
    assert!(has("makeAccount", "root ", Verdict::Done));
    assert!(has("readAudit", "eve ", Verdict::Denied));
    let signed = SignedHead::from_text(head["head"].as_str().unwrap()).unwrap();
    let head = signed.check(world.identity.public()).unwrap();
    // The read of the log is itself a record, and so is that of its head.
    assert_eq!(head.size, bytes.len() as u64 + 1);
    let all = world
        .api("GET", "/api/v1/audit?from=0&n=1000", &root, &Value::Null)
        .await
        .json();
    let mut bytes: Vec<Vec<u8>> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| unbase64url(i["record"].as_str().unwrap()).unwrap())
        .collect();
    assert_eq!(audit::verify(&bytes, &[head]).unwrap().vouched, head.size);
    let mut edited = Record::from_bytes(&bytes[1]).unwrap();
    edited.actor = "somebody".into();
    bytes[1] = edited.to_bytes();
    let fault = audit::verify(&bytes, &[head]);
    assert!(matches!(fault, Err(Fault::Changed { .. })), "{fault:?}");
    bytes.truncate(3);
    assert!(audit::verify(&bytes, &[head]).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_told_as_events() {
    let world = world().await;
    let (cookie, _) = world.admin().await;
    let mut tcp = TcpStream::connect(world.at).await.unwrap();
    let ask = format!(
        "GET /events?topics=tasks HTTP/1.1\r\nhost: {}\r\ncookie: {cookie}\r\n\r\n",
        world.at
    );
    tcp.write_all(ask.as_bytes()).await.unwrap();
    let mut text = String::new();
    let mut piece = [0; 4096];
    while !text.contains("retry: 2000") {
        let n = tcp.read(&mut piece).await.unwrap();
        text += &String::from_utf8_lossy(&piece[..n]);
    }
    let (root, _) = world.access("root").await;
    let module = "a module that nobody runs";
    let digest = hex(&betanet_keys::hash(&[module.as_bytes()]));
    let bearer = format!("Bearer {root}");
    let put = format!("/api/v1/modules/{digest}");
    world
        .ask("PUT", &put, &[("authorization", &bearer)], module)
        .await;
    let task = json!({"ns": "lab", "module": digest});
    assert_eq!(
        world
            .api("POST", "/api/v1/tasks", &root, &task)
            .await
            .status,
        201
    );
    while !text.contains("event: tasks") {
        let n = tcp.read(&mut piece).await.unwrap();
        assert_ne!(n, 0, "{text}");
        text += &String::from_utf8_lossy(&piece[..n]);
    }
    assert!(text.contains("\"position\":"));
    // A client of another process's events is told that it missed some.
    let fields = [("cookie", &*cookie), ("last-event-id", "1-5")];
    let mut tcp = TcpStream::connect(world.at).await.unwrap();
    let mut ask = format!("GET /events HTTP/1.1\r\nhost: {}\r\n", world.at);
    for (name, value) in fields {
        ask += &format!("{name}: {value}\r\n");
    }
    tcp.write_all(format!("{ask}\r\n").as_bytes())
        .await
        .unwrap();
    let mut text = String::new();
    while !text.contains("event: reset") {
        let n = tcp.read(&mut piece).await.unwrap();
        assert_ne!(n, 0, "{text}");
        text += &String::from_utf8_lossy(&piece[..n]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_draws_its_page_again_with_the_rights_of_its_reader() {
    let world = world().await;
    world.admin().await;
    let (root, _) = world.access("root").await;
    for (name, grants) in [("eve", "viewer"), ("tom", "viewer@other")] {
        let new = json!({"name": name, "password": PASSWORD, "grants": grants});
        let made = world.api("POST", "/api/v1/accounts", &root, &new).await;
        assert_eq!(made.status, 201, "{made:?}");
    }
    let open = async |name: &str, page: &str| {
        let cookie = world.log_in(name, "").await;
        let path = format!("/events?topics=tasks&page={page}");
        let tcp = world
            .send(("GET", &path), &[("cookie", &cookie)], "", 0)
            .await;
        (tcp, cookie)
    };
    let until = async |tcp: &mut TcpStream, what: &str| {
        let (mut text, mut piece) = (String::new(), [0; 4096]);
        while !text.contains(what) {
            let n = tcp.read(&mut piece).await.unwrap();
            assert_ne!(n, 0, "{text}");
            text += &String::from_utf8_lossy(&piece[..n]);
        }
        text
    };
    let (mut eve, cookie) = open("eve", "%2Ftasks%3Fstate%3Dqueued").await;
    let (mut tom, _) = open("tom", "%2Ftasks").await;
    let hello = until(&mut eve, "within_s").await;
    until(&mut tom, "within_s").await;
    let module = "a module that nobody runs";
    let digest = hex(&betanet_keys::hash(&[module.as_bytes()]));
    let bearer = format!("Bearer {root}");
    let fields = [("authorization", &*bearer)];
    let put = format!("/api/v1/modules/{digest}");
    assert_eq!(world.ask("PUT", &put, &fields, module).await.status, 204);
    let task = json!({"ns": "lab", "module": digest});
    let made = world.api("POST", "/api/v1/tasks", &root, &task).await;
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let shown = until(&mut eve, &format!("task-card-{id}")).await;
    assert!(
        shown.contains("event: page") && shown.contains("\ndata: {\"number\":1,\"html\":\"<main")
    );
    let other = until(&mut tom, "stamp").await;
    assert!(!other.contains(&id), "{other}");
    // Its client says that it reads, and nobody else can.
    let (_, rest) = hello.split_once("\"stream\":\"").unwrap();
    let seen = format!("/events/seen?stream={}", &rest[..32]);
    let own = world.ask("GET", &seen, &[("cookie", &cookie)], "").await;
    assert_eq!(own.status, 204, "{own:?}");
    let root = world.log_in("root", "").await;
    let other = world.ask("GET", &seen, &[("cookie", &root)], "").await;
    assert_eq!(other.status, 404, "{other:?}");
    drop(eve);
    let nowhere = "/events?page=%2Fnowhere";
    let nowhere = world.ask("GET", nowhere, &[("cookie", &cookie)], "").await;
    assert_eq!(nowhere.status, 400, "{nowhere:?}");
}
