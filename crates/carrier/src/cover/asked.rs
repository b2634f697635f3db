//! The parts of a request that a site of files uses.

use std::net::SocketAddr;

use http::request::Parts;
use http::{HeaderMap, HeaderName, Version, header};

use super::target::{self, Target};

/// Method of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Method {
    Get,
    Head,
    Post,
    Other,
}

impl Method {
    pub(crate) fn of(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            _ => Self::Other,
        }
    }
}

/// A request without its body.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) target: Target,
    /// 9, 1000, 1001, 2000 or 3000.
    pub(crate) version: u16,
    pub(crate) fields: HeaderMap,
    /// The host in lower case, without a port.
    pub(crate) host: Option<Vec<u8>>,
    /// The port for the host, if the visitor named one and nothing else determines it.
    pub(crate) port: Option<u16>,
    /// Local address of the connection.
    pub(crate) local: Option<SocketAddr>,
    /// Length of the body, if known.
    pub(crate) length: Option<u64>,
}

impl Asked {
    /// Parses a request over HTTP/2 or 3; `None` for one that is answered with 400.
    pub(crate) fn of(parts: &Parts, local: Option<SocketAddr>) -> Option<Self> {
        let target = parts.uri.path_and_query().map_or("/", |p| p.as_str());
        let authority = parts.uri.authority().map(|a| a.as_str().as_bytes());
        let named = authority.or_else(|| parts.headers.get(header::HOST).map(|h| h.as_bytes()));
        let host = match named {
            Some(name) => Some(target::host(name)?),
            None => None,
        };
        let length = match parts.headers.get(header::CONTENT_LENGTH) {
            Some(value) => Some(length(value.as_bytes())?),
            None => None,
        };
        Some(Self {
            method: Method::of(parts.method.as_str().as_bytes()),
            target: target::target(target.as_bytes()).filter(|_| target.starts_with('/'))?,
            version: if parts.version == Version::HTTP_3 {
                3000
            } else {
                2000
            },
            fields: parts.headers.clone(),
            host,
            port: parts.uri.authority().and_then(|a| a.port_u16()),
            local,
            length,
        })
    }

    /// The first field of a name, which may be empty; `None` if there is none.
    pub(crate) fn field(&self, name: &HeaderName) -> Option<&[u8]> {
        self.fields.get(name).map(|v| v.as_bytes())
    }

    /// Whether error pages are padded: Internet Explorer and Chromium replace short ones by their own.
    pub(crate) fn wants_long_pages(&self) -> bool {
        let Some(agent) = self.field(&header::USER_AGENT) else {
            return false;
        };
        let opera = find(agent, b"Opera").is_some();
        let msie = self.msie().is_some() && !opera;
        let other = opera || msie || find(agent, b"Gecko/").is_some();
        msie || !other && find(agent, b"Chrome/").is_some()
    }

    /// The part of the user agent after `MSIE `, if long enough.
    fn msie(&self) -> Option<&[u8]> {
        let agent = self.field(&header::USER_AGENT)?;
        let rest = &agent[find(agent, b"MSIE ")? + 5..];
        (rest.len() > 2).then_some(rest)
    }

    /// Whether the client is an Internet Explorer to which no connection is kept after a POST.
    pub(crate) fn is_msie6(&self) -> bool {
        let agent = self.field(&header::USER_AGENT).unwrap_or_default();
        if find(agent, b"Opera").is_some() {
            return false;
        }
        match self.msie() {
            Some([b'4' | b'5', b'.', ..]) => true,
            Some([b'6', b'.', _, rest @ ..]) => find(rest, b"SV1").is_none(),
            _ => false,
        }
    }

    /// Whether the answer may be compressed.
    pub(crate) fn takes_gzip(&self) -> bool {
        let accepted = self
            .field(&header::ACCEPT_ENCODING)
            .is_some_and(|value| value.starts_with(b"gzip,") || accepts_gzip(value));
        accepted && self.version >= 1001 && !self.fields.contains_key(header::VIA)
    }
}

/// Parses the number in a length field.
pub(crate) fn length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    (number <= i64::MAX as u64).then_some(number)
}

pub(crate) fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|w| w == what)
}

/// Finds text regardless of case.
pub(crate) fn find_any_case(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len())
        .position(|w| w.eq_ignore_ascii_case(what))
}

/// Whether a list of codings accepts gzip.
fn accepts_gzip(value: &[u8]) -> bool {
    let mut start = 0;
    let after = loop {
        let Some(at) = find_any_case(&value[start..], b"gzip") else {
            return false;
        };
        let at = start + at;
        // A match right after another one counts as a first one again.
        if at == start || matches!(value[at - 1], b',' | b' ') {
            break at + 4;
        }
        start = at + 4;
    };
    let mut rest = value[after..].iter().copied().skip_while(|b| *b == b' ');
    match rest.next() {
        None | Some(b',') => return true,
        Some(b';') => {}
        Some(_) => return false,
    }
    let mut rest = rest.skip_while(|b| *b == b' ');
    match rest.next() {
        None => return true,
        Some(b'q' | b'Q') => {}
        Some(_) => return false,
    }
    let rest: Vec<u8> = rest.collect();
    rest.split_first()
        .is_some_and(|(eq, weight)| *eq == b'=' && !weight.is_empty() && weighs(weight))
}

/// Whether a weight is valid and above zero.
fn weighs(weight: &[u8]) -> bool {
    let ends = |b: &u8| matches!(b, b',' | b' ');
    let (whole, rest) = match weight {
        [b'0', rest @ ..] => (0, rest),
        [b'1', rest @ ..] => (100, rest),
        _ => return false,
    };
    match rest {
        [] => whole > 0,
        [b, ..] if ends(b) => whole > 0,
        [b'.', digits @ ..] => {
            let end = digits.iter().position(ends).unwrap_or(digits.len());
            let digits = &digits[..end];
            let sum: u32 = digits.iter().map(|b| u32::from(b.wrapping_sub(b'0'))).sum();
            let sum = whole + sum;
            digits.iter().all(u8::is_ascii_digit) && digits.len() <= 3 && (1..=100).contains(&sum)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codings_are_weighed_as_nginx_weighs_them() {
        for (value, takes) in [
            ("gzip", true),
            ("GZIP", true),
            ("deflate, gzip", true),
            ("br,gzip;q=0.001", true),
            ("gzip;q=0", false),
            ("gzip;q=0.000", false),
            ("gzip;q=1.5", false),
            ("gzip; q=1, *", true),
            ("gzip;x=1", false),
            ("x-gzip", false),
            ("x-gzip, gzip", true),
            ("gzipped", false),
            ("gzip;q", false),
            ("gzip;q=", false),
            ("", false),
            ("identity", false),
        ] {
            assert_eq!(accepts_gzip(value.as_bytes()), takes, "{value}");
        }
    }

    #[test]
    fn lengths_are_digits() {
        assert_eq!(length(b"17"), Some(17));
        for bad in [
            &b""[..],
            b"+1",
            b"1 ",
            b"0x1",
            b"99999999999999999999",
            b"9223372036854775808",
        ] {
            assert_eq!(length(bad), None);
        }
    }
}
