//! System calls that the process of a guest may make; others answer that there is no such call.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::Gone;

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
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
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
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_sigaltstack,
    libc::SYS_write,
    libc::SYS_writev,
];

#[cfg(target_arch = "x86_64")]
const OLDER: &[libc::c_long] = &[libc::SYS_epoll_wait, libc::SYS_poll];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[libc::c_long] = &[libc::SYS_ppoll];

/// What a guest with the network's grant calls beside.
const NETWORK: &[libc::c_long] = &[
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_socket,
];

/// Both filters, compiled before the order comes.
pub(super) struct Filters {
    plain: BpfProgram,
    network: BpfProgram,
}

/// The filters, or none where this processor's calls are not known.
pub(super) fn build() -> Option<Filters> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).ok()?;
    let plain = || CALLS.iter().chain(OLDER).copied();
    Some(Filters {
        plain: program(plain(), arch)?,
        network: program(plain().chain(NETWORK.iter().copied()), arch)?,
    })
}

fn program(calls: impl Iterator<Item = libc::c_long>, arch: TargetArch) -> Option<BpfProgram> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = calls.map(|call| (call, Vec::new())).collect();
    // Of an open file only, as `fstat` is: with the flag that says so, and from a descriptor.
    for (call, flags) in [(libc::SYS_newfstatat, 3), (libc::SYS_statx, 2)] {
        let empty = u64::from(libc::AT_EMPTY_PATH.cast_unsigned());
        let flags = SeccompCondition::new(
            flags,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::MaskedEq(empty),
            empty,
        )
        .ok()?;
        let from =
            SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Lt, 1 << 16).ok()?;
        rules.insert(call, vec![SeccompRule::new(vec![flags, from]).ok()?]);
    }
    // Libraries take this answer for an older kernel and do without.
    let refuse = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
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
