//! The OpenAPI document, made from the routes and the shapes of their bodies.

use betanet_fog::{Item as _, Shape, bodies::RefusalBody};
use serde_json::{Map, Value, json};

use crate::api::route::{Gives, Method, PREFIX, ROUTES, Route, Takes};

/// Bound of numbers that JSON carries as numbers.
const EXACT: u64 = 1 << 53;

/// Returns the document.
pub(crate) fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let path = format!("{PREFIX}/{}", route.path);
        let entry = paths.entry(path).or_insert_with(|| json!({}));
        entry[verb(route.method)] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Betanet fog coordinator",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The requests of betanet/fog/1.0.0. Bytes are hex; numbers from 2^53 on are decimal text.",
        },
        "paths": paths,
        "components": {"schemas": {"Refusal": schema(&RefusalBody::SHAPE)}},
    })
}

const fn verb(method: Method) -> &'static str {
    match method {
        Method::Get => "get",
        Method::Put => "put",
        Method::Post => "post",
        Method::Delete => "delete",
    }
}

fn operation(route: &Route) -> Value {
    let in_path = route.path.split('/').filter_map(|segment| {
        let name = segment.strip_prefix('{')?.strip_suffix('}')?;
        Some(json!({
            "name": name, "in": "path", "required": true, "schema": {"type": "string"},
        }))
    });
    let in_query = route.query.iter().map(|name| {
        json!({"name": name, "in": "query", "required": false, "schema": {"type": "string"}})
    });
    let parameters: Vec<Value> = in_path.chain(in_query).collect();
    let content = |kind: &str, schema: Value| json!({kind: {"schema": schema}});
    let mut answer = json!({"description": route.about});
    match route.gives {
        Gives::Nothing => {}
        Gives::One(shape) => answer["content"] = content("application/json", schema(shape)),
        Gives::Many(shape) => answer["content"] = content("application/x-ndjson", schema(shape)),
        Gives::Bytes => answer["content"] = content("application/octet-stream", json!(true)),
    }
    let mut operation = json!({
        "summary": route.about,
        "parameters": parameters,
        "responses": {
            (route.status.to_string()): answer,
            "default": {
                "description": "A refusal: its code, and the key that it blames",
                "content": content("application/json", json!({"$ref": "#/components/schemas/Refusal"})),
            },
        },
    });
    let body = match route.takes {
        Takes::Nothing => None,
        Takes::One(shape) => Some(content("application/json", schema(shape))),
        Takes::Bytes => Some(content("application/octet-stream", json!(true))),
    };
    if let Some(content) = body {
        operation["requestBody"] = json!({"required": true, "content": content});
    }
    operation
}

/// The JSON schema of a shape.
fn schema(shape: &Shape) -> Value {
    match shape {
        Shape::Unsigned => json!({
            "oneOf": [
                {"type": "integer", "minimum": 0, "maximum": EXACT - 1},
                {"type": "string", "pattern": "^[0-9]{16,19}$"},
            ],
        }),
        Shape::Integer => json!({
            "oneOf": [{"type": "integer"}, {"type": "string", "pattern": "^-?[0-9]{16,19}$"}],
        }),
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Text => json!({"type": "string", "maxLength": 1024}),
        Shape::Word => json!({"type": "string", "pattern": "^[a-z0-9_.-]{0,63}$"}),
        Shape::Choice(words) => json!({"type": "string", "enum": words}),
        Shape::Bytes(None) => json!({"type": "string", "pattern": "^([0-9a-f]{2})*$"}),
        Shape::Bytes(Some(n)) => {
            json!({"type": "string", "pattern": format!("^[0-9a-f]{{{}}}$", 2 * n)})
        }
        Shape::Optional(n) => {
            json!({"type": "string", "pattern": format!("^([0-9a-f]{{{}}})?$", 2 * n)})
        }
        Shape::List(item, most) => {
            json!({"type": "array", "items": schema(item), "maxItems": most})
        }
        Shape::Tuple(items) => json!({
            "type": "array",
            "prefixItems": items.iter().map(schema).collect::<Vec<_>>(),
            "minItems": items.len(),
            "maxItems": items.len(),
        }),
        Shape::Map(_, value) => {
            json!({"type": "object", "additionalProperties": schema(value), "maxProperties": 64})
        }
        Shape::Record(keys) => {
            let of: Map<String, Value> = keys
                .iter()
                .map(|(key, shape)| ((*key).to_owned(), schema(shape)))
                .collect();
            let required: Vec<&str> = keys.iter().map(|(key, _)| *key).collect();
            json!({
                "type": "object",
                "properties": of,
                "required": required,
                "additionalProperties": false,
            })
        }
        Shape::NumberOrText => json!({"oneOf": [{"type": "integer"}, {"type": "string"}]}),
        Shape::Tagged(_, forms) => {
            json!({"oneOf": forms.iter().map(|(_, shape)| schema(shape)).collect::<Vec<_>>()})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_every_route_and_no_dangling_reference() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let operations: usize = paths.values().map(|p| p.as_object().unwrap().len()).sum();
        assert_eq!(operations, ROUTES.len());
        let beat = &document["paths"]["/fog/1/nodes/{node}/beat"]["post"];
        let body = &beat["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(
            body["required"],
            json!(["rtt", "seq", "gone", "have", "work"])
        );
        assert_eq!(beat["parameters"][0]["name"], "node");
        assert_eq!(
            document["components"]["schemas"]["Refusal"]["type"],
            "object"
        );
    }
}
