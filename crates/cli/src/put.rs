//! `betanet put`, `post` and `del`.

use std::path::Path;

use betanet_bar::{Headers, Method, Request};
use betanet_runtime::{Answer, SessionHandle};
use bytes::BytesMut;
use serde_json::json;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::Fail;
use crate::args::{DelArgs, PutArgs};
use crate::fail::interruptible;
use crate::get::refused;
use crate::progress;
use crate::target::{Dialling, Url};

/// Bytes read and sent at once.
const CHUNK: usize = 64 << 10;

pub(crate) async fn put(args: PutArgs) -> Result<(), Fail> {
    interruptible(send(&args, Method::Put)).await
}

pub(crate) async fn post(args: PutArgs) -> Result<(), Fail> {
    interruptible(send(&args, Method::Post)).await
}

pub(crate) async fn del(args: DelArgs) -> Result<(), Fail> {
    let url = Url::parse(&args.url)?;
    let mut headers = Headers::default();
    if let Some(etag) = &args.if_match {
        headers.set("if-match", etag.as_str());
    }
    let request = Request::new(Method::Del, &url.target, headers);
    let mut dialling = Dialling::to_name(url.name, &args.peer)?;
    interruptible(async {
        let session = dialling.session().await?;
        dialling.reached();
        let answer = session.ask(request).await?;
        report(answer, args.json, &args.url).await?;
        session.close().await;
        dialling.leave().await;
        Ok(())
    })
    .await
}

async fn report(answer: Answer, as_json: bool, url: &str) -> Result<(), Fail> {
    let status = answer.head.status;
    if !(200..300).contains(&status) {
        return Err(refused(answer).await);
    }
    let location = answer.head.headers.text("location");
    if as_json {
        let facts = json!({
            "url": url,
            "status": status,
            "etag": answer.head.headers.text("etag"),
            "location": location,
        });
        say!("{facts}");
    } else if let Some(location) = location {
        say!("{location}");
    }
    Ok(())
}

async fn send(args: &PutArgs, method: Method) -> Result<(), Fail> {
    let url = Url::parse(&args.url)?;
    let mut headers = Headers::default();
    let stdin = args.file.as_os_str() == "-";
    let kind = match &args.content_type {
        Some(kind) => kind.clone(),
        None if stdin => betanet_carrier::content_type(&url.target),
        None => betanet_carrier::content_type(&args.file.to_string_lossy()),
    };
    headers.set("content-type", kind);
    if let Some(etag) = &args.if_match {
        headers.set("if-match", etag.as_str());
    }
    if args.new {
        headers.set("if-none-match", "*");
    }
    let (input, len) = open(&args.file, stdin).await?;
    if let Some(len) = len {
        headers.set("content-length", len.to_string());
    }
    let mut dialling = Dialling::to_name(url.name, &args.peer)?;
    let session = dialling.session().await?;
    dialling.reached();
    let request = Request::new(method, &url.target, headers);
    let answer = stream(&session, request, input, len, &args.file).await?;
    report(answer, args.json, &args.url).await?;
    session.close().await;
    dialling.leave().await;
    Ok(())
}

type Input = Box<dyn AsyncRead + Unpin>;

async fn open(path: &Path, stdin: bool) -> Result<(Input, Option<u64>), Fail> {
    if stdin {
        return Ok((Box::new(tokio::io::stdin()), None));
    }
    let file = File::open(path).await.map_err(Fail::file(path))?;
    let meta = file.metadata().await.map_err(Fail::file(path))?;
    if meta.is_dir() {
        return Err(Fail::Local(format!("{}: is a folder", path.display())));
    }
    Ok((Box::new(file), meta.is_file().then_some(meta.len())))
}

async fn stream(
    session: &SessionHandle,
    request: Request,
    mut input: Input,
    len: Option<u64>,
    path: &Path,
) -> Result<Answer, Fail> {
    let upload = session.upload(request).await?;
    let bar = progress::bar(len, 0);
    loop {
        let mut buf = BytesMut::with_capacity(CHUNK);
        let n = input.read_buf(&mut buf).await.map_err(Fail::file(path))?;
        // A server that has heard enough answers before the end; its answer says why.
        if n == 0 || upload.send(buf.freeze()).await.is_err() {
            break;
        }
        bar.inc(n as u64);
    }
    bar.finish_and_clear();
    Ok(upload.finish().await?)
}
