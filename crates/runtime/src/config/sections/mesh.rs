//! The network that the node is part of.

use std::ffi::OsString;
use std::path::PathBuf;

use betanet_keys::Name;
use betanet_mesh::{Role, Roles};

use crate::config::knob::{Allowed, BUILT, Knob, Section, section};
use crate::config::{Found, GatewayConfig, shown};
use crate::{Network, load_identity};

section! {
    /// The network that the node is part of, and its part in it.
    MeshSettings "mesh" "The network" {
        /// Be part of the network that this file names, NETWORK.toml.
        network "network" "FILE": Option<PathBuf> = None;
        /// The node's part in the network: entry and core carry paths of others, mix relays packets, gateway answers requests, seed
        /// answers nodes that join.
        roles "roles" "ROLE" as "role": Roles = [Role::Gateway].into_iter().collect();
        /// The operator of the node, as its record says.
        org "org" "TEXT": String = String::new();
        /// Have nothing to do with this name.
        ban "ban" "NAME": Vec<Name> = Vec::new();
    }
}

impl Section for MeshSettings {
    fn knobs() -> Vec<Knob> {
        Self::declared()
    }

    fn set(&mut self, name: &str, texts: &[OsString]) -> Option<Result<(), Allowed>> {
        self.put(name, texts)
    }

    fn check(&self, _all: &GatewayConfig, found: &mut Found<'_>) {
        for role in self.roles.iter().filter(|role| !BUILT.contains(role)) {
            let why = format!("no node acts on the role {} yet: leave it out", role.name());
            found.problem("roles", role.name(), why);
        }
    }

    fn look(&self, all: &GatewayConfig, found: &mut Found<'_>) {
        let Some(file) = &self.network else {
            return;
        };
        let network = match Network::read(file) {
            Ok(network) => network,
            Err(e) => return found.problem("network", &shown(file), e.to_string()),
        };
        if network.mix.is_none() && self.roles.has(Role::Mix) {
            found.problem("roles", "mix", "the network has no [mix] part");
        }
        if self.roles.has(Role::Seed)
            && let Ok(identity) = load_identity(&all.node.key)
            && !network.seeds.iter().any(|s| s.key == *identity.public())
        {
            let why = "the network's file names other keys as its seeds: nobody asks this node";
            found.warning("roles", "seed", why);
        }
    }
}
