//! Refusals in words: the meaning of each code, and the values that would have been allowed.

use betanet_fog::RefusalCode;

/// Meaning of a code.
#[must_use]
pub const fn meaning(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::Malformed => "the record or body lacks a key, or a value has the wrong type",
        RefusalCode::BadValue => "a value is out of its bounds",
        RefusalCode::TooLarge => "the record or body is too long",
        RefusalCode::Digest => "the blob has another SHA-256 than its name",
        RefusalCode::TokenMalformed => "the text is not a join token",
        RefusalCode::SigInvalid => "the signature does not verify",
        RefusalCode::TokenInvalid => "the join token is not one of this cluster",
        RefusalCode::NotYours => "the resource belongs to another key",
        RefusalCode::Role => "your key does not have the role for this",
        RefusalCode::TokenScope => "the join token is for other nodes",
        RefusalCode::PrivacyRoute => "the task's level does not allow this route",
        RefusalCode::Unknown => "the coordinator does not know it",
        RefusalCode::TokenUsed => "another node used the join token, or it was revoked",
        RefusalCode::TokenExpired => "the join token has expired",
        RefusalCode::SeqOld => "the sequence number is not above the last one",
        RefusalCode::InUse => "it is still in use",
        RefusalCode::FenceStale => "the copy's lease is over",
        RefusalCode::ReceiptConflict => "another receipt was given for this copy",
        RefusalCode::Ended => "the task has ended",
        RefusalCode::Version => "the version is not the next one",
        RefusalCode::Budget => "the task may cost more than its budget",
        RefusalCode::RoundClosed => "the auction's round does not take this now",
        RefusalCode::CommitMismatch => "the order is not the one committed to",
        RefusalCode::Offset => "the log goes on at another offset",
        RefusalCode::Quota => "a quota is used up",
        RefusalCode::Rate => "there were too many requests",
        RefusalCode::NotLeader => "this coordinator does not lead",
        RefusalCode::PrivacyUnavailable => "no node or path serves the task's level now",
        RefusalCode::DiskFloor => "the coordinator's disk is nearly full",
    }
}

/// The remedy, or the values that the culprit may have; empty if there is nothing to add.
#[must_use]
pub fn allowed(code: RefusalCode, key: &str) -> &'static str {
    match code {
        RefusalCode::BadValue => bounds(key),
        RefusalCode::Malformed if key == "authorization" => {
            "over the mix each request carries the caller's proof"
        }
        RefusalCode::Malformed => types(key),
        RefusalCode::TooLarge => {
            "a signed record has at most 64 KiB, a body 1 MiB, a piece of a log 64 KiB, a whole log 16 MiB, a blob 4 GiB"
        }
        RefusalCode::Digest => "send the content whose digest the path names",
        RefusalCode::TokenMalformed => "a token begins with bnj1; copy all of it",
        RefusalCode::SigInvalid => {
            "sign with the key that the record names, and set the clock within 120 s of the coordinator's"
        }
        RefusalCode::TokenInvalid | RefusalCode::TokenUsed | RefusalCode::TokenExpired => {
            "an operator makes another one: betanet node token"
        }
        RefusalCode::TokenScope => {
            "join with the kind, node and organisation that the token is for, or ask for another token"
        }
        RefusalCode::NotYours => "only the key that owns it may do this",
        RefusalCode::Role => match key {
            "ns" => "the coordinator's configuration must list your key for this namespace",
            _ => {
                "the coordinator's configuration must list your key: as an operator's, or for the namespace"
            }
        },
        RefusalCode::PrivacyRoute => {
            "private tasks travel over 3 relays of the mix, confidential ones over 5, secret ones over 7"
        }
        RefusalCode::Unknown => unknown(key),
        RefusalCode::SeqOld => "the next description or beat needs a higher one",
        RefusalCode::InUse => match key {
            "id" => "choose another ID, or repeat the same request",
            _ => "a node leaves once its copies have ended: drain it first",
        },
        RefusalCode::FenceStale => "the worker stops this copy; another may run",
        RefusalCode::ReceiptConflict => "one receipt counts for each fence",
        RefusalCode::Ended => "its result no longer changes; submit a new task",
        RefusalCode::Version => "a job's version is its last version plus 1",
        RefusalCode::Budget if key == "reservation" => {
            "this fog is paid in tokens: hold the whole budget first, with betanet task run --escrow"
        }
        RefusalCode::Budget => {
            "raise the budget, or ask for less fuel, fewer copies or a lower tier"
        }
        RefusalCode::RoundClosed => {
            "commitments are taken in the first 180 s of a round, reveals up to 240 s"
        }
        RefusalCode::CommitMismatch => "reveal exactly the order whose hash was committed",
        RefusalCode::Offset => "continue at the length of the log so far",
        RefusalCode::Quota => {
            "wait until tasks have ended or the day is over, or ask the operator for more"
        }
        RefusalCode::Rate => "send fewer requests at a time",
        RefusalCode::NotLeader => "name the coordinator that leads",
        RefusalCode::PrivacyUnavailable => "wait for nodes of this level, or lower the level",
        RefusalCode::DiskFloor => "its operator must free some space",
    }
}

fn unknown(key: &str) -> &'static str {
    match key {
        "module" | "inputs" => "store the blob first",
        "after" => "submit the tasks that it comes after first, in the same namespace",
        "tasks" => "submit the job's tasks first, in the same namespace",
        "rsv" => "name a reservation of your own that is running",
        _ => "it never existed here, or was forgotten 24 hours after its end",
    }
}

/// The bounds of a value, by its key.
const BOUNDS: &[(&str, &str)] = &[
    ("affinity", "weights are −100 to 100"),
    ("budget", "the budget is at least 1 µ"),
    ("bandwidth", "bandwidth is at most 2^40 bit/s"),
    ("cpu", "cpu is 1 to 4194304 thousandths of a core"),
    (
        "deadline",
        "the deadline lies in the future, within 30 days",
    ),
    ("exp", "the end of validity lies in the future"),
    (
        "fuel",
        "fuel is 1 to 2^60, and in a receipt at most the task's",
    ),
    (
        "gpu",
        "gpu is whole devices up to 64, or in a task a share of one",
    ),
    (
        "grants",
        "grants are clock, network and random, ascending, each once",
    ),
    ("hold", "a bid's hold covers its price times its lots"),
    (
        "inputs",
        "each input has a relative path of its own without '..', at most 4 GiB, and comes from a blob or a task in after",
    ),
    (
        "kinds",
        "name at least one kind: edge_device, relay, mixnode, compute, gateway",
    ),
    (
        "labels",
        "a label is not called kind, model, node, org, region or zone",
    ),
    ("level", "levels are public, private, confidential, secret"),
    ("memory", "memory is 1 byte to 2^50 bytes"),
    (
        "module",
        "the module has 1 byte to 64 MiB, and is the task's",
    ),
    ("name", "the name is not empty"),
    ("ns", "the namespace is not empty"),
    ("offline", "the time is at most 30 days, and 0 with replace"),
    (
        "org",
        "the organisation is not empty, and a node keeps the one it joined with",
    ),
    ("out", "a receipt names an output after ok and exit only"),
    ("out_max", "the output is at most 1 GiB"),
    ("price", "a node's price is 1 to 10^8 millionths"),
    ("prio", "the priority is 0 to 9"),
    ("qty", "an order has at most 10^6 lots"),
    (
        "relay",
        "relay is at most 2^40 bit/s, and at least 1 Mbit/s above the level public",
    ),
    ("rep", "reputation is 0 to 1000000 millionths"),
    ("retry", "at most 20 retries; 100 ms ≤ base ≤ cap ≤ 1 day"),
    ("rsv", "a reservation's ID has 16 bytes, or is empty"),
    ("run_ms", "the run time is 1 ms to 30 days"),
    ("start", "the start lies within 30 days"),
    ("state", "the state is not one of this list's"),
    ("storage", "storage is at most 2^50 bytes"),
    (
        "strategy",
        "strategies are round_robin, least_loaded, affinity, proximity, privacy_aware",
    ),
    ("tier", "tiers are bronze, silver, gold, platinum"),
    (
        "to",
        "a node can be asked to be active, draining, in maintenance or quarantined",
    ),
    (
        "verify",
        "none; spot; or quorum with 2 ≤ k ≤ n ≤ 15 and 2k > n; platinum needs a quorum of n ≥ 3, and grants need none",
    ),
];

fn bounds(key: &str) -> &'static str {
    let found = BOUNDS.iter().find(|(name, _)| *name == key);
    found.map_or("chapter 10 of the profile has the bounds", |(_, text)| text)
}

fn types(key: &str) -> &'static str {
    match key {
        "" => "both sides must speak the same version of betanet/fog/1.0.0",
        _ => {
            "words have up to 63 of a-z 0-9 - _ . and texts up to 1024 bytes; lists hold up to 64 items"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_a_meaning_of_its_own_and_a_remedy() {
        let mut seen = std::collections::BTreeSet::new();
        for code in RefusalCode::ALL {
            assert!(seen.insert(meaning(*code)), "{code}");
            assert!(!allowed(*code, "").is_empty(), "{code}");
        }
    }

    #[test]
    fn each_key_that_a_task_is_refused_for_has_its_bounds() {
        for key in [
            "ns", "cpu", "memory", "gpu", "relay", "fuel", "prio", "affinity", "rep", "retry",
            "budget", "grants", "inputs", "module", "run_ms", "verify", "offline", "out_max",
            "deadline", "org", "price", "labels", "exp", "kinds", "to", "qty", "hold",
        ] {
            let said = allowed(RefusalCode::BadValue, key);
            assert!(!said.contains("chapter"), "{key}: {said}");
        }
        assert!(BOUNDS.iter().all(|(_, text)| !text.ends_with('.')));
    }
}
