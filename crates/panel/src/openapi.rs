//! The OpenAPI document, made from the table of routes.

use betanet_auth::routes::{Access, Method, ROUTES, Route};
use betanet_auth::{Permission, Role};
use betanet_fog::{Kind, Level, NodeState, Strategy, TaskState, Tier};
use serde_json::{Map, Value, json};

use crate::api::fog::TOKENS_MAX;
use crate::form::NUMBER_MAX;
use crate::jobs::FILE_MAX;
use crate::pages::{names::STATES, vouchers::PHASES};
use crate::{form, spec};

/// What a JSON body of an operation has: its fields, and which of them are needed.
fn body(id: &str) -> Option<(&'static [&'static str], &'static [&'static str])> {
    Some(match id {
        "apiLogIn" => (&["name", "password", "scope"], &["name", "password"]),
        "apiRefresh" => (&["refresh_token"], &["refresh_token"]),
        "makeToken" => (&["name", "scope", "days"], &["name", "scope"]),
        "patchNode" => (&["state"], &["state"]),
        "makeNodeToken" => (&["kind", "org", "hours", "count"], &[]),
        "submitTask" | "planTask" => (&spec::FIELDS, &["ns", "module"]),
        "planJob" | "runJob" => (&["file", "format"], &["file"]),
        "makeAccount" => (
            &["name", "password", "grants"],
            &["name", "password", "grants"],
        ),
        "patchAccount" => (&["grants", "disabled"], &[]),
        _ => return None,
    })
}

/// Fields of the query of an operation.
fn query(id: &str) -> &'static [&'static str] {
    match id {
        "listNodes" => &["q", "state", "kind", "org", "sort", "page"],
        "listTasks" => &["q", "state", "ns", "tier", "sort", "page"],
        "listJobs" => &["q", "ns", "sort", "page"],
        "listPeers" => &["q", "role", "source", "sort", "page"],
        "listNames" => &["q", "status", "source", "sort", "page"],
        "getName" => &["source"],
        "listKeysets" => &["phase", "unit", "alarm", "source", "sort", "page"],
        "readGovernance" => &["after"],
        "readAudit" => &["from", "n"],
        _ => &[],
    }
}

/// Status and type of the answer that is no problem.
fn answer(id: &str) -> (&'static str, Option<&'static str>) {
    match id {
        "runJob" | "revertJob" | "submitTask" | "makeToken" | "makeNodeToken" | "makeAccount" => {
            ("201", Some("application/json"))
        }
        "stopJob" | "endSessions" | "endToken" | "patchNode" | "endNodeToken" | "cancelTask"
        | "putModule" | "endAccount" => ("204", None),
        "getTaskLog" => ("200", Some("text/plain")),
        "getTaskOutput" => ("200", Some("application/octet-stream")),
        "keySet" => ("200", Some("application/jwk-set+json")),
        "health" => ("200", Some("text/plain")),
        _ => ("200", Some("application/json")),
    }
}

/// A word, as namespaces, organisations and accounts have.
const WORD: &str = "^[a-z0-9_.-]{1,63}$";
/// The same, or nothing.
const NO_WORD: &str = "^[a-z0-9_.-]{0,63}$";

fn number(least: u64, most: u64) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most})
}

fn text(pattern: &str) -> Value {
    json!({"type": "string", "pattern": pattern})
}

/// One of these words; an empty text stands for the default, or for all.
fn words(all: &[&str]) -> Value {
    let all: Vec<&str> = all.iter().copied().chain([""]).collect();
    json!({"type": "string", "enum": all})
}

/// One of these columns, descending after a minus sign.
fn columns(all: &[&str]) -> Value {
    let down = all.iter().map(|c| format!("-{c}"));
    let all = all.iter().map(ToString::to_string).chain(down);
    let all: Vec<String> = all.chain([String::new()]).collect();
    json!({"type": "string", "enum": all})
}

/// Words that are separated by spaces.
fn several(word: &str) -> Value {
    text(&format!("^{word}( {word})*$"))
}

/// The type and the bounds of a field of an operation.
fn kind(id: &str, field: &str) -> Value {
    let permissions: Vec<&str> = Permission::ALL.iter().map(|p| p.as_str()).collect();
    let roles: Vec<&str> = Role::ALL.iter().map(|r| r.as_str()).collect();
    match (id, field) {
        ("listNodes", "state") => words(NodeState::WORDS),
        ("listTasks", "state") => words(TaskState::WORDS),
        // The others follow from what a node does.
        ("patchNode", "state") => {
            let asked = [
                NodeState::Active,
                NodeState::Draining,
                NodeState::Maintenance,
                NodeState::Quarantined,
            ];
            json!({"type": "string", "enum": asked.map(NodeState::as_str)})
        }
        ("listNodes", "sort") => columns(&["id", "org", "state", "live", "cpu", "seen"]),
        ("listTasks", "sort") => columns(&["id", "ns", "state", "tier", "priority", "changed"]),
        ("submitTask" | "planTask", "ns") => text(WORD),
        ("makeToken" | "makeAccount", "name") => text(WORD),
        ("listJobs", "sort") => columns(&["name", "ver", "tasks"]),
        ("listPeers", "sort") => columns(&["name", "org", "expires", "rtt"]),
        ("listNames", "sort") => columns(&["alias", "status", "seq", "index", "expires"]),
        ("listKeysets", "sort") => columns(&["id", "unit", "phase", "expires"]),
        ("listNames", "status") => words(&STATES),
        ("listKeysets", "phase") => words(&PHASES),
        ("listKeysets", "alarm") => words(&["1"]),
        ("planJob" | "runJob", "file") => {
            json!({"type": "string", "minLength": 1, "maxLength": FILE_MAX})
        }
        ("planJob" | "runJob", "format") => words(&["toml", "json"]),
        ("listNodes" | "listTasks" | "listJobs", "org" | "ns") => json!({"type": "string"}),
        (_, "ns" | "org") => text(NO_WORD),
        (_, "kind") => words(Kind::WORDS),
        (_, "tier") => words(Tier::WORDS),
        (_, "level") => words(Level::WORDS),
        (_, "strategy") => words(Strategy::WORDS),
        (_, "after") => text("^([0-9a-f]{2})*$"),
        (_, "module") => text("^[0-9a-f]{64}$"),
        ("makeToken", "scope") => several(&format!("({})", permissions.join("|"))),
        (_, "scope") => json!({"type": "string"}),
        (_, "grants") => several(&format!("({})(@[a-z0-9_.-]{{1,63}})?", roles.join("|"))),
        (_, "password") => json!({"type": "string", "minLength": 12, "maxLength": 128}),
        (_, "days") => number(1, 366),
        (_, "hours") => number(1, 24 * 365),
        (_, "count") => number(1, TOKENS_MAX),
        (_, "page" | "n" | "from") => number(0, NUMBER_MAX),
        _ => match form::kind(field) {
            form::Kind::Flag => json!({"type": "boolean"}),
            form::Kind::List => {
                json!({"type": "array", "items": {"type": "string", "maxLength": 1024}, "maxItems": 64})
            }
            form::Kind::Number => number(0, NUMBER_MAX),
            _ => json!({"type": "string"}),
        },
    }
}

fn operation(route: &Route) -> Value {
    let variables = route
        .path
        .split('/')
        .filter_map(|s| s.strip_prefix('{')?.strip_suffix('}'));
    let in_path = variables.map(
        |name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}),
    );
    let in_query = query(route.id)
        .iter()
        .map(|name| json!({"name": name, "in": "query", "required": false, "schema": kind(route.id, name)}));
    let parameters: Vec<Value> = in_path.chain(in_query).collect();
    let (status, content) = answer(route.id);
    let mut good = json!({"description": "Done"});
    if let Some(content) = content {
        good["content"] = json!({content: {"schema": {}}});
    }
    let mut operation = json!({
        "operationId": route.id,
        "parameters": parameters,
        "responses": {
            status: good,
            "default": {"description": "A problem of RFC 9457", "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}},
        },
    });
    match route.access {
        Access::Open => operation["security"] = json!([]),
        Access::Needs(p) | Access::Lists(p) => operation["x-permission"] = json!(p.as_str()),
    }
    if let Some((fields, required)) = body(route.id) {
        let properties: Map<String, Value> = fields
            .iter()
            .map(|f| ((*f).to_owned(), kind(route.id, f)))
            .collect();
        let mut schema = json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
        if route.id == "patchAccount" {
            schema["minProperties"] = json!(1);
        }
        // A node's token has a default for each field.
        let needed = route.id != "makeNodeToken";
        operation["requestBody"] =
            json!({"required": needed, "content": {"application/json": {"schema": schema}}});
    }
    if route.id == "putModule" {
        operation["requestBody"] =
            json!({"required": true, "content": {"application/octet-stream": {"schema": {}}}});
    }
    operation
}

const fn verb(method: Method) -> &'static str {
    match method {
        Method::Get => "get",
        Method::Post => "post",
        Method::Put => "put",
        Method::Patch => "patch",
        Method::Delete => "delete",
    }
}

/// The document: the routes of the API, and the open ones that programs use.
pub(crate) fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES
        .iter()
        .filter(|r| r.is_api() || matches!(r.id, "health" | "keySet"))
    {
        let entry = paths.entry(route.path).or_insert_with(|| json!({}));
        entry[verb(route.method)] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Betanet control panel",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Programs send an API token or an access token as bearer.",
        },
        "paths": paths,
        "security": [{"bearer": []}],
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Problem": {
                "type": "object",
                "required": ["type", "title", "status", "detail", "code", "instance"],
                "properties": {
                    "type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
                    "detail": {"type": "string"}, "code": {"type": "string"}, "field": {"type": "string"}, "instance": {"type": "string"},
                },
            }},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_of_the_api_is_described() {
        let document = document();
        let described: usize = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .map(|p| p.as_object().unwrap().len())
            .sum();
        let offered = ROUTES.iter().filter(|r| r.is_api()).count() + 2;
        assert_eq!(described, offered);
        for route in ROUTES {
            for name in body(route.id).map_or(&[][..], |(fields, _)| fields) {
                assert_ne!(form::kind(name), form::Kind::Unknown, "{name}");
            }
        }
        for route in ROUTES.iter().filter(|r| r.is_api()) {
            let operation = &document["paths"][route.path][verb(route.method)];
            assert_eq!(operation["operationId"], route.id);
            let takes = !operation["requestBody"].is_null();
            let bare = ["endSessions", "cancelTask", "revertJob"].contains(&route.id);
            let writes = matches!(route.method, Method::Post | Method::Put | Method::Patch);
            assert_eq!(takes, writes && !bare, "{}", route.id);
        }
    }
}
