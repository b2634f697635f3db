//! Roles, permissions, and the part of the network that a grant covers.

use alloc::vec::Vec;

use betanet_fog::Word;
use betanet_wire::cbor;

use crate::Error;
use crate::words::words;

/// Most grants of one account.
pub const GRANTS_MAX: usize = 64;

words! {
    /// Role of an account in one or all namespaces.
    pub enum Role {
        /// Reads overview, nodes, tasks and jobs.
        Viewer = "viewer",
        /// Submits and cancels tasks and jobs, beside the rights of a viewer.
        Submitter = "submitter",
        /// Manages nodes, beside the rights of a submitter.
        Operator = "operator",
        /// Reads keysets, balances and holds, and manages vouchers.
        Treasurer = "treasurer",
        /// Reads everything, including the audit log, and changes nothing.
        Auditor = "auditor",
        /// Has every permission.
        Admin = "admin",
    }
}

words! {
    /// A right that a route asks for.
    pub enum Permission {
        /// The account's own password, sessions, tokens and passkeys.
        Own = "own",
        /// Overview, nodes, network, names and governance.
        Look = "look",
        /// Tasks and jobs of a namespace.
        ReadWork = "read-work",
        /// Submission and cancellation in a namespace.
        Submit = "submit",
        /// Registration, drain and maintenance of nodes; changes of names.
        Operate = "operate",
        /// Keysets, issue, redemption and alarms; balances and holds of tokens.
        ReadTreasury = "read-treasury",
        /// Changes to keysets and balances.
        Treasury = "treasury",
        /// The audit log.
        ReadAudit = "read-audit",
        /// Settings, without secrets.
        ReadSettings = "read-settings",
        /// Accounts, grants, and settings.
        Manage = "manage",
    }
}

/// Where a grant must hold for a permission.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// In any namespace.
    Any,
    /// In the namespace of the target.
    Namespace,
    /// In all namespaces.
    Everywhere,
}

impl Permission {
    /// Where a grant must hold.
    #[must_use]
    pub const fn reach(self) -> Reach {
        match self {
            Self::Own | Self::Look => Reach::Any,
            Self::ReadWork | Self::Submit => Reach::Namespace,
            _ => Reach::Everywhere,
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl Role {
    /// The permissions of the role.
    #[must_use]
    pub const fn permissions(self) -> Permissions {
        use Permission as P;
        Permissions::of(match self {
            Self::Viewer => &[P::Own, P::Look, P::ReadWork],
            Self::Submitter => &[P::Own, P::Look, P::ReadWork, P::Submit],
            Self::Operator => &[
                P::Own,
                P::Look,
                P::ReadWork,
                P::Submit,
                P::Operate,
                P::ReadSettings,
            ],
            Self::Treasurer => &[P::Own, P::Look, P::ReadTreasury, P::Treasury],
            Self::Auditor => &[
                P::Own,
                P::Look,
                P::ReadWork,
                P::ReadTreasury,
                P::ReadAudit,
                P::ReadSettings,
            ],
            Self::Admin => P::ALL,
        })
    }
}

/// A set of permissions: those of a role, or the scopes of a token.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Permissions(u16);

impl Permissions {
    /// All permissions: the scopes of a browser's session.
    pub const ALL: Self = Self::of(Permission::ALL);

    /// The set of these.
    #[must_use]
    pub const fn of(all: &[Permission]) -> Self {
        let (mut bits, mut i) = (0, 0);
        while i < all.len() {
            bits |= all[i].bit();
            i += 1;
        }
        Self(bits)
    }

    /// Whether the set has a permission.
    #[must_use]
    pub const fn has(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    /// The permissions of both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The permissions of either set.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The permissions, in the order of [`Permission::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL
            .iter()
            .copied()
            .filter(move |p| self.has(*p))
    }

    /// The set of words that spaces separate, each once and in the order of [`Permission::ALL`], so that a set has one text.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let mut out = Self::default();
        let mut last = None;
        for word in text.split(' ') {
            let next = Permission::from_word(word)?;
            if last >= Some(next) {
                return None;
            }
            last = Some(next);
            out.0 |= next.bit();
        }
        Some(out)
    }

    /// The words, separated by spaces.
    #[must_use]
    pub fn to_text(self) -> alloc::string::String {
        let words: Vec<&str> = self.iter().map(Permission::as_str).collect();
        words.join(" ")
    }
}

impl cbor::Encode for Permissions {
    fn encode(&self, w: &mut cbor::Writer) {
        w.text(&self.to_text());
    }
}

impl<'a> cbor::Decode<'a> for Permissions {
    fn decode(r: &mut cbor::Reader<'a>) -> Result<Self, cbor::Error> {
        match r.text()? {
            "" => Ok(Self::default()),
            text => Self::from_text(text).ok_or(cbor::Error::Range("permissions in their order")),
        }
    }
}

/// The namespaces of a grant.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Scope {
    /// All of them, those to come included.
    Everywhere,
    /// One.
    Namespace(Word),
}

/// A role in one or all namespaces.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Grant {
    /// The role.
    pub role: Role,
    /// The namespaces.
    pub scope: Scope,
}

impl Grant {
    /// A role in all namespaces.
    #[must_use]
    pub const fn everywhere(role: Role) -> Self {
        let scope = Scope::Everywhere;
        Self { role, scope }
    }

    /// A role in one namespace.
    #[must_use]
    pub const fn within(role: Role, namespace: Word) -> Self {
        let scope = Scope::Namespace(namespace);
        Self { role, scope }
    }

    fn covers(&self, reach: Reach, namespace: Option<&str>) -> bool {
        match (&self.scope, reach) {
            (Scope::Everywhere, _) | (_, Reach::Any) => true,
            (Scope::Namespace(own), Reach::Namespace) => namespace.is_some_and(|n| *own == *n),
            (Scope::Namespace(_), Reach::Everywhere) => false,
        }
    }
}

impl cbor::Encode for Grant {
    fn encode(&self, w: &mut cbor::Writer) {
        w.array(2);
        self.role.encode(w);
        match &self.scope {
            Scope::Everywhere => w.boolean(true),
            Scope::Namespace(word) => w.text(word),
        }
    }
}

impl<'a> cbor::Decode<'a> for Grant {
    fn decode(r: &mut cbor::Reader<'a>) -> Result<Self, cbor::Error> {
        let range = cbor::Error::Range("a role and its namespaces");
        if r.array()? != 2 {
            return Err(range);
        }
        let role = Role::decode(r)?;
        let scope = match r.kind()? {
            cbor::Kind::Bool if r.boolean()? => Scope::Everywhere,
            cbor::Kind::Text => Scope::Namespace(r.text()?.parse().map_err(|_| range)?),
            _ => return Err(range),
        };
        r.leave();
        Ok(Self { role, scope })
    }
}

/// The grants of an account, ascending and each once.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Grants(Vec<Grant>);

impl Grants {
    /// The set of these grants.
    ///
    /// # Errors
    ///
    /// [`Error::Full`].
    pub fn new(mut all: Vec<Grant>) -> Result<Self, Error> {
        all.sort_unstable();
        all.dedup();
        match all.len() <= GRANTS_MAX {
            true => Ok(Self(all)),
            false => Err(Error::Full(GRANTS_MAX)),
        }
    }

    /// The grants.
    #[must_use]
    pub fn as_slice(&self) -> &[Grant] {
        &self.0
    }

    /// Whether a grant allows it. `namespace` is that of the target; without one, a permission that reaches namespaces needs a grant
    /// for all of them.
    #[must_use]
    pub fn allow(&self, permission: Permission, namespace: Option<&str>) -> bool {
        let reach = permission.reach();
        let mut fitting = self.0.iter().filter(|g| g.covers(reach, namespace));
        fitting.any(|g| g.role.permissions().has(permission))
    }

    /// Whether a grant allows it in some namespace: a list is then shown, less the rows that [`Grants::allow`] refuses.
    #[must_use]
    pub fn allow_somewhere(&self, permission: Permission) -> bool {
        match permission.reach() {
            Reach::Everywhere => self.allow(permission, None),
            Reach::Any | Reach::Namespace => {
                let mut roles = self.0.iter().map(|g| g.role.permissions());
                roles.any(|p| p.has(permission))
            }
        }
    }

    /// Whether the account is an administrator of everything.
    #[must_use]
    pub fn are_admin(&self) -> bool {
        self.0.contains(&Grant::everywhere(Role::Admin))
    }
}

impl cbor::Encode for Grants {
    fn encode(&self, w: &mut cbor::Writer) {
        self.0.encode(w);
    }
}

impl<'a> cbor::Decode<'a> for Grants {
    fn decode(r: &mut cbor::Reader<'a>) -> Result<Self, cbor::Error> {
        let all = Vec::<Grant>::decode(r)?;
        let same = Self::new(all.clone()).is_ok_and(|g| g.0 == all);
        match same {
            true => Ok(Self(all)),
            false => Err(cbor::Error::Range("at most 64 ascending grants")),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn word(text: &str) -> Word {
        text.parse().unwrap()
    }

    #[test]
    fn a_grant_holds_in_its_namespace_only() {
        let grants = Grants::new(vec![
            Grant::within(Role::Submitter, word("lab")),
            Grant::within(Role::Admin, word("own")),
        ])
        .unwrap();
        assert!(grants.allow(Permission::Submit, Some("lab")));
        assert!(grants.allow(Permission::Submit, Some("own")));
        assert!(!grants.allow(Permission::Submit, Some("other")));
        assert!(!grants.allow(Permission::Submit, None));
        assert!(grants.allow_somewhere(Permission::Submit));
        // An administrator of a namespace manages no accounts and reads no audit.
        assert!(!grants.allow(Permission::Manage, Some("own")));
        assert!(!grants.allow_somewhere(Permission::ReadAudit));
        assert!(grants.allow(Permission::Look, None));
        assert!(!grants.are_admin());
        let all = Grants::new(vec![Grant::everywhere(Role::Submitter)]).unwrap();
        assert!(all.allow(Permission::Submit, Some("other")));
        assert!(all.allow(Permission::Submit, None));
        assert!(!Grants::default().allow(Permission::Own, None));
    }

    #[test]
    fn an_auditor_changes_nothing_and_an_admin_may_all() {
        let changing = [
            Permission::Submit,
            Permission::Operate,
            Permission::Treasury,
            Permission::Manage,
        ];
        for p in changing {
            assert!(!Role::Auditor.permissions().has(p), "{p}");
            assert!(!Role::Viewer.permissions().has(p), "{p}");
        }
        assert_eq!(Role::Admin.permissions(), Permissions::ALL);
        for role in Role::ALL {
            assert!(role.permissions().has(Permission::Own), "{role}");
        }
    }

    #[test]
    fn scopes_have_one_text() {
        let some = Permissions::of(&[Permission::Submit, Permission::Look]);
        assert_eq!(some.to_text(), "look submit");
        assert_eq!(Permissions::from_text("look submit"), Some(some));
        for bad in [
            "submit look",
            "look look",
            "look  submit",
            "look ",
            "Look",
            "",
        ] {
            assert_eq!(Permissions::from_text(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn grants_have_one_encoding_and_a_bound() {
        let grants = Grants::new(vec![
            Grant::everywhere(Role::Viewer),
            Grant::within(Role::Submitter, word("lab")),
            Grant::everywhere(Role::Viewer),
        ])
        .unwrap();
        assert_eq!(grants.as_slice().len(), 2);
        let bytes = cbor::to_vec(&grants);
        assert_eq!(cbor::from_slice::<Grants>(&bytes), Ok(grants.clone()));
        let turned: Vec<Grant> = grants.as_slice().iter().rev().cloned().collect();
        assert!(cbor::from_slice::<Grants>(&cbor::to_vec(&turned)).is_err());
        let many = |n: usize| {
            let namespace = |i| Grant::within(Role::Viewer, word(&alloc::format!("n{i}")));
            Grants::new((0..n).map(namespace).collect())
        };
        assert!(many(GRANTS_MAX).is_ok());
        assert_eq!(many(GRANTS_MAX + 1), Err(Error::Full(GRANTS_MAX)));
    }
}
