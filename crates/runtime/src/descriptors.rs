//! The limit of open files and sockets of the process, and the resulting limit of connections.

use crate::Error;

/// Descriptors reserved for everything but visitors: listeners, the store, the site's files, and outgoing connections. With a low
/// limit, a quarter of it.
const OTHERS: usize = 1024;
/// Default limit of concurrent connections, if the system allows that many.
const CONNECTIONS: usize = 20_000;
/// A limit of connections below this is worth a warning.
const FEW: usize = 4_096;

/// Raises the process's limit as far as allowed, and returns it. `None` if there is no limit, or it is unknown.
#[cfg(unix)]
fn raised() -> Option<usize> {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // If the system refuses, the limit remains as it is.
        let _ = setrlimit(Resource::Nofile, limit);
    }
    let now = getrlimit(Resource::Nofile).current?;
    Some(usize::try_from(now).unwrap_or(usize::MAX))
}

#[cfg(not(unix))]
fn raised() -> Option<usize> {
    None
}

/// Returns the maximum number of concurrent TCP connections: the configured number, or as many as fit.
///
/// # Errors
///
/// [`Error::Descriptors`]: more connections are configured than the process may have.
pub(crate) fn connections(configured: Option<usize>, jitter: bool) -> Result<usize, Error> {
    fitting(configured, jitter, raised())
}

fn fitting(configured: Option<usize>, jitter: bool, limit: Option<usize>) -> Result<usize, Error> {
    // A connection with jitter also needs a timer.
    let each = if jitter { 2 } else { 1 };
    let Some(limit) = limit else {
        return Ok(configured.unwrap_or(CONNECTIONS));
    };
    let fits = (limit - OTHERS.min(limit / 4)) / each;
    match configured {
        Some(wanted) if wanted > fits => Err(Error::Descriptors {
            wanted,
            limit,
            fits,
        }),
        Some(wanted) => Ok(wanted),
        None => {
            if fits < FEW {
                tracing::warn!(
                    limit,
                    connections = fits,
                    "the limit of open files allows few connections"
                );
            }
            Ok(fits.min(CONNECTIONS))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_configured_has_to_fit_and_what_is_not_is_made_to() {
        let fits = |configured, jitter, limit| fitting(configured, jitter, limit).ok();
        assert_eq!(fits(None, false, None), Some(CONNECTIONS));
        assert_eq!(fits(None, false, Some(1 << 20)), Some(CONNECTIONS));
        assert_eq!(fits(None, false, Some(4096)), Some(3072));
        assert_eq!(fits(None, true, Some(4096)), Some(1536));
        assert_eq!(fits(None, false, Some(1024)), Some(768));
        assert_eq!(fits(Some(768), false, Some(1024)), Some(768));
        assert_eq!(fits(Some(769), false, Some(1024)), None);
        let error = fitting(Some(20_000), false, Some(1024)).unwrap_err();
        let said = error.to_string();
        for part in ["max_connections = 20000", "1024", "768"] {
            assert!(said.contains(part), "{said}");
        }
    }

    /// Each test of this process may open as many files as the system allows.
    #[cfg(unix)]
    #[test]
    fn the_limit_is_raised_to_what_the_system_allows() {
        use rustix::process::{Resource, getrlimit};

        assert!(connections(None, false).unwrap() > 0);
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
