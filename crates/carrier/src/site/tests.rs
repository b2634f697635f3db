//! When and how a POST is answered, with a simulated clock.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::time::SystemTime;

use http::Request;

use super::*;
use crate::Certificate;

const EKM0: [u8; 32] = [3; 32];
const LABEL: &str = "a-label-of-24-characters";
/// A ticket of version 1.1 that the gate below accepts.
const OLD: &str = "old-ticket";

/// A body: pieces with their times, then its end, if any.
struct Source {
    pieces: VecDeque<(Duration, Bytes)>,
    ends: bool,
    read: Arc<AtomicUsize>,
}

impl Source {
    fn new(pieces: impl IntoIterator<Item = (u64, Vec<u8>)>, ends: bool) -> Self {
        let pieces = pieces.into_iter();
        Self {
            pieces: pieces
                .map(|(ms, b)| (Duration::from_millis(ms), b.into()))
                .collect(),
            ends,
            read: Arc::default(),
        }
    }
}

impl Incoming for Source {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let Some((after, _)) = self.pieces.front() else {
            if self.ends {
                return None;
            }
            return std::future::pending().await;
        };
        if !after.is_zero() {
            tokio::time::sleep(*after).await;
        }
        let (_, bytes) = self.pieces.pop_front()?;
        self.read.fetch_add(bytes.len(), Ordering::Relaxed);
        Some(Ok(bytes))
    }
}

/// Opens for every message 1 that begins with 1, and for one ticket of version 1.1.
struct TestAcceptor {
    key: PublicKey,
    reads11: bool,
    looks11: Arc<AtomicUsize>,
}

fn tunnel() -> Tunnel {
    Box::new(|_| Box::pin(std::future::ready(())))
}

impl SessionGate for TestAcceptor {
    fn key(&self) -> &PublicKey {
        &self.key
    }

    fn open(&self, ekm0: &[u8; 32], label: &str, m1: &[u8], _: SocketAddr) -> Option<Tunnel> {
        assert_eq!((ekm0, label), (&EKM0, LABEL));
        (m1[0] == 1).then(tunnel)
    }

    fn reads11(&self) -> Option<&Reading> {
        self.reads11.then_some(&Reading::PROFILE)
    }

    fn open11(&self, ticket: &str, _: SocketAddr) -> Option<Tunnel> {
        self.looks11.fetch_add(1, Ordering::Relaxed);
        (ticket == OLD).then(tunnel)
    }
}

fn key(n: u8) -> PublicKey {
    *Identity::from_seed(&[n; 32]).public()
}

fn site(gate: Option<Arc<dyn SessionGate>>) -> Site {
    let certificate = Certificate::self_signed(&["localhost".into()]).unwrap();
    let certificate = Arc::new(CertSource::fixed(certificate));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cover = Cover::new(folder, || SystemTime::UNIX_EPOCH).unwrap();
    Site::new(certificate, cover, gate, Limits::default()).unwrap()
}

/// A node's site, with the number of checked tickets of version 1.1.
fn node(reads11: bool) -> (Site, Arc<AtomicUsize>) {
    let looks11 = Arc::new(AtomicUsize::new(0));
    let acceptor = TestAcceptor {
        key: key(1),
        reads11,
        looks11: Arc::clone(&looks11),
    };
    (site(Some(Arc::new(acceptor))), looks11)
}

fn connection() -> OneConnection {
    OneConnection::new(Zeroizing::new(EKM0), ([127, 0, 0, 1], 9).into())
}

fn right() -> String {
    Ticket::new(&EKM0, &key(1), LABEL).unwrap().value()
}

fn post(fields: &[(&str, String)]) -> Parts {
    let mut request = Request::post("/Cargo.toml");
    for (name, value) in fields {
        let value = http::HeaderValue::from_bytes(value.as_bytes()).unwrap();
        request = request.header(*name, value);
    }
    request.body(()).unwrap().into_parts().0
}

/// Bodies of all kinds.
fn bodies() -> Vec<(&'static str, Source)> {
    let message = [&[0, 48][..], &[1; 48]].concat();
    let bytewise = message.iter().map(|b| (200, vec![*b]));
    vec![
        ("never", Source::new([], false)),
        ("empty, ended later", Source::new([(500, vec![])], true)),
        ("one byte, open", Source::new([(0, vec![0])], false)),
        ("a message", Source::new([(0, message.clone())], true)),
        (
            "a message, open",
            Source::new([(0, message.clone())], false),
        ),
        ("byte by byte", Source::new(bytewise, false)),
        (
            "a length, open",
            Source::new([(0, vec![0xff, 0xff])], false),
        ),
        (
            "long",
            Source::new([(0, vec![7; 60_000]), (1, vec![7; 60_000])], true),
        ),
        ("late", Source::new([(9_000, message)], true)),
    ]
}

type Seen = (u16, Vec<(String, String)>, Bytes);

/// Outcome of a POST: the answer, or none for a tunnel; the time; and the bytes read of its body.
async fn taken(
    site: &Site,
    one: &OneConnection,
    parts: Parts,
    source: Source,
) -> (Option<Seen>, Duration, usize) {
    let read = Arc::clone(&source.read);
    let began = Instant::now();
    let taken = site.take(Some(one), parts, source, false).await;
    let (took, read) = (began.elapsed(), read.load(Ordering::Relaxed));
    let Taken::Answer(answer) = taken else {
        return (None, took, read);
    };
    let (head, mut body) = answer.into_parts();
    let fields = head.headers.iter();
    let fields = fields.map(|(k, v)| (k.to_string(), v.to_str().unwrap().to_owned()));
    let fields = fields.collect();
    let bytes = body.next().await.unwrap().unwrap_or_default();
    (Some((head.status.as_u16(), fields, bytes)), took, read)
}

#[tokio::test(start_paused = true)]
async fn a_post_without_a_right_ticket_is_answered_at_its_header_section() {
    let wrong = |ekm0, n| vec![(FIELD, Ticket::new(ekm0, &key(n), LABEL).unwrap().value())];
    let long = format!("{}{}", right(), " ".repeat(60));
    let all: [(&str, Vec<(&str, String)>); 7] = [
        ("no field", vec![]),
        ("malformed", vec![(FIELD, "v=v1".into())]),
        ("no text", vec![(FIELD, "\u{e9}".into())]),
        ("another node's", wrong(&EKM0, 2)),
        ("another connection's", wrong(&[4; 32], 1)),
        ("two fields", vec![(FIELD, right()), (FIELD, right())]),
        ("over 256 bytes", vec![(FIELD, long)]),
    ];
    let bare = site(None);
    for reads11 in [false, true] {
        let (node, looks11) = node(reads11);
        for (ticket, fields) in &all {
            for ((body, ours), (_, theirs)) in bodies().into_iter().zip(bodies()) {
                let one = connection();
                let want = taken(&bare, &one, post(fields), theirs).await;
                let before = looks11.load(Ordering::Relaxed);
                let got = taken(&node, &one, post(fields), ours).await;
                assert_eq!(got, want, "{ticket}, {body}");
                assert_eq!((got.1, got.2), (Duration::ZERO, 0), "{ticket}, {body}");
                let looked = looks11.load(Ordering::Relaxed) - before;
                assert_eq!(looked, usize::from(reads11), "one look for each POST");
            }
        }
        let refused = node.stats.tickets_refused.load(Ordering::Relaxed);
        assert_eq!(refused, 6 * bodies().len() as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn message_1_is_waited_for_where_the_ticket_is_right_and_nowhere_else() {
    let (node, _) = node(false);
    let second = Duration::from_secs(1);
    let message = |first: u8| [&[0, 48][..], &[first], &[2; 47]].concat();
    let bytewise = |ms: u64| message(1).into_iter().map(move |b| (ms, vec![b]));
    let fields = [(FIELD, right())];
    let all = [
        ("never", Source::new([], false), false, 10 * second),
        (
            "a byte",
            Source::new([(0, vec![0])], false),
            false,
            10 * second,
        ),
        (
            "slower than 10 s",
            Source::new(bytewise(201), false),
            false,
            10 * second,
        ),
        (
            "ended",
            Source::new([(2_000, vec![0, 48])], true),
            false,
            2 * second,
        ),
        (
            "does not open",
            Source::new([(3_000, message(2))], false),
            false,
            3 * second,
        ),
        (
            "no length of message 1",
            Source::new([(4_000, vec![0, 49])], false),
            false,
            4 * second,
        ),
        (
            "byte by byte",
            Source::new(bytewise(20), false),
            true,
            second,
        ),
        (
            "at once",
            Source::new([(0, message(1))], false),
            true,
            Duration::ZERO,
        ),
    ];
    for (body, source, opens, after) in all {
        let (seen, took, _) = taken(&node, &connection(), post(&fields), source).await;
        assert_eq!((seen.is_none(), took), (opens, after), "{body}");
        assert!(seen.is_none_or(|s| s.0 == 405), "{body}");
    }
    // A label is accepted once, whatever the outcome.
    let one = connection();
    let opens = taken(
        &node,
        &one,
        post(&fields),
        Source::new([(0, message(1))], false),
    )
    .await;
    assert_eq!(opens.0, None);
    let again = taken(
        &node,
        &one,
        post(&fields),
        Source::new([(0, message(1))], false),
    )
    .await;
    assert_eq!((again.1, again.2), (Duration::ZERO, 0));
    assert_eq!(again.0.unwrap().0, 405);
}

#[tokio::test(start_paused = true)]
async fn what_follows_message_1_is_the_tunnels() {
    let (node, _) = node(false);
    let body = [&[0, 48][..], &[1; 48], b"and more"].concat();
    let source = Source::new([(0, body)], false);
    let fields = post(&[(FIELD, right())]);
    let taken = node.take(Some(&connection()), fields, source, false).await;
    let Taken::Tunnel(_, rest, ..) = taken else {
        panic!("no tunnel");
    };
    assert_eq!(rest, "and more");
}

#[tokio::test(start_paused = true)]
async fn a_leg_of_1_1_is_decided_at_the_header_section_too() {
    let (node, _) = node(true);
    let cookie = || ("cookie", format!("a=b; __Host-bn1={OLD}"));
    let form = || ("content-type", "application/x-www-form-urlencoded".into());
    let one = connection();
    // With its own cookie, although nothing of its body has arrived.
    let leg = taken(&node, &one, post(&[cookie()]), Source::new([], false)).await;
    assert_eq!((leg.0, leg.1), (None, Duration::ZERO));
    // A form is answered as any POST, whatever it or its connection holds; its content counts for the next POST.
    for (body, ends, notes) in [("bn1=old-ticket", true, true), ("bn1=old", false, false)] {
        let one = connection();
        let source = Source::new([(0, body.into())], ends);
        let (seen, took, _) = taken(&node, &one, post(&[form()]), source).await;
        assert_eq!((seen.unwrap().0, took), (405, Duration::ZERO));
        let next = taken(&node, &one, post(&[]), Source::new([], false)).await;
        assert_eq!((next.0.is_none(), next.1), (notes, Duration::ZERO));
    }
    // The ticket of one form survives another form without one, and the search after its answer finds the same.
    for after in [false, true] {
        let one = connection();
        for body in ["bn1=old-ticket", "q=1"] {
            let source = Source::new([(0, body.into())], true);
            taken(&node, &one, post(&[form()]), source).await;
            if after {
                node.note_form(&one);
            }
        }
        let next = taken(&node, &one, post(&[]), Source::new([], false)).await;
        assert_eq!(next.0, None);
    }
    // A form that comes later than its header section is not awaited.
    let late = Source::new([(1, "bn1=old-ticket".into())], true);
    let (_, took, _) = taken(&node, &one, post(&[form()]), late).await;
    assert_eq!(took, Duration::ZERO);
}
