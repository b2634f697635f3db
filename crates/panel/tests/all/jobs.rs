//! Jobs from the panel: planned, run, replaced, reverted, stopped.

use betanet_auth::audit::{Record, Verdict};
use betanet_coordinator::{Caller, Quota, Reply, Request};
use betanet_fog::{Job, Signed};
use betanet_journal::MemoryStore;
use betanet_keys::Identity;
use betanet_wire::text::hex;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::world::{PASSWORD, World, answer, over, world};

const MODULE: &str = "a module that nobody runs";

/// Stores the module, and describes a job with these tasks.
async fn file(world: &World, bearer: &str, tasks: &str) -> String {
    let digest = hex(&betanet_keys::hash(&[MODULE.as_bytes()]));
    let bearer = format!("Bearer {bearer}");
    let path = format!("/api/v1/modules/{digest}");
    let fields = [("authorization", &*bearer)];
    assert_eq!(world.ask("PUT", &path, &fields, MODULE).await.status, 204);
    format!("lab night {digest} {}\n{tasks}", MODULE.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_planned_run_replaced_reverted_and_stopped() {
    let mut world = world().await;
    let (cookie, token) = world.admin().await;
    let (root, _) = world.access("root").await;
    let first = file(&world, &root, "a\nb").await;
    let second = first.replace("\nb", "\nc");
    let form = async |path: &str, fields: &[(&str, &str)]| {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.append_pair("form_token", &token);
        for (name, value) in fields {
            body.append_pair(name, value);
        }
        world.form(path, &cookie, &body.finish()).await
    };
    let wrong = form("/jobs/plan", &[("file", "x")]).await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("&lt;b&gt;no job"), "{}", wrong.body);
    let plan = form("/jobs/plan", &[("file", &first)]).await;
    assert_eq!(plan.status, 200, "{plan:?}");
    assert!(
        plan.body.contains("2 tasks would be submitted"),
        "{}",
        plan.body
    );
    let run = form("/jobs", &[("file", &first), ("ver", "0")]).await;
    assert_eq!(run.field("location"), ["/jobs/lab/night?done=job-run"]);
    // Nobody replaces a version that they did not see.
    let late = form("/jobs", &[("file", &second), ("ver", "0")]).await;
    assert!(late.status >= 400, "{late:?}");
    let plan = form("/jobs/plan", &[("file", &second)]).await.body;
    assert!(
        plan.contains("<del>- b</del>") && plan.contains("<ins>+ c</ins>"),
        "{plan}"
    );
    let run = form("/jobs", &[("file", &second), ("ver", "1")]).await;
    assert_eq!(run.status, 303, "{run:?}");
    let fields = [("cookie", cookie.as_str())];
    let page = world.ask("GET", "/jobs/lab/night", &fields, "").await.body;
    for what in [
        "Version 2",
        "job-version-1",
        "job-version-2",
        "stop-job-button",
        "revert-job-button",
    ] {
        assert!(page.contains(what), "{what} {page}");
    }
    let back = "/jobs/plan?ns=lab&name=night&ver=1";
    let plan = world.ask("GET", back, &fields, "").await.body;
    assert!(plan.contains("<ins>+ b</ins>"), "{plan}");
    let reverted = form("/jobs/lab/night/revert", &[]).await;
    assert_eq!(reverted.status, 303, "{reverted:?}");
    let api = async |path: &str| world.api("GET", path, &root, &Value::Null).await.json();
    let list = api("/api/v1/jobs").await;
    assert_eq!(list["items"][0]["ver"], 3);
    assert_eq!(list["items"][0]["states"], json!({"queued": 2}));
    let one = api("/api/v1/jobs/lab/night").await;
    assert_eq!(one["versions"].as_array().unwrap().len(), 3);
    assert_eq!(one["versions"][2]["file"], first.as_str());
    // Of six tasks, four were replaced.
    let tasks = api("/api/v1/tasks?state=cancelled").await;
    assert_eq!(tasks["items"].as_array().unwrap().len(), 4);
    assert_eq!(form("/jobs/lab/night/stop", &[]).await.status, 303);
    assert_eq!(api("/api/v1/jobs").await["items"], json!([]));
    let records = world.records(&root).await;
    let done = |action: &str| {
        let own = |r: &&Record| r.action == action && r.verdict == Verdict::Done;
        records
            .iter()
            .filter(own)
            .map(|r| r.target.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        done("runJobForm"),
        ["job lab/night version 1", "job lab/night version 2"]
    );
    assert_eq!(done("stopJobForm"), ["job lab/night"]);
    // The versions outlast a restart, and a stopped job goes on above its last one.
    world.panel.take().unwrap().stop().await;
    world.start().await;
    let (root, _) = world.access("root").await;
    let body = json!({"file": second, "format": "toml"});
    let run = world.api("POST", "/api/v1/jobs", &root, &body).await;
    assert_eq!((run.status, &run.json()["ver"]), (201, &json!(4)));
    let plan = world.api("POST", "/api/v1/jobs/plan", &root, &body).await;
    assert_eq!(plan.json()["replaces"], 4);
    // Others may do it in their namespaces only.
    let new = json!({"name": "eve", "password": PASSWORD, "grants": "submitter@other"});
    assert_eq!(
        world
            .api("POST", "/api/v1/accounts", &root, &new)
            .await
            .status,
        201
    );
    let (eve, _) = world.access("eve").await;
    let run = world.api("POST", "/api/v1/jobs", &eve, &body).await;
    assert_eq!(run.status, 403, "{run:?}");
    let list = world.api("GET", "/api/v1/jobs", &eve, &Value::Null).await;
    assert_eq!(list.json()["items"], json!([]));
    let one = world
        .api("GET", "/api/v1/jobs/lab/night", &eve, &Value::Null)
        .await;
    assert_eq!(one.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_job_runs_again_though_the_panel_forgot_its_files() {
    let world = over(&MemoryStore::new(), Quota::default(), 1_000).await;
    world.admin().await;
    let (root, _) = world.access("root").await;
    let night = file(&world, &root, "a").await;
    let run = async |file: &str| {
        let body = json!({"file": file});
        let ran = world.api("POST", "/api/v1/jobs", &root, &body).await;
        assert_eq!(ran.status, 201, "{ran:?}");
        ran.json()["ver"].as_u64().unwrap()
    };
    assert_eq!(run(&night).await, 1);
    let path = "/api/v1/jobs/lab/night";
    let stopped = world.api("DELETE", path, &root, &Value::Null).await;
    assert_eq!(stopped.status, 204);
    // So many jobs of a namespace are kept, and it is forgotten.
    let empty = night.replace("\na", "");
    for n in 0..64 {
        assert_eq!(run(&empty.replace("night", &format!("j{n}"))).await, 1);
    }
    let forgotten = world.api("GET", path, &root, &Value::Null).await;
    assert_eq!(forgotten.status, 404, "{forgotten:?}");
    assert_eq!(run(&night).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_another_key_is_refused_before_any_of_its_tasks_starts() {
    let world = world().await;
    let (cookie, token) = world.admin().await;
    let (root, _) = world.access("root").await;
    let night = file(&world, &root, "a\nb").await;
    let user = Identity::from_seed(&[2; 32]);
    let job = Job {
        ns: "lab".parse().unwrap(),
        ver: 1,
        name: "night".parse().unwrap(),
        owner: *user.public().as_bytes(),
        tasks: Vec::new().try_into().unwrap(),
    };
    let caller = Caller {
        key: *user.public().as_bytes(),
        node: user.public().node_id(),
        operator: false,
        namespaces: vec!["lab".parse().unwrap()],
    };
    let put = Request::PutJob(Box::new(Signed::sign(job, &user).unwrap()));
    let put = world.handle().ask(caller, put).await;
    assert_eq!(put, Ok(Reply::Created));
    let body = json!({"file": night});
    for path in ["/api/v1/jobs/plan", "/api/v1/jobs"] {
        let refused = world.api("POST", path, &root, &body).await;
        assert_eq!(refused.status, 403, "{path} {refused:?}");
        assert_eq!(refused.json()["code"], "not_yours", "{path}");
    }
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("form_token", &token)
        .append_pair("file", &night);
    let page = world.form("/jobs/plan", &cookie, &form.finish()).await;
    assert!(page.status == 403 && !page.body.contains("run-planned-job-button"));
    let tasks = world.api("GET", "/api/v1/tasks", &root, &Value::Null).await;
    assert_eq!(tasks.json()["items"], json!([]));
    let fields = [("cookie", cookie.as_str())];
    let page = world.ask("GET", "/jobs/lab/night", &fields, "").await.body;
    assert!(page.contains("stop-job-button") && !page.contains("revert-job-button"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_file_of_any_script_fits_into_a_form_and_keeps_its_format() {
    let world = world().await;
    let (cookie, token) = world.admin().await;
    let (root, _) = world.access("root").await;
    let head = file(&world, &root, "").await;
    let form = async |path: &str, file: &str| {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.append_pair("form_token", &token);
        body.append_pair("format", "json");
        body.append_pair("file", file);
        world.form(path, &cookie, &body.finish()).await
    };
    // Each letter has two bytes, and six in a form.
    let letters = |bytes: usize| "\u{430}".repeat((bytes - head.len()) / 2);
    let long = format!("{head}{}", letters(32 << 10));
    let plan = form("/jobs/plan", &long).await;
    assert_eq!(plan.status, 200, "{}", plan.head);
    let body = json!({"file": long});
    let plan = world.api("POST", "/api/v1/jobs/plan", &root, &body).await;
    assert_eq!(plan.status, 200, "{}", plan.head);
    // A browser sends a line's end as CR LF, which takes six bytes.
    let odd = head.replace("night", "no-plan");
    let lines = "\r\n".repeat((32 << 10) - odd.len());
    let plan = form("/jobs/plan", &format!("{odd}{lines}")).await;
    assert_eq!(plan.status, 400, "{}", plan.head);
    let longer = format!("{head}{}", letters(33 << 10));
    assert_eq!(form("/jobs/plan", &longer).await.status, 413);
    // A plan that fails shows the file again, in its own format.
    assert_eq!(form("/jobs", &odd).await.status, 303);
    let back = "/jobs/plan?ns=lab&name=no-plan&ver=1";
    let fields = [("cookie", cookie.as_str())];
    let page = world.ask("GET", back, &fields, "").await;
    assert_eq!(page.status, 400, "{page:?}");
    assert!(page.body.contains("<option value=\"json\" selected>"));
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_are_run_at_once_have_a_version_each_with_its_own_file() {
    let world = over(&MemoryStore::new(), Quota::default(), 1_000).await;
    world.admin().await;
    let (root, _) = world.access("root").await;
    let night = file(&world, &root, "a").await;
    let run = async |n: usize| {
        let file = night.replace("\na", &format!("\na{n}"));
        let body = json!({"file": file});
        let ran = world.api("POST", "/api/v1/jobs", &root, &body).await;
        assert_eq!(ran.status, 201, "{ran:?}");
        (ran.json()["ver"].as_u64().unwrap(), file)
    };
    let ran = futures_util::future::join_all((0..6).map(run)).await;
    let path = "/api/v1/jobs/lab/night";
    let one = world.api("GET", path, &root, &Value::Null).await.json();
    for (ver, file) in ran {
        let of = |v: &&Value| v["ver"] == ver;
        let kept = one["versions"].as_array().unwrap().iter().find(of);
        assert_eq!(kept.unwrap()["file"], file.as_str(), "version {ver}");
    }
    assert_eq!(one["ver"], 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_form_of_an_unknown_session_is_refused_unread() {
    let world = world().await;
    let (cookie, _) = world.admin().await;
    let (before, session) = cookie.split_once('=').unwrap();
    let turned = if session.starts_with('A') { 'B' } else { 'A' };
    let invented = format!("{before}={turned}{}", &session[1..]);
    let origin = world.origin();
    let length = 100 << 10;
    let send = async |cookie: &str| {
        let fields = [
            ("origin", &*origin),
            ("cookie", cookie),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        world.send(("POST", "/jobs"), &fields, "", length).await
    };
    // The answer comes though none of the body is sent.
    let refused = answer(send(&invented).await).await;
    assert!([303, 401].contains(&refused.status), "{refused:?}");
    // The same form of a session that counts is read.
    let mut tcp = send(&cookie).await;
    let body = format!("file={}", "x".repeat(length - 5));
    tcp.write_all(body.as_bytes()).await.unwrap();
    let read = answer(tcp).await;
    assert!(![413, 401].contains(&read.status), "{read:?}");
}
