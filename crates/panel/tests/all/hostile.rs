//! What a panel refuses.

use betanet_auth::audit::Verdict;
use futures_util::future::select_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::passkeys::register;
use crate::world::{PASSWORD, World, answer, world};

const KIND: (&str, &str) = ("content-type", "multipart/form-data; boundary=B");

/// A form that submits a task with a file.
fn upload(token: &str, file: &str) -> String {
    let field = |name: &str, value: &str| {
        format!("--B\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let file = field("file\"; filename=\"m.wasm", file);
    field("form_token", token) + &field("ns", "lab") + &file + "--B--\r\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_credentials_fill_no_log() {
    let world = world().await;
    world.admin().await;
    let (root, _) = world.access("root").await;
    let before = world.records(&root).await.len();
    for _ in 0..3 {
        let evil = [("host", "evil.example")];
        assert_eq!(world.ask("GET", "/nodes", &[], "").await.status, 303);
        assert_eq!(world.ask("GET", "/nodes", &evil, "").await.status, 421);
        assert_eq!(world.ask("POST", "/nodes/token", &[], "").await.status, 403);
    }
    let after = world.records(&root).await;
    assert_eq!(after.len(), before + 1, "the read of the log alone");
    let path = "/api/v1/overview";
    let overview = world.api("GET", path, &root, &Value::Null).await.json();
    assert_eq!(overview["refused_without_credentials"], 9);
    // Wrong credentials have a record.
    let wrong = world.api("GET", path, "x.y.z", &Value::Null).await;
    assert_eq!(wrong.status, 401);
    let records = world.records(&root).await;
    let has =
        |r: &betanet_auth::audit::Record| r.action == "overview" && r.verdict == Verdict::Denied;
    assert!(records.iter().any(has));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_read_from_those_who_may_submit() {
    let world = world().await;
    let (cookie, token) = world.admin().await;
    let (origin, cookie) = (world.origin(), ("cookie", &*cookie));
    let origin = ("origin", &*origin);
    let known = [origin, cookie, KIND];
    let form = upload(&token, &"x".repeat(3 << 20));
    let done = world.ask("POST", "/tasks", &known, &form).await;
    assert_eq!(done.status, 303, "{}", done.head);
    // The body is announced and never sent.
    let head = async |path, fields: &[(&str, &str)], length| {
        let tcp = world.send(("POST", path), fields, "", length).await;
        answer(tcp).await.status
    };
    let most = 10 << 20;
    assert_eq!(head("/tasks", &[origin, KIND], most).await, 401);
    assert_eq!(head("/tasks", &[cookie, KIND], most).await, 403);
    let evil = ("host", "evil.example");
    assert_eq!(
        head("/tasks", &[evil, origin, cookie, KIND], most).await,
        421
    );
    assert_eq!(head("/tasks", &known, 17 << 20).await, 413);
    for path in ["/login", "/nodes/token", "/settings/password"] {
        let status = head(path, &[origin, KIND], most).await;
        assert!(matches!(status, 401 | 415), "{path} {status}");
    }
    let other = upload("x", "y");
    assert_eq!(
        world.ask("POST", "/tasks", &known, &other).await.status,
        403
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn four_modules_are_uploaded_at_once_and_none_over_its_bound() {
    let world = world().await;
    let (cookie, token) = world.admin().await;
    let (root, _) = world.access("root").await;
    let bearer = format!("Bearer {root}");
    let fields = [("authorization", &*bearer), ("expect", "100-continue")];
    let path = format!("/api/v1/modules/{}", "0".repeat(64));
    let long = (16 << 20) + 1;
    let tcp = world.send(("PUT", &path), &fields, "", long).await;
    assert_eq!(answer(tcp).await.status, 413);
    let origin = world.origin();
    let known = [("origin", &*origin), ("cookie", &*cookie), KIND];
    let form = upload(&token, "x");
    let mut open = Vec::new();
    for _ in 0..5 {
        let part = form.strip_suffix("--B--\r\n").unwrap();
        let length = form.len();
        open.push(world.send(("POST", "/tasks"), &known, part, length).await);
    }
    let answers = open.into_iter().map(|tcp| Box::pin(answer(tcp)));
    let (first, _, rest) = select_all(answers).await;
    assert_eq!(first.status, 503, "{first:?}");
    drop(rest);
    while world.ask("POST", "/tasks", &known, &form).await.status == 503 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panel_with_a_name_answers_its_proxies_alone() {
    let mut world = world().await;
    let behind = async |world: &mut World, network: &str| {
        world.panel.take().unwrap().stop().await;
        world.start_behind(&["fog.example"], &[network]).await;
        let mut tcp = TcpStream::connect(world.at).await.unwrap();
        let ask = b"GET /login HTTP/1.1\r\nhost: fog.example\r\nconnection: close\r\n\r\n";
        let mut all = Vec::new();
        // The other end may be gone already.
        let _ = tcp.write_all(ask).await;
        let _ = tcp.read_to_end(&mut all).await;
        String::from_utf8_lossy(&all).into_owned()
    };
    assert_eq!(behind(&mut world, "198.51.100.0/24").await, "");
    let answered = behind(&mut world, "127.0.0.1").await;
    assert!(answered.starts_with("HTTP/1.1 200"), "{answered}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_logins_of_an_account_leave_a_log_that_is_read() {
    let mut world = world().await;
    let (mut cookie, _) = world.admin().await;
    for _ in 0..17 {
        cookie = world.log_in("root", &cookie).await;
    }
    world.panel.take().unwrap().stop().await;
    world.start().await;
    let page = world.ask("GET", "/nodes", &[("cookie", &cookie)], "").await;
    assert_eq!(page.status, 200);
    let body = json!({"name": "root", "password": PASSWORD}).to_string();
    let fields = [("content-type", "application/json"), ("cookie", &*cookie)];
    for _ in 0..17 {
        let answer = world.ask("POST", "/api/v1/login", &fields, &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    world.panel.take().unwrap().stop().await;
    world.start().await;
    let page = world.ask("GET", "/nodes", &[("cookie", &cookie)], "").await;
    assert_eq!(page.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_guess_is_recorded_with_the_account() {
    let world = world().await;
    world.admin().await;
    let (root, _) = world.access("root").await;
    let wrong = world.form("/login", "", "name=root&password=wrong").await;
    assert_eq!(wrong.status, 401);
    let me = world.api("GET", "/api/v1/accounts", &root, &Value::Null);
    let id = me.await.json()["items"][0]["id"].clone();
    let records = world.records(&root).await;
    let guess = records.iter().find(|r| r.action == "logIn").unwrap();
    assert_eq!(guess.verdict, Verdict::Denied);
    assert_eq!(json!(guess.target), id);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_without_effect_or_of_other_types_are_refused() {
    let world = world().await;
    world.admin().await;
    let (root, _) = world.access("root").await;
    let list = world.api("GET", "/api/v1/accounts", &root, &Value::Null);
    let id = list.await.json()["items"][0]["id"].clone();
    let path = format!("/api/v1/accounts/{}", id.as_str().unwrap());
    for body in [
        json!({}),
        json!({"grants": ""}),
        json!({"grants": null}),
        json!({"grants": ["admin"]}),
        json!({"disabled": "false"}),
        json!({"disabled": 0}),
    ] {
        let answer = world.api("PATCH", &path, &root, &body).await;
        assert_eq!(answer.status, 400, "{body} {answer:?}");
    }
    let same = json!({"grants": "admin"});
    let answer = world.api("PATCH", &path, &root, &same).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_logins_with_turning_forwarded_fields_stay_at_the_limit() {
    let world = world().await;
    world.admin().await;
    let began = tokio::time::Instant::now();
    let mut tried = 0;
    for n in 0..10_000 {
        let forwarded = format!("198.51.{}.{}", n / 250, n % 250);
        let fields = [
            ("content-type", "application/json"),
            ("x-forwarded-for", &*forwarded),
            ("forwarded", &format!("for={forwarded}")),
            ("x-real-ip", &*forwarded),
        ];
        // Each of another account, so that only the address has a limit.
        let body = format!("{{\"name\": \"n{n}\", \"password\": \"not the password\"}}");
        let answer = world.ask("POST", "/api/v1/login", &fields, &body).await;
        match answer.status {
            401 => tried += 1,
            429 => assert_eq!(answer.field("retry-after").len(), 1),
            _ => panic!("{answer:?}"),
        }
    }
    // 30 a minute, and what came back meanwhile. The first administrator's request was one of them.
    let most = 30 + began.elapsed().as_secs() / 2;
    assert!((20..=most).contains(&tried), "{tried} of at most {most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn markup_in_names_is_inert_or_refused() {
    let world = world().await;
    let (cookie, form) = world.admin().await;
    let (root, _) = world.access("root").await;
    let hostile = "\"><img src=x onerror=alert(1)><script>alert(2)</script>";
    // Organisations, namespaces, accounts and tokens have words for names.
    let order = json!({"kind": "compute", "org": hostile});
    let account = json!({"name": hostile, "password": PASSWORD, "grants": "viewer"});
    let task = json!({"ns": hostile, "module": "0".repeat(64)});
    let token = json!({"name": hostile, "scope": "look", "days": 1});
    for (path, body) in [
        ("/api/v1/node-tokens", order),
        ("/api/v1/accounts", account),
        ("/api/v1/tasks", task),
        ("/api/v1/me/tokens", token),
    ] {
        let refused = world.api("POST", path, &root, &body).await;
        assert_eq!(refused.status, 400, "{path}: {refused:?}");
        assert!(!refused.body.contains("<img"), "{path}: {refused:?}");
    }
    // A passkey's name is text.
    let made = register(&world, &cookie, hostile, Some(PASSWORD)).await;
    assert_eq!(made.status, 303, "{made:?}");
    // What a form or a query is given comes back in the page.
    let (origin, cookie) = (world.origin(), ("cookie", &*cookie));
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let mut fields = form_urlencoded::Serializer::new(String::new());
    fields.append_pair("form_token", &form);
    let fields = fields.append_pair("file", hostile).finish();
    let write = [("origin", &*origin), cookie, kind];
    let mut pages = vec![world.ask("POST", "/jobs/plan", &write, &fields).await];
    let mut query = form_urlencoded::Serializer::new(String::new());
    let query = query.append_pair("q", hostile).finish();
    for path in ["/settings", "/audit"] {
        pages.push(world.ask("GET", path, &[cookie], "").await);
    }
    for path in ["/nodes", "/tasks", "/jobs", "/names"] {
        let path = format!("{path}?{query}");
        pages.push(world.ask("GET", &path, &[cookie], "").await);
    }
    let mut shown = 0;
    for page in pages {
        assert!(!page.body.contains("<img"), "{page:?}");
        assert!(!page.body.contains("<script>"), "{page:?}");
        shown += page.body.matches("&lt;img src=x onerror").count();
    }
    // The job file, the passkey's name, and what was searched for.
    assert!(shown >= 3, "{shown}");
}
