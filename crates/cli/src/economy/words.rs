//! Codes of refusals in words.

use betanet_tokenomics::Code;

/// What a refusal means, and what to do.
pub(crate) const fn meaning(code: Code) -> &'static str {
    match code {
        Code::Ok => "accepted",
        Code::Malformed => "the request's shape is wrong",
        Code::UnknownSigner => {
            "the signer has no account, or closed it: somebody with an account opens one with betanet token open KEYHEX"
        }
        Code::BadSignature => {
            "a signature does not verify: the account may have another key by now, or --account may be another's"
        }
        Code::IdReused => "the ID was used for something else",
        Code::Expired => {
            "the request's end of validity is over, or over a day away: look at this machine's clock"
        }
        Code::BadNonce => {
            "another request of this account is not under a final head yet: try again after the next head, within a minute"
        }
        Code::Busy => "too much is due at this moment; try again soon",
        Code::Paused => "the guardians paused this operation for three days",
        Code::LinkOpen => "the list of transfers ends inside a chain",
        Code::LinkFailed => "another transfer of the chain failed",
        Code::NotAllowed => "the signer or the account may not do this",
        Code::Unknown => "an account or proposal that is named does not exist",
        Code::Exists => "it exists already",
        Code::Closed => "the payee's account is closed",
        Code::Frozen => "the payer's account is frozen by a vote",
        Code::Over => "what is named has ended",
        Code::TooEarly => "its time has not come",
        Code::Jailed => "the node is jailed",
        Code::Once => "it was used before: an account votes once",
        Code::BadEvidence => "the evidence does not prove the offence",
        Code::NotCanonical => "a receipt is not the canonical result",
        Code::Conflict => "who is paid by a proposal does not vote on it",
        Code::LowPower => {
            "too little stake in the last snapshot, which is taken when an epoch ends"
        }
        Code::Cooldown => "the same was decided too recently",
        Code::Limit => "there are too many of this kind already",
        Code::Bounds => "a value is out of its bounds",
        Code::Exceeds => "it is more than there is",
        Code::NotEmpty => {
            "the account still has money, stake, a hold, a reservation or an open proposal"
        }
        Code::BelowMin => "it is less than the least bond of a node",
        Code::Funds => "too little FOG is available, the fee included",
        _ => "it was refused",
    }
}
