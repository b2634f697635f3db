//! Front origins that a network's maintainers vouch for, and a node's policy for templates of others.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;

use betanet_keys::{Common, Envelope, Maintainers, RegistryError, same};

use betanet_wire::{Code, cbor, message};

/// The `type` of these records.
pub const TYPE: &str = "FrontOriginRegistry";
/// Maximum number of kept records.
const RECORDS_MAX: usize = 4096;

/// Policy of a node for templates.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Profile {
    /// A template that is not in the registry is accepted and reported.
    #[default]
    Standard,
    /// A template that is not in the registry ends the session.
    Extended,
}

impl Profile {
    /// Name of the policy in records and settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::Extended => "EXTENDED",
        }
    }

    /// The policy with this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Standard, Self::Extended]
            .into_iter()
            .find(|p| p.name() == name)
    }
}

message! {
    struct Form<'a> {
        req "key" template: [u8; 32],
        req "seq" seq: u64,
        req "list" list: [u8; 32],
        req "type" ty: &'a str,
        req "expiry" expiry: u64,
        req "profile" profile: &'a str,
        req "host_pattern" host_pattern: &'a str,
    }
}

/// A front origin that maintainers vouch for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FrontOrigin {
    /// The TemplateID.
    pub template: [u8; 32],
    /// Sequence number; the highest is valid.
    pub seq: u64,
    /// Expiry time, milliseconds since the UNIX epoch.
    pub expiry: u64,
    /// A host name, or `*.` and a suffix of host names.
    pub host_pattern: String,
    /// Policy for which the record is meant.
    pub profile: Profile,
}

/// Why an envelope is not a front origin's record.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FrontError {
    /// The signatures are not valid.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The record does not decode.
    #[error("the record does not decode: {0}")]
    Form(#[from] cbor::Error),
    /// The record has another type, or an unknown profile.
    #[error("not a FrontOriginRegistry record, or of no known profile")]
    Kind,
    /// The maximum number of records is reached.
    #[error("more than {RECORDS_MAX} records")]
    Full,
}

impl FrontOrigin {
    /// Encodes the record for signing under a list of maintainers.
    #[must_use]
    pub fn record(&self, maintainers: &Maintainers) -> Vec<u8> {
        cbor::to_vec(&Form {
            template: self.template,
            seq: self.seq,
            list: maintainers.hash(),
            ty: TYPE,
            expiry: self.expiry,
            profile: self.profile.name(),
            host_pattern: &self.host_pattern,
        })
    }

    fn read(record: &[u8]) -> Result<Self, FrontError> {
        let common: Common<'_> = cbor::from_slice(record)?;
        if common.ty != TYPE {
            return Err(FrontError::Kind);
        }
        let form: Form<'_> = cbor::from_slice(record)?;
        Ok(Self {
            template: form.template,
            seq: form.seq,
            expiry: form.expiry,
            host_pattern: form.host_pattern.to_owned(),
            profile: Profile::of_name(form.profile).ok_or(FrontError::Kind)?,
        })
    }

    /// Whether the record covers this host.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        match self.host_pattern.strip_prefix("*.") {
            Some(end) => host
                .strip_suffix(end)
                .is_some_and(|h| h.len() > 1 && h.ends_with('.')),
            None => host == self.host_pattern,
        }
    }
}

/// Registry status of a template.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TemplateStatus {
    /// A valid record covers the template.
    Listed,
    /// The template's only record has expired.
    Expired,
    /// The template has no record.
    Unlisted,
    /// The template is that of clients that have none.
    None,
}

/// The front-origin records that a node knows.
#[derive(Clone, Debug, Default)]
pub struct Fronts {
    records: Vec<FrontOrigin>,
}

impl Fronts {
    /// Adds a correctly signed record; of one template the record with the highest `seq` is kept.
    ///
    /// # Errors
    ///
    /// [`FrontError`].
    pub fn add(
        &mut self,
        envelope: &Envelope,
        maintainers: &Maintainers,
    ) -> Result<(), FrontError> {
        envelope.check(maintainers)?;
        let fresh = FrontOrigin::read(envelope.record())?;
        let same = |r: &FrontOrigin| r.template == fresh.template;
        match self.records.iter().position(same) {
            Some(i) if self.records[i].seq >= fresh.seq => {}
            Some(i) => self.records[i] = fresh,
            None if self.records.len() >= RECORDS_MAX => return Err(FrontError::Full),
            None => self.records.push(fresh),
        }
        Ok(())
    }

    /// Number of records.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are no records.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Registry status of a template; with a host, only records that cover it count.
    #[must_use]
    pub fn standing(&self, template: &[u8; 32], host: Option<&str>, now_ms: u64) -> TemplateStatus {
        if same(template, &[0; 32]) {
            return TemplateStatus::None;
        }
        let about = |r: &&FrontOrigin| r.template == *template && host.is_none_or(|h| r.covers(h));
        match self.records.iter().find(about) {
            Some(record) if now_ms <= record.expiry => TemplateStatus::Listed,
            Some(_) => TemplateStatus::Expired,
            None => TemplateStatus::Unlisted,
        }
    }

    /// The code with which a session with this template must end, if any.
    #[must_use]
    pub fn refusal(
        &self,
        profile: Profile,
        template: &[u8; 32],
        host: Option<&str>,
        now_ms: u64,
    ) -> Option<Code> {
        let listed = self.standing(template, host, now_ms) == TemplateStatus::Listed;
        (profile == Profile::Extended && !listed).then_some(Code::L2_ORIGIN_MISMATCH)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use betanet_keys::Identity;

    use super::*;

    fn maintainers() -> (Vec<Identity>, Maintainers) {
        let all: Vec<Identity> = (1..=6).map(|n| Identity::from_seed(&[n; 32])).collect();
        let keys: Vec<_> = all.iter().map(|i| *i.public()).collect();
        (all, Maintainers::new(&keys))
    }

    fn front(seq: u64, expiry: u64) -> FrontOrigin {
        FrontOrigin {
            template: [7; 32],
            seq,
            expiry,
            host_pattern: "*.front.example".into(),
            profile: Profile::Extended,
        }
    }

    fn signed(front: &FrontOrigin, signers: usize) -> (Envelope, Maintainers) {
        let (all, list) = maintainers();
        let mut envelope = Envelope::new(front.record(&list)).unwrap();
        all.iter().take(signers).for_each(|m| envelope.sign(m));
        (envelope, list)
    }

    #[test]
    fn records_count_signed_and_until_they_expire() {
        let mut fronts = Fronts::default();
        let (few, list) = signed(&front(1, 1000), 4);
        assert!(matches!(
            fronts.add(&few, &list),
            Err(FrontError::Registry(_))
        ));
        let (enough, _) = signed(&front(2, 1000), 5);
        fronts.add(&enough, &list).unwrap();
        let at = |now| fronts.standing(&[7; 32], Some("www.front.example"), now);
        assert_eq!(
            (at(1000), at(1001)),
            (TemplateStatus::Listed, TemplateStatus::Expired)
        );
        assert_eq!(
            fronts.standing(&[7; 32], Some("front.example"), 0),
            TemplateStatus::Unlisted
        );
        assert_eq!(fronts.standing(&[8; 32], None, 0), TemplateStatus::Unlisted);
        assert_eq!(fronts.standing(&[0; 32], None, 0), TemplateStatus::None);
        // An older record changes nothing, a newer one does.
        let (older, _) = signed(&front(1, 9000), 5);
        fronts.add(&older, &list).unwrap();
        assert_eq!(
            fronts.standing(&[7; 32], None, 1001),
            TemplateStatus::Expired
        );
        let (newer, _) = signed(&front(3, 9000), 6);
        fronts.add(&newer, &list).unwrap();
        assert_eq!(
            fronts.standing(&[7; 32], None, 1001),
            TemplateStatus::Listed
        );
        assert_eq!(fronts.len(), 1);
    }

    #[test]
    fn what_is_not_listed_passes_under_standard_and_ends_under_extended() {
        let mut fronts = Fronts::default();
        let (record, list) = signed(&front(1, 1000), 5);
        fronts.add(&record, &list).unwrap();
        for (profile, template, now, code) in [
            (Profile::Standard, [8; 32], 0, None),
            (Profile::Standard, [0; 32], 0, None),
            (Profile::Extended, [7; 32], 0, None),
            (
                Profile::Extended,
                [7; 32],
                1001,
                Some(Code::L2_ORIGIN_MISMATCH),
            ),
            (
                Profile::Extended,
                [8; 32],
                0,
                Some(Code::L2_ORIGIN_MISMATCH),
            ),
            (
                Profile::Extended,
                [0; 32],
                0,
                Some(Code::L2_ORIGIN_MISMATCH),
            ),
        ] {
            assert_eq!(fronts.refusal(profile, &template, None, now), code);
        }
    }

    #[test]
    fn patterns_cover_a_name_or_those_below_one() {
        let mut exact = front(1, 1);
        for (host, covered) in [
            ("a.front.example", true),
            ("A.Front.Example", true),
            ("a.b.front.example", true),
            ("front.example", false),
            (".front.example", false),
            ("afront.example", false),
        ] {
            assert_eq!(exact.covers(host), covered, "{host}");
        }
        exact.host_pattern = "front.example".into();
        assert!(exact.covers("Front.example") && !exact.covers("a.front.example"));
    }

    #[test]
    fn records_of_other_types_and_profiles_are_refused() {
        let (all, list) = maintainers();
        let mut cases = vec![];
        for (ty, profile) in [("Maintainers", "STANDARD"), (TYPE, "STRICT")] {
            cases.push(cbor::to_vec(&Form {
                template: [7; 32],
                seq: 1,
                list: list.hash(),
                ty,
                expiry: 1,
                profile,
                host_pattern: "a",
            }));
        }
        for record in cases {
            let mut envelope = Envelope::new(record).unwrap();
            all.iter().for_each(|m| envelope.sign(m));
            let added = Fronts::default().add(&envelope, &list);
            assert_eq!(added, Err(FrontError::Kind));
        }
    }
}
