use betanet_wire::cbor;

/// Reason why a request, a secret or a change is refused.
///
/// Texts name no account and repeat nothing that the client sent, so they can be shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No credentials, or wrong ones. It does not tell which part is wrong.
    #[error("the credentials are missing or wrong")]
    Credentials,
    /// The token, session, challenge or code has expired, or was ended.
    #[error("it has expired or was ended")]
    Expired,
    /// A refresh token was used a second time; its family has ended.
    #[error("the refresh token was used before, so its family has ended; log in again")]
    Reused,
    /// A text has the form of a token, but its check digits are wrong.
    #[error("the token has a typing error: its check digits are wrong")]
    Typing,
    /// No role or scope of the caller allows it.
    #[error("no role or scope of the caller allows it")]
    Denied,
    /// The request did not come from a page of this site.
    #[error("the request did not come from a page of this site: {0}")]
    Foreign(Foreign),
    /// Too many requests.
    #[error("too many requests; retry in {} s", .0.div_ceil(1000))]
    Wait(u64),
    /// The password breaks a rule.
    #[error("the password {0}")]
    Password(PasswordFault),
    /// Not a name of an account: 1 to 63 of a-z 0-9 - _ .
    #[error("not a name of 1 to 63 of a-z 0-9 - _ .")]
    Name,
    /// Another account has the name, or the entry exists.
    #[error("it exists already")]
    Exists,
    /// There is no such entry.
    #[error("there is no such entry")]
    Unknown,
    /// More than the bound allows.
    #[error("more than {0}, which is the bound")]
    Full(usize),
    /// The last administrator cannot be removed, disabled or demoted.
    #[error("it would leave no administrator")]
    LastAdmin,
    /// The first administrator exists, so the code is void.
    #[error("the first administrator exists already")]
    Closed,
    /// A time or lifetime out of range.
    #[error("the lifetime is out of range")]
    Lifetime,
    /// A passkey's message breaks a rule.
    #[error("the passkey: {0}")]
    Passkey(PasskeyFault),
    /// A stored record does not decode.
    #[error("the record does not decode: {0}")]
    Form(cbor::Error),
    /// The password function refused its own constants.
    #[error("the password function failed")]
    Bug,
}

/// Rule for a browser's request that is broken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Foreign {
    /// The `Host` is not in the list.
    #[error("its Host is not one of this site's")]
    Host,
    /// The `Origin` is missing or another.
    #[error("its Origin is not this site's")]
    Origin,
    /// The form token is missing or wrong.
    #[error("its form token is missing or wrong")]
    FormToken,
}

/// Rule for passwords that is broken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordFault {
    /// Fewer characters than allowed.
    #[error("has fewer than 12 characters")]
    Short,
    /// More characters than allowed.
    #[error("has more than 128 characters")]
    Long,
    /// Too easy to guess.
    #[error("is easy to guess")]
    Weak,
}

/// Rule for passkeys that is broken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PasskeyFault {
    /// A part is longer than its bound.
    #[error("a part is too long")]
    Length,
    /// CBOR that is malformed, nested too deeply, or of indefinite length.
    #[error("malformed CBOR")]
    Cbor,
    /// Client data that are not the expected JSON.
    #[error("malformed client data")]
    ClientData,
    /// Client data of another ceremony.
    #[error("the client data are of another ceremony")]
    Ceremony,
    /// The challenge is another one.
    #[error("the challenge is not the one that was asked")]
    Challenge,
    /// The origin is not one of this site.
    #[error("the origin is not this site's")]
    Origin,
    /// The page was embedded in a page of another site.
    #[error("the page was embedded in another site's")]
    CrossOrigin,
    /// Authenticator data that are malformed.
    #[error("malformed authenticator data")]
    AuthenticatorData,
    /// The relying party is another one.
    #[error("made for another site")]
    RelyingParty,
    /// The user was not present, or not verified where that is asked.
    #[error("the user was not present or not verified")]
    User,
    /// An attestation other than `none`.
    #[error("an attestation other than none")]
    Attestation,
    /// A key of an algorithm other than ES256 and EdDSA, or a malformed one.
    #[error("not a valid key for ES256 or EdDSA")]
    Key,
    /// The signature does not verify.
    #[error("the signature does not verify")]
    Signature,
    /// The counter did not rise: the authenticator may have been copied.
    #[error("the counter did not rise: the authenticator may have been copied")]
    Counter,
    /// The credential is another one.
    #[error("another credential")]
    Credential,
}

/// Class of an error, by what the caller can do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// Log in, again or at all.
    LogIn,
    /// Nothing: the account is not allowed to.
    Refused,
    /// Wait, then retry.
    NotNow,
    /// Mend the request.
    Request,
    /// The state forbids it: it exists, does not exist, or is full.
    State,
    /// A broken invariant or a damaged store.
    Bug,
}

impl Error {
    /// The class of this error.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Credentials | Self::Expired | Self::Reused | Self::Typing => Kind::LogIn,
            Self::Denied | Self::Foreign(_) => Kind::Refused,
            Self::Wait(_) => Kind::NotNow,
            Self::Password(_) | Self::Name | Self::Lifetime | Self::Passkey(_) => Kind::Request,
            Self::Exists | Self::Unknown | Self::Full(_) | Self::LastAdmin | Self::Closed => {
                Kind::State
            }
            Self::Form(_) | Self::Bug => Kind::Bug,
        }
    }

    /// The HTTP status of an answer with this error.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Unknown => 404,
            Self::Foreign(Foreign::Host) => 421,
            _ => match self.kind() {
                Kind::LogIn => 401,
                Kind::Refused => 403,
                Kind::NotNow => 429,
                Kind::Request => 400,
                Kind::State => 409,
                Kind::Bug => 500,
            },
        }
    }

    /// Seconds for the field `Retry-After`, at least one; `None` where waiting does not help.
    #[must_use]
    pub const fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Wait(0) => Some(1),
            Self::Wait(ms) => Some(ms.div_ceil(1000)),
            _ => None,
        }
    }
}

impl From<PasskeyFault> for Error {
    fn from(fault: PasskeyFault) -> Self {
        Self::Passkey(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_when_to_come_back_and_what_to_do() {
        assert_eq!(Error::Wait(0).retry_after(), Some(1));
        assert_eq!(Error::Wait(1_001).retry_after(), Some(2));
        assert_eq!(Error::Denied.retry_after(), None);
        assert_eq!(Error::Wait(5).status(), 429);
        assert_eq!(Error::Reused.status(), 401);
        assert_eq!(Error::Foreign(Foreign::Host).status(), 421);
        assert_eq!(Error::Unknown.status(), 404);
        assert_eq!(Error::LastAdmin.kind(), Kind::State);
    }
}
