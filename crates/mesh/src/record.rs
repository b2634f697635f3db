//! Peer records: a node's signed description of itself.

use alloc::borrow::ToOwned as _;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use betanet_keys::{Identity, KeyError, PublicKey};
use betanet_wire::{NodeId, PeerId, cbor, message};
use bytes::Bytes;

use crate::Addr;

/// Label of a record's signature.
const LABEL: &str = "BN-PEER1";
/// Longest accepted envelope, in bytes.
pub const ENVELOPE_MAX: usize = 4096;
/// Longest lifetime of a record.
pub const LIFE_MAX_MS: u64 = 24 * 3600 * 1000;
/// Time between a record's expiry and its removal.
pub const GRACE_MS: u64 = 600 * 1000;
/// Accepted error of another node's clock.
pub const SKEW_MS: u64 = 120 * 1000;
/// Addresses read from one record.
const ADDRS_MAX: usize = 8;

message! {
    /// A record as its issuer signs it.
    pub struct Claims<'a> {
        /// Expiry, UNIX milliseconds.
        req "exp" exp: u64,
        /// The issuer's key.
        req "key" key: &'a [u8; 32],
        /// Its Sphinx key record; empty if it is not a mix relay.
        req "mix" mix: &'a [u8],
        /// Operator of the node.
        req "org" org: &'a str,
        /// SHA-256 of its certificate's SPKI; empty for web PKI.
        req "pin" pin: &'a [u8],
        /// The issuer's UNIX milliseconds; the highest is valid.
        req "seq" seq: u64,
        /// Features.
        req "feat" feat: Vec<&'a str>,
        /// Multiaddrs.
        req "addrs" addrs: Vec<&'a str>,
        /// Prices by service.
        req "price" price: BTreeMap<&'a str, u64>,
        /// Role names.
        req "roles" roles: Vec<&'a str>,
    }
}

message! {
    struct Envelope<'a> {
        req "rec" rec: &'a [u8],
        req "sig" sig: &'a [u8; 64],
    }
}

/// Reason why bytes are not a usable record.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Longer than [`ENVELOPE_MAX`].
    #[error("a peer record of {0} bytes, where 4096 are allowed")]
    TooLong(usize),
    /// The envelope or its record does not decode.
    #[error("the peer record does not decode: {0}")]
    Form(#[from] cbor::Error),
    /// The pin is neither empty nor 32 bytes.
    #[error("a pin is empty or 32 bytes")]
    Pin,
    /// The key or the signature is invalid.
    #[error("the peer record: {0}")]
    Key(#[from] KeyError),
    /// The lifetime exceeds 24 h, or the `seq` is in the future.
    #[error("the peer record lives longer than 24 h")]
    Life,
    /// The record has expired.
    #[error("the peer record has expired")]
    Expired,
}

/// A role that a peer advertises.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// First relay of a path.
    Entry,
    /// Middle relay of a path.
    Core,
    /// Last node of a path.
    Exit,
    /// A relay of the mix.
    Mix,
    /// Serves BAR.
    Gateway,
    /// Fog coordinator.
    Coordinator,
    /// Fog worker.
    Worker,
    /// Answers DISCOVER.
    Seed,
}

impl Role {
    /// All roles, in the profile's order.
    pub const ALL: [Self; 8] = [
        Self::Entry,
        Self::Core,
        Self::Exit,
        Self::Mix,
        Self::Gateway,
        Self::Coordinator,
        Self::Worker,
        Self::Seed,
    ];

    /// The role's name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Core => "core",
            Self::Exit => "exit",
            Self::Mix => "mix",
            Self::Gateway => "gateway",
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
            Self::Seed => "seed",
        }
    }

    /// The role with a name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.name() == name)
    }
}

/// A set of roles.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Roles(u16);

impl Roles {
    /// Whether the set contains a role.
    #[must_use]
    pub const fn has(self, role: Role) -> bool {
        self.0 & (1 << role as u16) != 0
    }

    /// Whether the set contains all roles of another.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether paths may use a node with these roles.
    #[must_use]
    pub const fn relays(self) -> bool {
        self.has(Role::Entry) || self.has(Role::Core)
    }

    /// The roles of the set.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |r| self.has(*r))
    }

    /// The roles with these names, and whether all names are known.
    pub fn of_names<'a>(names: impl IntoIterator<Item = &'a str>) -> (Self, bool) {
        let mut all = true;
        let mut set = Self::default();
        for name in names {
            match Role::of(name) {
                Some(role) => set.0 |= 1 << role as u16,
                None => all = false,
            }
        }
        (set, all)
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |set, r| set | 1 << r as u16))
    }
}

/// The content of a record before it is signed.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Draft {
    /// Addresses.
    pub addrs: Vec<Addr>,
    /// Roles.
    pub roles: Roles,
    /// Features.
    pub feat: Vec<String>,
    /// Operator of the node.
    pub org: String,
    /// SHA-256 of its certificate's SPKI.
    pub pin: Option<[u8; 32]>,
    /// Its Sphinx key record.
    pub mix: Vec<u8>,
    /// Prices by service.
    pub price: BTreeMap<String, u64>,
}

impl Draft {
    /// Signs the record for a lifetime of `life_ms`, at most 24 h.
    #[must_use]
    pub fn sign(&self, issuer: &Identity, seq: u64, life_ms: u64) -> Record {
        let addrs: Vec<String> = self.addrs.iter().map(ToString::to_string).collect();
        let rec = cbor::to_vec(&Claims {
            exp: seq.saturating_add(life_ms.min(LIFE_MAX_MS)),
            key: issuer.public().as_bytes(),
            mix: &self.mix,
            org: &self.org,
            pin: self.pin.as_ref().map_or(&[], |p| p.as_slice()),
            seq,
            feat: self.feat.iter().map(String::as_str).collect(),
            addrs: addrs.iter().map(String::as_str).collect(),
            price: self.price.iter().map(|(k, v)| (k.as_str(), *v)).collect(),
            roles: self.roles.iter().map(Role::name).collect(),
        });
        let sig = issuer.sign(LABEL, &[&rec]);
        let raw = cbor::to_vec(&Envelope {
            rec: &rec,
            sig: &sig,
        });
        Record(Arc::new(Signed {
            raw: raw.into(),
            node: issuer.public().node_id(),
            key: *issuer.public().as_bytes(),
            pin: self.pin,
            seq,
            exp: seq.saturating_add(life_ms.min(LIFE_MAX_MS)),
            roles: self.roles,
            addrs: known(addrs.iter().map(String::as_str)),
        }))
    }
}

/// A peer record with a valid signature. Clones share one value, which does not change.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Record(Arc<Signed>);

/// The envelope, and the fields that are read often.
#[derive(Eq, Hash, PartialEq)]
struct Signed {
    raw: Bytes,
    node: NodeId,
    key: [u8; 32],
    pin: Option<[u8; 32]>,
    seq: u64,
    exp: u64,
    roles: Roles,
    addrs: Vec<Addr>,
}

/// Fields of an envelope that are read without a signature check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peek {
    /// Node that the record claims.
    pub node: NodeId,
    /// Sequence number.
    pub seq: u64,
    /// Expiry, UNIX milliseconds.
    pub exp: u64,
    /// Claimed roles.
    pub roles: Roles,
}

fn open(raw: &[u8]) -> Result<(Envelope<'_>, Claims<'_>), RecordError> {
    if raw.len() > ENVELOPE_MAX {
        return Err(RecordError::TooLong(raw.len()));
    }
    let envelope: Envelope<'_> = cbor::from_slice(raw)?;
    let claims: Claims<'_> = cbor::from_slice(envelope.rec)?;
    if !matches!(claims.pin.len(), 0 | 32) {
        return Err(RecordError::Pin);
    }
    if claims.exp > claims.seq.saturating_add(LIFE_MAX_MS) {
        return Err(RecordError::Life);
    }
    Ok((envelope, claims))
}

/// The addresses in known forms.
fn known<'a>(addrs: impl Iterator<Item = &'a str>) -> Vec<Addr> {
    let read = addrs.filter_map(|a| a.parse().ok());
    read.take(ADDRS_MAX).collect()
}

/// Reads an envelope without checking its signature.
///
/// # Errors
///
/// The bytes are not the envelope of a record.
pub fn peek(raw: &[u8]) -> Result<Peek, RecordError> {
    let (_, claims) = open(raw)?;
    Ok(Peek {
        node: PeerId::from_hash(betanet_keys::hash(&[claims.key])).node_id(),
        seq: claims.seq,
        exp: claims.exp,
        roles: Roles::of_names(claims.roles.iter().copied()).0,
    })
}

impl Record {
    /// Reads an envelope, and checks its key and signature.
    ///
    /// # Errors
    ///
    /// [`RecordError`].
    pub fn from_envelope(raw: &[u8]) -> Result<Self, RecordError> {
        let (envelope, claims) = open(raw)?;
        let key = PublicKey::from_bytes(claims.key)?;
        key.verify(LABEL, &[envelope.rec], envelope.sig)?;
        Ok(Self(Arc::new(Signed {
            node: key.node_id(),
            key: *claims.key,
            pin: claims.pin.try_into().ok(),
            seq: claims.seq,
            exp: claims.exp,
            roles: Roles::of_names(claims.roles.iter().copied()).0,
            addrs: known(claims.addrs.iter().copied()),
            raw: Bytes::copy_from_slice(raw),
        })))
    }

    /// Checks that the record is valid at this time.
    ///
    /// # Errors
    ///
    /// [`RecordError::Expired`], or [`RecordError::Life`] for a record from the future.
    pub fn check_time(&self, unix_ms: u64) -> Result<(), RecordError> {
        if self.0.exp <= unix_ms {
            return Err(RecordError::Expired);
        }
        if self.0.seq > unix_ms.saturating_add(SKEW_MS) {
            return Err(RecordError::Life);
        }
        Ok(())
    }

    /// The envelope's bytes.
    #[must_use]
    pub fn envelope(&self) -> &Bytes {
        &self.0.raw
    }

    /// Node of the record.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.0.node
    }

    /// Sequence number.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.0.seq
    }

    /// Expiry, UNIX milliseconds.
    #[must_use]
    pub fn exp(&self) -> u64 {
        self.0.exp
    }

    /// Claimed roles.
    #[must_use]
    pub fn roles(&self) -> Roles {
        self.0.roles
    }

    /// The signed bytes. Equal bytes are one statement, even with two signatures.
    #[must_use]
    pub fn signed(&self) -> &[u8] {
        open(&self.0.raw).map_or(&[], |(e, _)| e.rec)
    }

    /// The fields of the record.
    ///
    /// # Errors
    ///
    /// None in practice, because the record was decoded before.
    pub fn claims(&self) -> Result<Claims<'_>, RecordError> {
        open(&self.0.raw).map(|(_, claims)| claims)
    }

    /// The issuer's key.
    #[must_use]
    pub fn key(&self) -> [u8; 32] {
        self.0.key
    }

    /// The pin of the issuer's certificate.
    #[must_use]
    pub fn pin(&self) -> Option<[u8; 32]> {
        self.0.pin
    }

    /// The addresses in known forms.
    #[must_use]
    pub fn addrs(&self) -> &[Addr] {
        &self.0.addrs
    }

    /// Claimed operator.
    #[must_use]
    pub fn org(&self) -> String {
        self.claims().map(|c| c.org.to_owned()).unwrap_or_default()
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({} seq {})", self.node(), self.seq())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        Draft {
            addrs: Vec::from(["/ip4/192.0.2.1/tcp/443/tls".parse().unwrap()]),
            roles: Roles::from_iter([Role::Entry, Role::Core]),
            feat: Vec::from(["pq".to_owned()]),
            org: "Example".to_owned(),
            pin: Some([7; 32]),
            price: BTreeMap::from([("bar".to_owned(), 3)]),
            ..Draft::default()
        }
    }

    #[test]
    fn a_record_reads_back_as_it_was_signed() {
        let me = Identity::from_seed(&[1; 32]);
        let record = draft().sign(&me, 1000, 5000);
        let read = Record::from_envelope(record.envelope()).unwrap();
        assert_eq!(read, record);
        assert_eq!(read.node(), me.public().node_id());
        assert_eq!((read.seq(), read.exp()), (1000, 6000));
        assert_eq!(read.addrs(), draft().addrs);
        assert_eq!(read.pin(), draft().pin);
        assert_eq!(read.claims().unwrap().price.get("bar"), Some(&3));
        let peeked = peek(record.envelope()).unwrap();
        assert_eq!((peeked.node, peeked.seq), (read.node(), 1000));
    }

    #[test]
    fn any_changed_byte_is_refused() {
        let record = draft().sign(&Identity::from_seed(&[1; 32]), 1000, 5000);
        for i in 0..record.envelope().len() {
            let mut raw = record.envelope().to_vec();
            raw[i] ^= 1;
            assert!(Record::from_envelope(&raw).is_err(), "byte {i}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let me = Identity::from_seed(&[1; 32]);
        let long = Draft {
            org: "x".repeat(ENVELOPE_MAX),
            ..draft()
        };
        let long = long.sign(&me, 1, 1);
        assert!(matches!(
            Record::from_envelope(long.envelope()),
            Err(RecordError::TooLong(_))
        ));
        let record = draft().sign(&me, 1000, LIFE_MAX_MS * 9);
        assert_eq!(record.exp(), 1000 + LIFE_MAX_MS);
        assert_eq!(record.check_time(1000), Ok(()));
        assert_eq!(
            record.check_time(1000 + LIFE_MAX_MS),
            Err(RecordError::Expired)
        );
        let ahead = draft().sign(&me, 1001 + SKEW_MS, 1);
        assert_eq!(ahead.check_time(1000), Err(RecordError::Life));
    }
}
