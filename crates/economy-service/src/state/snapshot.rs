//! The state in pieces: the rows under the final head, the records, and the heads. The records after the final head are applied again.

use betanet_journal::PART_MAX;
use betanet_log::{SignedHead, Signers};
use betanet_tokenomics::Economy;
use betanet_wire::cbor::{self, Decode, Encode, Error, Reader, Writer};
use betanet_wire::message;

use super::{Books, heads};
use crate::body::domain;

const VERSION: u64 = 1;

/// A row: table, key, value.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Row<'a>(u64, &'a [u8], &'a [u8]);

impl Encode for Row<'_> {
    fn encode(&self, w: &mut Writer) {
        w.array(3);
        w.unsigned(self.0);
        w.bytes(self.1);
        w.bytes(self.2);
    }
}

impl<'a> Decode<'a> for Row<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        if r.array()? != 3 {
            return Err(Error::Range("a row"));
        }
        let row = Self(r.unsigned()?, r.bytes()?, r.bytes()?);
        r.leave();
        Ok(row)
    }
}

message! {
    struct Form<'a> {
        req "v" version: u64,
        opt "head" head: &'a [u8],
        req "rows" rows: Vec<Row<'a>>,
        opt "anchor" anchor: &'a [u8],
        req "genesis" genesis: [u8; 32],
        req "records" records: Vec<&'a [u8]>,
        opt "signers" signers: &'a [u8],
        opt "proposed" proposed: &'a [u8],
    }
}

impl Books {
    pub(super) fn write_snapshot(&self) -> Vec<Vec<u8>> {
        let mut rows = Vec::new();
        // Reading the rows out needs the tree, which a reader of the state shares.
        let mut served = self.served.clone();
        served.dump(&mut |table, key, value| rows.push((table, key, value)));
        let head = self.head.as_ref().map(SignedHead::to_bytes);
        let proposed = self.proposed.as_ref().map(SignedHead::to_bytes);
        // The rows list the signers of the next head, which may be others.
        let signers = self.signed_by.as_ref().map(|set| {
            let keys = set.keys().iter();
            keys.flat_map(|key| *key.as_bytes()).collect::<Vec<u8>>()
        });
        let whole = cbor::to_vec(&Form {
            version: VERSION,
            head: head.as_deref(),
            rows: rows
                .iter()
                .map(|(table, key, value)| Row(u64::from(*table), key, value))
                .collect(),
            anchor: self.anchor.as_deref(),
            genesis: *self.setup.genesis.id(),
            records: self.records.iter().map(AsRef::as_ref).collect(),
            signers: signers.as_deref(),
            proposed: proposed.as_deref(),
        });
        whole.chunks(PART_MAX).map(<[u8]>::to_vec).collect()
    }

    /// `None`: it is not a snapshot of this ledger, its head lacks signatures, or its rows are not those of its head.
    pub(super) fn read_snapshot(&mut self, bytes: &[u8]) -> Option<()> {
        let form: Form<'_> = cbor::from_slice(bytes).ok()?;
        if form.version != VERSION || form.genesis != *self.setup.genesis.id() {
            return None;
        }
        let read = |bytes: Option<&[u8]>| bytes.map(SignedHead::from_bytes).transpose().ok();
        let (head, proposed) = (read(form.head)?, read(form.proposed)?);
        if let Some(head) = &head {
            let keys = form.signers?.chunks(32).map(<[u8; 32]>::try_from);
            let keys = keys.collect::<Result<Vec<_>, _>>().ok()?;
            let set = Signers::from_bytes(&keys).ok()?;
            head.check(domain(self.setup.genesis.id()), &set).ok()?;
            self.signed_by = Some(set);
            let rows = form.rows.iter();
            let rows: Option<Vec<_>> = rows
                .map(|Row(table, key, value)| {
                    let table = u8::try_from(*table).ok()?;
                    Some((table, key.to_vec(), value.to_vec()))
                })
                .collect();
            let mut served = Economy::load(self.setup.genesis.as_bytes(), rows?).ok()?;
            let is_its = Some(served.root()) == head.head().state;
            if !is_its || served.records() != head.head().size {
                return None;
            }
            self.served = served;
        }
        self.signers = heads::listed(&self.served);
        self.economy = self.served.clone();
        let start = usize::try_from(self.economy.records()).ok()?;
        for record in form.records.iter().skip(1) {
            self.note(record.to_vec());
        }
        for record in form.records.get(start..)? {
            self.economy.replay(record).ok()?;
        }
        if let Some(head) = &head
            && self.log.root_at(head.head().size).ok() != Some(head.head().root)
        {
            return None;
        }
        (self.head, self.proposed, self.anchored) = (head, proposed, true);
        self.anchor = form.anchor.map(<[u8]>::to_vec);
        self.waiting = self.first_open();
        Some(())
    }
}
