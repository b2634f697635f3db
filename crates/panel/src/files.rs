//! Health, assets and the OpenAPI document.

use crate::assets::assets;
use crate::cx::Cx;
use crate::fault::Fault;
use crate::openapi;
use crate::reply::{self, Done};

/// `GET /healthz`: whether the panel answers. The node's faults are at its admin address.
pub(crate) async fn health(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&[])?;
    cx.shared.desk.with(|_, _, _| ()).await?;
    Ok(reply::whole(200, "text/plain; charset=utf-8", "ok\n").into())
}

/// `GET /assets/{*file}`
pub(crate) async fn asset(cx: Cx) -> Result<Done, Fault> {
    let asset = assets().find(cx.var()).ok_or(Fault::Missing)?;
    let gzip = asset.gzip.as_ref().filter(|_| cx.gzip);
    let body = gzip.unwrap_or(&asset.plain).clone();
    let mut response = reply::whole(200, asset.kind, body);
    if gzip.is_some() {
        reply::set(&mut response, "content-encoding", "gzip");
    }
    reply::set(&mut response, "vary", "accept-encoding");
    // The name changes with the content.
    reply::set(
        &mut response,
        "cache-control",
        "public, max-age=31536000, immutable",
    );
    Ok(response.into())
}

/// `GET /api/v1/openapi.json`
pub(crate) async fn openapi(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&[])?;
    Ok(reply::json(200, &openapi::document()).into())
}
