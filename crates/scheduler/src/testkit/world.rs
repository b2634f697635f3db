//! The placer beside the model, under random fleets and tasks.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use betanet_fog::{
    Affinity, Amounts, Attribute, Digest, Kind, Level, Near, Need, Op, Placement, Resource,
    Resources, Strategy, TaskId, Tier, Word,
};
use betanet_wire::NodeId;

use super::model::Model;
use crate::class::Bounds;
use crate::{Ended, NewCopy, NodeSpec, Placer, Request};

/// Numbers that a random case is made of, one after the other.
struct Dice<'d>(core::slice::Iter<'d, u16>);

impl Dice<'_> {
    fn below(&mut self, n: u16) -> u16 {
        self.0.next().map_or(0, |x| x % n)
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        let n = u16::try_from(all.len()).unwrap();
        all[usize::from(self.below(n))].clone()
    }

    fn word(&mut self, all: &[&str]) -> Word {
        self.of(all).parse().unwrap()
    }

    fn one_in(&mut self, n: u16) -> bool {
        self.below(n) == 0
    }
}

fn id(n: u16) -> NodeId {
    // Neither the order of joins nor that of numbers.
    let mut id = [0; 20];
    id[0] = u8::try_from(n * 37 % 251).unwrap();
    id[19] = u8::try_from(n).unwrap();
    NodeId(id)
}

const ZONES: [&str; 4] = ["z0", "z1", "z2", ""];
const REGIONS: [&str; 3] = ["eu", "us", ""];
const ORGS: [&str; 4] = ["a", "b", "c", "d"];

fn spec(d: &mut Dice<'_>) -> NodeSpec {
    let n = d.below(14);
    let mut labels = BTreeMap::new();
    for (name, values) in [("disk", ["ssd", "hdd"]), ("rack", ["r1", "r2"])] {
        if !d.one_in(3) {
            labels.insert(name.parse().unwrap(), d.word(&values));
        }
    }
    NodeSpec {
        id: id(n),
        capacity: Resources::new(Amounts {
            cpu: d.of(&[1_000, 2_000, 4_000]),
            memory: d.of(&[2, 4, 64]) << 20,
            gpu: d.of(&[0, 0, 1_000, 2_000, 4_000]),
            storage: d.of(&[0, 1 << 30]),
            relay: d.of(&[0, 3_000_000, 50_000_000]),
            bandwidth: 0,
        })
        .unwrap(),
        kind: d.of(Kind::ALL),
        model: d.word(&["", "t4", "a100"]),
        org: d.word(&ORGS),
        vouched: !d.one_in(4),
        region: d.word(&REGIONS),
        zone: d.word(&ZONES),
        labels,
        level: d.of(Level::ALL),
        price: d.of(&[500_000, 1_000_000, 1_000_001]),
    }
}

fn wishes(d: &mut Dice<'_>) -> Placement {
    let attribute = |name: &str| Attribute::from(name.parse::<Word>().unwrap());
    let mut need = Vec::new();
    let mut affinity = Vec::new();
    let node: Word = alloc::format!("{}", id(d.below(16))).parse().unwrap();
    let attrs: [(&str, Vec<Word>); 6] = [
        ("zone", alloc::vec![d.word(&ZONES), d.word(&ZONES)]),
        ("org", alloc::vec![d.word(&ORGS)]),
        ("disk", alloc::vec![d.word(&["ssd", "hdd", "none"])]),
        ("model", alloc::vec![d.word(&["t4", "a100"])]),
        ("node", alloc::vec![node]),
        ("nothing", alloc::vec![d.word(&["x"])]),
    ];
    if d.one_in(3) {
        let (attr, values) = d.of(&attrs);
        need.push(Need {
            attribute: attribute(attr),
            op: d.of(&[Op::In, Op::In, Op::NotIn]),
            values: values.try_into().unwrap(),
        });
    }
    for _ in 0..d.below(3) {
        let (attr, values) = d.of(&attrs);
        affinity.push(Affinity {
            attribute: attribute(attr),
            values: values.try_into().unwrap(),
            weight: d.of(&[-50, 10, 10, 40]),
        });
    }
    let near = id(d.below(20));
    let spread = d.of(&["", "", "", "zone", "node", "disk"]);
    Placement {
        affinity: affinity.try_into().unwrap(),
        near: Near {
            node: d.one_in(2).then_some(near),
            region: d.word(&REGIONS),
            zone: d.word(&ZONES),
        },
        need: need.try_into().unwrap(),
        rep: d.of(&[0, 0, 0, 500_000]),
        spread: (!spread.is_empty()).then(|| attribute(spread)),
    }
}

const STRATEGIES: [Strategy; 5] = [
    Strategy::RoundRobin,
    Strategy::LeastLoaded,
    Strategy::Affinity,
    Strategy::Proximity,
    Strategy::PrivacyAware,
];

struct World {
    placer: Placer,
    model: Model,
    now: u64,
    fence: u64,
}

impl World {
    fn step(&mut self, d: &mut Dice<'_>) {
        match d.below(17) {
            16 => self.drain(d),
            0 | 1 => {
                let spec = spec(d);
                self.placer.put(&spec);
                self.model.put(&spec);
                self.activate(&spec.id, !d.one_in(5), !d.one_in(9));
            }
            2 => {
                let id = id(d.below(14));
                if d.one_in(3) {
                    self.placer.remove(&id);
                    self.model.remove(&id);
                } else if let Some(n) = self.model.node(&id) {
                    n.rep = 600_000;
                    self.placer.set_reputation(&id, 600_000).unwrap();
                }
            }
            3 => self.activate(&id(d.below(14)), !d.one_in(3), true),
            4 => {
                let (node, to, ms) = (id(d.below(14)), id(d.below(20)), u64::from(d.below(300)));
                if let Some(n) = self.model.node(&node) {
                    n.trips.insert(to, (ms, self.now));
                    self.placer.measured(self.now, &node, &[(to, ms)]).unwrap();
                }
            }
            5 => self.now += d.of(&[1, 30_000, 60_000, 599_999, 86_000_000]),
            6..=8 => self.end(d),
            _ => self.place(d),
        }
    }

    fn activate(&mut self, id: &NodeId, active: bool, work: bool) {
        if let Some(n) = self.model.node(id) {
            (n.active, n.work) = (active, work);
            self.placer.set_active(id, active, work).unwrap();
        }
    }

    /// A node takes nothing new, and its copies yield.
    fn drain(&mut self, d: &mut Dice<'_>) {
        let id = id(d.below(14));
        self.activate(&id, false, true);
        for fence in self.placer.fences(&id).to_vec() {
            assert_eq!(self.placer.end(self.now, fence, Ended::Dropped), Some(id));
            self.model.copies.remove(&fence);
        }
        if let Some(usage) = self.placer.node(&id) {
            assert_eq!((usage.copies, usage.load), (0, 0));
            assert_eq!(usage.reserved, Resources::ZERO);
        }
    }

    fn end(&mut self, d: &mut Dice<'_>) {
        let fences: Vec<u64> = self.model.copies.keys().copied().collect();
        if fences.is_empty() {
            return;
        }
        let fence = d.of(&fences);
        let copy = self.model.copies.remove(&fence).unwrap();
        let blob: Digest = [u8::try_from(d.below(3)).unwrap(); 32];
        let how = d.below(4);
        let now = self.now;
        let n = self.model.node(&copy.node).unwrap();
        match how {
            0 | 1 => {
                n.held.insert(blob, now);
            }
            2 => {
                n.failures += 1;
                if n.failures >= 5 {
                    n.rests_until = now + 60_000;
                }
            }
            _ => {}
        }
        if how < 2 {
            n.failures = 0;
        }
        let blobs = [blob];
        let ended = match how {
            0 | 1 => Ended::Result(&blobs),
            2 => Ended::Failed,
            _ => Ended::Dropped,
        };
        assert_eq!(self.placer.end(now, fence, ended), Some(copy.node));
    }

    fn place(&mut self, d: &mut Dice<'_>) {
        let wishes = wishes(d);
        let resources = Resources::new(Amounts {
            cpu: d.of(&[1, 100, 500, 1_500]),
            memory: d.of(&[1, 1 << 20, 3 << 20]),
            gpu: d.of(&[0, 0, 0, 300, 700, 1_000, 2_000]),
            storage: d.of(&[0, 0, 1 << 20]),
            relay: d.of(&[0, 1_000_000]),
            bandwidth: 0,
        })
        .unwrap();
        let level = d.of(&[
            Level::Public,
            Level::Public,
            Level::Public,
            Level::Private,
            Level::Secret,
        ]);
        let blobs: Vec<(Digest, u64)> = (0..2u8)
            .map(|i| {
                (
                    [i + u8::try_from(d.below(2)).unwrap(); 32],
                    u64::from(d.below(90)),
                )
            })
            .collect();
        let failed: Vec<NodeId> = (0..d.below(3)).map(|_| id(d.below(14))).collect();
        let apart = [d.of(&[None, Some("a"), Some("x")])];
        self.fence += 1;
        let task = TaskId([u8::try_from(self.fence % 251).unwrap(); 32]);
        let request = Request {
            task: &task,
            ns: "lab",
            group: d.of(&["", "web"]),
            tier: d.of(Tier::ALL),
            prio: u8::try_from(d.below(10)).unwrap(),
            level,
            strategy: d.of(&STRATEGIES),
            resources: &resources,
            wishes: &wishes,
            blobs: &blobs,
            seed: &[7; 32],
            factor: 1_000_000,
            apart: &apart[..usize::from(d.one_in(3))],
            failed: &failed,
            preempted: d.of(&[0, 2, 3]),
            reservation: None,
        };
        let copies: Vec<NewCopy> = (0..u64::from(d.of(&[1u8, 1, 1, 2, 3])))
            .map(|i| NewCopy {
                number: i,
                fence: self.fence + i,
            })
            .collect();
        self.fence += 3;
        let plan = self
            .placer
            .plan(self.now, &request, 0, copies.len())
            .unwrap();
        let want = self.model.place(self.now, &request, &copies);
        let got = self.placer.place(self.now, &request, &copies).unwrap();
        assert_eq!(plan, want, "{request:?}");
        assert_eq!(got, want.ok(), "{request:?}");
        for copy in got.iter().flat_map(|p| &p.copies) {
            let usage = self.placer.node(&copy.node).unwrap();
            let mut asked = Resource::ALL.iter().filter(|r| resources.get(**r) > 0);
            assert!(
                asked.all(|r| usage.reserved.get(*r) <= usage.capacity.get(*r)),
                "more than there is: {usage:?}"
            );
        }
    }

    fn compare(&self) {
        assert_eq!(self.placer.nodes(), self.model.nodes.len());
        assert_eq!(self.placer.live(), self.model.copies.len());
        for n in &self.model.nodes {
            let usage = self.placer.node(&n.spec.id).unwrap();
            let reserved: Vec<u64> = Resource::ALL
                .iter()
                .map(|r| usage.reserved.get(*r))
                .collect();
            assert_eq!(reserved, self.model.reserved(n));
            let (load, copies, _) = self.model.load(n);
            assert_eq!(
                (usage.load.min((1 << 53) - 1), usage.copies),
                (load, copies)
            );
        }
        for r in Resource::ALL.iter().copied() {
            let active = self.model.nodes.iter().filter(|n| n.active);
            let cap: u64 = active.clone().map(|n| n.spec.capacity.get(r)).sum();
            let used: u64 = active.map(|n| self.model.reserved(n)[r as usize]).sum();
            assert_eq!(self.placer.totals().capacity(r), u128::from(cap));
            assert_eq!(self.placer.totals().reserved(r), u128::from(used));
        }
    }
}

/// Steps of one run, so that none takes long.
const STEPS: usize = 400;

/// Numbers of one step at most.
const SPARE: usize = 48;

/// Runs a placer and the model beside it, as the numbers say.
pub(crate) fn run(bounds: Bounds, numbers: &[u16]) {
    let mut world = World {
        placer: Placer::with_bounds(bounds),
        model: Model::default(),
        now: 1_790_000_000_000,
        fence: 0,
    };
    let mut dice = Dice(numbers.iter());
    for _ in 0..8 {
        let spec = spec(&mut dice);
        world.placer.put(&spec);
        world.model.put(&spec);
        world.activate(&spec.id, true, true);
    }
    for _ in 0..STEPS {
        if dice.0.len() < SPARE {
            return;
        }
        world.step(&mut dice);
        world.compare();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
        #[test]
        fn the_placer_decides_as_the_text_says(
            numbers in prop::collection::vec(any::<u16>(), 200..4_000),
            common in 1..4usize,
            full in 0..6usize,
            rare in 0..4usize,
            list in 0..60usize,
            trees in 1..4usize,
        ) {
            run(Bounds { common, full, all: full + 2, rare, list, trees }, &numbers);
        }
    }
}
