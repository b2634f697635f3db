//! ClientHellos as bytes, right or wrong.

/// A ClientHello.
#[derive(Clone)]
pub(super) struct Hello {
    pub(super) record_version: u16,
    pub(super) version: u16,
    pub(super) session_id: usize,
    pub(super) ciphers: Vec<u16>,
    pub(super) compression: Vec<u8>,
    pub(super) extensions: Vec<(u16, Vec<u8>)>,
}

pub(super) const X25519: u16 = 0x001d;
pub(super) const P256: u16 = 0x0017;
pub(super) const P384: u16 = 0x0018;
pub(super) const P521: u16 = 0x0019;
pub(super) const X448: u16 = 0x001e;
pub(super) const X25519MLKEM768: u16 = 0x11ec;

const P256_BASE: &str = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
const P384_BASE: &str = "04aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab73617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f";
const P521_BASE: &str = "0400c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2ffa8de3348b3c1856a429bf97e7e31c2e5bd66011839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e662c97ee72995ef42640c550b9013fad0761353c7086a272c24088be94769fd16650";

pub(super) fn unhex(text: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

/// A public key that is right: the group's base.
fn base(group: u16) -> Vec<u8> {
    let mut montgomery = vec![0; 32];
    montgomery[0] = 9;
    match group {
        P256 => unhex(P256_BASE),
        P384 => unhex(P384_BASE),
        P521 => unhex(P521_BASE),
        X448 => [&[5][..], &[0; 55]].concat(),
        X25519MLKEM768 => [&[0; 1184][..], &montgomery].concat(),
        _ => montgomery,
    }
}

fn list16(values: &[u16]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_be_bytes()).collect();
    sized(&bytes)
}

/// With its length before it.
pub(super) fn sized(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap();
    [&len.to_be_bytes()[..], bytes].concat()
}

pub(super) fn groups(list: &[u16]) -> (u16, Vec<u8>) {
    (10, list16(list))
}

pub(super) fn shares(list: &[u16]) -> (u16, Vec<u8>) {
    let entry = |g: &u16| [&g.to_be_bytes()[..], &sized(&base(*g))].concat();
    let all: Vec<u8> = list.iter().flat_map(entry).collect();
    (51, sized(&all))
}

pub(super) fn versions(list: &[u16]) -> (u16, Vec<u8>) {
    let bytes: Vec<u8> = list.iter().flat_map(|v| v.to_be_bytes()).collect();
    let len = u8::try_from(bytes.len()).unwrap();
    (43, [&[len][..], &bytes].concat())
}

pub(super) fn alpn(list: &[&str]) -> (u16, Vec<u8>) {
    let one = |p: &&str| [&[u8::try_from(p.len()).unwrap()][..], p.as_bytes()].concat();
    let all: Vec<u8> = list.iter().flat_map(one).collect();
    (16, sized(&all))
}

pub(super) fn name(host: &str) -> (u16, Vec<u8>) {
    let entry = [&[0][..], &sized(host.as_bytes())].concat();
    (0, sized(&entry))
}

pub(super) fn signatures(list: &[u16]) -> (u16, Vec<u8>) {
    (13, list16(list))
}

/// Those of OpenSSL 3.0.
const OPENSSL_SIGNATURES: [u16; 22] = [
    0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x0809, 0x080a, 0x080b, 0x0804, 0x0805, 0x0806, 0x0401,
    0x0501, 0x0601, 0x0303, 0x0301, 0x0302, 0x0402, 0x0502, 0x0602, 0x0203, 0x0201,
];

/// TLS 1.2's of OpenSSL 3.0, in its order.
pub(super) const OPENSSL_CIPHERS: [u16; 28] = [
    0xc02c, 0xc030, 0x009f, 0xcca9, 0xcca8, 0xccaa, 0xc02b, 0xc02f, 0x009e, 0xc024, 0xc028, 0x006b,
    0xc023, 0xc027, 0x0067, 0xc00a, 0xc014, 0x0039, 0xc009, 0xc013, 0x0033, 0x009d, 0x009c, 0x003d,
    0x003c, 0x0035, 0x002f, 0x00ff,
];

impl Hello {
    /// That of `openssl s_client`, versions 1.2 and 1.3.
    pub(super) fn openssl() -> Self {
        let mut ciphers = vec![0x1302, 0x1303, 0x1301];
        ciphers.extend(OPENSSL_CIPHERS);
        Self {
            record_version: 0x0301,
            version: 0x0303,
            session_id: 32,
            ciphers,
            compression: vec![0],
            extensions: vec![
                name("localhost"),
                (11, vec![3, 0, 1, 2]),
                groups(&[X25519, P256, X448, P521, P384]),
                (35, vec![]),
                (22, vec![]),
                (23, vec![]),
                signatures(&OPENSSL_SIGNATURES),
                versions(&[0x0304, 0x0303]),
                (45, vec![1, 1]),
                shares(&[X25519]),
            ],
        }
    }

    /// The same without TLS 1.3.
    pub(super) fn tls12() -> Self {
        let mut hello = Self::openssl().without(43).without(45).without(51);
        hello.session_id = 0;
        hello.ciphers = OPENSSL_CIPHERS.to_vec();
        hello
    }

    pub(super) fn without(mut self, extension: u16) -> Self {
        self.extensions.retain(|(number, _)| *number != extension);
        self
    }

    /// With this extension in the place of one of its number, or at the end.
    pub(super) fn with(mut self, extension: (u16, Vec<u8>)) -> Self {
        let found = self.extensions.iter_mut().find(|(n, _)| *n == extension.0);
        match found {
            Some(place) => *place = extension,
            None => self.extensions.push(extension),
        }
        self
    }

    pub(super) fn ciphers(mut self, list: &[u16]) -> Self {
        self.ciphers = list.to_vec();
        self
    }

    /// The handshake message.
    pub(super) fn message(&self) -> Vec<u8> {
        let mut body = self.version.to_be_bytes().to_vec();
        body.extend((0..32_u8).map(|n| n.wrapping_mul(77).wrapping_add(5)));
        body.push(u8::try_from(self.session_id).unwrap());
        body.extend((0..self.session_id).map(|n| (n * 7 % 256) as u8));
        body.extend(list16(&self.ciphers));
        body.push(u8::try_from(self.compression.len()).unwrap());
        body.extend(&self.compression);
        let one =
            |(number, bytes): &(u16, Vec<u8>)| [&number.to_be_bytes()[..], &sized(bytes)].concat();
        let all: Vec<u8> = self.extensions.iter().flat_map(one).collect();
        if !self.extensions.is_empty() {
            body.extend(sized(&all));
        }
        let mut out = vec![1];
        out.extend(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
        out.extend(body);
        out
    }

    /// In one record.
    pub(super) fn bytes(&self) -> Vec<u8> {
        record(22, self.record_version, &self.message())
    }
}

pub(super) fn record(kind: u8, version: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend(version.to_be_bytes());
    out.extend(sized(payload));
    out
}
