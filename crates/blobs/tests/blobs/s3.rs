//! The same tests over a bucket of a server that speaks S3, and what only a bucket has.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use betanet_blobs::{Blobs, Digest, Error, Place, Settings};
use betanet_store::State;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Bed, all, body, files, open_settings, put, random};

/// Length of the parts of an upload.
const PART: usize = 5 << 20;
const BUCKET: &str = "fog";

tokio::task_local! {
    /// The server in whose bucket new beds are.
    static WITHIN: Arc<Server>;
}

/// Runs a test's work, all of whose beds are in a bucket of `server`.
async fn within<T>(server: &Arc<Server>, work: impl Future<Output = T>) -> T {
    WITHIN.scope(Arc::clone(server), work).await
}

/// A server that speaks S3, with one bucket. It ends with the test.
pub(crate) struct Server {
    child: Child,
    endpoint: String,
    prefixes: AtomicU64,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server's program: of the variable, of `cargo xtask ci`, or of the search path.
fn program() -> PathBuf {
    let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let installed = home.map(|home| home.join("betanet-moto-5.2.5/bin/moto_server"));
    let named = std::env::var_os("BETANET_MOTO_SERVER").map(PathBuf::from);
    let found = named.or(installed.filter(|path| path.exists()));
    found.unwrap_or_else(|| PathBuf::from("moto_server"))
}

impl Server {
    async fn start() -> Arc<Self> {
        let child = Command::new(program())
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap_or_else(|e| {
            panic!(
                "moto_server: {e}; run: python3 -m venv ~/.cache/betanet-moto-5.2.5 && \
                 ~/.cache/betanet-moto-5.2.5/bin/pip install 'moto[s3]==5.2.5' flask==3.1.3 flask-cors==6.0.5"
            )
        });
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let told = |line: String| Some(line.split_once("Running on http://")?.1.to_owned());
        let at = lines.by_ref().find_map(|line| told(line.unwrap())).unwrap();
        // It tells of each request, and must not wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        let server = Self {
            child,
            endpoint: at.trim().to_owned(),
            prefixes: AtomicU64::new(0),
        };
        server.ask("PUT", &format!("/{BUCKET}")).await;
        Arc::new(server)
    }

    /// Sends a request that needs no signature from this server.
    async fn ask(&self, method: &str, target: &str) -> String {
        let mut stream = TcpStream::connect(&self.endpoint).await.unwrap();
        let host = &self.endpoint;
        let request =
            format!("{method} {target} HTTP/1.0\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains(" 200 "), "{answer}");
        answer
    }

    fn settings(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", format!("http://{}", self.endpoint)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", "id".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "key".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }

    fn place(&self, text: &str) -> Place {
        let Ok(Place::S3(mut bucket)) = text.parse() else {
            panic!("{text}")
        };
        for (name, value) in self.settings() {
            bucket = bucket.with(name, &value);
        }
        Place::S3(bucket)
    }
}

/// The keys of one bed.
pub(crate) struct Space {
    server: Arc<Server>,
    s3: AmazonS3,
    prefix: String,
}

impl Space {
    /// Within [`within`], keys that no other bed has.
    pub(crate) fn new() -> Option<Self> {
        let server = WITHIN.try_with(Arc::clone).ok()?;
        let mut s3 = AmazonS3Builder::new().with_bucket_name(BUCKET);
        for (name, value) in server.settings() {
            s3 = s3.with_config(name.to_ascii_lowercase().parse().unwrap(), value);
        }
        let number = server.prefixes.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            s3: s3.build().unwrap(),
            prefix: format!("bed/{number}"),
            server,
        })
    }

    pub(crate) fn place(&self) -> Place {
        self.server.place(&format!("s3://{BUCKET}/{}", self.prefix))
    }

    pub(crate) fn served(&self, digest: Digest) -> Path {
        let name = digest.to_string();
        Path::from(format!("{}/{}/{name}", self.prefix, &name[..2]))
    }

    pub(crate) fn damaged(&self, digest: Digest) -> Path {
        Path::from(format!("{}/damaged/{digest}", self.prefix))
    }

    pub(crate) async fn objects(&self) -> Vec<u64> {
        let prefix = Path::from(self.prefix.as_str());
        let all = self.s3.list(Some(&prefix)).map_ok(|meta| meta.size);
        all.try_collect().await.unwrap()
    }

    /// Number of uploads of parts that were neither completed nor aborted.
    pub(crate) async fn uploads(&self) -> usize {
        let answer = self.server.ask("GET", &format!("/{BUCKET}?uploads")).await;
        let own = format!("<Key>{}/", self.prefix);
        answer.matches(&own).count()
    }

    pub(crate) async fn read(&self, path: &Path) -> Option<Vec<u8>> {
        match self.s3.get(path).await {
            Ok(found) => Some(found.bytes().await.unwrap().to_vec()),
            Err(object_store::Error::NotFound { .. }) => None,
            Err(e) => panic!("{e}"),
        }
    }

    pub(crate) async fn write(&self, path: &Path, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.s3.put(path, bytes.into()).await.unwrap();
    }

    pub(crate) async fn remove(&self, path: &Path) {
        self.s3.delete(path).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_keeps_what_a_folder_keeps() {
    let server = Server::start().await;
    within(&server, async {
        super::over_s3().await;
        super::faults::over_s3().await;
        super::room::over_s3().await;
        super::model::over_s3().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_blobs_travel_in_parts_that_a_bucket_takes() {
    let server = Server::start().await;
    within(&server, async {
        let mut bed = Bed::new(open_settings()).await;
        let tail = |len: usize| len.div_ceil(256 << 10) * 16 + 64;
        let whole = PART - tail(PART - 1000);
        // Around the length that one request takes, and around whole parts of content.
        for len in [
            whole,
            whole + 1,
            PART,
            PART + 1,
            2 * PART - 700,
            2 * PART,
            12_345_678,
        ] {
            let content = random(len as u64, len);
            let digest = Digest::of(&content);
            assert!(put(bed.blobs(), &content).await.unwrap().new);
            let stored = bed.raw(digest).await.unwrap();
            assert_eq!(stored.len(), len + tail(len), "{len}");
            assert!(all(bed.blobs(), digest).await.unwrap() == content, "{len}");
            let (from, to) = (len as u64 / 3, len as u64 - 5);
            let part = bed.blobs().get(digest, from..to).await.unwrap();
            let part = part.all(to).await.unwrap();
            let (from, to) = (len / 3, len - 5);
            assert!(part == content[from..to], "{len}");
        }
        // Only objects: neither an upload nor its note is left.
        assert_eq!(bed.stored().await.len(), 7);
        bed.reopen(open_settings()).await;
        assert_eq!(bed.blobs().facts().await.blobs, 7);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_of_long_uploads_is_removed() {
    let server = Server::start().await;
    within(&server, async {
        let mut bed = Bed::new(open_settings()).await;
        let content = random(1, 3 * PART);
        let (digest, size) = (Digest::of(&content), content.len() as u64);
        let notes = |bed: &Bed| files(&bed.home.path().join("state/uploads"));
        // One that is cancelled between two parts, one whose content is another's, one whose sender fails.
        for parts in [90, 110, 130] {
            let begun = body(&content, PART / 50)
                .take(parts)
                .chain(stream::pending());
            let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
            let mut n = 0;
            let begun = begun.inspect(move |_| {
                n += 1;
                let _ = told.send(n);
            });
            let blobs = bed.blobs().clone();
            let upload = tokio::spawn(async move { blobs.put(digest, size, begun).await });
            while tells.recv().await.unwrap() < parts {}
            upload.abort();
            assert!(upload.await.unwrap_err().is_cancelled());
            bed.blobs().settle().await;
            assert!(bed.stored().await.is_empty(), "{parts}");
        }
        let other = Digest::of(b"another");
        let refused = bed.blobs().put(other, size, body(&content, 100_000)).await;
        assert!(matches!(refused, Err(Error::Digest { .. })), "{refused:?}");
        let parts = body(&content, 100_000).take(130);
        let failing = parts.chain(stream::iter([Err(std::io::ErrorKind::TimedOut.into())]));
        let refused = bed.blobs().put(digest, size, failing).await;
        assert!(matches!(refused, Err(Error::Body(_))), "{refused:?}");
        assert!(bed.stored().await.is_empty());

        // A process that ends in the midst of one: its note is left, and the next start ends the upload.
        let place = bed.place();
        let state = bed.home.path().join("state");
        bed.blobs = None;
        let (halfway, mut told) = tokio::sync::mpsc::unbounded_channel();
        let begun = body(&content, 100_000).take(120).chain(stream::pending());
        let mut n = 0;
        let begun = begun.inspect(move |_| {
            n += 1;
            let _ = halfway.send(n);
        });
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let upload = runtime.spawn(async move {
                let state = Arc::new(State::open(&state).unwrap());
                let blobs = Blobs::open_at(&state, &place, open_settings())
                    .await
                    .unwrap();
                blobs.put(digest, size, begun).await
            });
            while told.blocking_recv().unwrap() < 120 {}
            // Nothing runs on, as when a process is killed.
            runtime.shutdown_background();
            drop(upload);
        });
        thread.join().unwrap();
        let space = bed.space.as_ref().unwrap();
        assert_eq!((space.uploads().await, notes(&bed).len()), (1, 1));
        let note = notes(&bed).remove(0).0;
        std::fs::write(note.with_file_name("cut"), b"").unwrap();
        // A start with another bucket leaves it alone.
        let state = Arc::new(State::open(&bed.home.path().join("state")).unwrap());
        let other = server.place("s3://fog/other");
        drop(
            Blobs::open_at(&state, &other, open_settings())
                .await
                .unwrap(),
        );
        drop(state);
        assert_eq!((space.uploads().await, notes(&bed).len()), (1, 2));
        bed.reopen(open_settings()).await;
        assert!(bed.stored().await.is_empty());
        assert!(put(bed.blobs(), &content).await.unwrap().new);
    })
    .await;
}

#[tokio::test]
async fn a_store_that_takes_over_sees_what_the_other_has_stored() {
    let server = Server::start().await;
    within(&server, async {
        let first = Bed::new(open_settings()).await;
        let content = |n| random(n, 1000);
        let digest = |n| Digest::of(&content(n));
        put(first.blobs(), &content(0)).await.unwrap();
        put(first.blobs(), &content(1)).await.unwrap();
        let home = tempfile::tempdir().unwrap();
        let state = Arc::new(State::open(&home.path().join("state")).unwrap());
        let second = Blobs::open_at(&state, &first.place(), open_settings()).await;
        let second = second.unwrap();
        assert_eq!(second.facts().await.blobs, 2);
        put(first.blobs(), &content(2)).await.unwrap();
        assert!(first.blobs().remove(digest(0)).await.unwrap());
        assert_eq!(
            (second.has(digest(0)), second.has(digest(2))),
            (Some(1000), None)
        );
        second.refresh().await.unwrap();
        assert_eq!(
            (second.has(digest(0)), second.has(digest(2))),
            (None, Some(1000))
        );
        assert!(all(&second, digest(2)).await.unwrap() == content(2));
        assert_eq!(second.facts().await.bytes, 2 * 4096);
        // The second store's own changes count too, also after a refresh.
        assert!(second.remove(digest(1)).await.unwrap());
        put(&second, &content(3)).await.unwrap();
        second.refresh().await.unwrap();
        let facts = second.facts().await;
        assert_eq!((facts.blobs, facts.bytes), (2, 2 * 4096));
    })
    .await;
}

#[tokio::test]
async fn a_bucket_that_cannot_be_used_is_an_error_that_names_it() {
    let server = Server::start().await;
    let home = tempfile::tempdir().unwrap();
    let state = Arc::new(State::open(&home.path().join("state")).unwrap());
    let refused = |place: Place| {
        let state = Arc::clone(&state);
        async move {
            let refused = Blobs::open_at(&state, &place, Settings::default()).await;
            let mut error: &dyn std::error::Error = &refused.unwrap_err();
            let mut text = error.to_string();
            while let Some(source) = error.source() {
                text = format!("{text}: {source}");
                error = source;
            }
            text
        }
    };
    let missing = refused(server.place("s3://another/prefix")).await;
    assert!(missing.contains("NoSuchBucket"), "{missing}");
    let Place::S3(bucket) = server.place("s3://fog") else {
        panic!()
    };
    let unknown = refused(Place::S3(bucket.with("AWS_COLOUR", "red"))).await;
    assert!(
        unknown.contains("aws_colour") && !unknown.contains("red"),
        "{unknown}"
    );
}
