//! The program that this crate's tests start as a child.

use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    if !betanet_sandbox::is_child(std::env::args_os()) {
        return ExitCode::FAILURE;
    }
    // While the file that a test names is there, this machine gives no namespaces.
    let file = std::env::args_os().nth(2);
    if file.is_some_and(|file| Path::new(&file).exists()) && refuse_namespaces().is_none() {
        return ExitCode::FAILURE;
    }
    betanet_sandbox::child_main()
}

fn refuse_namespaces() -> Option<()> {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
    let refuse = SeccompAction::Errno(libc::ENOSPC.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into().ok()?;
    let rules = [(libc::SYS_unshare, Vec::new())].into_iter().collect();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).ok()?;
    let filter: BpfProgram = filter.try_into().ok()?;
    seccompiler::apply_filter(&filter).ok()
}
