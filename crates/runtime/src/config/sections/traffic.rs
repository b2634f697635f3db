//! The traffic's looks: its shape, padding and times, and the templates that sessions may have.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use betanet_htx::pace::Padding;
use betanet_traffic::shape::Shape;
use betanet_traffic::template::front::Profile;

use crate::config::knob::{Allowed, Knob, Section, section};
use crate::config::{Found, GatewayConfig, JITTER, shown, told};
use crate::{FrontRules, Network};

section! {
    /// Shape of the traffic.
    TrafficSettings "traffic" "Traffic" {
        /// Follow the shape of this file, which `betanet shape learn` writes, with clients that have it.
        shape "shape" "FILE": Option<Shape> = None;
        /// Pad answers to clients without a shape: buckets, a rate such as 64k bytes per second, or a range such as 16k..1m.
        padding "padding" "HOW": Option<Padding> = None;
        /// Delay TCP output by a random time of up to this many milliseconds, 1 to 1000. Response times then reveal less about the
        /// server. Tunnels with a --shape are not delayed; learn that shape from a site with the same jitter. At most 256 KiB wait:
        /// with 10, a connection carries about 50 MB per second.
        jitter "jitter" "MS": Option<Duration> = None;
        /// Signed records of front origins, one per line in hex, signed by the maintainers of --network.
        front_origins "front_origins" "FILE": Option<PathBuf> = None;
        /// Profile: standard, or extended, which ends sessions whose template is not in --front-origins.
        profile "profile" "PROFILE": Profile = Profile::Standard;
    }
}

impl Section for TrafficSettings {
    fn knobs() -> Vec<Knob> {
        Self::declared()
    }

    fn set(&mut self, name: &str, texts: &[OsString]) -> Option<Result<(), Allowed>> {
        self.put(name, texts)
    }

    fn check(&self, all: &GatewayConfig, found: &mut Found<'_>) {
        if let Some(jitter) = self.jitter {
            let fits = u64::try_from(jitter.as_millis()).is_ok_and(|ms| JITTER.contains(&ms));
            if !fits {
                let ms = jitter.as_millis().to_string();
                found.problem("jitter", &ms, "milliseconds, 1 to 1000");
            }
        }
        if let Some(path) = &self.front_origins
            && all.mesh.network.is_none()
            && found.is_read("network")
        {
            let why = "with network, whose maintainers sign the records";
            found.problem("front_origins", &shown(path), why);
        }
    }

    fn look(&self, all: &GatewayConfig, found: &mut Found<'_>) {
        // A network that does not read is told by its own section.
        if let (Some(records), Some(file)) = (&self.front_origins, &all.mesh.network)
            && let Ok(network) = Network::read(file)
            && let Err(e) = FrontRules::read(self.profile, Some(records), &network)
        {
            found.problem("front_origins", &shown(records), told(&e));
        }
    }
}
