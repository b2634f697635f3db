//! URLs of resources.

use betanet_naming::Alias;
use betanet_runtime::{Name, Peer};

use crate::Fail;

/// Returns whether text is an alias, and neither a name nor a peer string.
pub(crate) fn is_alias(text: &str) -> bool {
    let other = text.starts_with("bnp1") || text.contains(['@', ':']);
    !other && text.parse::<Name>().is_err() && text.parse::<Alias>().is_ok()
}

/// A parsed `bar://NAME/path` or `bar://PEER/path`.
#[derive(Debug)]
pub(crate) struct Url {
    pub(crate) name: Name,
    /// The peer's addresses, if the URL has them.
    pub(crate) peer: Option<Peer>,
    pub(crate) target: String,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self, Fail> {
        let usage = |why: String| Fail::Usage(format!("{text}: {why}"));
        let rest = text
            .strip_prefix("bar://")
            .ok_or_else(|| usage("a URL is bar://NAME/path, or bar://bnp1…/path".into()))?;
        let slash = rest.find('/').unwrap_or(rest.len());
        let (who, path) = rest.split_at(slash);
        let (name, peer) = if who.starts_with("bnp1") {
            let peer: Peer = who.parse().map_err(|e| usage(format!("{e}")))?;
            (peer.name(), Some(peer))
        } else {
            (who.parse().map_err(|e| usage(format!("{e}")))?, None)
        };
        let target = if path.is_empty() { "/" } else { path };
        Ok(Self {
            name,
            peer,
            target: target.to_owned(),
        })
    }

    /// Returns the URL of another path at the same node.
    pub(crate) fn at(&self, target: String) -> Self {
        Self {
            name: self.name,
            peer: None,
            target,
        }
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "bar://{}{}", self.name, self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_told_from_names_peers_and_other_texts() {
        let name = Name::from(betanet_wire::NodeId([7; 20])).to_string();
        for (text, is) in [
            ("files.example", true),
            ("b\u{fc}cher", true),
            ("a", true),
            ("bnp1qqq", false),
            ("aa@127.0.0.1:1", false),
            ("127.0.0.1:1", false),
            ("127.0.0.1", false),
            ("a b", false),
            ("", false),
            (&name, false),
            (&name["bn1:".len()..], false),
        ] {
            assert_eq!(is_alias(text), is, "{text}");
        }
    }
}
