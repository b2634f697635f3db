use betanet_keys::hash;
use betanet_wire::NodeId;
use betanet_wire::cbor::Error as Cbor;

use crate::account::NUMBER_END;
use crate::read::{Fields, ensure};
use crate::{Asset, Hash, Id};

/// Most transfers of a request.
pub const TRANSFERS_MAX: usize = 64;
/// Longest hold, in seconds.
pub const HOLD_MAX_S: u64 = 31_622_400;

const LINKED: u64 = 1;
const PENDING: u64 = 2;
const POST: u64 = 4;
const VOID: u64 = 8;

/// A transfer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Transfer {
    /// Its ID, of the same space as those of requests.
    pub id: Id,
    /// It happens only together with the next.
    pub linked: bool,
    /// What it does.
    pub kind: Kind,
    /// `H(transfer)`, by which a repeat is known.
    pub digest: Hash,
}

/// What a transfer does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Pays at once.
    Plain {
        /// Payer.
        from: NodeId,
        /// Payee.
        to: NodeId,
        /// What is paid.
        asset: Asset,
        /// How much of it.
        amt: u64,
    },
    /// Holds an amount for a payee.
    Pending {
        /// Payer.
        from: NodeId,
        /// Payee.
        to: NodeId,
        /// What is held.
        asset: Asset,
        /// How much of it.
        amt: u64,
        /// For how many seconds.
        ttl: u64,
        /// Account that may post and void it too.
        arb: Option<NodeId>,
        /// µ for a MiB, where a relay's counter ends the hold.
        price: u64,
    },
    /// Pays a part of a hold or all, and frees the rest.
    Post {
        /// The hold.
        pend: Id,
        /// How much of it.
        amt: u64,
    },
    /// Frees a hold.
    Void {
        /// The hold.
        pend: Id,
    },
}

impl Transfer {
    /// Reads a transfer. `None`: it is malformed.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::read(bytes).ok()
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, Cbor> {
        let mut f = Fields::of(bytes)?;
        let amt = f.u("amt")?;
        let arb = f.bytes("arb", 20)?;
        let asset = f.u("asset")?;
        let flags = f.up_to("flags", LINKED | PENDING | POST | VOID)?;
        let from = f.bytes("from", 20)?;
        let id = f.array("id")?;
        let pend = f.bytes("pend", 16)?;
        let price = f.u("price")?;
        let to = f.bytes("to", 20)?;
        let ttl = f.u("ttl")?;
        f.end()?;
        let no_ends = || ensure(from.is_empty() && to.is_empty() && asset == 0);
        let no_hold = || ensure(arb.is_empty() && price == 0 && ttl == 0);
        let kind = match flags & !LINKED {
            0 => {
                no_hold()?;
                ensure(pend.is_empty() && amt > 0 && from != to)?;
                Kind::Plain {
                    from: account(from)?,
                    to: account(to)?,
                    asset: Asset::from_number(asset).ok_or(Cbor::Range("an asset"))?,
                    amt,
                }
            }
            PENDING => {
                ensure(pend.is_empty() && amt > 0 && from != to)?;
                ensure((1..=HOLD_MAX_S).contains(&ttl) && price < NUMBER_END)?;
                Kind::Pending {
                    from: account(from)?,
                    to: account(to)?,
                    asset: Asset::from_number(asset).ok_or(Cbor::Range("an asset"))?,
                    amt,
                    ttl,
                    arb: match arb {
                        [] => None,
                        _ => Some(account(arb)?),
                    },
                    price,
                }
            }
            POST => {
                no_ends()?;
                no_hold()?;
                ensure(amt > 0)?;
                Kind::Post {
                    pend: hold(pend)?,
                    amt,
                }
            }
            VOID => {
                no_ends()?;
                no_hold()?;
                ensure(amt == 0)?;
                Kind::Void { pend: hold(pend)? }
            }
            _ => return Err(Cbor::Range("flags")),
        };
        Ok(Self {
            id,
            linked: flags & LINKED != 0,
            kind,
            digest: hash(&[bytes]),
        })
    }
}

fn account(bytes: &[u8]) -> Result<NodeId, Cbor> {
    let bytes = bytes.try_into();
    bytes.map(NodeId).map_err(|_| Cbor::Range("an account"))
}

fn hold(bytes: &[u8]) -> Result<Id, Cbor> {
    bytes.try_into().map_err(|_| Cbor::Range("a hold"))
}
