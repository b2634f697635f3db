//! Amounts and accounts as people write them.

use betanet_keys::{Name, PublicKey};
use betanet_runtime::NodeId;
use betanet_tokenomics::account::{MICRO, SYSTEM, address};
use betanet_wire::text::unhex_array;

use crate::Fail;

/// Decimals of a FOG.
const DECIMALS: usize = 6;

/// Reads an amount of FOG, in millionths.
pub(crate) fn micro(text: &str) -> Result<u64, Fail> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    let good = !whole.is_empty() && digits(whole) && digits(part) && part.len() <= DECIMALS;
    let value = || {
        let whole: u64 = whole.parse().ok()?;
        let part: u64 = format!("{part:0<DECIMALS$}").parse().ok()?;
        whole.checked_mul(MICRO)?.checked_add(part)
    };
    let value = good.then(value).flatten().filter(|v| *v < 1 << 63);
    value.ok_or_else(|| {
        let why = "an amount in FOG, such as 5 or 0.25, with up to six decimals";
        Fail::Usage(format!("{text}: {why}"))
    })
}

/// Writes millionths as FOG.
pub(crate) fn fog(micro: u128) -> String {
    let (whole, part) = (micro / u128::from(MICRO), micro % u128::from(MICRO));
    match part {
        0 => whole.to_string(),
        part => format!("{whole}.{part:06}")
            .trim_end_matches('0')
            .to_owned(),
    }
}

/// Whether text is the name of a system account.
pub(crate) fn is_system(text: &str) -> bool {
    SYSTEM.iter().any(|(name, _)| *name == text)
}

/// Reads an account: its name, its first key, or the name of a system account.
pub(crate) fn account(text: &str) -> Result<NodeId, Fail> {
    if let Some((_, id)) = SYSTEM.iter().find(|(name, _)| *name == text) {
        return Ok(*id);
    }
    if let Some(key) = unhex_array::<32>(text) {
        return Ok(address(&key));
    }
    let name: Result<Name, _> = text.parse();
    name.map(|name| name.node_id()).map_err(|_| {
        let why = "an account is a name (bn1:…), a public key of 64 hex digits, or a system account such as treasury";
        Fail::Usage(format!("{text}: {why}"))
    })
}

/// Reads a public key.
pub(crate) fn key(text: &str) -> Result<[u8; 32], Fail> {
    let bytes = unhex_array::<32>(text).filter(|bytes| PublicKey::from_bytes(bytes).is_ok());
    bytes.ok_or_else(|| {
        let why = "a public key has 64 hex digits: betanet id show prints it";
        Fail::Usage(format!("{text}: {why}"))
    })
}

/// Reads an ID of 32 hex digits.
pub(crate) fn id(text: &str) -> Result<[u8; 16], Fail> {
    unhex_array(text).ok_or_else(|| Fail::Usage(format!("{text}: an ID has 32 hex digits")))
}

/// An account as people read it.
pub(crate) fn shown(id: &NodeId) -> String {
    match betanet_economy_service::rows::system_name(id) {
        Some(name) => name.to_owned(),
        None => Name::from(*id).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_written_exactly() {
        for (text, value) in [
            ("5", 5_000_000),
            ("0.25", 250_000),
            ("0.000001", 1),
            ("9000000000000.000001", 9_000_000_000_000_000_001),
        ] {
            assert_eq!(micro(text).unwrap(), value);
            assert_eq!(fog(value.into()), text);
        }
        let bad = [
            "",
            ".5",
            "1.0000001",
            "-1",
            "1e3",
            "1,5",
            "9300000000000",
            "x",
            "99999999999999999999",
        ];
        for text in bad {
            assert!(micro(text).is_err(), "{text}");
        }
        assert_eq!(micro("5.").unwrap(), 5_000_000);
    }
}
