//! The state in pieces.

use std::thread::Builder;

use betanet_durable::Unreadable;
use betanet_journal::PART_MAX;
use betanet_machine::Rng;
use betanet_naming::Ledger;
use betanet_naming::gossip::Gossip;
use betanet_naming::signer::Memory;
use betanet_wire::{cbor, message};
use bytes::{Bytes, BytesMut};

use super::Names;

const VERSION: u64 = 1;

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
        let whole = cbor::to_vec(&Form {
            version: VERSION,
            from: self.held.0,
            held: self.held.1.iter().map(AsRef::as_ref).collect(),
            pool: pool.map(|(ts, r)| PooledForm { ts, record: r }).collect(),
            memory: &self.memory.to_bytes(),
            ledger: &bytes.unwrap_or_default(),
            records: self.records.iter().map(AsRef::as_ref).collect(),
        });
        whole.chunks(PART_MAX).map(<[u8]>::to_vec).collect()
    }

    pub(super) fn read_snapshot(&mut self, bytes: &[u8]) -> Result<(), Unreadable> {
        let form: Form<'_> = cbor::from_slice(bytes).map_err(|_| Unreadable)?;
        if form.version != VERSION {
            return Err(Unreadable);
        }
        let genesis = &self.setup.genesis;
        // A node that restarts has nothing else to do: the records are copied while the ledger is built.
        let (ledger, records) = beside(
            Builder::new(),
            || together(&form.records),
            || Ledger::from_snapshot(genesis, form.ledger),
        );
        let ledger = ledger.map_err(|_| Unreadable)?;
        if ledger.final_size() != form.records.len() as u64 {
            return Err(Unreadable);
        }
        let seed = Rng::new(&self.setup.seed.split("restored")).seed();
        self.split = ledger.split().is_some();
        self.rivals = ledger.rival_rotations().len();
        self.gossip = Gossip::new(ledger, &seed);
        self.records = records.ok_or(Unreadable)?;
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

/// Does one thing on a thread beside another, or after it where the system gives no thread. `None` if the thread panicked.
fn beside<A, B>(
    thread: Builder,
    aside: impl Fn() -> A + Send + Sync,
    here: impl FnOnce() -> B,
) -> (B, Option<A>)
where
    A: Send,
{
    std::thread::scope(|scope| {
        let spawned = thread.spawn_scoped(scope, &aside);
        let here = here();
        match spawned {
            Ok(thread) => (here, thread.join().ok()),
            Err(error) => {
                tracing::debug!(%error, "no thread for the records: they are copied later");
                (here, Some(aside()))
            }
        }
    })
}

/// Records in one piece of memory, instead of one each.
fn together(records: &[&[u8]]) -> Vec<Bytes> {
    let mut whole = BytesMut::with_capacity(records.iter().map(|r| r.len()).sum());
    for record in records {
        whole.extend_from_slice(record);
    }
    let mut whole = whole.freeze();
    records.iter().map(|r| whole.split_to(r.len())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_thread_both_are_done_here() {
        let me = || std::thread::current().id();
        let (here, aside) = beside(Builder::new(), me, me);
        assert!(here == me() && aside.is_some_and(|id| id != me()));
        // No system has such a stack.
        let none = Builder::new().stack_size(1 << 60);
        assert_eq!(beside(none, me, me), (me(), Some(me())));
    }
}
