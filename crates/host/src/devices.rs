//! Graphics and compute devices, by the files of NVIDIA's driver and of the kernel.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::Root;

/// Devices that are listed.
pub const DEVICES_MAX: usize = 64;

/// One device that tasks can be granted by its name.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Device {
    /// Its name: `nvidia0`, `card1`.
    pub name: String,
    /// Its driver in the kernel.
    pub driver: Option<String>,
    /// Its model, or vendor and device in hex where no file has a name.
    pub model: Option<String>,
    /// Its place on the bus.
    pub address: Option<String>,
    /// Its own memory in bytes, where a file tells.
    pub memory: Option<u64>,
    /// Files with which a program uses it, as far as they are there.
    pub files: Vec<PathBuf>,
}

impl Device {
    /// Whether programs can compute with it: it has a file for that.
    #[must_use]
    pub fn computes(&self) -> bool {
        let nvidia = self.driver.as_deref() == Some("nvidia");
        let mut files = self.files.iter().filter_map(|f| f.file_name()?.to_str());
        files.any(|n| n.starts_with("renderD") || (nvidia && n == self.name))
    }
}

/// A line `Name:   value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
    line.map(str::trim).filter(|v| !v.is_empty())
}

/// A line `NAME=value`.
fn assigned<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|l| l.strip_prefix(name)?.strip_prefix('='))
}

fn present(root: &Root, files: &[String]) -> Vec<PathBuf> {
    let there = files.iter().filter(|f| root.exists(f));
    there.map(|f| PathBuf::from("/").join(f)).collect()
}

/// What NVIDIA's own driver lists, by place on the bus.
fn nvidia(root: &Root) -> BTreeMap<String, Device> {
    let folder = "proc/driver/nvidia/gpus";
    let names = root.names(folder).into_iter().take(DEVICES_MAX);
    let read = names.filter_map(|address| {
        let text = root.text(format!("{folder}/{address}/information"))?;
        let minor: u16 = field(&text, "Device Minor")?.parse().ok()?;
        let name = format!("nvidia{minor}");
        let files = [
            format!("dev/{name}"),
            "dev/nvidiactl".to_owned(),
            "dev/nvidia-uvm".to_owned(),
        ];
        let device = Device {
            name,
            driver: Some("nvidia".to_owned()),
            model: field(&text, "Model").map(ToOwned::to_owned),
            address: Some(address.to_ascii_lowercase()),
            memory: None,
            files: present(root, &files),
        };
        Some((address.to_ascii_lowercase(), device))
    });
    read.collect()
}

/// One card of the kernel's list.
fn card(root: &Root, name: &str) -> Device {
    let folder = format!("sys/class/drm/{name}/device");
    let event = root.text(format!("{folder}/uevent")).unwrap_or_default();
    let id = |file: &str| {
        let text = root.text(format!("{folder}/{file}"))?;
        text.strip_prefix("0x").map(ToOwned::to_owned)
    };
    let files: Vec<String> = root
        .names(format!("{folder}/drm"))
        .into_iter()
        .filter(|n| n == name || n.starts_with("renderD"))
        .map(|n| format!("dev/dri/{n}"))
        .collect();
    let told = root.text(format!("{folder}/product_name"));
    let ids = id("vendor").zip(id("device"));
    Device {
        name: name.to_owned(),
        driver: assigned(&event, "DRIVER").map(ToOwned::to_owned),
        model: told
            .filter(|t| !t.is_empty())
            .or_else(|| ids.map(|(vendor, device)| format!("{vendor}:{device}"))),
        address: assigned(&event, "PCI_SLOT_NAME").map(str::to_ascii_lowercase),
        memory: root.number(format!("{folder}/mem_info_vram_total")),
        files: present(root, &files),
    }
}

/// All devices. One that both list has NVIDIA's name and the files of both.
pub(crate) fn devices(root: &Root) -> Vec<Device> {
    let mut named = nvidia(root);
    let mut others = Vec::new();
    let is_card = |n: &String| {
        n.strip_prefix("card")
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    let cards = root.names("sys/class/drm").into_iter().filter(is_card);
    for name in cards.take(DEVICES_MAX) {
        let card = card(root, &name);
        let both = card.address.as_ref().and_then(|a| named.get_mut(a));
        match both {
            Some(device) => device.files.extend(card.files),
            None => others.push(card),
        }
    }
    let all = named.into_values().chain(others);
    all.take(DEVICES_MAX).collect()
}
