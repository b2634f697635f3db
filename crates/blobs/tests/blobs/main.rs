//! Blobs and logs in a real folder.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

mod faults;
mod kills;
mod logs;
mod model;
mod room;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use betanet_blobs::{BLOB_MAX, Blobs, Digest, Error, Kind, Settings, Stored};
use betanet_machine::{Rng, Seed};
use betanet_store::State;
use bytes::Bytes;
use futures_util::future::FutureExt as _;
use futures_util::stream::{self, Stream, StreamExt as _};

/// Length of a chunk: the lengths around it and its multiples are where mistakes would be.
const CHUNK: usize = 256 << 10;

/// A folder, and the blobs in it.
struct Bed {
    home: tempfile::TempDir,
    blobs: Option<Blobs>,
}

impl Bed {
    async fn new(settings: Settings) -> Self {
        let mut bed = Self {
            home: tempfile::tempdir().unwrap(),
            blobs: None,
        };
        bed.reopen(settings).await;
        bed
    }

    /// Opens the folder again, as after a restart.
    async fn reopen(&mut self, settings: Settings) -> &Blobs {
        self.blobs = None;
        let folder = self.home.path().join("state");
        // Work of a cancelled upload may hold the folder for a moment.
        let mut tries = 0;
        let state = loop {
            match State::open(&folder) {
                Ok(state) => break Arc::new(state),
                Err(e) => assert!(tries < 100_000, "{e}"),
            }
            tries += 1;
            tokio::task::yield_now().await;
        };
        self.blobs
            .insert(Blobs::open(&state, settings).await.unwrap())
    }

    fn blobs(&self) -> &Blobs {
        self.blobs.as_ref().unwrap()
    }

    fn folder(&self) -> PathBuf {
        self.home.path().join("state/blobs")
    }

    fn file(&self, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        self.folder().join(&name[..2]).join(name)
    }
}

fn open_settings() -> Settings {
    Settings {
        floor: 0,
        ..Settings::default()
    }
}

/// Returns the paths and lengths of all files below a folder.
fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            out.extend(files(&entry.path()));
        } else {
            out.push((entry.path(), entry.metadata().unwrap().len()));
        }
    }
    out
}

fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    let mut rng = Rng::new(&Seed::from_number(seed));
    for chunk in out.chunks_mut(8) {
        chunk.copy_from_slice(&rng.below(u64::MAX).to_be_bytes()[..chunk.len()]);
    }
    out
}

/// A body that arrives in parts of `part` bytes.
fn body(content: &[u8], part: usize) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    let parts: Vec<_> = content
        .chunks(part)
        .map(|part| Ok(Bytes::copy_from_slice(part)))
        .collect();
    stream::iter(parts)
}

async fn put(blobs: &Blobs, content: &[u8]) -> Result<Stored, Error> {
    let size = content.len() as u64;
    blobs
        .put(Digest::of(content), size, body(content, 10_000))
        .await
}

async fn all(blobs: &Blobs, digest: Digest) -> Result<Vec<u8>, Error> {
    let size = blobs.has(digest).ok_or(Error::Missing(digest))?;
    blobs.get(digest, 0..size).await?.all(BLOB_MAX).await
}

#[tokio::test]
async fn what_is_stored_is_read_and_outlasts_a_restart() {
    let mut bed = Bed::new(open_settings()).await;
    let sizes = [0, 1, 63, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 700_001];
    let contents: Vec<_> = (0..).zip(sizes).map(|(n, len)| random(n, len)).collect();
    for content in &contents {
        for (part, new) in [(77_777, true), (1000, false)] {
            let (digest, size) = (Digest::of(content), content.len() as u64);
            let stored = bed.blobs().put(digest, size, body(content, part)).await;
            assert_eq!(stored.unwrap(), Stored { size, new });
        }
    }
    for restarted in [false, true] {
        if restarted {
            bed.reopen(open_settings()).await;
        }
        for content in &contents {
            let (digest, size) = (Digest::of(content), content.len() as u64);
            assert_eq!(bed.blobs().has(digest), Some(size));
            assert!(
                all(bed.blobs(), digest).await.unwrap() == *content,
                "{size}"
            );
            bed.blobs().verify(digest).await.unwrap();
        }
    }
    let facts = bed.blobs().facts().await;
    assert_eq!((facts.blobs, facts.reserved), (8, 0));
    let on_disk: u64 = files(&bed.folder())
        .iter()
        .map(|(_, len)| len.next_multiple_of(4096))
        .sum();
    assert_eq!(facts.bytes, on_disk);
    assert!(facts.free.unwrap() > 0);
    for content in &contents {
        assert!(bed.blobs().remove(Digest::of(content)).await.unwrap());
        assert!(!bed.blobs().remove(Digest::of(content)).await.unwrap());
    }
    assert!(files(&bed.folder()).is_empty());
    assert_eq!(bed.blobs().facts().await.bytes, 0);
}

#[tokio::test]
async fn each_range_is_what_was_stored() {
    let bed = Bed::new(open_settings()).await;
    let content = random(1, 2 * CHUNK + 100);
    put(bed.blobs(), &content).await.unwrap();
    let digest = Digest::of(&content);
    let (len, c) = (content.len(), CHUNK);
    let edges = [
        0,
        1,
        c - 1,
        c,
        c + 1,
        2 * c - 1,
        2 * c,
        2 * c + 1,
        len - 1,
        len,
    ];
    for from in edges {
        for to in edges {
            let range = from as u64..to as u64;
            let got = bed.blobs().get(digest, range.clone()).await;
            if from > to {
                assert!(matches!(got, Err(Error::Range { .. })));
                continue;
            }
            let mut got = got.unwrap();
            assert_eq!((got.size(), got.range()), (len as u64, &range));
            let mut bytes = Vec::new();
            while let Some(part) = got.part().await {
                bytes.extend_from_slice(&part.unwrap());
            }
            assert!(bytes == content[from..to], "{from}..{to}");
        }
    }
    let beyond = bed.blobs().get(digest, 0..len as u64 + 1).await;
    assert!(matches!(beyond, Err(Error::Range { size }) if size == len as u64));
    let most = bed.blobs().get(digest, 0..11).await.unwrap().all(10).await;
    assert!(matches!(most, Err(Error::TooLarge { most: 10 })));
}

#[tokio::test]
async fn wrong_content_is_refused_and_leaves_nothing() {
    let bed = Bed::new(open_settings()).await;
    let blobs = bed.blobs();
    let content = random(2, CHUNK + 500);
    let (digest, size) = (Digest::of(&content), content.len() as u64);
    let mut other = content.clone();
    other[CHUNK + 1] ^= 1;
    let cases = [
        (size, other, "digest"),
        (size, content[..CHUNK].to_vec(), "digest"),
        (size - 1, content.clone(), "too_large"),
        (size + 1, content.clone(), "digest"),
        (0, content.clone(), "too_large"),
        (size, [&content[..], b"x"].concat(), "too_large"),
    ];
    for (size, content, code) in cases {
        let refused = blobs.put(digest, size, body(&content, 1000)).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Some(code), "{refused}");
        assert_eq!(refused.kind(), Kind::Refused);
        assert_eq!((blobs.has(digest), files(&bed.folder()).len()), (None, 0));
        assert_eq!(blobs.facts().await.reserved, 0);
    }
    // An announcement above the bound is refused before anything is read.
    let never =
        stream::poll_fn(|_| -> std::task::Poll<Option<io::Result<Bytes>>> { panic!("read") });
    let refused = blobs.put(digest, BLOB_MAX + 1, never).await;
    assert!(matches!(refused, Err(Error::TooLarge { most: BLOB_MAX })));
    // The sender's stream fails.
    let parts = body(&content, 9000).take(40);
    let failing = parts.chain(stream::iter([Err(io::ErrorKind::ConnectionReset.into())]));
    let refused = blobs.put(digest, size, failing).await;
    assert!(matches!(refused, Err(Error::Body(_))), "{refused:?}");
    assert!(files(&bed.folder()).is_empty());
    assert!(put(blobs, &content).await.unwrap().new);
    // Another length than that of the stored blob.
    let refused = blobs.put(digest, size + 1, body(&content, 1000)).await;
    assert!(matches!(refused, Err(Error::Size { .. })), "{refused:?}");
    assert!(all(blobs, digest).await.unwrap() == content);
}

#[tokio::test]
async fn a_cancelled_upload_leaves_nothing() {
    let bed = Bed::new(open_settings()).await;
    let content = random(3, 3 * CHUNK);
    let (digest, size) = (Digest::of(&content), content.len() as u64);
    for parts in [0, 1, 100, 250] {
        let begun = body(&content, 3000).take(parts).chain(stream::pending());
        let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
        let mut n = 0;
        let begun = begun.inspect(move |_| {
            n += 1;
            let _ = told.send(n);
        });
        let blobs = bed.blobs().clone();
        let upload = tokio::spawn(async move { blobs.put(digest, size, begun).await });
        while parts > 0 && tells.recv().await.unwrap() < parts {}
        upload.abort();
        assert!(upload.await.unwrap_err().is_cancelled());
        bed.blobs().settle().await;
        assert!(files(&bed.folder()).is_empty(), "{parts}");
        assert_eq!(bed.blobs().has(digest), None);
        assert_eq!(bed.blobs().facts().await.reserved, 0);
    }
    assert!(put(bed.blobs(), &content).await.unwrap().new);
}

#[tokio::test]
async fn of_many_uploads_of_a_blob_one_stores_it() {
    let bed = Bed::new(open_settings()).await;
    let content = random(4, 2 * CHUNK + 7);
    let uploads = (0..20).map(|_| put(bed.blobs(), &content));
    let done = futures_util::future::join_all(uploads).await;
    let new = done.iter().filter(|d| d.as_ref().unwrap().new).count();
    assert_eq!(new, 1);
    assert_eq!(files(&bed.folder()).len(), 1);
    let facts = bed.blobs().facts().await;
    assert_eq!((facts.blobs, facts.reserved), (1, 0));
    assert!(all(bed.blobs(), Digest::of(&content)).await.unwrap() == content);
}

#[tokio::test]
async fn only_the_owner_reaches_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let bed = Bed::new(open_settings()).await;
    put(bed.blobs(), b"content").await.unwrap();
    for folder in [bed.folder(), bed.home.path().join("state")] {
        let mode = std::fs::metadata(folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }
    assert!(State::open(&bed.home.path().join("state")).is_err());
}

#[tokio::test]
async fn uploads_and_reads_are_bounded() {
    let bed = Bed::new(open_settings()).await;
    let digest = |n: usize| Digest::of(&n.to_be_bytes());
    let pending = || stream::pending::<io::Result<Bytes>>();
    let mut uploads: Vec<_> = (0..betanet_blobs::UPLOADS_MAX)
        .map(|n| Box::pin(bed.blobs().put(digest(n), 8, pending())))
        .collect();
    for upload in &mut uploads {
        assert!(upload.now_or_never().is_none());
    }
    let refused = bed.blobs().put(digest(99), 8, pending()).await;
    assert!(
        matches!(
            &refused,
            Err(Error::Busy {
                what: "uploads",
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(refused.unwrap_err().kind(), Kind::NotNow);
    drop(uploads);
    bed.blobs().settle().await;
    assert!(put(bed.blobs(), &0_usize.to_be_bytes()).await.unwrap().new);
    let mut reads = Vec::new();
    for _ in 0..betanet_blobs::READS_MAX {
        reads.push(bed.blobs().get(digest(0), 0..8).await.unwrap());
    }
    let refused = bed.blobs().get(digest(0), 0..8).await;
    assert!(matches!(refused, Err(Error::Busy { what: "reads", .. })));
    drop(reads);
    assert!(bed.blobs().get(digest(0), 0..8).await.is_ok());
}
