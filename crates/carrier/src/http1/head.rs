//! Parses the head of a request: its line, its fields, and their combined meaning.

use std::net::SocketAddr;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::chunked::Chunked;
use super::field::{Ended, FieldParser};
use super::input::Input;
use super::line::{BadLine, LineParser, RequestLine};
use super::request::{Left, Taken};
use crate::cover::{self, Asked, Method, Page, find_any_case};

/// Fields that a valid request has at most once.
const UNIQUE: [HeaderName; 11] = [
    header::HOST,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::IF_RANGE,
    header::TRANSFER_ENCODING,
    header::EXPECT,
    header::AUTHORIZATION,
];

/// Further fields that a site of files uses. It keeps only the first of each.
const READ: [HeaderName; 4] = [
    header::ACCEPT_ENCODING,
    header::RANGE,
    header::USER_AGENT,
    header::VIA,
];
/// Maximum number of fields kept for an origin. A field of two bytes takes about fifty times as many in a map.
const FIELDS_MAX: usize = 256;

/// The visitor's wish for the connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Meant {
    #[default]
    Nothing,
    Close,
    Keep,
}

/// A malformed request, and its answer.
#[derive(Debug)]
pub(super) struct Bad {
    pub(super) page: Page,
    /// The request as far as it was parsed.
    pub(super) asked: Asked,
    pub(super) left: Left,
    pub(super) version: u16,
}

/// A parsed head.
#[derive(Debug)]
pub(super) enum Head {
    Good(Box<Taken>),
    Bad(Box<Bad>),
}

/// Parser of one head.
pub(super) struct Reading {
    line: LineParser,
    fields: FieldParser,
    got: Option<RequestLine>,
    meant: Meant,
    asked: Asked,
    hands_on: bool,
}

impl Reading {
    /// Creates a parser; with `hands_on`, all fields are kept for an origin.
    pub(super) fn new(local: Option<SocketAddr>, hands_on: bool) -> Self {
        Self {
            hands_on,
            line: LineParser::default(),
            fields: FieldParser::default(),
            got: None,
            meant: Meant::Nothing,
            asked: Asked {
                method: Method::Other,
                target: cover::target(b"/").unwrap_or_default(),
                // The version in the answer to an unreadable request.
                version: 1000,
                fields: HeaderMap::new(),
                host: None,
                port: None,
                local,
                length: None,
            },
        }
    }

    /// Whether nothing of the head has arrived.
    pub(super) fn is_fresh(&self) -> bool {
        self.got.is_none() && self.line.is_fresh()
    }

    /// Takes buffered input; returns the head once it is complete or malformed.
    pub(super) fn take(&mut self, input: &mut Input) -> Option<Head> {
        loop {
            if input.is_spent() {
                let in_line = self.got.is_none();
                let (fresh, kept) = match in_line {
                    true => (self.line.is_fresh(), self.line.len()),
                    false => (self.fields.is_fresh(), self.fields.len()),
                };
                if in_line && fresh {
                    input.restart();
                } else if input.grow(if fresh { 0 } else { kept }).is_err() {
                    return Some(self.bad(if in_line {
                        Page::UriTooLarge
                    } else {
                        Page::HeaderTooLarge
                    }));
                }
            }
            let b = input.byte()?;
            let done = match self.got {
                None => self.line(b),
                Some(_) => self.field(b),
            };
            if done.is_some() {
                return done;
            }
        }
    }

    fn line(&mut self, b: u8) -> Option<Head> {
        let line = match self.line.feed(b) {
            Ok(None) => return None,
            Ok(Some(line)) => line,
            Err(BadLine::Malformed) => return Some(self.bad(Page::BadRequest)),
            Err(BadLine::Nine) => {
                self.asked.version = 9;
                return Some(self.bad(Page::BadRequest));
            }
            Err(BadLine::Version) => return Some(self.bad(Page::VersionNotSupported)),
        };
        self.asked.version = line.version;
        self.asked.method = Method::of(&line.method);
        match cover::target(&line.target) {
            Some(target) => self.asked.target = target,
            None => return Some(self.bad(Page::BadRequest)),
        }
        if let Some(host) = &line.host {
            match cover::host(host) {
                Some(host) => self.asked.host = Some(host),
                None => return Some(self.bad(Page::BadRequest)),
            }
        }
        let nine = line.version < 1000;
        self.got = Some(line);
        nine.then(|| self.done())
    }

    fn field(&mut self, b: u8) -> Option<Head> {
        match self.fields.feed(b) {
            Ok(None | Some(Ended::Dropped)) => None,
            Ok(Some(Ended::Field(name, value))) => self.take_field(&name, &value),
            Ok(Some(Ended::Head)) => Some(self.done()),
            Err(_) => Some(self.bad(Page::BadRequest)),
        }
    }

    fn take_field(&mut self, name: &[u8], value: &[u8]) -> Option<Head> {
        let name = HeaderName::from_bytes(name).ok()?;
        if self.asked.fields.contains_key(&name) && UNIQUE.contains(&name) {
            return Some(self.bad(Page::BadRequest));
        }
        if name == header::HOST {
            match cover::host(value) {
                // A host in the target takes precedence.
                Some(host) => {
                    self.asked.host.get_or_insert(host);
                }
                None => return Some(self.bad(Page::BadRequest)),
            }
        }
        if name == header::CONNECTION {
            if find_any_case(value, b"close").is_some() {
                self.meant = Meant::Close;
            } else if find_any_case(value, b"keep-alive").is_some() {
                self.meant = Meant::Keep;
            }
        }
        if !self.hands_on {
            let looked_at = UNIQUE.contains(&name) || READ.contains(&name);
            if !looked_at || self.asked.fields.contains_key(&name) {
                return None;
            }
        } else if self.asked.fields.len() >= FIELDS_MAX {
            return Some(self.bad(Page::HeaderTooLarge));
        }
        // nginx accepts value bytes that `http` refuses. Only an origin would see them, and gets a placeholder.
        let value = HeaderValue::from_bytes(value);
        let value = value.unwrap_or(HeaderValue::from_static("?"));
        let _ = self.asked.fields.try_append(name, value);
        None
    }

    /// Evaluates the complete head.
    fn done(&mut self) -> Head {
        let fields = &self.asked.fields;
        let version = self.asked.version;
        if version > 1000 && !fields.contains_key(header::HOST) {
            return self.bad(Page::BadRequest);
        }
        if let Some(value) = fields.get(header::CONTENT_LENGTH) {
            match cover::length(value.as_bytes()) {
                Some(n) => self.asked.length = Some(n),
                None => return self.bad(Page::BadRequest),
            }
        }
        let coding = self.asked.fields.get(header::TRANSFER_ENCODING);
        let mut left = Left::Length(self.asked.length.unwrap_or_default());
        if let Some(coding) = coding {
            if version < 1001 {
                return self.bad_with(Page::BadRequest, left);
            }
            if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return self.bad_with(Page::NotImplemented, left);
            }
            if self.asked.length.is_some() {
                return self.bad_with(Page::BadRequest, left);
            }
            left = Left::Chunked(Chunked::default());
        }
        let line = self.got.take().unwrap_or_default();
        if matches!(&line.method[..], b"CONNECT" | b"TRACE") {
            return self.bad_with(Page::NotAllowed, left);
        }
        Head::Good(Box::new(Taken {
            asked: self.asked.clone(),
            line,
            meant: self.meant,
            left,
        }))
    }

    fn bad(&self, page: Page) -> Head {
        self.bad_with(page, Left::Done)
    }

    fn bad_with(&self, page: Page, left: Left) -> Head {
        Head::Bad(Box::new(Bad {
            page,
            asked: self.asked.clone(),
            left,
            version: self.asked.version,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut head: &[u8], hands_on: bool) -> Head {
        let (mut input, mut reading) = (Input::default(), Reading::new(None, hands_on));
        loop {
            let taken = input.feed(head);
            head = &head[taken..];
            if let Some(head) = reading.take(&mut input) {
                return head;
            }
            assert!(!head.is_empty());
        }
    }

    #[test]
    fn many_short_fields_are_not_kept() {
        let begin = b"GET / HTTP/1.1\r\nHost: a\r\n";
        let with = |n| [&begin[..], &b"a\n".repeat(n), b"User-Agent: x\n\n"].concat();
        let Head::Good(taken) = read(&with(15_000), false) else {
            panic!("nginx takes them");
        };
        assert_eq!(taken.asked.fields.len(), 2);
        let Head::Good(taken) = read(&with(FIELDS_MAX - 2), true) else {
            panic!("they fit");
        };
        assert_eq!(taken.asked.fields.len(), FIELDS_MAX);
        let Head::Bad(bad) = read(&with(FIELDS_MAX - 1), true) else {
            panic!("one more does not");
        };
        assert_eq!(bad.page, Page::HeaderTooLarge);
    }

    #[test]
    fn of_two_fields_the_first_counts() {
        let two = b"GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\nRange: bytes=2-3\r\n\r\n";
        let Head::Good(taken) = read(two, false) else {
            panic!("nginx takes it");
        };
        assert_eq!(taken.asked.field(&header::RANGE), Some(&b"bytes=0-1"[..]));
    }
}
