//! Other programs of the operator, whose admin addresses the panel reads: ledgers of names, mints, relays.
//!
//! A source is read when a page asks for it, and at most once a second. The last good answer is shown with its age while a source cannot
//! be read.

mod history;
mod http;
mod kept;
mod ledger;
mod mint;
mod net;

use betanet_fog::Word;
use betanet_keys::Address;
use futures_util::future::join_all;

pub(crate) use history::{History, Sample, sampled};
pub(crate) use http::Broken;
pub(crate) use kept::Kept;
pub(crate) use ledger::{AliasRow, Ledger, Record};
pub(crate) use mint::{Denomination, Keyset, Mint};
pub(crate) use net::{Net, Peer, View, lines};

use kept::Slot;

/// Most sources of a panel.
pub const SOURCES_MAX: usize = 16;

/// A program of the operator, by a name and its admin address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Source {
    name: Word,
    at: Address,
}

impl Source {
    /// Reads `NAME=http://HOST:PORT`.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let (name, url) = text.split_once('=')?;
        let at = url.strip_prefix("http://")?;
        let at = at.strip_suffix('/').unwrap_or(at);
        let name: Word = name.parse().ok()?;
        let at = Address::dialled(at).ok()?;
        (!name.is_empty()).then_some(Self { name, at })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `HOST:PORT`.
    pub(crate) fn address(&self) -> String {
        self.at.to_string()
    }
}

/// Whether these are sources of one panel: bounded, and each of another name.
#[must_use]
pub fn are_sources(all: &[Source]) -> bool {
    let twice = |(n, s): (usize, &Source)| all.iter().take(n).any(|o| o.name == s.name);
    all.len() <= SOURCES_MAX && !all.iter().enumerate().any(twice)
}

struct One {
    source: Source,
    ledger: Slot<Ledger>,
    mint: Slot<Mint>,
    net: Slot<Net>,
}

/// The sources, with what was read of them.
pub(crate) struct Sources(Vec<One>);

/// What was read of each source.
pub(crate) type Read<'a, T> = Vec<(&'a Source, Kept<T>)>;

impl Sources {
    pub(crate) fn new(all: Vec<Source>) -> Self {
        let one = |source| One {
            source,
            ledger: Slot::default(),
            mint: Slot::default(),
            net: Slot::default(),
        };
        Self(all.into_iter().map(one).collect())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Source> {
        self.0.iter().map(|one| &one.source)
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Source> {
        self.iter().find(|s| s.name() == name)
    }

    /// The ledgers of names.
    pub(crate) async fn ledgers(&self) -> Read<'_, Ledger> {
        let all = self.0.iter().map(async |one| {
            let read = ledger::read(&one.source);
            (&one.source, one.ledger.read(read).await)
        });
        join_all(all).await
    }

    /// The mints.
    pub(crate) async fn mints(&self) -> Read<'_, Mint> {
        let all = self.0.iter().map(async |one| {
            let read = mint::read(&one.source);
            (&one.source, one.mint.read(read).await)
        });
        join_all(all).await
    }

    /// Peers and metrics.
    pub(crate) async fn nets(&self) -> Read<'_, Net> {
        let all = self.0.iter().map(async |one| {
            let read = net::read(&one.source);
            (&one.source, one.net.read(read).await)
        });
        join_all(all).await
    }

    /// The records of an alias at one source.
    pub(crate) async fn records(&self, of: &Source, alias: &str) -> Result<Vec<Record>, Broken> {
        ledger::records(of, alias).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_have_a_name_and_an_address_and_are_bounded() {
        let source = Source::from_text("names=http://127.0.0.1:9090/").unwrap();
        assert_eq!(
            (source.name(), &*source.address()),
            ("names", "127.0.0.1:9090")
        );
        for bad in [
            "",
            "names",
            "=http://127.0.0.1:1",
            "names=127.0.0.1:1",
            "names=https://127.0.0.1:1",
            "names=http://127.0.0.1",
            "names=http://127.0.0.1:1/x",
            "names=http://127.0.0.1:0",
            "Names=http://127.0.0.1:1",
        ] {
            assert_eq!(Source::from_text(bad), None, "{bad}");
        }
        assert!(!are_sources(&[source.clone(), source.clone()]));
        let many = |n| -> Vec<Source> {
            let all = (0..n).map(|n| Source::from_text(&format!("s{n}=http://[::1]:1")));
            all.map(Option::unwrap).collect()
        };
        assert!(are_sources(&many(SOURCES_MAX)) && !are_sources(&many(SOURCES_MAX + 1)));
    }
}
