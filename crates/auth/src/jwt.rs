//! Access tokens of the API: JWT in the one form that this server makes.
//!
//! A header is compared byte for byte with those of the live keys, so no token chooses an algorithm. A payload that passes the signature
//! must be the only encoding of its claims. Keys follow from the server's key and the day, so coordinators of a cluster agree.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use betanet_keys::{Identity, hash};
use betanet_machine::Rng;
use betanet_wire::text::{base64url, unbase64url};

use crate::json::Object;
use crate::secret::{Secret, ServerKey};
use crate::{AccountId, Error, Permissions};

/// Life of an access token, in seconds.
pub const LIFE: u64 = 600;
/// Longest access token that is looked at.
pub const JWT_MAX: usize = 2048;
/// Time by which the clocks of two coordinators may differ, in seconds.
pub const SKEW: u64 = 5;
/// Longest issuer or audience.
const PARTY_MAX: usize = 128;
const DAY: u64 = 86_400;

/// Claims of an access token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claims {
    /// Account: `sub`.
    pub account: AccountId,
    /// Generation of the account's credentials: `gen`.
    pub generation: u64,
    /// Permissions that the token leaves of its account's: `scope`.
    pub scopes: Permissions,
    /// Issue, in UNIX seconds: `iat`, and `nbf` too.
    pub issued: u64,
    /// Random ID: `jti`.
    pub id: [u8; 16],
}

impl Claims {
    /// Expiry, in UNIX seconds: `exp`.
    #[must_use]
    pub const fn expires(&self) -> u64 {
        self.issued.saturating_add(LIFE)
    }
}

/// The party that makes and takes access tokens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parties {
    issuer: String,
    audience: String,
}

impl Parties {
    /// Issuer and audience: 1 to 128 visible ASCII characters each, without quotes and backslashes; `None` for others.
    #[must_use]
    pub fn new(issuer: &str, audience: &str) -> Option<Self> {
        let letter = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
        let fits = |t: &str| (1..=PARTY_MAX).contains(&t.len()) && t.bytes().all(letter);
        (fits(issuer) && fits(audience)).then(|| Self {
            issuer: issuer.into(),
            audience: audience.into(),
        })
    }

    fn payload(&self, claims: &Claims) -> String {
        let Self { issuer, audience } = self;
        let (iat, exp) = (claims.issued, claims.expires());
        let (sub, scope, generation) = (claims.account, claims.scopes.to_text(), claims.generation);
        let jti = base64url(&claims.id);
        format!(
            r#"{{"iss":"{issuer}","sub":"{sub}","aud":"{audience}","exp":{exp},"nbf":{iat},"iat":{iat},"jti":"{jti}","scope":"{scope}","gen":{generation}}}"#
        )
    }

    fn claims(&self, payload: &[u8]) -> Option<Claims> {
        let object = Object::read(payload)?;
        let scopes = match object.text("scope")? {
            "" => Permissions::default(),
            text => Permissions::from_text(text)?,
        };
        let claims = Claims {
            account: AccountId::from_text(object.text("sub")?)?,
            generation: object.number("gen")?,
            scopes,
            issued: object.number("iat")?,
            id: unbase64url(object.text("jti")?)?.try_into().ok()?,
        };
        // Everything else is compared here: issuer, audience, times, order, spaces, names.
        (self.payload(&claims).as_bytes() == payload).then_some(claims)
    }
}

struct Key {
    day: u64,
    identity: Identity,
    kid: String,
    /// The header in base64url.
    header: String,
}

impl Key {
    fn new(server: &ServerKey, day: u64) -> Self {
        let identity = Identity::from_seed(&server.mac("jwt", &[&day.to_be_bytes()]));
        let of = hash(&[b"BN-AUTH-KID", identity.public().as_bytes()]);
        let kid = base64url(&of[..12]);
        let header = format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{kid}"}}"#);
        Self {
            day,
            identity,
            header: base64url(header.as_bytes()),
            kid,
        }
    }
}

/// The signing keys: one for each UNIX day. Those of yesterday, today and tomorrow are published, so that clients may keep the set for a
/// day. A key signs on its own day only, and its tokens count until they expire.
pub struct Keyring {
    server: ServerKey,
    parties: Parties,
    keys: Vec<Key>,
}

impl core::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Keyring(…)")
    }
}

impl Keyring {
    /// The keys of a server.
    #[must_use]
    pub const fn new(server: ServerKey, parties: Parties) -> Self {
        Self {
            server,
            parties,
            keys: Vec::new(),
        }
    }

    /// Derives the keys around this time, and forgets the others.
    fn turn(&mut self, now: u64) {
        let today = now / DAY;
        let days = today.saturating_sub(1)..=today.saturating_add(1);
        if self.keys.iter().map(|k| k.day).eq(days.clone()) {
            return;
        }
        self.keys = days.map(|day| Key::new(&self.server, day)).collect();
    }

    /// Makes an access token.
    #[must_use]
    pub fn issue(
        &mut self,
        now_ms: u64,
        account: AccountId,
        generation: u64,
        scopes: Permissions,
        rng: &mut Rng,
    ) -> Option<Secret> {
        let now = now_ms / 1000;
        self.turn(now);
        let key = self.keys.iter().find(|k| k.day == now / DAY)?;
        let claims = Claims {
            account,
            generation,
            scopes,
            issued: now,
            id: rng.array(),
        };
        let payload = self.parties.payload(&claims);
        Some(sign(key, payload.as_bytes()))
    }

    /// Checks an access token. The caller goes on with [`crate::Accounts::live`].
    ///
    /// # Errors
    ///
    /// [`Error::Credentials`] for anything that this server did not make for itself, or [`Error::Expired`].
    pub fn check(&mut self, now_ms: u64, token: &str) -> Result<Claims, Error> {
        let now = now_ms / 1000;
        self.turn(now);
        self.read(now, token)
            .ok_or(Error::Credentials)
            .and_then(|claims| match now < claims.expires() {
                true => Ok(claims),
                false => Err(Error::Expired),
            })
    }

    fn read(&self, now: u64, token: &str) -> Option<Claims> {
        if token.len() > JWT_MAX {
            return None;
        }
        let (signed, sig) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let key = self.keys.iter().find(|k| k.header == header)?;
        let sig: [u8; 64] = unbase64url(sig)?.try_into().ok()?;
        let public = key.identity.public();
        public.verify_message(signed.as_bytes(), &sig).ok()?;
        let claims = self.parties.claims(&unbase64url(payload)?)?;
        let own_day = claims.issued / DAY == key.day;
        (own_day && claims.issued <= now.saturating_add(SKEW)).then_some(claims)
    }

    /// The published key set (RFC 7517).
    #[must_use]
    pub fn jwks(&mut self, now_ms: u64) -> String {
        self.turn(now_ms / 1000);
        let key = |k: &Key| {
            let (kid, x) = (&k.kid, base64url(k.identity.public().as_bytes()));
            format!(
                r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","kid":"{kid}","use":"sig","alg":"EdDSA"}}"#
            )
        };
        let keys: Vec<String> = self.keys.iter().map(key).collect();
        format!(r#"{{"keys":[{}]}}"#, keys.join(","))
    }
}

#[cfg(any(test, feature = "testkit"))]
impl Keyring {
    /// Signs bytes with today's key, and checks them as a token.
    pub(crate) fn check_signed(&mut self, now_ms: u64, payload: &[u8]) -> Option<Claims> {
        let now = now_ms / 1000;
        self.turn(now);
        let key = self.keys.iter().find(|k| k.day == now / DAY)?;
        self.read(now, sign(key, payload).expose())
    }

    pub(crate) fn payload(&self, claims: &Claims) -> String {
        self.parties.payload(claims)
    }
}

fn sign(key: &Key, payload: &[u8]) -> Secret {
    let signed = format!("{}.{}", key.header, base64url(payload));
    let sig = key.identity.sign_message(signed.as_bytes());
    Secret::new(format!("{signed}.{}", base64url(&sig)))
}

#[cfg(test)]
mod tests;
