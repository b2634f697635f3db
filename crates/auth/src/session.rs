//! Browser sessions: opaque tokens in a cookie, stored hashed; form tokens; and the fields that tell a page of this site from another.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use betanet_keys::{hash, same};
use betanet_machine::Rng;
use betanet_wire::text::{base64url, unbase64url};
use betanet_wire::{cbor, message};
use zeroize::Zeroizing;

use crate::owned::{ByAccount, Owned};
use crate::secret::Secret;
use crate::{AccountId, Error, Foreign};

/// Name of the cookie. The prefix makes browsers refuse it from other hosts, other paths and without TLS.
pub const COOKIE: &str = "__Host-betanet";
/// Most sessions of one account; a further login ends the oldest.
pub const SESSIONS_AN_ACCOUNT: usize = 16;
/// Most sessions.
pub const SESSIONS_MAX: usize = 1 << 16;
/// Time without a request after which a session ends, in ms.
pub const IDLE: u64 = 12 * 3_600_000;
/// Longest life of a session, in ms.
pub const LIFE: u64 = 7 * 86_400_000;
/// Longest field `Cookie` that is read.
const COOKIES_MAX: usize = 8 << 10;
/// Time between two notes of a session's use, in ms, so that not each request is stored.
const NOTED: u64 = 60_000;

/// A session's hash, by which it is stored and named.
pub type SessionId = [u8; 32];

message! {
    /// A session, as it is stored.
    #[derive(Copy)]
    pub struct Session {
        /// Hash of the token.
        req "id" id: SessionId,
        /// Generation of the account's credentials at login.
        req "gen" generation: u64,
        /// Login, in UNIX milliseconds.
        req "made" made: u64,
        /// Last noted use, in UNIX milliseconds.
        req "used" used: u64,
        /// Account.
        req "account" account: AccountId,
    }
}

impl Session {
    /// The record to store.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(self)
    }

    const fn lives(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.used) < IDLE && now_ms.saturating_sub(self.made) < LIFE
    }
}

/// The token of a session, as the cookie holds it: 32 random bytes in base64url.
#[derive(Clone, Debug)]
pub struct SessionToken(Secret);

impl SessionToken {
    /// Reads the token from the field `Cookie`; `None` if it holds none, a malformed one, or several.
    #[must_use]
    pub fn from_cookies(field: &str) -> Option<Self> {
        if field.len() > COOKIES_MAX {
            return None;
        }
        let mut found = field.split(';').filter_map(own_cookie);
        let text = found.next().filter(|_| found.next().is_none())?;
        Self::from_text(text)
    }

    fn from_text(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(match text.len() {
            43 => unbase64url(text)?,
            _ => return None,
        });
        (bytes.len() == 32).then(|| Self(Secret::new(text.into())))
    }

    /// The hash by which the session is stored.
    #[must_use]
    pub fn id(&self) -> SessionId {
        hash(&[b"BN-AUTH-SESSION", self.0.expose().as_bytes()])
    }

    /// The field `Set-Cookie` of a login.
    #[must_use]
    pub fn set_cookie(&self) -> Secret {
        let seconds = LIFE / 1000;
        let text = format!(
            "{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={seconds}",
            self.0.expose()
        );
        Secret::new(text)
    }

    /// The token that each form of the session's pages holds. It is a hash of the session's token, so nothing is stored for it.
    #[must_use]
    pub fn form_token(&self) -> Secret {
        let token = self.0.expose().as_bytes();
        Secret::new(base64url(&hash(&[b"BN-AUTH-FORM", token])))
    }

    /// Checks a form's token, in constant time.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`].
    pub fn check_form(&self, given: Option<&str>) -> Result<(), Error> {
        let right = self.form_token();
        match same(given.unwrap_or("").as_bytes(), right.expose().as_bytes()) {
            true => Ok(()),
            false => Err(Error::Foreign(Foreign::FormToken)),
        }
    }
}

/// The value of a pair of the field `Cookie`, if it is the session's.
fn own_cookie(pair: &str) -> Option<&str> {
    let (name, value) = pair.trim_matches(' ').split_once('=')?;
    (name == COOKIE).then_some(value)
}

/// The field `Set-Cookie` of a logout.
#[must_use]
pub fn clear_cookie() -> String {
    format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0")
}

/// The sessions. A change is told by its return, for the caller to store.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    all: ByAccount<Session>,
}

impl Owned for Session {
    type Id = SessionId;
    const BOUNDS: (usize, usize) = (SESSIONS_MAX, SESSIONS_AN_ACCOUNT);

    fn id(&self) -> SessionId {
        self.id
    }

    fn account(&self) -> AccountId {
        self.account
    }

    fn since(&self) -> u64 {
        self.made
    }
}

/// A new session.
#[derive(Debug)]
pub struct Opened {
    /// Its token, for the cookie.
    pub token: SessionToken,
    /// Its record, to store.
    pub session: Session,
    /// The session that it ended, because the account had the most.
    pub ended: Option<SessionId>,
}

impl Sessions {
    /// Puts a stored session back.
    ///
    /// # Errors
    ///
    /// [`Error::Form`], [`Error::Exists`] or [`Error::Full`].
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.all
            .restore(cbor::from_slice(bytes).map_err(Error::Form)?)
    }

    /// Opens a session after a login. It always has a fresh token, so that nobody can have planted it.
    ///
    /// # Errors
    ///
    /// [`Error::Full`].
    pub fn open(
        &mut self,
        now_ms: u64,
        account: AccountId,
        generation: u64,
        rng: &mut Rng,
    ) -> Result<Opened, Error> {
        let bytes = Zeroizing::new(rng.array::<32>());
        let token = SessionToken(Secret::new(base64url(bytes.as_slice())));
        let ended = self.all.make_room(account);
        let session = Session {
            id: token.id(),
            generation,
            made: now_ms,
            used: now_ms,
            account,
        };
        self.all.add(session)?;
        Ok(Opened {
            token,
            session,
            ended,
        })
    }

    /// The session of a token. The caller goes on with [`crate::Accounts::live`].
    ///
    /// # Errors
    ///
    /// [`Error::Expired`], for an unknown one too.
    pub fn get(&self, now_ms: u64, token: &SessionToken) -> Result<&Session, Error> {
        let session = self.all.get(&token.id()).ok_or(Error::Expired)?;
        match session.lives(now_ms) {
            true => Ok(session),
            false => Err(Error::Expired),
        }
    }

    /// Notes that a session was used; its record if it is to be stored again, once a minute at most.
    pub fn note(&mut self, now_ms: u64, id: &SessionId) -> Option<Session> {
        let session = self.all.get_mut(id)?;
        if now_ms.saturating_sub(session.used) < NOTED {
            return None;
        }
        session.used = now_ms;
        Some(*session)
    }

    /// The sessions of an account.
    pub fn of(&self, account: AccountId) -> impl Iterator<Item = &Session> {
        self.all.of(account)
    }

    /// Ends a session.
    pub fn end(&mut self, id: &SessionId) -> Option<Session> {
        self.all.remove(id)
    }

    /// Ends sessions that have expired, and those that `live` refuses; their IDs.
    pub fn sweep(&mut self, now_ms: u64, live: impl Fn(&Session) -> bool) -> Vec<SessionId> {
        self.all.sweep(|s| !s.lives(now_ms) || !live(s))
    }

    /// Number of sessions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.len() == 0
    }
}

/// The names of this site: what `Host` and `Origin` may be.
#[derive(Clone, Debug, Default)]
pub struct Site {
    hosts: Vec<String>,
    scheme: &'static str,
}

impl Site {
    /// A site of these hosts, each with its port unless it is the scheme's own. Without TLS it is for a loopback address.
    #[must_use]
    pub fn new(hosts: &[&str], tls: bool) -> Self {
        Self {
            hosts: hosts.iter().map(|h| h.to_ascii_lowercase()).collect(),
            scheme: if tls { "https" } else { "http" },
        }
    }

    /// Checks the field `Host` of any request, against names of other sites that lead to this machine.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`].
    pub fn check_host(&self, host: Option<&str>) -> Result<(), Error> {
        let known = |h: &str| self.hosts.iter().any(|own| own.eq_ignore_ascii_case(h));
        match host.is_some_and(known) {
            true => Ok(()),
            false => Err(Error::Foreign(Foreign::Host)),
        }
    }

    /// Checks the field `Origin` of a browser's request that writes. It must be there, and of the host that the request names.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`].
    pub fn check_origin(&self, host: Option<&str>, origin: Option<&str>) -> Result<(), Error> {
        self.check_host(host)?;
        let same_host = |origin: &str| {
            let rest = origin.strip_prefix(self.scheme);
            let named = rest.and_then(|r| r.strip_prefix("://"));
            named.is_some_and(|n| host.is_some_and(|h| h.eq_ignore_ascii_case(n)))
        };
        match origin.is_some_and(same_host) {
            true => Ok(()),
            false => Err(Error::Foreign(Foreign::Origin)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use betanet_machine::Seed;

    use super::*;

    const A: AccountId = AccountId([1; 16]);

    fn rng() -> Rng {
        Rng::new(&Seed::from_number(3))
    }

    #[test]
    fn a_session_lives_while_it_is_used_and_a_week_at_most() {
        let (mut all, mut rng) = (Sessions::default(), rng());
        let opened = all.open(1_000, A, 7, &mut rng).unwrap();
        let token = &opened.token;
        assert_eq!(all.get(1_000, token).unwrap().generation, 7);
        assert_eq!(all.get(1_000 + IDLE, token).err(), Some(Error::Expired));
        assert_eq!(all.note(2_000, &token.id()), None);
        let mut now = 1_000;
        while now < 1_000 + LIFE - IDLE {
            now += IDLE - 1;
            assert!(all.get(now, token).is_ok());
            assert!(all.note(now, &token.id()).is_some());
        }
        assert_eq!(all.get(1_000 + LIFE, token).err(), Some(Error::Expired));
        assert_eq!(all.sweep(1_000 + LIFE, |_| true), [token.id()]);
        assert!(all.is_empty());
        // A clock that jumped back ends nothing.
        let opened = all.open(9_000, A, 7, &mut rng).unwrap();
        assert!(all.get(10, &opened.token).is_ok());
    }

    #[test]
    fn a_cookie_is_read_whole_or_not_at_all() {
        let mut rng = rng();
        let opened = Sessions::default().open(0, A, 0, &mut rng).unwrap();
        let set = opened.token.set_cookie();
        let set = set.expose();
        assert!(set.starts_with("__Host-betanet="));
        for attribute in ["Secure", "HttpOnly", "SameSite=Strict", "Path=/"] {
            assert!(set.contains(&format!("; {attribute}")), "{set}");
        }
        assert!(!set.contains("Domain"));
        let pair = set.split(';').next().unwrap();
        let id = |field: &str| SessionToken::from_cookies(field).map(|t| t.id());
        assert_eq!(id(pair), Some(opened.token.id()));
        assert_eq!(id(&format!("a=b; {pair}; c=d")), Some(opened.token.id()));
        for bad in [
            String::new(),
            "a=b".to_string(),
            format!("{pair}; {pair}"),
            format!("{pair}x"),
            pair[..pair.len() - 1].to_string(),
            pair.to_ascii_lowercase().replace("__host", "__HOST"),
            format!("{COOKIE}={}", "!".repeat(43)),
            format!("{pair}; x={}", "y".repeat(9000)),
        ] {
            assert_eq!(id(&bad), None, "{bad}");
        }
        assert!(clear_cookie().contains("Max-Age=0"));
    }

    #[test]
    fn a_form_token_is_its_sessions() {
        let (mut all, mut rng) = (Sessions::default(), rng());
        let one = all.open(0, A, 0, &mut rng).unwrap().token;
        let two = all.open(0, A, 0, &mut rng).unwrap().token;
        let form = one.form_token();
        assert_eq!(one.check_form(Some(form.expose())), Ok(()));
        let foreign = Err(Error::Foreign(Foreign::FormToken));
        assert_eq!(two.check_form(Some(form.expose())), foreign);
        assert_eq!(one.check_form(None), foreign);
        assert_eq!(one.check_form(Some("")), foreign);
        assert_ne!(form.expose(), one.0.expose());
    }

    #[test]
    fn sessions_are_bounded_and_the_oldest_of_an_account_makes_room() {
        let (mut all, mut rng) = (Sessions::default(), rng());
        let first = all.open(0, A, 0, &mut rng).unwrap();
        for n in 1..SESSIONS_AN_ACCOUNT as u64 {
            assert_eq!(all.open(n, A, 0, &mut rng).unwrap().ended, None);
        }
        let more = all.open(99, A, 0, &mut rng).unwrap();
        assert_eq!(more.ended, Some(first.session.id));
        assert_eq!(all.of(A).count(), SESSIONS_AN_ACCOUNT);
        assert_eq!(all.get(99, &first.token).err(), Some(Error::Expired));
        let mut n = 0_u128;
        while all.len() < SESSIONS_MAX {
            n += 1;
            let account = AccountId((n << 8).to_be_bytes());
            all.open(0, account, 0, &mut rng).unwrap();
        }
        let full = all.open(0, AccountId([9; 16]), 0, &mut rng).err();
        assert_eq!(full, Some(Error::Full(SESSIONS_MAX)));
        assert!(
            all.open(0, A, 0, &mut rng).is_ok(),
            "it ends an own one first"
        );
    }

    #[test]
    fn a_log_has_room_for_one_more_until_the_end_of_another() {
        let (mut all, mut rng) = (Sessions::default(), rng());
        let mut again = Sessions::default();
        for n in 0..SESSIONS_AN_ACCOUNT as u64 {
            let opened = all.open(n, A, 0, &mut rng).unwrap();
            again.restore(&opened.session.to_bytes()).unwrap();
        }
        let more = all.open(99, A, 0, &mut rng).unwrap();
        again.restore(&more.session.to_bytes()).unwrap();
        let another = all.open(99, A, 0, &mut rng).unwrap();
        let full = again.restore(&another.session.to_bytes());
        assert_eq!(full, Err(Error::Full(SESSIONS_MAX)));
        assert!(again.end(&more.ended.unwrap()).is_some());
        assert_eq!(again.of(A).count(), SESSIONS_AN_ACCOUNT);
    }

    #[test]
    fn a_stored_session_is_the_session() {
        let (mut all, mut rng) = (Sessions::default(), rng());
        let opened = all.open(5, A, 2, &mut rng).unwrap();
        let mut again = Sessions::default();
        let bytes = opened.session.to_bytes();
        again.restore(&bytes).unwrap();
        assert_eq!(again.get(6, &opened.token).unwrap(), &opened.session);
        assert_eq!(again.restore(&bytes), Err(Error::Exists));
        // The token itself is not stored.
        let token = opened.token.0.expose();
        let raw = unbase64url(token).unwrap();
        assert!(!bytes.windows(32).any(|w| w == raw));
        assert!(again.end(&opened.session.id).is_some());
        assert!(again.end(&opened.session.id).is_none());
        assert_eq!(again.of(A).count(), 0);
    }

    #[test]
    fn host_and_origin_are_this_sites() {
        let site = Site::new(&["panel.example", "127.0.0.1:9464"], true);
        let host = |h: &str| site.check_host(Some(h)).is_ok();
        assert!(host("panel.example") && host("PANEL.example") && host("127.0.0.1:9464"));
        assert!(
            !host("evil.example")
                && !host("panel.example:444")
                && !host("")
                && !host("panel.example.")
        );
        assert!(site.check_host(None).is_err());
        let origin = |h: &str, o: Option<&str>| site.check_origin(Some(h), o).is_ok();
        assert!(origin("panel.example", Some("https://panel.example")));
        for bad in [
            None,
            Some("null"),
            Some(""),
            Some("http://panel.example"),
            Some("https://evil.example"),
            Some("https://panel.example.evil.example"),
            Some("https://panel.example/"),
            Some("https://127.0.0.1:9464"),
            Some("https:panel.example"),
            Some("panel.example"),
        ] {
            assert!(!origin("panel.example", bad), "{bad:?}");
        }
        assert!(!origin("evil.example", Some("https://evil.example")));
    }
}
