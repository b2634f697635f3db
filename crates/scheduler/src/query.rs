//! A request in the numbers of the index, and the tests of a node in the chapter's order.

use alloc::vec::Vec;

use betanet_fog::{Attribute, Need, Op, Placement, Reason, Strategy, Word};
use betanet_wire::NodeId;

use crate::account::Account;
use crate::attributes::{KeyId, REGION, ValueId, ZONE};
use crate::class::Set;
use crate::fit::{Fit, Want};
use crate::fleet::Fleet;
use crate::groups::GroupId;
use crate::node::Node;
use crate::request::Request;

/// What a condition is about.
#[derive(Debug)]
pub(crate) enum Attr {
    /// These nodes.
    Nodes(Vec<u32>),
    /// Nodes with one of these values.
    Values(KeyId, Vec<ValueId>),
}

/// A condition, compiled.
#[derive(Debug)]
pub(crate) struct Term {
    pub(crate) attr: Attr,
    pub(crate) op: Op,
}

impl Attr {
    fn of(fleet: &Fleet, attribute: &Attribute, values: &[Word]) -> Self {
        if *attribute == Attribute::Node {
            let slot = |hex: &Word| fleet.slot(&node_id(hex)?);
            return Self::Nodes(values.iter().filter_map(slot).collect());
        }
        match fleet.attributes.key(attribute.as_str()) {
            Some(key) => {
                let value = |v: &Word| fleet.attributes.value(key, v);
                Self::Values(key, values.iter().filter_map(value).collect())
            }
            // Nobody has the attribute.
            None => Self::Nodes(Vec::new()),
        }
    }

    /// Whether the node has one of the values.
    pub(crate) fn holds(&self, slot: u32, node: &Node) -> bool {
        match self {
            Self::Nodes(slots) => slots.contains(&slot),
            Self::Values(key, values) => node.value(*key).is_some_and(|v| values.contains(&v)),
        }
    }

    /// Number of nodes with one of the values.
    pub(crate) fn count(&self, fleet: &Fleet) -> usize {
        match self {
            Self::Nodes(slots) => slots.len(),
            Self::Values(_, values) => {
                let of = |v: &ValueId| fleet.attributes.count(*v);
                values.iter().map(of).sum()
            }
        }
    }

    /// Adds the nodes with one of the values.
    pub(crate) fn collect(&self, fleet: &Fleet, out: &mut Vec<u32>) {
        match self {
            Self::Nodes(slots) => out.extend(slots),
            Self::Values(_, values) => {
                out.extend(values.iter().flat_map(|v| fleet.attributes.nodes(*v)));
            }
        }
    }
}

/// The node that an attribute value names in hex.
fn node_id(hex: &str) -> Option<NodeId> {
    let bytes = betanet_wire::text::unhex(hex)?;
    bytes.try_into().ok().map(NodeId)
}

#[derive(Debug)]
enum Spread {
    Nowhere,
    Node(GroupId),
    Value(GroupId, KeyId),
}

/// Where `proximity` wants to be.
#[derive(Debug, Default)]
pub(crate) struct Near {
    pub(crate) node: Option<NodeId>,
    pub(crate) region: Option<ValueId>,
    pub(crate) zone: Option<ValueId>,
}

/// A request in the numbers of the index. It is good until a node changes its description.
#[derive(Debug)]
pub(crate) struct Query<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(crate) now: u64,
    pub(crate) rule: Strategy,
    pub(crate) want: Want,
    set: Option<Set>,
    pub(crate) needs: Vec<Term>,
    pub(crate) prefs: Vec<(Attr, i64)>,
    pub(crate) near: Near,
    apart: Vec<Option<ValueId>>,
    spread: Spread,
    failed: Vec<u32>,
    /// Drawn copies with which a node has its share.
    limit: u64,
    /// Lots of the reservation: the only node, and what is set aside there.
    pub(crate) lots: Option<u32>,
}

impl<'a> Query<'a> {
    pub(crate) fn new(fleet: &mut Fleet, request: &'a Request<'a>, now: u64) -> Self {
        let wishes = request.wishes;
        let rule = request.rule();
        let term = |n: &Need| Term {
            attr: Attr::of(fleet, &n.attribute, &n.values),
            op: n.op,
        };
        let needs = wishes.need.iter().map(term).collect();
        let prefs = match rule {
            Strategy::Affinity => wishes
                .affinity
                .iter()
                .map(|p| (Attr::of(fleet, &p.attribute, &p.values), p.weight))
                .collect(),
            _ => Vec::new(),
        };
        let failed = request.failed.iter().filter_map(|id| fleet.slot(id));
        let failed = failed.collect();
        let near = match rule {
            Strategy::Proximity => near(fleet, wishes),
            _ => Near::default(),
        };
        let mut query = Self {
            request,
            now,
            rule,
            want: Want::new(request.resources, request.factor, wishes.rep, request.level),
            set: None,
            needs,
            prefs,
            near,
            apart: Vec::new(),
            spread: Spread::Nowhere,
            failed,
            limit: u64::MAX,
            lots: None,
        };
        for org in request.apart {
            match org {
                None => query.apart.push(None),
                Some(name) => {
                    let value = fleet.attributes.value(crate::attributes::ORG, name);
                    query.apart.extend(value.map(Some));
                }
            }
        }
        query.renew(fleet);
        query
    }

    /// What changes with each copy that is placed.
    fn renew(&mut self, fleet: &mut Fleet) {
        let r = self.request;
        self.lots = r.reservation.map(|id| {
            fleet
                .lots
                .get(id)
                .filter(|l| !l.over)
                .map_or(u32::MAX, |l| l.slot)
        });
        if self.rule == Strategy::PrivacyAware {
            let (_, walked) = fleet.seats.total(r.level);
            self.limit = (2 * (fleet.drawn + 1)).div_ceil(walked.max(1)).max(2);
        }
        let group = fleet.groups.find(r.ns, r.group);
        self.spread = match (&r.wishes.spread, group) {
            (Some(Attribute::Node), Some(group)) => Spread::Node(group),
            (Some(attribute), Some(group)) => match fleet.attributes.key(attribute.as_str()) {
                Some(key) => {
                    fleet.watch(group, key);
                    Spread::Value(group, key)
                }
                None => Spread::Nowhere,
            },
            _ => Spread::Nowhere,
        };
        self.narrow(fleet);
    }

    /// A copy of this task is on the node: the next ones keep apart from it.
    pub(crate) fn placed(&mut self, fleet: &mut Fleet, slot: u32) {
        self.apart.extend(fleet.node(slot).map(Node::org));
        self.renew(fleet);
    }

    /// Whether this task had a fault or a loss on the node.
    pub(crate) fn failed_on(&self, slot: u32) -> bool {
        self.failed.contains(&slot)
    }

    pub(crate) fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// The classes of which some node may pass the tests of fixed attributes; `None`: all.
    pub(crate) fn set(&self) -> Option<&Set> {
        self.set.as_ref()
    }

    /// The classes that pass, and what every node that passes has in common.
    fn narrow(&mut self, fleet: &Fleet) {
        let (classes, r) = (&fleet.classes, self.request);
        let factor = match r.reservation {
            Some(_) => u64::MAX,
            None => r.factor,
        };
        self.want = Want::new(r.resources, factor, r.wishes.rep, r.level);
        self.set = None;
        if self.needs.is_empty()
            && self.apart.is_empty()
            && !matches!(self.spread, Spread::Value(..))
        {
            return;
        }
        let mut set = classes.all().clone();
        for term in &self.needs {
            match (&term.attr, term.op) {
                (Attr::Values(key, values), Op::In) => {
                    let mut holding = classes.holding(*key, values);
                    holding.known.join(&holding.unknown);
                    set.keep(&holding.known);
                    self.want = self.want.and(holding.facts);
                }
                (Attr::Values(key, values), Op::NotIn) => {
                    set.without(&classes.holding(*key, values).known);
                }
                (Attr::Nodes(slots), Op::In) if slots.is_empty() => set = Set::default(),
                (Attr::Nodes(_), _) => {}
            }
        }
        for org in &self.apart {
            set.without(&classes.of_org(*org));
        }
        if let Spread::Value(group, key) = self.spread {
            for value in fleet.groups.values(group, key) {
                if let Some(with) = classes.with(key, value) {
                    set.without(with);
                }
            }
        }
        self.set = Some(set);
    }

    /// Whether a node may pass, as far as its index tells.
    #[inline]
    pub(crate) fn may_pass(&self, fit: &Fit) -> bool {
        self.want.admits(fit) && self.set.as_ref().is_none_or(|s| s.has(fit.class()))
    }

    /// What the copy's resources are taken from.
    pub(crate) fn account<'f>(&self, fleet: &'f Fleet, node: &'f Node) -> &'f Account {
        let lots = self.request.reservation.and_then(|id| fleet.lots.get(id));
        lots.map_or(&node.account, |l| &l.account)
    }

    /// The first test that a node fails before those of free resources.
    pub(crate) fn unfit(&self, fleet: &Fleet, slot: u32, node: &Node) -> Option<Reason> {
        let r = self.request;
        if !node.open {
            return Some(Reason::State);
        }
        if !self.apart.is_empty() && self.apart.contains(&node.org()) {
            return Some(Reason::Org);
        }
        if node.level < r.level {
            return Some(Reason::Level);
        }
        if u64::from(node.rep) < r.wishes.rep {
            return Some(Reason::Rep);
        }
        let fails = |t: &Term| t.attr.holds(slot, node) != (t.op == Op::In);
        if self.needs.iter().any(fails) {
            return Some(Reason::Need);
        }
        let taken = match self.spread {
            Spread::Nowhere => false,
            Spread::Node(group) => fleet.groups.on(group, slot),
            Spread::Value(group, key) => node
                .value(key)
                .is_some_and(|v| fleet.groups.has(group, key, v)),
        };
        if taken {
            return Some(Reason::Spread);
        }
        let cap = self.account(fleet, node).cap();
        r.resources.first_over(cap).map(Reason::total)
    }

    /// The first test that a node fails after those of free resources.
    pub(crate) fn dear(&self, node: &Node) -> Option<Reason> {
        let r = self.request;
        if r.reservation.is_none() && r.factor < u64::from(node.price) {
            return Some(Reason::Price);
        }
        (node.drawn >= self.limit).then_some(Reason::Share)
    }

    /// The first test that a node fails.
    pub(crate) fn why(&self, fleet: &Fleet, slot: u32) -> Option<Reason> {
        let Some(node) = fleet.node(slot) else {
            return Some(Reason::State);
        };
        self.unfit(fleet, slot, node)
            .or_else(|| {
                let account = self.account(fleet, node);
                account.short_of(self.request.resources).map(Reason::free)
            })
            .or_else(|| self.dear(node))
    }

    /// Whether a node passes all tests. Those where the task failed count in the second round only.
    pub(crate) fn passes(&self, fleet: &Fleet, slot: u32, second: bool) -> bool {
        (second || !self.failed_on(slot)) && self.why(fleet, slot).is_none()
    }
}

fn near(fleet: &Fleet, wishes: &Placement) -> Near {
    let value = |key, word: &Word| match word.is_empty() {
        true => None,
        false => fleet.attributes.value(key, word),
    };
    let region = value(REGION, &wishes.near.region);
    Near {
        node: wishes.near.node,
        region,
        zone: region.and_then(|_| value(ZONE, &wishes.near.zone)),
    }
}
