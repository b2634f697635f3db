//! `bar://<name or alias>/<path>` (profile chapter 8).

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use betanet_keys::Name;

use crate::{Alias, LabelError};

/// Longest URI, in bytes.
pub const URI_MAX: usize = 8192;
const SCHEME: &str = "bar://";

/// Reason why text is no `bar://` URI.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// Text of more than 8 192 bytes.
    #[error("a URI of more than 8 192 bytes")]
    TooLong,
    /// Text that does not begin with `bar://`.
    #[error("a URI of this kind begins with bar://")]
    Scheme,
    /// The path has a control character.
    #[error("the path has a control character")]
    Path,
    /// Neither a name nor an alias stands before the path.
    #[error("the host is neither a name nor an alias: {0}")]
    Host(#[from] LabelError),
}

/// The node that a URI names.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Host {
    /// A self-certifying name.
    Name(Name),
    /// An alias, to be resolved.
    Alias(Alias),
}

/// A parsed URI.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Uri {
    /// The node.
    pub host: Host,
    /// Path and query, beginning with `/`. The BAR layer checks it further.
    pub path: String,
}

impl FromStr for Uri {
    type Err = UriError;

    /// Reads a URI. A missing path is `/`; a fragment stays with the reader and is dropped.
    fn from_str(text: &str) -> Result<Self, UriError> {
        if text.len() > URI_MAX {
            return Err(UriError::TooLong);
        }
        let rest = match text.split_at_checked(SCHEME.len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => rest,
            _ => return Err(UriError::Scheme),
        };
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let (host, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if path.chars().any(char::is_control) {
            return Err(UriError::Path);
        }
        let mut whole = String::with_capacity(path.len() + 1);
        if !path.starts_with('/') {
            whole.push('/');
        }
        whole.push_str(path);
        Ok(Self {
            host: host.parse()?,
            path: whole,
        })
    }
}

impl FromStr for Host {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        match text.parse() {
            Ok(name) => Ok(Self::Name(name)),
            Err(_) => Alias::parse(text).map(Self::Alias),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Alias(alias) => alias.fmt(f),
        }
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}{}", self.host, self.path)
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString as _;

    use betanet_wire::NodeId;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_aliases_are_told_apart() {
        let name = Name::from(NodeId([3; 20]));
        let bare = name.to_string().replace("bn1:", "");
        for text in [
            format!("bar://{name}/a?b=c"),
            format!("BAR://{bare}/a?b=c#d"),
        ] {
            let uri: Uri = text.parse().unwrap();
            assert_eq!(
                (uri.host, uri.path.as_str()),
                (Host::Name(name), "/a?b=c"),
                "{text}"
            );
        }
        let uri: Uri = "bar://Bücher.Example".parse().unwrap();
        assert_eq!(uri.to_string(), "bar://xn--bcher-kva.example/");
        let uri: Uri = "bar://a?q".parse().unwrap();
        assert_eq!(uri.to_string(), "bar://a/?q");
    }

    #[test]
    fn other_texts_are_refused() {
        let read = |text: &str| text.parse::<Uri>().map(drop);
        assert_eq!(read("http://a/"), Err(UriError::Scheme));
        assert_eq!(read("bar:/"), Err(UriError::Scheme));
        assert_eq!(read("bar:///a"), Err(UriError::Host(LabelError::Empty)));
        assert_eq!(read("bar://a/\u{7}"), Err(UriError::Path));
        let host = Err(UriError::Host(LabelError::Character));
        assert_eq!(read("bar://u@a/"), host);
        assert_eq!(read("bar://a:80/"), host);
        let long = format!("bar://a/{}", "b".repeat(URI_MAX));
        assert_eq!(read(&long), Err(UriError::TooLong));
    }

    proptest! {
        #[test]
        fn a_uri_reads_back(text in "bar://[a-zü.]{1,20}[/?]?[a-z/?=]{0,20}") {
            if let Ok(uri) = text.parse::<Uri>() {
                prop_assert_eq!(uri.to_string().parse::<Uri>(), Ok(uri));
            }
        }
    }
}
