//! The second client fetches, turns its key, pings and closes.

use ciborium::Value;

use crate::peer::{Peer, public_hash};
use crate::{Fixture, content, write};

/// GET as the chapter writes it: type, length, `{"b": h'', "h": {}, "m": "GET", "u": …}`.
fn get(path: &str) -> Vec<u8> {
    let mut map = vec![0xa4, 0x61, b'b', 0x40, 0x61, b'h', 0xa0, 0x61, b'm', 0x63];
    map.extend_from_slice(b"GET");
    map.extend_from_slice(&[0x61, b'u', 0x60 | u8::try_from(path.len()).unwrap()]);
    map.extend_from_slice(path.as_bytes());
    let len = u32::try_from(map.len()).unwrap().to_be_bytes();
    [&[1][..], &len, &map].concat()
}

async fn fetch(peer: &mut Peer, stream: u32, path: &str) -> (u64, Vec<u8>) {
    peer.stream(stream, 0, &get(path), true);
    let (mut bytes, mut granted, mut connection) = (Vec::new(), 0u64, 0u64);
    loop {
        let frame = peer.next().await;
        match frame.ty {
            0 if frame.stream == stream => {
                let offset = u64::from_be_bytes(frame.payload[1..9].try_into().unwrap());
                assert_eq!(offset, bytes.len() as u64);
                bytes.extend_from_slice(&frame.payload[11..]);
                // 16 KiB more for each 16 KiB that came, on both scopes.
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

/// Seeds for a client that decides, and for one that does not.
fn seeds(server: &[u8; 32]) -> [[u8; 32]; 2] {
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
