//! A task as a form or a JSON body describes it.

use betanet_fog::{
    Amounts, DAY_MS, Level, List, Module, Offline, Placement, Policy, RefusalCode, Resources,
    Retry, Strategy, Task, Text, Tier, Verification, Verify,
};
use betanet_fog_service::Local;
use betanet_wire::text::unhex_array;

use crate::fault::Fault;
use crate::form::Fields;

/// The fields of a task. `module` is the SHA-256 of a stored module in hex.
pub(crate) const FIELDS: [&str; 16] = [
    "ns",
    "module",
    "args",
    "tier",
    "level",
    "priority",
    "cpu",
    "memory_mib",
    "storage_mib",
    "fuel",
    "budget_micro",
    "timeout_s",
    "deadline_s",
    "output_mib",
    "strategy",
    "retries",
];

const MIB: u64 = 1 << 20;

fn word<T>(
    fields: &Fields,
    name: &'static str,
    default: T,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Fault> {
    match fields.get(name) {
        "" => Ok(default),
        text => read(text).ok_or(Fault::Field(name)),
    }
}

fn scaled(fields: &Fields, name: &'static str, default: u64, by: u64) -> Result<u64, Fault> {
    let n = fields.number(name, default)?;
    n.checked_mul(by).ok_or(Fault::Field(name))
}

/// Reads a task from fields. Two equal tasks differ by `nonce`. Missing fields have the defaults of `betanet task run`.
pub(crate) fn task(
    local: &Local,
    fields: &Fields,
    module: Option<[u8; 32]>,
    nonce: [u8; 16],
    now_ms: u64,
) -> Result<Task, Fault> {
    let ns = fields.get("ns").parse().map_err(|_| Fault::Field("ns"))?;
    let digest = match module {
        Some(digest) => digest,
        None => unhex_array(fields.get("module")).ok_or(Fault::Field("module"))?,
    };
    let size = local.stored(digest);
    let size = size.ok_or(Fault::Fog(RefusalCode::Digest.of("module")))?;
    let args: Result<Vec<Text>, _> = match fields.args() {
        Some(args) => args.iter().map(|a| a.parse()).collect(),
        None => {
            let lines = fields.raw("args").lines().filter(|l| !l.is_empty());
            lines.map(str::parse).collect()
        }
    };
    let args = args.map_err(|_| Fault::Field("args"))?;
    let tier = word(fields, "tier", Tier::Bronze, Tier::from_word)?;
    let level = word(fields, "level", Level::Public, Level::from_word)?;
    if level != Level::Public {
        // Its requests would have to come over the mix, which a browser does not use.
        return Err(Fault::Fog(RefusalCode::PrivacyRoute.of("level")));
    }
    let verify = match tier {
        Tier::Platinum => Verification {
            rule: Verify::Quorum,
            k: 2,
            n: 3,
        },
        _ => Verification::NONE,
    };
    let amounts = Amounts {
        cpu: fields.number("cpu", 1000)?,
        memory: scaled(fields, "memory_mib", 256, MIB)?,
        storage: scaled(fields, "storage_mib", 0, MIB)?,
        ..Amounts::default()
    };
    let deadline = scaled(fields, "deadline_s", DAY_MS / 1000, 1000)?;
    Ok(Task {
        ns,
        env: Default::default(),
        res: Resources::demand(amounts)?,
        rsv: None,
        args: List::try_from(args).map_err(|_| Fault::Field("args"))?,
        fuel: fields.number("fuel", 10_000_000_000)?,
        prio: fields.number("priority", 5)?,
        tier,
        after: List::new(),
        group: Default::default(),
        level,
        nonce,
        owner: *local.key().as_bytes(),
        place: Placement::default(),
        retry: Retry {
            most: fields.number("retries", 3)?,
            base: 1_000,
            cap: 60_000,
        },
        start: 0,
        budget: fields.number("budget_micro", 1_000_000)?,
        grants: List::new(),
        inputs: List::new(),
        module: Module { digest, size },
        run_ms: scaled(fields, "timeout_s", 600, 1000)?,
        verify,
        offline: Policy {
            rule: Offline::Replace,
            ms: 0,
        },
        out_max: scaled(fields, "output_mib", 16, MIB)?,
        deadline: now_ms
            .checked_add(deadline)
            .ok_or(Fault::Field("deadline_s"))?,
        strategy: word(
            fields,
            "strategy",
            Strategy::LeastLoaded,
            Strategy::from_word,
        )?,
    })
}
