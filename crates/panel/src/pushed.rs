//! The page of a stream of events: drawn again after a change, and sent as an event.

use std::sync::Arc;

use betanet_auth::routes::{Access, Method, Route, find};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::cx::{Cx, Input, Who};
use crate::fault::Fault;
use crate::form::{Fields, QUERY_MAX};
use crate::handlers::{self, Handler};
use crate::place::Place;
use crate::serve::variables;

/// Pages with parts that change.
const LIVE: [&str; 7] = [
    "controlPanelPage",
    "nodesPage",
    "nodePage",
    "tasksPage",
    "taskPage",
    "jobsPage",
    "jobPage",
];

/// A page that a browser shows.
pub(crate) struct Pushed {
    route: &'static Route,
    handler: Handler,
    path: String,
    vars: Vec<String>,
    query: Fields,
}

impl Pushed {
    /// Reads the path and the query of a page; `None` for a page without parts that change.
    pub(crate) fn of(text: &str) -> Result<Option<Self>, Fault> {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        if query.len() > QUERY_MAX {
            return Err(Fault::TooLarge);
        }
        let Ok(found) = find(Method::Get, path) else {
            return Err(Fault::Field("page"));
        };
        let handler = handlers::of(found.route.id).filter(|_| LIVE.contains(&found.route.id));
        let Some(handler) = handler else {
            return Ok(None);
        };
        Ok(Some(Self {
            route: found.route,
            handler,
            path: path.to_owned(),
            vars: variables(Method::Get, path),
            query: Fields::read(query.as_bytes())?,
        }))
    }

    /// The rights that the caller of a stream has now, if they still open this page.
    async fn caller(&self, cx: &Cx) -> Option<Who> {
        let who = cx.who.as_ref()?;
        let (caller, form, access) = (who.caller, who.form.clone(), self.route.access);
        let read = cx.shared.desk.with(move |core, now, _| {
            if let Access::Needs(p) | Access::Lists(p) = access {
                core.stands(now.unix_ms, &caller, p, &Place::Somewhere)
                    .ok()?;
            }
            let account = core.accounts.get(caller.account)?;
            Some((account.name.clone(), account.grants.clone()))
        });
        let (name, grants) = read.await.ok()??;
        Some(Who {
            caller,
            name,
            grants,
            form,
        })
    }

    /// Draws the page for the caller of a stream, as JSON. `None` if it cannot be drawn now.
    pub(crate) async fn draw(&self, cx: &Cx) -> Option<Bytes> {
        let who = self.caller(cx).await?;
        let turn = Arc::clone(&cx.shared.drawing).acquire_owned().await.ok()?;
        let began = Instant::now();
        let drawn = (self.handler)(Cx {
            shared: Arc::clone(&cx.shared),
            route: self.route,
            path: self.path.clone(),
            vars: self.vars.clone(),
            query: self.query.clone(),
            input: Input::None,
            who: Some(who),
            client: cx.client,
            charge: cx.charge,
            request: cx.shared.random(),
            cookie: None,
            host: cx.host.clone(),
            last_event: None,
            gzip: false,
            now_ms: cx.shared.now_ms(),
            upload: None,
            lease: None,
            part: true,
            target: Arc::default(),
        })
        .await;
        // Streams draw for half of the time at most, so that requests are answered in the other half.
        let took = began.elapsed();
        tokio::spawn(async move {
            sleep(took).await;
            drop(turn);
        });
        let body = drawn.ok()?.response.into_body().collect().await.ok()?;
        let html = String::from_utf8(body.to_bytes().into()).ok()?;
        Some(json!({ "html": html }).to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_shows_pages_that_change_and_no_others() {
        for path in [
            "/tasks",
            "/tasks?state=queued&page=2",
            "/jobs/lab/night",
            "/nodes/00",
        ] {
            assert!(Pushed::of(path).unwrap().is_some(), "{path}");
        }
        for path in ["/audit", "/settings", "/events", "/api/v1/tasks", "/login"] {
            assert!(Pushed::of(path).unwrap().is_none(), "{path}");
        }
        for path in [
            "",
            "tasks",
            "/nowhere",
            "http://evil.example/tasks",
            "/tasks?a=1&a=2",
        ] {
            assert!(Pushed::of(path).is_err(), "{path}");
        }
        let long = format!("/tasks?q={}", "x".repeat(QUERY_MAX));
        assert_eq!(Pushed::of(&long).err(), Some(Fault::TooLarge));
        for id in LIVE {
            assert!(handlers::of(id).is_some(), "{id}");
        }
    }
}
