//! Keysets under which a wallet issues.

use betanet_vouchers::{Keyset, Phase, Unfit};

use crate::Fail;

/// Refuses a keyset that so few may use that it names them. No ledger is asked: its ID has to be compared with the published one.
pub(super) fn fit<'k>(
    keyset: &Keyset,
    known: impl Iterator<Item = &'k Keyset>,
    unix_ms: u64,
) -> Result<(), Fail> {
    let refused = |why: String| {
        Fail::Usage(format!(
            "keyset {}: {why}; --any-keyset issues under it",
            keyset.id()
        ))
    };
    // A retiring keyset takes coupons of before.
    if keyset.fit_for_issue(unix_ms, 0) == Err(Unfit::TooShort) {
        return Err(refused(Unfit::TooShort.to_string()));
    }
    match rival(keyset, known, unix_ms) {
        Some(why) => Err(refused(why)),
        None => Ok(()),
    }
}

/// Why an active keyset has a rival: the users of its redemption service would be split.
pub(super) fn rival<'k>(
    keyset: &Keyset,
    mut known: impl Iterator<Item = &'k Keyset>,
    unix_ms: u64,
) -> Option<String> {
    if keyset.phase(unix_ms) != Phase::Active {
        return None;
    }
    let other = known.find(|other| {
        other.id() != keyset.id()
            && other.spender() == keyset.spender()
            && other.unit() == keyset.unit()
            && other.phase(unix_ms) == Phase::Active
    })?;
    Some(format!(
        "its redemption service has another active one of the unit {}, {}",
        keyset.unit(),
        other.id()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyset_that_names_its_users_is_refused() {
        use betanet_voucher_service::{Deal, mint_init};
        const DAY: u64 = 86_400_000;
        let home = tempfile::tempdir().unwrap();
        let mut rng = betanet_machine::Rng::new(&betanet_machine::Seed::from_number(1));
        let spender = *betanet_keys::Identity::from_seed(&[9; 32]).public();
        let mut keyset = |name: &str, begin: u64, days: u64| {
            let deal = Deal {
                t: 1,
                n: 1,
                unit: "credit",
                exponents: &[0],
                not_before: begin * DAY,
                exp: (begin + days) * DAY,
                spender,
            };
            let dealt = mint_init(&home.path().join(name), &deal, &mut rng);
            dealt.unwrap().keyset
        };
        let (one, two) = (keyset("one", 0, 90), keyset("two", 60, 90));
        let short = keyset("short", 0, 29);
        let all = [one.clone(), two.clone()];
        let at = |keyset: &Keyset, day: u64| fit(keyset, all.iter(), day * DAY);
        assert!(at(&short, 1).is_err());
        assert!(at(&one, 1).is_ok(), "the other is not active yet");
        assert!(at(&one, 70).is_err() && at(&two, 70).is_err());
        assert!(at(&one, 91).is_ok(), "it retires");
        assert!(at(&two, 91).is_ok());
    }
}
