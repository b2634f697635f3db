use crate::Outcome;
use crate::item::word_items;
use crate::resources::Resource;
use crate::word::words;

words! {
    /// The word that says why a task waits, why nodes did not pass, or why a copy or a task ended.
    pub enum Reason {
        // Tests of placement, in their order.
        /// The node is not active, offers no work, is full of copies, or rests after failures.
        State = "state",
        /// Another copy of the task is with the same organisation.
        Org = "org",
        /// The node does not serve the task's privacy level.
        Level = "level",
        /// The node's reputation is too low.
        Rep = "rep",
        /// An attribute that the task needs is missing.
        Need = "need",
        /// Another copy of the group shares the attribute to spread over.
        Spread = "spread",
        /// The node has less processor than the task asks for.
        CpuTotal = "cpu_total",
        /// The node has less memory than the task asks for.
        MemoryTotal = "memory_total",
        /// The node has less storage than the task asks for.
        StorageTotal = "storage_total",
        /// The node has fewer devices than the task asks for.
        GpuTotal = "gpu_total",
        /// The node has less bandwidth than the task asks for.
        BandwidthTotal = "bandwidth_total",
        /// The node forwards less mix traffic than the task asks for.
        RelayTotal = "relay_total",
        /// Too little processor is free.
        CpuFree = "cpu_free",
        /// Too little memory is free.
        MemoryFree = "memory_free",
        /// Too little storage is free.
        StorageFree = "storage_free",
        /// No device, or no share of one, is free.
        GpuFree = "gpu_free",
        /// Too little bandwidth is free.
        BandwidthFree = "bandwidth_free",
        /// Too little mix capacity is free.
        RelayFree = "relay_free",
        /// The demand factor is below the node's price.
        Price = "price",
        /// The node has its share of privacy-aware copies.
        Share = "share",
        // Other waits.
        /// Tasks before it have not succeeded yet.
        After = "after",
        /// Its start is in the future.
        Start = "start",
        /// It waits before a retry.
        Backoff = "backoff",
        /// Its namespace has used up its quota.
        Quota = "quota",
        /// It would cost more than its budget.
        Budget = "budget",
        // Ends of a copy or a task: results and faults.
        /// The program ended with exit code 0.
        Ok = "ok",
        /// The program ended with another exit code.
        Exit = "exit",
        /// The program trapped.
        Trap = "trap",
        /// The program used up its fuel.
        Fuel = "fuel",
        /// The program asked for too much memory.
        Memory = "memory",
        /// The program wrote too much.
        Output = "output",
        /// The module is not a valid program.
        Module = "module",
        /// The program ran too long.
        Time = "time",
        /// An input could not be fetched.
        Input = "input",
        /// The worker failed.
        Internal = "internal",
        // Ends of a copy without a receipt.
        /// Its node went offline.
        Down = "down",
        /// Its lease ended: the node no longer reports it.
        Lease = "lease",
        /// The worker gave it back.
        Nack = "nack",
        /// A task of a higher tier took its place.
        Preempted = "preempted",
        /// Its node drains or is quarantined.
        Drained = "drained",
        /// Its task has ended.
        Ended = "ended",
        // Ends of a task.
        /// More losses than a task may have.
        Lost = "lost",
        /// No result got enough votes.
        NoQuorum = "no_quorum",
        /// A task that it comes after did not succeed.
        Dependency = "dependency",
        /// Its owner cancelled it.
        Cancel = "cancel",
        /// Its deadline passed.
        Deadline = "deadline",
    }
}

impl Reason {
    /// The reason of a node that has less than the task asks for.
    #[must_use]
    pub const fn total(resource: Resource) -> Self {
        match resource {
            Resource::Cpu => Self::CpuTotal,
            Resource::Memory => Self::MemoryTotal,
            Resource::Storage => Self::StorageTotal,
            Resource::Gpu => Self::GpuTotal,
            Resource::Bandwidth => Self::BandwidthTotal,
            Resource::Relay => Self::RelayTotal,
        }
    }

    /// The reason of a node that has less free than the task asks for.
    #[must_use]
    pub const fn free(resource: Resource) -> Self {
        match resource {
            Resource::Cpu => Self::CpuFree,
            Resource::Memory => Self::MemoryFree,
            Resource::Storage => Self::StorageFree,
            Resource::Gpu => Self::GpuFree,
            Resource::Bandwidth => Self::BandwidthFree,
            Resource::Relay => Self::RelayFree,
        }
    }
}

impl From<Outcome> for Reason {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::Ok,
            Outcome::Exit => Self::Exit,
            Outcome::Trap => Self::Trap,
            Outcome::Fuel => Self::Fuel,
            Outcome::Memory => Self::Memory,
            Outcome::Output => Self::Output,
            Outcome::Module => Self::Module,
            Outcome::Time => Self::Time,
            Outcome::Input => Self::Input,
            Outcome::Internal => Self::Internal,
        }
    }
}

word_items!(Reason);
