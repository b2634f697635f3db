//! The first line of a request, parsed byte by byte with the imitated server's rules (nginx 1.22).

/// Why a request line is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BadLine {
    /// Malformed: answered with 400.
    Malformed,
    /// Unsupported version: answered with 505.
    Version,
    /// A wrong method for HTTP/0.9: answered with the page of 400 alone.
    Nine,
}

/// A request line.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct RequestLine {
    /// The method as received.
    pub(crate) method: Vec<u8>,
    /// The host of an absolute target, not validated.
    pub(crate) host: Option<Vec<u8>>,
    /// Path and query as received; empty if an absolute target has neither.
    pub(crate) target: Vec<u8>,
    /// 9 for HTTP/0.9, 1000 for 1.0, 1001 for 1.1.
    pub(crate) version: u16,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum At {
    #[default]
    Start,
    Method,
    BeforeTarget,
    Scheme,
    SchemeSlash,
    SchemeSlashes,
    HostStart,
    Host,
    HostEnd,
    HostLiteral,
    Port,
    Target,
    AfterTarget,
    /// This many letters of `HTTP/` have arrived.
    Http(u8),
    FirstMajor,
    Major,
    FirstMinor,
    Minor,
    AfterVersion,
    AlmostDone,
}

/// Parser of one request line.
#[derive(Debug, Default)]
pub(crate) struct LineParser {
    at: At,
    line: RequestLine,
    major: u16,
    minor: u16,
    /// Length of the line so far, without leading line ends.
    len: usize,
}

const HTTP: &[u8; 5] = b"HTTP/";

impl LineParser {
    /// Whether nothing but line ends has arrived.
    pub(crate) fn is_fresh(&self) -> bool {
        self.at == At::Start
    }

    /// Length of the line so far.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Takes a byte; returns the line once it is complete.
    pub(crate) fn feed(&mut self, b: u8) -> Result<Option<RequestLine>, BadLine> {
        if self.at == At::Start && (b == b'\r' || b == b'\n') {
            return Ok(None);
        }
        self.len += 1;
        self.at = match self.at {
            At::Start | At::Method => self.method(b)?,
            At::BeforeTarget => match b {
                b'/' => self.target(b),
                b' ' => At::BeforeTarget,
                _ if b.is_ascii_alphabetic() => At::Scheme,
                _ => return Err(BadLine::Malformed),
            },
            At::Scheme => match b {
                b':' => At::SchemeSlash,
                b'+' | b'-' | b'.' => At::Scheme,
                _ if b.is_ascii_alphanumeric() => At::Scheme,
                _ => return Err(BadLine::Malformed),
            },
            At::SchemeSlash if b == b'/' => At::SchemeSlashes,
            At::SchemeSlashes if b == b'/' => At::HostStart,
            At::SchemeSlash | At::SchemeSlashes => return Err(BadLine::Malformed),
            At::HostStart | At::Host | At::HostEnd | At::HostLiteral | At::Port => self.host(b)?,
            At::Target => match b {
                b' ' => At::AfterTarget,
                b'\r' => self.nine(),
                b'\n' => {
                    self.nine();
                    return self.done();
                }
                0..0x20 | 0x7f => return Err(BadLine::Malformed),
                _ => self.target(b),
            },
            At::AfterTarget => match b {
                b' ' => At::AfterTarget,
                b'\r' => self.nine(),
                b'\n' => {
                    self.nine();
                    return self.done();
                }
                b'H' => At::Http(1),
                _ => return Err(BadLine::Malformed),
            },
            At::Http(n) if HTTP.get(usize::from(n)) == Some(&b) => match n {
                4 => At::FirstMajor,
                _ => At::Http(n + 1),
            },
            At::Http(_) => return Err(BadLine::Malformed),
            At::FirstMajor if (b'1'..=b'9').contains(&b) => self.major(b)?,
            At::Major if b == b'.' => At::FirstMinor,
            At::Major if b.is_ascii_digit() => self.major(b)?,
            At::FirstMajor | At::Major => return Err(BadLine::Malformed),
            At::FirstMinor | At::Minor | At::AfterVersion => match b {
                _ if b.is_ascii_digit() && self.at != At::AfterVersion && self.minor <= 99 => {
                    self.minor = self.minor * 10 + u16::from(b - b'0');
                    At::Minor
                }
                _ if self.at == At::FirstMinor => return Err(BadLine::Malformed),
                b'\r' => At::AlmostDone,
                b'\n' => return self.done(),
                b' ' => At::AfterVersion,
                _ => return Err(BadLine::Malformed),
            },
            At::AlmostDone if b == b'\n' => return self.done(),
            At::AlmostDone => return Err(BadLine::Malformed),
        };
        Ok(None)
    }

    fn method(&mut self, b: u8) -> Result<At, BadLine> {
        match b {
            b' ' if self.at == At::Method => Ok(At::BeforeTarget),
            b'A'..=b'Z' | b'_' | b'-' => {
                self.line.method.push(b);
                Ok(At::Method)
            }
            _ => Err(BadLine::Malformed),
        }
    }

    fn target(&mut self, b: u8) -> At {
        self.line.target.push(b);
        At::Target
    }

    fn host(&mut self, b: u8) -> Result<At, BadLine> {
        let host = self.line.host.get_or_insert_default();
        match self.at {
            At::HostStart if b == b'[' => {
                host.push(b);
                return Ok(At::HostLiteral);
            }
            At::HostStart | At::Host if b.is_ascii_alphanumeric() || b == b'.' || b == b'-' => {
                host.push(b);
                return Ok(At::Host);
            }
            At::HostLiteral => {
                host.push(b);
                return match b {
                    b']' => Ok(At::HostEnd),
                    b':' | b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')'
                    | b'*' | b'+' | b',' | b';' | b'=' => Ok(At::HostLiteral),
                    _ if b.is_ascii_alphanumeric() => Ok(At::HostLiteral),
                    _ => Err(BadLine::Malformed),
                };
            }
            At::Port if b.is_ascii_digit() => return Ok(At::Port),
            _ => {}
        }
        match b {
            b':' if self.at != At::Port => Ok(At::Port),
            b'/' | b'?' => Ok(self.target(b)),
            b' ' => Ok(At::AfterTarget),
            _ => Err(BadLine::Malformed),
        }
    }

    fn major(&mut self, b: u8) -> Result<At, BadLine> {
        self.major = self.major * 10 + u16::from(b - b'0');
        if self.major > 1 {
            return Err(BadLine::Version);
        }
        Ok(At::Major)
    }

    fn nine(&mut self) -> At {
        (self.major, self.minor) = (0, 9);
        At::AlmostDone
    }

    fn done(&mut self) -> Result<Option<RequestLine>, BadLine> {
        let mut line = std::mem::take(&mut self.line);
        line.version = self.major * 1000 + self.minor;
        *self = Self::default();
        if line.version == 9 && line.method != b"GET" {
            return Err(BadLine::Nine);
        }
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Option<RequestLine>, BadLine> {
        let mut parser = LineParser::default();
        for b in bytes {
            if let Some(line) = parser.feed(*b)? {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }

    #[test]
    fn lines_are_taken_as_nginx_takes_them() {
        for (text, version, target) in [
            ("GET / HTTP/1.1\r\n", 1001, "/"),
            ("\r\n\nGET / HTTP/1.1\n", 1001, "/"),
            ("GET  /a%20b?c#d  HTTP/1.0  \r\n", 1000, "/a%20b?c#d"),
            ("GET /\r\n", 9, "/"),
            ("GET / \n", 9, "/"),
            ("X-Y_Z http://Host:80/p HTTP/1.12\r\n", 1012, "/p"),
            ("GET http://[::1]?q HTTP/1.1\r\n", 1001, "?q"),
            ("GET http://h HTTP/1.1\r\n", 1001, ""),
            (
                "GET /\"<>\\^`{|}\u{e4} HTTP/1.1\r\n",
                1001,
                "/\"<>\\^`{|}\u{e4}",
            ),
        ] {
            let line = read(text.as_bytes()).unwrap().unwrap();
            assert_eq!(
                (line.version, &line.target[..]),
                (version, target.as_bytes()),
                "{text}"
            );
        }
        for text in [
            "get / HTTP/1.1\r\n",
            "GET\t/ HTTP/1.1\r\n",
            "GET * HTTP/1.1\r\n",
            "GET /\0 HTTP/1.1\r\n",
            "GET / HTTP/0.9\r\n",
            "GET / http/1.1\r\n",
            "GET / HTTP/1.\r\n",
            "GET / HTTP/1.1x\r\n",
            "GET / HTTP/1.1\rx",
            "G1T / HTTP/1.1\r\n",
            "GET http:/h/ HTTP/1.1\r\n",
            "GET / HTTP/1.1000\r\n",
            " GET / HTTP/1.1\r\n",
            "GET /a b HTTP/1.1\r\n",
            "GET http://h:8x/ HTTP/1.1\r\n",
            "GET http://h_/ HTTP/1.1\r\n",
        ] {
            assert_eq!(read(text.as_bytes()), Err(BadLine::Malformed), "{text:?}");
        }
        assert_eq!(read(b"POST /\r\n"), Err(BadLine::Nine));
        for text in ["GET / HTTP/2.0\r\n", "GET / HTTP/10.1\r\n"] {
            assert_eq!(read(text.as_bytes()), Err(BadLine::Version), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_hurt_and_what_is_kept_came(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut parser = LineParser::default();
            for b in &bytes {
                match parser.feed(*b) {
                    Ok(None) => prop_assert!(parser.len() <= bytes.len()),
                    Ok(Some(line)) => {
                        prop_assert!(line.method.len() + line.target.len() <= bytes.len());
                        break;
                    }
                    Err(_) => break,
                }
            }
        }
    }
}
