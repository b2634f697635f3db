//! The functions behind the fuzz targets.

use alloc::format;
use alloc::string::ToString as _;
use alloc::vec::Vec;

use betanet_machine::{Rng, Seed};
use betanet_wire::cbor;

use crate::audit::{Record, SignedHead, verify};
use crate::client::{Network, Proxies};
use crate::jwt::{Keyring, Parties};
use crate::refresh::Families;
use crate::routes::{Method, find};
use crate::session::{SessionToken, Sessions, Site};
use crate::token::{ApiTokens, Shown, TokenId};
use crate::webauthn::{Assertion, Expected, Passkey, challenge_of, log_in, register};
use crate::{Account, AccountId, Accounts, Error, Permissions, ServerKey};

/// The challenge of the corpus of passkeys.
pub const CHALLENGE: [u8; 32] = [0x5a; 32];

fn expected() -> Expected<'static> {
    Expected {
        challenge: &CHALLENGE,
        domain: "panel.example",
        origins: &["https://panel.example"],
        verified: false,
    }
}

/// Texts of tokens, cookies, addresses, hosts and paths. Returns how many parsers took the text.
pub fn tokens(data: &[u8]) -> usize {
    let Ok(text) = core::str::from_utf8(data) else {
        return 0;
    };
    let mut taken = 0;
    if let Ok(shown) = Shown::from_text(text) {
        // The check digits make a second text of one token impossible.
        assert!(format!("{shown:?}").contains(&text[5..21]));
        taken += 1;
    }
    let mut families = Families::new(ServerKey::new([1; 32]));
    // A token of this key, whose family is gone.
    let refused = families.refresh(1, text).map(drop).map_err(|e| e.why);
    assert!(refused.is_err());
    taken += usize::from(refused == Err(Error::Expired));
    if let Some(id) = TokenId::from_text(text) {
        assert_eq!(id.to_string(), text);
        taken += 1;
    }
    if let Some(id) = AccountId::from_text(text) {
        assert_eq!(id.to_string(), text);
        taken += 1;
    }
    if let Some(scopes) = Permissions::from_text(text) {
        assert_eq!(scopes.to_text(), text);
        taken += 1;
    }
    if let Some(head) = SignedHead::from_text(text) {
        assert_eq!(head.to_string(), text);
        taken += 1;
    }
    if let Some(token) = SessionToken::from_cookies(text) {
        assert!(token.check_form(Some(text)).is_err());
        assert!(token.check_form(Some(token.form_token().expose())).is_ok());
        taken += 1;
    }
    let site = Site::new(&["panel.example"], true);
    let foreign = !text.eq_ignore_ascii_case("https://panel.example");
    assert_eq!(
        site.check_origin(Some("panel.example"), Some(text))
            .is_err(),
        foreign
    );
    taken += usize::from(!foreign);
    let networks = text.split(' ').take(8).filter_map(Network::from_text);
    let networks: Vec<Network> = networks.collect();
    taken += networks.len();
    let proxies = Proxies::new(networks).unwrap_or_default();
    let direct = core::net::IpAddr::from([10, 0, 0, 1]);
    let _ = proxies.client(direct, &[text, text]);
    assert_eq!(Proxies::default().client(direct, &[text]), direct);
    if let Ok(found) = find(Method::Get, text) {
        let mut variables = found.variables.iter();
        assert!(variables.all(|(_, value)| text.contains(value)));
        taken += 1;
    }
    taken
}

/// An access token: only this server's own is taken. Returns whether it, or the payload, was.
pub fn jwt(data: &[u8]) -> usize {
    const NOW: u64 = 1_800_000_000_000;
    let Some(parties) = Parties::new("https://panel.example", "betanet-api") else {
        return 0;
    };
    let mut taken = 0;
    let mut ring = Keyring::new(ServerKey::new([1; 32]), parties);
    let mut rng = Rng::new(&Seed::from_number(1));
    if let Ok(text) = core::str::from_utf8(data) {
        let account = AccountId([1; 16]);
        let own = ring.issue(NOW, account, 0, Permissions::ALL, &mut rng);
        let own = own.is_some_and(|own| own.expose() == text);
        assert_eq!(ring.check(NOW, text).is_ok(), own);
        taken += usize::from(own);
    }
    // The same bytes, signed by the server's own key.
    if let Some(claims) = ring.check_signed(NOW, data) {
        assert_eq!(ring.payload(&claims).as_bytes(), data);
        taken += 1;
    }
    taken
}

/// A registration or a login by passkey: a byte that tells which, then parts that each have two bytes of length before them.
/// Returns how many were good.
pub fn passkeys(data: &[u8]) -> usize {
    let Some((which, mut rest)) = data.split_first() else {
        return 0;
    };
    let mut part = || {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (part, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        rest = after;
        Some(part)
    };
    let (Some(client), Some(object)) = (part(), part()) else {
        return 0;
    };
    let _ = challenge_of(client);
    let made = register(1, "", client, object, &expected());
    if let Ok(passkey) = &made {
        let bytes = cbor::to_vec(passkey);
        assert_eq!(cbor::from_slice::<Passkey>(&bytes).as_ref(), Ok(passkey));
    }
    let taken = usize::from(made.is_ok());
    if which % 2 == 0 {
        return taken;
    }
    let (Ok(passkey), Some(client), Some(authenticator), Some(signature)) =
        (made, part(), part(), part())
    else {
        return taken;
    };
    let assertion = Assertion {
        credential: &passkey.id,
        client,
        authenticator,
        signature,
    };
    if let Ok(used) = log_in(&passkey, &assertion, &expected()) {
        assert!(used.count > passkey.count || used.count == 0);
        return taken + 1;
    }
    taken
}

/// Stored records: of the audit log, accounts, families of refresh tokens, sessions and API tokens. Returns how many parsers took it.
pub fn records(data: &[u8]) -> usize {
    let mut taken = 0;
    if let Ok(record) = Record::from_bytes(data) {
        assert_eq!(record.to_bytes(), data);
        let fits = record.seq == 0;
        assert_eq!(verify([data], &[]).is_ok(), fits);
        taken += 1;
    }
    if let Ok(account) = Account::from_bytes(data) {
        assert_eq!(
            Account::from_bytes(&account.to_bytes()).as_ref(),
            Ok(&account)
        );
        let mut all = Accounts::default();
        if all.restore(data).is_ok() {
            assert_eq!(all.find(&account.name), Some(&account));
            assert!(all.restore(data).is_err());
            taken += 1;
        }
    }
    let mut families = Families::new(ServerKey::new([1; 32]));
    taken += usize::from(families.restore(data).is_ok());
    taken += usize::from(Sessions::default().restore(data).is_ok());
    taken + usize::from(ApiTokens::default().restore(data).is_ok())
}
