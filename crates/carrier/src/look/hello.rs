//! Parses a client's hello, and writes a server's in OpenSSL's form.

use std::collections::BTreeSet;

use betanet_traffic::template::Hello;

pub(super) const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const POINT_FORMATS: u16 = 11;
const SIGNATURES: u16 = 13;
const ALPN: u16 = 16;
const SESSION_TICKET: u16 = 35;
const PRE_SHARED_KEY: u16 = 41;
const VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;
const RENEGOTIATION: u16 = 0xff01;

/// A server's extensions in OpenSSL's order.
const ORDER: [u16; 16] = [
    RENEGOTIATION,
    SERVER_NAME,
    1,
    POINT_FORMATS,
    SUPPORTED_GROUPS,
    SESSION_TICKET,
    5,
    ALPN,
    14,
    22,
    23,
    VERSIONS,
    KEY_SHARE,
    44,
    42,
    PRE_SHARED_KEY,
];

/// Groups that OpenSSL 3.0 lists for a client whose share is not of its first: x25519, P-256, x448, P-521, P-384, ffdhe2048 to
/// 8192.
pub(super) const GROUPS: [u16; 10] = [
    0x001d, 0x0017, 0x001e, 0x0019, 0x0018, 0x0100, 0x0101, 0x0102, 0x0103, 0x0104,
];

/// Contents of a ClientHello on which the answer depends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    pub(super) shares: Vec<u16>,
    pub(super) groups: Vec<u16>,
    pub(super) tls13: bool,
    pub(super) named: bool,
    /// Whether there is a key share extension, even an empty one.
    pub(super) shared: bool,
    pub(super) version: u16,
    pub(super) versions: Option<Vec<u16>>,
    pub(super) ciphers: Vec<u16>,
    pub(super) compression: Vec<u8>,
    pub(super) signatures: Option<Vec<u16>>,
    pub(super) alpn: Vec<Vec<u8>>,
    /// Whether an extension occurs twice.
    pub(super) twice: bool,
    session_id: Vec<u8>,
    point_formats: bool,
}

fn words(bytes: &[u8]) -> Vec<u16> {
    let (pairs, _) = bytes.as_chunks::<2>();
    pairs.iter().map(|p| u16::from_be_bytes(*p)).collect()
}

impl Client {
    /// The set of groups. A hello has room for many, and for as many shares.
    pub(super) fn group_set(&self) -> BTreeSet<u16> {
        self.groups.iter().copied().collect()
    }

    /// Parses a handshake message; `None` if it is not a ClientHello, or incomplete.
    pub(crate) fn of(message: &[u8]) -> Option<Self> {
        let hello = Hello::from_message(message).ok()?;
        let body = |number| hello.extension(number).unwrap_or_default();
        let mut shares = Vec::new();
        let mut listed = body(KEY_SHARE).get(2..).unwrap_or_default();
        while let Some((head, rest)) = listed.split_first_chunk::<4>() {
            shares.push(u16::from_be_bytes([head[0], head[1]]));
            let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
            listed = rest.get(len..).unwrap_or_default();
        }
        let list = |number, from| {
            let body = hello.extension(number)?;
            Some(words(body.get(from..).unwrap_or_default()))
        };
        let mut numbers: Vec<u16> = hello.extensions.iter().map(|(n, _)| *n).collect();
        numbers.sort_unstable();
        let versions = list(VERSIONS, 1);
        let mut alpn = Vec::new();
        let mut names = body(ALPN).get(2..).unwrap_or_default();
        while let Some((len, rest)) = names.split_first() {
            let (name, next) = rest.split_at_checked(usize::from(*len))?;
            alpn.push(name.to_vec());
            names = next;
        }
        let session = message.get(38..).and_then(|m| m.split_first());
        let session = session.and_then(|(len, rest)| rest.get(..usize::from(*len)));
        Some(Self {
            twice: numbers.array_windows().any(|[one, next]| one == next),
            session_id: session.unwrap_or_default().to_vec(),
            shares,
            groups: list(SUPPORTED_GROUPS, 2).unwrap_or_default(),
            tls13: versions.as_ref().is_some_and(|v| v.contains(&0x0304)),
            shared: hello.extension(KEY_SHARE).is_some(),
            version: hello.version,
            versions,
            signatures: list(SIGNATURES, 2),
            alpn,
            ciphers: hello.ciphers.clone(),
            compression: hello.compression.clone(),
            named: hello.extension(SERVER_NAME).is_some(),
            point_formats: hello.extension(POINT_FORMATS).is_some(),
        })
    }
}

/// Parses a message's extensions, from their length on; `None` if incomplete.
fn listed(block: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let (len, mut rest) = block.split_first_chunk::<2>()?;
    if usize::from(u16::from_be_bytes(*len)) != rest.len() {
        return None;
    }
    let mut out = Vec::new();
    while let Some((head, behind)) = rest.split_first_chunk::<4>() {
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (body, next) = behind.split_at_checked(len)?;
        out.push((u16::from_be_bytes([head[0], head[1]]), body));
        rest = next;
    }
    rest.is_empty().then_some(out)
}

/// Writes these extensions in OpenSSL's order, with their length before them.
fn written(mut list: Vec<(u16, &[u8])>) -> Option<Vec<u8>> {
    let place = |number: u16| {
        ORDER
            .iter()
            .position(|n| *n == number)
            .unwrap_or(ORDER.len())
    };
    list.sort_by_key(|(number, _)| place(*number));
    let mut body = Vec::new();
    for (number, bytes) in list {
        body.extend(number.to_be_bytes());
        body.extend(u16::try_from(bytes.len()).ok()?.to_be_bytes());
        body.extend_from_slice(bytes);
    }
    let mut out = u16::try_from(body.len()).ok()?.to_be_bytes().to_vec();
    out.extend(body);
    Some(out)
}

/// Writes a handshake message of this type.
pub(super) fn message(kind: u8, body: &[u8]) -> Option<Vec<u8>> {
    let len = u32::try_from(body.len()).ok()?.to_be_bytes();
    let mut out = vec![kind, len[1], len[2], len[3]];
    out.extend_from_slice(body);
    (len[0] == 0).then_some(out)
}

/// A rewritten ServerHello.
pub(super) struct ServerHello {
    /// The message in OpenSSL's form.
    pub(super) message: Vec<u8>,
    /// Whether it is of TLS 1.3, or a HelloRetryRequest.
    pub(super) tls13: bool,
    pub(super) group: u16,
    pub(super) resumed: bool,
}

/// Rewrites a ServerHello of rustls; `None` for any other message.
pub(super) fn server_hello(bytes: &[u8], client: Option<&Client>) -> Option<ServerHello> {
    let body = bytes.strip_prefix(&[2])?.get(3..)?;
    let (fixed, rest) = body.split_at_checked(34)?;
    let (session, rest) = rest.split_first()?;
    let (session, rest) = rest.split_at_checked(usize::from(*session))?;
    let (cipher, extensions) = rest.split_at_checked(3)?;
    let mut list = listed(extensions)?;
    let find = |number| list.iter().find(|(n, _)| *n == number).map(|(_, b)| *b);
    let tls13 = find(VERSIONS).is_some();
    let group = find(KEY_SHARE).and_then(|b| b.first_chunk::<2>());
    let group = group.map_or(0, |g| u16::from_be_bytes(*g));
    let ticket = find(SESSION_TICKET).is_some();
    // In TLS 1.2 the returned client's session ID means resumption.
    let known = client.is_some_and(|c| c.session_id == session && !session.is_empty());
    let resumed = find(PRE_SHARED_KEY).is_some() || !tls13 && known;
    if !tls13 && !resumed && client.is_some_and(|c| c.point_formats) {
        list.push((POINT_FORMATS, &[3, 0, 1, 2]));
    }
    // OpenSSL names no session to a client that gets a ticket, and gives none to one that presented a ticket.
    if !tls13 && resumed {
        list.retain(|(number, _)| *number != SESSION_TICKET);
    }
    let session = if !tls13 && ticket && !resumed {
        &[]
    } else {
        session
    };
    let mut out = fixed.to_vec();
    out.push(u8::try_from(session.len()).ok()?);
    out.extend_from_slice(session);
    out.extend_from_slice(cipher);
    out.extend(written(list)?);
    Some(ServerHello {
        message: message(2, &out)?,
        tls13,
        group,
        resumed,
    })
}

/// Rewrites EncryptedExtensions of rustls; `None` for any other message.
pub(super) fn encrypted_extensions(bytes: &[u8], agreed: super::Agreed) -> Option<Vec<u8>> {
    let body = bytes.strip_prefix(&[8])?.get(3..)?;
    let mut list = listed(body)?;
    let mut groups = Vec::new();
    if agreed.group != GROUPS[0] {
        let all: Vec<u8> = GROUPS.iter().flat_map(|g| g.to_be_bytes()).collect();
        groups.extend(u16::try_from(all.len()).ok()?.to_be_bytes());
        groups.extend(all);
        list.push((SUPPORTED_GROUPS, &groups));
    }
    if agreed.named && list.iter().all(|(n, _)| *n != SERVER_NAME) {
        list.push((SERVER_NAME, &[]));
    }
    message(8, &written(list)?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    /// A ClientHello with these extensions.
    fn hello(extensions: impl IntoIterator<Item = (u16, Vec<u8>)>) -> Vec<u8> {
        let written = |(number, body): (u16, Vec<u8>)| {
            let len = u16::try_from(body.len()).unwrap();
            [&number.to_be_bytes()[..], &len.to_be_bytes(), &body].concat()
        };
        let list: Vec<u8> = extensions.into_iter().flat_map(written).collect();
        let len = u16::try_from(list.len()).unwrap().to_be_bytes();
        let fixed = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0]].concat();
        message(1, &[&fixed, &len[..], &list].concat()).unwrap()
    }

    /// `u16 length || list`, the form of most extensions.
    fn vector(list: &[u8]) -> Vec<u8> {
        let len = u16::try_from(list.len()).unwrap();
        [&len.to_be_bytes()[..], list].concat()
    }

    /// The shortest of several measured durations.
    fn time<T>(work: impl Fn() -> T) -> Duration {
        let once = || {
            let began = Instant::now();
            std::hint::black_box(work());
            began.elapsed()
        };
        (0..5).map(|_| once()).min().unwrap()
    }

    /// Distinct, empty extensions.
    fn many(n: u16) -> impl Iterator<Item = (u16, Vec<u8>)> {
        (0..n).map(|n| (n + 100, Vec::new()))
    }

    #[test]
    fn a_hello_ten_times_as_long_takes_about_ten_times_as_long() {
        let client = Client::of(&hello(many(4000))).unwrap();
        assert!(!client.twice);
        let again = many(4000).chain(many(1));
        assert!(Client::of(&hello(again)).unwrap().twice);
        let [short, long] = [400, 4000].map(|n| {
            let hello = hello(many(n));
            time(|| Client::of(&hello))
        });
        assert!(long < 35 * short, "{short:?} and {long:?}");
        // Unknown groups and shares, so that each is inspected.
        let [short, long] = [200, 2000].map(|n| {
            let words = || (0x4000..0x4000 + n).flat_map(u16::to_be_bytes);
            let shares = (0x4000..0x4000 + n).map(u16::to_be_bytes);
            let shares: Vec<u8> = shares.flat_map(|[a, b]| [a, b, 0, 0]).collect();
            let client = Client::of(&hello([
                (SUPPORTED_GROUPS, vector(&words().collect::<Vec<_>>())),
                (KEY_SHARE, vector(&shares)),
                (VERSIONS, vec![2, 3, 4]),
            ]));
            let client = client.unwrap();
            assert_eq!(client.shares.len(), usize::from(n));
            assert!(!client.strays());
            time(|| client.strays())
        });
        assert!(long < 35 * short, "{short:?} and {long:?}");
    }

    #[test]
    fn a_hello_is_read_whatever_comes_behind_it() {
        let hello = hello(many(3));
        let len = u16::try_from(hello.len()).unwrap().to_be_bytes();
        let record = [&[22, 3, 1][..], &len, &hello].concat();
        // A change of ciphers, as before early data, and bytes that are not a record.
        for behind in [&[20, 3, 3, 0, 1, 1][..], &[0xff; 9], &[]] {
            let mut outgoing = super::super::Outgoing::default();
            outgoing.hear(&[&record[..], behind].concat());
            assert!(outgoing.client().is_some());
        }
    }

    #[test]
    fn a_hello_that_comes_in_single_bytes_is_read_once() {
        let [short, long] = [900, 9000].map(|n| {
            let hello = hello([(21, vec![0; n])]);
            let record = |part: &[u8]| [&[22, 3, 1, 0, 1], part].concat();
            let records: Vec<u8> = hello.chunks(1).flat_map(record).collect();
            let hear = || {
                let mut outgoing = super::super::Outgoing::default();
                records.iter().for_each(|b| outgoing.hear(&[*b]));
                outgoing
            };
            assert!(hear().client().is_some_and(|c| !c.tls13));
            time(hear)
        });
        assert!(long < 35 * short, "{short:?} and {long:?}");
    }
}
