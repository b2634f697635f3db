//! The state in pieces.

use betanet_durable::Unreadable;
use betanet_journal::PART_MAX;
use betanet_machine::Rng;
use betanet_naming::Ledger;
use betanet_naming::gossip::Gossip;
use betanet_naming::signer::Memory;
use betanet_wire::{cbor, message};
use bytes::Bytes;

use super::Names;

/// The version that is written. One of version 1 has all records in its form, and no parts behind it.
const VERSION: u64 = 2;

message! {
    /// The first part: how many parts after it are the form. The others are lists of records.
    struct Header {
        req "v" version: u64,
        req "form" form: u64,
    }
}

message! {
    struct Form<'a> {
        req "v" version: u64,
        req "from" from: u64,
        req "held" held: Vec<&'a [u8]>,
        req "pool" pool: Vec<PooledForm<'a>>,
        req "ledger" ledger: &'a [u8],
        req "memory" memory: &'a [u8],
        req "records" records: Vec<&'a [u8]>,
    }
}

message! {
    struct PooledForm<'a> {
        req "ts" ts: u64,
        req "rec" record: &'a [u8],
    }
}

impl Names {
    pub(super) fn write_snapshot(&self) -> Vec<Vec<u8>> {
        let ledger = self.ledger();
        let bytes = match ledger.waiting().next() {
            None => ledger.snapshot(),
            Some(_) => {
                let mut finals = ledger.clone();
                finals.drop_waiting();
                finals.snapshot()
            }
        };
        if let Err(error) = &bytes {
            tracing::error!(%error, "the ledger's snapshot is not written");
        }
        let pool = self.pool.timed();
        let form = cbor::to_vec(&Form {
            version: VERSION,
            from: self.held.0,
            held: self.held.1.iter().map(AsRef::as_ref).collect(),
            pool: pool.map(|(ts, r)| PooledForm { ts, record: r }).collect(),
            memory: &self.memory.to_bytes(),
            ledger: &bytes.unwrap_or_default(),
            records: Vec::new(),
        });
        let header = Header {
            version: VERSION,
            form: form.len().div_ceil(PART_MAX) as u64,
        };
        let mut parts = vec![cbor::to_vec(&header)];
        parts.extend(form.chunks(PART_MAX).map(<[u8]>::to_vec));
        parts.extend(lists(&self.records));
        parts
    }

    pub(super) fn read_snapshot(&mut self, mut parts: Vec<Vec<u8>>) -> Result<(), Unreadable> {
        let first = parts.first().ok_or(Unreadable)?;
        let header = cbor::from_slice::<Header>(first).ok();
        let Some(header) = header else {
            // One of version 1 begins with its form.
            return self.read_form(&parts.concat(), 1, Vec::new());
        };
        let end = usize::try_from(header.form)
            .ok()
            .and_then(|n| n.checked_add(1));
        let end = end.filter(|end| *end <= parts.len()).ok_or(Unreadable)?;
        let mut records = Vec::new();
        for part in parts.drain(end..) {
            // The records stay where they were read.
            let part = Bytes::from(part);
            let list: Vec<&[u8]> = cbor::from_slice(&part).map_err(|_| Unreadable)?;
            records.extend(list.into_iter().map(|record| part.slice_ref(record)));
        }
        parts.remove(0);
        self.read_form(&parts.concat(), header.version, records)
    }

    fn read_form(
        &mut self,
        bytes: &[u8],
        version: u64,
        mut records: Vec<Bytes>,
    ) -> Result<(), Unreadable> {
        let form: Form<'_> = cbor::from_slice(bytes).map_err(|_| Unreadable)?;
        if form.version != version || version > VERSION {
            return Err(Unreadable);
        }
        records.extend(form.records.iter().map(|r| Bytes::copy_from_slice(r)));
        let ledger = Ledger::from_snapshot(&self.setup.genesis, form.ledger);
        let ledger = ledger.map_err(|_| Unreadable)?;
        if ledger.final_size() != records.len() as u64 {
            return Err(Unreadable);
        }
        let seed = Rng::new(&self.setup.seed.split("restored")).seed();
        self.split = ledger.split().is_some();
        self.rivals = ledger.rival_rotations().len();
        self.gossip = Gossip::new(ledger, &seed);
        self.records = records;
        self.memory = Memory::from_bytes(form.memory).map_err(|_| Unreadable)?;
        self.recall();
        self.held = (
            form.from,
            form.held.into_iter().map(Bytes::copy_from_slice).collect(),
        );
        for PooledForm { ts, record } in form.pool {
            self.replay_pooled(ts, record);
        }
        Ok(())
    }
}

/// Records in lists, of which each fits a part.
fn lists(records: &[Bytes]) -> Vec<Vec<u8>> {
    // What the encoding of a record's length and that of a list take at most.
    let room = PART_MAX - 64;
    let mut lists = Vec::new();
    let mut rest = records;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|record| {
            bytes += record.len() + 5;
            bytes <= room
        });
        let (now, later) = rest.split_at(fits.count().max(1));
        let list: Vec<&[u8]> = now.iter().map(AsRef::as_ref).collect();
        lists.push(cbor::to_vec(&list));
        rest = later;
    }
    lists
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use betanet_machine::Seed;
    use betanet_naming::testkit::{Network, T0, owner};

    use super::super::{Counts, Facts, Setup};
    use super::*;

    #[test]
    fn lists_of_records_fit_the_parts_of_a_snapshot_and_read_back() {
        for long in [0, 1, 300, 65_536, PART_MAX / 2, betanet_naming::RECORD_MAX] {
            let records: Vec<Bytes> = (0..7).map(|n| Bytes::from(vec![n; long])).collect();
            let lists = lists(&records);
            assert!(lists.iter().all(|list| list.len() <= PART_MAX), "{long}");
            let read = lists.iter().flat_map(|list| {
                let list: Vec<&[u8]> = cbor::from_slice(list).unwrap();
                list.into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>()
            });
            assert!(read.eq(records.iter().map(|r| r.to_vec())), "{long}");
        }
    }

    fn names(network: &Network) -> Names {
        let genesis = network.genesis();
        let ledger = Ledger::new(&genesis).unwrap();
        let setup = Setup {
            genesis,
            signer: None,
            seed: Seed::new([1; 32]),
            facts: tokio::sync::watch::channel(Facts::default()).0,
            counts: Counts::default(),
        };
        Names::new(Arc::new(setup), ledger)
    }

    #[test]
    fn a_snapshot_of_version_1_is_read_and_written_as_version_2() {
        let network = Network::new(3, 0);
        let mut ledger = network.ledger();
        let records: Vec<Bytes> = (0..9_u16)
            .map(|n| network.bound(&format!("n{n}"), &owner(n), 1, T0))
            .collect();
        for record in &records {
            ledger.apply(T0, record.clone()).unwrap();
        }
        ledger.accept(network.head(&ledger, T0, &[0, 1])).unwrap();
        let form = |version| {
            cbor::to_vec(&Form {
                version,
                from: 0,
                held: Vec::new(),
                pool: Vec::new(),
                memory: &Memory::default().to_bytes(),
                ledger: &ledger.snapshot().unwrap(),
                records: records.iter().map(AsRef::as_ref).collect(),
            })
        };
        let parts = |form: Vec<u8>| form.chunks(700).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let mut old = names(&network);
        old.read_snapshot(parts(form(1))).unwrap();
        assert_eq!(old.records, records);
        let written = old.write_snapshot();
        let mut new = names(&network);
        new.read_snapshot(written.clone()).unwrap();
        assert_eq!(new.records, records);
        assert_eq!(new.ledger().log().root(), ledger.log().root());
        // Of another version, cut off, or with a header that tells more parts than there are.
        assert!(names(&network).read_snapshot(parts(form(3))).is_err());
        assert!(
            names(&network)
                .read_snapshot(written[..2].to_vec())
                .is_err()
        );
        for (version, form) in [(3, 1), (2, 9), (2, u64::MAX)] {
            let mut lies = written.clone();
            lies[0] = cbor::to_vec(&Header { version, form });
            assert!(
                names(&network).read_snapshot(lies).is_err(),
                "{version} {form}"
            );
        }
        assert!(names(&network).read_snapshot(Vec::new()).is_err());
    }
}
