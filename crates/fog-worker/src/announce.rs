//! A node's description of itself.

use std::collections::BTreeMap;

use betanet_fog::{
    Amounts, Kind, Labels, Level, Map, Node, Refusal, RefusalCode, Resources, Signed, Word,
};
use betanet_host::Machine;
use betanet_keys::Identity;

/// Resources of this machine for tasks, as they were measured.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Measured {
    /// Thousandths of a core.
    pub cpu: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Free bytes of the disk with the state folder.
    pub disk: u64,
    /// Model of the first device for computing, as a word; empty if there is none.
    pub model: Word,
    /// Names of devices for computing, such as graphics cards.
    pub devices: Vec<String>,
}

impl From<&Machine> for Measured {
    fn from(machine: &Machine) -> Self {
        let devices = machine.devices.iter().filter(|device| device.computes());
        let model = devices.clone().find_map(|device| device.model.as_deref());
        Self {
            cpu: machine.millicores,
            memory: machine.memory,
            disk: machine.disk.map_or(0, |disk| disk.free),
            model: model.map(word).unwrap_or_default(),
            devices: devices.map(|device| device.name.clone()).collect(),
        }
    }
}

/// Least mix traffic that a task above public asks for, in bits a second.
const RELAY_LEAST: u64 = 1_000_000;

/// The operator's description of the node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Described {
    /// Organisation that runs the node. It never changes.
    pub org: Word,
    /// Kind of the node.
    pub kind: Kind,
    /// Region; empty means none.
    pub region: Word,
    /// Zone; empty means none.
    pub zone: Word,
    /// Lowest demand factor at which it takes tasks, in millionths.
    pub price: u64,
    /// Labels.
    pub labels: BTreeMap<Word, Word>,
    /// Thousandths of a core for tasks, instead of all that is there.
    pub cpu: Option<u64>,
    /// Bytes of memory for tasks, instead of seven eighths of what is there.
    pub memory: Option<u64>,
    /// Bytes of the disk for running tasks, instead of half of what is free.
    pub storage: Option<u64>,
    /// Names of devices to announce, of those that were found. Programs of WASI cannot use any: a task that asks for one ends as `input`.
    pub devices: Vec<String>,
    /// Bits a second of the line. It is not measured: 0 means that tasks which ask for some go elsewhere.
    pub bandwidth: u64,
    /// Bits a second of mix traffic. Tasks above public each ask for 10^6 of it, so a node that claims a level announces that at least.
    pub relay: u64,
    /// Level that the node claims, and proves to its coordinators.
    pub level: Level,
}

impl Default for Described {
    fn default() -> Self {
        Self {
            org: Word::default(),
            kind: Kind::Compute,
            region: Word::default(),
            zone: Word::default(),
            price: 1,
            labels: BTreeMap::new(),
            cpu: None,
            memory: None,
            storage: None,
            devices: Vec::new(),
            bandwidth: 0,
            relay: 0,
            level: Level::Public,
        }
    }
}

/// A node is to offer a device that its machine does not have.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", unknown(name, found, *twice))]
#[non_exhaustive]
pub struct UnknownDevice {
    /// The name that was given.
    pub name: String,
    /// The devices that were found.
    pub found: Vec<String>,
    /// Whether it is one of them, and was named before.
    pub twice: bool,
}

fn unknown(name: &str, found: &[String], twice: bool) -> String {
    match found.join(", ") {
        _ if twice => format!("the device {name:?} is named twice"),
        all if all.is_empty() => {
            format!("there is no device {name:?}: this machine has none for computing")
        }
        all => format!("there is no device {name:?}: this machine has {all}"),
    }
}

/// Label that names the devices of a node, which a task can ask for.
const DEVICES: &str = "devices";

/// A name as a word: other characters become `-`.
fn word(name: &str) -> Word {
    let plain = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '-' | '_' | '.') => c,
        _ => '-',
    };
    let text: String = name.chars().map(plain).take(63).collect();
    text.trim_matches('-').parse().unwrap_or_default()
}

impl Described {
    /// Leaves tasks only this percentage of the measured memory, unless the operator has named an amount.
    pub(crate) fn lend(&mut self, percent: u8, measured: &Measured) {
        let share = measured.memory / 100 * u64::from(percent);
        self.memory = self.memory.or(Some(share));
    }

    /// Checks that each device to offer is one of those that were found, and is named once.
    ///
    /// # Errors
    ///
    /// The first that is not.
    pub fn check_devices(&self, measured: &Measured) -> Result<(), UnknownDevice> {
        for (n, name) in self.devices.iter().enumerate() {
            let twice = self.devices.iter().take(n).any(|other| other == name);
            if twice || !measured.devices.contains(name) {
                return Err(UnknownDevice {
                    name: name.clone(),
                    found: measured.devices.clone(),
                    twice: twice && measured.devices.contains(name),
                });
            }
        }
        Ok(())
    }

    /// The amounts that are announced.
    #[must_use]
    pub fn amounts(&self, measured: &Measured) -> Amounts {
        Amounts {
            cpu: self.cpu.unwrap_or(measured.cpu),
            memory: self.memory.unwrap_or(measured.memory / 8 * 7),
            storage: self.storage.unwrap_or(measured.disk / 2),
            gpu: 1000 * self.devices.len() as u64,
            bandwidth: self.bandwidth,
            relay: match self.level {
                Level::Public => self.relay,
                _ => self.relay.max(RELAY_LEAST),
            },
        }
    }

    /// The signed description of a node.
    ///
    /// # Errors
    ///
    /// A value that no description can have.
    pub fn sign(
        &self,
        me: &Identity,
        measured: &Measured,
        engine: &str,
        seq: u64,
    ) -> Result<Signed<Node>, Refusal> {
        let mut labels = self.labels.clone();
        if !measured.devices.is_empty() {
            let key: Word = DEVICES.parse().unwrap_or_default();
            labels
                .entry(key)
                .or_insert_with(|| word(&measured.devices.join("_")));
        }
        let bad = |_| RefusalCode::BadValue.of("labels");
        let labels = Labels::new(Map::try_from(labels).map_err(bad)?)?;
        let node = Node {
            cap: Resources::capacity(self.amounts(measured))?,
            key: *me.public().as_bytes(),
            org: self.org.clone(),
            seq,
            kind: self.kind,
            zone: self.zone.clone(),
            level: self.level,
            model: measured.model.clone(),
            price: self.price,
            engine: engine.parse().unwrap_or_default(),
            labels,
            region: self.region.clone(),
        };
        Signed::sign(node, me)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_announced_unless_the_operator_says_otherwise() {
        let measured = Measured {
            cpu: 4_000,
            memory: 8 << 30,
            disk: 100 << 30,
            model: Word::default(),
            devices: vec!["nvidia0".into(), "card 1".into()],
        };
        let described = Described {
            org: "acme".parse().unwrap(),
            ..Described::default()
        };
        let me = Identity::from_seed(&[1; 32]);
        let node = described.sign(&me, &measured, "wasmtime 48", 5).unwrap();
        assert_eq!((node.cap.cpu(), node.cap.memory()), (4_000, 7 << 30));
        // A card that programs cannot use is named, and is not offered.
        assert_eq!(node.cap.gpu(), 0);
        assert_eq!(&*node.labels[&word("devices")], "nvidia0_card-1");
        let mut lent = described.clone();
        lent.lend(50, &measured);
        let half = lent.amounts(&measured).memory;
        assert!(half <= 4 << 30 && half > (4 << 30) - 100, "{half}");
        lent.memory = Some(1 << 30);
        lent.lend(50, &measured);
        assert_eq!(lent.amounts(&measured).memory, 1 << 30);
        let less = Described {
            cpu: Some(500),
            devices: vec!["card 1".into(), "nvidia0".into()],
            ..described.clone()
        };
        assert_eq!(less.check_devices(&measured), Ok(()));
        let node = less.sign(&me, &measured, "wasmtime 48", 6).unwrap();
        assert_eq!((node.cap.cpu(), node.cap.gpu()), (500, 2_000));
        let claims = Described {
            level: Level::Private,
            ..described.clone()
        };
        let node = claims.sign(&me, &measured, "wasmtime 48", 7).unwrap();
        assert_eq!((node.level, node.cap.relay()), (Level::Private, 1_000_000));
        // None that is not there, and none twice.
        for (devices, twice) in [(["nvidia0", "anything"], false), (["nvidia0"; 2], true)] {
            let more = Described {
                devices: devices.map(String::from).to_vec(),
                ..described.clone()
            };
            let unknown = more.check_devices(&measured).unwrap_err();
            assert_eq!((&*unknown.name, unknown.twice), (devices[1], twice));
            let none = more.check_devices(&Measured::default()).unwrap_err();
            assert_eq!((&*none.name, none.twice), ("nvidia0", false));
        }
        let none = Described {
            org: Word::default(),
            ..described
        };
        assert!(none.sign(&me, &measured, "wasmtime 48", 8).is_err());
    }
}
