//! The face over BAR: DET-CBOR bodies, streams of messages.

use std::sync::Arc;

use betanet_bar::{Client, HeaderValue, Method as BarMethod};
use betanet_fog::to_vec;
use betanet_session::{Call, CallBody, Reply, Service, ServiceFuture};
use bytes::Bytes;
use futures_util::stream::{StreamExt as _, unfold};

use crate::api::{Answer, Api, Asked, Body, Method, Refused, Who};

/// Type of an item.
const CBOR: &str = "application/cbor";

/// Type of a stream of messages.
const MESSAGES: &str = "application/cbor-seq";

/// The service for the prefix `/fog/1`.
pub(crate) struct BarService(pub(crate) Arc<Api>);

impl Service for BarService {
    fn call(&self, call: Call) -> ServiceFuture {
        let api = Arc::clone(&self.0);
        Box::pin(async move {
            let headers = &call.request.headers;
            let who = match call.client {
                Client::Direct(node) => Who::Direct(node),
                Client::Anonymous => Who::OverMix(match headers.get("authorization") {
                    Some(HeaderValue::Bytes(bytes)) => Some(bytes.clone()),
                    Some(HeaderValue::Text(_)) => Some(Vec::new()),
                    None => None,
                }),
            };
            let asked = Asked {
                who,
                charge: match call.client {
                    Client::Direct(_) => Some(call.from.charge),
                    Client::Anonymous => None,
                },
                method: match call.request.method {
                    BarMethod::Get => Method::Get,
                    BarMethod::Put => Method::Put,
                    BarMethod::Post => Method::Post,
                    BarMethod::Del => Method::Delete,
                },
                target: call.request.target.clone(),
                range: headers.text("range").map(str::to_owned),
                length: headers.content_length().ok().flatten(),
                body: Body(Box::pin(pieces(call.body))),
            };
            match api.serve(asked).await {
                Ok(answer) => answered(answer),
                Err(refused) => refusal(refused),
            }
        })
    }
}

fn pieces(
    body: CallBody,
) -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> + Send {
    unfold(Some(body), |body| async move {
        let mut body = body?;
        match body.chunk().await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(body))),
            Ok(None) => None,
            Err(error) => Some((Err(std::io::Error::other(error)), None)),
        }
    })
}

fn whole(status: u16, kind: &str, body: Vec<u8>) -> Reply {
    Reply::new(status)
        .with_header("content-type", kind)
        .with_header("content-length", body.len().to_string())
        .with_body(body)
}

fn answered(answer: Answer) -> Reply {
    match answer {
        Answer::Bare(status) => Reply::new(status),
        Answer::Item(status, body, _) => whole(status, CBOR, body),
        Answer::Items(items, _) => Reply::new(200)
            .with_header("content-type", MESSAGES)
            .streaming(items.map(|item| Ok::<_, std::convert::Infallible>(message(&item)))),
        Answer::Bytes(status, headers, pieces) => {
            let mut reply = Reply::new(status);
            for (name, value) in headers {
                reply = reply.with_header(name, value);
            }
            reply.streaming(pieces)
        }
    }
}

/// An item with its length before it.
fn message(item: &[u8]) -> Bytes {
    let mut all = Vec::with_capacity(4 + item.len());
    all.extend_from_slice(&u32::try_from(item.len()).unwrap_or(u32::MAX).to_be_bytes());
    all.extend_from_slice(item);
    all.into()
}

fn refusal(refused: Refused) -> Reply {
    let mut reply = whole(refused.status, CBOR, to_vec(&refused.body));
    for (name, value) in refused.headers {
        reply = reply.with_header(name, value);
    }
    reply
}
