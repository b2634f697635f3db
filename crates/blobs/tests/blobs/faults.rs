//! Damage on the disk, and remains of a crash.

use std::fs;

use betanet_blobs::{Blobs, Damage, Digest, Error, Kind};

use super::{Bed, CHUNK, all, also_over_s3, body, files, open_settings, put, random};

/// Reads each chunk of a blob on its own, as requests of ranges do. No part that is given out may be wrong.
async fn read_parts(blobs: &Blobs, content: &[u8]) -> Option<Error> {
    let (digest, len) = (Digest::of(content), content.len() as u64);
    for from in (0..len).step_by(100_000) {
        let to = len.min(from + 100_000);
        let mut parts = match blobs.get(digest, from..to).await {
            Ok(parts) => parts,
            Err(e) => return Some(e),
        };
        let mut at = usize::try_from(from).unwrap();
        while let Some(part) = parts.part().await {
            match part {
                Ok(part) => {
                    assert!(part == content[at..at + part.len()], "damage was served");
                    at += part.len();
                }
                Err(e) => return Some(e),
            }
        }
    }
    None
}

/// Whether the damage is named, the file set aside, and another upload mends it.
async fn is_mended(bed: &Bed, content: &[u8], context: &str) {
    let digest = Digest::of(content);
    assert_eq!(bed.blobs().has(digest), None, "{context}");
    assert!(bed.blobs().damaged().contains(&digest), "{context}");
    assert!(bed.is_aside(digest).await, "{context}");
    assert!(bed.raw(digest).await.is_none(), "{context}");
    let gone = bed.blobs().get(digest, 0..0).await;
    assert!(matches!(gone, Err(Error::Missing(_))), "{context}");
    assert!(put(bed.blobs(), content).await.unwrap().new, "{context}");
    assert!(read_parts(bed.blobs(), content).await.is_none());
}

also_over_s3! {
    a_flipped_bit_is_named_and_never_served
    a_file_that_is_cut_or_missing_is_named
    another_blobs_file_is_not_served
    damaged_files_are_charged_and_go_first
}

async fn a_flipped_bit_is_named_and_never_served() {
    let bed = Bed::new(open_settings()).await;
    for content in [random(1, 300), random(2, 2 * CHUNK + 100), Vec::new()] {
        let digest = Digest::of(&content);
        put(bed.blobs(), &content).await.unwrap();
        let good = bed.raw(digest).await.unwrap();
        assert_eq!(good[..content.len()], content);
        // Each byte of the checksums, and some of the content.
        let tail = content.len()..good.len();
        let few = if bed.is_far() { 4 } else { 20 };
        let step = (content.len() / few).max(1);
        let tail = tail.step_by(if bed.is_far() { 17 } else { 1 });
        for at in (0..content.len()).step_by(step).chain(tail) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            bed.write_raw(digest, &bad).await;
            let found = if content.is_empty() {
                bed.blobs().get(digest, 0..0).await.err()
            } else {
                read_parts(bed.blobs(), &content).await
            };
            match &found {
                Some(e @ Error::Damaged { digest: d, why }) => {
                    assert_eq!((*d, e.kind()), (digest, Kind::Local));
                    assert!(e.to_string().contains(&digest.to_string()));
                    match why {
                        Damage::Content(from) => {
                            let from = usize::try_from(*from).unwrap();
                            assert!((from..from + CHUNK).contains(&at) && at < content.len());
                        }
                        other => assert!(*other == Damage::Checksums && at >= content.len()),
                    }
                }
                other => panic!("{at}: {other:?}"),
            }
            is_mended(&bed, &content, &at.to_string()).await;
        }
    }
}

async fn a_file_that_is_cut_or_missing_is_named() {
    let mut bed = Bed::new(open_settings()).await;
    let content = random(3, CHUNK + 300);
    let digest = Digest::of(&content);
    put(bed.blobs(), &content).await.unwrap();
    let good = bed.raw(digest).await.unwrap();
    for restart in [false, true] {
        for len in [0, 1, 63, 64, 300, CHUNK, CHUNK + 16 + 64, good.len() - 1] {
            bed.write_raw(digest, &good[..len]).await;
            let blobs = if restart {
                bed.reopen(open_settings()).await
            } else {
                bed.blobs()
            };
            let found = match blobs.has(digest) {
                // A length that no blob has is found at the start.
                None => Ok(()),
                Some(_) => blobs.verify(digest).await,
            };
            if restart {
                // Some lengths are those of another blob, whose checksums would stand elsewhere.
                assert!(
                    matches!(found, Ok(()) | Err(Error::Damaged { .. })),
                    "{len}"
                );
            } else {
                let length = matches!(
                    found,
                    Err(Error::Damaged {
                        why: Damage::Length,
                        ..
                    })
                );
                assert!(length, "{len}: {found:?}");
            }
            is_mended(&bed, &content, &format!("{restart} {len}")).await;
        }
    }
    // An upload mends a file of another blob's length too, before anybody has read it.
    bed.write_raw(digest, &good[..CHUNK + 16 + 64]).await;
    let blobs = bed.reopen(open_settings()).await;
    assert_eq!(blobs.has(digest), Some(CHUNK as u64));
    assert!(put(blobs, &content).await.unwrap().new);
    assert!(all(blobs, digest).await.unwrap() == content);
    // A file that has gone has nothing to set aside.
    bed.remove_raw(digest).await;
    let aside = bed.blobs().damaged().len();
    let found = bed.blobs().verify(digest).await;
    assert!(
        matches!(
            found,
            Err(Error::Damaged {
                why: Damage::Missing,
                ..
            })
        ),
        "{found:?}"
    );
    assert_eq!(bed.blobs().damaged().len(), aside);
    assert!(put(bed.blobs(), &content).await.unwrap().new);
}

async fn another_blobs_file_is_not_served() {
    let bed = Bed::new(open_settings()).await;
    let (a, b) = (random(1, 5000), random(2, 5000));
    put(bed.blobs(), &a).await.unwrap();
    put(bed.blobs(), &b).await.unwrap();
    let other = bed.raw(Digest::of(&a)).await.unwrap();
    bed.write_raw(Digest::of(&b), &other).await;
    let found = all(bed.blobs(), Digest::of(&b)).await;
    assert!(matches!(found, Err(Error::Damaged { .. })), "{found:?}");
    assert!(all(bed.blobs(), Digest::of(&a)).await.unwrap() == a);
}

#[tokio::test]
async fn what_a_crash_leaves_of_uploads_is_removed() {
    let mut bed = Bed::new(open_settings()).await;
    let content = random(1, 5000);
    let digest = Digest::of(&content);
    put(bed.blobs(), &content).await.unwrap();
    let folder = bed.file(digest).parent().unwrap().to_owned();
    for number in ["1", "2", "77"] {
        fs::write(folder.join(format!("{digest}#{number}")), b"half").unwrap();
    }
    // What is none of ours stays, and is neither served nor charged.
    fs::write(folder.join("readme#1"), b"a note").unwrap();
    fs::write(bed.folder().join("note"), b"a note").unwrap();
    fs::write(folder.join("0".repeat(64)), b"in another's folder").unwrap();
    let blobs = bed.reopen(open_settings()).await;
    let facts = blobs.facts().await;
    assert_eq!(facts.damaged, u64::from(folder.ends_with("00")));
    assert_eq!((facts.blobs, facts.bytes), (1, 8192));
    let left = files(&bed.folder());
    assert_eq!(left.len(), 4);
    assert!(all(bed.blobs(), digest).await.unwrap() == content);
}

async fn damaged_files_are_charged_and_go_first() {
    let quota = betanet_blobs::Settings {
        quota: 3 * 4096,
        ..open_settings()
    };
    let mut bed = Bed::new(quota).await;
    let content = |n| random(n, 1000);
    for n in 0..3 {
        put(bed.blobs(), &content(n)).await.unwrap();
    }
    let bad = Digest::of(&content(2));
    bed.write_raw(bad, &[0; 1000 + 16 + 64]).await;
    assert!(all(bed.blobs(), bad).await.is_err());
    for restart in [false, true] {
        if restart {
            bed.reopen(quota).await;
        }
        let facts = bed.blobs().facts().await;
        assert_eq!((facts.blobs, facts.damaged, facts.bytes), (2, 1, 3 * 4096));
    }
    // The blob used longest ago stays.
    put(bed.blobs(), &content(3)).await.unwrap();
    let facts = bed.blobs().facts().await;
    assert_eq!((facts.blobs, facts.damaged, facts.evicted), (3, 0, 0));
    assert_eq!(bed.stored().await.len(), 3);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_gives_an_error_and_holds_nothing() {
    let bed = Bed::new(open_settings()).await;
    let content = random(1, 5000);
    let digest = Digest::of(&content);
    // A file stands in place of the folder.
    fs::write(bed.folder().join(&digest.to_string()[..2]), b"").unwrap();
    let failed = bed.blobs().put(digest, 5000, body(&content, 100)).await;
    assert!(matches!(failed, Err(Error::Backend { .. })), "{failed:?}");
    let facts = bed.blobs().facts().await;
    assert_eq!((facts.blobs, facts.bytes, facts.reserved), (0, 0, 0));
}
