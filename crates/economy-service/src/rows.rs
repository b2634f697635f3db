//! Rows of the state, as readers of proofs need them: their values are lists in the order of the profile's schema.

use betanet_tokenomics::account::SYSTEM;
use betanet_tokenomics::{Asset, Hash, Id};
use betanet_wire::NodeId;
use betanet_wire::cbor::{Error, Reader};

/// Numbers of the tables that clients read.
pub mod table {
    /// The machine's own numbers.
    pub const META: u8 = 0;
    /// Accounts.
    pub const ACCOUNTS: u8 = 1;
    /// Balances.
    pub const BALANCES: u8 = 2;
    /// Pending transfers.
    pub const HOLDS: u8 = 3;
    /// Nodes, from their first bond on.
    pub const NODES: u8 = 5;
    /// Stakes: node, holder.
    pub const STAKES: u8 = 6;
    /// Keysets of vouchers.
    pub const KEYSETS: u8 = 9;
    /// Proposals.
    pub const PROPOSALS: u8 = 10;
    /// Votes: proposal, account.
    pub const VOTES: u8 = 11;
    /// Parameters in force.
    pub const PARAMETERS: u8 = 12;
    /// IDs of requests and transfers.
    pub const IDS: u8 = 15;
    /// Marks of what was used, such as answers of redemption.
    pub const MARKS: u8 = 16;
}

/// Key of a balance.
#[must_use]
pub fn balance_key(account: &NodeId, asset: Asset) -> Vec<u8> {
    [&account.0[..], &[asset.number()]].concat()
}

/// Key of a stake.
#[must_use]
pub fn stake_key(node: &NodeId, holder: &NodeId) -> Vec<u8> {
    [node.0, holder.0].concat()
}

/// Key of a vote.
#[must_use]
pub fn vote_key(proposal: &Id, account: &NodeId) -> Vec<u8> {
    [&proposal[..], &account.0].concat()
}

/// Name of a system account.
#[must_use]
pub fn system_name(id: &NodeId) -> Option<&'static str> {
    SYSTEM
        .iter()
        .find(|(_, account)| account == id)
        .map(|(name, _)| *name)
}

/// Enters a list of so many items.
fn enter(r: &mut Reader<'_>, n: usize) -> Result<(), Error> {
    match r.array()? == n {
        true => Ok(()),
        false => Err(Error::Range("a row")),
    }
}

fn array<const N: usize>(r: &mut Reader<'_>) -> Result<[u8; N], Error> {
    r.bytes()?.try_into().map_err(|_| Error::Range("a row"))
}

/// The machine's own numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Meta {
    /// Number of records.
    pub records: u64,
    /// Time of the last one.
    pub ts: u64,
    /// Epoch that runs.
    pub epoch: u64,
}

/// An account.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Account {
    /// 0 for a user, 1 for a node.
    pub kind: u64,
    /// Flags.
    pub flags: u64,
    /// Key that signs.
    pub key: Hash,
    /// Nonce of the next request.
    pub nonce: u64,
}

/// Counters of an account and asset.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Balance {
    /// Held for others.
    pub held: u128,
    /// Paid.
    pub paid: u128,
    /// Held by others.
    pub owed: u128,
    /// Received.
    pub received: u128,
}

impl Balance {
    /// What can be spent.
    #[must_use]
    pub const fn available(&self) -> u128 {
        self.received
            .saturating_sub(self.paid)
            .saturating_sub(self.held)
    }
}

/// A pending transfer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hold {
    /// Payer.
    pub from: NodeId,
    /// Payee.
    pub to: NodeId,
    /// Number of the asset.
    pub asset: u64,
    /// How much is held.
    pub amt: u64,
    /// When it ends, in UNIX ms.
    pub due: u64,
    /// µ for a MiB, where a relay's counter ends it.
    pub price: u64,
}

/// A node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Node {
    /// Commission in ppm.
    pub comm: u64,
    /// Earliest end of its jail, 0 if it is not jailed.
    pub jailed: u64,
    /// Jailed for ever.
    pub banned: bool,
    /// Reputation.
    pub reputation: u64,
}

/// A keyset of vouchers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeysetRow {
    /// Account of its spender.
    pub spender: NodeId,
    /// End of issue, in UNIX ms.
    pub exp: u64,
    /// Units that were bought under it.
    pub issued: u64,
    /// Units that were redeemed or swept.
    pub redeemed: u64,
    /// Whether it was swept: nothing of it is redeemed any more.
    pub swept: bool,
}

/// A proposal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proposal {
    /// Its proposer.
    pub proposer: NodeId,
    /// Its stage, by number.
    pub stage: u64,
    /// Epoch of the snapshot that counts.
    pub epoch: u64,
    /// When its vote opens and ends, and from when it may be executed, in UNIX ms.
    pub open: u64,
    /// End of the vote.
    pub end: u64,
    /// From when it may be executed; 0 before it passed.
    pub eta: u64,
    /// Votes that are needed.
    pub need: u64,
    /// Share of votes that passes, in ppm.
    pub pass: u64,
    /// Votes for it.
    pub yes: u64,
    /// Votes against it.
    pub no: u64,
    /// Votes that abstain.
    pub abstain: u64,
    /// Its deposit.
    pub deposit: u64,
    /// Its effects, encoded.
    pub eff: Vec<u8>,
    /// Hash of its text.
    pub text: Hash,
}

/// Words for the stages of proposals.
pub const STAGES: [&str; 7] = [
    "open",
    "passed",
    "executed",
    "defeated",
    "cancelled",
    "vetoed",
    "expired",
];

impl Meta {
    /// Reads the row.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn read(value: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(value);
        enter(&mut r, 6)?;
        Ok(Self {
            records: r.unsigned()?,
            ts: r.unsigned()?,
            epoch: r.unsigned()?,
        })
    }
}

impl Account {
    /// Reads the row.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn read(value: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(value);
        enter(&mut r, 4)?;
        Ok(Self {
            kind: r.unsigned()?,
            flags: r.unsigned()?,
            key: array(&mut r)?,
            nonce: r.unsigned()?,
        })
    }
}

impl Balance {
    /// Reads the row.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn read(value: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(value);
        enter(&mut r, 4)?;
        let wide = |r: &mut Reader<'_>| array(r).map(u128::from_be_bytes);
        Ok(Self {
            held: wide(&mut r)?,
            paid: wide(&mut r)?,
            owed: wide(&mut r)?,
            received: wide(&mut r)?,
        })
    }
}

impl Hold {
    /// Reads the row.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn read(value: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(value);
        enter(&mut r, 7)?;
        let (from, to) = (NodeId(array(&mut r)?), NodeId(array(&mut r)?));
        let (asset, amt, due) = (r.unsigned()?, r.unsigned()?, r.unsigned()?);
        r.bytes()?;
        Ok(Self {
            from,
            to,
            asset,
            amt,
            due,
            price: r.unsigned()?,
        })
    }
}

impl Node {
    /// Reads the row.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn read(value: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(value);
        enter(&mut r, 10)?;
        let (comm, jailed, banned) = (r.unsigned()?, r.unsigned()?, r.unsigned()? == 1);
        r.unsigned()?;
        Ok(Self {
            comm,
            jailed,
            banned,
            reputation: r.unsigned()?,
        })
    }
}

impl Account {
    /// Whether it is closed: nothing is paid to it.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.flags & betanet_tokenomics::account::CLOSED != 0
    }
}

impl KeysetRow {
    /// Reads the row.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn read(value: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(value);
        enter(&mut r, 5)?;
        Ok(Self {
            spender: NodeId(array(&mut r)?),
            exp: r.unsigned()?,
            issued: r.unsigned()?,
            redeemed: r.unsigned()?,
            swept: r.unsigned()? == 1,
        })
    }

    /// Units that can still be redeemed.
    #[must_use]
    pub const fn left(&self) -> u64 {
        match self.swept {
            true => 0,
            false => self.issued.saturating_sub(self.redeemed),
        }
    }
}

impl Proposal {
    /// Reads the row.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn read(value: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(value);
        enter(&mut r, 20)?;
        let proposer = NodeId(array(&mut r)?);
        let mut n = [0_u64; 13];
        for slot in &mut n {
            *slot = r.unsigned()?;
        }
        let [
            stage,
            epoch,
            _before,
            open,
            end,
            _extended,
            eta,
            need,
            pass,
            yes,
            no,
            abstain,
            deposit,
        ] = n;
        for _ in 0..4 {
            r.unsigned()?;
        }
        Ok(Self {
            proposer,
            stage,
            epoch,
            open,
            end,
            eta,
            need,
            pass,
            yes,
            no,
            abstain,
            deposit,
            eff: r.skip()?.to_vec(),
            text: array(&mut r)?,
        })
    }

    /// A word for the stage.
    #[must_use]
    pub fn word(&self) -> &'static str {
        let at = usize::try_from(self.stage).unwrap_or(usize::MAX);
        STAGES.get(at).copied().unwrap_or("unknown")
    }
}

/// A row that is one number.
///
/// # Errors
///
/// It is none.
pub fn number(value: &[u8]) -> Result<u64, Error> {
    Reader::new(value).unsigned()
}

/// Value of a parameter's row.
///
/// # Errors
///
/// It is none.
pub fn parameter(value: &[u8]) -> Result<u64, Error> {
    let mut r = Reader::new(value);
    enter(&mut r, 2)?;
    r.unsigned()
}

/// A vote's row: the vote, and its own and lent power.
///
/// # Errors
///
/// It is none.
pub fn vote(value: &[u8]) -> Result<(u64, u64, u64), Error> {
    let mut r = Reader::new(value);
    enter(&mut r, 3)?;
    Ok((r.unsigned()?, r.unsigned()?, r.unsigned()?))
}

/// Number of the record that used an ID, from the ID's row.
///
/// # Errors
///
/// It is none.
pub fn id_record(value: &[u8]) -> Result<u64, Error> {
    let mut r = Reader::new(value);
    enter(&mut r, 3)?;
    let _: Hash = array(&mut r)?;
    r.skip()?;
    r.unsigned()
}

/// Reads bytes as each row.
#[cfg(any(test, feature = "testkit"))]
pub(crate) fn fuzz(data: &[u8]) {
    let _ = Meta::read(data);
    let _ = Account::read(data);
    let _ = Balance::read(data);
    let _ = (Node::read(data), Hold::read(data));
    let _ = KeysetRow::read(data);
    let _ = Proposal::read(data);
    let _ = (number(data), parameter(data), vote(data), id_record(data));
}
