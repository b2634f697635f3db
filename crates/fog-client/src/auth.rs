//! The proof of the caller that each request over the mix carries.

use betanet_fog::{AUTHORIZATION, Digest, label};
use betanet_keys::{Identity, PublicKey};

/// A request whose body is known by its hash, so that a blob need not be held in memory.
pub(crate) struct Proof<'a> {
    /// Public key of the coordinator.
    pub(crate) coordinator: &'a PublicKey,
    /// Name of the method.
    pub(crate) method: &'a str,
    /// Target as sent, query included.
    pub(crate) target: &'a str,
    /// SHA-256 of the body.
    pub(crate) body: Digest,
}

impl Proof<'_> {
    /// The `authorization` header, as [`betanet_fog::Call::sign`] makes it.
    pub(crate) fn sign(&self, caller: &Identity, now_ms: u64) -> [u8; AUTHORIZATION] {
        let ms = now_ms.to_be_bytes();
        let parts: [&[u8]; 5] = [
            self.coordinator.as_bytes(),
            &ms,
            self.method.as_bytes(),
            self.target.as_bytes(),
            &self.body,
        ];
        let mut out = [0; AUTHORIZATION];
        out[..32].copy_from_slice(caller.public().as_bytes());
        out[32..40].copy_from_slice(&ms);
        out[40..].copy_from_slice(&caller.sign(label::CALL, &parts));
        out
    }
}

#[cfg(test)]
mod tests {
    use betanet_fog::Call;
    use betanet_keys::hash;

    use super::*;

    #[test]
    fn a_proof_over_a_hash_is_the_one_over_the_body() {
        let caller = Identity::from_seed(&[1; 32]);
        let coordinator = *Identity::from_seed(&[2; 32]).public();
        let proof = Proof {
            coordinator: &coordinator,
            method: "PUT",
            target: "/fog/1/blob/00?x=1",
            body: hash(&[b"content"]),
        };
        let call = Call {
            coordinator: &coordinator,
            method: "PUT",
            target: "/fog/1/blob/00?x=1",
            body: b"content",
        };
        let now = 1_790_000_000_000;
        let signed = proof.sign(&caller, now);
        assert_eq!(signed, call.sign(&caller, now));
        assert_eq!(call.verify(&signed, now), Ok(*caller.public()));
    }
}
