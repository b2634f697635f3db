//! Live events: numbered, kept in a ring, and given to each browser tab in one stream.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use betanet_auth::AccountId;
use betanet_coordinator::{Reply, Request};
use betanet_fog_service::Local;
use bytes::Bytes;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::lease::Lease;

/// Events that are kept for clients that come back.
pub(crate) const RING: usize = 1024;
/// Most open streams.
pub(crate) const STREAMS_MAX: usize = 512;
/// Most open streams of one account.
pub(crate) const STREAMS_AN_ACCOUNT: usize = 16;
/// Time after which a stream and its connection are dropped if its client has not confirmed that it reads.
pub(crate) const UNSEEN: Duration = Duration::from_secs(30);
/// Shortest time between two looks at the journal.
const PAUSE: Duration = Duration::from_millis(50);
/// Confirmations of a stream's client that cost no read and were not given yet, at most: of a page, and of a beat.
pub(crate) const CREDITS_MAX: u8 = 2;
/// Topics that a client may ask for.
pub(crate) const TOPICS: [&str; 3] = ["nodes", "tasks", "overview"];

/// An event: that something of a topic changed, up to a record of the journal. What changed is read with the reader's own rights.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) id: u64,
    pub(crate) topic: &'static str,
    pub(crate) position: u64,
    pub(crate) at: u64,
}

impl Event {
    /// The event as it is sent.
    pub(crate) fn text(&self, boot: u64) -> Bytes {
        let (id, topic) = (self.id, self.topic);
        let data = json!({"position": self.position, "at": self.at});
        Bytes::from(format!("id: {boot}-{id}\nevent: {topic}\ndata: {data}\n\n"))
    }
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Event>,
    last: u64,
}

/// ID of a stream, which its client alone is told.
pub(crate) type StreamId = [u8; 16];

/// A stream that is open.
#[derive(Debug)]
struct Open {
    id: StreamId,
    lease: Lease,
    /// The last page that the client has confirmed, and when.
    seen: watch::Sender<Seen>,
    /// Confirmations that it may give without a charge.
    credits: u8,
}

/// The last page that a client has confirmed, and when.
pub(crate) type Seen = (u64, Instant);

/// The events.
pub(crate) struct Live {
    /// Tells IDs of this process from those of an earlier one.
    pub(crate) boot: u64,
    ring: Mutex<Ring>,
    told: watch::Sender<u64>,
    places: Mutex<BTreeMap<AccountId, Vec<Open>>>,
}

/// Events for a reader, or that it has missed some.
pub(crate) enum Missed {
    Nothing(Vec<Event>),
    Some,
}

impl Live {
    pub(crate) fn new(boot: u64) -> Self {
        Self {
            boot,
            ring: Mutex::default(),
            told: watch::Sender::new(0),
            places: Mutex::default(),
        }
    }

    fn add(&self, topic: &'static str, position: u64, at: u64) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.last += 1;
        let id = ring.last;
        if ring.events.len() >= RING {
            ring.events.pop_front();
        }
        ring.events.push_back(Event {
            id,
            topic,
            position,
            at,
        });
        drop(ring);
        self.told.send_replace(id);
    }

    /// Number of the newest event.
    pub(crate) fn last(&self) -> u64 {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.last
    }

    /// A receiver that learns the number of each new event.
    pub(crate) fn told(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }

    /// The events after a number.
    pub(crate) fn after(&self, id: u64) -> Missed {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = ring.events.front().map_or(ring.last + 1, |e| e.id);
        if id.saturating_add(1) < oldest || id > ring.last {
            return Missed::Some;
        }
        let new = ring.events.iter().filter(|e| e.id > id);
        Missed::Nothing(new.cloned().collect())
    }

    /// The number in a `Last-Event-ID` of this process.
    pub(crate) fn number(&self, text: &str) -> Option<u64> {
        let (boot, id) = text.split_once('-')?;
        let id = id.parse().ok()?;
        (boot.parse() == Ok(self.boot)).then_some(id)
    }

    /// A place for a stream of an account, until it is dropped. The lease is its connection's.
    pub(crate) fn place(
        self: &Arc<Self>,
        account: AccountId,
        id: StreamId,
        lease: Lease,
    ) -> Option<Place> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = places.values().map(Vec::len).sum();
        let own = places.get(&account).map_or(0, Vec::len);
        if all >= STREAMS_MAX || own >= STREAMS_AN_ACCOUNT {
            return None;
        }
        let now = Instant::now();
        lease.renew(now + UNSEEN);
        let seen = watch::Sender::new((0, now));
        let told = seen.subscribe();
        let open = Open {
            id,
            lease,
            seen,
            credits: 0,
        };
        places.entry(account).or_default().push(open);
        Some(Place {
            of: Arc::clone(self),
            account,
            id,
            seen: told,
        })
    }

    /// Keeps a stream on, whose client says that it reads, and up to which page. Returns whether the account has such a stream.
    pub(crate) fn seen(&self, account: AccountId, id: &StreamId, page: u64) -> bool {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let mut own = places.get(&account).into_iter().flatten();
        let open = own.find(|open| open.id == *id);
        if let Some(open) = open {
            let now = Instant::now();
            open.lease.renew(now + UNSEEN);
            // The same word again does not move its time.
            open.seen.send_if_modified(|seen| {
                let new = page > seen.0;
                if new {
                    *seen = (page, now);
                }
                new
            });
        }
        open.is_some()
    }

    /// Takes a confirmation of an account's stream without a charge, if something was sent for which it was not given yet.
    pub(crate) fn redeem(&self, account: AccountId, id: &StreamId) -> bool {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let mut own = places.get_mut(&account).into_iter().flatten();
        let left = own
            .find(|open| open.id == *id)
            .and_then(|open| Some((open.credits.checked_sub(1)?, open)));
        left.map(|(left, open)| open.credits = left).is_some()
    }

    /// Gives a stream a confirmation without a charge.
    fn credit(&self, account: AccountId, id: &StreamId) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let mut own = places.get_mut(&account).into_iter().flatten();
        if let Some(open) = own.find(|open| open.id == *id) {
            open.credits = (open.credits + 1).min(CREDITS_MAX);
        }
    }
}

/// The place of an open stream.
pub(crate) struct Place {
    of: Arc<Live>,
    account: AccountId,
    id: StreamId,
    seen: watch::Receiver<Seen>,
}

impl Place {
    /// A receiver that learns each page that the client has confirmed.
    pub(crate) fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.clone()
    }

    /// Something is sent that the client is to confirm, without a charge.
    pub(crate) fn credit(&self) {
        self.of.credit(self.account, &self.id);
    }

    /// ID of the stream.
    pub(crate) const fn id(&self) -> &StreamId {
        &self.id
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self
            .of
            .places
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = places.get_mut(&self.account) {
            if let Some(at) = own.iter().position(|open| open.id == self.id) {
                own.swap_remove(at).lease.lift();
            }
            if own.is_empty() {
                places.remove(&self.account);
            }
        }
    }
}

/// The topics of an event of the coordinator.
fn topics(task: bool, node: bool) -> &'static [&'static str] {
    match (task, node) {
        (true, true) => &["tasks", "nodes", "overview"],
        (true, false) => &["tasks", "overview"],
        (false, true) => &["nodes", "overview"],
        (false, false) => &["overview"],
    }
}

/// Makes events of what the coordinator commits.
pub(crate) async fn feed(
    live: Arc<Live>,
    local: Local,
    clock: impl Fn() -> u64,
    stop: CancellationToken,
) {
    let mut commits = local.commits();
    let mut after = local.position();
    loop {
        tokio::select! {
            changed = commits.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
        let position = *commits.borrow_and_update();
        let (mut task, mut node) = (false, false);
        match local.ask(Request::Events { after }).await {
            Ok(Reply::Events(events)) => {
                for event in &events {
                    task |= event.task.is_some();
                    node |= event.node.is_some();
                    after = after.max(event.at);
                }
            }
            // Another one leads: everything may have changed.
            _ => (task, node) = (true, true),
        }
        after = after.max(position);
        let at = clock();
        for topic in topics(task, node) {
            live.add(topic, position, at);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_comes_back_misses_nothing_or_is_told() {
        let live = Live::new(7);
        let count = |after| match live.after(after) {
            Missed::Nothing(events) => Some(events.len()),
            Missed::Some => None,
        };
        assert_eq!(count(0), Some(0));
        assert_eq!(count(1), None, "a number that was never given");
        for n in 0..2000 {
            live.add("tasks", n, 0);
        }
        assert_eq!(live.last(), 2000);
        assert_eq!(count(1999), Some(1));
        assert_eq!(count(2000 - 1024), Some(RING));
        assert_eq!(count(2000 - 1025), None);
        assert_eq!(live.number("7-12"), Some(12));
        for bad in ["", "12", "6-12", "7-x"] {
            assert_eq!(live.number(bad), None, "{bad}");
        }
    }

    #[test]
    fn streams_are_bounded_and_places_come_back() {
        let live = Arc::new(Live::new(1));
        let of = |n: u8| AccountId([n; 16]);
        let place = |n: u8, id: usize| {
            let id = (id as u128).to_be_bytes();
            live.place(of(n), id, Lease::default())
        };
        let own: Vec<Place> = (0..=STREAMS_AN_ACCOUNT)
            .filter_map(|id| place(1, id))
            .collect();
        assert_eq!(own.len(), STREAMS_AN_ACCOUNT);
        let others: Vec<Place> = (2..=255)
            .flat_map(|n| (0..STREAMS_AN_ACCOUNT).map(move |id| (n, id)))
            .filter_map(|(n, id)| place(n, id))
            .collect();
        assert_eq!(own.len() + others.len(), STREAMS_MAX);
        // A stream is its account's.
        assert!(live.seen(of(1), own[0].id(), 0) && !live.seen(of(1), &[255; 16], 0));
        assert!(!live.seen(of(254), own[0].id(), 0));
        let id = *own[0].id();
        drop(own);
        assert!(!live.seen(of(1), &id, 0));
        assert!(place(1, 0).is_some());
    }

    #[test]
    fn what_is_sent_is_confirmed_once_without_a_charge() {
        let live = Arc::new(Live::new(1));
        let account = AccountId([1; 16]);
        let lease = Lease::default;
        let place = live.place(account, [1; 16], lease()).unwrap();
        let other = live.place(account, [2; 16], lease()).unwrap();
        let redeem = |id: &StreamId| live.redeem(account, id);
        assert!(!redeem(place.id()), "nothing was sent yet");
        place.credit();
        assert!(!redeem(other.id()) && !redeem(&[3; 16]));
        assert!(!live.redeem(AccountId([2; 16]), place.id()), "another's");
        assert!(redeem(place.id()) && !redeem(place.id()));
        // Credits that are not taken do not add up.
        (0..100).for_each(|_| place.credit());
        let free = (0..100).filter(|_| redeem(place.id())).count();
        assert_eq!(free, usize::from(CREDITS_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_has_the_lease_of_its_connection() {
        let live = Arc::new(Live::new(1));
        let account = AccountId([1; 16]);
        let lease = Lease::default();
        let began = Instant::now();
        let place = live.place(account, [1; 16], lease.clone()).unwrap();
        let over = async {
            lease.over().await;
            began.elapsed()
        };
        let confirmed = async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            assert!(live.seen(account, &[1; 16], 7));
            assert!(!live.seen(account, &[2; 16], 7));
        };
        let (over, ()) = tokio::join!(over, confirmed);
        assert_eq!(over, Duration::from_secs(20) + UNSEEN);
        // The same word again, or an older one, tells nothing new.
        let seen = place.seen();
        let (page, at) = *seen.borrow();
        assert_eq!((page, at), (7, began + Duration::from_secs(20)));
        live.seen(account, &[1; 16], 7);
        live.seen(account, &[1; 16], 3);
        assert_eq!(*seen.borrow(), (7, at));
        // A connection whose stream has ended has no bound any more.
        drop(place);
        let later = tokio::time::timeout(UNSEEN * 10, lease.over()).await;
        assert!(later.is_err());
    }
}
