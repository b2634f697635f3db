//! Reasons why a request is not answered as it was meant, and their form in the API: problems of RFC 9457.

use std::fmt;

use betanet_auth::audit::Verdict;
use betanet_auth::{Error as AuthError, Kind};
use betanet_fog::{Refusal, RefusalCode};
use serde_json::{Value, json};

use crate::error::Unavailable;

/// Reason why a request is not answered as it was meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// The rules of accounts.
    Auth(AuthError),
    /// The coordinator refuses.
    Fog(Refusal),
    /// The journal of the panel takes nothing.
    Unavailable,
    /// A field is missing or out of its bounds.
    Field(&'static str),
    /// The caller's own password is not that.
    Password,
    /// A field that the request does not have.
    UnknownField(Named),
    /// There is no such page or entry.
    Missing,
    /// The path has other methods.
    Method,
    /// The body is longer than its bound.
    TooLarge,
    /// The body is of another type.
    Type,
    /// The body did not come in time, or broke off.
    Slow,
    /// Too many connections of this kind are open.
    Busy,
    /// A source cannot be read.
    Source,
}

/// Most bytes of a field's name that are told.
const NAMED_MAX: usize = 64;

/// A name that a client gave: its beginning, if it is long.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) struct Named {
    bytes: [u8; NAMED_MAX],
    len: usize,
}

impl Named {
    pub(crate) fn new(name: &str) -> Self {
        let name = name.get(..name.floor_char_boundary(NAMED_MAX));
        let name = name.unwrap_or_default().as_bytes();
        let mut bytes = [0; NAMED_MAX];
        for (to, from) in bytes.iter_mut().zip(name) {
            *to = *from;
        }
        Self {
            bytes,
            len: name.len(),
        }
    }

    fn as_str(&self) -> &str {
        let own = self.bytes.get(..self.len).unwrap_or_default();
        std::str::from_utf8(own).unwrap_or_default()
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Named").field(&self.as_str()).finish()
    }
}

impl From<AuthError> for Fault {
    fn from(error: AuthError) -> Self {
        Self::Auth(error)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Fog(refusal)
    }
}

impl From<Unavailable> for Fault {
    fn from(_: Unavailable) -> Self {
        Self::Unavailable
    }
}

impl Fault {
    /// The HTTP status.
    pub(crate) const fn status(self) -> u16 {
        match self {
            Self::Auth(error) => error.status(),
            Self::Fog(refusal) => match refusal.code {
                // The caller's credentials are the panel's matter.
                RefusalCode::SigInvalid => 500,
                code => code.status(),
            },
            Self::Unavailable | Self::Busy => 503,
            Self::Field(_) | Self::Password | Self::UnknownField(_) => 400,
            Self::Missing => 404,
            Self::Source => 502,
            Self::Method => 405,
            Self::Slow => 408,
            Self::TooLarge => 413,
            Self::Type => 415,
        }
    }

    /// Seconds for `Retry-After`.
    pub(crate) const fn retry_after(self) -> Option<u64> {
        match self {
            Self::Auth(error) => error.retry_after(),
            Self::Fog(refusal) if refusal.code.retry_after() => Some(1),
            Self::Unavailable | Self::Busy => Some(1),
            _ => None,
        }
    }

    /// A sentence without its full stop.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Auth(error) => error.to_string(),
            Self::Fog(refusal) => {
                let why = refused(refusal.code);
                match refusal.key {
                    "" => why.to_owned(),
                    key => format!("{why} ({key})"),
                }
            }
            Self::Unavailable => Unavailable.to_string(),
            Self::Field(name) => format!("{name} is missing or out of its bounds"),
            Self::Password => "the present password is another one".to_owned(),
            Self::UnknownField(name) => format!("the field {name} is not known here"),
            Self::Missing => "there is no such page or entry".to_owned(),
            Self::Method => "this path takes other methods".to_owned(),
            Self::TooLarge => "the body is longer than its bound".to_owned(),
            Self::Type => "the body is of another type".to_owned(),
            Self::Slow => "the body did not come in time".to_owned(),
            Self::Busy => "too many connections are open; try again".to_owned(),
            Self::Source => "the source cannot be read; try again".to_owned(),
        }
    }

    /// A word that programs can tell it by.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Auth(error) => match error.kind() {
                Kind::LogIn => "credentials",
                Kind::Refused => "denied",
                Kind::NotNow => "rate",
                Kind::Request => "bad_value",
                Kind::State => "state",
                _ => "internal",
            },
            Self::Fog(refusal) => refusal.code.as_str(),
            Self::Unavailable => "unavailable",
            Self::Field(_) | Self::Password => "bad_value",
            Self::UnknownField(_) => "unknown_field",
            Self::Missing => "unknown",
            Self::Method => "method",
            Self::TooLarge => "too_large",
            Self::Type => "media_type",
            Self::Slow => "timeout",
            Self::Busy => "busy",
            Self::Source => "source",
        }
    }

    /// Its verdict in the audit log.
    pub(crate) const fn verdict(self) -> Verdict {
        match self {
            Self::Auth(error) => Verdict::of(&Err(error)),
            Self::Password => Verdict::Denied,
            _ => Verdict::Failed,
        }
    }

    /// The problem of RFC 9457.
    pub(crate) fn problem(self, request: &str) -> Value {
        let mut problem = json!({
            "type": "about:blank",
            "title": title(self.status()),
            "status": self.status(),
            "detail": self.text(),
            "code": self.code(),
            "instance": format!("urn:uuid:{request}"),
        });
        let field = match &self {
            Self::Field(name) => name,
            Self::Fog(refusal) => refusal.key,
            Self::UnknownField(name) => name.as_str(),
            _ => "",
        };
        if !field.is_empty() {
            problem["field"] = json!(field);
        }
        problem
    }
}

/// The name of a status.
pub(crate) fn title(status: u16) -> &'static str {
    let status = axum::http::StatusCode::from_u16(status).ok();
    status
        .and_then(|s| s.canonical_reason())
        .unwrap_or("Refused")
}

/// A sentence for a code of the coordinator.
const fn refused(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::Malformed => "the request is malformed",
        RefusalCode::BadValue => "a value is out of its bounds",
        RefusalCode::TooLarge => "it is longer than its bound",
        RefusalCode::Digest => "the content has another digest, or is not stored",
        RefusalCode::NotYours => "it belongs to another",
        RefusalCode::Role => "no user is listed for this namespace (coordinator --user NS=KEYHEX)",
        RefusalCode::Unknown => "the coordinator does not know it",
        RefusalCode::InUse => "it is in use",
        RefusalCode::Ended => "the task has ended already",
        RefusalCode::Budget => "the task would cost more than its budget",
        RefusalCode::Quota => "the namespace has used up its quota",
        RefusalCode::Rate => "the coordinator has too much to do; try again",
        RefusalCode::NotLeader => {
            "this coordinator does not lead now; try again, or ask the leader"
        }
        RefusalCode::PrivacyUnavailable => "no node has this privacy level",
        RefusalCode::PrivacyRoute => {
            "tasks of this level travel over the mix: use betanet task run"
        }
        RefusalCode::DiskFloor => "the coordinator's disk is nearly full",
        _ => "the coordinator refuses it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_not_known_is_named() {
        let problem = |name: &str| Fault::UnknownField(Named::new(name)).problem("x");
        let told = problem("colour");
        assert_eq!(
            (&told["field"], &told["code"]),
            (&json!("colour"), &json!("unknown_field"))
        );
        assert_eq!(told["detail"], "the field colour is not known here");
        // A letter is not cut in two.
        let long = format!("x{}", "\u{430}".repeat(1_000));
        let told = problem(&long);
        let name = told["field"].as_str().unwrap();
        assert!(
            long.starts_with(name) && name.len() == NAMED_MAX - 1,
            "{name}"
        );
    }
}
