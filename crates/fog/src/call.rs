use betanet_keys::{Identity, PublicKey, hash};

use crate::{Refusal, RefusalCode, label};

/// Farthest that the time of a call may lie from the coordinator's clock, either way.
const SKEW_MS: u64 = 120_000;
/// Length of an authorization.
pub const AUTHORIZATION: usize = 32 + 8 + 64;

/// A request that a caller signs, because the mix does not name it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Public key of the coordinator that the request is for.
    pub coordinator: &'a PublicKey,
    /// The method's name.
    pub method: &'a str,
    /// The target, query included, exactly as sent.
    pub target: &'a str,
    /// The whole body.
    pub body: &'a [u8],
}

impl Call<'_> {
    fn with<T>(&self, body: &[u8; 32], ms: [u8; 8], then: impl FnOnce(&[&[u8]]) -> T) -> T {
        then(&[
            self.coordinator.as_bytes(),
            &ms,
            self.method.as_bytes(),
            self.target.as_bytes(),
            body,
        ])
    }

    /// The `authorization` header of the request at this time, in UNIX ms.
    #[must_use]
    pub fn sign(&self, caller: &Identity, now_ms: u64) -> [u8; AUTHORIZATION] {
        self.sign_hashed(&hash(&[self.body]), caller, now_ms)
    }

    /// Like [`Call::sign`] for a body with this hash, which need not be at hand; [`Call::body`] is not looked at.
    #[must_use]
    pub fn sign_hashed(
        &self,
        body: &[u8; 32],
        caller: &Identity,
        now_ms: u64,
    ) -> [u8; AUTHORIZATION] {
        let ms = now_ms.to_be_bytes();
        let sig = self.with(body, ms, |parts| caller.sign(label::CALL, parts));
        let mut out = [0; AUTHORIZATION];
        out[..32].copy_from_slice(caller.public().as_bytes());
        out[32..40].copy_from_slice(&ms);
        out[40..].copy_from_slice(&sig);
        out
    }

    /// The caller that an `authorization` header proves.
    ///
    /// # Errors
    ///
    /// `malformed` for another length, `sig_invalid` for another request, another coordinator, or a time 120 s off.
    pub fn verify(&self, authorization: &[u8], now_ms: u64) -> Result<PublicKey, Refusal> {
        self.verify_hashed(&hash(&[self.body]), authorization, now_ms)
    }

    /// Like [`Call::verify`] for a body with this hash, which need not be at hand; [`Call::body`] is not looked at.
    ///
    /// # Errors
    ///
    /// See [`Call::verify`].
    pub fn verify_hashed(
        &self,
        body: &[u8; 32],
        authorization: &[u8],
        now_ms: u64,
    ) -> Result<PublicKey, Refusal> {
        let malformed = RefusalCode::Malformed.of("authorization");
        let authorization: &[u8; AUTHORIZATION] =
            authorization.try_into().map_err(|_| malformed)?;
        let (key, rest) = authorization.split_first_chunk::<32>().ok_or(malformed)?;
        let (ms, sig) = rest.split_first_chunk::<8>().ok_or(malformed)?;
        let sig: &[u8; 64] = sig.try_into().map_err(|_| malformed)?;
        let invalid = RefusalCode::SigInvalid.bare();
        if u64::from_be_bytes(*ms).abs_diff(now_ms) > SKEW_MS {
            return Err(invalid);
        }
        let key = PublicKey::from_bytes(key).map_err(|_| invalid)?;
        self.with(body, *ms, |parts| key.verify(label::CALL, parts, sig))
            .map_err(|_| invalid)?;
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_call_is_signed() {
        let caller = Identity::from_seed(&[1; 32]);
        let leader = Identity::from_seed(&[2; 32]);
        let call = Call {
            coordinator: leader.public(),
            method: "POST",
            target: "/fog/1/plan?x=1",
            body: b"body",
        };
        let now = 1_790_000_000_000;
        let proof = call.sign(&caller, now);
        for at in [now - 120_000, now, now + 120_000] {
            assert_eq!(call.verify(&proof, at), Ok(*caller.public()));
        }
        let invalid = Err(RefusalCode::SigInvalid.bare());
        for at in [now - 120_001, now + 120_001, 0, u64::MAX] {
            assert_eq!(call.verify(&proof, at), invalid);
        }
        let others = [
            Call {
                coordinator: caller.public(),
                ..call
            },
            Call {
                method: "PUT",
                ..call
            },
            Call {
                target: "/fog/1/plan?x=2",
                ..call
            },
            Call { body: b"", ..call },
        ];
        for other in others {
            assert_eq!(other.verify(&proof, now), invalid);
        }
        for byte in 0..AUTHORIZATION {
            let mut changed = proof;
            changed[byte] ^= 1;
            assert_eq!(call.verify(&changed, now), invalid, "byte {byte}");
        }
        for length in [0, AUTHORIZATION - 1, AUTHORIZATION + 1] {
            let mut bytes = proof.to_vec();
            bytes.resize(length, 0);
            let malformed = RefusalCode::Malformed.of("authorization");
            assert_eq!(call.verify(&bytes, now), Err(malformed));
        }
    }
}
