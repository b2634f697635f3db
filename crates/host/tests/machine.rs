//! Tests of a machine and its meters by files made for them, and of our own processor time by real processes.
#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use betanet_host::{Energy, Machine, Own, Root, Sensors, Source, Used};
use betanet_machine::{Now, Time};

struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let all = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(path, text)| all.put(path, text));
        all
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn machine(&self) -> Machine {
        Machine::read(&Root::at(self.0.path()), Path::new("."))
    }
}

fn at(s: u64) -> Now {
    Now::new(
        Time::ZERO + Duration::from_secs(s),
        1_790_000_000_000 + s * 1000,
    )
}

const ALLOWED: (&str, &str) = ("proc/self/status", "Name: x\nCpus_allowed_list:\t0-7\n");
const MEMORY: (&str, &str) = ("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 500 kB\n");

#[test]
fn a_control_group_of_either_version_bounds_cores_and_memory() {
    let unified = Files::new(&[
        ALLOWED,
        MEMORY,
        ("proc/self/cgroup", "0::/a.slice/b.service\n"),
        ("sys/fs/cgroup/a.slice/b.service/cpu.max", "max 100000"),
        ("sys/fs/cgroup/a.slice/cpu.max", "150000 100000"),
        ("sys/fs/cgroup/a.slice/b.service/memory.max", "300000"),
        ("sys/fs/cgroup/a.slice/memory.max", "900000"),
    ]);
    let machine = unified.machine();
    assert_eq!(
        (machine.cores, machine.millicores, machine.memory),
        (8, 1500, 300_000)
    );
    let first = Files::new(&[
        ALLOWED,
        MEMORY,
        (
            "proc/self/cgroup",
            "5:cpu,cpuacct:/box\n4:memory:/host/box\n0::/\n",
        ),
        ("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "250000"),
        ("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000"),
        // The path is that of the host, so only the mount's own folder is there.
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "400000"),
    ]);
    let machine = first.machine();
    assert_eq!((machine.millicores, machine.memory), (2500, 400_000));
    let none = Files::new(&[
        ALLOWED,
        MEMORY,
        ("proc/self/cgroup", "5:cpu:/../../etc\n0::/../x\n"),
        ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1"),
        ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000"),
    ]);
    let machine = none.machine();
    assert_eq!((machine.millicores, machine.memory), (8000, 1_024_000));
}

#[test]
fn devices_have_names_and_one_that_two_drivers_list_is_one() {
    let gpu = "proc/driver/nvidia/gpus/0000:01:00.0/information";
    let files = Files::new(&[
        (
            gpu,
            "Model: \t\t NVIDIA A100-SXM4-40GB\nIRQ:   \t\t 42\nDevice Minor: \t 0\n",
        ),
        ("dev/nvidia0", ""),
        ("dev/nvidiactl", ""),
        ("dev/dri/renderD128", ""),
        ("dev/dri/renderD129", ""),
        (
            "sys/class/drm/card0/device/uevent",
            "DRIVER=nvidia\nPCI_SLOT_NAME=0000:01:00.0\n",
        ),
        ("sys/class/drm/card0/device/drm/renderD128/dev", "226:128"),
        (
            "sys/class/drm/card1/device/uevent",
            "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:0A:00.0\n",
        ),
        ("sys/class/drm/card1/device/vendor", "0x1002"),
        ("sys/class/drm/card1/device/device", "0x73bf"),
        (
            "sys/class/drm/card1/device/mem_info_vram_total",
            "17163091968",
        ),
        ("sys/class/drm/card1/device/drm/renderD129/dev", "226:129"),
        ("sys/class/drm/card1-DP-1/status", "connected"),
        (
            "sys/class/drm/card2/device/uevent",
            "DRIVER=simple-framebuffer\n",
        ),
        ("sys/class/drm/version", "drm 1.1.0"),
    ]);
    let devices = files.machine().devices;
    let names: Vec<&str> = devices.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["nvidia0", "card1", "card2"]);
    let models: Vec<Option<&str>> = devices.iter().map(|d| d.model.as_deref()).collect();
    assert_eq!(
        models,
        [Some("NVIDIA A100-SXM4-40GB"), Some("1002:73bf"), None]
    );
    let paths = ["/dev/nvidia0", "/dev/nvidiactl", "/dev/dri/renderD128"];
    assert_eq!(devices[0].files, paths.map(PathBuf::from));
    assert_eq!(devices[1].memory, Some(17_163_091_968));
    let compute: Vec<bool> = devices.iter().map(betanet_host::Device::computes).collect();
    assert_eq!(compute, [true, true, false]);
}

#[test]
fn a_device_whose_driver_has_no_file_does_not_compute() {
    let gpu = "proc/driver/nvidia/gpus/0000:01:00.0/information";
    let files = Files::new(&[(gpu, "Model: \t\t Tesla\nDevice Minor: \t 3\n")]);
    let devices = files.machine().devices;
    assert_eq!(
        (devices[0].name.as_str(), devices[0].computes()),
        ("nvidia3", false)
    );
}

#[test]
fn packages_tell_energy_and_their_counters_begin_anew() {
    let package = "sys/class/powercap/intel-rapl:0";
    let path = |name: &str| format!("{package}/{name}");
    let files = Files::new(&[
        (&path("name"), "package-0"),
        (&path("energy_uj"), "9000"),
        (&path("max_energy_range_uj"), "10000"),
        // A part of the package, and the whole platform, which has the package in it.
        ("sys/class/powercap/intel-rapl:0:0/name", "core"),
        ("sys/class/powercap/intel-rapl:0:0/energy_uj", "5"),
        ("sys/class/powercap/intel-rapl:1/name", "psys"),
        ("sys/class/powercap/intel-rapl:1/energy_uj", "5"),
    ]);
    let mut sensors = Sensors::new(Root::at(files.0.path()), Own::default());
    assert_eq!(sensors.read(at(0)).energy, None);
    files.put(&path("energy_uj"), "9500");
    files.put("sys/class/powercap/intel-rapl:1/energy_uj", "99999");
    let source = Source::Rapl;
    assert_eq!(sensors.read(at(1)).energy, Some(Energy { uj: 500, source }));
    files.put(&path("energy_uj"), "200");
    assert_eq!(sensors.read(at(2)).energy, Some(Energy { uj: 700, source }));
}

#[test]
fn a_battery_tells_energy_while_it_discharges() {
    let battery = "sys/class/power_supply/BAT0";
    let path = |name: &str| format!("{battery}/{name}");
    let files = Files::new(&[
        (&path("type"), "Battery"),
        (&path("status"), "Discharging"),
        (&path("current_now"), "-2000000"),
        (&path("voltage_now"), "12000000"),
    ]);
    let mut sensors = Sensors::new(Root::at(files.0.path()), Own::default());
    sensors.read(at(0));
    let uj = 24_000_000 * 5;
    let source = Source::Battery;
    assert_eq!(sensors.read(at(5)).energy, Some(Energy { uj, source }));
    files.put(&path("status"), "Charging");
    assert_eq!(sensors.read(at(6)).energy, None);
}

/// Looks until a condition holds, for a minute at most, and sums up what was used.
fn until(sensors: &mut Sensors, done: impl Fn(&Used) -> bool) -> Used {
    let mut sum = Used {
        busy: Duration::ZERO,
        own: Duration::ZERO,
        all: Duration::ZERO,
    };
    for s in 1..3000 {
        std::thread::sleep(Duration::from_millis(20));
        if let Some(used) = sensors.read(at(s)).used {
            sum.busy += used.busy;
            sum.own += used.own;
            sum.all += used.all;
        }
        if done(&sum) {
            return sum;
        }
    }
    sum
}

#[test]
fn what_a_child_of_ours_uses_is_our_own_while_it_runs_and_after() {
    let burn = || {
        let mut child = Command::new("sh");
        child.args(["-c", "while :; do :; done"]).spawn().unwrap()
    };
    let mut child = burn();
    let mut sensors = Sensors::new(Root::here(), Own::this_process());
    let used = until(&mut sensors, |u| u.own >= Duration::from_millis(300));
    assert!(used.own >= Duration::from_millis(300), "{used:?}");
    // The kernel counts the machine's time by ticks, and a process's own exactly.
    assert!(
        used.busy + Duration::from_millis(100) >= used.own,
        "{used:?}"
    );

    // To a look that knows nothing of us, the same work is that of others.
    let mut strange = Sensors::new(Root::here(), Own::default());
    let others = until(&mut strange, |u| u.busy >= Duration::from_millis(300));
    assert!(others.busy >= Duration::from_millis(300), "{others:?}");
    assert_eq!(others.own, Duration::ZERO);

    child.kill().unwrap();
    child.wait().unwrap();
    // The time of the child that ended counts on, so another one's is seen at once.
    let mut child = burn();
    let more = until(&mut sensors, |u| u.own >= Duration::from_millis(300));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(more.own >= Duration::from_millis(300), "{more:?}");
}
