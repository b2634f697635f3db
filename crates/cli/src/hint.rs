//! Remedies for system errors whose own text gives none.

use std::io::{self, ErrorKind};

use betanet_runtime::{Error, FileError};

/// Ports below this one require a capability.
const PRIVILEGED: u16 = 1024;

/// Returns the remedy to append to an error's text; empty if there is none.
pub(crate) fn of(error: &Error) -> String {
    match error {
        Error::Listen { address, source } => listen(address, source),
        Error::File(FileError::Io { path, source })
            if path.extension().is_some_and(|e| e == "pem") =>
        {
            key(source).unwrap_or_else(|| of_io(source)).to_owned()
        }
        Error::File(FileError::Io { source, .. }) => of_io(source).to_owned(),
        _ => cause(error).map_or("", of_io).to_owned(),
    }
}

/// Returns the system error that caused an error.
fn cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io);
        }
        next = error.source();
    }
    None
}

/// Returns the remedy for a key file.
fn key(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        ErrorKind::NotFound => Some("; betanet id new --key FILE makes a key"),
        ErrorKind::AlreadyExists => Some(
            "; betanet id show --key FILE shows that key, and another --key FILE makes another",
        ),
        _ => None,
    }
}

/// Returns the remedy for any file or stream.
pub(crate) fn of_io(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull => "; free some space there, or name another place",
        ErrorKind::QuotaExceeded => "; free some of your quota there, or name another place",
        ErrorKind::FileTooLarge => "; ulimit -f, or the file system, allows no larger file",
        ErrorKind::ReadOnlyFilesystem => "; name a place that can be written",
        _ if matches!(error.raw_os_error(), Some(23 | 24)) => {
            "; raise the limit of open files: ulimit -n, or LimitNOFILE= of a unit"
        }
        _ => "",
    }
}

/// Returns the remedy for a listener.
pub(crate) fn listen(address: &str, error: &io::Error) -> String {
    let port = address.rsplit_once(':').and_then(|(_, p)| p.parse().ok());
    match error.kind() {
        ErrorKind::PermissionDenied if port.is_some_and(|p: u16| p < PRIVILEGED) => format!(
            "; a port below {PRIVILEGED} needs CAP_NET_BIND_SERVICE: AmbientCapabilities= of a unit, or \
             setcap cap_net_bind_service=+ep on the program"
        ),
        ErrorKind::AddrInUse => "; another process listens there: ss -lntup tells which".into(),
        ErrorKind::AddrNotAvailable => "; no interface of this machine has that address".into(),
        _ => of_io(error).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_is_told_what_to_do() {
        let denied = || io::Error::from(ErrorKind::PermissionDenied);
        let low = of(&Error::Listen {
            address: "0.0.0.0:443".into(),
            source: denied(),
        });
        assert!(low.contains("CAP_NET_BIND_SERVICE"), "{low}");
        let high = Error::Listen {
            address: "[::]:8443".into(),
            source: denied(),
        };
        assert_eq!(of(&high), "");
        let used = listen("[::1]:443", &ErrorKind::AddrInUse.into());
        assert!(used.contains("another process"), "{used}");
        let key = of(&Error::File(FileError::Io {
            path: "/x/id.pem".into(),
            source: ErrorKind::NotFound.into(),
        }));
        assert!(key.contains("betanet id new"), "{key}");
        assert!(of_io(&io::Error::from_raw_os_error(24)).contains("ulimit -n"));
    }
}
