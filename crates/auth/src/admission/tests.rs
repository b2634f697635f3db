use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use betanet_machine::{Rng, Seed, Time};

use super::*;
use crate::jwt::Parties;
use crate::routes::ROUTES;
use crate::token::NewToken;
use crate::{Foreign, Grant, Grants, Role, ServerKey};

const NOW: Now = Now::new(Time::ZERO, 1_800_000_000_000);
const HOST: &str = "panel.example";
const ORIGIN: &str = "https://panel.example";

/// A server with one account, logged in by each means.
struct World {
    site: Site,
    accounts: Accounts,
    sessions: Sessions,
    tokens: ApiTokens,
    keyring: Keyring,
    limits: Limits,
    id: AccountId,
    cookie: String,
    form: String,
    token: String,
    access: String,
}

fn world(role: Role) -> World {
    let mut rng = Rng::new(&Seed::from_number(1));
    let mut accounts = Accounts::default();
    let lab = Grant::within(role, "lab".parse().unwrap());
    let grants = Grants::new([lab].into()).unwrap();
    let id = accounts.add(0, [1; 16], "a", grants, None).unwrap().id;
    let mut sessions = Sessions::default();
    let opened = sessions.open(NOW.unix_ms, id, 0, &mut rng).unwrap();
    let cookie = opened.token.set_cookie();
    let cookie = cookie.expose().split(';').next().unwrap().to_string();
    let mut tokens = ApiTokens::default();
    let new = NewToken {
        account: id,
        generation: 0,
        name: "ci",
        scopes: Permissions::of(&[Permission::ReadWork, Permission::Own]),
        expires: NOW.unix_ms + 1_000,
    };
    let (token, _) = tokens.make(NOW.unix_ms, new, &mut rng).unwrap();
    let parties = Parties::new(ORIGIN, "api").unwrap();
    let mut keyring = Keyring::new(ServerKey::new([2; 32]), parties);
    let access = keyring.issue(NOW.unix_ms, id, 0, Permissions::ALL, &mut rng);
    World {
        site: Site::new(&[HOST], true),
        accounts,
        sessions,
        tokens,
        keyring,
        limits: Limits::default(),
        id,
        cookie,
        form: opened.token.form_token().expose().to_string(),
        token: format!("Bearer {}", token.expose()),
        access: format!("bearer {}", access.unwrap().expose()),
    }
}

const BARE: Fields<'static> = Fields {
    host: Some(HOST),
    origin: None,
    authorization: None,
    cookie: None,
    form_token: None,
    address: ChargeTo::V4([192, 0, 2, 1]),
};

impl World {
    fn admit(&mut self, route: &str, fields: Fields<'_>) -> Result<Option<Means>, Error> {
        self.admit_free(route, fields, |_| false)
    }

    fn admit_free(
        &mut self,
        route: &str,
        fields: Fields<'_>,
        free: impl FnOnce(&Caller) -> bool,
    ) -> Result<Option<Means>, Error> {
        let route = ROUTES.iter().find(|r| r.id == route).unwrap();
        let mut admission = Admission {
            site: &self.site,
            accounts: &self.accounts,
            sessions: &self.sessions,
            tokens: &self.tokens,
            keyring: &mut self.keyring,
            limits: &mut self.limits,
        };
        let caller = admission.admit(NOW, route, &fields, free)?;
        assert!(caller.is_none_or(|c| c.account == self.id));
        Ok(caller.map(|c| c.means))
    }
}

#[test]
fn each_means_opens_what_its_account_and_scopes_allow() {
    let mut world = world(Role::Submitter);
    let (cookie, token) = (world.cookie.clone(), world.token.clone());
    let (access, form) = (world.access.clone(), world.form.clone());
    let page = Fields {
        cookie: Some(&cookie),
        ..BARE
    };
    let write = Fields {
        origin: Some(ORIGIN),
        form_token: Some(&form),
        ..page
    };
    let by = |text| Fields {
        authorization: Some(text),
        ..BARE
    };
    let session = world.admit("tasksPage", page).unwrap();
    assert!(matches!(session, Some(Means::Session(_))));
    assert_eq!(world.admit("submitTaskForm", write), Ok(session));
    assert_eq!(world.admit("auditPage", page), Err(Error::Denied));
    let means = world.admit("listTasks", by(&token)).unwrap();
    assert!(matches!(means, Some(Means::Token(_))));
    assert_eq!(world.admit("submitTask", by(&token)), Err(Error::Denied));
    let access_means = Ok(Some(Means::Access));
    assert_eq!(world.admit("submitTask", by(&access)), access_means);
    assert_eq!(world.admit("listAccounts", by(&access)), Err(Error::Denied));
    // The namespace is the handler's to check.
    let caller = caller(world.id, 0, Permissions::ALL, Means::Access);
    let check = |a: &Accounts, ns| caller.check(a, Permission::Submit, Some(ns));
    assert_eq!(check(&world.accounts, "lab"), Ok(()));
    assert_eq!(check(&world.accounts, "other"), Err(Error::Denied));
    // Whatever ends the account's credentials ends all three at once.
    world.accounts.end_sessions(world.id).unwrap();
    for fields in [page, by(&token), by(&access)] {
        assert_eq!(world.admit("listTasks", fields), Err(Error::Expired));
    }
    world.accounts.set_disabled(world.id, true).unwrap();
    assert_eq!(check(&world.accounts, "lab"), Err(Error::Expired));
}

#[test]
fn a_token_changes_no_credentials_by_forms_and_opens_no_page() {
    let mut world = world(Role::Admin);
    let (token, access) = (world.token.clone(), world.access.clone());
    for route in ROUTES.iter().filter(|r| r.needs_session()) {
        for text in [&token, &access] {
            world.limits = Limits::default();
            let by = Fields {
                authorization: Some(text),
                ..BARE
            };
            assert_eq!(
                world.admit(route.id, by),
                Err(Error::Denied),
                "{}",
                route.id
            );
        }
    }
    let ids = ["passwordForm", "tokenForm", "accountForm", "events"];
    let all: Vec<&str> = ROUTES
        .iter()
        .filter(|r| r.needs_session())
        .map(|r| r.id)
        .collect();
    assert!(ids.iter().all(|id| all.contains(id)));
}

#[test]
fn requests_for_another_host_are_charged() {
    let mut world = world(Role::Viewer);
    let foreign = Fields {
        host: Some("other.example"),
        ..BARE
    };
    let mut seen = Vec::new();
    for _ in 0..1_000 {
        seen.push(world.admit("tasksPage", foreign));
    }
    let told = |e: &Result<_, Error>| matches!(e, Err(Error::Foreign(_)));
    assert!(told(&seen[0]) && !told(&seen[999]));
    assert!(matches!(seen[999], Err(Error::Wait(_))));
}

#[test]
fn a_page_of_another_site_writes_nothing() {
    let mut world = world(Role::Submitter);
    let (cookie, form) = (world.cookie.clone(), world.form.clone());
    let good = Fields {
        cookie: Some(&cookie),
        origin: Some(ORIGIN),
        form_token: Some(&form),
        ..BARE
    };
    assert!(world.admit("submitTaskForm", good).is_ok());
    let evil = Some("https://evil.example");
    let origin = Err(Error::Foreign(Foreign::Origin));
    let token = Err(Error::Foreign(Foreign::FormToken));
    let host = Err(Error::Foreign(Foreign::Host));
    for route in ["submitTaskForm", "submitTask", "logOut", "endSessions"] {
        for bad in [None, Some("null"), evil] {
            let fields = Fields {
                origin: bad,
                ..good
            };
            assert_eq!(world.admit(route, fields), origin, "{route} {bad:?}");
        }
        for bad in [None, Some(""), Some("x")] {
            let fields = Fields {
                form_token: bad,
                ..good
            };
            assert_eq!(world.admit(route, fields), token, "{route} {bad:?}");
        }
        // Rebinding: the name of another site leads here.
        let fields = Fields {
            host: Some("evil.example"),
            origin: evil,
            ..good
        };
        assert_eq!(world.admit(route, fields), host, "{route}");
    }
    // A login from another site's page would log its reader in to a stranger's account.
    let fields = Fields {
        origin: evil,
        ..BARE
    };
    assert_eq!(world.admit("logIn", fields), origin);
    assert_eq!(world.admit("logIn", BARE), origin);
    assert_eq!(world.admit("apiLogIn", fields), origin);
    assert_eq!(world.admit("apiLogIn", BARE), Ok(None), "a program");
    let fields = Fields {
        origin: Some(ORIGIN),
        ..BARE
    };
    assert_eq!(world.admit("logIn", fields), Ok(None));
}

#[test]
fn a_wrong_authorization_is_not_made_good_by_a_cookie() {
    let mut world = world(Role::Submitter);
    let cookie = world.cookie.clone();
    let basic = format!("Basic {}", &world.token[7..]);
    for (field, why) in [
        ("", Error::Credentials),
        ("Bearer", Error::Credentials),
        ("Bearer ", Error::Credentials),
        ("Bearer bnat_", Error::Credentials),
        ("Bearer a.b.c", Error::Credentials),
        (&basic, Error::Credentials),
    ] {
        let fields = Fields {
            authorization: Some(field),
            cookie: Some(&cookie),
            ..BARE
        };
        assert_eq!(world.admit("listTasks", fields), Err(why), "{field}");
    }
    let stale = Fields {
        cookie: Some(&cookie),
        origin: Some(ORIGIN),
        ..BARE
    };
    world.sessions = Sessions::default();
    assert_eq!(world.admit("tasksPage", stale), Err(Error::Expired));
    // The stale cookie does not keep its owner from logging in.
    assert_eq!(world.admit("logIn", stale), Ok(None));
    assert_eq!(world.admit("tasksPage", BARE), Err(Error::Credentials));
    assert_eq!(world.admit("health", BARE), Ok(None));
}

#[test]
fn wrong_credentials_are_charged_to_the_address_and_right_ones_to_the_account() {
    let mut world = world(Role::Submitter);
    let access = world.access.clone();
    let wrong = Fields {
        authorization: Some("Bearer a.b.c"),
        ..BARE
    };
    let right = Fields {
        authorization: Some(&access),
        ..BARE
    };
    for _ in 0..60 {
        assert_eq!(world.admit("submitTask", wrong), Err(Error::Credentials));
    }
    assert!(matches!(
        world.admit("submitTask", wrong),
        Err(Error::Wait(_))
    ));
    assert!(world.admit("submitTask", right).is_ok());
}

#[test]
fn a_request_is_free_for_a_caller_whose_credentials_count_and_for_nobody_else() {
    let mut world = world(Role::Submitter);
    let access = world.access.clone();
    let right = Fields {
        authorization: Some(&access),
        ..BARE
    };
    let wrong = Fields {
        authorization: Some("Bearer a.b.c"),
        ..BARE
    };
    let foreign = Fields {
        host: Some("evil.example"),
        ..right
    };
    for fields in [wrong, foreign, BARE] {
        let asked = |_: &Caller| panic!("asked for {fields:?}");
        assert!(world.admit_free("listTasks", fields, asked).is_err());
    }
    let wait = loop {
        let charged = world.admit("listTasks", right);
        if charged.is_err() {
            break charged;
        }
    };
    assert!(matches!(wait, Err(Error::Wait(_))));
    let id = world.id;
    let free = |caller: &Caller| caller.account == id;
    for _ in 0..1000 {
        assert!(world.admit_free("listTasks", right, free).is_ok());
    }
    assert_eq!(world.admit("listTasks", right), wait);
}

/// The matrix again, through all checks: every route, six roles, each by a session, and nobody.
#[test]
fn every_route_admits_whom_the_table_says() {
    for role in Role::ALL {
        let mut world = world(*role);
        let everywhere = Grants::new([Grant::everywhere(*role)].into()).unwrap();
        world.accounts.set_grants(world.id, everywhere).unwrap();
        let (cookie, form) = (world.cookie.clone(), world.form.clone());
        for route in ROUTES {
            world.limits = Limits::default();
            let fields = Fields {
                cookie: Some(&cookie),
                origin: Some(ORIGIN),
                form_token: Some(&form),
                ..BARE
            };
            let may = match route.access {
                Access::Open => Ok(false),
                Access::Needs(p) | Access::Lists(p) if role.permissions().has(p) => Ok(true),
                _ => Err(Error::Denied),
            };
            let verdict = world.admit(route.id, fields).map(|m| m.is_some());
            assert_eq!(verdict, may, "{} {role}", route.id);
            let nobody = Fields {
                cookie: None,
                ..fields
            };
            let may = match route.access {
                Access::Open => Ok(None),
                _ => Err(Error::Credentials),
            };
            assert_eq!(world.admit(route.id, nobody), may, "{}", route.id);
        }
    }
}
