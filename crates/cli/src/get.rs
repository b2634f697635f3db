//! `betanet get`: fetches to a file or standard output, and resumes after cuts.

mod download;
mod folder;
mod part;
mod place;
mod rest;
mod sink;

use std::time::Duration;

use betanet_bar::{parse_range, status};
use betanet_mix::Lost;
use betanet_runtime::{Answer, Clock, DialError, Error, ExchangeError, SessionError};
use betanet_voucher_service::{PRICE_HEADER, Price};
use serde_json::json;

use crate::Fail;
use crate::args::GetArgs;
use crate::fail::interruptible;
use crate::name;
use crate::pay::Payer;
use crate::progress;
use crate::source::Source;
use crate::target::Dialling;
use download::{Download, Next, Wanted};
use place::Place;
use rest::Rest;

/// Maximum length of the printed text of a refusal.
const REASON_MAX: usize = 4096;

/// The reason why a fetch stopped.
enum Trouble {
    /// The session or the exchange was cut. Another one may succeed.
    Cut(Error),
    /// The peer failed so often that it is not dialled for a while.
    Resting(Error),
    Fail(Fail),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            Error::Dial(DialError::Outer { .. })
            | Error::Session(
                SessionError::Carrier(_) | SessionError::Session { .. } | SessionError::Exchange(_),
            ) => Self::Cut(error),
            Error::Dial(DialError::Resting(_)) => Self::Resting(error),
            other => Self::Fail(other.into()),
        }
    }
}

impl From<SessionError> for Trouble {
    fn from(error: SessionError) -> Self {
        Error::from(error).into()
    }
}

impl From<Fail> for Trouble {
    fn from(fail: Fail) -> Self {
        Self::Fail(fail)
    }
}

impl From<Trouble> for Fail {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Cut(error) | Trouble::Resting(error) => error.into(),
            Trouble::Fail(fail) => fail,
        }
    }
}

pub(crate) async fn refused(mut answer: Answer) -> String {
    let why = answer.body.all(REASON_MAX).await.ok().flatten();
    let why = why.unwrap_or_default();
    let why: String = String::from_utf8_lossy(&why)
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    let colon = if why.is_empty() { "" } else { ": " };
    let price = answer.head.headers.text(PRICE_HEADER);
    let price = price.and_then(Price::parse).map_or_else(String::new, |p| {
        format!(": {} {}; --pay-max N --wallet DIR pays", p.units, p.unit)
    });
    format!(
        "the peer answered {}{colon}{why}{price}",
        answer.head.status
    )
}

fn check(args: &GetArgs) -> Result<(), Fail> {
    if let Some(range) = &args.range
        && parse_range(&format!("bytes={range}"), u64::MAX).is_none()
    {
        return Err(Fail::Usage(format!("--range {range}: 0-499, 500- or -500")));
    }
    if args.recursive && args.spend.pay_max.is_some() {
        let why = "--pay-max: a folder is not fetched for payment; name each file";
        return Err(Fail::Usage(why.to_owned()));
    }
    if !(0.0..=86_400.0).contains(&args.stay) {
        return Err(Fail::Usage(format!(
            "--stay {}: 0 to 86400 seconds",
            args.stay
        )));
    }
    if let Some(digest) = &args.sha256
        && betanet_wire::text::unhex(&digest.to_ascii_lowercase()).is_none_or(|d| d.len() != 32)
    {
        return Err(Fail::Usage(format!("--sha256 {digest}: 64 hex digits")));
    }
    Ok(())
}

pub(crate) async fn run(mut args: GetArgs) -> Result<(), Fail> {
    name::relays(&mut args.peer.dial).await?;
    let url = name::url(&args.url, &args.peer.dial).await?;
    check(&args)?;
    if args.recursive {
        return folder::run(&args, &url).await;
    }
    let place = Place::look(args.output.as_deref(), &url.target)?;
    if args.json && place == Place::Stdout {
        return Err(Fail::Usage("--json needs -o FILE".into()));
    }
    let payer = Payer::open(&args.spend, &args.peer.dial)?;
    let mut source = Source::new(Dialling::to_url(&url, &args.peer)?).paying(payer);
    let wanted = Wanted {
        range: args.range.clone(),
        resume: args.resume,
        digest: args.json,
        sha256: args.sha256.clone(),
    };
    let mut download = Download::begin(&url, place, wanted)?;
    let began = Clock::start();
    let fetched = interruptible(async {
        let (status, resumed) = fetch(args.retries, &mut source, &mut download).await?;
        let fetched = download.finish().await?;
        let stay = Duration::from_secs_f64(args.stay);
        tokio::time::sleep(stay.saturating_sub(source.open_for())).await;
        Ok((status, resumed, fetched))
    })
    .await;
    let seconds = began.elapsed().as_secs_f64();
    let spent = source.spent();
    let (padded, mixed) = source.close().await;
    let spent = spent?;
    let (status, resumed, fetched) = fetched?;
    if args.json {
        let facts = json!({
            "url": args.url,
            "status": status,
            "bytes": fetched.bytes,
            "fetched": fetched.came,
            "sha256": fetched.sha256.filter(|_| args.range.is_none()),
            "etag": fetched.etag,
            "resumed": resumed,
            "seconds": seconds,
            "paid": spent,
            "padded": padded.map(|c| json!({ "sent": c.sent, "padding": c.padding, "bursts": c.bursts })),
            "mix_packets": mixed.map(|s| json!({ "sent": s.sent, "received": s.received })),
        });
        say!("{facts}");
    }
    Ok(())
}

/// Fetches a whole resource, and resumes a cut transfer. Returns the last status, and the number of resumptions.
async fn fetch(
    retries: u32,
    source: &mut Source,
    download: &mut Download,
) -> Result<(u16, u32), Trouble> {
    let (mut retries, mut resumed) = (retries, 0);
    let (mut rest, mut last) = (Rest::new(), None);
    loop {
        let before = download.got();
        match attempt(source, download).await {
            Ok(Some(status)) => return Ok((status, resumed)),
            Ok(None) => {}
            Err(trouble) if rest.over(&trouble).await => download.pause(),
            Err(Trouble::Cut(why)) if source.is_reached() && retries > 0 => {
                // A transfer that makes progress may be cut any number of times.
                if download.got() <= before {
                    if is_silent_mix(&why) {
                        return Err(Trouble::Cut(why));
                    }
                    retries -= 1;
                }
                resumed += 1;
                progress::failed(&why);
                last = Some(why);
                source.forget();
                download.pause();
            }
            Err(trouble) => return Err(because(last, trouble)),
        }
    }
}

/// Returns whether the mix gave up an exchange after it had repeated the packets for a minute, each over another path.
const fn is_silent_mix(error: &Error) -> bool {
    matches!(
        error,
        Error::Session(SessionError::Exchange(ExchangeError::Mix {
            why: Lost::Silent,
            ..
        }))
    )
}

/// Adds the last error to the report on a peer that is not dialled for a while.
fn because(last: Option<Error>, trouble: Trouble) -> Trouble {
    match (last, trouble) {
        (Some(last), Trouble::Resting(error)) => {
            let (why, rests): (Fail, Fail) = (last.into(), error.into());
            Fail::Peer(format!("{}; {}", why.why(), rests.why())).into()
        }
        (_, trouble) => trouble,
    }
}

/// Runs one exchange. Returns `None` if another one follows at once.
async fn attempt(source: &mut Source, download: &mut Download) -> Result<Option<u16>, Trouble> {
    let session = source.session().await?;
    let mut request = download.request().await?;
    source.pay(&mut request);
    let folder = request.path().ends_with('/');
    let mut answer = source.step(session.ask(request)).await??;
    let status = answer.head.status;
    if source.paid(&answer.head).await? {
        return Ok(None);
    }
    match download.head(&answer.head).await? {
        Next::Body => {}
        Next::Again => return Ok(None),
        Next::Whole => return Ok(Some(status)),
        Next::Refused => {
            let hint = if folder && status == status::NOT_FOUND {
                "; a folder is listed where the server has --listing"
            } else {
                ""
            };
            let why = refused(answer).await;
            return Err(Fail::Peer(format!("{why}{hint}")).into());
        }
    }
    loop {
        match source.step(answer.body.chunk()).await? {
            Ok(Some(bytes)) => download.write(bytes).await?,
            Ok(None) => break,
            Err(_) if download.has_all() => break,
            Err(e) => return Err(Error::from(e).into()),
        }
    }
    if let Some(next) = answer.head.headers.text(betanet_bar::NEXT) {
        download.follow(next);
        return Ok(None);
    }
    Ok(Some(status))
}
