//! Downloads that are cut and go on, from coordinators and peers.

use std::path::Path;
use std::sync::{Arc, Mutex};

use betanet_blobs::{Blobs, Digest as BlobDigest, Settings};
use betanet_fog::{Digest, RefusalCode};
use betanet_fog_client::{BLOB_PREFIX, BlobService, Direct, Error, FogClient, SERVED_MAX, Sources};
use betanet_keys::{Identity, Peer};
use betanet_runtime::{Call, Gateway, GatewayConfig, Node, Reply, SessionConfig};
use betanet_store::State;
use bytes::Bytes;
use futures_util::stream;

use crate::{Coordinator, client, me, refuse};

const LEN: usize = 1_500_000;
const NUMBERS: u32 = 375_000;

fn content() -> Vec<u8> {
    (0..NUMBERS).flat_map(u32::to_be_bytes).collect()
}

fn digest(content: &[u8]) -> Digest {
    BlobDigest::of(content).0
}

/// A node that gives parts of content, each of which may break off.
struct Giver {
    gateway: Gateway,
    ranges: Arc<Mutex<Vec<Option<String>>>>,
    _home: tempfile::TempDir,
}

impl Giver {
    /// `give` has the number of requests before, and the offset of the first byte. It returns what follows, and whether it breaks off.
    async fn start(
        seed: u8,
        give: impl Fn(usize, usize) -> (Vec<u8>, bool) + Send + Sync + 'static,
    ) -> Self {
        let home = tempfile::tempdir().unwrap();
        let ranges: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
        let (give, heard) = (Arc::new(give), Arc::clone(&ranges));
        let service = move |call: Call| {
            let (give, heard) = (Arc::clone(&give), Arc::clone(&heard));
            async move {
                let range = call.request.headers.text("range").map(str::to_owned);
                let from = range.as_deref().map_or(0, |range| {
                    let from = range.strip_prefix("bytes=").unwrap();
                    from.strip_suffix('-').unwrap().parse().unwrap()
                });
                let n = {
                    let mut heard = heard.lock().unwrap();
                    heard.push(range);
                    heard.len() - 1
                };
                if from >= LEN {
                    return refuse(RefusalCode::BadValue, "range");
                }
                let (bytes, breaks) = give(n, from);
                let mut pieces: Vec<std::io::Result<Bytes>> = Vec::new();
                pieces.extend(bytes.chunks(10_000).map(|c| Ok(Bytes::copy_from_slice(c))));
                if breaks {
                    pieces.push(Err(std::io::ErrorKind::BrokenPipe.into()));
                }
                let reply = Reply::new(200).streaming(stream::iter(pieces));
                match from {
                    0 => reply.with_header("content-length", LEN.to_string()),
                    _ => {
                        let range = format!("bytes {from}-{}/{LEN}", LEN - 1);
                        reply.with_header("content-range", range)
                    }
                }
            }
        };
        let identity = Identity::from_seed(&[seed; 32]);
        let config = GatewayConfig::in_state(home.path());
        let builder = Gateway::builder(identity, &config).service("/fog/1/", service);
        Self {
            gateway: builder.start().await.unwrap(),
            ranges,
            _home: home,
        }
    }

    fn peer(&self) -> Peer {
        self.gateway.listening().peer()
    }

    fn ranges(&self) -> Vec<Option<String>> {
        std::mem::take(&mut self.ranges.lock().unwrap())
    }
}

fn direct(peers: Vec<Peer>) -> Direct {
    let node = Node::new(Some(me()), SessionConfig::default()).unwrap();
    Direct::new(node.into(), peers)
}

fn with_peers(fog: FogClient, peers: &[Peer]) -> Sources {
    let connect = Arc::new(direct(peers.to_vec()));
    let all = peers.iter().map(Peer::name);
    all.fold(Sources::new(fog), |sources, name| {
        sources.and(connect.clone(), name)
    })
}

fn has_only(folder: &Path, name: &str) -> bool {
    let all = std::fs::read_dir(folder).unwrap();
    let names: Vec<_> = all.map(|file| file.unwrap().file_name()).collect();
    names == [name]
}

#[tokio::test]
async fn a_download_that_is_cut_goes_on_where_it_was() {
    let all = content();
    let given = all.clone();
    // Twice it breaks off: after a part, and within the next.
    let one = Giver::start(60, move |n, from| match n {
        0 | 1 => (given[from..from + 400_000].to_vec(), true),
        _ => (given[from..].to_vec(), false),
    })
    .await;
    let fog = FogClient::new(me(), direct(vec![one.peer()]));
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("blob");
    let got = fog.get_blob_to(&digest(&all), &file, LEN as u64).await;
    assert_eq!(got.unwrap(), LEN as u64);
    assert!(std::fs::read(&file).unwrap() == all);
    assert!(has_only(home.path(), "blob"));
    let ranges = one.ranges();
    assert_eq!(ranges.len(), 3, "{ranges:?}");
    // Only bytes that were on their way when the transfer broke off may be lost.
    let from = |range: &Option<String>| -> usize {
        let text = range.as_deref().unwrap();
        text["bytes=".len()..text.len() - 1].parse().unwrap()
    };
    assert_eq!(ranges[0], None);
    assert!(
        from(&ranges[1]) <= 400_000 && from(&ranges[2]) <= 800_000,
        "{ranges:?}"
    );
    assert!(from(&ranges[2]) >= from(&ranges[1]) && from(&ranges[2]) > 0);

    // The stream of it does the same.
    let mut fetch = Sources::new(fog.clone()).fetch(&digest(&all), LEN as u64);
    let mut bytes = Vec::new();
    while let Some(part) = fetch.chunk().await.unwrap() {
        bytes.extend_from_slice(&part);
    }
    assert!(bytes == all && fetch.received() == LEN as u64);
    // A shorter bound refuses it before the end.
    let mut fetch = Sources::new(fog.clone()).fetch(&digest(&all), LEN as u64 - 1);
    let refused = loop {
        match fetch.chunk().await {
            Ok(part) => assert!(part.is_some()),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Digest { .. }), "{refused}");
    fog.close().await;
}

#[tokio::test]
async fn what_came_is_kept_for_the_next_call_and_checked() {
    let all = content();
    let given = all.clone();
    let breaks = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let cut = Arc::clone(&breaks);
    let one = Giver::start(61, move |_, from| {
        let breaks = cut.load(std::sync::atomic::Ordering::Relaxed);
        let end = if breaks { LEN.min(from + 60_000) } else { LEN };
        (given[from..end].to_vec(), breaks)
    })
    .await;
    let fog = FogClient::new(me(), direct(vec![one.peer()]));
    let home = tempfile::tempdir().unwrap();
    let (file, part) = (home.path().join("blob"), home.path().join("blob.part"));
    let (digest, most) = (digest(&all), LEN as u64);
    let failed = fog.get_blob_to(&digest, &file, most).await.unwrap_err();
    assert!(matches!(failed, Error::Session { .. }), "{failed}");
    let kept = std::fs::read(&part).unwrap();
    assert!(!kept.is_empty() && kept == all[..kept.len()]);
    assert!(has_only(home.path(), "blob.part"));
    breaks.store(false, std::sync::atomic::Ordering::Relaxed);
    one.ranges();
    assert_eq!(fog.get_blob_to(&digest, &file, most).await.unwrap(), most);
    assert_eq!(one.ranges(), [Some(format!("bytes={}-", kept.len()))]);
    assert!(std::fs::read(&file).unwrap() == all && has_only(home.path(), "blob"));

    // A whole part is not asked for again; one of something else, or too long, is discarded.
    let mut wrong = all[..700_000].to_vec();
    wrong[1] ^= 1;
    let longer = [&all[..], b"x"].concat();
    let whole_but_wrong = [&wrong[..], &all[700_000..]].concat();
    for (kept, max, asked) in [
        (all.clone(), most, 0),
        (wrong, most, 2),
        (longer.clone(), most, 1),
        (longer, most + 10, 2),
        (whole_but_wrong, most, 2),
    ] {
        std::fs::write(&part, kept).unwrap();
        assert_eq!(fog.get_blob_to(&digest, &file, max).await.unwrap(), most);
        assert_eq!(one.ranges().len(), asked);
        assert!(std::fs::read(&file).unwrap() == all && has_only(home.path(), "blob"));
    }
    fog.close().await;
}

/// Blobs in a folder.
async fn store(home: &Path, contents: &[&[u8]]) -> Blobs {
    let state = Arc::new(State::open(&home.join("state")).unwrap());
    let settings = Settings {
        floor: 0,
        ..Settings::default()
    };
    let blobs = Blobs::open(&state, settings).await.unwrap();
    for content in contents {
        let body = stream::iter([Ok::<_, std::io::Error>(Bytes::copy_from_slice(content))]);
        let (digest, len) = (BlobDigest::of(content), content.len() as u64);
        blobs.put(digest, len, body).await.unwrap();
    }
    blobs
}

#[tokio::test]
async fn a_peer_gives_what_the_coordinator_has_not_and_no_more() {
    let all = content();
    let secret = b"for others".to_vec();
    let coordinator =
        Coordinator::start(62, |_, _, _, _| refuse(RefusalCode::Unknown, "digest")).await;
    let fog = client(&[&coordinator]);
    let home = tempfile::tempdir().unwrap();
    let blobs = store(home.path(), &[&all, &secret, b""]).await;
    let hidden = BlobDigest::of(&secret);
    let service = BlobService::new(blobs.clone(), move |_, digest| *digest != hidden);
    let config = GatewayConfig::in_state(home.path().join("gateway"));
    let gateway = Gateway::builder(Identity::from_seed(&[63; 32]), &config)
        .service(BLOB_PREFIX, service)
        .start()
        .await
        .unwrap();
    let peer = gateway.listening().peer();
    let sources = with_peers(fog.clone(), std::slice::from_ref(&peer));
    let file = home.path().join("blob");
    let got = sources.fetch_to(&digest(&all), &file, LEN as u64).await;
    assert_eq!(got.unwrap(), LEN as u64);
    assert!(std::fs::read(&file).unwrap() == all);
    assert_eq!(coordinator.seen().len(), 1);
    // It goes on in the midst of one.
    let part = home.path().join("blob.part");
    std::fs::write(&part, &all[..1_000_001]).unwrap();
    std::fs::remove_file(&file).unwrap();
    let got = sources.fetch_to(&digest(&all), &file, LEN as u64).await;
    assert_eq!(got.unwrap(), LEN as u64);
    assert!(std::fs::read(&file).unwrap() == all && !part.exists());
    let empty = home.path().join("empty");
    let got = sources.fetch_to(&digest(b""), &empty, 0).await;
    assert_eq!((got.unwrap(), empty.exists()), (0, true));
    // A blob that nobody has, and one that the peer may not give: the coordinator's word, and no file.
    for name in [digest(b"missing"), digest(&secret)] {
        let file = home.path().join("none");
        let refused = sources.fetch_to(&name, &file, 100).await.unwrap_err();
        assert_eq!(refused.code(), Some(RefusalCode::Unknown), "{refused}");
        assert!(!file.exists() && !home.path().join("none.part").exists());
    }
    // It takes nothing, and bounds what it gives.
    let to_peer = FogClient::new(me(), direct(vec![peer]));
    let blob = betanet_fog_client::Blob::from(b"new".to_vec());
    let refused = to_peer.put_blob(&blob).await.unwrap_err();
    assert_eq!(refused.code(), Some(RefusalCode::Role), "{refused}");
    assert_eq!(blobs.has(BlobDigest(*blob.digest())), None);
    let mut held = Vec::new();
    for _ in 0..SERVED_MAX {
        held.push(to_peer.get_blob(&digest(&all)).await.unwrap());
    }
    let full = home.path().join("full");
    let refused = sources.fetch_to(&digest(&all), &full, LEN as u64).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Some(RefusalCode::Unknown), "{refused}");
    // This node reads its own blobs all the same.
    blobs.verify(BlobDigest::of(&all)).await.unwrap();
    drop(held);
    fog.close().await;
    to_peer.close().await;
}

#[tokio::test]
async fn a_peer_that_lies_is_left_out() {
    let all = content();
    let coordinator =
        Coordinator::start(64, |_, _, _, _| refuse(RefusalCode::Unknown, "digest")).await;
    let fog = client(&[&coordinator]);
    let given = all.clone();
    let liar = Giver::start(65, move |_, from| {
        let mut lie = given[from..].to_vec();
        lie[7] ^= 1;
        (lie, false)
    })
    .await;
    let given = all.clone();
    let honest = Giver::start(66, move |_, from| (given[from..].to_vec(), false)).await;
    let sources = with_peers(fog.clone(), &[liar.peer(), honest.peer()]);
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("blob");
    let got = sources.fetch_to(&digest(&all), &file, LEN as u64).await;
    assert_eq!(got.unwrap(), LEN as u64);
    assert!(std::fs::read(&file).unwrap() == all && has_only(home.path(), "blob"));
    assert_eq!((liar.ranges().len(), honest.ranges().len()), (1, 1));
    // Alone, it is caught.
    let sources = with_peers(fog.clone(), &[liar.peer()]);
    let other = home.path().join("other");
    let failed = sources.fetch_to(&digest(&all), &other, LEN as u64).await;
    let failed = failed.unwrap_err();
    // The second round asks the coordinator alone.
    assert_eq!(failed.code(), Some(RefusalCode::Unknown), "{failed}");
    assert!(has_only(home.path(), "blob"));
    fog.close().await;
}

#[tokio::test]
async fn a_peer_takes_over_in_the_midst_of_a_blob() {
    let all = content();
    let given = all.clone();
    let one = Giver::start(67, move |_, from| {
        (given[from..LEN.min(from + 500_000)].to_vec(), true)
    })
    .await;
    let given = all.clone();
    let two = Giver::start(68, move |_, from| (given[from..].to_vec(), false)).await;
    let fog = FogClient::new(me(), direct(vec![one.peer()]));
    let sources = with_peers(fog.clone(), &[two.peer()]);
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("blob");
    let got = sources.fetch_to(&digest(&all), &file, LEN as u64).await;
    assert_eq!(got.unwrap(), LEN as u64);
    assert!(std::fs::read(&file).unwrap() == all);
    let ranges = two.ranges();
    assert!(ranges.len() == 1 && ranges[0].is_some(), "{ranges:?}");
    fog.close().await;
}
