//! Tickets of version 1.1: `0x01 | client X25519 32 | key id 8 | nonce 32 | ticket 32 | pad 24..64`, base64url.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use betanet_keys::hash;
use betanet_wire::text::{base64url, unbase64url};
use hkdf::Hkdf;
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq as _};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::Reading;

const VERSION: u8 = 1;
const FIXED: usize = 1 + 32 + 8 + 32 + 32;
const PAD: RangeInclusive<usize> = 24..=64;
/// Maximum number of characters of a ticket.
pub(crate) const TEXT_MAX: usize = (FIXED + 64).div_ceil(3) * 4;

/// Why a ticket cannot be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// The padding is shorter than 24 or longer than 64 bytes.
    #[error("{0} bytes of padding; 24 to 64 are allowed")]
    Pad(usize),
    /// The shared secret with the server's ticket key is zero.
    #[error("the ticket key is of small order")]
    SmallOrder,
}

/// A server's ticket key.
pub struct TicketKey {
    secret: StaticSecret,
    public: [u8; 32],
    id: [u8; 8],
    reading: Reading,
}

impl core::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("TicketKey")
    }
}

/// Content of an accepted ticket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Admission {
    /// The client's X25519 key.
    pub client: [u8; 32],
    /// The hour of UNIX time for which the ticket is valid.
    pub hour: u64,
}

fn ticket(reading: &Reading, shared: &[u8; 32], id: &[u8; 8], hour: u64) -> Zeroizing<[u8; 32]> {
    let salt = hash(&[reading.ticket, id, &hour.to_be_bytes()]);
    let mut out = Zeroizing::new([0; 32]);
    // HKDF-SHA256 always yields 32 bytes; if it failed, the ticket would be zeros on one side only.
    if Hkdf::<Sha256>::new(Some(&salt), shared)
        .expand(&[], &mut out[..])
        .is_err()
    {
        out.fill(!0);
    }
    out
}

impl TicketKey {
    /// Derives the key from a secret; its ID is the first 8 bytes of the public key's SHA-256.
    #[must_use]
    pub fn new(secret: &[u8; 32], reading: Reading) -> Self {
        let secret = StaticSecret::from(*secret);
        let public = PublicKey::from(&secret).to_bytes();
        let [a, b, c, d, e, f, g, h, ..] = hash(&[&public]);
        Self {
            secret,
            public,
            id: [a, b, c, d, e, f, g, h],
            reading,
        }
    }

    /// The public key that clients use to make tickets.
    #[must_use]
    pub const fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// ID that distinguishes this key from the server's other keys.
    #[must_use]
    pub const fn id(&self) -> &[u8; 8] {
        &self.id
    }

    /// Checks a ticket for the previous, the current or the next hour. A malformed text takes the same work.
    #[must_use]
    pub fn open(&self, text: &str, unix_ms: u64) -> Option<Admission> {
        let bytes = (text.len() <= TEXT_MAX)
            .then(|| unbase64url(text))
            .flatten();
        let fits = bytes.as_ref().is_some_and(|b| {
            b.first() == Some(&VERSION) && PAD.contains(&b.len().saturating_sub(FIXED))
        });
        let mut fixed = [0; FIXED];
        if let Some(bytes) = bytes.filter(|_| fits) {
            fixed.copy_from_slice(&bytes[..FIXED]);
        }
        let (mut client, mut id, mut told) = ([0; 32], [0; 8], [0; 32]);
        client.copy_from_slice(&fixed[1..33]);
        id.copy_from_slice(&fixed[33..41]);
        told.copy_from_slice(&fixed[73..]);
        let shared = self.secret.diffie_hellman(&PublicKey::from(client));
        let now = unix_ms / 3_600_000;
        let mut found = Choice::from(0);
        let mut of = now;
        for hour in [now.saturating_sub(1), now, now + 1] {
            let right = ticket(&self.reading, shared.as_bytes(), &self.id, hour).ct_eq(&told);
            if right.into() {
                of = hour;
            }
            found |= right;
        }
        let mine = id.ct_eq(&self.id) & found & Choice::from(u8::from(fits));
        let good: bool = mine.into();
        (good && shared.was_contributory()).then_some(Admission { client, hour: of })
    }
}

/// Makes a ticket for a server's key, to be sent within the hour.
///
/// # Errors
///
/// [`TicketError`].
pub fn make_ticket(
    reading: &Reading,
    client: &[u8; 32],
    server: &[u8; 32],
    id: &[u8; 8],
    unix_ms: u64,
    nonce: &[u8; 32],
    pad: &[u8],
) -> Result<String, TicketError> {
    if !PAD.contains(&pad.len()) {
        return Err(TicketError::Pad(pad.len()));
    }
    let secret = StaticSecret::from(*client);
    let shared = secret.diffie_hellman(&PublicKey::from(*server));
    if !shared.was_contributory() {
        return Err(TicketError::SmallOrder);
    }
    let made = ticket(reading, shared.as_bytes(), id, unix_ms / 3_600_000);
    let mut out = Vec::with_capacity(FIXED + pad.len());
    out.push(VERSION);
    out.extend_from_slice(PublicKey::from(&secret).as_bytes());
    out.extend_from_slice(id);
    out.extend_from_slice(nonce);
    out.extend_from_slice(&made[..]);
    out.extend_from_slice(pad);
    Ok(base64url(&out))
}

/// The ticket that a request carries in exactly one of its cookies, its query and its form; `None` if two of them have one.
pub fn carried<'a>(
    reading: &Reading,
    cookies: impl Iterator<Item = &'a str>,
    query: Option<&'a str>,
    form: Option<&'a [u8]>,
) -> Option<&'a str> {
    let named = |pair: &'a str, name: &str| {
        let (key, value) = pair.split_once('=')?;
        (key.trim_ascii() == name && value.len() <= TEXT_MAX).then(|| value.trim_ascii())
    };
    let form = form.and_then(|f| core::str::from_utf8(f).ok());
    let fields = [query, form].into_iter().flatten();
    let fields = fields
        .flat_map(|f| f.split('&'))
        .filter_map(|p| named(p, reading.field));
    let cookies = cookies.flat_map(|c| c.split(';'));
    let mut all = cookies
        .filter_map(|p| named(p, reading.cookie))
        .chain(fields);
    let first = all.next()?;
    all.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const READING: Reading = Reading::PROFILE;

    fn made(key: &TicketKey, at: u64, pad: usize) -> Result<String, TicketError> {
        let (id, nonce) = (*key.id(), [3; 32]);
        make_ticket(
            &READING,
            &[7; 32],
            key.public(),
            &id,
            at,
            &nonce,
            &[0; 64][..pad],
        )
    }

    #[test]
    fn a_ticket_opens_in_its_hour_and_the_two_beside_it() {
        let key = TicketKey::new(&[9; 32], READING);
        let now = 500_000 * HOUR + 1234;
        let text = made(&key, now, 24).unwrap();
        let client = PublicKey::from(&StaticSecret::from([7; 32])).to_bytes();
        for at in [now - HOUR, now, now + HOUR] {
            let hour = now / HOUR;
            assert_eq!(key.open(&text, at), Some(Admission { client, hour }));
        }
        assert_eq!(key.open(&text, now + 2 * HOUR), None);
        assert_eq!(key.open(&text, now - 2 * HOUR), None);
        assert_eq!(TicketKey::new(&[8; 32], READING).open(&text, now), None);
    }

    #[test]
    fn a_changed_ticket_opens_nothing() {
        let key = TicketKey::new(&[9; 32], READING);
        let now = 500_000 * HOUR;
        let text = made(&key, now, 30).unwrap();
        let bytes = unbase64url(&text).unwrap();
        // The nonce and the padding are left out: they carry nothing to check.
        for at in (0..41).chain(73..105) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(key.open(&base64url(&changed), now), None, "byte {at}");
        }
        for len in [0, 1, 104, 128, 170] {
            let mut other = bytes.clone();
            other.resize(len, 0);
            assert_eq!(key.open(&base64url(&other), now), None, "{len} bytes");
        }
        let mut zero = bytes;
        zero[1..33].fill(0);
        assert_eq!(key.open(&base64url(&zero), now), None, "small order");
        for (pad, bad) in [(23, true), (24, false), (64, false)] {
            assert_eq!(made(&key, now, pad).is_err(), bad);
        }
        assert!(matches!(
            make_ticket(
                &READING, &[7; 32], &[0; 32], &[0; 8], now, &[0; 32], &[0; 24]
            ),
            Err(TicketError::SmallOrder)
        ));
    }

    #[test]
    fn it_is_carried_in_one_place() {
        let find = |cookies: &[&'static str], query, form| {
            carried(&READING, cookies.iter().copied(), query, form)
        };
        assert_eq!(find(&["a=1; __Host-bn1=xyz; b=2"], None, None), Some("xyz"));
        assert_eq!(find(&["a=1"], Some("q=2&bn1=xyz"), None), Some("xyz"));
        assert_eq!(find(&[], None, Some(b"bn1=xyz&more=1")), Some("xyz"));
        assert_eq!(find(&["__Host-bn1=x"], Some("bn1=x"), None), None);
        assert_eq!(find(&["__Host-bn1=x", "__Host-bn1=x"], None, None), None);
        assert_eq!(find(&["bn1=x"], Some("__Host-bn1=x"), Some(&[0xff])), None);
    }
}
