//! Streams that end, are cut, and continue.

use betanet_fog::bodies::{Event, Price};
use betanet_fog::{Map, RefusalCode, to_message};
use betanet_fog_client::Error;
use betanet_runtime::{Bytes, Reply};

use crate::{Coordinator, body, client, refuse};

fn event(at: u64) -> Event {
    Event {
        at,
        ts: 1,
        kind: "ready".parse().unwrap(),
        node: None,
        task: None,
        reason: "".parse().unwrap(),
    }
}

/// Messages of these events, in pieces that end within a message; then an error if the stream is to be cut.
fn stream(events: std::ops::Range<u64>, cut: bool) -> Reply {
    let all: Vec<u8> = events.flat_map(|at| to_message(&event(at))).collect();
    let mut pieces: Vec<Result<Bytes, std::io::Error>> = all
        .chunks(7)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    if cut {
        pieces.push(Err(std::io::Error::other("cut")));
    }
    Reply::new(200).streaming(futures_util::stream::iter(pieces))
}

#[tokio::test]
async fn a_stream_goes_on_after_its_last_item() {
    let one = Coordinator::start(20, |_, _, _, n| match n {
        0 => stream(1..4, false),
        1 => stream(4..6, true),
        _ => stream(6..300, false),
    })
    .await;
    let fog = client(&[&one]);
    let mut events = fog.events(0, true);
    for at in 1..200 {
        assert_eq!(events.next().await.unwrap().unwrap().at, at);
    }
    assert_eq!(events.after(), 199);
    let targets = [
        "GET /fog/1/events?after=0&wait=60000",
        "GET /fog/1/events?after=3&wait=60000",
        "GET /fog/1/events?after=5&wait=60000",
    ];
    assert_eq!(one.seen(), targets);
    fog.close().await;
}

#[tokio::test]
async fn one_request_ends_with_none() {
    let one = Coordinator::start(21, |_, _, _, _| stream(1..3, false)).await;
    let fog = client(&[&one]);
    let mut events = fog.events(0, false);
    let mut seen = Vec::new();
    while let Some(event) = events.next().await.unwrap() {
        seen.push(event.at);
    }
    assert_eq!(seen, [1, 2]);
    assert_eq!(one.seen(), ["GET /fog/1/events?after=0"]);
    fog.close().await;
}

#[tokio::test]
async fn a_message_over_the_bound_ends_the_stream_before_it_comes() {
    let one = Coordinator::start(22, |_, _, _, _| {
        Reply::new(200).with_body(vec![0xff, 0xff, 0xff, 0xff, 0])
    })
    .await;
    let fog = client(&[&one]);
    let error = fog.events(0, true).next().await.unwrap_err();
    assert!(matches!(error, Error::Answer { .. }), "{error}");
    // Half a message before the end is no item either.
    let two = Coordinator::start(23, |_, _, _, _| {
        let mut half = to_message(&event(1));
        half.pop();
        Reply::new(200).with_body(half)
    })
    .await;
    let error = client(&[&two]).events(0, true).next().await.unwrap_err();
    assert!(matches!(error, Error::Answer { .. }), "{error}");
    fog.close().await;
}

#[tokio::test]
async fn a_stream_leaves_a_coordinator_that_no_longer_leads() {
    let leads = Coordinator::start(24, |_, target, _, _| match target {
        "/fog/1/price" => body(&Price {
            at: 1,
            ts: 2,
            floor: 3,
            factor: Map::new(),
        }),
        _ => stream(2..3, false),
    })
    .await;
    let name = leads.peer().name().to_string();
    let deposed = Coordinator::start(25, move |_, target, _, _| match target {
        "/fog/1/price" => refuse(RefusalCode::NotLeader, "").with_header("location", name.clone()),
        // One event, and then silence without an end.
        _ => {
            use futures_util::StreamExt as _;
            let first = Bytes::from(to_message(&event(1)));
            let first = futures_util::stream::once(async { Ok::<_, std::io::Error>(first) });
            Reply::new(200).streaming(first.chain(futures_util::stream::pending()))
        }
    })
    .await;
    let fog = client(&[&deposed, &leads]);
    let mut events = fog.events(0, true);
    assert_eq!(events.next().await.unwrap().unwrap().at, 1);
    let (next, price) = tokio::join!(events.next(), fog.price());
    assert_eq!((next.unwrap().unwrap().at, price.unwrap().at), (2, 1));
    let resumed = "GET /fog/1/events?after=1&wait=60000".to_owned();
    assert!(leads.seen().contains(&resumed), "{:?}", leads.seen());
    fog.close().await;
}
