//! The cage: layers that the kernel closes around a guest's process. Each holds without the others, and where a kernel
//! refuses one, the child says so and goes on without it.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::net::UnixStream,
};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, Compatible as _, NetPort, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};
use rustix::{
    fs::{CWD, Mode},
    mount::{MountFlags, MountPropagationFlags, UnmountFlags},
    process::{DumpableBehavior, Resource, Rlimit, Signal, WaitOptions},
    thread::{CapabilitySet, CapabilitySets, Gid, Uid, UnshareFlags},
};

use super::{Gone, raw};
use crate::{Limits, wire::Frame};

/// Number of the user and group "nobody".
const NOBODY: u32 = 65534;
/// Bytes of writable memory that a process needs beside its guest's.
const BASE: u64 = 96 << 20;
/// The same for the compiler, and seconds of processor time that it may take.
const COMPILER: u64 = 1 << 30;
const COMPILER_TIME: u64 = 120;

/// Descriptors of a guest's process.
const DESCRIPTORS: u64 = 256;
/// Sockets that a guest with the network's grant has at one time: the kernel's memory behind each is not counted as the process's.
const SOCKETS_MAX: u64 = 32;
/// Descriptors that the process may need besides these and its inputs. A guest can open those that are left over as sockets.
const OWN: u64 = 16;

/// Bytes of its stack.
const STACK: u64 = 8 << 20;
/// Bytes of addresses. The engine reserves 4 GiB and some for each memory, of which a guest has at most 32. The kernel's
/// tables for so many addresses take up to 512 MiB, which no limit counts.
const ADDRESSES: u64 = 256 << 30;

/// A layer of the cage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    /// It runs as nobody, without privileges. Closed by root, and with own users.
    Nobody,
    /// Own users: what it is outside, it is not inside.
    User,
    /// Own mounts, of which there is one: an empty folder that nobody can write to.
    Mount,
    /// Own processes: it sees none but itself.
    Pid,
    /// Own network, without a device.
    Network,
    /// Own shared memory and queues.
    Ipc,
    /// No path can be opened.
    Landlock,
    /// Few system calls are left.
    Seccomp,
}

impl Layer {
    pub(crate) const ALL: [Self; 8] = [
        Self::Nobody,
        Self::User,
        Self::Mount,
        Self::Pid,
        Self::Network,
        Self::Ipc,
        Self::Landlock,
        Self::Seccomp,
    ];

    pub(crate) fn bit(self) -> u32 {
        1 << self as u32
    }

    /// The first layer of these that is not among those closed. With the network's grant, a child keeps the network.
    pub(crate) fn lacking(needed: u32, closed: u32, network: bool) -> Option<Self> {
        Self::ALL.into_iter().find(|layer| {
            let granted = network && *layer == Self::Network;
            !granted && needed & !closed & layer.bit() != 0
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::User => "user",
            Self::Mount => "mount",
            Self::Pid => "pid",
            Self::Network => "network",
            Self::Ipc => "ipc",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
        }
    }
}

/// Where a process finds itself afterwards.
pub(super) enum Entered {
    /// In the cage, with the socket and these layers closed.
    Inside(UnixStream, u32),
    /// Outside: the one inside has ended.
    Relay,
}

/// Closes all layers but the last, which needs the order.
pub(super) fn enter(socket: UnixStream, network: bool) -> Result<Entered, Gone> {
    die_with_parent()?;
    for resource in [
        Resource::Core,
        Resource::Fsize,
        Resource::Msgqueue,
        Resource::Memlock,
    ] {
        limit(resource, 0)?;
    }
    let mut closed = 0;
    let kinds = [
        (Layer::Mount, UnshareFlags::NEWNS),
        (Layer::Pid, UnshareFlags::NEWPID),
        (Layer::Network, UnshareFlags::NEWNET),
        (Layer::Ipc, UnshareFlags::NEWIPC | UnshareFlags::NEWUTS),
    ];
    let wanted: Vec<_> = kinds
        .into_iter()
        .filter(|(layer, _)| !(network && *layer == Layer::Network))
        .collect();
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    let root = uid.is_root();
    if !root {
        // Of a process that nobody may inspect, these files are root's.
        inspected(true)?;
    }
    // The kernel ends it first when memory runs out. Where that cannot be said, the limits still hold.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    // Root needs no namespace of users for the others; everybody else gets the others by it.
    if !root && raw::unshare(UnshareFlags::NEWUSER).is_ok() && map(uid, gid).is_ok() {
        closed |= Layer::User.bit();
    }
    inspected(false)?;
    let all = wanted
        .iter()
        .fold(UnshareFlags::empty(), |all, (_, flag)| all | *flag);
    if raw::unshare(all).is_ok() {
        closed |= wanted.iter().fold(0, |all, (layer, _)| all | layer.bit());
    } else {
        for (layer, flag) in &wanted {
            if raw::unshare(*flag).is_ok() {
                closed |= layer.bit();
            }
        }
    }
    if closed & Layer::Pid.bit() != 0 {
        // Only a new process is in the new namespace. This one waits for it, so that the parent waits for both.
        if let Some(pid) = raw::fork()? {
            let number = pid.as_raw_nonzero().get().cast_unsigned();
            (&socket).write_all(&Frame::Pid(number).encode())?;
            // The socket is to end with the new process.
            drop(socket);
            raw::close_stdin();
            let _ = rustix::io::retry_on_intr(|| {
                rustix::process::waitpid(Some(pid), WaitOptions::empty())
            });
            return Ok(Entered::Relay);
        }
        die_with_parent()?;
    }
    if closed & Layer::Mount.bit() != 0 && empty_root().is_err() {
        closed &= !Layer::Mount.bit();
    }
    // Another user who got no namespace of users stays who it is.
    let other = root || closed & Layer::User.bit() != 0;
    if nobody(root).is_ok() && other {
        closed |= Layer::Nobody.bit();
    }
    rustix::thread::set_no_new_privs(true).map_err(io::Error::from)?;
    // A change of user forgets these two.
    inspected(false)?;
    die_with_parent()?;
    if landlock(network) {
        closed |= Layer::Landlock.bit();
    }
    Ok(Entered::Inside(socket, closed))
}

/// The kernel ends this process when the thread that started it ends.
pub(super) fn die_with_parent() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// Whether other processes of the same user may inspect this one and those that it forks, and it leaves an image when it breaks.
/// The start of a program allows it.
pub(super) fn inspected(may: bool) -> io::Result<()> {
    let how = if may {
        DumpableBehavior::Dumpable
    } else {
        DumpableBehavior::NotDumpable
    };
    Ok(rustix::process::set_dumpable_behavior(how)?)
}

/// Makes this user nobody in the new namespace. Only the one line that everybody may write.
fn map(uid: Uid, gid: Gid) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{NOBODY} {} 1", uid.as_raw()))?;
    fs::write("/proc/self/gid_map", format!("{NOBODY} {} 1", gid.as_raw()))
}

/// Puts an empty folder in the place of all files.
fn empty_root() -> io::Result<()> {
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    // Any folder will do as the place; this one is there on every Linux.
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    rustix::mount::mount(
        "none",
        "/proc",
        "tmpfs",
        flags,
        c"size=4k,nr_inodes=2,mode=0555",
    )?;
    rustix::process::chdir("/proc")?;
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    // A mount that is really there and really read-only.
    match rustix::fs::mkdirat(CWD, "x", Mode::RWXU) {
        Err(_) => Ok(()),
        Ok(()) => Err(io::ErrorKind::Other.into()),
    }
}

/// Drops user, groups and capabilities.
fn nobody(root: bool) -> io::Result<()> {
    if root {
        rustix::thread::set_thread_groups(&[])?;
        let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    }
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    Ok(())
}

/// No path, no other process's signals and sockets; without the grant no connection.
fn landlock(network: bool) -> bool {
    let abi = ABI::V6;
    let rules = Ruleset::default()
        .set_compatibility(landlock::CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .and_then(|rules| {
            if network {
                Ok(rules)
            } else {
                rules.handle_access(AccessNet::from_all(abi))
            }
        })
        .and_then(|rules| rules.scope(Scope::from_all(abi)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self);
    rules.is_ok_and(|status| status.ruleset != RulesetStatus::NotEnforced)
}

/// Keeps connections of this process to these ports, and lets it bind to none of its choice. The kernel knows how from Linux 6.7 on.
pub(super) fn ports(ports: impl IntoIterator<Item = u16>) -> Result<(), RulesetError> {
    let connect = |port| Ok::<_, RulesetError>(NetPort::new(port, AccessNet::ConnectTcp));
    Ruleset::default()
        .set_compatibility(landlock::CompatLevel::BestEffort)
        .handle_access(AccessNet::from_all(ABI::V6))?
        .create()?
        .add_rule(NetPort::new(0, AccessNet::BindTcp))?
        .add_rules(ports.into_iter().map(connect))?
        .restrict_self()
        .map(drop)
}

/// Bounds that the kernel keeps.
pub(super) struct Bounds {
    data: u64,
    time: Option<u64>,
    files: u64,
}

impl Bounds {
    /// The guest's memory, its files, its code and room for what holds them; with the network's grant, its sockets beside its inputs.
    pub(super) fn of_run(limits: &Limits, code: u64, inputs: Option<usize>) -> Self {
        let data = limits
            .memory
            .saturating_add(limits.output.saturating_mul(2))
            .saturating_add(code.saturating_mul(2))
            .saturating_add(BASE);
        Self {
            data,
            time: None,
            files: inputs.map_or(DESCRIPTORS, |inputs| OWN + inputs as u64 + SOCKETS_MAX),
        }
    }

    pub(super) fn of_compile() -> Self {
        Self {
            data: COMPILER,
            time: Some(COMPILER_TIME),
            files: 16,
        }
    }
}

pub(super) fn bound(bounds: &Bounds) -> io::Result<()> {
    limit(Resource::Data, bounds.data)?;
    for (resource, most) in [(Resource::Stack, STACK), (Resource::As, ADDRESSES)] {
        // The machine may have a lower one, which nobody but root can raise.
        let own = rustix::process::getrlimit(resource).maximum;
        limit(resource, own.map_or(most, |own| own.min(most)))?;
    }
    limit(Resource::Nofile, bounds.files)?;
    limit(Resource::Nproc, 0)?;
    bounds
        .time
        .map_or(Ok(()), |seconds| limit(Resource::Cpu, seconds))
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    rustix::process::setrlimit(
        resource,
        Rlimit {
            current: Some(most),
            maximum: Some(most),
        },
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn connections_go_to_the_ports_of_the_policy_only() {
        let [named, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let (to, not) = (named.local_addr().unwrap(), other.local_addr().unwrap());
        let known = Ruleset::default()
            .set_compatibility(landlock::CompatLevel::HardRequirement)
            .handle_access(AccessNet::ConnectTcp)
            .is_ok();
        // The rules close around one thread only.
        let thread = std::thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            ports([to.port()]).unwrap();
            TcpStream::connect(to).unwrap();
            // Any free port, as a connection that is bound first.
            TcpListener::bind("127.0.0.1:0").unwrap();
            // A kernel older than these rules closes nothing.
            let denied = known.then_some(io::ErrorKind::PermissionDenied);
            let kind = |answer: io::Result<()>| answer.err().map(|error| error.kind());
            assert_eq!(kind(TcpStream::connect(not).map(drop)), denied);
            let bound = kind(TcpListener::bind(not).map(drop));
            assert_eq!(bound, denied.or(Some(io::ErrorKind::AddrInUse)));
        });
        thread.join().unwrap();
    }

    #[test]
    fn a_layer_that_is_lacking_is_named() {
        let (all, pid) = (0xff, Layer::Pid.bit());
        assert_eq!(Layer::lacking(all, all, false), None);
        assert_eq!(Layer::lacking(all, all & !pid, true), Some(Layer::Pid));
        // One that the first child lacked too is not asked for.
        assert_eq!(Layer::lacking(all & !pid, all & !pid, false), None);
        let without = all & !Layer::Network.bit();
        assert_eq!(Layer::lacking(all, without, true), None);
        assert_eq!(Layer::lacking(all, without, false), Some(Layer::Network));
    }
}
