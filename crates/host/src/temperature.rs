//! The processor's temperature, from hwmon and thermal zones.

use crate::Root;

/// Drivers of processors and of chips that have the processor in them.
const PROCESSORS: [&str; 8] = [
    "coretemp",
    "k10temp",
    "k8temp",
    "zenpower",
    "cpu_thermal",
    "cputhermal",
    "soc_thermal",
    "scpi_sensors",
];
/// Sensors of one folder that are looked at.
const SENSORS: usize = 64;

/// Whether a value can be a temperature, in thousandths of a degree. Some sensors tell −273 °C or 255 °C where they have nothing to tell.
fn sane(value: &i32) -> bool {
    (-40_000..150_000).contains(value)
}

fn hwmon(root: &Root) -> Option<i32> {
    let folders = root.names("sys/class/hwmon").into_iter().take(SENSORS);
    let folders = folders.map(|n| format!("sys/class/hwmon/{n}"));
    let ours = folders.filter(|f| {
        let name = root.text(format!("{f}/name"));
        name.is_some_and(|n| PROCESSORS.contains(&n.as_str()))
    });
    let values = ours.flat_map(|folder| {
        let names = root.names(&folder).into_iter();
        let inputs = names.filter(|n| n.starts_with("temp") && n.ends_with("_input"));
        let values = inputs.filter_map(|n| root.number(format!("{folder}/{n}")));
        values.take(SENSORS * 4).collect::<Vec<i32>>()
    });
    values.filter(sane).max()
}

/// The hottest zone whose type says that it is the processor's, or of all where none does.
fn zones(root: &Root) -> Option<i32> {
    let names = root.names("sys/class/thermal").into_iter();
    let zones = names
        .filter(|n| n.starts_with("thermal_zone"))
        .take(SENSORS);
    let read = zones.filter_map(|name| {
        let folder = format!("sys/class/thermal/{name}");
        let kind = root.text(format!("{folder}/type"))?.to_ascii_lowercase();
        let value: i32 = root.number(format!("{folder}/temp"))?;
        let ours = ["cpu", "soc", "x86_pkg", "core", "package", "cluster"]
            .iter()
            .any(|part| kind.contains(part));
        sane(&value).then_some((ours, value))
    });
    read.max().map(|(_, value)| value)
}

/// The hottest of the processor's sensors, in thousandths of a degree.
pub(crate) fn read(root: &Root) -> Option<i32> {
    hwmon(root).or_else(|| zones(root))
}
