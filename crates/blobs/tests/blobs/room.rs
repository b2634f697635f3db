//! Quota, floor, pins and eviction.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use betanet_blobs::{Blobs, Digest, Error, Settings};
use betanet_store::State;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};

use super::{Bed, all, also_over_s3, body, files, open_settings, put, random};

/// Length of content that is charged 4 KiB.
const SMALL: usize = 1000;

fn small(n: u64) -> Vec<u8> {
    random(n, SMALL)
}

fn settings(blobs: u64) -> Settings {
    Settings {
        quota: blobs * 4096,
        ..open_settings()
    }
}

also_over_s3! {
    the_blob_used_longest_ago_goes_first
    pinned_blobs_stay_until_each_pin_has_ended
    a_blob_that_is_read_is_not_evicted
    uploads_at_the_same_time_keep_within_the_quota
    the_number_of_blobs_is_bounded
}

async fn the_blob_used_longest_ago_goes_first() {
    let mut bed = Bed::new(settings(4)).await;
    let digest = |n| Digest::of(&small(n));
    for n in 0..4 {
        put(bed.blobs(), &small(n)).await.unwrap();
    }
    // 0 is read and 1 is offered again, so that 2 is next.
    all(bed.blobs(), digest(0)).await.unwrap();
    assert!(!put(bed.blobs(), &small(1)).await.unwrap().new);
    put(bed.blobs(), &small(4)).await.unwrap();
    put(bed.blobs(), &small(5)).await.unwrap();
    let there = |blobs: &Blobs| (0..6).filter(|n| blobs.has(digest(*n)).is_some()).collect();
    let left: Vec<u64> = there(bed.blobs());
    assert_eq!(left, [0, 1, 4, 5]);
    assert_eq!(bed.stored().await.len(), 4);
    assert_eq!(bed.blobs().facts().await.evicted, 2);
    // A lower quota evicts at the next sweep, and not before the caller has pinned.
    let blobs = bed.reopen(settings(2)).await;
    blobs.pin(digest(0), [1; 32], 10).unwrap();
    assert_eq!(blobs.facts().await.blobs, 4);
    assert_eq!(blobs.sweep(5).await.unwrap().blobs, 2);
    assert!(blobs.has(digest(0)).is_some());
    assert_eq!(bed.stored().await.len(), 2);
}

async fn pinned_blobs_stay_until_each_pin_has_ended() {
    let bed = Bed::new(settings(2)).await;
    let blobs = bed.blobs();
    let digest = |n| Digest::of(&small(n));
    // A pin may come before the blob.
    blobs.pin(digest(0), [1; 32], 100).unwrap();
    blobs.pin(digest(0), [2; 32], 200).unwrap();
    put(blobs, &small(0)).await.unwrap();
    put(blobs, &small(1)).await.unwrap();
    blobs.pin(digest(1), [1; 32], 1000).unwrap();
    for now in [99, 100, 199] {
        blobs.sweep(now).await.unwrap();
        let refused = put(blobs, &small(2)).await.unwrap_err();
        assert!(
            matches!(
                refused,
                Error::Quota {
                    needed: 4096,
                    quota: 8192
                }
            ),
            "{refused:?}"
        );
        assert_eq!(refused.code(), Some("quota"));
    }
    assert_eq!(blobs.facts().await.pins, 2);
    // A pin is made longer by its holder.
    blobs.pin(digest(0), [2; 32], 300).unwrap();
    assert_eq!(blobs.sweep(200).await.unwrap().pins, 0);
    assert!(put(blobs, &small(2)).await.is_err());
    assert_eq!(blobs.sweep(300).await.unwrap().pins, 1);
    assert!(put(blobs, &small(2)).await.unwrap().new);
    assert_eq!(blobs.has(digest(0)), None);
    assert!(!blobs.unpin(digest(1), &[2; 32]));
    assert!(blobs.unpin(digest(1), &[1; 32]));
    assert!(!blobs.unpin(digest(1), &[1; 32]));
    put(blobs, &small(3)).await.unwrap();
    assert_eq!(blobs.has(digest(1)), None);
    // Removal is the caller's, whatever is pinned.
    blobs.pin(digest(3), [1; 32], 1000).unwrap();
    assert!(blobs.remove(digest(3)).await.unwrap());
}

async fn a_blob_that_is_read_is_not_evicted() {
    let big = random(7, 600_000);
    let quota = Settings {
        quota: 700_000,
        ..open_settings()
    };
    let bed = Bed::new(quota).await;
    put(bed.blobs(), &big).await.unwrap();
    let mut content = bed.blobs().get(Digest::of(&big), 0..600_000).await.unwrap();
    let first = content.part().await.unwrap().unwrap();
    let refused = put(bed.blobs(), &random(8, 600_000)).await;
    assert!(matches!(refused, Err(Error::Quota { .. })), "{refused:?}");
    let rest = content.all(600_000).await.unwrap();
    assert!(first == big[..first.len()] && rest[..] == big[first.len()..]);
    // Its reader has gone.
    assert!(put(bed.blobs(), &random(8, 600_000)).await.unwrap().new);
    assert_eq!(bed.blobs().has(Digest::of(&big)), None);
}

#[tokio::test]
async fn a_removed_blob_ends_its_readers() {
    let bed = Bed::new(open_settings()).await;
    let big = random(7, 600_000);
    let digest = Digest::of(&big);
    put(bed.blobs(), &big).await.unwrap();
    let mut content = bed.blobs().get(digest, 0..600_000).await.unwrap();
    content.part().await.unwrap().unwrap();
    assert!(bed.blobs().remove(digest).await.unwrap());
    let end = content.part().await.unwrap();
    assert!(
        matches!(end, Err(Error::Missing(d)) if d == digest),
        "{end:?}"
    );
    assert!(bed.blobs().damaged().is_empty());
}

async fn uploads_at_the_same_time_keep_within_the_quota() {
    let bed = Bed::new(settings(10)).await;
    // Each upload stops before its last part, so that all hold their reservation.
    let contents: Vec<_> = (0..16).map(small).collect();
    let (go, wait) = tokio::sync::watch::channel(false);
    let mut uploads = Vec::new();
    for content in contents.clone() {
        let mut wait = wait.clone();
        let last = stream::once(async move {
            let _ = wait.wait_for(|go| *go).await;
        });
        let last = last.filter_map(|()| async { None });
        let blobs = bed.blobs().clone();
        let upload = async move {
            let whole = body(&content, 300).chain(last);
            blobs.put(Digest::of(&content), SMALL as u64, whole).await
        };
        uploads.push(tokio::spawn(upload));
    }
    // Ten fit, and the others are refused at once.
    let refused = async {
        let mut left = uploads;
        while left.len() > 10 {
            let (done, _, rest) = futures_util::future::select_all(left).await;
            assert!(matches!(done.unwrap(), Err(Error::Quota { .. })));
            left = rest;
        }
        left
    };
    let left = refused.await;
    assert_eq!(bed.blobs().facts().await.reserved, 10 * 4096);
    go.send(true).unwrap();
    for done in join_all(left).await {
        assert!(done.unwrap().unwrap().new);
    }
    assert_eq!(bed.stored().await.len(), 10);
    assert_eq!(bed.blobs().facts().await.bytes, 10 * 4096);
}

async fn the_number_of_blobs_is_bounded() {
    let few = Settings {
        blobs: 3,
        ..open_settings()
    };
    let bed = Bed::new(few).await;
    for n in 0..7 {
        put(bed.blobs(), &small(n)).await.unwrap();
        assert!(bed.stored().await.len() <= 3);
    }
    for n in 4..7 {
        bed.blobs().pin(Digest::of(&small(n)), [1; 32], 10).unwrap();
    }
    let refused = put(bed.blobs(), &small(7)).await;
    assert!(
        matches!(refused, Err(Error::Full { most: 3, .. })),
        "{refused:?}"
    );
}

/// A small file system in memory, which is unmounted on drop.
pub(crate) struct Tmpfs(pub(crate) PathBuf);

impl Tmpfs {
    pub(crate) fn mount(path: PathBuf, options: &str) -> Self {
        std::fs::create_dir(&path).unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(status.success(), "mounting a tmpfs needs root");
        Self(path)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_uploads_and_loses_nothing() {
    const MIB: usize = 1 << 20;
    let home = tempfile::tempdir().unwrap();
    let disk = Tmpfs::mount(home.path().join("disk"), "size=16m,mode=700");
    let open = async |floor: u64| {
        let state = Arc::new(State::open(&disk.0.join("state")).unwrap());
        let settings = Settings {
            floor,
            ..Settings::default()
        };
        Blobs::open(&state, settings).await.unwrap()
    };
    let blobs = open(4 << 20).await;
    let ballast = disk.0.join("ballast");
    // Of 16 MiB, 4 are the floor: blobs above it evict older ones.
    for n in 0..20 {
        put(&blobs, &random(n, MIB)).await.unwrap();
        assert!(blobs.facts().await.free.unwrap() >= 4 << 20);
    }
    assert!(blobs.facts().await.blobs >= 8);
    // Others fill the disk.
    std::fs::write(&ballast, random(0, 3 * MIB)).unwrap();
    let swept = blobs.sweep(0).await.unwrap();
    assert!(swept.blobs >= 2, "{swept:?}");
    assert!(blobs.facts().await.free.unwrap() >= 4 << 20);
    std::fs::write(&ballast, random(0, 6 * MIB)).unwrap();
    for n in 0..20 {
        blobs.pin(Digest::of(&random(n, MIB)), [1; 32], 1).unwrap();
    }
    let before = blobs.facts().await.blobs;
    let refused = put(&blobs, &random(100, MIB)).await.unwrap_err();
    assert!(matches!(refused, Error::DiskFloor { .. }), "{refused:?}");
    assert_eq!(refused.code(), Some("disk_floor"));
    assert_eq!(blobs.facts().await.blobs, before);
    drop(blobs);
    // Without a floor, the disk itself refuses.
    let blobs = open(0).await;
    for n in 0..20 {
        blobs.pin(Digest::of(&random(n, MIB)), [1; 32], 1).unwrap();
    }
    let before = blobs.facts().await.blobs;
    let content = random(100, 4 * MIB);
    let (digest, size) = (Digest::of(&content), content.len() as u64);
    // Measured before the disk is filled, so that the upload begins.
    let parts = body(&content, 100_000).enumerate().map(|(n, part)| {
        if n == 1 {
            let free = free_of(&disk.0);
            let len = usize::try_from(free).unwrap() - MIB;
            std::fs::write(disk.0.join("more"), vec![0; len]).unwrap();
        }
        part
    });
    std::fs::remove_file(&ballast).unwrap();
    let refused = blobs.put(digest, size, parts).await;
    assert!(matches!(refused, Err(Error::DiskFull)), "{refused:?}");
    let left = files(&disk.0.join("state/blobs"));
    assert_eq!(left.len() as u64, before);
    std::fs::remove_file(disk.0.join("more")).unwrap();
    for n in 0..20 {
        let digest = Digest::of(&random(n, MIB));
        if blobs.has(digest).is_some() {
            blobs.verify(digest).await.unwrap();
        }
    }
}

fn free_of(folder: &std::path::Path) -> u64 {
    let stat = rustix::fs::statvfs(folder).unwrap();
    stat.f_bavail * stat.f_frsize
}
