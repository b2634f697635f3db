//! `betanet get`: to a file or standard output, taken up again after cuts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use betanet_bar::{Headers, Method, Request, Response, parse_range, status};
use betanet_runtime::{Answer, Clock, Cost, Error};
use indicatif::ProgressBar;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::Fail;
use crate::args::GetArgs;
use crate::fail::interruptible;
use crate::progress;
use crate::target::{Dialling, Url};

/// The last byte of a range whose end is not known; servers clip it.
const TO_THE_END: u64 = (1 << 53) - 1;
/// A refusal's text, at most.
const REASON_MAX: usize = 4096;

/// Where bytes go.
enum Sink {
    Stdout(tokio::io::Stdout),
    File {
        file: File,
        path: PathBuf,
    },
    /// What is there and no file: a device, a pipe. It keeps its name, and nothing of it is taken up again.
    Device {
        file: File,
        path: PathBuf,
    },
}

/// `FILE.part`, and what is known of it in `FILE.part.etag`.
fn part(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

struct Download {
    sink: Sink,
    offset: u64,
    etag: Option<String>,
    hash: Sha256,
    /// Whether the hash covers the whole resource.
    whole: bool,
    resumed: u32,
    total: Option<u64>,
    bar: Option<ProgressBar>,
    padded: Option<Cost>,
}

impl Download {
    async fn begin(args: &GetArgs) -> Result<Self, Fail> {
        let mut this = Self {
            sink: Sink::Stdout(tokio::io::stdout()),
            offset: 0,
            etag: None,
            hash: Sha256::new(),
            whole: args.range.is_none(),
            resumed: 0,
            total: None,
            bar: None,
            padded: None,
        };
        let Some(path) = args.output.clone().filter(|p| p.as_os_str() != "-") else {
            if args.json {
                return Err(Fail::Usage("--json needs -o FILE".into()));
            }
            return Ok(this);
        };
        if fs::metadata(&path)
            .await
            .is_ok_and(|m| !m.is_file() && !m.is_dir())
        {
            let file = fs::OpenOptions::new().write(true).open(&path).await;
            let file = file.map_err(Fail::file(&path))?;
            this.sink = Sink::Device { file, path };
            return Ok(this);
        }
        let part_path = part(&path, ".part");
        if args.resume {
            this.pick_up(&part_path, &part(&path, ".part.etag")).await?;
        }
        let file = fs::OpenOptions::new()
            .create(true)
            .write(true)
            .append(this.offset > 0)
            .truncate(this.offset == 0)
            .open(&part_path)
            .await
            .map_err(Fail::file(&part_path))?;
        this.sink = Sink::File { file, path };
        Ok(this)
    }

    /// Takes over what an earlier run left.
    async fn pick_up(&mut self, part: &Path, etag: &Path) -> Result<(), Fail> {
        let (Ok(mut file), Ok(etag)) = (File::open(part).await, fs::read_to_string(etag).await)
        else {
            return Ok(());
        };
        let mut buf = vec![0; 1 << 20];
        loop {
            let n = file.read(&mut buf).await.map_err(Fail::file(part))?;
            if n == 0 {
                break;
            }
            self.hash.update(&buf[..n]);
            self.offset += n as u64;
        }
        self.etag = Some(etag);
        Ok(())
    }

    /// The resource has changed: what is there is worthless.
    async fn restart(&mut self) -> Result<(), Fail> {
        let Sink::File { file, path } = &mut self.sink else {
            return Err(Fail::Peer(
                "the resource changed while it was fetched".into(),
            ));
        };
        let part = part(path, ".part");
        *file = File::create(&part).await.map_err(Fail::file(&part))?;
        self.offset = 0;
        self.etag = None;
        self.hash = Sha256::new();
        Ok(())
    }

    fn request(&self, url: &Url, range: Option<&str>) -> Request {
        let mut headers = Headers::default();
        if let Some(range) = range {
            headers.set("range", format!("bytes={range}"));
        } else if self.offset > 0 {
            headers.set("range", format!("bytes={}-{TO_THE_END}", self.offset));
        }
        if self.offset > 0
            && let Some(etag) = &self.etag
        {
            headers.set("if-match", etag.as_str());
        }
        Request::new(Method::Get, &url.target, headers)
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Fail> {
        self.hash.update(bytes);
        self.offset += bytes.len() as u64;
        if let Some(bar) = &self.bar {
            bar.set_position(self.offset);
        }
        match &mut self.sink {
            Sink::Stdout(out) => out.write_all(bytes).await.map_err(Fail::output),
            Sink::File { file, path } | Sink::Device { file, path } => {
                file.write_all(bytes).await.map_err(Fail::file(path))
            }
        }
    }

    /// Notes what the head tells.
    async fn head(&mut self, head: &Response) -> Result<(), Fail> {
        self.etag = head.headers.text("etag").map(str::to_owned);
        let left = head.headers.content_length().ok().flatten();
        self.total = left.map(|n| n + self.offset);
        self.bar = Some(progress::bar(self.total, self.offset));
        if let (Sink::File { path, .. }, Some(etag)) = (&self.sink, &self.etag) {
            let note = part(path, ".part.etag");
            fs::write(&note, etag).await.map_err(Fail::file(&note))?;
        }
        Ok(())
    }

    /// The file gets its name once it is whole.
    async fn finish(&mut self) -> Result<(), Fail> {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        match &mut self.sink {
            Sink::Stdout(out) => out.flush().await.map_err(Fail::output),
            Sink::Device { file, path } => file.flush().await.map_err(Fail::file(path)),
            Sink::File { file, path } => {
                file.sync_all().await.map_err(Fail::file(path))?;
                fs::rename(part(path, ".part"), &*path)
                    .await
                    .map_err(Fail::file(path))?;
                // There is none where the server gave no etag.
                let _ = fs::remove_file(part(path, ".part.etag")).await;
                Ok(())
            }
        }
    }
}

/// The `a-b` of an answer to a request from `offset` on must begin there.
fn begins_at(head: &Response, offset: u64) -> bool {
    head.headers
        .text("content-range")
        .and_then(|t| t.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok())
        == Some(offset)
}

pub(crate) async fn refused(mut answer: Answer) -> Fail {
    let why = answer.body.all(REASON_MAX).await.ok().flatten();
    let why = why.unwrap_or_default();
    let why: String = String::from_utf8_lossy(&why)
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    let colon = if why.is_empty() { "" } else { ": " };
    Fail::Peer(format!(
        "the peer answered {}{colon}{why}",
        answer.head.status
    ))
}

pub(crate) async fn run(args: GetArgs) -> Result<(), Fail> {
    let url = Url::parse(&args.url)?;
    if let Some(range) = &args.range
        && parse_range(&format!("bytes={range}"), u64::MAX).is_none()
    {
        return Err(Fail::Usage(format!("--range {range}: 0-499, 500- or -500")));
    }
    if !(0.0..=86_400.0).contains(&args.stay) {
        return Err(Fail::Usage(format!(
            "--stay {}: 0 to 86400 seconds",
            args.stay
        )));
    }
    let mut dialling = Dialling::to_name(url.name, &args.peer)?;
    let mut download = Download::begin(&args).await?;
    let began = Clock::start();
    let status = interruptible(fetch(&args, &url, &mut dialling, &mut download)).await?;
    download.finish().await?;
    let mixed = dialling.mix_stats();
    dialling.leave().await;
    if args.json {
        let facts = json!({
            "url": args.url,
            "status": status,
            "bytes": download.offset,
            "sha256": download.whole.then(|| {
                betanet_wire::text::hex(&download.hash.clone().finalize())
            }),
            "etag": download.etag,
            "resumed": download.resumed,
            "seconds": began.elapsed().as_secs_f64(),
            "padded": download.padded.map(|c| json!({ "sent": c.sent, "padding": c.padding, "bursts": c.bursts })),
            "mix_packets": mixed.map(|s| json!({ "sent": s.sent, "received": s.received })),
        });
        say!("{facts}");
    }
    Ok(())
}

/// Fetches until all is there, taking a cut transfer up again.
async fn fetch(
    args: &GetArgs,
    url: &Url,
    dialling: &mut Dialling,
    download: &mut Download,
) -> Result<u16, Fail> {
    let mut retries = args.retries;
    let mut reached = false;
    loop {
        let before = download.offset;
        match attempt(args, url, dialling, download, &mut reached).await {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => {}
            Err(Error::Outer { .. } | Error::Session { .. } | Error::Exchange(_))
                if reached && retries > 0 && args.range.is_none() =>
            {
                // A transfer that gets on may be cut any number of times.
                if download.offset == before {
                    retries -= 1;
                }
                download.resumed += 1;
            }
            Err(e) => return Err(e.into()),
        }
    }
}

/// One session's worth; `None` to begin anew at once.
async fn attempt(
    args: &GetArgs,
    url: &Url,
    dialling: &mut Dialling,
    download: &mut Download,
    reached: &mut bool,
) -> Result<Option<u16>, Error> {
    let began = Clock::start();
    let session = dialling.session().await?;
    if !std::mem::replace(reached, true) {
        dialling.reached();
    }
    let request = download.request(url, args.range.as_deref());
    let mut answer = session.ask(request).await?;
    let status = answer.head.status;
    let local = |fail: Fail| Error::File {
        path: args.output.clone().unwrap_or_default(),
        source: std::io::Error::other(match fail {
            Fail::Peer(w) | Fail::Usage(w) | Fail::Local(w) => w,
            Fail::Interrupted => String::new(),
        }),
    };
    if status == status::CONFLICT && download.offset > 0 {
        download.restart().await.map_err(local)?;
        return Ok(None);
    }
    // Nothing is missing: the earlier run was cut after the last byte.
    if status == status::BAD_REQUEST
        && download.offset > 0
        && answer.head.headers.text("content-range")
            == Some(&format!("bytes */{}", download.offset))
    {
        return Ok(Some(status::OK));
    }
    if status != status::OK {
        let fail = refused(answer).await;
        let Fail::Peer(why) = fail else {
            return Ok(None);
        };
        return Err(Error::Answer { why });
    }
    if download.offset > 0 && !begins_at(&answer.head, download.offset) {
        download.restart().await.map_err(local)?;
    }
    download.head(&answer.head).await.map_err(local)?;
    loop {
        match answer.body.chunk().await {
            Ok(Some(bytes)) => download.write(&bytes).await.map_err(local)?,
            Ok(None) => break,
            Err(_) if download.total == Some(download.offset) => break,
            Err(e) => return Err(e.into()),
        }
    }
    let stay = Duration::from_secs_f64(args.stay).saturating_sub(began.elapsed());
    tokio::time::sleep(stay).await;
    // Of a session that has ended nothing is known.
    download.padded = session.facts().await.ok().and_then(|f| f.padded);
    session.close().await;
    Ok(Some(status))
}
