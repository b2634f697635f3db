//! A client of version 1.1 that reaches a server of 1.1 over two nodes of this version, as an operator starts them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::time::SystemTime;

use betanet_carrier::client::{Trust, Way, connect};
use betanet_carrier::{
    Carrier, CertSource, Certificate, Cover, Limits, Plain, Received, SessionGate, Site, Tunnel,
    serve,
};
use betanet_compat11::frame::{self, Head};
use betanet_compat11::{
    Command, Event, Input, Leg, Opener, Reading, Sealer, TicketKey, Transmit, make_ticket,
};
use betanet_keys::{Identity, Peer, PublicKey};
use betanet_machine::{Machine as _, Now, Time};
use betanet_wire::NodeId;
use betanet_wire::text::{hex, unhex_array};

use zeroize::Zeroizing;

use crate::Serving;

const NOW: Now = Now {
    mono: Time::ZERO,
    unix_ms: 0,
};

fn unix_ms() -> u64 {
    betanet_runtime::Clock::start().now().unix_ms
}

/// What the old server's pages are dated.
const fn long_ago() -> SystemTime {
    SystemTime::UNIX_EPOCH
}

fn leg(carrier: &dyn Carrier, client: bool) -> Leg {
    let mut keys = [0; 64];
    let label = Reading::PROFILE.exporter;
    carrier.export_as(label, &[], &mut keys).unwrap();
    Leg::new(NOW, client, &keys, Reading::PROFILE)
}

/// Moves a leg's bytes until `on` says that it is enough, or the other end is gone.
async fn drive(
    leg: &mut Leg,
    carrier: &mut dyn Carrier,
    mut on: impl FnMut(&mut Leg, Event) -> bool + Send,
) {
    let mut enough = false;
    std::future::poll_fn(|cx| {
        loop {
            let mut moved = false;
            while carrier.poll_ready(cx).is_ready() {
                match leg.poll_transmit() {
                    Some(Transmit::Bytes(bytes)) => carrier.send(bytes).unwrap(),
                    Some(_) => carrier.end(),
                    None => break,
                }
                moved = true;
            }
            match carrier.poll_receive(cx) {
                Poll::Ready(Ok(Received::Bytes(bytes))) => {
                    moved = leg.handle_input(NOW, Input::Bytes(bytes)).is_ok();
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            while let Some(event) = leg.poll_event() {
                moved = true;
                enough |= on(leg, event);
            }
            carrier.push(cx);
            if enough || leg.is_closed() {
                return Poll::Ready(());
            }
            if !moved {
                return Poll::Pending;
            }
        }
    })
    .await;
}

/// A server that answers in capitals.
struct Old {
    tickets: TicketKey,
    identity: Identity,
}

impl SessionGate for Old {
    fn key(&self) -> &PublicKey {
        self.identity.public()
    }
    fn open(&self, _: &[u8; 32], _: &str, _: &[u8], _: SocketAddr) -> Option<Tunnel> {
        None
    }
    fn reads11(&self) -> Option<&Reading> {
        Some(&Reading::PROFILE)
    }
    fn open11(&self, ticket: &str, _: SocketAddr) -> Option<Tunnel> {
        self.tickets.open(ticket, unix_ms())?;
        Some(Box::new(|mut carrier| {
            Box::pin(async move {
                let mut leg = leg(&*carrier, false);
                let echo = |leg: &mut Leg, event| {
                    if let Event::Data { stream, data } = event {
                        let data = data.to_ascii_uppercase().into();
                        leg.handle_command(NOW, Command::Write { stream, data })
                            .unwrap();
                    }
                    false
                };
                drive(&mut leg, &mut *carrier, echo).await;
            })
        }))
    }
}

/// Where it listens, as `--compat11-dial` takes it.
async fn old_server(cover: &Path) -> String {
    let certificate = CertSource::fixed(Certificate::self_signed(&["localhost".into()]).unwrap());
    let pin = hex(&certificate.pin());
    let old = Old {
        tickets: TicketKey::new(&[5; 32], Reading::PROFILE),
        identity: Identity::from_seed(&[6; 32]),
    };
    let (key, id) = (hex(old.tickets.public()), hex(old.tickets.id()));
    let cover = Cover::new(cover, long_ago).unwrap();
    let site = Site::new(
        Arc::new(certificate),
        cover,
        Some(Arc::new(old)),
        Limits::default(),
    );
    let site = Arc::new(site.unwrap());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, peer)) = listener.accept().await {
            let stop = tokio_util::sync::CancellationToken::new();
            tokio::spawn(serve(Arc::clone(&site), tcp, peer, stop));
        }
    });
    format!("localhost:{port},key={key},id={id},pin={pin}")
}

#[test]
fn a_client_of_1_1_reaches_a_server_of_1_1_over_processes_of_1_2() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let home = tempfile::tempdir().unwrap();
    let server = runtime.block_on(old_server(home.path()));
    let far = Serving::start(&["--compat11", "--compat11-dial", &server]);
    let relay = Serving::start(&["--onward", far.fact("peer")]);
    let tickets = home.path().join("tickets.key");
    let tickets = tickets.to_str().unwrap();
    let near = [
        "--compat11-tickets",
        tickets,
        "--compat11-to",
        far.fact("peer"),
        "--onward",
        relay.fact("peer"),
    ];
    let near = Serving::start(&near);
    let answer = runtime.block_on(async {
        let mut carrier = leg_to(&near, 8).await;
        let mut leg = leg(&*carrier, true);
        leg.handle_command(NOW, Command::Open).unwrap();
        let data = "said in 1.1".into();
        leg.handle_command(NOW, Command::Write { stream: 3, data })
            .unwrap();
        let mut answer = Vec::new();
        drive(&mut leg, &mut *carrier, |_, event| {
            if let Event::Data { data, .. } = event {
                answer.extend_from_slice(&data);
            }
            answer.len() == 11
        })
        .await;
        answer
    });
    assert_eq!(answer, b"SAID IN 1.1");
    let nodes = [&relay, &far].map(|s| s.fact("peer").parse::<Peer>().unwrap().key.node_id());
    let answer = runtime.block_on(over(&near, &nodes, b"over a relay"));
    assert_eq!(answer, b"OVER A RELAY");
}

/// What comes of words on a leg that is to go on over these nodes.
async fn over(near: &Serving, nodes: &[NodeId], words: &[u8]) -> Vec<u8> {
    let mut header = vec![2, 1, 0, 8, 0, 0, 0, u8::try_from(nodes.len()).unwrap()];
    for node in nodes {
        header.extend_from_slice(&node.0);
        header.extend_from_slice(&[0; 6]);
    }
    header[5] = u8::try_from(header.len()).unwrap();
    let mut carrier = leg_to(near, 9).await;
    let mut keys = [0; 64];
    carrier
        .export_as(Reading::PROFILE.exporter, &[], &mut keys)
        .unwrap();
    let half = |at: usize| Zeroizing::new(keys[at..at + 32].try_into().unwrap());
    let mut sealer = Sealer::new(half(0), Reading::PROFILE);
    let mut opener = Opener::new(half(32), Reading::PROFILE);
    let frames = [
        sealer.seal(Head::Stream(1), &header),
        sealer.seal(Head::Stream(3), words),
    ];
    carrier.send(frames.concat().into()).unwrap();
    let mut got = Vec::new();
    std::future::poll_fn(|cx| {
        carrier.push(cx);
        while let Poll::Ready(Ok(Received::Bytes(bytes))) = carrier.poll_receive(cx) {
            got.extend_from_slice(&bytes);
        }
        match frame::read(&got).unwrap() {
            Some(framed) if got.len() >= framed.end => {
                opener.open(&framed, &mut got).unwrap();
                let answer = got[framed.at..framed.end - frame::TAG].to_vec();
                Poll::Ready(answer)
            }
            _ => Poll::Pending,
        }
    })
    .await
}

/// A leg that this client has a ticket for.
async fn leg_to(near: &Serving, client: u8) -> Box<dyn Carrier> {
    let fact = |key: &str| near.facts["tickets11"][key].as_str().unwrap();
    let key = unhex_array(fact("key")).unwrap();
    let id = unhex_array(fact("id")).unwrap();
    let reading = Reading::PROFILE;
    let (secret, at) = ([client; 32], unix_ms());
    let ticket = make_ticket(&reading, &secret, &key, &id, at, &[1; 32], &[0; 40]);
    let address = near.facts["addresses"][0].as_str().unwrap();
    let outer = connect(address, &Trust::Anything, Way::default(), &Plain).await;
    let opened = outer.unwrap().open11(&reading, &ticket.unwrap()).await;
    opened.unwrap()
}

#[test]
fn what_1_1_is_not_is_said() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let refused = |args: &[&str]| {
        let folder = home.to_str().unwrap();
        let all = [&["serve", folder][..], args].concat();
        let out = crate::run(&all, home, b"");
        (crate::code(&out), crate::text(&out.stderr))
    };
    let (code, said) = refused(&["--compat11", "--compat11-dial", "old.example:443"]);
    assert_eq!(code, 2);
    assert!(said.contains("HOST:PORT,key=<64 hex digits>"), "{said}");
    let (code, said) = refused(&["--compat11-dial", "old.example:443"]);
    assert_eq!(code, 2);
    assert!(said.contains("--compat11"), "{said}");
    let (code, said) = refused(&["--compat11-tickets", "t.key", "--compat11-to", "bob"]);
    assert_eq!(code, 2);
    assert!(said.contains("bnp1"), "{said}");
    let (code, said) = refused(&["--padding", "1k"]);
    assert_eq!(code, 2);
    assert!(said.contains("4k to 64m"), "{said}");
}
