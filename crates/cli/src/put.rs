//! `betanet put`, `post` and `del`.

mod input;

use betanet_bar::{Headers, Method, NOT_ALLOWED, Request, status};
use betanet_runtime::Answer;
use serde_json::json;

use crate::Fail;
use crate::args::{DelArgs, PeerArgs, PutArgs};
use crate::fail::interruptible;
use crate::get::refused;
use crate::id::default_key;
use crate::name;
use crate::opened::Opened;
use crate::progress::Bar;
use crate::source::Source;
use crate::target::{Dialling, Url};
use input::Input;

pub(crate) async fn put(args: PutArgs) -> Result<(), Fail> {
    send(args, Method::Put).await
}

pub(crate) async fn post(args: PutArgs) -> Result<(), Fail> {
    send(args, Method::Post).await
}

pub(crate) async fn del(mut args: DelArgs) -> Result<(), Fail> {
    name::relays(&mut args.peer.dial).await?;
    let url = name::url(&args.url, &args.peer.dial).await?;
    let mut headers = Headers::default();
    if let Some(etag) = &args.if_match {
        headers.set("if-match", etag.as_str());
    }
    let request = Request::new(Method::Del, &url.target, headers);
    let ask = async |source: &Source, session: &Opened| {
        let answer = source.step(session.ask(request)).await?;
        Ok(answer?)
    };
    over(&url, &args.peer, (args.json, &args.url), ask).await
}

async fn send(mut args: PutArgs, method: Method) -> Result<(), Fail> {
    name::relays(&mut args.peer.dial).await?;
    let url = name::url(&args.url, &args.peer.dial).await?;
    if method == Method::Put && url.target.contains('?') {
        return Err(Fail::Usage(format!(
            "{}: a name that is stored has no '?'",
            args.url
        )));
    }
    let mut headers = Headers::default();
    let kind = match &args.content_type {
        Some(kind) => kind.clone(),
        None if args.file.as_os_str() == "-" => betanet_carrier::content_type(&url.target),
        None => betanet_carrier::content_type(&args.file.to_string_lossy()),
    };
    headers.set("content-type", kind);
    if let Some(etag) = &args.if_match {
        headers.set("if-match", etag.as_str());
    }
    if args.new {
        headers.set("if-none-match", "*");
    }
    let input = Input::open(&args.file)?;
    if let Some(len) = input.len() {
        headers.set("content-length", len.to_string());
    }
    let request = Request::new(method, &url.target, headers);
    let ask = async |source: &Source, session: &Opened| {
        stream(source, session, request, input, &args).await
    };
    over(&url, &args.peer, (args.json, &args.url), ask).await
}

/// Sends one request over a new session, with the user's identity.
async fn over(
    url: &Url,
    args: &PeerArgs,
    (as_json, said): (bool, &str),
    ask: impl AsyncFnOnce(&Source, &Opened) -> Result<Answer, Fail>,
) -> Result<(), Fail> {
    let mut source = Source::new(Dialling::as_oneself(url, args)?);
    if source.dialling().me().is_none() && !source.dialling().is_mixed() {
        note!(
            "note: without an identity of your own, a fresh one is shown: betanet id new makes {}",
            default_key().display()
        );
    }
    let done = interruptible(async {
        let session = source.session().await?;
        let answer = ask(&source, &session).await?;
        if (200..300).contains(&answer.head.status) {
            report(&answer, as_json, said);
            return Ok(());
        }
        Err(refusal(answer, source.dialling()).await)
    })
    .await;
    source.close().await;
    done
}

fn report(answer: &Answer, as_json: bool, url: &str) {
    let location = answer.head.headers.text("location");
    if as_json {
        let facts = json!({
            "url": url,
            "status": answer.head.status,
            "etag": answer.head.headers.text("etag"),
            "location": location,
        });
        say!("{facts}");
    } else if let Some(location) = location {
        say!("{location}");
    }
}

/// Describes a refusal, and names the identity used if that is the cause.
async fn refusal(answer: Answer, dialling: &Dialling) -> Fail {
    let status = answer.head.status;
    let why = refused(answer).await;
    let names = why.contains(NOT_ALLOWED);
    let hint = match (status, dialling.me()) {
        (status::FORBIDDEN | status::UNAUTHORIZED, _) if dialling.is_mixed() => {
            "; over the mix you have no name that it could know".to_owned()
        }
        (status::FORBIDDEN, Some(me)) if names => {
            format!("; you asked as {me}, and the server's --allow must list that name")
        }
        (status::FORBIDDEN, Some(me)) => format!("; you asked as {me}"),
        (status::FORBIDDEN, None) if names => format!(
            "; you asked with a fresh identity: make your own with betanet id new ({}), and have the server's --allow list its name",
            default_key().display()
        ),
        _ => String::new(),
    };
    Fail::Peer(why + &hint)
}

async fn stream(
    source: &Source,
    session: &Opened,
    request: Request,
    mut input: Input,
    args: &PutArgs,
) -> Result<Answer, Fail> {
    let upload = source.step(session.upload(request)).await??;
    let bar = Bar::new(input.is_file(), input.len(), 0);
    loop {
        // A server may answer before the end. The rest of the input is then not waited for.
        let read = tokio::select! {
            biased;
            () = upload.answered() => break,
            read = input.next() => read,
        };
        let bytes = match read {
            Ok(Some(bytes)) => bytes,
            Ok(None) => break,
            Err(fail) => {
                upload.abandon().await;
                return Err(fail);
            }
        };
        let len = bytes.len() as u64;
        // The end returns the answer, or the error.
        if source.step(upload.send(bytes)).await?.is_err() {
            break;
        }
        bar.inc(len);
    }
    drop(bar);
    if input.grew() {
        note!(
            "note: {} became longer while it was sent: its first {} bytes were",
            args.file.display(),
            input.len().unwrap_or(0)
        );
    }
    let answer = source.step(upload.finish()).await?;
    Ok(answer?)
}
