use alloc::string::String;
use alloc::vec::Vec;

use betanet_keys::{Identity, hash};
use betanet_wire::NodeId;
use betanet_wire::cbor::Writer;

use crate::account::{BURN, DAY_MS, MICRO, NODE, TREASURY, USER, address};
use crate::params::{Param, RULES, Role};
use crate::request::{Effect, Item, Kind, Op, Proof, Transfer};
use crate::{Asset, Economy, GenesisDraft, Hash, Id, Request};

/// Numbers drawn from bytes; 0 once they are used up.
#[derive(Clone, Debug)]
pub struct Dice<'a> {
    bytes: &'a [u8],
    drawn: u64,
}

impl<'a> Dice<'a> {
    /// Numbers from these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, drawn: 0 }
    }

    /// Whether the bytes are used up.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        let Some((first, rest)) = self.bytes.split_first() else {
            return 0;
        };
        self.bytes = rest;
        self.drawn = self.drawn.wrapping_mul(0x5851_f42d_4c95_7f2d);
        self.drawn = self.drawn.wrapping_add(u64::from(*first) + 1);
        if n <= 256 {
            return u64::from(*first) % n.max(1);
        }
        (self.drawn >> 16).wrapping_add(u64::from(*first)) % n
    }

    fn of<T: Copy>(&mut self, all: &[T], else_: T) -> T {
        let at = usize::try_from(self.below(all.len() as u64)).unwrap_or(0);
        all.get(at).copied().unwrap_or(else_)
    }

    fn yes(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

/// People, nodes and officers of a ledger, and its machine.
#[derive(Debug)]
pub struct World {
    /// The machine.
    pub economy: Economy,
    /// The clock, in UNIX ms.
    pub now: u64,
    users: Vec<NodeId>,
    nodes: Vec<NodeId>,
    officers: Vec<NodeId>,
    identities: Vec<Identity>,
    keyset: Hash,
    made: u64,
    holds: Vec<Id>,
    reservations: Vec<(Id, Hash)>,
    proposals: Vec<(Id, NodeId)>,
    sent: Vec<Request>,
}

fn seed(n: u8) -> [u8; 32] {
    [n; 32]
}

impl World {
    /// A ledger of 6 users, 4 nodes and 3 officers, who hold every role.
    #[must_use]
    pub fn new() -> Option<Self> {
        let identities: Vec<Identity> = (1..=13).map(|n| Identity::from_seed(&seed(n))).collect();
        let key = |i: &Identity| *i.public().as_bytes();
        let ids: Vec<NodeId> = identities.iter().map(|i| address(&key(i))).collect();
        let kind = |n: usize| if (6..10).contains(&n) { NODE } else { USER };
        let alloc: Vec<(Hash, u64, u64)> = identities
            .iter()
            .enumerate()
            .map(|(n, i)| (key(i), kind(n), 20_000 * MICRO))
            .collect();
        let officers: Vec<NodeId> = ids[10..].to_vec();
        let members: Vec<Vec<u8>> = officers.iter().map(|id| id.0.to_vec()).collect();
        let signers = identities[6..9].iter().map(|i| key(i).to_vec()).collect();
        let keyset = hash(&[b"a keyset"]);
        let draft = GenesisDraft {
            name: "a world",
            t0: 1_000_000_000_000,
            epoch_ms: DAY_MS,
            cap: 10_000_000 * MICRO,
            base: 1_000 * MICRO,
            halving: 4,
            treasury: 100_000 * MICRO,
            alloc: &alloc,
            params: &[(Param::MinBond, 100 * MICRO), (Param::Deposit, 10 * MICRO)],
            roles: &[
                (Role::Auditors, members.clone()),
                (Role::Coordinators, members.clone()),
                (Role::Guardians, members),
                (Role::Signers, signers),
            ],
            keysets: &[(keyset, officers[0], 1_000_000_000_000 + 40 * DAY_MS)],
        };
        let economy = Economy::new(&draft.to_bytes()).ok()?;
        Some(Self {
            now: economy.time(),
            economy,
            users: ids[..6].to_vec(),
            nodes: ids[6..10].to_vec(),
            officers,
            identities,
            keyset,
            made: 0,
            holds: Vec::new(),
            reservations: Vec::new(),
            proposals: Vec::new(),
            sent: Vec::new(),
        })
    }

    fn id(&mut self) -> Id {
        self.made += 1;
        let mut id = [0; 16];
        id.copy_from_slice(&hash(&[&self.made.to_be_bytes()])[..16]);
        id
    }

    fn amount(dice: &mut Dice<'_>) -> u64 {
        match dice.below(8) {
            0 => dice.below(4),
            1 => dice.below(40_000) * MICRO,
            2 => 100 * MICRO,
            _ => dice.below(1_000 * MICRO) + 1,
        }
    }

    fn anyone(&self, dice: &mut Dice<'_>) -> NodeId {
        let stranger = NodeId([9; 20]);
        match dice.below(12) {
            0 => stranger,
            1 => TREASURY,
            2 => BURN,
            3..=5 => dice.of(&self.nodes, stranger),
            _ => dice.of(&self.users, stranger),
        }
    }

    fn identity(&self, id: &NodeId) -> Option<&Identity> {
        let own = |i: &&Identity| address(i.public().as_bytes()) == *id;
        self.identities.iter().find(own)
    }

    /// The next command: a request, or a tick, for which it is `None`.
    pub fn command(&mut self, dice: &mut Dice<'_>) -> Option<Request> {
        self.now += match dice.below(8) {
            0 => dice.below(DAY_MS),
            1 => dice.below(3_600_000),
            _ => dice.below(2_000),
        };
        if dice.yes(16) {
            return None;
        }
        if dice.yes(16) && !self.sent.is_empty() {
            let at = usize::try_from(dice.below(self.sent.len() as u64)).unwrap_or(0);
            return self.sent.get(at).cloned();
        }
        let (by, op) = self.operation(dice);
        let nonce = |id: &NodeId| (*id, self.economy.nonce(id).unwrap_or(0));
        let by: Vec<(NodeId, u64)> = by.iter().map(nonce).collect();
        let id = self.id();
        let request = Request::new(&by, self.now + DAY_MS / 2, id, &op)?;
        match &request.op {
            Op::Transfers { list } => self.holds.extend(list.iter().map(|t| t.id)),
            Op::Reserve { of, .. } => self.reservations.push((id, *of)),
            Op::Propose { .. } => {
                let pid = crate::records::proposal_id(request.body());
                self.proposals.push((pid, request.payer()));
            }
            _ => {}
        }
        self.sent.push(request.clone());
        Some(request)
    }

    /// One of the last proposals, with its proposer.
    fn proposal(&self, dice: &mut Dice<'_>) -> (Id, NodeId) {
        let first = self.proposals.len().saturating_sub(6);
        dice.of(&self.proposals[first..], ([0; 16], TREASURY))
    }

    fn operation(&mut self, dice: &mut Dice<'_>) -> (Vec<NodeId>, Op) {
        let user = dice.of(&self.users, TREASURY);
        let node = dice.of(&self.nodes, TREASURY);
        let other = dice.of(&self.nodes, TREASURY);
        let officers = match dice.yes(16) {
            true => Vec::from([user]),
            false => self.officers[..2].to_vec(),
        };
        let one = |op: Op| (Vec::from([user]), op);
        let amt = Self::amount(dice);
        match dice.below(24) {
            0..=4 => {
                let list = self.transfers(dice, user);
                let by = match dice.yes(3) {
                    true => Vec::from([user, self.anyone(dice)]),
                    false => Vec::from([user]),
                };
                (by, Op::Transfers { list })
            }
            5 => {
                let comm = dice.below(3) * 250_001;
                (Vec::from([node]), Op::Bond { amt, comm })
            }
            6 | 7 => one(Op::Delegate { amt, node }),
            8 => {
                let by = if dice.yes(2) { node } else { user };
                (Vec::from([by]), Op::Unbond { amt, node })
            }
            9 => one(Op::Redelegate {
                amt,
                from: node,
                to: other,
            }),
            10 => (Vec::from([node]), Op::Unjail),
            // A ban is for ever, and the nodes are few.
            11 if dice.yes(8) => (officers, self.evidence(dice, node)),
            11 | 12 => {
                let sent = dice.below(60) + 1;
                let list = Vec::from([(node, sent, sent - dice.below(sent))]);
                (officers, Op::Audit { list })
            }
            13 => one(Op::Reserve {
                amt: amt.max(1),
                credit: if dice.yes(4) { amt / 2 } else { 0 },
                of: hash(&[&[u8::try_from(dice.below(8)).unwrap_or(0)]]),
                kind: dice.below(2),
                ttl: dice.below(100_000) + 1,
            }),
            14 => (officers, self.settlement(dice, node)),
            15 => one(Op::Swap {
                back: dice.yes(3),
                vu: dice.below(200) + 1,
            }),
            16 => one(Op::Buy {
                bh: [0; 32],
                keyset: self.keyset,
                vu: dice.below(100) + 1,
            }),
            17 => (
                Vec::from([self.officers[0]]),
                Op::Redeem {
                    ans: hash(&[&self.made.to_be_bytes()]),
                    keyset: self.keyset,
                    to: user,
                    vu: dice.below(100) + 1,
                },
            ),
            18 => {
                let text = hash(&[b"text"]);
                let eff = self.effects(dice, user);
                let by = if dice.yes(2) { node } else { user };
                (Vec::from([by]), Op::propose(eff, text))
            }
            19 | 20 => {
                let by = if dice.yes(2) { node } else { user };
                let (pid, _) = self.proposal(dice);
                let v = [1, 1, 1, 0, 2][usize::try_from(dice.below(5)).unwrap_or(0)];
                (Vec::from([by]), Op::Vote { pid, v })
            }
            21 => {
                let (pid, proposer) = self.proposal(dice);
                match dice.below(3) {
                    0 => (Vec::from([proposer]), Op::Cancel { pid }),
                    _ => one(Op::Execute { pid }),
                }
            }
            22 if dice.yes(4) => {
                let (pid, _) = self.proposal(dice);
                let pid = (!dice.yes(4)).then_some(pid);
                (officers, Op::Brake { pid })
            }
            _ => match dice.below(3) {
                0 => one(Op::Open {
                    key: hash(&[&self.made.to_be_bytes()]),
                    kind: dice.below(2),
                }),
                1 => one(Op::Close),
                _ => one(Op::Rekey {
                    key: *self.identities[0].public().as_bytes(),
                }),
            },
        }
    }

    /// A list of transfers, most of them by a payer.
    pub fn transfers(&mut self, dice: &mut Dice<'_>, payer: NodeId) -> Vec<Transfer> {
        let mut list: Vec<Transfer> = Vec::new();
        for _ in 0..=dice.below(4) {
            let from = if dice.yes(8) {
                self.anyone(dice)
            } else {
                payer
            };
            let to = self.anyone(dice);
            let asset = match dice.below(8) {
                0 => Asset::Units,
                1 => Asset::Credits,
                _ => Asset::Fog,
            };
            let amt = Self::amount(dice);
            let pend = dice.of(&self.holds, [7; 16]);
            let kind = match dice.below(6) {
                0 => Kind::Pending {
                    from,
                    to,
                    asset,
                    amt,
                    ttl: dice.below(100_000) + 1,
                    arb: dice.yes(2).then(|| self.anyone(dice)),
                    price: 0,
                },
                1 => Kind::Post { pend, amt },
                2 => Kind::Void { pend },
                _ => Kind::Plain {
                    from,
                    to,
                    asset,
                    amt,
                },
            };
            let id = match dice.yes(12) {
                true => pend,
                false => self.id(),
            };
            list.extend(Transfer::new(id, dice.yes(4), &kind));
        }
        list
    }

    fn effects(&mut self, dice: &mut Dice<'_>, user: NodeId) -> Vec<Effect> {
        let rule = usize::try_from(dice.below(RULES.len() as u64)).unwrap_or(0);
        let rule = &RULES[rule];
        let now = self.economy.parameter(rule.param);
        let step = dice.below(rule.step + 1);
        let members = || {
            let mut members: Vec<Vec<u8>> = self.officers.iter().map(|id| id.0.to_vec()).collect();
            members.sort_unstable();
            members
        };
        let one = match dice.below(8) {
            0 | 1 => Effect::Spend {
                to: user,
                amt: dice.below(10_000 * MICRO) + 1,
            },
            2 => Effect::Role {
                role: Role::Auditors,
                members: members(),
            },
            3 => Effect::Freeze {
                id: user,
                on: dice.yes(2),
            },
            4 => Effect::Keyset {
                id: hash(&[&self.made.to_be_bytes()]),
                spender: user,
                exp: self.now + dice.below(60 * DAY_MS),
            },
            5 => Effect::Upgrade {
                name: String::from("next"),
                at: self.now,
            },
            6 => Effect::Param {
                param: rule.param,
                value: now.saturating_sub(step),
            },
            _ => Effect::Param {
                param: rule.param,
                value: now + step,
            },
        };
        match dice.yes(4) {
            true => Vec::from([Effect::Text, one]),
            false => Vec::from([one]),
        }
    }

    /// A receipt of a node, and its signature.
    fn receipt(&self, node: &NodeId, of: &Hash, copy: u64, out: u8) -> Option<(Vec<u8>, Proof)> {
        let signer = self.identity(node)?;
        let key = *signer.public().as_bytes();
        let mut w = Writer::default();
        w.map(8);
        w.text("key");
        w.bytes(&key);
        w.text("out");
        w.bytes(&[out; 32]);
        w.text("copy");
        w.unsigned(copy);
        w.text("fuel");
        w.unsigned(5_000_000);
        w.text("task");
        w.bytes(of);
        w.text("epoch");
        w.unsigned(1);
        w.text("fence");
        w.unsigned(copy);
        w.text("status");
        w.text("ok");
        let record = w.into_vec();
        let sig = signer.sign("BN-FOG-DONE1", &[&record]);
        let proof = Proof {
            record: record.clone(),
            key,
            sig,
        };
        Some((record, proof))
    }

    fn evidence(&self, dice: &mut Dice<'_>, node: NodeId) -> Op {
        let of = hash(&[&[u8::try_from(dice.below(8)).unwrap_or(0)]]);
        let copy = dice.below(4);
        let two = [1, 2].map(|out| self.receipt(&node, &of, copy, out));
        let list = two.into_iter().flatten().map(|(_, proof)| proof).collect();
        Op::Evidence {
            kind: 1,
            list,
            task: Vec::new(),
        }
    }

    fn settlement(&self, dice: &mut Dice<'_>, node: NodeId) -> Op {
        let (res, of) = dice.of(&self.reservations, ([0; 16], [0; 32]));
        let receipt = self.receipt(&node, &of, dice.below(200), 1);
        let leased = dice.yes(3);
        let (record, sig) = match receipt {
            Some((record, proof)) if !leased => (record, Some(proof.sig)),
            _ => (Vec::new(), None),
        };
        let item = Item {
            to: node,
            pay: Self::amount(dice).max(1),
            sla: dice.below(5) * 250_000,
            kib: dice.below(1_000),
            mibh: dice.below(1_000),
            record,
            sig,
        };
        Op::Settle {
            status: String::from("ok"),
            out: Vec::from([1; 32]),
            end: dice.yes(2),
            list: Vec::from([item]),
            res,
        }
    }
}
