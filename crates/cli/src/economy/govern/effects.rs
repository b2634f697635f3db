//! Effects of proposals, as flags and as lines.

use betanet_economy_service::words::effect;
use betanet_tokenomics::request::{EFFECTS_MAX, Effect};
use betanet_tokenomics::{Param, Role, effects_of};
use betanet_wire::text::hex;

use super::super::amount::{account, key, micro};
use super::super::genesis::keyset;
use crate::Fail;
use crate::args::ProposeArgs;

/// Splits `NAME=VALUE`.
fn pair<'a>(flag: &str, text: &'a str) -> Result<(&'a str, &'a str), Fail> {
    let pair = text.split_once('=');
    pair.ok_or_else(|| Fail::Usage(format!("--{flag} {text}: NAME=VALUE is expected")))
}

fn number(flag: &str, text: &str) -> Result<u64, Fail> {
    let number = text.parse().ok();
    number.ok_or_else(|| Fail::Usage(format!("--{flag}: {text} is no number")))
}

/// The effects that the flags name, in the order of the flags.
pub(super) fn read(args: &ProposeArgs) -> Result<Vec<Effect>, Fail> {
    let mut effects = Vec::new();
    for text in &args.param {
        let (name, value) = pair("param", text)?;
        let param = Param::from_name(name);
        let param = param.ok_or_else(|| Fail::Usage(format!("--param: no parameter {name}")))?;
        let value = number("param", value)?;
        effects.push(Effect::Param { param, value });
    }
    for text in &args.spend {
        let (to, amount) = pair("spend", text)?;
        let (to, amt) = (account(to)?, micro(amount)?);
        effects.push(Effect::Spend { to, amt });
    }
    for text in &args.role {
        let (name, list) = pair("role", text)?;
        let role = Role::from_name(name);
        let role = role.ok_or_else(|| Fail::Usage(format!("--role: no role {name}")))?;
        let member = |text: &str| match role {
            Role::Signers => key(text).map(Vec::from),
            _ => account(text).map(|id| id.0.to_vec()),
        };
        let members: Result<Vec<_>, Fail> = list.split(',').map(member).collect();
        let mut members = members?;
        members.sort_unstable();
        effects.push(Effect::Role { role, members });
    }
    for file in &args.keyset {
        let (id, spender, exp) = keyset(file)?;
        effects.push(Effect::Keyset { id, spender, exp });
    }
    for (list, on) in [(&args.freeze, true), (&args.thaw, false)] {
        for text in list {
            let id = account(text)?;
            effects.push(Effect::Freeze { id, on });
        }
    }
    for text in &args.upgrade {
        let (name, at) = pair("upgrade", text)?;
        let (name, at) = (name.to_owned(), number("upgrade", at)?);
        effects.push(Effect::Upgrade { name, at });
    }
    if effects.is_empty() {
        effects.push(Effect::Text);
    }
    match effects.len() <= EFFECTS_MAX {
        true => Ok(effects),
        false => Err(Fail::Usage(format!(
            "a proposal has at most {EFFECTS_MAX} effects"
        ))),
    }
}

/// The effects of a proposal's row, in words.
pub(super) fn lines(raw: &[u8]) -> Vec<String> {
    let effects = effects_of(raw);
    match effects.is_empty() {
        false => effects.iter().map(|e| effect(e, None)).collect(),
        true => vec![format!("effects that do not read: {}", hex(raw))],
    }
}

#[cfg(test)]
mod tests {
    use betanet_tokenomics::request::Op;

    use super::*;

    #[test]
    fn effects_of_a_row_are_read_as_they_were_written() {
        let effects = vec![
            Effect::Param {
                param: Param::FeeTx,
                value: 200,
            },
            Effect::Text,
        ];
        let Op::Propose { raw, .. } = Op::propose(effects, [0; 32]) else {
            panic!("another operation");
        };
        assert_eq!(lines(&raw), ["fee_tx -> 200", "nothing but its text"]);
        assert_eq!(lines(&[0]).len(), 1);
    }
}
