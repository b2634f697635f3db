//! The face at the admin address: the same requests as JSON over HTTP, and the OpenAPI document.

mod snapshot;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use betanet_fog::{BODY_MAX, RefusalCode, json, to_vec};
use betanet_fog::{Item as _, bodies::RefusalBody};
use betanet_runtime::{AdminFuture, AdminReply, AdminRequest, Extension, Fault, Measure};
use betanet_wire::ChargeTo;
use bytes::Bytes;
use futures_util::stream::{StreamExt as _, once};

use crate::api::{Answer, Api, Asked, Body, Method, Refused, Takes, Who, route};
use crate::openapi;

const JSON: &str = "application/json";

/// Type of a stream of items, one a line.
const LINES: &str = "application/x-ndjson";

/// Everybody at the admin address is charged for bodies together, apart from callers over the mix.
const CHARGE: Option<ChargeTo> = Some(ChargeTo::address(IpAddr::V4(Ipv4Addr::LOCALHOST)));

/// The coordinator's part of a node: its requests at the admin address, its metrics, its health.
pub(crate) struct AdminFace(pub(crate) Arc<Api>);

impl Extension for AdminFace {
    fn paths(&self) -> &'static [&'static str] {
        &["/fog/1", "/openapi.json", "/coordinator/snapshot"]
    }

    fn answer(self: Arc<Self>, request: AdminRequest) -> AdminFuture {
        let api = Arc::clone(&self.0);
        Box::pin(async move { reply(api, request).await })
    }

    fn measures(&self) -> Vec<Measure> {
        crate::measures::measures(&self.0)
    }

    fn faults(&self) -> Vec<Fault> {
        crate::measures::faults(&self.0.handle)
    }
}

async fn reply(api: Arc<Api>, request: AdminRequest) -> AdminReply {
    if request.uri.path() == "/openapi.json" {
        return AdminReply::whole(200, JSON, openapi::document().to_string());
    }
    if request.uri.path() == "/coordinator/snapshot" {
        let answer = snapshot::answer(&api, &request.method).await;
        return answer.unwrap_or_else(|refusal| self::refusal(api.refused(refusal)));
    }
    match asked(&api, request).await {
        Ok(asked) => match api.serve(asked).await {
            Ok(answer) => answered(answer),
            Err(refused) => refusal(refused),
        },
        Err(refused) => refusal(refused),
    }
}

/// A request with its JSON as DET-CBOR.
async fn asked(api: &Api, request: AdminRequest) -> Result<Asked, Refused> {
    let refuse = |code: RefusalCode, key| api.refused(code.of(key));
    let method = match request.method.as_str() {
        "GET" => Method::Get,
        "PUT" => Method::Put,
        "POST" => Method::Post,
        "DELETE" => Method::Delete,
        _ => return Err(refuse(RefusalCode::Malformed, "method")),
    };
    let header = |name: &str| {
        let value = request.headers.get(name);
        value.and_then(|v| v.to_str().ok()).map(str::to_owned)
    };
    let (range, length) = (header("range"), header("content-length"));
    let path = request.uri.path();
    let path = path.strip_prefix(route::PREFIX).unwrap_or_default();
    let takes = route::of(method, path.trim_start_matches('/')).map(|(r, _)| r.takes);
    let target = request.uri.to_string();
    let body = Body(request.body);
    let body = match takes {
        Some(Takes::One(shape)) => {
            let part = api.room.part(CHARGE);
            let mut part = part.ok_or_else(|| refuse(RefusalCode::Rate, ""))?;
            let text = body.read(json::JSON_MAX, &mut part).await;
            let text = text.map_err(|r| api.refused(r))?;
            let text = String::from_utf8(text);
            let text = text.map_err(|_| refuse(RefusalCode::Malformed, "body"))?;
            let cbor = json::to_cbor(&text, shape).map_err(|e| api.refused(e.refusal()))?;
            if cbor.len() > BODY_MAX {
                return Err(refuse(RefusalCode::TooLarge, ""));
            }
            Body(Box::pin(once(std::future::ready(Ok(Bytes::from(cbor))))))
        }
        _ => body,
    };
    Ok(Asked {
        who: Who::Admin,
        charge: CHARGE,
        method,
        target,
        range,
        length: length.and_then(|n| n.parse().ok()),
        body,
    })
}

fn answered(answer: Answer) -> AdminReply {
    match answer {
        Answer::Bare(status) => AdminReply::whole(status, JSON, Bytes::new()),
        Answer::Item(status, body, shape) => match json::from_cbor(&body, shape) {
            Ok(text) => AdminReply::whole(status, JSON, text + "\n"),
            Err(error) => {
                tracing::error!(%error, "an answer has another shape than its route");
                AdminReply::whole(500, JSON, Bytes::new())
            }
        },
        Answer::Items(items, shape) => {
            let lines = items.filter_map(move |item| {
                let line = json::from_cbor(&item, shape).ok();
                std::future::ready(line.map(|l| Ok(Bytes::from(l + "\n"))))
            });
            AdminReply {
                status: 200,
                headers: vec![("content-type", LINES.to_owned())],
                body: Box::pin(lines),
            }
        }
        Answer::Bytes(status, headers, pieces) => AdminReply {
            // HTTP has a status of its own for parts.
            status: match headers.iter().any(|(name, _)| *name == "content-range") {
                true => 206,
                false => status,
            },
            headers,
            body: pieces,
        },
    }
}

fn refusal(refused: Refused) -> AdminReply {
    let text = json::from_cbor(&to_vec(&refused.body), &RefusalBody::SHAPE).unwrap_or_default();
    let mut reply = AdminReply::whole(refused.status, JSON, text + "\n");
    reply.headers.extend(refused.headers);
    reply
}

#[cfg(test)]
mod tests {
    use betanet_keys::Identity;
    use betanet_store::State;
    use http::HeaderMap;

    use super::*;
    use crate::api::Body as Pieces;
    use crate::room::BODIES_OVER_MIX;
    use crate::{Coordinator, Settings, Stores};

    #[tokio::test]
    async fn callers_over_the_mix_do_not_shut_operators_out() {
        let home = tempfile::tempdir().unwrap();
        let state = Arc::new(State::open(&home.path().join("state")).unwrap());
        let stores = Stores::open(&state, 1 << 20).await.unwrap();
        let me = Identity::from_seed(&[1; 32]);
        let coordinator = Coordinator::new(me, Settings::default(), stores);
        let api = coordinator.shared_api();
        let mut mixed = api.room.part(None).unwrap();
        assert!(mixed.grow(BODIES_OVER_MIX) && !api.room.part(None).unwrap().grow(1));
        let order = format!(
            r#"{{"exp":1,"id":"{}","kinds":["compute"],"node":"","org":"acme"}}"#,
            "07".repeat(16)
        );
        let request = AdminRequest {
            method: http::Method::POST,
            uri: "/fog/1/tokens".parse().unwrap(),
            headers: HeaderMap::new(),
            body: Box::pin(once(std::future::ready(Ok(Bytes::from(order))))),
        };
        let asked = asked(api, request).await;
        let asked = asked.unwrap_or_else(|r| panic!("{}", r.status));
        let mut part = api.room.part(asked.charge).unwrap();
        assert!(Pieces::read(asked.body, BODY_MAX, &mut part).await.is_ok());
    }
}
