//! A ledger under a simulated clock, in memory: for the demo, and for the history of a seed.

use betanet_economy_service::body::domain;
use betanet_keys::Identity;
use betanet_log::{Edge, Error as LogError, Head, SignedHead, Signers, leaf_hash};
use betanet_tokenomics::account::address;
use betanet_tokenomics::journal::Record;
use betanet_tokenomics::request::Op;
use betanet_tokenomics::{Asset, Code, Economy, Envelope, Error, GenesisDraft, Id, Request};
use betanet_wire::NodeId;

/// Time between two requests, and their validity, in ms.
const STEP_MS: u64 = 1_000;
const VALID_MS: u64 = 60_000;

/// A machine, its clock and its journal.
pub(crate) struct Past {
    pub(crate) economy: Economy,
    pub(crate) now: u64,
    pub(crate) journal: Vec<Vec<u8>>,
    id: u64,
}

/// The account of a key.
pub(crate) fn id_of(key: &Identity) -> NodeId {
    address(key.public().as_bytes())
}

/// An account as roles list it.
pub(crate) fn account(key: &Identity) -> Vec<u8> {
    id_of(key).0.to_vec()
}

/// A key as the role of signers lists it.
pub(crate) fn public(key: &Identity) -> Vec<u8> {
    key.public().as_bytes().to_vec()
}

/// Keys, ascending, as roles list them.
pub(crate) fn sorted(keys: &[&Identity], member: impl Fn(&Identity) -> Vec<u8>) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = keys.iter().map(|k| member(k)).collect();
    all.sort_unstable();
    all
}

impl Past {
    pub(crate) fn new(genesis: &GenesisDraft<'_>) -> Result<Self, Error> {
        let economy = Economy::new(&genesis.to_bytes())?;
        Ok(Self {
            journal: vec![economy.first_record().to_bytes()],
            now: economy.time(),
            economy,
            id: 0,
        })
    }

    fn keep(&mut self, seq: u64, req: Vec<u8>) {
        let ts = self.now;
        self.journal.push(Record { req, seq, ts }.to_bytes());
    }

    /// Asks the machine, a second later. Returns the body of what it accepted.
    pub(crate) fn ask(&mut self, signers: &[&Identity], op: &Op) -> Result<Vec<u8>, Code> {
        self.now += STEP_MS;
        self.id += 1;
        let mut id: Id = [0; 16];
        id[8..].copy_from_slice(&self.id.to_be_bytes());
        let nonce = |key: &&Identity| {
            let id = id_of(key);
            (id, self.economy.nonce(&id).unwrap_or(0))
        };
        let by: Vec<(NodeId, u64)> = signers.iter().map(nonce).collect();
        let request = Request::new(&by, self.now + VALID_MS, id, op).ok_or(Code::Malformed)?;
        let body = request.body().to_vec();
        let envelope = Envelope::sign(request, self.economy.genesis().id(), signers).to_bytes();
        match self.economy.apply(self.now, &envelope) {
            Ok(answer) if answer.code == Code::Ok => {
                self.keep(answer.seq, envelope);
                Ok(body)
            }
            Ok(answer) => Err(answer.code),
            Err(_) => Err(Code::Expired),
        }
    }

    /// Lets time pass, and what is due happen.
    pub(crate) fn wait(&mut self, ms: u64) {
        self.now += ms;
        while let Ok(answer) = self.economy.tick(self.now)
            && answer.code == Code::Ok
        {
            self.keep(answer.seq, Vec::new());
        }
    }

    pub(crate) fn fog(&self, id: &NodeId) -> u128 {
        self.economy.counters(id, Asset::Fog).available()
    }

    /// The head over all records, signed by the signers that the genesis lists.
    pub(crate) fn head(&mut self, signers: &[&Identity]) -> Result<SignedHead, LogError> {
        let mut edge = Edge::default();
        for record in &self.journal {
            edge.append(leaf_hash(record));
        }
        let mut keys: Vec<[u8; 32]> = signers.iter().map(|k| *k.public().as_bytes()).collect();
        keys.sort_unstable();
        let set = Signers::from_bytes(&keys)?;
        let mut head = SignedHead::new(Head {
            ts: self.economy.time(),
            set: *set.hash(),
            root: edge.root(),
            size: edge.size(),
            state: Some(self.economy.root()),
        });
        let domain = domain(self.economy.genesis().id());
        for signer in signers {
            let signature = head.signature(domain, signer);
            head.add(signature);
        }
        Ok(head)
    }
}
