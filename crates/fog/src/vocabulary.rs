//! The closed sets of words.

use crate::item::word_items;
use crate::word::words;

words! {
    /// Service tier of a task, upward.
    pub enum Tier {
        /// Starts within 2.5 s.
        Bronze = "bronze",
        /// Starts within 1.2 s, costs 2.5 times.
        Silver = "silver",
        /// Starts within 0.4 s on three nodes, costs 5 times.
        Gold = "gold",
        /// Starts within 0.1 s under a quorum, costs 10 times.
        Platinum = "platinum",
    }
}

impl Tier {
    /// Bound on the 95th percentile of the time from ready to started, in ms.
    #[must_use]
    pub const fn start_p95_ms(self) -> u64 {
        match self {
            Self::Bronze => 2500,
            Self::Silver => 1200,
            Self::Gold => 400,
            Self::Platinum => 100,
        }
    }

    /// Least share of tasks that must end well, in millionths.
    #[must_use]
    pub const fn good_ppm(self) -> u64 {
        match self {
            Self::Bronze => 970_000,
            Self::Silver => 990_000,
            Self::Gold => 999_000,
            Self::Platinum => 999_900,
        }
    }

    /// Factor on the price, in thousandths.
    #[must_use]
    pub const fn price_factor(self) -> u64 {
        match self {
            Self::Bronze => 1000,
            Self::Silver => 2500,
            Self::Gold => 5000,
            Self::Platinum => 10_000,
        }
    }

    /// Fewest copies that are placed at first.
    #[must_use]
    pub const fn least_copies(self) -> u64 {
        match self {
            Self::Bronze | Self::Silver => 1,
            Self::Gold | Self::Platinum => 3,
        }
    }
}

words! {
    /// Privacy level of a task, or the highest that a node serves, upward.
    pub enum Level {
        /// Requests and blobs travel directly.
        Public = "public",
        /// Over three relays of the mix.
        Private = "private",
        /// Over five relays, with cover traffic.
        Confidential = "confidential",
        /// Over seven relays, with cover traffic, in no list, event or log.
        Secret = "secret",
    }
}

impl Level {
    /// Number of mix relays that requests and blobs of the task travel over.
    #[must_use]
    pub const fn relays(self) -> usize {
        match self {
            Self::Public => 0,
            Self::Private => 3,
            Self::Confidential => 5,
            Self::Secret => 7,
        }
    }

    /// Whether owner and node send cover traffic while the task lives.
    #[must_use]
    pub const fn cover(self) -> bool {
        matches!(self, Self::Confidential | Self::Secret)
    }
}

words! {
    /// Kind of a node.
    pub enum Kind {
        /// A phone, a home computer or another machine of a user.
        EdgeDevice = "edge_device",
        /// A relay.
        Relay = "relay",
        /// A mix node.
        Mixnode = "mixnode",
        /// A machine that is there to compute.
        Compute = "compute",
        /// A gateway.
        Gateway = "gateway",
    }
}

words! {
    /// Rule by which one of the possible nodes is chosen.
    pub enum Strategy {
        /// The node whose turn is oldest.
        RoundRobin = "round_robin",
        /// The node with the lowest load.
        LeastLoaded = "least_loaded",
        /// The node with the highest weights, then the most bytes at hand, then the tightest fit.
        Affinity = "affinity",
        /// The node that is nearest.
        Proximity = "proximity",
        /// A node drawn by its free relay capacity.
        PrivacyAware = "privacy_aware",
    }
}

words! {
    /// State of a node.
    pub enum NodeState {
        /// Joined, and has not beaten yet.
        Joining = "joining",
        /// Takes tasks.
        Active = "active",
        /// Takes nothing new and finishes what it has.
        Draining = "draining",
        /// Silent for too long.
        Offline = "offline",
        /// Taken out of service by its operator.
        Maintenance = "maintenance",
        /// Caught at wrong results; an operator ends it.
        Quarantined = "quarantined",
    }
}

words! {
    /// State of a task.
    pub enum TaskState {
        /// Waits for its start or for other tasks.
        Accepted = "accepted",
        /// Waits for nodes.
        Queued = "queued",
        /// A copy has a node.
        Assigned = "assigned",
        /// A copy runs.
        Running = "running",
        /// A result is there, and more are wanted.
        Verifying = "verifying",
        /// Ended with the result ok.
        Succeeded = "succeeded",
        /// Ended with another result, or without one.
        Failed = "failed",
        /// Ended by its owner, or because a task before it did not succeed.
        Cancelled = "cancelled",
        /// Ended by its deadline.
        Expired = "expired",
    }
}

impl TaskState {
    /// Whether the task has ended.
    #[must_use]
    pub const fn ended(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Expired
        )
    }

    /// Whether copies of the task have nodes.
    #[must_use]
    pub const fn live(self) -> bool {
        matches!(self, Self::Assigned | Self::Running | Self::Verifying)
    }
}

words! {
    /// Status of a receipt.
    pub enum Outcome {
        /// The program ended with exit code 0.
        Ok = "ok",
        /// The program ended with another exit code.
        Exit = "exit",
        /// The program trapped.
        Trap = "trap",
        /// The program used up its fuel.
        Fuel = "fuel",
        /// The program asked for more memory than the task has.
        Memory = "memory",
        /// The program wrote more than the task allows.
        Output = "output",
        /// The module is not a valid program.
        Module = "module",
        /// The program ran longer than the task allows.
        Time = "time",
        /// An input could not be fetched.
        Input = "input",
        /// The worker failed.
        Internal = "internal",
    }
}

/// The two ways in which a receipt ends a copy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// What the program did: another node would see the same.
    Result,
    /// What happened to the program: another node may fare better.
    Fault,
}

impl Outcome {
    /// Whether the receipt reports a result or a fault. With grants, a program may exit for reasons that lie outside it.
    #[must_use]
    pub const fn fate(self, grants: bool) -> Fate {
        match self {
            Self::Time | Self::Input | Self::Internal => Fate::Fault,
            Self::Exit if grants => Fate::Fault,
            _ => Fate::Result,
        }
    }

    /// Whether the receipt names an output.
    #[must_use]
    pub const fn has_output(self) -> bool {
        matches!(self, Self::Ok | Self::Exit)
    }
}

words! {
    /// Rule by which results decide.
    pub enum Verify {
        /// The first ok decides.
        None = "none",
        /// The second equal result decides; one is enough from a trusted node that is not drawn.
        Spot = "spot",
        /// The k-th equal result of n decides.
        Quorum = "quorum",
    }
}

words! {
    /// Access of a program to the world outside it.
    pub enum Grant {
        /// The time of day.
        Clock = "clock",
        /// The network.
        Network = "network",
        /// Random numbers.
        Random = "random",
    }
}

words! {
    /// Rule for a copy whose node falls silent.
    pub enum Offline {
        /// The worker stops the copy, so that two never run.
        Stop = "stop",
        /// The worker runs on, and the copy's fence lives longer.
        Keep = "keep",
        /// The worker runs on, and another copy may start.
        Replace = "replace",
    }
}

words! {
    /// Side of an order.
    pub enum Side {
        /// Buys lots.
        Bid = "bid",
        /// Sells lots.
        Ask = "ask",
    }
}

word_items!(Tier Level Kind Strategy NodeState TaskState Outcome Verify Grant Offline Side);
