//! `ledger genesis`: the constants of a ledger, from a TOML file.

use std::collections::BTreeMap;

use betanet_runtime::NodeId;
use betanet_store::disk;
use betanet_tokenomics::account::{NODE, USER};
use betanet_tokenomics::{Genesis, GenesisDraft, Hash, Param, Role};
use betanet_voucher_service::LEDGER_UNIT;
use betanet_vouchers::{KEYSET_MAX, Keyset};
use betanet_wire::text::hex;
use serde::Deserialize;
use serde_json::json;

use super::amount::{account, key, micro};
use super::net::now_ms;
use crate::Fail;
use crate::args::GenesisArgs;

/// Fewest signers by which a head can be final.
const SIGNERS_LEAST: usize = 2;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    /// Start of epoch 0, in UNIX ms. By default now.
    t0_ms: Option<u64>,
    epoch_hours: Option<u64>,
    /// The same in seconds, for tests.
    epoch_seconds: Option<u64>,
    cap: Amount,
    base: Amount,
    halving: u64,
    treasury: Amount,
    signers: Vec<String>,
    #[serde(default)]
    guardians: Vec<String>,
    #[serde(default)]
    coordinators: Vec<String>,
    #[serde(default)]
    auditors: Vec<String>,
    #[serde(default)]
    alloc: Vec<Alloc>,
    #[serde(default)]
    params: BTreeMap<String, u64>,
    #[serde(default)]
    keysets: Vec<KeysetFile>,
}

/// A keyset of vouchers that the ledger lists.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysetFile {
    /// Its keyset.cbor; a relative path is from the folder of the TOML file.
    file: std::path::PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Alloc {
    key: String,
    amount: Amount,
    #[serde(default)]
    node: bool,
}

/// An amount of FOG: a whole number, or a text with decimals.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "an amount of FOG: a whole number such as 5, or a text such as \"0.25\""
)]
enum Amount {
    Whole(u64),
    Text(String),
}

impl Amount {
    fn micro(&self) -> Result<u64, Fail> {
        match self {
            Self::Whole(n) => micro(&n.to_string()),
            Self::Text(text) => micro(text),
        }
    }
}

/// Reads a keyset's file, and checks that a ledger can list it: its ID, the account of its spender, the end of its issue.
pub(super) fn keyset(file: &std::path::Path) -> Result<(Hash, NodeId, u64), Fail> {
    let place = file.display();
    let bytes = disk::read_bounded(file, KEYSET_MAX as u64).map_err(Fail::file(file))?;
    let seed = betanet_runtime::seed().map_err(|e| Fail::Local(e.to_string()))?;
    let mut rng = betanet_machine::Rng::new(&seed);
    let keyset = Keyset::check(&bytes, &mut rng);
    let keyset = keyset.map_err(|e| Fail::Usage(format!("{place}: {e}")))?;
    match keyset.unit() {
        LEDGER_UNIT => Ok((keyset.id().0, keyset.spender().node_id(), keyset.exp())),
        unit => Err(Fail::Usage(format!(
            "{place}: its unit is {unit}, and a ledger lists keysets of the unit {LEDGER_UNIT}"
        ))),
    }
}

pub(super) fn make(args: &GenesisArgs) -> Result<(), Fail> {
    let place = args.file.display();
    let text = std::fs::read_to_string(&args.file).map_err(Fail::file(&args.file))?;
    let usage = |why: &dyn std::fmt::Display| Fail::Usage(format!("{place}: {why}"));
    let file: File = toml::from_str(&text).map_err(|e| usage(&e))?;
    let within = |e: Fail| usage(&e.why());
    let epoch_ms = match (file.epoch_hours, file.epoch_seconds) {
        (None, None) => 86_400_000,
        (Some(hours), None) => hours.saturating_mul(3_600_000),
        (None, Some(seconds)) => seconds.saturating_mul(1_000),
        (Some(_), Some(_)) => return Err(usage(&"name epoch_hours or epoch_seconds, not both")),
    };
    if file.signers.len() < SIGNERS_LEAST {
        return Err(usage(
            &"two signers are the fewest by which a head can be final",
        ));
    }
    let mut alloc = Vec::new();
    for one in &file.alloc {
        let kind = if one.node { NODE } else { USER };
        let amount = one.amount.micro().map_err(within)?;
        alloc.push((key(&one.key).map_err(within)?, kind, amount));
    }
    let mut params = Vec::new();
    for (name, value) in &file.params {
        let param = Param::from_name(name).ok_or_else(|| usage(&format!("no parameter {name}")))?;
        let rule = param.rule();
        if !(rule.least..=rule.most).contains(value) {
            let why = format!("{name} is {} to {}", rule.least, rule.most);
            return Err(usage(&why));
        }
        params.push((param, *value));
    }
    let accounts = |list: &[String]| -> Result<Vec<Vec<u8>>, Fail> {
        let read = |text: &String| account(text).map(|id| id.0.to_vec());
        list.iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map_err(within)
    };
    let signers = file.signers.iter().map(|text| key(text).map(Vec::from));
    let signers = signers.collect::<Result<_, _>>().map_err(within)?;
    let roles = [
        (Role::Signers, signers),
        (Role::Guardians, accounts(&file.guardians)?),
        (Role::Coordinators, accounts(&file.coordinators)?),
        (Role::Auditors, accounts(&file.auditors)?),
    ];
    let folder = args.file.parent().unwrap_or(std::path::Path::new(""));
    let keysets = file.keysets.iter().map(|k| keyset(&folder.join(&k.file)));
    let keysets = keysets.collect::<Result<Vec<_>, _>>().map_err(within)?;
    let draft = GenesisDraft {
        name: &file.name,
        t0: file.t0_ms.unwrap_or_else(now_ms),
        epoch_ms,
        cap: file.cap.micro().map_err(within)?,
        base: file.base.micro().map_err(within)?,
        halving: file.halving,
        treasury: file.treasury.micro().map_err(within)?,
        alloc: &alloc,
        params: &params,
        roles: &roles,
        keysets: &keysets,
    };
    let bytes = draft.to_bytes();
    let genesis = Genesis::from_bytes(&bytes).map_err(|e| usage(&e))?;
    // Parameters are checked against each other when the machine starts.
    betanet_tokenomics::Economy::new(&bytes).map_err(|e| usage(&e))?;
    disk::write_new(&args.output, &bytes).map_err(Fail::file(&args.output))?;
    let id = hex(genesis.id());
    if args.json {
        say!(
            "{}",
            json!({ "genesis": id, "file": args.output, "bytes": bytes.len() })
        );
    } else {
        say!("ledger   {id}");
        say!("written  {}", args.output.display());
    }
    Ok(())
}
