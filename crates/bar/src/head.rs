use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use betanet_wire::{cbor, message, msg};

use crate::{Error, Headers, Refusal, status};

/// Longest CBOR of a head.
pub const HEAD_MAX: usize = 65_536;
/// Longest target.
pub const TARGET_MAX: usize = 8 << 10;

message! {
    struct RequestHead<'a> {
        req "b" body: &'a [u8],
        req "h" headers: Headers,
        req "m" method: &'a str,
        req "u" target: &'a str,
    }
}

message! {
    struct ResponseHead<'a> {
        req "b" body: &'a [u8],
        req "h" headers: Headers,
        req "s" status: u16,
    }
}

/// Method of a request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Method {
    /// Read a resource.
    Get,
    /// Write a resource.
    Put,
    /// Add a resource below a path.
    Post,
    /// Remove a resource.
    Del,
}

impl Method {
    /// The method's name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Del => "DEL",
        }
    }

    fn parse(text: &str) -> Result<Self, Refusal> {
        Ok(match text {
            "GET" => Self::Get,
            "PUT" => Self::Put,
            "POST" => Self::Post,
            "DEL" => Self::Del,
            _ => return Err(Refusal::Method),
        })
    }

    /// Whether a request with this method may have a body.
    #[must_use]
    pub const fn has_body(self) -> bool {
        matches!(self, Self::Put | Self::Post)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request's head.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Target: a path, and optionally a query.
    pub target: String,
    /// Headers.
    pub headers: Headers,
    /// The inline beginning of the body.
    pub body: Vec<u8>,
}

/// A response's head.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: Headers,
    /// The inline beginning of the body.
    pub body: Vec<u8>,
}

/// The head of a BAR message: a [`Request`] or a [`Response`].
pub trait Head: Sized {
    /// Decodes and checks the CBOR of a head.
    ///
    /// # Errors
    ///
    /// [`Error::Head`] or [`Error::Refused`].
    fn from_cbor(bytes: &[u8]) -> Result<Self, Error>;

    /// The headers.
    fn headers(&self) -> &Headers;

    /// Removes and returns the inline beginning of the body.
    fn take_body(&mut self) -> Vec<u8>;

    /// Whether the message may have a body.
    fn may_have_body(&self) -> bool;
}

fn check_target(target: &str) -> Result<(), Refusal> {
    if target.len() > TARGET_MAX {
        return Err(Refusal::TargetLength);
    }
    if !target.starts_with('/') {
        return Err(Refusal::Relative);
    }
    if target.chars().any(char::is_control) {
        return Err(Refusal::Control);
    }
    let path = target.split('?').next().unwrap_or_default();
    if path.split('/').any(|segment| segment == "..") {
        return Err(Refusal::DotDot);
    }
    Ok(())
}

fn bounded(head: Vec<u8>) -> Result<Vec<u8>, Error> {
    if head.len() - 4 > HEAD_MAX {
        return Err(Error::HeadTooLong);
    }
    Ok(head)
}

impl Request {
    /// Creates a request without an inline body.
    #[must_use]
    pub fn new(method: Method, target: &str, headers: Headers) -> Self {
        Self {
            method,
            target: target.to_owned(),
            headers,
            body: Vec::new(),
        }
    }

    /// The path, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Checks what [`Head::from_cbor`] checks.
    ///
    /// # Errors
    ///
    /// The request breaks a rule; a server would answer 400.
    pub fn check(&self) -> Result<(), Refusal> {
        check_target(&self.target)?;
        self.headers.check()?;
        let announced = self.headers.content_length()?.unwrap_or(0);
        if !self.method.has_body() && (!self.body.is_empty() || announced > 0) {
            return Err(Refusal::Body);
        }
        Ok(())
    }

    /// Encodes the message: length and CBOR.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] for a request that no server would accept, [`Error::HeadTooLong`].
    pub fn to_message(&self) -> Result<Vec<u8>, Error> {
        self.check().map_err(Error::Refused)?;
        bounded(msg::to_vec(&RequestHead {
            body: &self.body,
            headers: self.headers.clone(),
            method: self.method.as_str(),
            target: &self.target,
        }))
    }
}

impl Head for Request {
    fn from_cbor(bytes: &[u8]) -> Result<Self, Error> {
        let head: RequestHead<'_> = cbor::from_slice(bytes)?;
        let this = Self {
            method: Method::parse(head.method).map_err(Error::Refused)?,
            target: head.target.to_owned(),
            headers: head.headers,
            body: head.body.to_vec(),
        };
        this.check().map_err(Error::Refused)?;
        Ok(this)
    }

    fn headers(&self) -> &Headers {
        &self.headers
    }

    fn take_body(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.body)
    }

    fn may_have_body(&self) -> bool {
        self.method.has_body()
    }
}

impl Response {
    /// Creates a response without a body.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Headers::default(),
            body: Vec::new(),
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<crate::HeaderValue>) -> Self {
        self.headers.set(key, value);
        self
    }

    /// Adds a short text that gives the reason.
    #[must_use]
    pub fn because(mut self, why: &str) -> Self {
        self.body = why.as_bytes().to_vec();
        self.with("content-type", "text/plain; charset=utf-8")
    }

    /// Creates a 400 response with the reason.
    #[must_use]
    pub fn refused(why: Refusal) -> Self {
        Self::new(status::BAD_REQUEST).because(&alloc::format!("{why}"))
    }

    /// Encodes the message: length and CBOR.
    ///
    /// # Errors
    ///
    /// [`Error::HeadTooLong`].
    pub fn to_message(&self) -> Result<Vec<u8>, Error> {
        bounded(msg::to_vec(&ResponseHead {
            body: &self.body,
            headers: self.headers.clone(),
            status: self.status,
        }))
    }
}

impl Head for Response {
    fn from_cbor(bytes: &[u8]) -> Result<Self, Error> {
        let head: ResponseHead<'_> = cbor::from_slice(bytes)?;
        let this = Self {
            status: head.status,
            headers: head.headers,
            body: head.body.to_vec(),
        };
        if !(100..1000).contains(&this.status) {
            return Err(Error::Refused(Refusal::Status));
        }
        this.headers.check().map_err(Error::Refused)?;
        Ok(this)
    }

    fn headers(&self) -> &Headers {
        &self.headers
    }

    fn take_body(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.body)
    }

    fn may_have_body(&self) -> bool {
        true
    }
}
