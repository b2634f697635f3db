//! Frames in pieces of any size, and their counters.

use std::future::poll_fn;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::head::*;
use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let head = Head {
        len: payload.len(),
        kind,
        flags,
        stream,
    };
    [&head.bytes()[..], payload].concat()
}

/// A GET without a body, of HPACK's static table.
fn get(stream: u32) -> Vec<u8> {
    frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        stream,
        &[0x82, 0x87, 0x84, 0x41, 1, b'x'],
    )
}

fn post(stream: u32) -> Vec<u8> {
    frame(
        HEADERS,
        END_HEADERS,
        stream,
        &[0x83, 0x87, 0x84, 0x41, 1, b'x'],
    )
}

fn frames_of(mut bytes: &[u8]) -> Vec<(Head, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() {
        let head = Head::read(head);
        all.push((head, rest[..head.len].to_vec()));
        bytes = &rest[head.len..];
    }
    assert!(bytes.is_empty());
    all
}

/// Input of a site for a client's bytes in pieces of these sizes, or the code that ended the connection.
fn handed(sent: &[u8], sizes: &[usize], hands_on: bool) -> (Vec<u8>, Option<Reason>, Wire) {
    let wire = Wire::new(&Http2Look::nginx(), hands_on, Arc::default());
    let (mut got, mut why) = (Vec::new(), None);
    let mut rest = sent;
    let mut sizes = sizes.iter().cycle();
    let mut guard = wire.frames();
    while !rest.is_empty() {
        let n = (*sizes.next().unwrap()).clamp(1, rest.len());
        let frames = &mut *guard;
        let input = [frames.inbound.begun(), &rest[..n]].concat();
        frames.ledger.came(n);
        let mut scratch = BytesMut::new();
        match frames
            .inbound
            .take(&input, &mut frames.ledger, &mut scratch)
        {
            Ok(Some(same)) => got.extend_from_slice(&input[..same]),
            Ok(None) => got.extend_from_slice(&scratch),
            Err(reason) => {
                why = Some(reason);
                break;
            }
        }
        rest = &rest[n..];
    }
    drop(guard);
    (got, why, wire)
}

#[test]
fn what_ends_a_connection_and_what_does_not_is_as_with_nginx() {
    let begin = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let setting = |id: u8, value: u32| {
        frame(
            SETTINGS,
            0,
            0,
            &[&[0, id][..], &value.to_be_bytes()].concat(),
        )
    };
    let all: Vec<(&str, Vec<u8>, Option<Reason>)> = vec![
        (
            "DATA of a stream that is not open",
            frame(DATA, 0, 1, b"x"),
            None,
        ),
        (
            "DATA of stream 0",
            frame(DATA, 0, 0, b"x"),
            Some(Reason::PROTOCOL_ERROR),
        ),
        (
            "padded DATA of length 0",
            [post(1), frame(DATA, PADDED, 1, b"")].concat(),
            Some(Reason::FRAME_SIZE_ERROR),
        ),
        (
            "RST_STREAM of a stream that is not open",
            frame(RST_STREAM, 0, 1, &[0; 4]),
            None,
        ),
        (
            "RST_STREAM of stream 0",
            frame(RST_STREAM, 0, 0, &[0; 4]),
            Some(Reason::PROTOCOL_ERROR),
        ),
        (
            "short PING",
            frame(PING, 0, 0, b"x"),
            Some(Reason::FRAME_SIZE_ERROR),
        ),
        (
            "short SETTINGS",
            frame(SETTINGS, 0, 0, b"x"),
            Some(Reason::FRAME_SIZE_ERROR),
        ),
        (
            "SETTINGS: window",
            setting(4, u32::MAX),
            Some(Reason::FLOW_CONTROL_ERROR),
        ),
        (
            "SETTINGS: push",
            setting(2, 2),
            Some(Reason::PROTOCOL_ERROR),
        ),
        (
            "SETTINGS: frame size",
            setting(5, 2),
            Some(Reason::PROTOCOL_ERROR),
        ),
        ("SETTINGS: unknown", setting(99, 2), None),
        (
            "CONTINUATION of nothing",
            frame(CONTINUATION, 4, 1, b""),
            Some(Reason::PROTOCOL_ERROR),
        ),
        (
            "PING within a header section",
            [frame(HEADERS, 0, 1, &[0x82]), frame(PING, 0, 0, &[0; 8])].concat(),
            Some(Reason::PROTOCOL_ERROR),
        ),
        ("even stream", get(2), Some(Reason::PROTOCOL_ERROR)),
        (
            "stream again",
            [get(3), get(3)].concat(),
            Some(Reason::PROTOCOL_ERROR),
        ),
        (
            "trailers",
            [post(1), frame(HEADERS, 5, 1, &[0x82])].concat(),
            Some(Reason::PROTOCOL_ERROR),
        ),
        (
            "PUSH_PROMISE",
            frame(PUSH_PROMISE, 4, 1, &[0; 4]),
            Some(Reason::PROTOCOL_ERROR),
        ),
        ("GOAWAY", frame(GOAWAY, 0, 0, &[0; 8]), None),
        ("unknown type", frame(99, 0xff, 7, b"abc"), None),
        (
            "empty HEADERS",
            frame(HEADERS, 5, 1, b""),
            Some(Reason::FRAME_SIZE_ERROR),
        ),
        (
            "long HEADERS",
            frame(HEADERS, 5, 1, &vec![0; HEADERS_MAX + 1]),
            Some(Reason::ENHANCE_YOUR_CALM),
        ),
        (
            "CONTINUATION without end",
            [
                frame(HEADERS, 0, 1, &[0x82]),
                frame(CONTINUATION, 0, 1, &vec![0; 16_384]).repeat(3),
            ]
            .concat(),
            Some(Reason::ENHANCE_YOUR_CALM),
        ),
        ("another preface", Vec::new(), Some(Reason::PROTOCOL_ERROR)),
    ];
    let dependent = |kind, flags| {
        let rest = if kind == HEADERS {
            &[16, 0x82][..]
        } else {
            &[16]
        };
        frame(kind, flags, 1, &[&[0x80, 0, 0, 1][..], rest].concat())
    };
    let itself = [
        ("PRIORITY on itself", dependent(PRIORITY, 0)),
        ("HEADERS on itself", dependent(HEADERS, 0x25)),
        (
            "HEADERS padded beyond",
            frame(HEADERS, 5 | PADDED, 1, &[9, 0x82, 0x87]),
        ),
    ];
    let itself = itself.map(|(name, bytes)| (name, bytes, Some(Reason::PROTOCOL_ERROR)));
    for (name, bytes, want) in all.into_iter().chain(itself) {
        let sent = if name == "another preface" {
            b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()
        } else {
            [&begin[..], &bytes, &frame(PING, 0, 0, b"all good")].concat()
        };
        for size in [1, 7, 100_000] {
            let (got, why, _) = handed(&sent, &[size], false);
            assert_eq!(why, want, "{name}");
            assert!(want.is_some() || got.ends_with(b"all good"), "{name}");
        }
    }
}

/// Beyond 8 MiB one byte in eight has to be useful.
#[test]
fn floods_are_ended() {
    let window = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
    let floods = [
        ("WINDOW_UPDATE", window),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ("PING", frame(PING, 0, 0, &[0; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[0, 9, 0, 0, 0, 0])),
        ("unknown", frame(99, 0, 0, &[])),
        ("unknown, long", frame(99, 0, 0, &[0; 9000])),
        ("empty DATA", frame(DATA, 0, 1, &[])),
        ("DATA that nobody reads", frame(DATA, 0, 1, &[0; 9000])),
        ("RST_STREAM", frame(RST_STREAM, 0, 9, &[0; 4])),
    ];
    for (name, frame) in floods {
        let begin = [PREFACE, &post(1)].concat();
        let sent = [begin, frame.repeat((9 << 20) / frame.len())].concat();
        let (_, why, _) = handed(&sent, &[16_384], false);
        let want = if name == "PRIORITY" {
            Reason::ENHANCE_YOUR_CALM
        } else {
            Reason::NO_ERROR
        };
        assert_eq!(why, Some(want), "{name}");
    }
    // Useful bytes are no flood, however many.
    let piece = frame(DATA, 0, 1, &[0; 9000]);
    let wire = Wire::new(&Http2Look::nginx(), false, Arc::default());
    let mut guard = wire.frames();
    let frames = &mut *guard;
    let mut scratch = BytesMut::new();
    let begin = [PREFACE, &post(1)].concat();
    frames
        .inbound
        .take(&begin, &mut frames.ledger, &mut scratch)
        .unwrap();
    frames.ledger.tunnel(1);
    for _ in 0..3000 {
        frames.ledger.came(piece.len());
        frames
            .inbound
            .take(&piece, &mut frames.ledger, &mut scratch)
            .unwrap();
    }
}

#[test]
fn a_thousand_requests_are_taken_and_the_last_is_named() {
    let sent: Vec<u8> = (0..1100_u32).flat_map(|n| get(2 * n + 1)).collect();
    let (got, why, wire) = handed(&[PREFACE, &sent].concat(), &[5000], false);
    assert_eq!(why, None);
    let all = frames_of(&got[PREFACE.len()..]);
    assert_eq!(all.len(), 1000);
    let frames = &mut *wire.frames();
    assert!(frames.ledger.is_full());
    assert_eq!(frames.ledger.last, 1999);
}

/// Padding does not count as unread: no reader of a body gets it.
#[test]
fn padding_is_not_unread() {
    for len in [1, 20_000] {
        let padded = [&[255][..], &vec![7; len], &[0; 255]].concat();
        let sent = [PREFACE, &post(1), &frame(DATA, PADDED, 1, &padded)].concat();
        for size in [1, 100_000] {
            let (_, why, wire) = handed(&sent, &[size], true);
            assert_eq!(why, None);
            assert_eq!(wire.frames().ledger.counts(), (1, len));
            wire.read(1, len);
            assert_eq!(wire.frames().ledger.counts(), (1, 0));
        }
    }
}

#[test]
fn a_tables_size_is_answered_by_the_first_head_that_leaves() {
    let setting = frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]);
    let sent = [PREFACE, &setting, &post(1), &post(3), &post(5)].concat();
    let (_, _, wire) = handed(&sent, &[100_000], false);
    let (head, ()) = http::Response::new(()).into_parts();
    for stream in [1, 3, 5] {
        wire.head(stream, &head);
    }
    let frames = &mut *wire.frames();
    // The first stream is reset before its head has left.
    frames.ledger.close(1);
    let said = |frames: &mut Frames, stream| {
        let said = frame(HEADERS, END_HEADERS, stream, &[0x88]);
        frames.outbound.hold(&said, &mut frames.ledger);
        let own = frames.outbound.own().unwrap();
        std::mem::take(own)[HEAD..].to_vec()
    };
    assert_eq!(said(frames, 3), [0x20, 0x88]);
    assert_eq!(said(frames, 5), [0x88]);
}

proptest! {
    #[test]
    fn large_frames_come_as_small_ones_with_the_same_bytes(
        bodies in proptest::collection::vec((0..70_000_usize, any::<bool>(), 0..255_u8), 1..6),
        sizes in proptest::collection::vec(1..40_000_usize, 1..9),
    ) {
        let mut sent = [PREFACE, &post(1), &frame(SETTINGS, 0, 0, &[])].concat();
        let (mut want, mut counted) = (Vec::new(), 0);
        let last = bodies.len() - 1;
        for (n, (len, padded, padding)) in bodies.into_iter().enumerate() {
            let data: Vec<u8> = (0..len).map(|i| (i * 7 + n).to_le_bytes()[0]).collect();
            let end = if n == last { END_STREAM } else { 0 };
            want.extend_from_slice(&data);
            let (flags, payload) = if padded {
                (PADDED, [&[padding][..], &data, &vec![0; usize::from(padding)]].concat())
            } else {
                (0, data)
            };
            counted += payload.len();
            sent.extend(frame(DATA, flags | end, 1, &payload));
            sent.extend(frame(PING, 0, 0, &[n.to_le_bytes()[0]; 8]));
        }
        let (got, why, _) = handed(&sent, &sizes, true);
        prop_assert_eq!(why, None);
        let (mut data, mut took, mut ended, mut pings) = (Vec::new(), 0, false, 0);
        for (head, payload) in frames_of(&got[PREFACE.len()..]) {
            prop_assert!(head.len <= 16_384 + 256, "{}", head.len);
            if head.kind == PING {
                pings += 1;
            }
            if head.kind == DATA {
                prop_assert!(!ended);
                took += head.len;
                ended = head.has(END_STREAM);
                let (before, after) = if head.has(PADDED) { (1, usize::from(payload[0])) } else { (0, 0) };
                data.extend_from_slice(&payload[before..payload.len() - after]);
            }
        }
        prop_assert!(data == want);
        prop_assert_eq!((took, ended, pings), (counted, true, last + 1));
    }

    #[test]
    fn what_h2_says_leaves_in_any_pieces_but_for_what_is_said_otherwise(
        sizes in proptest::collection::vec((1..30_000_usize, 1..4_usize), 1..9),
        bodies in proptest::collection::vec(0..50_000_usize, 1..5),
    ) {
        let wire = Wire::new(&Http2Look::nginx(), false, Arc::default());
        let mut guard = wire.frames();
        let frames = &mut *guard;
        let mut scratch = BytesMut::new();
        frames.inbound.take(&[PREFACE, &post(1), &post(3), &frame(PING, 0, 0, &[0; 8])].concat(), &mut frames.ledger, &mut scratch).unwrap();
        frames.outbound.section(&frames.ledger, 1, vec![0x88]);
        let mut said = [
            frame(SETTINGS, 0, 0, &[0, 6, 0, 0, 0, 1]),
            frame(WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0]),
            frame(SETTINGS, ACK, 0, &[]),
            frame(HEADERS, END_HEADERS, 1, &[1, 2, 3]),
        ].concat();
        let last = bodies.len() - 1;
        let mut want: Vec<(u8, u8, usize)> = vec![(SETTINGS, 0, 18), (WINDOW_UPDATE, 0, 4), (SETTINGS, ACK, 0), (HEADERS, END_HEADERS, 1)];
        for (n, len) in bodies.into_iter().enumerate() {
            let end = if n == last { END_STREAM } else { 0 };
            said.extend(frame(DATA, end, 1, &vec![n.to_le_bytes()[0]; len]));
            want.push((DATA, end, len));
        }
        // For a stream whose body nobody reads: sent by us at once, and not again by `h2`.
        want.push((RST_STREAM, 0, 4));
        said.extend(frame(RST_STREAM, 0, 1, &[0; 4]));
        said.extend(frame(GOAWAY, 0, 0, &[&[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1][..], b"why it is so"].concat()));
        want.push((GOAWAY, 0, 8));
        let (mut out, mut rest) = (Vec::new(), &said[..]);
        let mut sizes = sizes.iter().cycle();
        while !rest.is_empty() {
            while let Some(own) = frames.outbound.own() {
                out.extend_from_slice(own);
                own.clear();
            }
            let (size, slices) = *sizes.next().unwrap();
            let some = &rest[..size.min(rest.len())];
            let cut = some.len().div_ceil(slices);
            let bufs: Vec<io::IoSlice<'_>> = some.chunks(cut).map(io::IoSlice::new).collect();
            let plain = frames.outbound.plain(&bufs);
            let n = if plain == 0 {
                frames.outbound.hold(&bufs[0], &mut frames.ledger)
            } else {
                // The socket accepts any number.
                let n = plain.min(size / 2 + 1);
                out.extend_from_slice(&some[..n]);
                frames.outbound.passed(&bufs, n, &mut frames.ledger);
                n
            };
            prop_assert!(n > 0);
            rest = &rest[n..];
        }
        while let Some(own) = frames.outbound.own() {
            out.extend_from_slice(own);
            own.clear();
        }
        let all = frames_of(&out);
        let got: Vec<_> = all.iter().map(|(h, _)| (h.kind, h.flags, h.len)).collect();
        prop_assert_eq!(got, want);
        prop_assert_eq!(&all[0].1, &[0, 3, 0, 0, 0, 128, 0, 4, 0, 1, 0, 0, 0, 5, 0, 255, 255, 255]);
        prop_assert_eq!(&all[1].1, &[0x7f, 0xff, 0, 0]);
        prop_assert_eq!(&all[3].1, &[0x88]);
        prop_assert_eq!(&all.last().unwrap().1, &[0, 0, 0, 3, 0, 0, 0, 1]);
    }
}

/// Reads whole frames.
async fn next(client: &mut DuplexStream) -> (Head, Vec<u8>) {
    let mut head = [0; HEAD];
    client.read_exact(&mut head).await.unwrap();
    let head = Head::read(&head);
    let mut payload = vec![0; head.len];
    client.read_exact(&mut payload).await.unwrap();
    (head, payload)
}

#[tokio::test]
async fn bodies_that_nobody_reads_are_not_read_on_either() {
    let (mut client, server) = duplex(1 << 20);
    let wire = Wire::new(&Http2Look::nginx(), true, Arc::default());
    let framed = wire.over(server);
    let serving = async {
        let mut builder = h2::server::Builder::new();
        builder
            .initial_window_size(65_536)
            .initial_connection_window_size(0x7fff_ffff);
        let mut connection = builder.handshake::<_, Bytes>(framed).await.unwrap();
        let mut held = Vec::new();
        poll_fn(|cx| {
            while let Poll::Ready(Some(Ok(request))) = connection.poll_accept(cx) {
                held.push(request);
            }
            // Eight bodies of 64 KiB were sent: no more than the limit and one read was taken.
            let (streams, unread) = wire.frames().ledger.counts();
            assert!(unread <= UNREAD_MAX + (64 << 10), "{unread}");
            if unread > UNREAD_MAX {
                Poll::Ready(streams)
            } else {
                Poll::Pending
            }
        })
        .await;
        // Once they are dropped the rest is read.
        for (request, _) in &held {
            wire.unwanted(request.body().stream_id().as_u32());
        }
        assert_eq!(wire.frames().ledger.counts().1, 0);
        drop(held);
        poll_fn(|cx| {
            while let Poll::Ready(Some(Ok((request, _)))) = connection.poll_accept(cx) {
                wire.unwanted(request.body().stream_id().as_u32());
            }
            Poll::<()>::Pending
        })
        .await;
    };
    let sending = async {
        client.write_all(PREFACE).await.unwrap();
        // Acknowledged, the windows are 64 KiB.
        let settings = [frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, ACK, 0, &[])];
        client.write_all(&settings.concat()).await.unwrap();
        for n in 0..8 {
            client.write_all(&post(2 * n + 1)).await.unwrap();
            for _ in 0..4 {
                client
                    .write_all(&frame(DATA, 0, 2 * n + 1, &[0; 16_384]))
                    .await
                    .unwrap();
            }
        }
        client.write_all(&frame(PING, 0, 0, &[5; 8])).await.unwrap();
        loop {
            let (head, payload) = next(&mut client).await;
            if head.kind == PING {
                assert_eq!(payload, [5; 8]);
                return client;
            }
        }
    };
    tokio::select! {
        () = serving => panic!("over"),
        _ = sending => {}
    }
}
