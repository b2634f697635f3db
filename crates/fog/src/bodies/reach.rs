use betanet_keys::{Identity, PublicKey};

use crate::item::record;
use crate::{Level, Refusal, RefusalCode, label, to_vec};

/// Target of a coordinator's question to a node.
pub const REACH_TARGET: &str = "/fog/1/reach";

record! {
    /// `POST reach`: a coordinator asks a node over the mix. An answer proves the level.
    pub struct Reach {
        /// The level, over as many relays of which the question came.
        "level" level: Level,
        /// Drawn anew for each question.
        "nonce" nonce: [u8; 32],
    }
}

record! {
    /// Answer to [`Reach`].
    pub struct ReachAnswer {
        /// The node's signature.
        "sig" sig: [u8; 64],
    }
}

impl Reach {
    /// Answers as the node with this identity. `coordinator` is the key that asked.
    ///
    /// ```
    /// use betanet_fog::Level;
    /// use betanet_fog::bodies::Reach;
    /// use betanet_keys::Identity;
    ///
    /// let node = Identity::from_seed(&[1; 32]);
    /// let coordinator = *Identity::from_seed(&[2; 32]).public();
    /// let asked = Reach { level: Level::Private, nonce: [7; 32] };
    /// let answer = asked.answer(&node, &coordinator);
    /// assert_eq!(asked.check(&answer, node.public(), &coordinator), Ok(()));
    /// ```
    #[must_use]
    pub fn answer(&self, node: &Identity, coordinator: &PublicKey) -> ReachAnswer {
        let asked = to_vec(self);
        ReachAnswer {
            sig: node.sign(label::REACH, &[coordinator.as_bytes(), &asked]),
        }
    }

    /// Checks that the node with this key answered this question of this coordinator.
    ///
    /// # Errors
    ///
    /// `sig_invalid`.
    pub fn check(
        &self,
        answer: &ReachAnswer,
        node: &PublicKey,
        coordinator: &PublicKey,
    ) -> Result<(), Refusal> {
        let asked = to_vec(self);
        node.verify(label::REACH, &[coordinator.as_bytes(), &asked], &answer.sig)
            .map_err(|_| RefusalCode::SigInvalid.of("sig"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_for_its_node_coordinator_level_and_nonce_alone() {
        let [node, other] = [1, 2].map(|n| Identity::from_seed(&[n; 32]));
        let [leader, second] = [3, 4].map(|n| *Identity::from_seed(&[n; 32]).public());
        let asked = Reach {
            level: Level::Private,
            nonce: [7; 32],
        };
        let answer = asked.answer(&node, &leader);
        assert_eq!(asked.check(&answer, node.public(), &leader), Ok(()));
        let refused = Err(RefusalCode::SigInvalid.of("sig"));
        assert_eq!(asked.check(&answer, other.public(), &leader), refused);
        assert_eq!(asked.check(&answer, node.public(), &second), refused);
        let higher = Reach {
            level: Level::Secret,
            ..asked
        };
        assert_eq!(higher.check(&answer, node.public(), &leader), refused);
        let again = Reach {
            nonce: [8; 32],
            ..asked
        };
        assert_eq!(again.check(&answer, node.public(), &leader), refused);
    }
}
