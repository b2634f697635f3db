//! Attempts of a guest that broke out of the engine. Each is made by the system's own calls, from inside the cage.
//!
//! An attempt was refused if the answer is the filter's own: another error shows only that this one came to nothing. So the
//! arguments are those that do no harm where a call gets through.

use std::{fs, io, net::TcpStream, os::unix::net::UnixDatagram, process::Command};

use rustix::process::DumpableBehavior;

use super::{Gone, Voice, filter::REFUSED, raw};
use crate::{Status, wire::Frame};

/// A number that is no flag, signal or user.
const NONE: libc::c_long = 0x7fff_fff0;

/// What a child is, as seen before the filter forbids to ask.
pub(super) struct Before {
    /// Descriptors beyond the standard ones.
    descriptors: usize,
    /// Whether the fork server, or the child with its order, could be inspected by other processes.
    inspected: bool,
}

impl Before {
    /// Of a child that was just forked, and so of the fork server.
    pub(super) fn new() -> Self {
        Self {
            descriptors: 0,
            inspected: inspected(),
        }
    }

    /// Looks again once the child is in its cage.
    pub(super) fn look(&mut self) {
        self.descriptors = (3..256).filter(|&fd| is_open(fd)).count();
        self.inspected |= inspected();
    }
}

fn inspected() -> bool {
    !matches!(
        rustix::process::dumpable_behavior(),
        Ok(DumpableBehavior::NotDumpable)
    )
}

/// Tries all, and reports for each whether it was refused.
pub(super) fn run(voice: &Voice, before: &Before, network: bool) -> Result<(), Gone> {
    let paths = paths().into_iter().chain(calls()).chain(memory());
    let paths = paths.chain(sockets());
    let closed = if network { Vec::new() } else { connections() };
    // The socket to the parent is open a second time beside descriptor 0.
    let descriptors = [
        ("other descriptors", before.descriptors <= 1),
        ("be inspected by others", !before.inspected),
        ("standard descriptors of others", own(1) && own(2)),
    ];
    for (name, held) in paths.chain(closed).chain(descriptors) {
        voice.say(&Frame::Attempt {
            held,
            name: name.to_owned(),
        })?;
    }
    Ok(voice.end(Status::Ok, 0, "")?)
}

fn refused<T>(answer: io::Result<T>) -> bool {
    answer.is_err_and(|error| error.raw_os_error() == Some(REFUSED))
}

fn paths() -> Vec<(&'static str, bool)> {
    vec![
        ("read /etc/passwd", refused(fs::read("/etc/passwd"))),
        ("list /", refused(fs::read_dir("/"))),
        ("list /proc", refused(fs::read_dir("/proc"))),
        (
            "read /proc/self/environ",
            refused(fs::read("/proc/self/environ")),
        ),
        ("read /proc/self/maps", refused(fs::read("/proc/self/maps"))),
        ("read /proc/1/cmdline", refused(fs::read("/proc/1/cmdline"))),
        (
            "write /tmp",
            refused(fs::write("/tmp/betanet-sandbox", "x")),
        ),
        ("write here", refused(fs::write("betanet-sandbox", "x"))),
        ("make a folder", refused(fs::create_dir("/betanet-sandbox"))),
        (
            "make a link",
            refused(std::os::unix::fs::symlink("/", "/betanet-sandbox")),
        ),
        ("ask about a path", refused(fs::metadata("/etc/passwd"))),
        (
            "start a program",
            refused(Command::new("/bin/true").spawn()),
        ),
    ]
}

fn is_open(fd: libc::c_long) -> bool {
    raw::system_call(libc::SYS_fcntl, fd, libc::F_GETFD.into(), 0).is_ok()
}

/// Whether a standard descriptor is that which this process opened.
fn own(fd: libc::c_long) -> bool {
    let flags = raw::system_call(libc::SYS_fcntl, fd, libc::F_GETFL.into(), 0);
    flags.is_ok_and(|flags| flags & i64::from(libc::O_APPEND) != 0)
}

fn tried(number: libc::c_long, a: libc::c_long, b: libc::c_long, c: libc::c_long) -> bool {
    refused(raw::system_call(number, a, b, c))
}

/// Sockets that no guest's process needs, whatever it is granted.
fn sockets() -> Vec<(&'static str, bool)> {
    let socket = |family: libc::c_int, kind: libc::c_int, protocol: libc::c_int| {
        tried(
            libc::SYS_socket,
            family.into(),
            kind.into(),
            protocol.into(),
        )
    };
    let (inet, inet6) = (libc::AF_INET, libc::AF_INET6);
    vec![
        ("open a local socket", refused(UnixDatagram::unbound())),
        (
            "open a local stream",
            socket(libc::AF_UNIX, libc::SOCK_STREAM, 0),
        ),
        ("open a raw socket", socket(inet, libc::SOCK_RAW, 1)),
        ("open a socket of UDP", socket(inet, libc::SOCK_DGRAM, 0)),
        (
            "open a socket of UDP over IPv6",
            socket(inet6, libc::SOCK_DGRAM, 0),
        ),
        (
            "open a socket of another protocol",
            socket(inet, libc::SOCK_STREAM, libc::IPPROTO_MPTCP),
        ),
        (
            "open a socket of packets",
            socket(libc::AF_PACKET, libc::SOCK_RAW, 0),
        ),
        (
            "talk to the kernel",
            socket(libc::AF_NETLINK, libc::SOCK_RAW, 0),
        ),
        ("a pair of sockets", tried(libc::SYS_socketpair, 0, 0, 0)),
        (
            "a filter of packets",
            tried(
                libc::SYS_setsockopt,
                -1,
                libc::SOL_SOCKET.into(),
                libc::SO_ATTACH_FILTER.into(),
            ),
        ),
        (
            "another protocol in a connection",
            tried(
                libc::SYS_setsockopt,
                -1,
                libc::IPPROTO_TCP.into(),
                libc::TCP_ULP.into(),
            ),
        ),
        (
            "connect while sending",
            tried(libc::SYS_sendmsg, -1, 0, libc::MSG_FASTOPEN.into()),
        ),
        ("listen", tried(libc::SYS_listen, -1, 0, 0)),
    ]
}

/// What only the grant of the network opens.
fn connections() -> Vec<(&'static str, bool)> {
    let (inet, stream) = (libc::AF_INET.into(), libc::SOCK_STREAM.into());
    vec![
        (
            "open a network socket",
            tried(libc::SYS_socket, inet, stream, 0),
        ),
        (
            "connect to this machine",
            refused(TcpStream::connect("127.0.0.1:22")),
        ),
        ("connect a descriptor", tried(libc::SYS_connect, -1, 0, 0)),
        ("bind a descriptor", tried(libc::SYS_bind, -1, 0, 0)),
    ]
}

/// Memory that the limit of the process does not count.
fn memory() -> Vec<(&'static str, bool)> {
    let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let protect = |how: libc::c_int| tried(libc::SYS_mprotect, 0, 0, how.into());
    vec![
        (
            "shared memory",
            refused(raw::map(libc::MAP_SHARED | libc::MAP_ANONYMOUS)),
        ),
        (
            "memory that grows downwards",
            refused(raw::map(private | libc::MAP_GROWSDOWN)),
        ),
        (
            "memory in huge pages",
            refused(raw::map(private | libc::MAP_HUGETLB)),
        ),
        (
            "keep memory that cannot be written to",
            protect(libc::PROT_READ),
        ),
        ("keep memory that cannot be read", protect(libc::PROT_NONE)),
        (
            "let memory grow in its place",
            tried(libc::SYS_mremap, 0, 0, 0),
        ),
    ]
}

/// Calls that no guest's process needs.
fn calls() -> Vec<(&'static str, bool)> {
    vec![
        // Flags that need others beside them.
        (
            "fork",
            tried(libc::SYS_clone, libc::CLONE_SIGHAND.into(), 0, 0),
        ),
        (
            "start a thread",
            tried(libc::SYS_clone, libc::CLONE_THREAD.into(), 0, 0),
        ),
        ("fork by the newer call", tried(libc::SYS_clone3, 0, 0, 0)),
        // Signal 0 asks only whether one could be sent.
        ("signal process 1", tried(libc::SYS_kill, 1, 0, 0)),
        ("signal all processes", tried(libc::SYS_kill, -1, 0, 0)),
        ("signal a thread", tried(libc::SYS_tkill, 1, 0, 0)),
        (
            "trace a process",
            tried(libc::SYS_ptrace, libc::PTRACE_SEIZE.into(), 0, 0),
        ),
        (
            "leave for new namespaces",
            tried(libc::SYS_unshare, NONE, 0, 0),
        ),
        (
            "be preferred",
            tried(libc::SYS_setpriority, libc::PRIO_PROCESS.into(), 0, -1),
        ),
        (
            "set the priority of another",
            tried(libc::SYS_setpriority, libc::PRIO_PROCESS.into(), 1, 10),
        ),
        ("become root", tried(libc::SYS_setuid, -1, 0, 0)),
        ("raise a limit", tried(libc::SYS_prlimit64, 0, 0, 0)),
        (
            "be dumpable",
            tried(libc::SYS_prctl, libc::PR_SET_DUMPABLE.into(), NONE, 0),
        ),
        (
            "outlive the parent",
            tried(libc::SYS_prctl, libc::PR_SET_PDEATHSIG.into(), NONE, 0),
        ),
        (
            "change the flags of a file",
            tried(libc::SYS_fcntl, 0, libc::F_SETFL.into(), 0),
        ),
        ("own a descriptor", tried(libc::SYS_fcntl, 0, 8, 0)),
        (
            "memory without a bound",
            tried(libc::SYS_memfd_create, 0, 0, 0),
        ),
        ("a ring of calls", tried(libc::SYS_io_uring_setup, 1, 0, 0)),
        ("a program in the kernel", tried(libc::SYS_bpf, 0, 0, 0)),
        (
            "watch the processor",
            tried(libc::SYS_perf_event_open, 0, 0, 0),
        ),
        (
            "handle page faults",
            tried(libc::SYS_userfaultfd, NONE, 0, 0),
        ),
        ("the kernel's keys", tried(libc::SYS_keyctl, 0, 0, 0)),
        ("restart the machine", tried(libc::SYS_reboot, 0, 0, 0)),
        ("own session", tried(libc::SYS_setsid, 0, 0, 0)),
        (
            "take a descriptor of another",
            tried(libc::SYS_pidfd_open, 1, NONE, 0),
        ),
    ]
}
