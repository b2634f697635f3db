//! S3-compatible storage: what its objects need beyond a folder's files.
//!
//! An upload is one request if it is short, and otherwise one of parts of 5 MiB, the least that S3 takes. The storage keeps the parts
//! of an upload that was never ended, and bills them. A note in the state folder names each, in a folder for each bucket, so that the
//! next start with this bucket ends them.

use std::fs;
use std::io::Write as _;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{MultipartId, ObjectStoreExt as _, PutPayload, RetryConfig};
use tokio::task::JoinHandle;

use crate::names::create_folder;
use crate::place::Bucket;
use crate::{Digest, Error};

/// Length of each part but the last, in bytes.
const PART: usize = 5 << 20;
/// Time for which a request that fails is repeated. Callers wait for it.
const REPEAT: Duration = Duration::from_secs(20);
const UNFINISHED: &str = "end an unfinished upload";
const STORE: &str = "store a blob";
const NOTED: &str = "note an upload";
/// Longest note that is read. Identifiers of uploads have some hundred bytes.
const NOTE_MAX: u64 = 8 << 10;
/// Number of unfinished uploads that are ended at a time.
const ENDED_AT_A_TIME: usize = 16;

/// A bucket that is used.
#[derive(Debug)]
pub(crate) struct Objects {
    s3: AmazonS3,
    prefix: Path,
    /// Folder of the notes of uploads to this bucket.
    notes: PathBuf,
    turn: AtomicU64,
}

impl Objects {
    /// Connects to a bucket, and ends the uploads that a crash has left. Notes of uploads are below a folder, in one for each bucket.
    pub(crate) async fn open(bucket: &Bucket, notes: PathBuf) -> Result<Self, Error> {
        let mut builder = AmazonS3Builder::from_env();
        for (variable, value) in &bucket.settings {
            let key = variable.to_ascii_lowercase().parse::<AmazonS3ConfigKey>();
            let key = key.map_err(Error::backend("set up the bucket"))?;
            builder = builder.with_config(key, value.as_str());
        }
        let retry = RetryConfig {
            retry_timeout: REPEAT,
            ..RetryConfig::default()
        };
        let builder = builder.with_bucket_name(&bucket.name).with_retry(retry);
        let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
        let endpoint = endpoint.unwrap_or_default();
        let place = format!("{} {bucket:?}", endpoint.trim_end_matches('/'));
        let notes = notes.join(Digest::of(place.as_bytes()).to_string());
        let s3 = builder
            .build()
            .map_err(Error::backend("set up the bucket"))?;
        let objects = Self {
            s3,
            prefix: Path::from(bucket.prefix.as_str()),
            notes,
            turn: AtomicU64::new(0),
        };
        objects.end_unfinished().await?;
        Ok(objects)
    }

    pub(crate) const fn store(&self) -> &AmazonS3 {
        &self.s3
    }

    pub(crate) const fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// Ends the uploads that have notes. The note of one that cannot be ended stays for the next start.
    async fn end_unfinished(&self) -> Result<(), Error> {
        let folder = self.notes.clone();
        let notes = tokio::task::spawn_blocking(move || notes(&folder));
        let notes = notes.await.map_err(Error::backend(UNFINISHED))?;
        let notes = notes.map_err(Error::backend(UNFINISHED))?;
        let ending = notes.into_iter().map(|(file, digest, id)| async move {
            if let (Some(digest), Some(id)) = (digest, id) {
                let place = crate::names::served(&self.prefix, &digest);
                match self.s3.abort_multipart(&place, &id).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(_) => return,
                }
            }
            forget(file).await;
        });
        let ending = stream::iter(ending).buffer_unordered(ENDED_AT_A_TIME);
        ending.collect::<()>().await;
        Ok(())
    }

    /// Writes a note of an upload, which outlasts the machine's power.
    async fn note(&self, digest: &Digest, id: MultipartId) -> Result<PathBuf, Error> {
        loop {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let file = self.notes.join(format!("{digest}-{turn}"));
            let id = id.clone();
            let written = tokio::task::spawn_blocking(move || write_note(file, &id));
            match written.await.map_err(Error::backend(NOTED))? {
                // The note of an earlier upload that could not be ended.
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                written => return written.map_err(Error::backend(NOTED)),
            }
        }
    }
}

type Note = (PathBuf, Option<Digest>, Option<MultipartId>);

/// Writes a new note, and syncs it and its folder.
fn write_note(file: PathBuf, id: &str) -> std::io::Result<PathBuf> {
    let mut out = fs::File::create_new(&file)?;
    out.write_all(id.as_bytes())?;
    out.sync_all()?;
    if let Some(folder) = file.parent() {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

/// Creates the folder of notes, and syncs the two above it, so that notes in it outlast the machine's power.
fn create_notes(folder: &FilePath) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    create_folder(folder)?;
    for above in folder.ancestors().skip(1).take(2) {
        fs::File::open(above)?.sync_all()?;
    }
    Ok(())
}

/// Reads the notes of uploads. One that a crash has cut names none.
fn notes(folder: &FilePath) -> std::io::Result<Vec<Note>> {
    create_notes(folder)?;
    let mut out = Vec::new();
    for file in fs::read_dir(folder)? {
        let file = file?;
        let name = file.file_name();
        let digest = name.to_str().and_then(|name| name.split_once('-'));
        let digest = digest.and_then(|(digest, _)| Digest::parse(digest));
        let short = file.metadata()?.len() <= NOTE_MAX;
        let id = short.then(|| fs::read_to_string(file.path()));
        let id = id.transpose()?.filter(|id| !id.is_empty());
        out.push((file.path(), digest, id));
    }
    Ok(out)
}

/// An upload to a bucket.
#[derive(Debug)]
pub(crate) struct Upload {
    objects: Arc<Objects>,
    digest: Digest,
    /// Bytes that are not sent yet, at most a part once a write is done.
    waiting: Vec<Bytes>,
    len: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// All of it may fit into one request.
    Whole,
    /// An upload of parts is being begun, which must not stop halfway.
    Begins(JoinHandle<Result<Parts, Error>>),
    Parts(Parts),
    Ended,
}

/// An upload of parts, and its note.
#[derive(Debug)]
struct Parts {
    id: MultipartId,
    note: PathBuf,
    sent: Vec<PartId>,
}

async fn begin(objects: Arc<Objects>, digest: Digest) -> Result<Parts, Error> {
    let place = crate::names::served(&objects.prefix, &digest);
    let id = objects.s3.create_multipart(&place).await;
    let id = id.map_err(Error::backend(STORE))?;
    match objects.note(&digest, id.clone()).await {
        Ok(note) => Ok(Parts {
            id,
            note,
            sent: Vec::new(),
        }),
        Err(e) => {
            let _ = objects.s3.abort_multipart(&place, &id).await;
            Err(e)
        }
    }
}

/// The error of an upload of parts that was not begun, or has ended.
fn never_begun() -> Error {
    Error::backend(STORE)("the upload of its parts was not begun")
}

impl Upload {
    pub(crate) const fn new(objects: Arc<Objects>, digest: Digest) -> Self {
        Self {
            objects,
            digest,
            waiting: Vec::new(),
            len: 0,
            state: State::Whole,
        }
    }

    fn place(&self) -> Path {
        crate::names::served(&self.objects.prefix, &self.digest)
    }

    pub(crate) async fn write(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        // A part is sent only once more follows it, so that what fits into one request is one.
        while self.len + bytes.len() > PART {
            let first = bytes.split_to(PART - self.len);
            self.waiting.push(first);
            self.send().await?;
        }
        self.len += bytes.len();
        self.waiting.push(bytes);
        Ok(())
    }

    fn payload(&mut self) -> PutPayload {
        self.len = 0;
        std::mem::take(&mut self.waiting).into_iter().collect()
    }

    /// Waits until the upload of parts is begun, if it is being begun.
    async fn begun(&mut self) -> Result<Option<&mut Parts>, Error> {
        if let State::Begins(begins) = &mut self.state {
            let begun = begins.await;
            // A handle gives its result once.
            self.state = State::Ended;
            self.state = State::Parts(begun.map_err(Error::backend(STORE))??);
        }
        Ok(match &mut self.state {
            State::Parts(parts) => Some(parts),
            _ => None,
        })
    }

    /// Sends what waits as a part.
    async fn send(&mut self) -> Result<(), Error> {
        if matches!(self.state, State::Whole) {
            let begins = begin(Arc::clone(&self.objects), self.digest);
            self.state = State::Begins(tokio::spawn(begins));
        }
        let (place, payload) = (self.place(), self.payload());
        let objects = Arc::clone(&self.objects);
        let Some(parts) = self.begun().await? else {
            return Err(never_begun());
        };
        let number = parts.sent.len();
        let sent = objects.s3.put_part(&place, &parts.id, number, payload);
        parts.sent.push(sent.await.map_err(Error::backend(STORE))?);
        Ok(())
    }

    /// Gives the object its name.
    pub(crate) async fn complete(&mut self) -> Result<(), Error> {
        let place = self.place();
        if matches!(self.state, State::Whole) {
            let payload = self.payload();
            let put = self.objects.s3.put(&place, payload).await;
            return put.map(|_| ()).map_err(Error::backend(STORE));
        }
        self.send().await?;
        let State::Parts(Parts { id, note, sent }) =
            std::mem::replace(&mut self.state, State::Ended)
        else {
            return Err(never_begun());
        };
        let done = self.objects.s3.complete_multipart(&place, &id, sent).await;
        if done.is_ok() || self.objects.s3.abort_multipart(&place, &id).await.is_ok() {
            forget(note).await;
        }
        done.map(|_| ()).map_err(Error::backend(STORE))
    }

    /// Ends the upload of parts, if there is one. Its note stays if that fails.
    pub(crate) async fn abort(&mut self) {
        let place = self.place();
        let _ = self.begun().await;
        if let State::Parts(parts) = std::mem::replace(&mut self.state, State::Ended)
            && let Ok(()) = self.objects.s3.abort_multipart(&place, &parts.id).await
        {
            forget(parts.note).await;
        }
    }
}

/// Removes a note. One that stays is removed at the next start.
async fn forget(note: PathBuf) {
    let _ = tokio::task::spawn_blocking(move || fs::remove_file(note)).await;
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};

    use super::*;
    use crate::Place;

    /// The objects of a bucket that nobody serves. Nothing is asked of it.
    async fn objects(home: &FilePath, endpoint: &str, place: &str) -> Objects {
        let Ok(Place::S3(bucket)) = place.parse() else {
            panic!("{place}")
        };
        let bucket = bucket
            .with("AWS_ENDPOINT_URL", endpoint)
            .with("AWS_ALLOW_HTTP", "true")
            .with("AWS_ACCESS_KEY_ID", "id")
            .with("AWS_SECRET_ACCESS_KEY", "key");
        Objects::open(&bucket, home.join("uploads")).await.unwrap()
    }

    /// Answers each request with a status alone. Returns its endpoint.
    fn server(status: &'static str) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let _ = lines.find(String::is_empty);
                let head = "connection: close\r\ncontent-length: 0";
                let _ = write!(&stream, "HTTP/1.1 {status}\r\n{head}\r\n\r\n");
            }
        });
        endpoint
    }

    #[tokio::test]
    async fn an_upload_that_cannot_be_ended_is_tried_again_at_the_next_start() {
        let home = tempfile::tempdir().unwrap();
        for (status, left) in [("403 Forbidden", 2), ("404 Not Found", 0)] {
            let endpoint = server(status);
            let first = objects(home.path(), &endpoint, "s3://fog").await;
            for n in [1, 2] {
                first.note(&Digest([n; 32]), "id".into()).await.unwrap();
            }
            let again = objects(home.path(), &endpoint, "s3://fog").await;
            assert_eq!(notes(&again.notes).unwrap().len(), left, "{status}");
        }
    }

    #[tokio::test]
    async fn an_upload_whose_begin_failed_is_never_complete() {
        let home = tempfile::tempdir().unwrap();
        let objects = objects(home.path(), "http://127.0.0.1:1", "s3://fog").await;
        let mut upload = Upload::new(Arc::new(objects), Digest([1; 32]));
        let failed = async { Err(Error::backend(STORE)("it was refused")) };
        upload.state = State::Begins(tokio::spawn(failed));
        assert!(upload.begun().await.is_err());
        let done = upload.complete().await;
        assert!(matches!(done, Err(Error::Backend { .. })), "{done:?}");
        upload.abort().await;
        assert!(upload.complete().await.is_err());
    }

    #[tokio::test]
    async fn notes_lie_apart_by_bucket_and_replace_none() {
        let home = tempfile::tempdir().unwrap();
        let mut folders = std::collections::BTreeSet::new();
        for (endpoint, place) in [
            ("http://127.0.0.1:1", "s3://fog"),
            ("http://127.0.0.1:2", "s3://fog"),
            ("http://127.0.0.1:1", "s3://fog/a"),
            ("http://127.0.0.1:1", "s3://other/a"),
        ] {
            let first = objects(home.path(), endpoint, place).await;
            assert!(folders.insert(first.notes.clone()));
            let written = first.note(&Digest([1; 32]), "one".into()).await.unwrap();
            // Another store at the same place begins to count anew.
            first.turn.store(0, Ordering::Relaxed);
            let more = first.note(&Digest([1; 32]), "two".into()).await.unwrap();
            assert_ne!(written, more);
            assert_eq!(notes(&first.notes).unwrap().len(), 2);
            fs::remove_file(more).unwrap();
            fs::remove_file(written).unwrap();
            let endpoint = format!("{endpoint}/");
            let again = objects(home.path(), &endpoint, place).await;
            assert_eq!(again.notes, first.notes);
        }
    }
}
