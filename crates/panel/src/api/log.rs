//! The audit log, its head, and the live events.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use betanet_auth::Permission;
use betanet_auth::audit::Record;
use betanet_journal::Batch;
use betanet_wire::text::{base64url, hex, unhex_array};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{Stream as Pieces, StreamExt as _, unfold};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::core::AUDIT;
use crate::cx::Cx;
use crate::drawn::Drawn;
use crate::fault::Fault;
use crate::form::Fields;
use crate::list::RECORDS_MAX;
use crate::live::{Missed, Place, Seen, StreamId, TOPICS, UNSEEN};
use crate::pace::Pace;
use crate::pages::audit;
use crate::place::Place as Where;
use crate::pushed::Pushed;
use crate::record;
use crate::reply::{self, Done};
use crate::turn::Turns;

/// Time after which a stream says that it lives, and its client is to say the same.
const BEAT: Duration = Duration::from_secs(15);
/// Longest life of a stream.
const STREAM_TIME: Duration = Duration::from_secs(3600);
/// The topic that needs a right to read tasks.
const TASKS: &str = "tasks";

/// Reads records of the journal from a position on, until it has some of the audit log.
async fn read(cx: &Cx, mut after: u64, n: usize) -> Result<Vec<(u64, Vec<u8>)>, Fault> {
    let mut out = Vec::new();
    loop {
        let batch = Batch {
            records: n.clamp(16, 1024),
            ..Batch::default()
        };
        let entries = cx.shared.journal.read(after, batch).await;
        let entries = entries.map_err(|_| Fault::Unavailable)?;
        let Some(last) = entries.last() else {
            return Ok(out);
        };
        after = last.index;
        for entry in entries {
            if entry.record.kind.as_str() == AUDIT && out.len() < n {
                out.push((entry.index, entry.record.body));
            }
        }
        if out.len() >= n {
            return Ok(out);
        }
    }
}

/// Index of the journal after which the record `seq` of the audit log is the first one. Both rise together, and each has at most one
/// number for an index.
async fn place(cx: &Cx, seq: u64) -> Result<u64, Fault> {
    let facts = cx.shared.journal.facts().await;
    let facts = facts.map_err(|_| Fault::Unavailable)?;
    let (mut low, mut high) = (facts.base, facts.last);
    while low < high {
        let middle = low + (high - low) / 2;
        let first = read(cx, middle, 1).await?;
        let first = first
            .first()
            .and_then(|(index, b)| Some((*index, Record::from_bytes(b).ok()?)));
        match first {
            // The record stands after the middle.
            Some((index, record)) if record.seq < seq => low = index,
            Some((_, record)) if record.seq == seq => return Ok(middle),
            _ => high = middle,
        }
    }
    Ok(low)
}

/// `GET /api/v1/audit`: records from number `from` on, with the bytes whose hashes the head covers.
pub(crate) async fn read_audit(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&["from", "n"])?;
    let from = cx.query.stated("from", 0)?;
    let n = cx.query.stated("n", 100)?.clamp(1, RECORDS_MAX);
    let at = place(&cx, from).await?;
    let found = read(&cx, at, usize::try_from(n).unwrap_or(1)).await?;
    let items: Vec<Value> = found
        .iter()
        .filter_map(|(_, bytes)| {
            let mut item = record::audit(&Record::from_bytes(bytes).ok()?);
            item["record"] = json!(base64url(bytes));
            Some(item)
        })
        .collect();
    let next = from + items.len() as u64;
    let body = json!({"items": items, "next": next});
    Ok(reply::json(200, &body).into())
}

/// `GET /api/v1/audit/head`
pub(crate) async fn audit_head(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&[])?;
    let signed = audit::head(&cx).await?;
    let head = signed.head();
    let body = json!({
        "size": head.size,
        "root": hex(&head.root),
        "at_ms": head.at,
        "head": signed.to_string(),
        "key": cx.shared.identity.public().to_string(),
    });
    Ok(reply::json(200, &body).into())
}

/// An open stream of events.
struct Stream {
    cx: Cx,
    topics: Vec<&'static str>,
    /// Number of the last event that was sent, or `None` to tell that some were missed.
    last: Option<u64>,
    told: watch::Receiver<u64>,
    next_beat: Instant,
    /// The page that the client shows.
    page: Option<Pushed>,
    /// When it may be sent again.
    pace: Pace,
    turns: Turns,
    /// Learns which pages the client has confirmed.
    seen: watch::Receiver<Seen>,
    place: Place,
}

impl Stream {
    /// What is sent next; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if Instant::now() >= self.next_beat {
                self.next_beat = Instant::now() + BEAT;
                let data = json!({"position": self.cx.shared.local.position()});
                let text = format!("event: beat\ndata: {data}\n\n");
                self.place.credit();
                return self.counts().await.then(|| Bytes::from(text));
            }
            let live = Arc::clone(&self.cx.shared.live);
            let (last, text) = match self.last.map(|last| live.after(last)) {
                None | Some(Missed::Some) => {
                    let (boot, last) = (live.boot, live.last());
                    let reset = format!("id: {boot}-{last}\nevent: reset\ndata: {{}}\n\n");
                    (last, Bytes::from(reset))
                }
                Some(Missed::Nothing(events)) => {
                    let own = events.iter().filter(|e| self.topics.contains(&e.topic));
                    let texts: Vec<Bytes> = own.map(|e| e.text(live.boot)).collect();
                    let last = events.last().map(|e| e.id).or(self.last);
                    (last.unwrap_or_default(), texts.concat().into())
                }
            };
            if text.is_empty() {
                self.last = Some(last);
                tokio::select! {
                    told = self.told.changed() => if told.is_err() { return None },
                    () = sleep_until(self.next_beat) => {}
                }
                continue;
            }
            if self.page.is_some() {
                let beat = self.next_beat;
                let turn = tokio::select! {
                    turn = self.turn() => turn?,
                    // The client is told that the stream lives, however long others draw.
                    () = sleep_until(beat) => continue,
                };
                if let Some((until, page)) = self.pushed(turn, last).await {
                    self.last = Some(until);
                    return Some(page);
                }
            }
            self.last = Some(last);
            return self.counts().await.then_some(text);
        }
    }

    /// Waits until the page may be drawn: once the client has confirmed the last one, after a pause, and in turn with other streams.
    /// `None` at the end of the panel.
    async fn turn(&mut self) -> Option<OwnedSemaphorePermit> {
        while self.pace.waits() {
            let (page, at) = *self.seen.borrow_and_update();
            self.pace.confirm(page, at);
            if self.pace.waits() {
                self.seen.changed().await.ok()?;
            }
        }
        sleep_until(self.pace.next()).await;
        Some(self.turns.next().await)
    }

    /// The page with all up to an event at least, and the number of the event up to which it has all. `None` if it cannot be drawn: then
    /// the client asks for it itself.
    async fn pushed(&mut self, turn: OwnedSemaphorePermit, from: u64) -> Option<(u64, Bytes)> {
        let page = self.page.as_ref()?;
        let boot = self.cx.shared.live.boot;
        let drawn = page.draw(&self.cx, turn, from).await;
        let Some(Drawn { until, html }) = drawn else {
            self.pace.fail(Instant::now());
            return None;
        };
        let number = self.pace.send(Instant::now());
        self.place.credit();
        let mut text = BytesMut::with_capacity(html.len() + 96);
        let head =
            format!("id: {boot}-{until}\nevent: page\ndata: {{\"number\":{number},\"html\":");
        text.extend_from_slice(head.as_bytes());
        text.extend_from_slice(&html);
        text.extend_from_slice(b"}\n\n");
        Some((until, text.freeze()))
    }

    /// Whether the credentials count and the rights hold now, asked before anything is sent.
    async fn counts(&self) -> bool {
        let Some(caller) = self.cx.who.as_ref().map(|w| w.caller) else {
            return false;
        };
        let tasks = self.topics.contains(&TASKS);
        let stands = self.cx.shared.desk.with(move |core, now, _| {
            let stands = |p| core.stands(now.unix_ms, &caller, p, &Where::Somewhere);
            stands(Permission::Look).is_ok() && (!tasks || stands(Permission::ReadWork).is_ok())
        });
        stands.await.unwrap_or(false)
    }
}

/// Ends a stream after its time. Its client comes back, and misses nothing.
fn bounded<S: Pieces>(stream: S) -> impl Pieces<Item = S::Item> {
    stream.take_until(sleep(STREAM_TIME))
}

/// `GET /events`
pub(crate) async fn events(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&["topics", "page"])?;
    let page = match cx.query.get("page") {
        "" => None,
        text => Pushed::of(text, cx.handlers)?,
    };
    let mut topics = match cx.query.get("topics") {
        "" => TOPICS.to_vec(),
        text => {
            let known = |word: &str| TOPICS.into_iter().find(|t| *t == word);
            let all: Option<Vec<&'static str>> = text.split(',').map(known).collect();
            all.ok_or(Fault::Field("topics"))?
        }
    };
    if !cx.may_somewhere(Permission::ReadWork) {
        topics.retain(|t| *t != TASKS);
    }
    let live = &cx.shared.live;
    let (id, lease) = (cx.shared.random(), cx.lease.clone().unwrap_or_default());
    let place = live.place(cx.who()?.caller.account, id, lease);
    let place = place.ok_or(Fault::Busy)?;
    let data = json!({"stream": hex(place.id()), "within_s": UNSEEN.as_secs()});
    let hello = format!("retry: 2000\n\nevent: stream\ndata: {data}\n\n");
    let last = match cx.last_event.as_deref() {
        None => Some(live.last()),
        Some(text) => live.number(text),
    };
    let stream = Stream {
        topics,
        last,
        told: live.told(),
        next_beat: Instant::now() + BEAT,
        page,
        pace: Pace::new(Instant::now()),
        turns: Turns::new(Arc::clone(&cx.shared.drawing)),
        seen: place.seen(),
        place,
        cx,
    };
    let pieces = unfold(
        (stream, Some(Bytes::from(hello))),
        |(mut stream, hello)| async move {
            let piece = match hello {
                Some(hello) => hello,
                None => stream.next().await?,
            };
            Some((Ok::<Bytes, std::io::Error>(piece), (stream, None)))
        },
    );
    let body = Body::from_stream(bounded(pieces));
    let mut response = reply::whole(200, "text/event-stream", body);
    // A proxy that collects an answer would hold events back.
    reply::set(&mut response, "x-accel-buffering", "no");
    Ok(response.into())
}

/// The stream that a confirmation names.
pub(crate) fn stream(query: &Fields) -> Option<StreamId> {
    unhex_array(query.get("stream"))
}

/// `GET /events/seen`: the client of a stream confirms that it reads, and names the newest page that it has. One confirmation of each page
/// or beat that was sent to it costs no read.
pub(crate) async fn seen(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&["stream", "page"])?;
    let id = stream(&cx.query).ok_or(Fault::Field("stream"))?;
    let page = cx.query.number("page", 0)?;
    match cx.shared.live.seen(cx.who()?.caller.account, &id, page) {
        true => Ok(reply::empty(204).into()),
        false => Err(Fault::Missing),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_after_an_hour() {
        let began = Instant::now();
        let mut stream = Box::pin(bounded(pending::<()>()));
        assert_eq!(stream.next().await, None);
        assert_eq!(began.elapsed().as_secs(), STREAM_TIME.as_secs());
    }
}
