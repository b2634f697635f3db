//! Packets of the mix that the node relays.

use std::ffi::OsString;

use crate::Network;
use crate::config::knob::{Allowed, Knob, Section, section};
use crate::config::{Found, GatewayConfig};

/// Bounds of the numbers.
const NUMBERS: std::ops::RangeInclusive<usize> = 1..=1_000_000;

section! {
    /// Relaying of mix packets.
    MixSettings "mix" "The mix" {
        /// Packets per second for which the replay memory is sized. It keeps the tags of a key's whole life.
        rate "mix_rate" "N": u32 = 500;
        /// Maximum size of the replay memory in MiB. A node whose rate needs more does not start; 500/s need 150.
        memory "mix_memory" "MIB": usize = 1024;
        /// Threads that unwrap packets; by default one per core.
        workers "mix_workers" "N": Option<usize> = None;
        /// Maximum number of packets that wait for their departure; one session may occupy a sixteenth.
        waiting "mix_waiting" "N": usize = 16_384;
        /// For rehearsals: drop this many of a thousand packets, chosen by --mix-lose-seed.
        lose "mix_lose" "N": u16 = 0;
        /// Seed of the random choice of --mix-lose.
        lose_seed "mix_lose_seed" "N": u64 = 0;
    }
}

impl MixSettings {
    /// Threads that unwrap packets.
    #[must_use]
    pub fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.workers.unwrap_or_else(cores)
    }
}

impl Section for MixSettings {
    fn knobs() -> Vec<Knob> {
        Self::declared()
    }

    fn set(&mut self, name: &str, texts: &[OsString]) -> Option<Result<(), Allowed>> {
        self.put(name, texts)
    }

    fn check(&self, _all: &GatewayConfig, found: &mut Found<'_>) {
        if self.rate == 0 {
            found.problem("mix_rate", "0", "at least 1");
        }
        if self.lose > 1000 {
            found.problem("mix_lose", &self.lose.to_string(), "packets in a thousand");
        }
        found.within("mix_memory", self.memory, NUMBERS);
        found.within("mix_workers", self.workers.unwrap_or(1), NUMBERS);
        found.within("mix_waiting", self.waiting, NUMBERS);
    }

    fn look(&self, all: &GatewayConfig, found: &mut Found<'_>) {
        // A network that does not read is told by its own section.
        let network = all.mesh.network.as_ref().map(|file| Network::read(file));
        let Some(Ok(network)) = network else {
            return;
        };
        let needed = betanet_mixnet::replay_memory_needed(self.rate);
        if network.mix.is_some() && needed > self.memory {
            let why = format!("mix_rate = {} needs {needed}", self.rate);
            found.problem("mix_memory", &self.memory.to_string(), why);
        }
    }
}
