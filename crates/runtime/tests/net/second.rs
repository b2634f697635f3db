//! The second client fetches, rekeys, pings and closes.

use ciborium::Value;

use crate::peer::{Peer, public_hash, sha};
use crate::{Fixture, content, write};

/// Encodes a GET as the chapter specifies: type, length, `{"b": h'', "h": {}, "m": "GET", "u": …}`.
fn get(path: &str) -> Vec<u8> {
    let mut map = vec![0xa4, 0x61, b'b', 0x40, 0x61, b'h', 0xa0, 0x61, b'm', 0x63];
    map.extend_from_slice(b"GET");
    map.extend_from_slice(&[0x61, b'u', 0x60 | u8::try_from(path.len()).unwrap()]);
    map.extend_from_slice(path.as_bytes());
    let len = u32::try_from(map.len()).unwrap().to_be_bytes();
    [&[1][..], &len, &map].concat()
}

pub(crate) async fn fetch(peer: &mut Peer, stream: u32, path: &str) -> (u64, Vec<u8>) {
    peer.stream(stream, 0, &get(path), true);
    let (mut bytes, mut granted, mut connection) = (Vec::new(), 0u64, 0u64);
    loop {
        let frame = peer.next().await;
        match frame.ty {
            0 if frame.stream == stream => {
                let offset = u64::from_be_bytes(frame.payload[1..9].try_into().unwrap());
                assert_eq!(offset, bytes.len() as u64);
                bytes.extend_from_slice(&frame.payload[11..]);
                // Give 16 KiB more credit for each 16 KiB received, on both scopes.
                let len = frame.payload.len() as u64 - 11;
                granted += len;
                connection += len;
                if granted >= 16_384 {
                    let credit = u32::try_from(granted).unwrap().to_be_bytes();
                    peer.frame(1, stream, 0, &[&[1][..], &credit].concat());
                    granted = 0;
                }
                if connection >= 16_384 {
                    let credit = u32::try_from(connection).unwrap().to_be_bytes();
                    peer.frame(1, 0, 0, &[&[0][..], &credit].concat());
                    connection = 0;
                }
                if frame.payload[0] == 1 {
                    break;
                }
            }
            1 | 3 => {}
            2 => peer.frame(2, 0, 1, &frame.payload),
            other => panic!("frame type {other} on stream {}", frame.stream),
        }
    }
    let len = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
    let head: Value = ciborium::from_reader(&bytes[4..4 + len]).unwrap();
    let status = head
        .as_map()
        .unwrap()
        .iter()
        .find(|(k, _)| k.as_text() == Some("s"))
        .and_then(|(_, v)| v.as_integer())
        .unwrap();
    (u64::try_from(status).unwrap(), bytes.split_off(4 + len))
}

/// Returns the seeds of a client that decides on the version, and of one that does not.
pub(crate) fn seeds(server: &[u8; 32]) -> [[u8; 32]; 2] {
    let hash = public_hash(server);
    let seed = |below: bool| {
        (20..)
            .map(|n| [n; 32])
            .find(|s| {
                let key = ed25519_dalek::SigningKey::from_bytes(s)
                    .verifying_key()
                    .to_bytes();
                (public_hash(&key) < hash) == below
            })
            .unwrap()
    };
    [seed(true), seed(false)]
}

#[tokio::test]
async fn another_implementation_is_understood() {
    let fixture = Fixture::start(|_| {}).await;
    let big = content(1_000_000);
    write(&fixture.served("big.bin"), &big);
    let server = *fixture.gateway.listening().key.as_bytes();
    for (seed, decides) in seeds(&server).into_iter().zip([true, false]) {
        let mut peer = Peer::connect(&fixture.address(), &server, seed).await;
        assert_eq!(peer.decided, decides);
        assert_eq!(
            fetch(&mut peer, 3, "/hello.txt").await,
            (200, b"hello".to_vec())
        );
        peer.turn();
        assert_eq!(fetch(&mut peer, 5, "/big.bin").await, (200, big.clone()));
        assert_eq!(fetch(&mut peer, 7, "/none").await.0, 404);
        peer.frame(2, 0, 0, b"12345678");
        let pong = loop {
            let frame = peer.next().await;
            if frame.ty != 1 {
                break frame;
            }
        };
        assert_eq!(
            (pong.ty, pong.mark, pong.payload.as_slice()),
            (2, 1, &b"12345678"[..])
        );
        peer.frame(4, 0, 0, &[0, 0, 0, 0]);
        let close = peer.next().await;
        assert_eq!(
            (close.ty, close.stream, &close.payload[..2]),
            (4, 0, &[0, 0][..])
        );
    }
    assert!(fixture.gateway.shutdown().await);
}

/// Encodes a path header as the chapter specifies: SINGLE over these nodes, with the first segment signed by `seed`'s key.
pub(crate) fn path_header(seed: [u8; 32], nodes: &[[u8; 20]], unix_ms: u64, ttl: u64) -> Vec<u8> {
    use ed25519_dalek::Signer as _;
    let key = ed25519_dalek::SigningKey::from_bytes(&seed);
    let own = public_hash(key.verifying_key().as_bytes());
    let expiry = u32::try_from(unix_ms / 1000 + ttl).unwrap().to_be_bytes();
    let later: Vec<u8> = nodes[1..]
        .iter()
        .flat_map(|n| [&n[..], &expiry].concat())
        .collect();
    let mut text = [
        &b"BN-L1-seg"[..],
        &[2, 1, 0],
        &nodes[0],
        &expiry,
        &own[..20],
        &unix_ms.to_be_bytes(),
    ]
    .concat();
    if !later.is_empty() {
        text.extend_from_slice(&sha(&[&later]));
    }
    let sig = key.sign(&sha(&[&text])).to_bytes();
    let mut segments = Vec::new();
    for (i, node) in nodes.iter().enumerate() {
        segments.extend_from_slice(&[&node[..], &expiry, &unix_ms.to_be_bytes()].concat());
        match i {
            0 => segments.extend_from_slice(&[&[0, 64][..], &sig].concat()),
            _ => segments.extend_from_slice(&[0, 0]),
        }
    }
    let len = u16::try_from(8 + segments.len()).unwrap().to_be_bytes();
    let count = u8::try_from(nodes.len()).unwrap();
    [&[2, 1, 0, 8][..], &len, &[0, count], &segments].concat()
}

pub(crate) fn node(key: &[u8; 32]) -> [u8; 20] {
    public_hash(key)[..20].try_into().unwrap()
}

async fn next_control(peer: &mut Peer) -> Vec<u8> {
    loop {
        let frame = peer.next().await;
        match frame.ty {
            0x20 => return frame.payload,
            1 | 3 => {}
            other => panic!("frame type {other:#x}: {:?}", frame.payload),
        }
    }
}

#[tokio::test]
async fn another_implementations_paths_are_carried_and_its_mistakes_are_counted() {
    let exit = Fixture::start_as(40, |_| {}).await;
    let exit_peer = exit.gateway.listening().peer();
    let exit_node = node(exit_peer.key.as_bytes());
    let entry = Fixture::start_as(41, |c| c.relay.onward = vec![exit_peer]).await;
    let server = *entry.gateway.listening().key.as_bytes();
    let [seed, _] = seeds(&server);
    let mut peer = Peer::connect(&entry.address(), &server, seed).await;
    let unix_ms = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let unix_ms = u64::try_from(unix_ms.as_millis()).unwrap();

    // The answer to a probe has its token and feedback.
    peer.frame(
        0x20,
        0,
        0,
        &[&[2, 0x10, 0, 8, 0, 16, 0, 0][..], b"12345678"].concat(),
    );
    let ack = next_control(&mut peer).await;
    assert_eq!(ack[..8], [2, 0x11, 0, 8, 0, 22, 2, 0]);
    assert_eq!(&ack[8..16], b"12345678");

    // The path is relayed: the exit reads a stream opened on it, and refuses this first message.
    let nodes = [node(&server), exit_node];
    peer.frame(0x20, 0, 0, &path_header(seed, &nodes, unix_ms, 180));
    let own = node(
        ed25519_dalek::SigningKey::from_bytes(&seed)
            .verifying_key()
            .as_bytes(),
    );
    let expiry = u32::try_from(unix_ms / 1000 + 180).unwrap();
    let id = sha(&[
        b"BN-L1-path",
        &own,
        &nodes[0],
        &unix_ms.to_be_bytes(),
        &expiry.to_be_bytes(),
    ]);
    let message1 = [&48_u16.to_be_bytes()[..], &[7; 48]].concat();
    peer.stream(3, 0, &[&[3][..], &id[..8], &message1].concat(), false);
    let close = loop {
        let frame = peer.next().await;
        if frame.ty == 4 {
            break frame;
        }
    };
    assert_eq!(close.stream, 3);
    assert_eq!(entry.metric("betanet_streams_forwarded_total"), 1);
    assert_eq!(exit.metric("betanet_paths_total{outcome=\"exit\"}"), 1);

    // The entry does not know the node: NO_ROUTE, signed by the entry over the path's nodes.
    let nodes = [node(&server), [9; 20]];
    peer.frame(0x20, 0, 0, &path_header(seed, &nodes, unix_ms + 1, 180));
    let error = next_control(&mut peer).await;
    assert_eq!(error[..9], [2, 0x13, 0, 8, 0, 115, 0, 0, 1]);
    assert_eq!(error[17..49], server);
    let text = sha(&[
        b"BN-L1-err",
        &[1],
        &sha(&[&nodes.concat()]),
        &u32::try_from((unix_ms + 1) / 1000 + 180)
            .unwrap()
            .to_be_bytes(),
    ]);
    let key = ed25519_dalek::VerifyingKey::from_bytes(&server).unwrap();
    let sig: [u8; 64] = error[51..115].try_into().unwrap();
    key.verify_strict(&text, &sig.into()).unwrap();

    // A path that has expired, within the tolerance for clocks: TTL_EXPIRED, and not relayed.
    let nodes = [node(&server), exit_node];
    peer.frame(0x20, 0, 0, &path_header(seed, &nodes, unix_ms - 60_000, 0));
    let error = next_control(&mut peer).await;
    assert_eq!(error[8], 3);
    assert_eq!(exit.metric("betanet_paths_total{outcome=\"exit\"}"), 1);

    // Sixteen headers with invalid signatures end the session.
    for i in 0..16 {
        let mut header = path_header(seed, &nodes, unix_ms + 2 + i, 180);
        header[60] ^= 1;
        peer.frame(0x20, 0, 0, &header);
    }
    let close = loop {
        let frame = peer.next().await;
        if frame.ty == 4 && frame.stream == 0 {
            break frame;
        }
    };
    assert_eq!(close.payload[..2], [0, 3]);
    assert_eq!(entry.metric("betanet_paths_total{outcome=\"refused\"}"), 18);
}
