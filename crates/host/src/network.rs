//! Network interfaces, and whether the one to the world costs by the byte.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::Root;

/// Interfaces that are listed.
pub const INTERFACES_MAX: usize = 64;

/// One network interface.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Interface {
    /// Its name, such as `eth0`.
    pub name: String,
    /// Whether it is up.
    pub up: bool,
    /// `wlan`, `wwan` and so on, where the kernel says so.
    pub kind: Option<String>,
    /// Speed of its link in Mbit/s, where the driver knows.
    pub mbit: Option<u32>,
    /// Whether packets to the world leave through it.
    pub default_route: bool,
}

/// Names of the interfaces of default routes.
fn default_routes(root: &Root) -> BTreeSet<String> {
    let v4 = root.text("proc/net/route").unwrap_or_default();
    // Interface, destination, gateway, flags, …, the mask as the eighth.
    let v4 = v4.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().take(8).collect();
        let all = fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000");
        all.then(|| fields.first().map(ToString::to_string))
            .flatten()
    });
    let v6 = root.text("proc/net/ipv6_route").unwrap_or_default();
    let v6 = v6.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let all = fields.get(1) == Some(&"00") && fields.first()?.bytes().all(|b| b == b'0');
        all.then(|| fields.last().map(ToString::to_string))
            .flatten()
    });
    // The kernel's own entry for what has no route leads to `lo`.
    v4.chain(v6).filter(|name| name != "lo").collect()
}

/// All interfaces but the loopback.
pub(crate) fn interfaces(root: &Root) -> Vec<Interface> {
    let routes = default_routes(root);
    let names = root.names("sys/class/net").into_iter();
    let names = names.filter(|n| n != "lo").take(INTERFACES_MAX);
    names
        .map(|name| {
            let folder = format!("sys/class/net/{name}");
            let event = root.text(format!("{folder}/uevent")).unwrap_or_default();
            let kind = event.lines().find_map(|l| l.strip_prefix("DEVTYPE="));
            let speed: Option<i64> = root.number(format!("{folder}/speed"));
            Interface {
                up: root.text(format!("{folder}/operstate")).as_deref() == Some("up"),
                kind: kind.map(ToOwned::to_owned),
                mbit: speed.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0),
                default_route: routes.contains(&name),
                name,
            }
        })
        .collect()
}

/// Whether a default route leads over mobile radio. `None` where that says nothing: only NetworkManager knows of the rest.
pub(crate) fn metered(root: &Root) -> Option<bool> {
    let radio = default_routes(root).into_iter().any(|name| {
        let event = root.text(format!("sys/class/net/{name}/uevent"));
        event.is_some_and(|e| e.lines().any(|l| l == "DEVTYPE=wwan"))
    });
    radio.then_some(true)
}
