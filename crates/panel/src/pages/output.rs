//! The output of a task: its files, to be taken one by one.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use betanet_fog::bodies::Status;
use betanet_fog::{Output, OutputFile, RefusalCode, TaskId};
use betanet_fog_service::BlobParts;
use betanet_wire::text::{hex, unhex_array};
use futures_util::stream::StreamExt as _;
use maud::{Markup, html};
use serde_json::json;
use tokio::time::sleep;

use super::task;
use crate::cx::Cx;
use crate::downloads::Taken;
use crate::fault::Fault;
use crate::reply::{self, Done};
use crate::text;

/// Longest time in which a file is taken.
const DOWNLOAD_TIME: Duration = Duration::from_secs(600);
/// Longest name of a file that is taken.
const NAME_MAX: usize = 100;

/// The output that a task's status names. One that is not stored here is `None`.
async fn named(cx: &Cx, status: &Status) -> Result<Option<Output>, Fault> {
    let Some(digest) = status.out else {
        return Ok(None);
    };
    match cx.shared.local.output(digest).await {
        Ok(output) => Ok(Some(output)),
        Err(refusal) if refusal.code == RefusalCode::Unknown => Ok(None),
        Err(refusal) => Err(refusal.into()),
    }
}

/// The files of a task's output, with links.
pub(crate) async fn files(cx: &Cx, id: &TaskId, status: &Status) -> Result<Markup, Fault> {
    if status.out.is_none() {
        return Ok(html! {});
    }
    let output = named(cx, status).await?;
    Ok(html! {
        section.card aria-labelledby="output" {
            h2 #output { "Output" }
            @match &output {
                None => p { "The coordinator has not stored it, or not any more." },
                Some(output) if output.files.is_empty() => p { "Exit code " (output.exit) ". The program wrote no file." },
                Some(output) => {
                    p { "Exit code " (output.exit) "." }
                    div.scroll tabindex="0" role="region" aria-label="Files" { table data-testid="output-table" {
                        thead { tr { th scope="col" { "File" } th scope="col" { "Size" } th scope="col" { "SHA-256" } } }
                        tbody { @for file in output.files.iter() { (row(id, file)) } }
                    } }
                }
            }
        }
    })
}

fn row(id: &TaskId, file: &OutputFile) -> Markup {
    let digest = hex(&file.digest);
    html! {
        tr {
            th scope="row" { a href={ "/tasks/" (hex(&id.0)) "/output/" (digest) } download { (file.path) } }
            td { (text::bytes(file.size)) }
            td { code { (digest) } }
        }
    }
}

/// The status of the task that the path names, for a caller who may read it.
async fn status(cx: &Cx) -> Result<Status, Fault> {
    cx.query.only(&[])?;
    let id = cx.task()?;
    task::allowed(cx, &id).await?;
    Ok(cx.shared.local.status(id).await?)
}

/// The name under which a browser stores a file: the last part of its path, of letters that every system takes.
fn name(path: &str) -> String {
    let last = path.rsplit('/').next().unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let letters = last.chars().map(|c| if plain(c) { c } else { '_' });
    let name: String = letters.take(NAME_MAX).collect();
    match name.trim_start_matches('.') {
        "" => "output".to_owned(),
        name => name.to_owned(),
    }
}

/// A body that keeps its place until it is sent, and breaks off after a time.
fn sent(parts: BlobParts, place: Taken) -> Body {
    let parts = parts.map(move |part| {
        let _held = &place;
        part
    });
    Body::from_stream(parts.take_until(sleep(DOWNLOAD_TIME)))
}

/// The file that the path names by its digest. Only files of the task's own output are given out.
async fn file(cx: &Cx) -> Result<Response, Fault> {
    let output = named(cx, &status(cx).await?).await?.ok_or(Fault::Missing)?;
    let digest = cx.vars.get(1).and_then(|text| unhex_array(text));
    let digest: [u8; 32] = digest.ok_or(Fault::Missing)?;
    let mut files = output.files.iter();
    let file = files.find(|f| f.digest == digest).ok_or(Fault::Missing)?;
    let place = cx.shared.downloads.place(cx.who()?.caller.account);
    let place = place.ok_or(Fault::Busy)?;
    let (size, parts) = cx.shared.local.blob(digest).await?;
    let body = sent(parts, place);
    let mut response = reply::whole(200, "application/octet-stream", body);
    reply::set(&mut response, "content-length", &size.to_string());
    let disposition = format!("attachment; filename=\"{}\"", name(&file.path));
    reply::set(&mut response, "content-disposition", &disposition);
    Ok(response)
}

/// `GET /tasks/{id}/output/{digest}` and `GET /api/v1/tasks/{id}/output/{digest}`
pub(crate) async fn download(cx: Cx) -> Result<Done, Fault> {
    Ok(file(&cx).await?.into())
}

/// `GET /api/v1/tasks/{id}/output`
pub(crate) async fn listed(cx: Cx) -> Result<Done, Fault> {
    let output = named(&cx, &status(&cx).await?)
        .await?
        .ok_or(Fault::Missing)?;
    let files = output
        .files
        .iter()
        .map(|f| json!({"path": f.path.as_str(), "size": f.size, "digest": hex(&f.digest)}));
    let body = json!({"exit": output.exit, "files": files.collect::<Vec<_>>()});
    Ok(reply::json(200, &body).into())
}

#[cfg(test)]
mod tests {
    use betanet_auth::AccountId;
    use bytes::Bytes;
    use http_body_util::BodyExt as _;
    use tokio::time::Instant;

    use super::*;
    use crate::downloads::Downloads;

    #[test]
    fn a_file_has_a_plain_name() {
        for (path, plain) in [
            ("stdout", "stdout"),
            ("a/b/c.txt", "c.txt"),
            ("a\"; filename=\"x", "a___filename__x"),
            ("..", "output"),
            ("x/.profile", "profile"),
            ("a\r\nb", "a__b"),
        ] {
            assert_eq!(name(path), plain);
        }
        assert_eq!(name(&"x".repeat(1_000)).len(), NAME_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_taken_in_time_and_its_place_comes_back() {
        let downloads = Downloads::default();
        let take = || {
            let place = downloads.place(AccountId([1; 16]))?;
            let first = futures_util::stream::iter([Ok(Bytes::from_static(b"x"))]);
            let parts = first.chain(futures_util::stream::pending());
            Some(sent(parts.boxed(), place))
        };
        let mut open: Vec<Body> = std::iter::from_fn(take).collect();
        let mut last = open.pop().unwrap();
        let began = Instant::now();
        assert!(last.frame().await.unwrap().is_ok());
        assert!(take().is_none());
        assert!(last.frame().await.is_none(), "it is cut off");
        assert_eq!(began.elapsed(), DOWNLOAD_TIME);
        drop(last);
        assert!(take().is_some());
    }
}
