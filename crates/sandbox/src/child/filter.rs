//! System calls that the process of a guest may make; others answer that there is no such call.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::{Gone, share::PATIENT};

/// Memory, the socket, files already open, time and the process's own end. No paths, processes, threads or sockets.
const CALLS: &[libc::c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    libc::SYS_write,
    libc::SYS_writev,
];

#[cfg(target_arch = "x86_64")]
const OLDER: &[libc::c_long] = &[libc::SYS_epoll_wait, libc::SYS_poll];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[libc::c_long] = &[libc::SYS_ppoll];

/// Further calls that a guest with the network's grant may make.
const NETWORK: &[libc::c_long] = &[
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_shutdown,
];

/// Options of a socket that it may set and read, by level and name: those of WASI, and what a library sets with them. Others reach much
/// more of the kernel: filters of packets, routes, other protocols in a connection.
const OPTIONS: &[(libc::c_int, libc::c_int)] = &[
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
    (libc::SOL_SOCKET, libc::SO_RCVBUF),
    (libc::SOL_SOCKET, libc::SO_REUSEADDR),
    (libc::SOL_SOCKET, libc::SO_SNDBUF),
    (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
    (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
    (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
    (libc::IPPROTO_IP, libc::IP_TTL),
    (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS),
    (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
];

/// Options that it may only read.
const READ: &[(libc::c_int, libc::c_int)] = &[(libc::SOL_SOCKET, libc::SO_ERROR)];

/// What `fcntl` may be asked: flags of a descriptor, and for another one of the same file. Flags of a file are not to be changed.
const ASKED: &[libc::c_int] = &[
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_DUPFD_CLOEXEC,
];

/// Flags of a mapping: its kind, and those by which the kernel does not count it as data.
const MAPPING: libc::c_int = 0xf | libc::MAP_GROWSDOWN | libc::MAP_HUGETLB;

/// Bits of a socket's type that are no flags.
const TYPE: u64 = 0xf;

/// The answer to all other calls. Libraries take it for an older kernel and do without.
pub(super) const REFUSED: libc::c_int = libc::ENOSYS;

/// Both filters, compiled before the order comes.
pub(super) struct Filters {
    plain: BpfProgram,
    network: BpfProgram,
}

/// The filters, or none where this processor's calls are not known.
pub(super) fn build() -> Option<Filters> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).ok()?;
    let plain = || CALLS.iter().chain(OLDER).copied();
    let mut sockets = asked()?;
    sockets.extend([
        (libc::SYS_socket, tcp()?),
        (libc::SYS_setsockopt, options(OPTIONS.iter())?),
        (libc::SYS_getsockopt, options(OPTIONS.iter().chain(READ))?),
    ]);
    let network = plain().chain(NETWORK.iter().copied());
    Some(Filters {
        plain: program(plain(), asked()?, arch)?,
        network: program(network, sockets, arch)?,
    })
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn condition(argument: u8, how: SeccompCmpOp, value: libc::c_int) -> Option<SeccompCondition> {
    let value = u64::from(value.cast_unsigned());
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, how, value).ok()
}

/// Calls that may be made with some arguments only.
fn asked() -> Option<Rules> {
    let equal = |argument, value| condition(argument, SeccompCmpOp::Eq, value);
    let rule = |&asked| SeccompRule::new(vec![equal(1, asked)?]).ok();
    let descriptors = ASKED.iter().map(rule).collect::<Option<_>>()?;
    // This process alone, and only to be nicer.
    let itself = equal(0, libc::PRIO_PROCESS.cast_signed())?;
    let nicer = vec![itself, equal(1, 0)?, equal(2, PATIENT)?];
    // The limit of memory counts what is private and can be written to. So there is nothing shared, and what was once written
    // to stays counted until it is given back.
    let private = condition(
        3,
        SeccompCmpOp::MaskedEq(u64::from(MAPPING.cast_unsigned())),
        libc::MAP_PRIVATE,
    )?;
    let written = equal(2, libc::PROT_READ | libc::PROT_WRITE)?;
    Some(BTreeMap::from([
        (libc::SYS_fcntl, descriptors),
        (libc::SYS_mmap, vec![SeccompRule::new(vec![private]).ok()?]),
        (
            libc::SYS_mprotect,
            vec![SeccompRule::new(vec![written]).ok()?],
        ),
        (libc::SYS_setpriority, vec![SeccompRule::new(nicer).ok()?]),
        (libc::SYS_sendto, connected(3)?),
        (libc::SYS_sendmsg, connected(2)?),
    ]))
}

/// Sockets of TCP only: neither this machine's own, nor the kernel's, nor raw ones.
fn tcp() -> Option<Vec<SeccompRule>> {
    let mut rules = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for protocol in [0, libc::IPPROTO_TCP] {
            let conditions = vec![
                condition(0, SeccompCmpOp::Eq, family)?,
                condition(1, SeccompCmpOp::MaskedEq(TYPE), libc::SOCK_STREAM)?,
                condition(2, SeccompCmpOp::Eq, protocol)?,
            ];
            rules.push(SeccompRule::new(conditions).ok()?);
        }
    }
    Some(rules)
}

/// Options by level and name.
fn options<'a>(
    named: impl Iterator<Item = &'a (libc::c_int, libc::c_int)>,
) -> Option<Vec<SeccompRule>> {
    let equal = |argument, value| condition(argument, SeccompCmpOp::Eq, value);
    let rule = |&(level, name)| SeccompRule::new(vec![equal(1, level)?, equal(2, name)?]).ok();
    named.map(rule).collect()
}

/// Sending over what is connected: with this flag, sending would connect, and no rule about connections would see it.
fn connected(flags: u8) -> Option<Vec<SeccompRule>> {
    let connects = u64::from(libc::MSG_FASTOPEN.cast_unsigned());
    let none = condition(flags, SeccompCmpOp::MaskedEq(connects), 0)?;
    Some(vec![SeccompRule::new(vec![none]).ok()?])
}

fn program(
    calls: impl Iterator<Item = libc::c_long>,
    mut rules: Rules,
    arch: TargetArch,
) -> Option<BpfProgram> {
    for call in calls {
        rules.entry(call).or_default();
    }
    let refuse = SeccompAction::Errno(REFUSED.cast_unsigned());
    SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch)
        .ok()?
        .try_into()
        .ok()
}

/// Closes the last layer. From here on there is no way back.
pub(super) fn apply(filters: Option<Filters>, network: bool) -> Result<(), Gone> {
    let Some(filters) = filters else {
        return Ok(());
    };
    let program = if network {
        &filters.network
    } else {
        &filters.plain
    };
    seccompiler::apply_filter(program).map_err(|_| Gone::System(std::io::Error::last_os_error()))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::{super::raw, *};

    /// Under a filter, which closes around one thread only.
    fn under<T: Send + 'static>(network: bool, work: impl FnOnce() -> T + Send + 'static) -> T {
        let thread = std::thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            apply(build(), network).unwrap();
            work()
        });
        thread.join().unwrap()
    }

    #[test]
    fn memory_that_its_limit_does_not_count_cannot_be_had() {
        let map = |flags| under(false, move || raw::map(flags));
        let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        map(private).unwrap();
        for flags in [
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            libc::MAP_SHARED_VALIDATE | libc::MAP_ANONYMOUS,
            private | libc::MAP_GROWSDOWN,
            private | libc::MAP_HUGETLB,
        ] {
            let answer = map(flags).unwrap_err();
            assert_eq!(answer.raw_os_error(), Some(REFUSED), "{flags:#x}");
        }
        let protect = |how: libc::c_int| {
            under(false, move || {
                raw::system_call(libc::SYS_mprotect, 0, 0, how.into()).map(drop)
            })
        };
        protect(libc::PROT_READ | libc::PROT_WRITE).unwrap();
        // A page of the stack, which is not counted, could grow by it beyond all limits.
        let remapped = under(false, || {
            raw::system_call(libc::SYS_mremap, 0, 0, 0).map(drop)
        });
        assert_eq!(remapped.unwrap_err().raw_os_error(), Some(REFUSED));
        for how in [libc::PROT_NONE, libc::PROT_READ, libc::PROT_EXEC] {
            let answer = protect(how).unwrap_err();
            assert_eq!(answer.raw_os_error(), Some(REFUSED), "{how:#x}");
        }
    }

    #[test]
    fn the_grant_of_the_network_opens_tcp_and_nothing_else() {
        let here = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = here.local_addr().unwrap();
        under(true, move || TcpStream::connect(at).map(drop)).unwrap();
        let udp = under(true, || UdpSocket::bind("127.0.0.1:0").map(drop));
        assert_eq!(udp.unwrap_err().raw_os_error(), Some(REFUSED));
        let plain = under(false, move || TcpStream::connect(at).map(drop));
        assert_eq!(plain.unwrap_err().raw_os_error(), Some(REFUSED));
    }

    #[test]
    fn options_that_wasi_lacks_and_sending_that_connects_are_refused() {
        let here = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = here.local_addr().unwrap();
        under(true, move || {
            let stream = TcpStream::connect(at).unwrap();
            rustix::net::sockopt::set_socket_keepalive(&stream, true).unwrap();
            rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 4096).unwrap();
            assert_eq!(rustix::net::sockopt::socket_error(&stream), Ok(Ok(())));
            let refused = rustix::io::Errno::from_raw_os_error(REFUSED);
            let delay = rustix::net::sockopt::set_tcp_nodelay(&stream, true);
            assert_eq!(delay, Err(refused));
            let linger = rustix::net::sockopt::socket_linger(&stream);
            assert_eq!(linger, Err(refused));
            let send = |flags| rustix::net::send(&stream, b"x", flags);
            assert_eq!(send(rustix::net::SendFlags::NOSIGNAL), Ok(1));
            let connects =
                rustix::net::SendFlags::from_bits_retain(libc::MSG_FASTOPEN.cast_unsigned());
            assert_eq!(send(connects), Err(refused));
        });
    }
}
