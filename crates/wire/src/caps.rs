//! Capabilities, versions and their selection (profile chapters 1 and 4).

use alloc::borrow::ToOwned as _;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::cbor::{self, Raw};
use crate::message;

message! {
    /// A side's offer, as sent in epoch 0.
    pub struct CapMsg<'a> {
        /// Cover transport versions.
        req "l2" l2: Vec<&'a str>,
        /// Mesh versions.
        req "l3" l3: Vec<&'a str>,
        /// Mix versions.
        req "l4" l4: Vec<&'a str>,
        /// Naming versions.
        req "l5" l5: Vec<&'a str>,
        /// Voucher versions.
        opt "l6" l6: Vec<&'a str>,
        /// BAR versions.
        opt "l7" l7: Vec<&'a str>,
        /// Compute versions.
        opt "fog" fog: Vec<&'a str>,
        /// Features by name.
        req "features" features: BTreeMap<&'a str, bool>,
    }
}

message! {
    /// The decider's selection: one ID for each layer, `""` where none is common.
    pub struct SelMsg<'a> {
        /// Cover transport.
        req "l2" l2: &'a str,
        /// Mesh.
        req "l3" l3: &'a str,
        /// Mix.
        req "l4" l4: &'a str,
        /// Naming.
        req "l5" l5: &'a str,
        /// Vouchers, where both offered the layer.
        opt "l6" l6: &'a str,
        /// BAR, where both offered the layer.
        opt "l7" l7: &'a str,
        /// Compute, where both offered the layer.
        opt "fog" fog: &'a str,
    }
}

message! {
    /// Context of the epoch-1 exporter.
    struct Context<'a> {
        req "l2" l2: &'a str,
        req "l3" l3: &'a str,
        req "l4" l4: &'a str,
        req "l5" l5: &'a str,
        opt "l6" l6: &'a str,
        opt "l7" l7: &'a str,
        opt "fog" fog: &'a str,
        opt "compat" compat: &'a str,
        req "template" template: &'a [u8; 32],
        req "caps_client" caps_client: Raw<'a>,
        req "caps_server" caps_server: Raw<'a>,
    }
}

/// The L2 version built here.
pub const HTX: &str = "betanet/htx/1.2.0";
/// The L2 version of a session of 1.2 whose other leg is one of 1.1 (profile chapter 9).
pub const HTX_TRANSLATED: &str = "betanet/htx/1.1.0";
/// The L3 version built here.
pub const MESH: &str = "betanet/mesh/1.2.0";
/// The L7 version built here.
pub const BAR: &str = "betanet/bar/1.2.0";
/// L4 as built here.
pub const MIX: &str = "betanet/mix/1.2.0";
/// The L5 version built here.
pub const NAMING: &str = "betanet/naming/1.2.0";

/// A version: three numbers, compared as numbers.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Version {
    /// Increases with breaking changes.
    pub major: u32,
    /// Increases with additions.
    pub minor: u32,
    /// Increases with fixes.
    pub patch: u32,
}

impl Version {
    /// The version in `betanet/<layer>/<major>.<minor>.<patch>`; `None` for another layer or another form.
    #[must_use]
    pub fn parse(id: &str, layer: &str) -> Option<Self> {
        let rest = id
            .strip_prefix("betanet/")?
            .strip_prefix(layer)?
            .strip_prefix('/')?;
        let mut parts = rest.split('.').map(number);
        let version = Self {
            major: parts.next()??,
            minor: parts.next()??,
            patch: parts.next()??,
        };
        parts.next().is_none().then_some(version)
    }
}

/// Decimal without sign or leading zero, so that one version has one text.
fn number(text: &str) -> Option<u32> {
    let canonical = text == "0" || !text.starts_with('0');
    (canonical && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

/// Negotiation failed: no common L2 or L3, or a wrong selection.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The two offers share no version of a layer that must have one.
    #[error("no common version of {0}")]
    NoCommon(&'static str),
    /// The decider's selection does not follow from the offers.
    #[error("the selection is not what the offers give")]
    WrongSelection,
}

/// The layers' keys on the wire and their names in IDs.
const LAYERS: [(&str, &str); 7] = [
    ("l2", "htx"),
    ("l3", "mesh"),
    ("l4", "mix"),
    ("l5", "naming"),
    ("l6", "vouchers"),
    ("l7", "bar"),
    ("fog", "fog"),
];

fn best<'a>(ours: &[&'a str], theirs: &[&str], layer: &str) -> &'a str {
    ours.iter()
        .filter(|id| theirs.contains(id))
        .filter_map(|id| Some((Version::parse(id, layer)?, *id)))
        .max()
        .map_or("", |(_, id)| id)
}

/// Computes the selection from two offers. The order of the arguments does not matter.
///
/// # Errors
///
/// [`Error::NoCommon`] for L2 or L3.
pub fn select<'a>(a: &CapMsg<'a>, b: &CapMsg<'_>) -> Result<SelMsg<'a>, Error> {
    let both = |a: &Option<Vec<&'a str>>, b: &Option<Vec<&str>>, layer: usize| {
        Some(best(a.as_ref()?, b.as_ref()?, LAYERS[layer].1))
    };
    let sel = SelMsg {
        l2: best(&a.l2, &b.l2, LAYERS[0].1),
        l3: best(&a.l3, &b.l3, LAYERS[1].1),
        l4: best(&a.l4, &b.l4, LAYERS[2].1),
        l5: best(&a.l5, &b.l5, LAYERS[3].1),
        l6: both(&a.l6, &b.l6, 4),
        l7: both(&a.l7, &b.l7, 5),
        fog: both(&a.fog, &b.fog, 6),
    };
    for (id, (key, _)) in [sel.l2, sel.l3].into_iter().zip(LAYERS) {
        if id.is_empty() {
            return Err(Error::NoCommon(key));
        }
    }
    Ok(sel)
}

/// Checks that a received selection follows from the offers.
///
/// # Errors
///
/// [`Error::NoCommon`] or [`Error::WrongSelection`].
pub fn verify(a: &CapMsg<'_>, b: &CapMsg<'_>, sel: &SelMsg<'_>) -> Result<(), Error> {
    if select(a, b)? == *sel {
        Ok(())
    } else {
        Err(Error::WrongSelection)
    }
}

/// Whether the selected L2 is that of a session joined with a connection of version 1.1.
#[must_use]
pub fn is_translated(l2: &str) -> bool {
    Version::parse(l2, "htx").is_some_and(|v| (v.major, v.minor) == (1, 1))
}

/// The DET-CBOR context of the epoch-1 exporter. The capabilities are the maps exactly as sent. If L2 is a version 1.1, the
/// context has `"compat"` too.
#[must_use]
pub fn context(
    sel: &SelMsg<'_>,
    caps_client: &[u8],
    caps_server: &[u8],
    template: &[u8; 32],
) -> Vec<u8> {
    cbor::to_vec(&Context {
        l2: sel.l2,
        l3: sel.l3,
        l4: sel.l4,
        l5: sel.l5,
        l6: sel.l6,
        l7: sel.l7,
        fog: sel.fog,
        compat: is_translated(sel.l2).then_some("1.1"),
        template,
        caps_client: Raw(caps_client),
        caps_server: Raw(caps_server),
    })
}

/// Owned result of a negotiation.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Agreed {
    ids: BTreeMap<String, String>,
    features: Vec<String>,
}

impl Agreed {
    /// Builds the result from both offers and their selection.
    #[must_use]
    pub fn new(a: &CapMsg<'_>, b: &CapMsg<'_>, sel: &SelMsg<'_>) -> Self {
        let ids = [
            Some(sel.l2),
            Some(sel.l3),
            Some(sel.l4),
            Some(sel.l5),
            sel.l6,
            sel.l7,
            sel.fog,
        ];
        let on = |name: &&str| {
            a.features.get(name).copied() == Some(true)
                && b.features.get(name).copied() == Some(true)
        };
        Self {
            ids: LAYERS
                .iter()
                .zip(ids)
                .filter_map(|((key, _), id)| Some(((*key).to_owned(), id?.to_owned())))
                .collect(),
            features: a
                .features
                .keys()
                .filter(|name| on(name))
                .map(|name| (*name).to_owned())
                .collect(),
        }
    }

    /// The ID chosen for a layer key such as `l2`; `None` where none is common.
    #[must_use]
    pub fn id(&self, layer: &str) -> Option<&str> {
        self.ids
            .get(layer)
            .map(String::as_str)
            .filter(|id| !id.is_empty())
    }

    /// Layer keys and chosen IDs, `""` where none is common.
    pub fn ids(&self) -> impl Iterator<Item = (&str, &str)> {
        self.ids.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// Whether both sides offered a feature as `true`.
    #[must_use]
    pub fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|f| f == feature)
    }

    /// Whether the session is joined with a connection of version 1.1.
    #[must_use]
    pub fn is_translated(&self) -> bool {
        self.id("l2").is_some_and(is_translated)
    }

    /// The features both sides offered.
    #[must_use]
    pub fn features(&self) -> &[String] {
        &self.features
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers_and_have_one_text() {
        let parse = |id| Version::parse(id, "htx");
        assert!(parse("betanet/htx/1.10.0") > parse("betanet/htx/1.9.9"));
        for bad in [
            "betanet/mesh/1.2.0",
            "betanet/htx/1.2",
            "betanet/htx/1.2.0.0",
            "betanet/htx/01.2.0",
            "betanet/htx/+1.2.0",
            "betanet/htx/1.2.4294967296",
            "htx/1.2.0",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
