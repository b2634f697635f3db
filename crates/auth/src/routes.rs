//! The routes of the control panel and its API, as data. A server makes its router, its OpenAPI document, its checks and its tests
//! from [`ROUTES`] alone.

use alloc::vec::Vec;

use crate::limit::Class;
use crate::{Error, Grants, Permission, Permissions};

/// An HTTP method.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// As HTTP writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// Callers that a route admits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Anybody.
    Open,
    /// Callers with a permission in the namespace of the target.
    Needs(Permission),
    /// Callers with a permission in some namespace. The server leaves out the rows of others.
    Lists(Permission),
}

/// A route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Route {
    /// Identifier of the operation, for OpenAPI.
    pub id: &'static str,
    /// Method. A GET answers HEAD too.
    pub method: Method,
    /// Path; `{name}` stands for one segment, and `{*name}` at the end for the rest.
    pub path: &'static str,
    /// Callers that it admits.
    pub access: Access,
    /// Limit that a request is charged to.
    pub class: Class,
    /// Whether the audit log has a record of each request that was let through. Refused ones have one too, but for those over a
    /// limit and those without credentials.
    pub audited: bool,
}

impl Route {
    /// Whether a request may change something, so that a browser's needs its origin and a form token.
    #[must_use]
    pub const fn writes(&self) -> bool {
        !matches!(self.method, Get)
    }

    /// Whether only a browser's session is admitted: a page, a form, or a stream of a page. Tokens are for the API.
    #[must_use]
    pub fn needs_session(&self) -> bool {
        self.access != Access::Open && !self.is_api()
    }

    /// Whether it belongs to the API, whose errors are JSON.
    #[must_use]
    pub fn is_api(&self) -> bool {
        is_api(self.path)
    }
}

/// Whether a path lies below `/api`.
#[must_use]
pub fn is_api(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/")
}

const fn open(id: &'static str, method: Method, path: &'static str, class: Class) -> Route {
    Route {
        id,
        method,
        path,
        access: Access::Open,
        class,
        audited: matches!(class, Class::Login),
    }
}

const fn get(id: &'static str, path: &'static str, permission: Permission) -> Route {
    Route {
        id,
        method: Get,
        path,
        access: Access::Needs(permission),
        class: Class::Read,
        audited: matches!(permission, Permission::ReadAudit),
    }
}

const fn list(id: &'static str, path: &'static str, permission: Permission) -> Route {
    Route {
        access: Access::Lists(permission),
        ..get(id, path, permission)
    }
}

const fn write(id: &'static str, m: Method, path: &'static str, permission: Permission) -> Route {
    Route {
        id,
        method: m,
        path,
        access: Access::Needs(permission),
        class: Class::Write,
        audited: true,
    }
}

use Method::{Delete, Get, Patch, Post, Put};
use Permission as P;

/// All routes.
pub const ROUTES: &[Route] = &[
    // Open to anybody.
    open("health", Get, "/healthz", Class::Read),
    open("keySet", Get, "/.well-known/jwks.json", Class::Read),
    open("asset", Get, "/assets/{*file}", Class::Read),
    open("loginPage", Get, "/login", Class::Read),
    open("logIn", Post, "/login", Class::Login),
    open("passkeyLogIn", Post, "/login/passkey", Class::Login),
    open("firstAdmin", Post, "/login/first", Class::Login),
    open("apiLogIn", Post, "/api/v1/login", Class::Login),
    open("apiRefresh", Post, "/api/v1/refresh", Class::Login),
    // Pages.
    get("root", "/", P::Look),
    get("controlPanelPage", "/control-panel", P::Look),
    get("nodesPage", "/nodes", P::Look),
    get("nodePage", "/nodes/{id}", P::Look),
    list("tasksPage", "/tasks", P::ReadWork),
    get("taskPage", "/tasks/{id}", P::ReadWork),
    get("taskOutput", "/tasks/{id}/output/{digest}", P::ReadWork),
    list("jobsPage", "/jobs", P::ReadWork),
    list("jobPlanPage", "/jobs/plan", P::Submit),
    list("jobPage", "/jobs/{ns}/{id}", P::ReadWork),
    get("networkPage", "/network", P::Look),
    get("namesPage", "/names", P::Look),
    get("namePage", "/names/{id}", P::Look),
    get("nameProof", "/names/{id}/proof", P::Look),
    get("vouchersPage", "/vouchers", P::ReadTreasury),
    get("tokensPage", "/tokens", P::ReadTreasury),
    get("governancePage", "/governance", P::Look),
    get("auditPage", "/audit", P::ReadAudit),
    get("settingsPage", "/settings", P::Own),
    list("events", "/events", P::Look),
    list("eventsSeen", "/events/seen", P::Look),
    write("logOut", Post, "/logout", P::Own),
    // Forms of the pages.
    write("submitTaskForm", Post, "/tasks", P::Submit),
    write("cancelTaskForm", Post, "/tasks/{id}/cancel", P::Submit),
    write("planJobForm", Post, "/jobs/plan", P::Submit),
    write("runJobForm", Post, "/jobs", P::Submit),
    write("stopJobForm", Post, "/jobs/{ns}/{id}/stop", P::Submit),
    write("revertJobForm", Post, "/jobs/{ns}/{id}/revert", P::Submit),
    write("nodeTokenForm", Post, "/nodes/token", P::Operate),
    write("drainNodeForm", Post, "/nodes/{id}/drain", P::Operate),
    write(
        "maintainNodeForm",
        Post,
        "/nodes/{id}/maintenance",
        P::Operate,
    ),
    write("activateNodeForm", Post, "/nodes/{id}/activate", P::Operate),
    write("passwordForm", Post, "/settings/password", P::Own),
    write("passkeyForm", Post, "/settings/passkeys", P::Own),
    write(
        "removePasskeyForm",
        Post,
        "/settings/passkeys/remove",
        P::Own,
    ),
    write("tokenForm", Post, "/settings/tokens", P::Own),
    write("endTokenForm", Post, "/settings/tokens/{id}/end", P::Own),
    write("accountForm", Post, "/settings/accounts", P::Manage),
    write(
        "changeAccountForm",
        Post,
        "/settings/accounts/{id}",
        P::Manage,
    ),
    // The API.
    get("openApi", "/api/v1/openapi.json", P::Look),
    get("overview", "/api/v1/overview", P::Look),
    get("me", "/api/v1/me", P::Own),
    write("endSessions", Delete, "/api/v1/me/sessions", P::Own),
    get("listTokens", "/api/v1/me/tokens", P::Own),
    write("makeToken", Post, "/api/v1/me/tokens", P::Own),
    write("endToken", Delete, "/api/v1/me/tokens/{id}", P::Own),
    get("listNodes", "/api/v1/nodes", P::Look),
    get("getNode", "/api/v1/nodes/{id}", P::Look),
    write("patchNode", Patch, "/api/v1/nodes/{id}", P::Operate),
    write("makeNodeToken", Post, "/api/v1/node-tokens", P::Operate),
    write(
        "endNodeToken",
        Delete,
        "/api/v1/node-tokens/{id}",
        P::Operate,
    ),
    list("listTasks", "/api/v1/tasks", P::ReadWork),
    write("submitTask", Post, "/api/v1/tasks", P::Submit),
    write("planTask", Post, "/api/v1/tasks/plan", P::Submit),
    get("getTask", "/api/v1/tasks/{id}", P::ReadWork),
    get("getTaskLog", "/api/v1/tasks/{id}/log", P::ReadWork),
    get("listTaskOutput", "/api/v1/tasks/{id}/output", P::ReadWork),
    get(
        "getTaskOutput",
        "/api/v1/tasks/{id}/output/{digest}",
        P::ReadWork,
    ),
    write("cancelTask", Post, "/api/v1/tasks/{id}/cancel", P::Submit),
    list("listJobs", "/api/v1/jobs", P::ReadWork),
    write("planJob", Post, "/api/v1/jobs/plan", P::Submit),
    write("runJob", Post, "/api/v1/jobs", P::Submit),
    list("getJob", "/api/v1/jobs/{ns}/{id}", P::ReadWork),
    write(
        "revertJob",
        Post,
        "/api/v1/jobs/{ns}/{id}/revert",
        P::Submit,
    ),
    write("stopJob", Delete, "/api/v1/jobs/{ns}/{id}", P::Submit),
    write("putModule", Put, "/api/v1/modules/{digest}", P::Submit),
    get("listPeers", "/api/v1/peers", P::Look),
    get("listNames", "/api/v1/names", P::Look),
    get("getName", "/api/v1/names/{id}", P::Look),
    get("listKeysets", "/api/v1/keysets", P::ReadTreasury),
    get("readTokens", "/api/v1/tokens", P::ReadTreasury),
    get("readGovernance", "/api/v1/governance", P::Look),
    get("readAudit", "/api/v1/audit", P::ReadAudit),
    get("auditHead", "/api/v1/audit/head", P::ReadAudit),
    get("listAccounts", "/api/v1/accounts", P::Manage),
    write("makeAccount", Post, "/api/v1/accounts", P::Manage),
    write("patchAccount", Patch, "/api/v1/accounts/{id}", P::Manage),
    write("endAccount", Delete, "/api/v1/accounts/{id}", P::Manage),
];

/// A route and the segments that its path's variables stand for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found<'a> {
    /// The route.
    pub route: &'static Route,
    /// Names and values, as the path has them: not decoded.
    pub variables: Vec<(&'static str, &'a str)>,
}

/// Reason why a request has no route.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NoRoute {
    /// No route has the path. The answer is JSON where `api` says so.
    Path {
        /// Whether the path lies below `/api`.
        api: bool,
    },
    /// The path has routes of these methods only, for the field `Allow`.
    Method(Vec<Method>),
}

fn variables<'a>(pattern: &'static str, path: &'a str) -> Option<Vec<(&'static str, &'a str)>> {
    let mut out = Vec::new();
    let (mut pattern, mut path) = (pattern.strip_prefix('/')?, path.strip_prefix('/')?);
    loop {
        let (want, more) = pattern.split_once('/').unwrap_or((pattern, ""));
        if let Some(name) = want.strip_prefix("{*").and_then(|n| n.strip_suffix('}')) {
            let plain = |s: &str| !matches!(s, "" | "." | "..");
            return path.split('/').all(plain).then(|| {
                out.push((name, path));
                out
            });
        }
        let (is, rest) = match path.split_once('/') {
            Some((is, rest)) => (is, Some(rest)),
            None => (path, None),
        };
        match want.strip_prefix('{').and_then(|n| n.strip_suffix('}')) {
            Some(name) if !is.is_empty() => out.push((name, is)),
            None if want == is => {}
            _ => return None,
        }
        match (pattern.contains('/'), rest) {
            (true, Some(rest)) => (pattern, path) = (more, rest),
            (false, None) => return Some(out),
            _ => return None,
        }
    }
}

/// Finds the route of a request. A path with a fixed word goes before one with a variable. `path` has no query.
///
/// # Errors
///
/// [`NoRoute`].
pub fn find(method: Method, path: &str) -> Result<Found<'_>, NoRoute> {
    let mut best: Option<Found<'_>> = None;
    let mut allowed = Vec::new();
    for route in ROUTES {
        let Some(variables) = variables(route.path, path) else {
            continue;
        };
        allowed.push(route.method);
        let better = |b: &Found<'_>| variables.len() < b.variables.len();
        if route.method == method && best.as_ref().is_none_or(better) {
            best = Some(Found { route, variables });
        }
    }
    allowed.sort_unstable();
    allowed.dedup();
    best.ok_or(match allowed.is_empty() {
        true => NoRoute::Path { api: is_api(path) },
        false => NoRoute::Method(allowed),
    })
}

/// Rights of a caller: the grants of its account, less what its token leaves out.
#[derive(Clone, Copy, Debug)]
pub struct Rights<'a> {
    /// Grants of the account, as they are now.
    pub grants: &'a Grants,
    /// Scopes of the token; [`Permissions::ALL`] for a browser's session.
    pub scopes: Permissions,
}

impl Rights<'_> {
    /// Whether the caller may do it in a namespace; `None` for targets without one.
    #[must_use]
    pub fn allow(&self, permission: Permission, namespace: Option<&str>) -> bool {
        self.scopes.has(permission) && self.grants.allow(permission, namespace)
    }
}

/// Decides whether a caller may use a route, `None` being one who is not logged in. `namespace` is that of the target.
///
/// # Errors
///
/// [`Error::Credentials`] or [`Error::Denied`].
pub fn decide(
    route: &Route,
    caller: Option<Rights<'_>>,
    namespace: Option<&str>,
) -> Result<(), Error> {
    let caller = || caller.ok_or(Error::Credentials);
    let allowed = match route.access {
        Access::Open => true,
        Access::Needs(permission) => caller()?.allow(permission, namespace),
        Access::Lists(permission) => {
            let caller = caller()?;
            caller.scopes.has(permission) && caller.grants.allow_somewhere(permission)
        }
    };
    match allowed {
        true => Ok(()),
        false => Err(Error::Denied),
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::vec;

    use super::*;
    use crate::{Grant, Role};

    #[test]
    fn the_open_routes_are_those_of_health_login_keys_and_assets() {
        let open: Vec<&str> = ROUTES
            .iter()
            .filter(|r| r.access == Access::Open)
            .map(|r| r.path)
            .collect();
        let known = [
            "/healthz",
            "/.well-known/jwks.json",
            "/assets/{*file}",
            "/login",
            "/login",
            "/login/passkey",
            "/login/first",
            "/api/v1/login",
            "/api/v1/refresh",
        ];
        assert_eq!(open, known);
        // A new open route that writes is a login.
        let login = |r: &&Route| r.access == Access::Open && r.writes();
        assert!(ROUTES.iter().filter(login).all(|r| r.class == Class::Login));
    }

    #[test]
    fn every_route_is_found_by_its_own_path_and_named_once() {
        let mut ids = BTreeSet::new();
        let mut places = BTreeSet::new();
        for route in ROUTES {
            assert!(ids.insert(route.id), "{}", route.id);
            assert!(places.insert((route.method, route.path)), "{}", route.path);
            let path = route.path.replace("{*file}", "a/b.css");
            let path: Vec<&str> = path
                .split('/')
                .map(|s| if s.starts_with('{') { "x1" } else { s })
                .collect();
            let path = path.join("/");
            assert_eq!(find(route.method, &path).unwrap().route, route);
            assert_eq!(route.writes(), route.class != Class::Read, "{}", route.id);
            assert!(!route.writes() || route.audited, "{}", route.id);
        }
    }

    #[test]
    fn a_path_without_a_route_is_refused() {
        let none = |path: &str| find(Get, path).err();
        let path = |api| Some(NoRoute::Path { api });
        assert_eq!(none("/api"), path(true));
        assert_eq!(none("/api/v1/nothing"), path(true));
        assert_eq!(none("/apiary"), path(false));
        for bad in [
            "",
            "nodes",
            "/nodes/",
            "//nodes",
            "/nodes//",
            "/nodes/a/b",
            "/assets/",
            "/assets/../x",
            "/assets/a//b",
            "/assets/./a",
            "/Nodes",
        ] {
            assert_eq!(none(bad), path(false), "{bad}");
        }
        assert_eq!(
            find(Put, "/tasks").err(),
            Some(NoRoute::Method(vec![Get, Post]))
        );
        let found = find(Get, "/api/v1/tasks/ab/log").unwrap();
        assert_eq!(found.variables, [("id", "ab")]);
        assert_eq!(
            find(Post, "/api/v1/tasks/plan").unwrap().route.id,
            "planTask"
        );
        assert_eq!(
            find(Post, "/nodes/token").unwrap().route.id,
            "nodeTokenForm"
        );
    }

    /// The matrix, generated: every route, six roles and nobody; and what each role is for, written by hand.
    #[test]
    fn every_route_asks_every_role_and_nobody() {
        let mut decided = 0;
        for route in ROUTES {
            let anybody = decide(route, None, None);
            assert_eq!(anybody.is_ok(), route.access == Access::Open);
            decided += 1;
            for role in Role::ALL {
                let grants = Grants::new(vec![Grant::everywhere(*role)]).unwrap();
                let caller = |scopes| {
                    let grants = &grants;
                    Some(Rights { grants, scopes })
                };
                let verdict = decide(route, caller(Permissions::ALL), Some("lab"));
                let (Access::Needs(p) | Access::Lists(p)) = route.access else {
                    assert_eq!(verdict, Ok(()));
                    continue;
                };
                assert_eq!(
                    verdict.is_ok(),
                    role.permissions().has(p),
                    "{} {role}",
                    route.id
                );
                // A token without the scope is refused, whatever the account may.
                let others: Vec<Permission> = Permissions::ALL.iter().filter(|o| *o != p).collect();
                let less = caller(Permissions::of(&others));
                assert_eq!(decide(route, less, Some("lab")), Err(Error::Denied));
                decided += 1;
            }
        }
        assert!(decided > ROUTES.len() * 6);
        let may = |id: &str, roles: &[Role]| {
            let route = ROUTES.iter().find(|r| r.id == id).unwrap();
            for role in Role::ALL {
                let grants = &Grants::new(vec![Grant::everywhere(*role)]).unwrap();
                let scopes = Permissions::ALL;
                let verdict = decide(route, Some(Rights { grants, scopes }), Some("lab"));
                assert_eq!(verdict.is_ok(), roles.contains(role), "{id} {role}");
            }
        };
        use Role::{Admin, Auditor, Operator, Submitter, Treasurer, Viewer};
        may("overview", Role::ALL);
        may("submitTask", &[Submitter, Operator, Admin]);
        may("listTasks", &[Viewer, Submitter, Operator, Auditor, Admin]);
        may("patchNode", &[Operator, Admin]);
        may(
            "settingsPage",
            &[Viewer, Submitter, Operator, Treasurer, Auditor, Admin],
        );
        may("readAudit", &[Auditor, Admin]);
        for id in ["vouchersPage", "listKeysets", "tokensPage"] {
            may(id, &[Treasurer, Auditor, Admin]);
        }
        may("governancePage", Role::ALL);
        may("patchAccount", &[Admin]);
    }

    #[test]
    fn a_namespace_bounds_writes_and_lists_are_shown_in_part() {
        let lab = Grant::within(Role::Submitter, "lab".parse().unwrap());
        let grants = &Grants::new(vec![lab]).unwrap();
        let scopes = Permissions::ALL;
        let caller = Some(Rights { grants, scopes });
        let route = |id: &str| ROUTES.iter().find(|r| r.id == id).unwrap();
        assert_eq!(decide(route("submitTask"), caller, Some("lab")), Ok(()));
        for other in [Some("other"), Some(""), None] {
            assert_eq!(
                decide(route("submitTask"), caller, other),
                Err(Error::Denied)
            );
            assert_eq!(decide(route("getTask"), caller, other), Err(Error::Denied));
        }
        assert_eq!(decide(route("listTasks"), caller, None), Ok(()));
    }
}
