//! The network that the node is part of.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use betanet_keys::Name;
use betanet_mesh::{Role, Roles};

use crate::config::knob::{Allowed, BUILT, Knob, Section, section};
use crate::config::{Found, GatewayConfig, shown};
use crate::{Network, SeedSource, load_identity};

section! {
    /// The network of the node, and its roles there.
    MeshSettings "mesh" "The network" {
        /// Join the network of this NETWORK.toml.
        network "network" "FILE": Option<PathBuf> = None;
        /// Role in the network. entry and core carry paths of others, and mix relays packets. gateway answers requests, and seed
        /// answers nodes that join.
        roles "roles" "ROLE" as "role": Roles = [Role::Gateway].into_iter().collect();
        /// Operator of the node, for its record, such as example.org.
        org "org" "TEXT": String = String::new();
        /// Refuse the node with this name.
        ban "ban" "NAME": Vec<Name> = Vec::new();
        + /// Where seeds are found beside those of the network's file.
        more_seeds: Option<Arc<dyn SeedSource>> = None;
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
