//! The page of a stream of events: drawn again after a change, and sent as an event.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use betanet_auth::Permission;
use betanet_auth::routes::{Access, Method, Route, find};
use http_body_util::{BodyExt as _, Limited};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout};

use crate::cx::{Cx, Handler, Handlers, Input, Who, variables};
use crate::drawn::{Drawn, Key};
use crate::fault::Fault;
use crate::form::{Fields, QUERY_MAX};
use crate::place::Place;

/// Pages with parts that change.
pub(crate) const LIVE: [&str; 7] = [
    "controlPanelPage",
    "nodesPage",
    "nodePage",
    "tasksPage",
    "taskPage",
    "jobsPage",
    "jobPage",
];
/// Longest page that a stream sends. The client asks for a longer one itself.
const PAGE_MAX: usize = 1 << 20;
/// Longest time in which a page is drawn for a stream.
const DRAW_TIME: Duration = Duration::from_secs(2);

/// A page that a browser shows.
pub(crate) struct Pushed {
    route: &'static Route,
    handler: Handler,
    text: String,
    path: String,
    vars: Vec<String>,
    query: Fields,
}

impl Pushed {
    /// Reads the path and the query of a page; `None` for a page without parts that change. An exported list is no page.
    pub(crate) fn of(text: &str, handlers: Handlers) -> Result<Option<Self>, Fault> {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        if query.len() > QUERY_MAX {
            return Err(Fault::TooLarge);
        }
        let Ok(found) = find(Method::Get, path) else {
            return Err(Fault::Field("page"));
        };
        let query = Fields::read(query.as_bytes())?;
        if !query.get("format").is_empty() {
            return Err(Fault::Field("page"));
        }
        let handler = handlers(found.route.id).filter(|_| LIVE.contains(&found.route.id));
        let Some(handler) = handler else {
            return Ok(None);
        };
        Ok(Some(Self {
            route: found.route,
            handler,
            text: text.to_owned(),
            path: path.to_owned(),
            vars: variables(Method::Get, path),
            query,
        }))
    }

    /// The rights that the caller of a stream has now, if its credentials count, and the rights open the stream and this page.
    async fn caller(&self, cx: &Cx) -> Option<Who> {
        let who = cx.who.as_ref()?;
        let (caller, access) = (who.caller, self.route.access);
        let read = cx.shared.desk.with(move |core, now, _| {
            let stands = |p| core.stands(now.unix_ms, &caller, p, &Place::Somewhere);
            stands(Permission::Look).ok()?;
            if let Access::Needs(p) | Access::Lists(p) = access {
                stands(p).ok()?;
            }
            let account = core.accounts.get(caller.account)?;
            Some((account.name.clone(), account.grants.clone()))
        });
        let (name, grants) = read.await.ok()??;
        Some(Who {
            caller,
            name,
            grants,
            // It is the session's, and others share the page. Forms stand outside of the parts that change.
            form: String::new(),
        })
    }

    /// The page for the caller of a stream whose turn it is, with all up to an event at least. `None` if it cannot be drawn. The rights are
    /// read in the turn, so that they are those of this moment however long it took to come.
    pub(crate) async fn draw(
        &self,
        cx: &Cx,
        turn: OwnedSemaphorePermit,
        from: u64,
    ) -> Option<Drawn> {
        let who = self.caller(cx).await?;
        let key = Key {
            text: self.text.clone(),
            grants: who.grants.clone(),
            scopes: who.caller.scopes,
        };
        if let Some(drawn) = cx.shared.pages.get(&key, from) {
            return Some(drawn);
        }
        // What happens from now on may be missing.
        let until = cx.shared.live.last();
        let html = in_bounds(async {
            // A list of an older position would leave out what the events told. Refused, the page tells why.
            let _ = cx.shared.fresh().await;
            self.answer(cx, who).await
        });
        let (html, took) = Worked::of(html).await;
        // Streams draw for half of the time at most, so that requests are answered in the other half. A wait for others is no such time.
        tokio::spawn(async move {
            sleep(took).await;
            drop(turn);
        });
        let html = Value::String(html?).to_string().into();
        let drawn = Drawn { until, html };
        cx.shared.pages.put(key, drawn.clone());
        Some(drawn)
    }

    async fn answer(&self, cx: &Cx, who: Who) -> Option<Body> {
        let drawn = (self.handler)(Cx {
            shared: Arc::clone(&cx.shared),
            route: self.route,
            handlers: cx.handlers,
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
        Some(drawn.ok()?.response.into_body())
    }
}

/// A future, and the time in which it kept its thread.
struct Worked<F> {
    inner: Pin<Box<F>>,
    took: Duration,
}

impl<F: Future> Worked<F> {
    fn of(inner: F) -> Self {
        Self {
            inner: Box::pin(inner),
            took: Duration::ZERO,
        }
    }
}

impl<F: Future> Future for Worked<F> {
    type Output = (F::Output, Duration);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let began = Instant::now();
        let done = self.inner.as_mut().poll(cx);
        self.took += began.elapsed();
        done.map(|done| (done, self.took))
    }
}

/// The text of a page, unless it takes too long or is too long.
async fn in_bounds(page: impl Future<Output = Option<Body>>) -> Option<String> {
    let read = async {
        let body = Limited::new(page.await?, PAGE_MAX);
        let body = body.collect().await.ok()?;
        String::from_utf8(body.to_bytes().into()).ok()
    };
    timeout(DRAW_TIME, read).await.ok()?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_for_others_is_no_work() {
        fn work(time: Duration) -> Duration {
            let began = Instant::now();
            while began.elapsed() < time {}
            began.elapsed()
        }
        let (own, other) = (Duration::from_millis(20), Duration::from_millis(60));
        let page = async {
            // On the one thread, both work one after the other.
            let waited = tokio::spawn(async move { work(other) }).await.unwrap();
            work(own);
            waited
        };
        let began = Instant::now();
        let (waited, took) = Worked::of(page).await;
        assert!(took >= own, "{took:?}");
        assert!(took <= began.elapsed() - waited, "{took:?}, {waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_is_too_long_or_takes_too_long_is_not_sent() {
        let page = |n: usize| async move { Some(Body::from("x".repeat(n))) };
        assert_eq!(in_bounds(page(PAGE_MAX)).await.unwrap().len(), PAGE_MAX);
        assert_eq!(in_bounds(page(PAGE_MAX + 1)).await, None);
        let began = Instant::now();
        assert_eq!(in_bounds(std::future::pending()).await, None);
        assert_eq!(began.elapsed(), DRAW_TIME);
    }

    /// Each page has a handler, which is not called here.
    fn each(_: &str) -> Option<Handler> {
        Some(|_| Box::pin(async { Err(Fault::Missing) }))
    }

    #[test]
    fn a_stream_shows_pages_that_change_and_no_others() {
        for path in [
            "/tasks",
            "/tasks?state=queued&page=2",
            "/jobs/lab/night",
            "/nodes/00",
        ] {
            assert!(Pushed::of(path, each).unwrap().is_some(), "{path}");
        }
        for path in ["/audit", "/settings", "/events", "/api/v1/tasks", "/login"] {
            assert!(Pushed::of(path, each).unwrap().is_none(), "{path}");
        }
        for path in [
            "",
            "tasks",
            "/nowhere",
            "http://evil.example/tasks",
            "/tasks?a=1&a=2",
            "/tasks?format=json",
            "/nodes?q=x&format=csv",
        ] {
            assert!(Pushed::of(path, each).is_err(), "{path}");
        }
        let long = format!("/tasks?q={}", "x".repeat(QUERY_MAX));
        assert_eq!(Pushed::of(&long, each).err(), Some(Fault::TooLarge));
    }
}
