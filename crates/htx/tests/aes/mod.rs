//! The feature `aes`: which frames are sealed with AES, and that no peer on the way can switch it.

use std::sync::atomic::{AtomicU64, Ordering};

use betanet_htx::cipher::{Ciphers, FrameKey, Ring, Suite};
use betanet_htx::frame::{self, Head, ty};
use betanet_htx::{
    By, Cipher, Command, Config, Event, Extra, Input, Outer, Session, Transmit, kind, offered_caps,
};
use betanet_machine::testkit::Checked;
use betanet_machine::{Machine as _, Now};
use betanet_wire::{Code, NodeId};
use bytes::Bytes;
use zeroize::Zeroizing;

use crate::closed;
use crate::raw::{self, EKM0, NOW, Raw, client_identity, server_identity};

const FIRST: [u8; 5] = [0, 0, 3, 0, 1];

fn offer(aes: bool) -> Vec<u8> {
    let extra = Extra {
        aes,
        ..Extra::default()
    };
    offered_caps(true, extra)
}

fn suite(suite: Suite) -> Cipher {
    Cipher { suite, by: &Ring }
}

/// A server whose client offers this, and has sent its first frame of epoch 1 under this cipher.
fn begun(client: bool, server: bool, cipher: Suite) -> (Raw, Vec<Event>) {
    let mut raw = Raw::shake_with(offer(server));
    raw.cipher = suite(cipher);
    raw.send_caps(&offer(client));
    raw.finish_negotiation("neither", &[]);
    raw.send(Head::connection(ty::WINDOW_UPDATE), &FIRST);
    let events = raw.events();
    (raw, events)
}

#[test]
fn the_first_frame_is_the_profiles() {
    assert_eq!(frame::window_update(0, 196_609), FIRST);
}

#[test]
fn frames_are_sealed_with_aes_where_both_offer_it_and_nowhere_else() {
    for (client, server) in [(false, false), (false, true), (true, false), (true, true)] {
        let (used, other) = if client && server {
            (Suite::Aes256Gcm, Suite::ChaCha20Poly1305)
        } else {
            (Suite::ChaCha20Poly1305, Suite::Aes256Gcm)
        };
        // A client that is made of parts seals and opens with the cipher itself.
        let (mut raw, events) = begun(client, server, used);
        assert_eq!(events, [Event::Established], "{client} {server}");
        assert_eq!(raw.server.get().suite(), used);
        let heads = raw.drain();
        assert_eq!(heads.first().map(|h| h.ty), Some(ty::WINDOW_UPDATE));
        raw.send(Head::connection(ty::PING), &[7; 8]);
        assert_eq!(raw.drain().first().map(|h| h.ty), Some(ty::PING));

        // The other cipher opens nothing, on either side.
        let (mut raw, events) = begun(client, server, other);
        let want = Some((Code::VERSION_NEGOTIATION_FAILED, By::Local));
        assert_eq!(closed(&events), want);
        assert_eq!(raw.drain(), []);
    }
}

#[test]
fn an_offer_of_aes_that_is_stripped_or_added_on_the_way_ends_the_session() {
    // What the client offered or believes of the server, what arrived, and whose offer it is.
    for (believed, arrived) in [(true, false), (false, true)] {
        for whose in ["client", "server"] {
            for cipher in [Suite::ChaCha20Poly1305, Suite::Aes256Gcm] {
                let (client, server) = match whose {
                    "client" => (arrived, true),
                    _ => (true, arrived),
                };
                let mut raw = Raw::shake_with(offer(server));
                raw.cipher = suite(cipher);
                raw.send_caps(&offer(client));
                raw.finish_negotiation(whose, &offer(believed));
                raw.send(Head::connection(ty::WINDOW_UPDATE), &FIRST);
                let want = Some((Code::VERSION_NEGOTIATION_FAILED, By::Local));
                assert_eq!(closed(&raw.events()), want, "{whose} {believed} {cipher:?}");
                assert!(raw.was_reset(), "no CLOSE could be read");
            }
        }
    }
}

#[test]
fn an_offer_as_false_is_none() {
    let mut raw = Raw::shake_with(offer(true));
    raw.send_caps(&raw::caps(&[
        ("aes", false),
        ("padding", true),
        ("pq", true),
    ]));
    raw.finish_negotiation("neither", &[]);
    raw.send(Head::connection(ty::WINDOW_UPDATE), &FIRST);
    assert_eq!(raw.events(), [Event::Established]);
    assert_eq!(raw.server.get().suite(), Suite::ChaCha20Poly1305);
}

/// Frames sealed and opened by each cipher.
#[derive(Debug, Default)]
struct Counts {
    sealed: [AtomicU64; 2],
    opened: [AtomicU64; 2],
}

impl Counts {
    const fn new() -> Self {
        Self {
            sealed: [AtomicU64::new(0), AtomicU64::new(0)],
            opened: [AtomicU64::new(0), AtomicU64::new(0)],
        }
    }

    fn all(&self) -> [u64; 4] {
        let [a, b] = &self.sealed;
        let [c, d] = &self.opened;
        [a, b, c, d].map(|n| n.load(Ordering::Relaxed))
    }
}

impl Ciphers for &'static Counts {
    fn key(&self, suite: Suite, key: &[u8; 32]) -> Option<Box<dyn FrameKey>> {
        let inner = Ring.key(suite, key)?;
        let at = usize::from(suite == Suite::Aes256Gcm);
        let (sealed, opened) = (&self.sealed[at], &self.opened[at]);
        Some(Box::new(Counting {
            inner,
            sealed,
            opened,
        }))
    }

    fn suits(&self, _: Suite) -> bool {
        true
    }
}

struct Counting {
    inner: Box<dyn FrameKey>,
    sealed: &'static AtomicU64,
    opened: &'static AtomicU64,
}

impl FrameKey for Counting {
    fn seal(&self, nonce: [u8; 12], aad: &[u8], data: &mut [u8]) -> Option<[u8; 16]> {
        self.sealed.fetch_add(1, Ordering::Relaxed);
        self.inner.seal(nonce, aad, data)
    }

    fn open(&self, nonce: [u8; 12], aad: &[u8], data: &mut [u8], tag: &[u8; 16]) -> bool {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.inner.open(nonce, aad, data, tag)
    }
}

/// Moves all transmits of one session to the other; whether there were any.
fn pass(from: &mut Checked<Session>, to: &mut Checked<Session>) -> bool {
    let mut any = false;
    while let Some(transmit) = from.poll_transmit() {
        any = true;
        match transmit {
            Transmit::Bytes(bytes) => to.handle_input(NOW, Input::Bytes(bytes)).unwrap(),
            Transmit::NeedExport(context) => {
                let ekm1 = Zeroizing::new(betanet_keys::hash(&[b"ekm1", &context]));
                from.handle_input(NOW, Input::Exported(ekm1)).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    any
}

fn both(client: Config, server: Config) -> [Checked<Session>; 2] {
    let (id, other) = (client_identity(), server_identity());
    let connect = Session::connect(NOW, client, &id, other.public(), &EKM0, raw::secrets(1));
    let mut client = Checked::new(connect.unwrap());
    let Some(Transmit::Bytes(m1)) = client.poll_transmit() else {
        panic!()
    };
    let accept = Session::accept(NOW, server, &other, &EKM0, &m1[2..], raw::secrets(2));
    [client, Checked::new(accept.unwrap())]
}

/// Sends this many bytes to the server and returns how many arrived, with both ends' suites.
fn transfer(client: Config, server: Config, bytes: usize) -> (usize, [Suite; 2]) {
    let [mut client, mut server] = both(client, server);
    let mut sent = None;
    let mut got = 0;
    let now: Now = NOW;
    loop {
        let moved = pass(&mut client, &mut server) | pass(&mut server, &mut client);
        for side in [&mut client, &mut server] {
            if side.poll_timeout().is_some_and(|wake| wake.at <= now.mono) {
                side.handle_timeout(now);
            }
        }
        if client.get().is_open() && sent.is_none() {
            let kind = kind::BAR;
            sent = client.handle_command(now, Command::Open { kind }).unwrap();
            let data = Bytes::from(vec![3; bytes]);
            let stream = sent.unwrap();
            let write = Command::Write {
                stream,
                data,
                fin: true,
            };
            client.handle_command(now, write).unwrap();
            continue;
        }
        while client.poll_event().is_some() {}
        let mut read = false;
        while let Some(event) = server.poll_event() {
            if let Event::Data { stream, data, .. } = event {
                read = true;
                assert!(data.iter().all(|b| *b == 3));
                got += data.len();
                let n = data.len() as u64;
                server.call(now, |s| s.consume(now, stream, n));
            }
        }
        if !moved && !read {
            break;
        }
    }
    assert_eq!(
        client.get().stats().rekeys_out,
        server.get().stats().rekeys_in
    );
    let suites = [client.get().suite(), server.get().suite()];
    (got, suites)
}

fn config(ciphers: &'static dyn Ciphers) -> Config {
    Config {
        // Several keys, so that each is one of AES.
        rekey_bytes: 256 << 10,
        ..Config::default().with_ciphers(ciphers)
    }
}

#[test]
fn all_frames_of_an_open_session_are_sealed_and_opened_with_aes_through_key_updates() {
    static CLIENT: Counts = Counts::new();
    static SERVER: Counts = Counts::new();
    static AES: [&Counts; 2] = [&CLIENT, &SERVER];
    let len = 2 << 20;
    let (got, suites) = transfer(config(&AES[0]), config(&AES[1]), len);
    assert_eq!((got, suites), (len, [Suite::Aes256Gcm; 2]));
    let (client, server) = (CLIENT.all(), SERVER.all());
    // Epoch 0 has one CapMsg of each, and the SelMsg of one.
    assert!(client[0] <= 2 && client[2] <= 2, "{client:?}");
    assert!(client[1] > 100, "{client:?}");
    let crossed = |c: [u64; 4]| [c[2], c[3], c[0], c[1]];
    assert_eq!(client, crossed(server));
}

#[test]
fn sessions_of_a_side_with_and_one_without_aes_work_both_ways() {
    static WITH: Counts = Counts::new();
    static COUNTED: &Counts = &WITH;
    let len = 1 << 20;
    let without = Config::default;
    for (client, server) in [(config(&COUNTED), without()), (without(), config(&COUNTED))] {
        let (got, suites) = transfer(client, server, len);
        assert_eq!((got, suites), (len, [Suite::ChaCha20Poly1305; 2]));
    }
    assert_eq!((WITH.all()[1], WITH.all()[3]), (0, 0), "no frame with AES");
}

#[test]
fn a_session_over_forward_masks_its_headers_under_aes_too() {
    static COUNTS: Counts = Counts::new();
    static COUNTED: &Counts = &COUNTS;
    let over = || config(&COUNTED).over(vec![NodeId([1; 20]), NodeId([2; 20])]);
    assert!(matches!(over().outer, Outer::Forward(_)));
    let (got, suites) = transfer(over(), over(), 1 << 20);
    assert_eq!((got, suites), (1 << 20, [Suite::Aes256Gcm; 2]));
}
