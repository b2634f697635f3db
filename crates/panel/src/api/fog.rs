//! Nodes and tasks.

use std::sync::atomic::Ordering;

use betanet_auth::Permission;
use betanet_coordinator::Request;
use betanet_fog::NodeState;
use betanet_wire::text::{hex, unhex_array};
use serde_json::{Value, json};

use crate::cx::{Cx, Input};
use crate::fault::Fault;
use crate::list;
use crate::pages::{control, nodes, task, tasks};
use crate::place::Place;
use crate::record;
use crate::reply::{self, Done};
use crate::spec;

/// Most join tokens that one request makes.
pub(crate) const TOKENS_MAX: u64 = 128;
/// Bytes of a log that one answer has.
const LOG_PIECE: u64 = 256 << 10;

/// `GET /api/v1/overview`
pub(crate) async fn overview(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&[])?;
    let (checked, snapshot) = control::looked(&cx).await;
    let services: Vec<Value> = checked
        .services
        .iter()
        .map(|s| {
            let (status, text) = (s.health.word(), control::told(&cx, s));
            json!({"id": s.id, "category": s.category, "status": status, "text": text})
        })
        .collect();
    let mut body = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "status": checked.health().word(),
        "role": checked.role,
        "position": checked.position,
        "at_ms": checked.at,
        "sessions": checked.sessions,
        "services": services,
    });
    if let Ok(s) = snapshot {
        body["nodes"] = json!(s.nodes.len());
        body["nodes_by_state"] = json!(s.node_states());
        let seen = tasks::visible(&cx, &s.tasks);
        body["tasks"] = json!(seen.len());
        body["node_cards"] = nodes::figures(&s.nodes);
        body["task_cards"] = tasks::figures(&seen);
    }
    if cx.everywhere() {
        let refused = cx.shared.anonymous.load(Ordering::Relaxed);
        body["refused_without_credentials"] = json!(refused);
    }
    Ok(reply::json(200, &body).into())
}

/// `GET /api/v1/nodes`
pub(crate) async fn list_nodes(cx: Cx) -> Result<Done, Fault> {
    cx.query
        .only(&["q", "state", "kind", "org", "sort", "page"])?;
    let snapshot = cx.shared.snapshot().await?;
    let rows = nodes::filtered(&cx, &snapshot.nodes)?;
    let as_of = (snapshot.position, snapshot.at);
    let cards = nodes::figures(&snapshot.nodes);
    list::with(&cx, as_of, rows, |n| record::node(n), cards)
}

/// `GET /api/v1/nodes/{id}`
pub(crate) async fn node(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&[])?;
    let id = cx.node()?;
    let snapshot = cx.shared.snapshot().await?;
    let node = snapshot.node(&id).ok_or(Fault::Missing)?;
    Ok(reply::json(200, &record::node(node)).into())
}

/// `PATCH /api/v1/nodes/{id}`
pub(crate) async fn patch_node(cx: Cx) -> Result<Done, Fault> {
    let fields = cx.fields();
    fields.only(&["state"])?;
    let to = NodeState::from_word(fields.get("state")).ok_or(Fault::Field("state"))?;
    let id = nodes::to_state(&cx, to).await?;
    Ok(Done::on(format!("node {id}"), reply::empty(204)))
}

/// `POST /api/v1/node-tokens`
pub(crate) async fn make_node_token(cx: Cx) -> Result<Done, Fault> {
    let fields = cx.fields();
    fields.only(&["kind", "org", "hours", "count"])?;
    let count = fields.number("count", 1)?;
    if !(1..=TOKENS_MAX).contains(&count) {
        return Err(Fault::Field("count"));
    }
    let mut tokens = Vec::new();
    // Each has an audit record of its own before it is ordered.
    for _ in 0..count {
        let (token, id) = nodes::ordered(&cx, &fields).await?;
        tokens.push(json!({"id": hex(&id), "token": token}));
    }
    let target = match &tokens[..] {
        [one] => format!("node-token {}", one["id"].as_str().unwrap_or_default()),
        all => format!("{} node-tokens", all.len()),
    };
    let body = match &mut tokens[..] {
        [one] if !fields.has("count") => one.take(),
        _ => json!({"items": tokens}),
    };
    Ok(Done::on(target, reply::json(201, &body)))
}

/// `DELETE /api/v1/node-tokens/{id}`
pub(crate) async fn end_node_token(cx: Cx) -> Result<Done, Fault> {
    let id = unhex_array(cx.var()).ok_or(Fault::Missing)?;
    let target = format!("node-token {}", hex(&id));
    cx.begin(Permission::Operate, Place::In(None), target)
        .await?;
    cx.shared.local.ask(Request::RevokeToken(id)).await?;
    Ok(Done::on(
        format!("node-token {}", hex(&id)),
        reply::empty(204),
    ))
}

/// `GET /api/v1/tasks`
pub(crate) async fn list_tasks(cx: Cx) -> Result<Done, Fault> {
    cx.query
        .only(&["q", "state", "ns", "tier", "sort", "page"])?;
    let snapshot = cx.shared.snapshot().await?;
    let seen = tasks::visible(&cx, &snapshot.tasks);
    let rows = tasks::filtered(&cx, &seen)?;
    let as_of = (snapshot.position, snapshot.at);
    let cards = tasks::figures(&seen);
    list::with(&cx, as_of, rows, |t| record::task(t), cards)
}

/// `POST /api/v1/tasks`
pub(crate) async fn submit(cx: Cx) -> Result<Done, Fault> {
    let fields = cx.fields();
    fields.only(&spec::FIELDS)?;
    cx.need(Permission::Submit, Some(fields.get("ns")))?;
    let local = &cx.shared.local;
    let task = spec::task(local, &fields, None, cx.shared.random(), cx.now_ms)?;
    let place = Place::In(Some(fields.get("ns").to_owned()));
    let target = format!("module {}", hex(&task.module.digest));
    cx.begin(Permission::Submit, place, target).await?;
    let after = Some(betanet_keys::hash(&[&betanet_fog::to_vec(&task)]));
    let id = hex(&local.submit(task).await?.0);
    let response = reply::json(201, &json!({"id": id}));
    Ok(Done {
        after,
        ..Done::on(format!("task {id}"), response)
    })
}

/// `POST /api/v1/tasks/plan`
pub(crate) async fn plan(cx: Cx) -> Result<Done, Fault> {
    let fields = cx.fields();
    fields.only(&spec::FIELDS)?;
    cx.need(Permission::Submit, Some(fields.get("ns")))?;
    let local = &cx.shared.local;
    let task = spec::task(local, &fields, None, cx.shared.random(), cx.now_ms)?;
    let plan = local.plan(task).await?;
    Ok(reply::json(200, &record::plan(&plan)).into())
}

/// `GET /api/v1/tasks/{id}`
pub(crate) async fn task(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&[])?;
    let id = cx.task()?;
    task::allowed(&cx, &id).await?;
    let status = cx.shared.local.status(id).await?;
    Ok(reply::json(200, &record::status(&hex(&id.0), &status)).into())
}

/// `GET /api/v1/tasks/{id}/log`
pub(crate) async fn task_log(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&[])?;
    let id = cx.task()?;
    task::allowed(&cx, &id).await?;
    let status = cx.shared.local.status(id).await?;
    let fence = status.copies.iter().map(|c| c.fence).max();
    let fence = fence.ok_or(Fault::Missing)?;
    let (from, bytes) = cx.shared.local.log(id, fence, LOG_PIECE).await?;
    let mut response = reply::whole(200, "text/plain; charset=utf-8", bytes);
    reply::set(&mut response, "x-log-offset", &from.to_string());
    Ok(response.into())
}

/// `POST /api/v1/tasks/{id}/cancel`
pub(crate) async fn cancel(cx: Cx) -> Result<Done, Fault> {
    let id = task::cancelled(&cx).await?;
    Ok(Done::on(format!("task {id}"), reply::empty(204)))
}

/// `PUT /api/v1/modules/{digest}`
pub(crate) async fn put_module(mut cx: Cx) -> Result<Done, Fault> {
    let digest: [u8; 32] = unhex_array(cx.var()).ok_or(Fault::Missing)?;
    let Input::Bytes(bytes) = std::mem::replace(&mut cx.input, Input::None) else {
        return Err(Fault::Type);
    };
    if betanet_keys::hash(&[&bytes]) != digest {
        return Err(Fault::Fog(betanet_fog::RefusalCode::Digest.of("digest")));
    }
    let target = format!("module {}", hex(&digest));
    cx.begin(Permission::Submit, Place::Somewhere, target)
        .await?;
    cx.shared.local.store(bytes).await?;
    Ok(Done::on(
        format!("module {}", hex(&digest)),
        reply::empty(204),
    ))
}
