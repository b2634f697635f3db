//! The OpenAPI document, made from the table of routes.

use betanet_auth::routes::{Access, Method, ROUTES, Route};
use serde_json::{Map, Value, json};

use crate::{form, spec};

/// What a JSON body of an operation has: its fields, and which of them are needed.
fn body(id: &str) -> Option<(&'static [&'static str], &'static [&'static str])> {
    Some(match id {
        "apiLogIn" => (&["name", "password", "scope"], &["name", "password"]),
        "apiRefresh" => (&["refresh_token"], &["refresh_token"]),
        "makeToken" => (&["name", "scope", "days"], &["name", "scope"]),
        "patchNode" => (&["state"], &["state"]),
        "makeNodeToken" => (&["kind", "org", "hours"], &[]),
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
        "keySet" => ("200", Some("application/jwk-set+json")),
        "health" => ("200", Some("text/plain")),
        _ => ("200", Some("application/json")),
    }
}

fn kind(field: &str) -> Value {
    match form::kind(field) {
        form::Kind::Flag => json!({"type": "boolean"}),
        form::Kind::List => {
            json!({"type": "array", "items": {"type": "string", "maxLength": 1024}, "maxItems": 64})
        }
        form::Kind::Number => json!({"type": "integer", "minimum": 0}),
        _ if matches!(field, "page" | "n" | "from") => json!({"type": "integer", "minimum": 0}),
        _ => json!({"type": "string"}),
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
        .map(|name| json!({"name": name, "in": "query", "required": false, "schema": kind(name)}));
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
        let properties: Map<String, Value> =
            fields.iter().map(|f| ((*f).to_owned(), kind(f))).collect();
        let schema = json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
        operation["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": schema}}});
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
