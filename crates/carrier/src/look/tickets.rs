//! Tickets that resume, with OpenSSL's length. Their keys are random, rotate, and are wiped; the key name at the start of a
//! ticket stays, as nginx's does for the life of its process.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hkdf::Hkdf;
use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::crypto::SecureRandom;
use rustls::server::{ProducesTickets, StoresServerSessions};
use sha2::Sha256;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::Error;

/// Lifetime of a ticket in seconds: nginx's `ssl_session_timeout`, 5 minutes. rustls leaves it to the keys, which live longer.
const LIFETIME: u32 = 300;
/// Time for which a key seals; it opens for as long again.
const ROTATION: Duration = Duration::from_secs(600);
const NAME: usize = 16;
const SALT: usize = 16;
const TAG: usize = 16;

type Secret = Zeroizing<[u8; 32]>;

struct Keys {
    now: Secret,
    before: Option<Secret>,
    since: Instant,
}

/// Seals and opens tickets.
pub(super) struct Tickets {
    random: &'static dyn SecureRandom,
    name: [u8; NAME],
    /// Reference point of ticket times.
    began: Instant,
    keys: Mutex<Keys>,
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

fn drawn(random: &dyn SecureRandom) -> Option<Secret> {
    let mut out = Secret::default();
    random.fill(&mut out[..]).ok()?;
    Some(out)
}

/// Key of one ticket: each ticket has its own, so that the nonce may be zero.
fn key(secret: &Secret, salt: &[u8]) -> Option<LessSafeKey> {
    let mut key = Zeroizing::new([0; 32]);
    let hkdf = Hkdf::<Sha256>::new(Some(salt), &secret[..]);
    hkdf.expand(b"ticket", &mut key[..]).ok()?;
    Some(LessSafeKey::new(
        UnboundKey::new(&aead::AES_256_GCM, &key[..]).ok()?,
    ))
}

/// First fields of a session as rustls writes it, which determine the length of OpenSSL's ASN.1.
struct Session {
    name: usize,
    tls13: bool,
    secret: usize,
    alpn: usize,
}

impl Session {
    fn of(plain: &[u8]) -> Option<Self> {
        let (named, mut rest) = plain.split_first()?;
        let mut name = 0;
        if *named == 1 {
            let (len, behind) = rest.split_first()?;
            name = usize::from(*len);
            rest = behind.get(name..)?;
        }
        let tls13 = rest.get(..2)? == [3, 4];
        let (secret, behind) = rest.get(4..)?.split_first()?;
        let secret = usize::from(*secret);
        let rest = behind.get(secret..)?;
        // The flag of the extended master secret, and no client certificate chain.
        let (flags, rest) = rest.split_at_checked(2)?;
        let alpn = match (flags[1], rest.split_first()?) {
            (0, (1, rest)) => usize::from(*rest.first()?),
            _ => 0,
        };
        Some(Self {
            name,
            tls13,
            secret,
            alpn,
        })
    }

    /// Length of OpenSSL's ticket: the key's name, an IV, the session in ASN.1 under AES-CBC, a MAC of 32 bytes.
    fn ticket(&self) -> usize {
        let explicit = |len: usize| if len == 0 { 0 } else { len + 4 };
        // Version, protocol, cipher, time, timeout, and nginx's context of 20 bytes.
        let mut len = 3 + 4 + 4 + 8 + 6 + 24;
        len += 2 + self.secret + explicit(self.name) + explicit(self.alpn);
        // The flag of the extended master secret; the session ID and the age mask, or neither.
        len += 5 + if self.tls13 { 34 + 9 } else { 2 };
        len += if len < 128 { 2 } else { 3 };
        16 + 16 + (len / 16 + 1) * 16 + 32
    }
}

impl Tickets {
    pub(super) fn new(random: &'static dyn SecureRandom) -> Result<Self, Error> {
        let failed = || Error::Pem("the system gives no random bytes");
        let mut name = [0; NAME];
        random.fill(&mut name).map_err(|_| failed())?;
        let began = Instant::now();
        let keys = Mutex::new(Keys {
            now: drawn(random).ok_or_else(failed)?,
            before: None,
            since: began,
        });
        Ok(Self {
            random,
            name,
            began,
            keys,
        })
    }

    /// Whole seconds since the first ticket could be made, as OpenSSL counts them.
    fn seconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs()
    }

    /// The present sealing key, and the previous one, which still opens.
    fn keys(&self, now: Instant) -> (Secret, Option<Secret>) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let age = now.saturating_duration_since(keys.since);
        if age >= ROTATION
            && let Some(fresh) = drawn(self.random)
        {
            let last = std::mem::replace(&mut keys.now, fresh);
            keys.before = (age < 2 * ROTATION).then_some(last);
            keys.since = now;
        }
        (keys.now.clone(), keys.before.clone())
    }

    fn seal(&self, plain: &[u8], now: Instant) -> Option<Vec<u8>> {
        let whole = Session::of(plain).map_or(0, |s| s.ticket());
        let mut salt = [0; SALT];
        self.random.fill(&mut salt).ok()?;
        let mut sealed = self.seconds(now).to_be_bytes().to_vec();
        sealed.extend(u16::try_from(plain.len()).ok()?.to_be_bytes());
        sealed.extend_from_slice(plain);
        let fixed = NAME + SALT + TAG;
        sealed.resize(sealed.len().max(whole.saturating_sub(fixed)), 0);
        let key = key(&self.keys(now).0, &salt)?;
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        key.seal_in_place_append_tag(nonce, Aad::from(self.name), &mut sealed)
            .ok()?;
        Some([&self.name[..], &salt, &sealed].concat())
    }

    fn open(&self, ticket: &[u8], now: Instant) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (salt, sealed) = rest.split_first_chunk::<SALT>()?;
        if *name != self.name {
            return None;
        }
        let (current, before) = self.keys(now);
        let plain = [Some(current), before]
            .into_iter()
            .flatten()
            .find_map(|secret| {
                let mut sealed = Zeroizing::new(sealed.to_vec());
                let nonce = Nonce::assume_unique_for_key([0; 12]);
                let key = key(&secret, salt)?;
                let plain = key.open_in_place(nonce, Aad::from(self.name), &mut sealed);
                plain.ok().map(|p| Zeroizing::new(p.to_vec()))
            })?;
        let (made, rest) = plain.split_first_chunk::<8>()?;
        let age = self.seconds(now).saturating_sub(u64::from_be_bytes(*made));
        let (len, rest) = rest.split_first_chunk::<2>()?;
        if age > LIFETIME.into() {
            return None;
        }
        let session = rest.get(..usize::from(u16::from_be_bytes(*len)))?;
        Some(session.to_vec())
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, Instant::now())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, Instant::now())
    }
}

/// Names sessions and stores none, as nginx without `ssl_session_cache` does.
#[derive(Debug)]
pub(super) struct Forgetful;

impl StoresServerSessions for Forgetful {
    fn put(&self, _: Vec<u8>, _: Vec<u8>) -> bool {
        false
    }

    fn get(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn take(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A session as rustls writes it.
    fn session(name: &str, version: [u8; 2], secret: usize, alpn: &str) -> Vec<u8> {
        let mut out = vec![0];
        if !name.is_empty() {
            out = vec![1, u8::try_from(name.len()).unwrap()];
            out.extend(name.bytes());
        }
        out.extend(version);
        out.extend([0x13, 2, u8::try_from(secret).unwrap()]);
        out.resize(out.len() + secret, 7);
        out.extend([1, 0]);
        out.push(u8::from(!alpn.is_empty()));
        if !alpn.is_empty() {
            out.push(u8::try_from(alpn.len()).unwrap());
            out.extend(alpn.bytes());
        }
        out.extend([0; 14]);
        out
    }

    fn tickets() -> Tickets {
        Tickets::new(rustls::crypto::aws_lc_rs::default_provider().secure_random).unwrap()
    }

    #[test]
    fn tickets_are_as_long_as_openssls_and_open() {
        let tickets = tickets();
        let now = Instant::now();
        // Lengths of tickets that nginx was seen to send.
        for (plain, len) in [
            (session("localhost", [3, 4], 48, "h2"), 240),
            (session("localhost", [3, 4], 48, "http/1.1"), 240),
            (session("localhost", [3, 4], 48, ""), 240),
            (session("", [3, 4], 48, "http/1.1"), 240),
            (session("localhost", [3, 4], 32, "http/1.1"), 224),
            (session("localhost", [3, 3], 48, ""), 192),
        ] {
            let ticket = tickets.seal(&plain, now).unwrap();
            assert_eq!(ticket.len(), len);
            assert_eq!(tickets.open(&ticket, now).unwrap(), plain);
        }
    }

    #[test]
    fn a_ticket_opens_while_it_lives_and_not_for_ever() {
        let tickets = tickets();
        let now = Instant::now();
        let plain = session("localhost", [3, 4], 48, "h2");
        let second = Duration::from_secs(1);
        let made = now + ROTATION - second;
        let ticket = tickets.seal(&plain, made).unwrap();
        // Under the previous key, and for 5 minutes.
        let alive = made + LIFETIME * second;
        assert_eq!(tickets.open(&ticket, alive).unwrap(), plain);
        assert_eq!(tickets.open(&ticket, alive + second), None);
        // The name of the key stays.
        let later = tickets.seal(&plain, alive).unwrap();
        assert_eq!(later[..NAME], ticket[..NAME]);
        assert_eq!(tickets.open(&ticket, alive + 2 * ROTATION), None);
        let mut changed = later.clone();
        changed[40] ^= 1;
        assert_eq!(tickets.open(&changed, alive), None);
        assert_eq!(tests::tickets().open(&later, alive), None);
    }
}
