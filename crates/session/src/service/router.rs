//! Chooses the service of a request by its path prefix.

use std::sync::Arc;

use betanet_bar::{Response, status};

use super::{Call, Service, ServiceFuture};

/// Services by path prefix. The longest matching prefix answers; without a match, the answer is 404.
#[derive(Clone, Default)]
pub struct Router {
    /// Routes, longest prefix first.
    routes: Vec<(String, Arc<dyn Service>)>,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let prefixes = self.routes.iter().map(|(prefix, _)| prefix);
        f.debug_list().entries(prefixes).finish()
    }
}

/// Returns whether a path is below a prefix: `/log` covers `/log` and `/log/a`, but not `/logs`.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/'))
}

impl Router {
    /// Lets `service` answer requests below `prefix`, in place of an earlier service with that prefix.
    #[must_use]
    pub fn with(mut self, prefix: &str, service: impl Service) -> Self {
        self.set(prefix, Arc::new(service));
        self
    }

    /// Like [`Router::with`], in place.
    pub fn set(&mut self, prefix: &str, service: Arc<dyn Service>) {
        self.routes.retain(|(known, _)| known != prefix);
        let at = self
            .routes
            .partition_point(|(known, _)| known.len() >= prefix.len());
        self.routes.insert(at, (prefix.to_owned(), service));
    }

    /// Returns whether exactly this prefix has a service.
    pub fn has(&self, prefix: &str) -> bool {
        self.routes.iter().any(|(known, _)| known == prefix)
    }

    /// Returns the service for this path.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&Arc<dyn Service>> {
        let found = self
            .routes
            .iter()
            .find(|(prefix, _)| is_below(path, prefix));
        found.map(|(_, service)| service)
    }
}

impl Service for Router {
    fn call(&self, call: Call) -> ServiceFuture {
        match self.find(call.request.path()) {
            Some(service) => service.call(call),
            None => Box::pin(std::future::ready(
                Response::new(status::NOT_FOUND).because("not found").into(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reply;

    fn named(status: u16) -> impl Service {
        move |_: Call| async move { Reply::new(status) }
    }

    #[test]
    fn the_longest_prefix_that_fits_answers() {
        let router = Router::default()
            .with("/", named(1))
            .with("/log", named(2))
            .with("/log/old/", named(3));
        let at = |path: &str| {
            let found = router.find(path).map(Arc::as_ptr);
            let known = router.routes.iter();
            let mut known = known.filter(|(_, s)| found == Some(Arc::as_ptr(s)));
            known.next().map(|(prefix, _)| prefix.as_str())
        };
        for (path, prefix) in [
            ("/", "/"),
            ("/logs", "/"),
            ("/log", "/log"),
            ("/log/new", "/log"),
            ("/log/old", "/log"),
            ("/log/old/1", "/log/old/"),
        ] {
            assert_eq!(at(path), Some(prefix), "{path}");
        }
        let replaced = router.clone().with("/log", named(4));
        assert_eq!(replaced.routes.len(), 3);
        assert!(Router::default().find("/").is_none());
    }
}
