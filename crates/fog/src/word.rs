use alloc::boxed::Box;
use core::borrow::Borrow;
use core::fmt;
use core::ops::Deref;
use core::str::FromStr;

/// A short lowercase text: at most 63 of `a-z 0-9 - _ .`, or empty.
#[derive(Clone, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Word(Box<str>);

/// The text is no word of the kind that was expected.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a word, or not one of those allowed here")]
pub struct WordError;

impl Word {
    /// Longest word, in bytes.
    pub const MAX: usize = 63;

    /// Checks length and characters.
    ///
    /// # Errors
    ///
    /// The text is longer than [`Self::MAX`] or has another character.
    pub fn new(text: &str) -> Result<Self, WordError> {
        let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        if text.len() <= Self::MAX && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(WordError)
        }
    }
}

impl Deref for Word {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Word {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Word {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl FromStr for Word {
    type Err = WordError;
    fn from_str(text: &str) -> Result<Self, WordError> {
        Self::new(text)
    }
}

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum $name {
            $($(#[$vmeta])* $variant,)*
        }

        impl $name {
            /// All values, in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word of the record.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl FromStr for $name {
            type Err = WordError;
            fn from_str(text: &str) -> Result<Self, WordError> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(WordError),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Service class of a task, upward.
    Tier {
        /// Lowest class: its copies yield to every other tier.
        Bronze = "bronze",
        /// Yields to gold and platinum, three times a task at most.
        Silver = "silver",
        /// Three copies at first; never preempted.
        Gold = "gold",
        /// A quorum of at least three; never preempted.
        Platinum = "platinum",
    }
}

words! {
    /// Confidentiality of a task, or the highest that a node offers.
    Level {
        /// No relay of the mix is needed.
        Public = "public",
        /// Three relays.
        Private = "private",
        /// Five relays, and cover traffic.
        Confidential = "confidential",
        /// Seven relays, cover traffic, and no trace in lists, events or logs.
        Secret = "secret",
    }
}

words! {
    /// Rule by which a node is chosen among those that pass every test.
    Strategy {
        /// The node whose turn came longest ago.
        RoundRobin = "round_robin",
        /// The node with the smallest load.
        LeastLoaded = "least_loaded",
        /// Preferred attributes, then data at hand, then the tightest fit.
        Affinity = "affinity",
        /// The shortest round trip to a given place.
        Proximity = "proximity",
        /// A verifiable draw, weighted by free relay bandwidth.
        PrivacyAware = "privacy_aware",
    }
}

words! {
    /// Kind of a node.
    Kind {
        /// A device at the edge of the network.
        EdgeDevice = "edge_device",
        /// A relay of paths.
        Relay = "relay",
        /// A relay of the mix.
        Mixnode = "mixnode",
        /// A machine for tasks.
        Compute = "compute",
        /// A door to other networks.
        Gateway = "gateway",
    }
}

words! {
    /// State of a node, as the coordinator sees it.
    NodeState {
        /// Admitted; no beat yet.
        Joining = "joining",
        /// Takes tasks.
        Active = "active",
        /// Takes nothing new; its copies yield at a stated time.
        Draining = "draining",
        /// Silent for longer than the bound.
        Offline = "offline",
        /// Out of service, by its owner or an operator.
        Maintenance = "maintenance",
        /// Out of service after wrong results; an operator ends it.
        Quarantined = "quarantined",
    }
}

words! {
    /// State of a task.
    TaskState {
        /// Valid and waiting for its dependencies or its start.
        Accepted = "accepted",
        /// Waiting for nodes.
        Queued = "queued",
        /// Copies are placed; none has started.
        Assigned = "assigned",
        /// A copy has started.
        Running = "running",
        /// Results are compared, or more are awaited.
        Verifying = "verifying",
        /// Ended with the result `ok`.
        Succeeded = "succeeded",
        /// Ended with another result, or with none.
        Failed = "failed",
        /// Ended by its owner, or by a dependency.
        Cancelled = "cancelled",
        /// Ended by its deadline.
        Expired = "expired",
    }
}

words! {
    /// Why a node does not take a copy, in the order of the tests; then what else a task may wait for.
    Reason {
        /// The node is not active, takes no work, is full of copies, or rests after failures.
        State = "state",
        /// The node's organisation holds another copy of this task.
        Org = "org",
        /// The node does not offer the task's level.
        Level = "level",
        /// The node's reputation is below the bound.
        Rep = "rep",
        /// A required attribute is missing, or a forbidden one present.
        Need = "need",
        /// A live copy of the group shares the attribute.
        Spread = "spread",
        /// The node never has so much CPU.
        CpuTotal = "cpu_total",
        /// The node never has so much memory.
        MemoryTotal = "memory_total",
        /// The node never has so much storage.
        StorageTotal = "storage_total",
        /// The node never has such devices.
        GpuTotal = "gpu_total",
        /// The node never has so much bandwidth.
        BandwidthTotal = "bandwidth_total",
        /// The node never relays so much.
        RelayTotal = "relay_total",
        /// Too little CPU is free.
        CpuFree = "cpu_free",
        /// Too little memory is free.
        MemoryFree = "memory_free",
        /// Too little storage is free.
        StorageFree = "storage_free",
        /// No device, or too few devices, have what is asked.
        GpuFree = "gpu_free",
        /// Too little bandwidth is free.
        BandwidthFree = "bandwidth_free",
        /// Too little relay bandwidth is free.
        RelayFree = "relay_free",
        /// The node's price is above what is paid now.
        Price = "price",
        /// The node holds its share of drawn copies.
        Share = "share",
        /// A dependency has not ended.
        After = "after",
        /// The start time is not reached.
        Start = "start",
        /// A retry waits.
        Backoff = "backoff",
        /// The namespace's quota is used up.
        Quota = "quota",
        /// The price is above the task's budget.
        Budget = "budget",
    }
}
