//! How long small fetches take beside services that take their time, by a session of the same thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use betanet_runtime::{
    Call, Gateway, Headers, Identity, Method, Node, Reply, Request, SessionHandle, Transport,
};
use bytes::Bytes;
use futures_util::stream;

use crate::{Effort, Figure, download, median};

/// Exchanges of each kind that are under way beside the fetches: two kinds answer, one is sent a body. A session has 256 streams.
const SLOW: usize = 67;
const FETCHED: u64 = 1024;

/// Answers after 5 s.
async fn late(_: Call) -> Reply {
    tokio::time::sleep(Duration::from_secs(5)).await;
    Reply::text(200, "late\n")
}

/// Says 100 bytes each 100 ms, for a minute.
async fn drips(_: Call) -> Reply {
    let lines = stream::unfold(0, |n| async move {
        if n == 600 {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        Some((
            Ok::<_, std::io::Error>(Bytes::from_static(&[7; 100])),
            n + 1,
        ))
    });
    Reply::new(200).streaming(lines)
}

/// Reads a piece of a body each 100 ms.
async fn sips(mut call: Call) -> Reply {
    while let Ok(Some(_)) = call.body.chunk().await {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Reply::text(200, "read\n")
}

fn request(method: Method, path: &str) -> Request {
    Request::new(method, path, Headers::default())
}

/// The 99th percentile of so many fetches, milliseconds.
async fn p99(session: &SessionHandle, fetches: usize) -> f64 {
    let mut took = Vec::with_capacity(fetches);
    for _ in 0..fetches {
        let began = Instant::now();
        let mut answer = session
            .ask(request(Method::Get, "/file.bin"))
            .await
            .unwrap();
        let body = answer.body.all(FETCHED as usize).await.unwrap();
        assert_eq!(body.map(|b| b.len() as u64), Some(FETCHED));
        took.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    took.sort_by(f64::total_cmp);
    took[took.len() * 99 / 100]
}

/// Keeps an exchange of this kind under way.
async fn keep(session: SessionHandle, kind: usize) {
    loop {
        match kind {
            0 => drop(session.ask(request(Method::Get, "/late")).await.unwrap()),
            1 => {
                let mut answer = session.ask(request(Method::Get, "/drips")).await.unwrap();
                while answer.body.chunk().await.unwrap().is_some() {}
            }
            _ => {
                let upload = session
                    .upload(request(Method::Post, "/sips"))
                    .await
                    .unwrap();
                loop {
                    upload.send(Bytes::from_static(&[1; 4096])).await.unwrap();
                }
            }
        }
    }
}

/// One run without and one beside the slow ones, in turns.
pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let home = tempfile::tempdir().unwrap();
    let (rounds, fetches) = if effort.quick {
        (1, 200)
    } else {
        (effort.rounds, 2000)
    };
    let ratios = crate::parts::runtime(Some(1)).block_on(async {
        let config = download::config(home.path(), FETCHED, Some(1_000_000));
        let gateway = Gateway::builder(Identity::from_seed(&[2; 32]), &config)
            .service("/late", late)
            .service("/drips", drips)
            .service("/sips", sips)
            .start()
            .await
            .unwrap();
        let peer = gateway.listening().peer();
        let plain = Arc::new(betanet_carrier::Plain);
        let node = Node::client().unwrap();
        let node = node.with_fingerprint(plain).with_transport(Transport::Tcp);
        let mut ratios = Vec::new();
        for _ in 0..rounds {
            let alone = node.connect(&peer).await.unwrap();
            let beside = node.connect(&peer).await.unwrap();
            let mut slow = tokio::task::JoinSet::new();
            for n in 0..3 * SLOW {
                slow.spawn(keep(beside.clone(), n % 3));
            }
            p99(&alone, 50).await;
            let with = p99(&alone, fetches).await;
            slow.shutdown().await;
            let without = p99(&alone, fetches).await;
            ratios.push((with / without, with, without));
            beside.close().await;
            alone.close().await;
        }
        gateway.shutdown().await;
        ratios
    });
    let middle = |of: fn(&(f64, f64, f64)) -> f64| median(ratios.iter().map(of).collect());
    vec![Figure {
        name: "p99 of 1 KiB fetches beside 201 slow services, vs without",
        ratio: middle(|r| r.0),
        bound: 1.5,
        at_least: false,
        detail: format!(
            "{:.3} ms against {:.3} ms",
            middle(|r| r.1),
            middle(|r| r.2)
        ),
    }]
}
