//! Accounts, amounts and effects of proposals as people read them.

use betanet_keys::Name;
use betanet_tokenomics::account::MICRO;
use betanet_tokenomics::request::Effect;
use betanet_wire::NodeId;
use betanet_wire::text::hex;

use crate::rows::system_name;

/// An account: the name of a system account, or that of its first key.
#[must_use]
pub fn account(id: &NodeId) -> String {
    match system_name(id) {
        Some(name) => name.to_owned(),
        None => Name::from(*id).to_string(),
    }
}

/// µFOG as FOG, with the decimals that it needs.
#[must_use]
pub fn fog(micro: u128) -> String {
    let one = u128::from(MICRO);
    let text = format!("{}.{:06}", micro / one, micro % one);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// An effect. `before` is the value that a parameter has now.
#[must_use]
pub fn effect(effect: &Effect, before: Option<u64>) -> String {
    match effect {
        Effect::Param { param, value } => match before {
            Some(before) => format!("{}: {before} -> {value}", param.name()),
            None => format!("{} -> {value}", param.name()),
        },
        Effect::Spend { to, amt } => {
            let (amt, to) = (fog((*amt).into()), account(to));
            format!("the treasury pays {amt} FOG to {to}")
        }
        Effect::Role { role, members } => {
            let members: Vec<String> = members.iter().map(|m| member(m)).collect();
            format!("{} are {}", role.name(), members.join(", "))
        }
        Effect::Keyset { id, spender, exp } => {
            format!("keyset {} of {} until {exp} ms", hex(id), account(spender))
        }
        Effect::Freeze { id, on: true } => format!("{} is frozen", account(id)),
        Effect::Freeze { id, on: false } => format!("{} is thawed", account(id)),
        Effect::Upgrade { name, at } => format!("upgrade {name} at {at} ms"),
        Effect::Text => "nothing but its text".to_owned(),
    }
}

/// A member of a role: an account, or a signer's key.
#[must_use]
pub fn member(bytes: &[u8]) -> String {
    match <[u8; 20]>::try_from(bytes) {
        Ok(id) => account(&NodeId(id)),
        Err(_) => hex(bytes),
    }
}
