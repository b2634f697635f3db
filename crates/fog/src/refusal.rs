use core::fmt;

use crate::word::words;

words! {
    /// Code of a refusal.
    pub enum RefusalCode {
        /// The bytes are not the record: a missing key, a wrong type, a length or range that no value has.
        Malformed = "malformed",
        /// A value is out of its bounds.
        BadValue = "bad_value",
        /// A record or a body is over its bound.
        TooLarge = "too_large",
        /// A blob has another digest.
        Digest = "digest",
        /// The text is not a join token.
        TokenMalformed = "token_malformed",
        /// The signature does not verify.
        SigInvalid = "sig_invalid",
        /// The join token is of another cluster, or its signature does not verify.
        TokenInvalid = "token_invalid",
        /// The resource belongs to another.
        NotYours = "not_yours",
        /// The caller's role does not allow the request.
        Role = "role",
        /// The join token is for other kinds, another node or another organisation.
        TokenScope = "token_scope",
        /// The request came directly, though the task travels over the mix.
        PrivacyRoute = "privacy_route",
        /// The resource is not known.
        Unknown = "unknown",
        /// The join token was used by another node, or revoked.
        TokenUsed = "token_used",
        /// The join token has expired.
        TokenExpired = "token_expired",
        /// A sequence number that is not above the last.
        SeqOld = "seq_old",
        /// The resource is in use.
        InUse = "in_use",
        /// The copy's fence is dead.
        FenceStale = "fence_stale",
        /// A second receipt under one fence that differs from the first.
        ReceiptConflict = "receipt_conflict",
        /// The task has ended.
        Ended = "ended",
        /// A job's version is not the last plus 1.
        Version = "version",
        /// The task would cost more than its budget.
        Budget = "budget",
        /// The auction's round takes no more of these.
        RoundClosed = "round_closed",
        /// The order is not the one committed to.
        CommitMismatch = "commit_mismatch",
        /// A log is continued at the wrong place.
        Offset = "offset",
        /// The namespace has used up its quota.
        Quota = "quota",
        /// Too many requests.
        Rate = "rate",
        /// Another coordinator leads; `location` names it.
        NotLeader = "not_leader",
        /// No node or path has the task's privacy level.
        PrivacyUnavailable = "privacy_unavailable",
        /// The coordinator's disk is nearly full.
        DiskFloor = "disk_floor",
    }
}

impl RefusalCode {
    /// The BAR status of the answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed
            | Self::BadValue
            | Self::TooLarge
            | Self::Digest
            | Self::TokenMalformed => 400,
            Self::SigInvalid | Self::TokenInvalid => 401,
            Self::NotYours | Self::Role | Self::TokenScope | Self::PrivacyRoute => 403,
            Self::Unknown => 404,
            Self::TokenUsed
            | Self::TokenExpired
            | Self::SeqOld
            | Self::InUse
            | Self::FenceStale
            | Self::ReceiptConflict
            | Self::Ended
            | Self::Version
            | Self::Budget
            | Self::RoundClosed
            | Self::CommitMismatch
            | Self::Offset => 409,
            Self::Quota | Self::Rate => 429,
            Self::NotLeader | Self::PrivacyUnavailable | Self::DiskFloor => 503,
        }
    }

    /// Whether the answer has a `retry-after` header.
    #[must_use]
    pub const fn retry_after(self) -> bool {
        matches!(self.status(), 429 | 503)
    }

    /// The refusal with this code and without a culprit.
    #[must_use]
    pub const fn bare(self) -> Refusal {
        Refusal {
            code: self,
            key: "",
        }
    }

    /// The refusal with this code, caused by this key.
    #[must_use]
    pub const fn of(self, key: &'static str) -> Refusal {
        Refusal { code: self, key }
    }
}

/// A refused request or record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Reason of the refusal.
    pub code: RefusalCode,
    /// The key whose value caused it; empty where no single key did.
    pub key: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key {
            "" => write!(f, "{}", self.code),
            key => write!(f, "{} ({key})", self.code),
        }
    }
}

impl core::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_status_and_its_word_reads_back() {
        assert_eq!(RefusalCode::ALL.len(), 29);
        for code in RefusalCode::ALL {
            assert_eq!(RefusalCode::from_word(code.as_str()), Some(*code));
            assert!([400, 401, 403, 404, 409, 429, 503].contains(&code.status()));
        }
        let of = |status| {
            RefusalCode::ALL
                .iter()
                .filter(|c| c.status() == status)
                .count()
        };
        assert_eq!(
            [400, 401, 403, 404, 409, 429, 503].map(of),
            [5, 2, 4, 1, 12, 2, 3]
        );
    }
}
