//! Lists that follow the journal.

use betanet_coordinator::{Quota, Reply, Request};
use betanet_fog::bodies::StateRequest;
use betanet_fog::{NodeState, Signed, TaskId, Word};
use betanet_keys::Identity;
use betanet_sim::fog::{caller, identity, task_of};
use betanet_wire::text::hex;
use serde_json::{Value, json};

use crate::fleet::{beats, journal, now_ms};
use crate::world::{World, over, world};

/// All items of a list of the API, by ID, with some of their members.
async fn listed(world: &World, bearer: &str, path: &str, keys: &[&str]) -> Vec<Value> {
    let path = format!("{path}?sort=id");
    let at = world.local().position();
    // A coordinator with too much to do has the last list shown, with its position.
    let answer = loop {
        let answer = world.api("GET", &path, bearer, &Value::Null).await.json();
        if answer["position"].as_u64() >= Some(at) {
            break answer;
        }
    };
    let items = answer["items"].as_array().unwrap().iter();
    let some = items.map(|i| keys.iter().map(|k| i[*k].clone()).collect());
    some.collect()
}

/// Compares the panel's lists with those of the coordinator.
async fn compare(world: &World, bearer: &str) {
    let keys = ["id", "state", "live", "free"];
    let nodes = listed(world, bearer, "/api/v1/nodes", &keys).await;
    let keys = ["id", "state", "reason", "changed"];
    let tasks = listed(world, bearer, "/api/v1/tasks", &keys).await;
    let (state, after, n) = (None, None, 1_000);
    let local = world.local();
    let ask = Request::Nodes { state, after, n };
    let Ok(Reply::Nodes(all)) = local.ask(ask).await else {
        panic!("no nodes");
    };
    let all = all.items.iter().map(|n| {
        let free: serde_json::Map<String, Value> = betanet_fog::Resource::ALL
            .iter()
            .map(|r| (r.as_str().to_owned(), json!(n.free.get(*r))))
            .collect();
        json!([hex(&n.id.0), n.state.as_str(), n.live, free])
    });
    assert_eq!(nodes, all.collect::<Vec<Value>>());
    let (ns, state, after) = (Word::default(), None, None);
    let ask = Request::Tasks {
        ns,
        state,
        after,
        n,
    };
    let Ok(Reply::Tasks(all)) = local.ask(ask).await else {
        panic!("no tasks");
    };
    let all = all
        .items
        .iter()
        .map(|t| json!([hex(&t.id.0), t.state.as_str(), t.reason.as_str(), t.at]));
    assert_eq!(tasks, all.collect::<Vec<Value>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_have_each_record_as_soon_as_it_is_committed() {
    let ids: Vec<Identity> = (0..20).map(|n| identity(1_000_000 + n)).collect();
    let store = journal(&ids).await;
    let world = over(&store, Quota::default(), 100).await;
    world.admin().await;
    let (root, _) = world.access("root").await;
    beats(&world, &ids, 1).await;
    compare(&world, &root).await;
    let user = identity(20);
    let ask = async |request| {
        let answer = world.handle().ask(caller(&user, false), request).await;
        answer.unwrap()
    };
    let mut tasks: Vec<TaskId> = Vec::new();
    for n in 0..40 {
        let mut task = task_of(&user, n);
        task.deadline = now_ms() + 3_600_000;
        if let Some(before) = tasks.last().filter(|_| n % 5 == 4) {
            task.after = vec![*before].try_into().unwrap();
        }
        let task = Box::new(Signed::sign(task, &user).unwrap());
        let (id, missing) = (task.id(), None);
        assert_eq!(ask(Request::Submit { task, missing }).await, Reply::Created);
        tasks.push(id);
        if n % 7 == 6 {
            // Those that come after it end too.
            let ended = tasks[tasks.len() - 3];
            let _ = world
                .handle()
                .ask(caller(&user, false), Request::Cancel(ended))
                .await;
        }
        if n % 9 == 8 {
            let at = usize::try_from(n / 9).unwrap();
            let node = ids[at].public().node_id();
            let (to, until) = (NodeState::Maintenance, 0);
            let state = Request::State(node, StateRequest { to, until });
            world.local().ask(state).await.unwrap();
        }
        compare(&world, &root).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_is_given_as_csv_and_json() {
    let world = world().await;
    let (cookie, _) = world.admin().await;
    for path in [
        "/nodes?",
        "/tasks?",
        "/jobs?",
        "/network?",
        "/names?",
        "/vouchers?",
        "/audit?",
        "/settings?list=accounts&",
        "/settings?list=tokens&",
    ] {
        for (format, kind) in [
            ("csv", "text/csv; charset=utf-8"),
            ("json", "application/json"),
        ] {
            let path = format!("{path}format={format}");
            let answer = world.ask("GET", &path, &[("cookie", &cookie)], "").await;
            assert_eq!(answer.status, 200, "{path} {answer:?}");
            assert_eq!(answer.field("content-type"), [kind], "{path}");
        }
        let path = format!("{path}format=xml");
        let wrong = world.ask("GET", &path, &[("cookie", &cookie)], "").await;
        assert_eq!(wrong.status, 400, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_the_test_ids_by_which_others_look_for_their_parts() {
    let ids: Vec<Identity> = (0..2).map(|n| identity(1_000_000 + n)).collect();
    let world = over(&journal(&ids).await, Quota::default(), 10).await;
    let (cookie, _) = world.admin().await;
    beats(&world, &ids, 1).await;
    let user = identity(20);
    let mut task = task_of(&user, 1);
    task.deadline = now_ms() + 3_600_000;
    let task = Box::new(Signed::sign(task, &user).unwrap());
    let (id, missing) = (hex(&task.id().0), None);
    let submit = Request::Submit { task, missing };
    let answer = world.handle().ask(caller(&user, false), submit).await;
    assert_eq!(answer, Ok(Reply::Created));
    let frame =
        "desktop-nav mobile-menu-button main-content ws-status last-update-timestamp loading-card";
    let services = "scheduler edge harvest onion vpn_coordinator betanet fog_coordinator p2p dao";
    let actions = "deploy-node submit-job create-circuit view-metrics";
    let each = |prefix: &str, words: &str| -> String {
        let all = words.split(' ').map(|w| format!(" {prefix}-{w}"));
        all.collect()
    };
    let control = format!(
        "control-panel-header refresh-button system-status-card quick-actions-panel status-badge-healthy {frame}{}{}{}{}",
        each("category", "compute privacy network governance"),
        each("service-status", services),
        each("view-details", services),
        each("quick-action", actions),
    );
    let states = "all accepted queued assigned running succeeded failed cancelled expired";
    let nodes = format!(
        "nodes-page nodes-header total-nodes-card active-nodes-card total-resources-card avg-load-card \
         node-card-{} {frame}",
        hex(&ids[0].public().node_id().0)
    );
    let tasks = format!(
        "tasks-page tasks-header task-card-{id} {frame}{}",
        each("tab", states)
    );
    for (path, status, all) in [
        ("/control-panel", 200, control),
        ("/nodes", 200, nodes),
        ("/tasks", 200, tasks),
        ("/tasks?q=none", 200, "empty-state".to_owned()),
        (
            "/tasks?done=submitted",
            200,
            "success-notification".to_owned(),
        ),
        (
            "/tasks/00",
            404,
            "error-card error-notification retry-button".to_owned(),
        ),
    ] {
        let page = world.ask("GET", path, &[("cookie", &cookie)], "").await;
        assert_eq!(page.status, status, "{path}");
        for id in all.split_whitespace() {
            let has = page.body.contains(&format!("data-testid=\"{id}\""));
            assert!(has, "{path} has no {id}");
        }
    }
    let page = world.ask("GET", "/tasks", &[("cookie", &cookie)], "").await;
    assert!(page.body.contains("data-testid=\"ws-status\" data-status="));
}
