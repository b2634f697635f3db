//! Blobs and logs in a real folder, and blobs in a bucket of a server that speaks S3.
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
#[cfg(feature = "s3")]
mod s3;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use betanet_blobs::{BLOB_MAX, Blobs, Digest, Error, Kind, Place, Settings, Stored};
use betanet_machine::{Rng, Seed};
use betanet_store::State;
use bytes::Bytes;
use futures_util::future::FutureExt as _;
use futures_util::stream::{self, Stream, StreamExt as _};

/// Length of a chunk: the lengths around it and its multiples are where mistakes would be.
const CHUNK: usize = 256 << 10;

/// A state folder, and its blobs: in the folder, or in a bucket within [`s3::within`].
struct Bed {
    home: tempfile::TempDir,
    #[cfg(feature = "s3")]
    space: Option<s3::Space>,
    blobs: Option<Blobs>,
}

impl Bed {
    async fn new(settings: Settings) -> Self {
        let mut bed = Self {
            home: tempfile::tempdir().unwrap(),
            #[cfg(feature = "s3")]
            space: s3::Space::new(),
            blobs: None,
        };
        bed.reopen(settings).await;
        bed
    }

    fn place(&self) -> Place {
        #[cfg(feature = "s3")]
        if let Some(space) = &self.space {
            return space.place();
        }
        Place::Folder
    }

    /// Whether each operation is a journey to a server: tests of many try fewer.
    fn is_far(&self) -> bool {
        self.place() != Place::Folder
    }

    /// Opens the blobs again, as after a restart.
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
        let opened = Blobs::open_at(&state, &self.place(), settings).await;
        self.blobs.insert(opened.unwrap())
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

    /// Lengths of all that is stored, with what is left of uploads.
    async fn stored(&self) -> Vec<u64> {
        #[cfg(feature = "s3")]
        if let Some(space) = &self.space {
            let mut all = space.objects().await;
            all.extend(vec![0; space.uploads().await]);
            all.extend(
                files(&self.home.path().join("state/uploads"))
                    .iter()
                    .map(|f| f.1),
            );
            return all;
        }
        files(&self.folder()).iter().map(|(_, len)| *len).collect()
    }

    /// The stored bytes of a blob, read past the store.
    async fn raw(&self, digest: Digest) -> Option<Vec<u8>> {
        #[cfg(feature = "s3")]
        if let Some(space) = &self.space {
            return space.read(&space.served(digest)).await;
        }
        std::fs::read(self.file(digest)).ok()
    }

    /// Replaces what is stored of a blob, past the store. In place, so that the time of a file keeps the order of a restart.
    async fn write_raw(&self, digest: Digest, bytes: &[u8]) {
        #[cfg(feature = "s3")]
        if let Some(space) = &self.space {
            return space.write(&space.served(digest), bytes).await;
        }
        std::fs::write(self.file(digest), bytes).unwrap();
    }

    async fn remove_raw(&self, digest: Digest) {
        #[cfg(feature = "s3")]
        if let Some(space) = &self.space {
            return space.remove(&space.served(digest)).await;
        }
        std::fs::remove_file(self.file(digest)).unwrap();
    }

    async fn is_aside(&self, digest: Digest) -> bool {
        #[cfg(feature = "s3")]
        if let Some(space) = &self.space {
            return space.read(&space.damaged(digest)).await.is_some();
        }
        let aside = self.folder().join("damaged").join(digest.to_string());
        aside.exists()
    }
}

/// Tests over a folder. The same tests run over a bucket too.
macro_rules! also_over_s3 {
    ($($name:ident)*) => {
        mod folder {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name().await;
                }
            )*
        }

        #[cfg(feature = "s3")]
        pub(crate) async fn over_s3() {
            $(
                println!("{}::{}", module_path!(), stringify!($name));
                $name().await;
            )*
        }
    };
}
pub(crate) use also_over_s3;

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

also_over_s3! {
    what_is_stored_is_read_and_outlasts_a_restart
    each_range_is_what_was_stored
    wrong_content_is_refused_and_leaves_nothing
    a_cancelled_upload_leaves_nothing
    of_many_uploads_of_a_blob_one_stores_it
    uploads_and_reads_are_bounded
}

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
    let stored = bed.stored().await;
    let stored: u64 = stored.iter().map(|len| len.next_multiple_of(4096)).sum();
    assert_eq!(facts.bytes, stored);
    assert_eq!(facts.free.is_some(), !bed.is_far());
    for content in &contents {
        assert!(bed.blobs().remove(Digest::of(content)).await.unwrap());
        assert!(!bed.blobs().remove(Digest::of(content)).await.unwrap());
    }
    assert!(bed.stored().await.is_empty());
    assert_eq!(bed.blobs().facts().await.bytes, 0);
}

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
        assert_eq!((blobs.has(digest), bed.stored().await.len()), (None, 0));
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
    assert!(bed.stored().await.is_empty());
    assert!(put(blobs, &content).await.unwrap().new);
    // Another length than that of the stored blob.
    let refused = blobs.put(digest, size + 1, body(&content, 1000)).await;
    assert!(matches!(refused, Err(Error::Size { .. })), "{refused:?}");
    assert!(all(blobs, digest).await.unwrap() == content);
}

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
        assert!(bed.stored().await.is_empty(), "{parts}");
        assert_eq!(bed.blobs().has(digest), None);
        assert_eq!(bed.blobs().facts().await.reserved, 0);
    }
    assert!(put(bed.blobs(), &content).await.unwrap().new);
}

async fn of_many_uploads_of_a_blob_one_stores_it() {
    let bed = Bed::new(open_settings()).await;
    let content = random(4, 2 * CHUNK + 7);
    let uploads = (0..20).map(|_| put(bed.blobs(), &content));
    let done = futures_util::future::join_all(uploads).await;
    let new = done.iter().filter(|d| d.as_ref().unwrap().new).count();
    assert_eq!(new, 1);
    assert_eq!(bed.stored().await.len(), 1);
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
