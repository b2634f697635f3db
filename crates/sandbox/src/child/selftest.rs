//! What a guest that broke out of the engine would try: each attempt by the system's own calls, from inside the cage.

use std::{fs, net::TcpStream, os::unix::net::UnixDatagram, process::Command, thread};

use super::{Gone, Voice, raw};
use crate::{Status, wire::Frame};

/// Counts the open descriptors beyond the standard ones.
pub(super) fn descriptors() -> usize {
    (3..256).filter(|&fd| is_open(fd)).count()
}

/// Tries all, and reports for each whether it was refused. The child began with so many inherited descriptors.
pub(super) fn run(voice: &Voice, inherited: usize) -> Result<(), Gone> {
    for (name, held) in attempts(inherited) {
        voice.say(&Frame::Attempt {
            held,
            name: name.to_owned(),
        })?;
    }
    Ok(voice.end(Status::Ok, 0, "")?)
}

fn attempts(inherited: usize) -> Vec<(&'static str, bool)> {
    let files = vec![
        ("read /etc/passwd", fs::read("/etc/passwd").is_err()),
        ("list /", fs::read_dir("/").is_err()),
        ("list /proc", fs::read_dir("/proc").is_err()),
        (
            "read /proc/self/environ",
            fs::read("/proc/self/environ").is_err(),
        ),
        ("read /proc/self/maps", fs::read("/proc/self/maps").is_err()),
        ("read /proc/1/cmdline", fs::read("/proc/1/cmdline").is_err()),
        (
            "write /tmp",
            fs::write("/tmp/betanet-sandbox", "x").is_err(),
        ),
        ("write here", fs::write("betanet-sandbox", "x").is_err()),
        ("make a folder", fs::create_dir("/betanet-sandbox").is_err()),
        (
            "make a link",
            std::os::unix::fs::symlink("/", "/betanet-sandbox").is_err(),
        ),
    ];
    let others = vec![
        (
            "start a program",
            Command::new("/bin/true").spawn().is_err(),
        ),
        (
            "start a thread",
            thread::Builder::new().spawn(|| ()).is_err(),
        ),
        (
            "connect to this machine",
            TcpStream::connect("127.0.0.1:22").is_err(),
        ),
        ("open a local socket", UnixDatagram::unbound().is_err()),
        // The child's own runtime has some, which lead nowhere.
        ("other descriptors", inherited <= 1),
    ];
    files.into_iter().chain(others).chain(calls()).collect()
}

fn is_open(fd: libc::c_long) -> bool {
    raw::system_call(libc::SYS_fcntl, fd, libc::F_GETFD.into(), 0).is_ok()
}

/// Calls that no guest's process needs, with arguments that would do something if they were let through.
fn calls() -> Vec<(&'static str, bool)> {
    let refused = |number, a, b, c| raw::system_call(number, a, b, c).is_err();
    let stop = libc::c_long::from(libc::SIGSTOP);
    vec![
        ("fork", refused(libc::SYS_clone, libc::SIGCHLD.into(), 0, 0)),
        ("signal process 1", refused(libc::SYS_kill, 1, stop, 0)),
        ("signal all processes", refused(libc::SYS_kill, -1, stop, 0)),
        ("signal a thread", refused(libc::SYS_tkill, 1, stop, 0)),
        (
            "trace process 1",
            refused(libc::SYS_ptrace, libc::PTRACE_SEIZE.into(), 1, 0),
        ),
        (
            "open a network socket",
            refused(
                libc::SYS_socket,
                libc::AF_INET.into(),
                libc::SOCK_STREAM.into(),
                0,
            ),
        ),
        (
            "open a raw socket",
            refused(
                libc::SYS_socket,
                libc::AF_INET.into(),
                libc::SOCK_RAW.into(),
                1,
            ),
        ),
        (
            "talk to the kernel",
            refused(
                libc::SYS_socket,
                libc::AF_NETLINK.into(),
                libc::SOCK_RAW.into(),
                0,
            ),
        ),
        (
            "leave for new namespaces",
            refused(libc::SYS_unshare, libc::CLONE_NEWUSER.into(), 0, 0),
        ),
        ("become root", refused(libc::SYS_setuid, 0, 0, 0)),
        ("raise a limit", refused(libc::SYS_prlimit64, 0, 0, 0)),
        (
            "be dumpable",
            refused(libc::SYS_prctl, libc::PR_SET_DUMPABLE.into(), 1, 0),
        ),
        (
            "outlive the parent",
            refused(libc::SYS_prctl, libc::PR_SET_PDEATHSIG.into(), 0, 0),
        ),
        (
            "memory without a bound",
            refused(libc::SYS_memfd_create, 0, 0, 0),
        ),
        (
            "a ring of calls",
            refused(libc::SYS_io_uring_setup, 1, 0, 0),
        ),
        ("a program in the kernel", refused(libc::SYS_bpf, 0, 0, 0)),
        (
            "watch the processor",
            refused(libc::SYS_perf_event_open, 0, 0, 0),
        ),
        (
            "handle page faults",
            refused(libc::SYS_userfaultfd, 1, 0, 0),
        ),
        ("the kernel's keys", refused(libc::SYS_keyctl, 0, 0, 0)),
        ("restart the machine", refused(libc::SYS_reboot, 0, 0, 0)),
        ("own session", refused(libc::SYS_setsid, 0, 0, 0)),
        (
            "take a descriptor of another",
            refused(libc::SYS_pidfd_open, 1, 0, 0),
        ),
    ]
}
