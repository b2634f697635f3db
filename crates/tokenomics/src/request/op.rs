use alloc::vec::Vec;

use betanet_wire::NodeId;
use betanet_wire::cbor::{Error as Cbor, Reader};

use super::{EFFECTS_MAX, Effect, HOLD_MAX_S, TRANSFERS_MAX, Transfer, raw_item};
use crate::account::NODE;
use crate::read::{self, Fields, ensure};
use crate::{Hash, Id};

/// Longest record in a request, such as a receipt.
pub const RECORD_MAX: usize = 4_096;
/// Longest task record in evidence.
pub const TASK_MAX: usize = 32_768;
/// Most records of evidence: the wrong receipt and 15 others.
pub const EVIDENCE_MAX: usize = 16;
/// Most payees of a settlement.
pub const ITEMS_MAX: usize = 15;
/// Most nodes of an audit.
const AUDIT_MAX: usize = 64;
/// Most probes of a node in one audit.
pub const SENT_MAX: u64 = 1 << 32;
/// Most voucher units of a request.
const UNITS_MAX: u64 = 1 << 40;
/// Longest status of a canonical result.
const STATUS_MAX: usize = 1_024;

/// A signed record in evidence.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proof {
    /// The record.
    pub record: Vec<u8>,
    /// Key that signed it.
    pub key: Hash,
    /// The signature.
    pub sig: [u8; 64],
}

/// A payee of a settlement.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Item {
    /// The payee.
    pub to: NodeId,
    /// µ, fee and withheld part included.
    pub pay: u64,
    /// Part of the pay, in ppm, that a missed service level withholds.
    pub sla: u64,
    /// KiB that were moved.
    pub kib: u64,
    /// MiB hours of storage.
    pub mibh: u64,
    /// The node's receipt, or nothing.
    pub record: Vec<u8>,
    /// Its signature, or nothing.
    pub sig: Option<[u8; 64]>,
}

/// The operation of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
#[allow(
    missing_docs,
    reason = "the fields are the keys of the profile's table of requests"
)]
pub enum Op {
    /// Opens an account for a key.
    Open { key: Hash, kind: u64 },
    /// Changes an account's key.
    Rekey { key: Hash },
    /// Closes an empty account.
    Close,
    /// Pays, holds, posts and voids.
    Transfers { list: Vec<Transfer> },
    /// Adds to a node's own stake.
    Bond { amt: u64, comm: u64 },
    /// Adds stake to another's node.
    Delegate { amt: u64, node: NodeId },
    /// Takes stake back, after a delay.
    Unbond { amt: u64, node: NodeId },
    /// Moves stake to another node.
    Redelegate { amt: u64, from: NodeId, to: NodeId },
    /// Ends a node's jail.
    Unjail,
    /// Proves an offence.
    Evidence {
        kind: u8,
        list: Vec<Proof>,
        task: Vec<u8>,
    },
    /// Reports probes of nodes: node, sent, returned.
    Audit { list: Vec<(NodeId, u64, u64)> },
    /// Puts money into escrow.
    Reserve {
        amt: u64,
        credit: u64,
        of: Hash,
        kind: u64,
        ttl: u64,
    },
    /// Pays out of escrow.
    Settle {
        status: alloc::string::String,
        out: Vec<u8>,
        end: bool,
        list: Vec<Item>,
        res: Id,
    },
    /// Changes FOG into voucher units, or back.
    Swap { back: bool, vu: u64 },
    /// Pays for vouchers.
    Buy { bh: Hash, keyset: Hash, vu: u64 },
    /// Pays out redeemed vouchers.
    Redeem {
        ans: Hash,
        keyset: Hash,
        to: NodeId,
        vu: u64,
    },
    /// Ends a hold by a relay's counter.
    Meter {
        ckey: Hash,
        csig: [u8; 64],
        hold: Id,
        rec: Vec<u8>,
        rkey: Hash,
        rsig: [u8; 64],
    },
    /// Proposes effects. `raw` is their encoding, and `each` that of each.
    Propose {
        eff: Vec<Effect>,
        raw: Vec<u8>,
        each: Vec<Vec<u8>>,
        text: Hash,
    },
    /// Votes: 0 against, 1 for, 2 abstain.
    Vote { pid: Id, v: u64 },
    /// Withdraws a proposal before its vote.
    Cancel { pid: Id },
    /// Executes a passed proposal.
    Execute { pid: Id },
    /// Guardians pause (`None`) or veto.
    Brake { pid: Option<Id> },
}

/// Name, signers, fee and keys of an operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OpRule {
    /// The operation's name.
    pub name: &'static str,
    /// Whether several accounts may sign.
    pub many: bool,
    /// Whether it costs the fee of a request.
    pub fee: bool,
    /// Its own keys.
    pub keys: &'static [&'static str],
}

const fn op(name: &'static str, many: bool, fee: bool, keys: &'static [&'static str]) -> OpRule {
    OpRule {
        name,
        many,
        fee,
        keys,
    }
}

/// All operations, in the order of the profile.
pub const OPS: [OpRule; 22] = [
    op("open", false, false, &["key", "kind"]),
    op("rekey", false, true, &["key"]),
    op("close", false, false, &[]),
    op("transfers", true, true, &["list"]),
    op("bond", false, true, &["amt", "comm"]),
    op("delegate", false, true, &["amt", "node"]),
    op("unbond", false, false, &["amt", "node"]),
    op("redelegate", false, false, &["amt", "from", "to"]),
    op("unjail", false, false, &[]),
    op("evidence", true, false, &["kind", "list", "task"]),
    op("audit", true, false, &["list"]),
    op(
        "reserve",
        false,
        true,
        &["amt", "credit", "for", "kind", "ttl"],
    ),
    op("settle", true, false, &["canon", "end", "list", "res"]),
    op("swap", false, true, &["dir", "vu"]),
    op("buy", false, true, &["bh", "keyset", "vu"]),
    op("redeem", false, false, &["ans", "keyset", "to", "vu"]),
    op(
        "meter",
        false,
        false,
        &["ckey", "csig", "hold", "rec", "rkey", "rsig"],
    ),
    op("propose", false, true, &["eff", "text"]),
    op("vote", false, false, &["pid", "v"]),
    op("cancel", false, false, &["pid"]),
    op("execute", false, false, &["pid"]),
    op("brake", true, false, &["act", "pid"]),
];

impl Op {
    /// Reads the keys of an operation.
    pub(super) fn read(name: &str, f: &mut Fields<'_>) -> Result<Self, Cbor> {
        Ok(match name {
            "open" => Self::Open {
                key: f.array("key")?,
                kind: f.up_to("kind", NODE)?,
            },
            "rekey" => Self::Rekey {
                key: f.array("key")?,
            },
            "close" => Self::Close,
            "transfers" => Self::Transfers {
                list: f.list("list", (1, TRANSFERS_MAX), |r| Transfer::read(raw_item(r)?))?,
            },
            "bond" => Self::Bond {
                amt: f.u("amt")?,
                comm: f.up_to("comm", 1_000_000)?,
            },
            "delegate" => Self::Delegate {
                amt: f.p("amt")?,
                node: f.account("node")?,
            },
            "unbond" => Self::Unbond {
                amt: f.p("amt")?,
                node: f.account("node")?,
            },
            "redelegate" => redelegate(f)?,
            "unjail" => Self::Unjail,
            "evidence" => evidence(f)?,
            "audit" => audit(f)?,
            "reserve" => reserve(f)?,
            "settle" => settle(f)?,
            "swap" => Self::Swap {
                back: f.up_to("dir", 1)? == 1,
                vu: units(f)?,
            },
            "buy" => Self::Buy {
                bh: f.array("bh")?,
                keyset: f.array("keyset")?,
                vu: units(f)?,
            },
            "redeem" => Self::Redeem {
                ans: f.array("ans")?,
                keyset: f.array("keyset")?,
                to: f.account("to")?,
                vu: units(f)?,
            },
            "meter" => Self::Meter {
                ckey: f.array("ckey")?,
                csig: f.array("csig")?,
                hold: f.array("hold")?,
                rec: f.bytes("rec", RECORD_MAX)?.to_vec(),
                rkey: f.array("rkey")?,
                rsig: f.array("rsig")?,
            },
            "propose" => propose(f)?,
            "vote" => Self::Vote {
                pid: f.array("pid")?,
                v: f.up_to("v", 2)?,
            },
            "cancel" => Self::Cancel {
                pid: f.array("pid")?,
            },
            "execute" => Self::Execute {
                pid: f.array("pid")?,
            },
            "brake" => brake(f)?,
            _ => return Err(Cbor::Range("an operation")),
        })
    }

    /// The operation's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::Rekey { .. } => "rekey",
            Self::Close => "close",
            Self::Transfers { .. } => "transfers",
            Self::Bond { .. } => "bond",
            Self::Delegate { .. } => "delegate",
            Self::Unbond { .. } => "unbond",
            Self::Redelegate { .. } => "redelegate",
            Self::Unjail => "unjail",
            Self::Evidence { .. } => "evidence",
            Self::Audit { .. } => "audit",
            Self::Reserve { .. } => "reserve",
            Self::Settle { .. } => "settle",
            Self::Swap { .. } => "swap",
            Self::Buy { .. } => "buy",
            Self::Redeem { .. } => "redeem",
            Self::Meter { .. } => "meter",
            Self::Propose { .. } => "propose",
            Self::Vote { .. } => "vote",
            Self::Cancel { .. } => "cancel",
            Self::Execute { .. } => "execute",
            Self::Brake { .. } => "brake",
        }
    }

    fn rule(&self) -> Option<&'static OpRule> {
        OPS.iter().find(|rule| rule.name == self.name())
    }

    /// Whether several accounts may sign.
    #[must_use]
    pub fn many(&self) -> bool {
        self.rule().is_some_and(|rule| rule.many)
    }

    /// Whether it costs the fee of a request.
    #[must_use]
    pub fn costs_fee(&self) -> bool {
        self.rule().is_some_and(|rule| rule.fee)
    }

    /// Whether guardians can pause it.
    #[must_use]
    pub const fn pauses(&self) -> bool {
        matches!(
            self,
            Self::Execute { .. }
                | Self::Reserve { .. }
                | Self::Swap { .. }
                | Self::Buy { .. }
                | Self::Redeem { .. }
        )
    }
}

fn units(f: &mut Fields<'_>) -> Result<u64, Cbor> {
    let vu = f.p("vu")?;
    ensure(vu <= UNITS_MAX)?;
    Ok(vu)
}

fn redelegate(f: &mut Fields<'_>) -> Result<Op, Cbor> {
    let amt = f.p("amt")?;
    let (from, to) = (f.account("from")?, f.account("to")?);
    ensure(from != to)?;
    Ok(Op::Redelegate { amt, from, to })
}

fn evidence(f: &mut Fields<'_>) -> Result<Op, Cbor> {
    let kind = f.u("kind")?;
    let kind = u8::try_from(kind).map_err(|_| Cbor::Range("a kind"))?;
    let task = f.bytes("task", TASK_MAX)?.to_vec();
    let bounds = match kind {
        1 | 3 => (2, 2),
        2 => (3, EVIDENCE_MAX),
        _ => return Err(Cbor::Range("a kind")),
    };
    ensure((kind == 2) != task.is_empty())?;
    let list = f.list("list", bounds, |r: &mut Reader<'_>| {
        read::tuple(r, 3)?;
        let proof = Proof {
            record: read::bytes(r, RECORD_MAX)?.to_vec(),
            key: read::array(r)?,
            sig: read::array(r)?,
        };
        r.leave();
        Ok(proof)
    })?;
    Ok(Op::Evidence { kind, list, task })
}

fn audit(f: &mut Fields<'_>) -> Result<Op, Cbor> {
    let list = f.list("list", (1, AUDIT_MAX), |r| {
        read::tuple(r, 3)?;
        let node = read::account(r)?;
        let sent = read::positive(r)?;
        let returned = read::number(r)?;
        ensure(sent <= SENT_MAX && returned <= sent)?;
        r.leave();
        Ok((node, sent, returned))
    })?;
    no_repeats(list.iter().map(|(node, _, _)| *node))?;
    Ok(Op::Audit { list })
}

fn no_repeats(ids: impl Iterator<Item = NodeId>) -> Result<(), Cbor> {
    let mut ids: Vec<NodeId> = ids.collect();
    ids.sort_unstable();
    ensure(ids.windows(2).all(|pair| pair[0] != pair[1]))
}

fn reserve(f: &mut Fields<'_>) -> Result<Op, Cbor> {
    let amt = f.p("amt")?;
    let credit = f.up_to("credit", amt)?;
    let of = f.array("for")?;
    let kind = f.up_to("kind", 1)?;
    let ttl = f.p("ttl")?;
    ensure(ttl <= HOLD_MAX_S)?;
    Ok(Op::Reserve {
        amt,
        credit,
        of,
        kind,
        ttl,
    })
}

fn settle(f: &mut Fields<'_>) -> Result<Op, Cbor> {
    let (status, out) = f.get("canon", |r| {
        read::tuple(r, 2)?;
        let status = r.text()?;
        ensure(status.len() <= STATUS_MAX)?;
        Ok((status.into(), r.bytes()?.to_vec()))
    })?;
    let end = f.up_to("end", 1)? == 1;
    let list = f.list("list", (0, ITEMS_MAX), |r| {
        read::tuple(r, 7)?;
        let item = Item {
            to: read::account(r)?,
            pay: read::positive(r)?,
            sla: read::at_most(r, 1_000_000)?,
            kib: read::number(r)?,
            mibh: read::number(r)?,
            record: read::bytes(r, RECORD_MAX)?.to_vec(),
            sig: match r.bytes()? {
                [] => None,
                sig => Some(sig.try_into().map_err(|_| Cbor::Range("a signature"))?),
            },
        };
        ensure(item.record.is_empty() == item.sig.is_none())?;
        r.leave();
        Ok(item)
    })?;
    let res = f.array("res")?;
    ensure(end || !list.is_empty())?;
    no_repeats(list.iter().map(|item| item.to))?;
    Ok(Op::Settle {
        status,
        out,
        end,
        list,
        res,
    })
}

fn propose(f: &mut Fields<'_>) -> Result<Op, Cbor> {
    let raw = f.get("eff", |r| r.skip().map(<[u8]>::to_vec))?;
    let mut each = Vec::new();
    let mut r = Reader::new(&raw);
    let eff = read::list(&mut r, (1, EFFECTS_MAX), |r| {
        let item = raw_item(r)?;
        each.push(item.to_vec());
        Effect::read(&mut Reader::new(item))
    })?;
    let text = f.array("text")?;
    Ok(Op::Propose {
        eff,
        raw,
        each,
        text,
    })
}

fn brake(f: &mut Fields<'_>) -> Result<Op, Cbor> {
    let act = f.up_to("act", 1)?;
    let pid = f.bytes("pid", 16)?;
    let pid = match (act, pid) {
        (0, []) => None,
        (1, pid) => Some(pid.try_into().map_err(|_| Cbor::Range("a proposal"))?),
        _ => return Err(Cbor::Range("a proposal")),
    };
    Ok(Op::Brake { pid })
}
