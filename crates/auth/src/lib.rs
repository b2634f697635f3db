//! Accounts and the rules around them: roles, passwords, passkeys, sessions, tokens, limits, and the audit log.
//!
//! **Promises.** One table has all routes, with the permission that each asks for. A secret is stored hashed or derived, compared in
//! constant time, and never printed. Unknown and known accounts cost the same work. Strangers lock nobody out of a device that the
//! owner has used before. No token chooses its algorithm. Every table is bounded. Any change to the audit log before a head that
//! somebody kept is found.
//!
//! **Below:** `keys`, `log`, `fog` (words), `machine`, `wire`. **Above:** `panel`.
//! **Source:** RFC 9106 (argon2id), RFC 7519 and 9068 (JWT), RFC 8037 (EdDSA), RFC 9700 (refresh tokens), RFC 9162 (the log), WebAuthn
//! Level 2; OWASP, "Slow Down Online Guessing Attacks with Device Cookies".
//!
//! | part | what it is |
//! |---|---|
//! | [`routes`] | the table of routes, and the decision who may use which |
//! | [`admission`] | the checks of a request, in their order |
//! | [`Role`], [`Permission`], [`Grants`] | six roles in one or all namespaces |
//! | [`Accounts`], [`setup`] | accounts, and the code of the first administrator |
//! | [`password`], [`login`] | rules and hashes; guesses and the growing delay |
//! | [`webauthn`] | passkeys with ES256 and EdDSA |
//! | [`session`] | browsers: cookie, form token, host and origin |
//! | [`token`], [`jwt`], [`refresh`] | programs: API tokens, access tokens, refresh tokens |
//! | [`limit`], [`client`] | limits, and the address behind proxies |
//! | [`audit`] | the audit log and its verification |
//!
//! All are values. Time and randomness are arguments, and a change returns the record that the caller stores. Heavy arithmetic
//! ([`login::Guess`]) is apart from state: it can run on any thread.
//!
//! ```
//! use betanet_auth::{Accounts, Error, Grant, Grants, Permissions, Role, login, password, routes};
//! use betanet_auth::{ServerKey, session};
//! use betanet_machine::{Rng, Seed, Time};
//! use betanet_wire::ChargeTo;
//!
//! let (mut rng, now_ms) = (Rng::new(&Seed::from_number(1)), 1_800_000_000_000);
//! let mut accounts = Accounts::default();
//! // A server gives the score of zxcvbn here.
//! let new = password::Password::new("xK9!rQ2#vB7z", &["amelie"], |_, _| 4)?;
//! let grants = Grants::new([Grant::within(Role::Submitter, "lab".parse().unwrap())].into())?;
//! let mut scratch = password::Scratch::default();
//! let hash = new.hash(rng.array(), &mut scratch)?;
//! accounts.add(now_ms, rng.array(), "amelie", grants, Some(hash))?;
//!
//! // A login: the delay first, then the heavy part on another thread, then a session.
//! let mut logins = login::Logins::new(ServerKey::new(rng.array()));
//! let attempt = logins.begin(Time::ZERO, "amelie", ChargeTo::V4([192, 0, 2, 1]), None)?;
//! let account = accounts.find("amelie");
//! login::Guess::new(account, "xK9!rQ2#vB7z")?.check(&mut scratch)?;
//! logins.right(attempt);
//! let account = account.ok_or(Error::Bug)?;
//! let mut sessions = session::Sessions::default();
//! let opened = sessions.open(now_ms, account.id, account.generation, &mut rng)?;
//!
//! // A request: its route, its session, its account as it is now, and its rights.
//! let found = routes::find(routes::Method::Post, "/api/v1/tasks").unwrap();
//! let session = sessions.get(now_ms, &opened.token)?;
//! let account = accounts.live(session.account, session.generation)?;
//! let caller = routes::Rights { grants: &account.grants, scopes: Permissions::ALL };
//! assert_eq!(routes::decide(found.route, Some(caller), Some("lab")), Ok(()));
//! assert_eq!(routes::decide(found.route, Some(caller), Some("other")), Err(Error::Denied));
//! # Ok::<(), Error>(())
//! ```
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod account;
pub mod admission;
pub mod audit;
pub mod client;
mod error;
mod id;
mod json;
pub mod jwt;
pub mod limit;
pub mod login;
mod owned;
pub mod password;
pub mod refresh;
mod role;
pub mod routes;
mod secret;
pub mod session;
pub mod setup;
#[cfg(any(test, feature = "testkit"))]
#[doc(hidden)]
pub mod testkit;
pub mod token;
pub mod webauthn;
mod words;

pub use account::{ACCOUNTS_MAX, Account, Accounts, PASSKEYS_MAX};
pub use error::{Error, Foreign, Kind, PasskeyFault, PasswordFault};
pub use id::AccountId;
pub use password::PasswordHash;
pub use role::{GRANTS_MAX, Grant, Grants, Permission, Permissions, Reach, Role, Scope};
pub use secret::{Secret, ServerKey};
