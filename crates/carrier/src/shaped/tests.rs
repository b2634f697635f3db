use std::collections::VecDeque;

use betanet_htx::pace::PADDING_MIN;
use betanet_traffic::shape::Gap;

use super::reading::EARLY;
use super::*;
use crate::taker::{Left, Log, Taker};

const ASKS: u16 = 463;
const ANSWERS: u16 = 5000;

/// A request, an answer after 5 ms, and another request after 20.
fn shape() -> Arc<Shape> {
    let trace = vec![
        step(0, true, ASKS),
        step(5, false, ANSWERS),
        step(20, true, ASKS),
    ];
    Arc::new(Shape::new(vec![trace]).unwrap())
}

struct End {
    shaped: Shaped,
    log: Log,
    coming: Arc<std::sync::Mutex<VecDeque<Bytes>>>,
    told: Arc<std::sync::Mutex<Vec<(Duration, Reads)>>>,
    heard: Arc<std::sync::Mutex<Option<Instant>>>,
    left: Left,
}

impl End {
    fn new(up: bool) -> Self {
        Self::follows(up, shape())
    }

    fn follows(up: bool, shape: Arc<Shape>) -> Self {
        let log = Log::default();
        let taker = Taker::new(&log);
        let coming = Arc::clone(&taker.coming);
        let told = Arc::clone(&taker.told);
        let heard = Arc::clone(&taker.heard);
        let left = Arc::clone(&taker.left);
        let shaped = if up {
            Shaped::client(Box::new(taker), shape, 0, Duration::ZERO)
        } else {
            Shaped::server(Box::new(taker), shape, 0)
        };
        let shaped = shaped.unwrap();
        Self {
            shaped,
            log,
            coming,
            told,
            heard,
            left,
        }
    }

    fn hears(&self, n: usize) {
        self.coming.lock().unwrap().push_back(vec![0; n].into());
    }

    /// Runs a session's turns for this time, as its driver does.
    async fn goes(&mut self, time: Duration) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let until = Instant::now() + time;
        while Instant::now() < until {
            tokio::time::advance(Duration::from_millis(1)).await;
            loop {
                let more = self.shaped.poll_receive(&mut cx).is_ready();
                self.shaped.padded(true);
                match self.shaped.lacks() {
                    0 if more => {}
                    0 => break,
                    n => {
                        let pad = vec![0; n.max(PADDING_MIN)];
                        assert!(self.shaped.poll_ready(&mut cx).is_ready());
                        self.shaped.fill(pad.into()).unwrap();
                    }
                }
            }
            self.shaped.push(&mut cx);
        }
    }

    fn sent(&self) -> Vec<usize> {
        let sent = std::mem::take(&mut *self.log.lock().unwrap());
        sent.into_iter().map(|(_, n)| n).collect()
    }
}

const HANDSHAKE: usize = 200;
/// Everything after the last delayed part.
const REST: Reads = Reads::AtMost(usize::MAX);
const SECONDS: Duration = Duration::from_secs(5);

#[tokio::test(start_paused = true)]
async fn a_client_goes_on_only_where_more_than_padding_was_said() {
    let mut client = End::new(true);
    client.shaped.send(vec![1; HANDSHAKE].into()).unwrap();
    client.goes(Duration::from_millis(3)).await;
    client.hears(4900);
    client.goes(SECONDS).await;
    // The first trace's two requests, and the next one's, as the first trace carried the handshake.
    assert_eq!(client.sent().len(), 4);
    client.goes(10 * SECONDS).await;
    assert_eq!(client.sent(), [0; 0], "PADDING is no reason to go on");
    // Data counts.
    client.shaped.send(vec![1; 2000].into()).unwrap();
    client.goes(2 * SECONDS).await;
    let sent = client.sent();
    assert!(sent.iter().sum::<usize>() > 2000, "{sent:?}");
    client.goes(10 * SECONDS).await;
    let rest = client.sent();
    assert!(rest.len() <= 2, "{rest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_with_more_to_say_asks_and_its_client_goes_on() {
    let mut server = End::new(false);
    server.shaped.send(vec![1; 9000].into()).unwrap();
    server.goes(Duration::from_millis(10)).await;
    server.hears(500);
    server.goes(Duration::from_millis(1400)).await;
    let first: usize = server.sent().iter().sum();
    assert!(first < 9000, "{first} bytes are more than its trace has");
    server.goes(Duration::from_millis(300)).await;
    assert_eq!(server.sent(), [SHORT]);
    // Until the server is heard, or has nothing left.
    server.goes(10 * SECONDS).await;
    let rest: usize = server.sent().iter().sum();
    assert_eq!(first + SHORT + rest, 9000);

    let mut client = End::new(true);
    client.goes(Duration::from_millis(3)).await;
    client.hears(4900);
    client.goes(SECONDS).await;
    client.sent();
    client.hears(SHORT);
    client.goes(SECONDS).await;
    assert_eq!(client.sent().len(), 2, "one trace more");
}

fn step(ms: u64, up: bool, size: u16) -> Step {
    Step {
        gap: Gap::new(Duration::from_millis(ms)),
        up,
        size,
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_told_apart_by_less_than_any_timer_can() {
    let after = |micros| Step {
        gap: Gap::new(Duration::from_micros(micros)),
        ..step(0, true, ASKS)
    };
    let mut trace = shape().traces()[0].clone();
    trace.extend([after(12), after(17)]);
    let mut client = End::follows(true, Arc::new(Shape::new(vec![trace]).unwrap()));
    client.shaped.send(vec![1; HANDSHAKE].into()).unwrap();
    client.goes(Duration::from_millis(3)).await;
    client.hears(4900);
    client.goes(Duration::from_millis(40)).await;
    let left = client.left.lock().unwrap().clone();
    // The ability was asked for first. Bursts are passed on together, before the first of them is due.
    let [None, Some(first), Some(second), Some(third), None] = left[..] else {
        panic!("{left:?}");
    };
    assert_eq!([second.1, third.1].map(|d| d.as_micros()), [12, 17]);
    let apart = [second.0 - first.0, third.0 - second.0];
    assert_eq!(apart.map(|d| d.as_micros()), [12, 17]);
    let handed = client.log.lock().unwrap().last().unwrap().0;
    assert!(
        handed < first.0 && first.0 - handed <= AHEAD,
        "{handed:?} {first:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_made_into_records_before_it_leaves() {
    let mut trace = shape().traces()[0].clone();
    trace.extend([12, 4].map(|after| step(after, false, ANSWERS)));
    trace.push(step(9, true, ASKS));
    let mut server = End::follows(false, Arc::new(Shape::new(vec![trace]).unwrap()));
    server.shaped.send(vec![1; HANDSHAKE].into()).unwrap();
    server.goes(Duration::from_millis(10)).await;
    server.hears(500);
    server.sent();
    server.goes(Duration::from_millis(20)).await;
    let left = server.left.lock().unwrap().clone();
    let [None, Some((first, _)), Some((second, _))] = left[..] else {
        panic!("{left:?}");
    };
    assert_eq!((second - first).as_millis(), 4);
    let handed: Vec<_> = server.log.lock().unwrap().iter().map(|h| h.0).collect();
    let [one, other] = handed[..] else {
        panic!("{handed:?}");
    };
    let early = first - one;
    assert!(
        early >= READY - AHEAD && early <= READY,
        "{one:?} {first:?}"
    );
    // One at a time, with the data present at half of the time.
    let early = second - other;
    assert!(
        first < other && early <= Duration::from_millis(2),
        "{other:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_long_answer_is_read_when_the_browser_read_it() {
    let window = |ms| [&[step(ms, false, 16_401)][..], &[step(0, false, 16_401); 4]].concat();
    let trace = [vec![step(0, true, ASKS)], window(5), window(9), window(6)].concat();
    let shape = Arc::new(Shape::new(vec![trace]).unwrap());
    let mut client = End::follows(true, shape);
    client.shaped.send(vec![1; HANDSHAKE].into()).unwrap();
    client.goes(Duration::from_millis(8)).await;
    client.hears(16_384);
    client.goes(Duration::from_millis(30)).await;
    let told = client.told.lock().unwrap().clone();
    let how: Vec<_> = told.iter().map(|(_, reads)| *reads).collect();
    let whole = Reads::About(5 * 16_406);
    assert_eq!(how, [Reads::AtMost(17 << 10), whole, REST]);
    // The answer was 3 ms late, and so is its reading.
    let at: Vec<_> = told.iter().map(|(at, _)| at.as_millis()).collect();
    assert!(
        at[0] <= 2 && (17..=19).contains(&at[1]) && (23..=25).contains(&at[2]),
        "{at:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_read_of_an_answer_is_told_when_its_request_leaves_and_not_when_it_is_made() {
    let mut trace = shape().traces()[0].clone();
    trace.push(step(5, false, 16_401));
    trace.extend([step(0, false, 16_401); 4]);
    trace.push(step(9, false, 16_401));
    let mut client = End::follows(true, Arc::new(Shape::new(vec![trace]).unwrap()));
    client.shaped.send(vec![1; HANDSHAKE].into()).unwrap();
    client.goes(Duration::from_millis(3)).await;
    client.hears(4900);
    client.goes(Duration::from_millis(40)).await;
    let handed = client.log.lock().unwrap().last().unwrap().0;
    let leaves = client
        .left
        .lock()
        .unwrap()
        .iter()
        .flatten()
        .last()
        .unwrap()
        .0;
    let told = client.told.lock().unwrap().clone();
    let first = told.iter().find(|(_, reads)| *reads != Reads::All).unwrap();
    assert_eq!(first.1, Reads::AtMost(17 << 10));
    assert!(
        handed < leaves && first.0 + EARLY >= leaves,
        "{told:?} {leaves:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_long_answer_that_begins_with_less_than_a_frame_is_read_from_when_it_began() {
    let mut trace = vec![step(0, true, ASKS), step(5, false, 16_401)];
    trace.extend([step(0, false, 16_401); 4]);
    trace.push(step(9, false, 16_401));
    let shape = Arc::new(Shape::new(vec![trace]).unwrap());
    let mut client = End::follows(true, Arc::clone(&shape));
    client.shaped.send(vec![1; HANDSHAKE].into()).unwrap();
    client.goes(Duration::from_millis(30)).await;
    let how = |client: &End| -> Vec<_> {
        let told = client.told.lock().unwrap().clone();
        told.into_iter().map(|(_, reads)| reads).collect()
    };
    assert_eq!(how(&client), [Reads::AtMost(17 << 10)], "it waits for it");
    *client.heard.lock().unwrap() = Some(Instant::now());
    let began = client.shaped.began.elapsed();
    client.goes(Duration::from_millis(20)).await;
    assert_eq!(how(&client)[1..], [REST]);
    let on = client.told.lock().unwrap()[1].0 - began;
    assert!((9..=10).contains(&on.as_millis()), "{on:?}");
    // Data that never comes is not awaited.
    let mut client = End::follows(true, shape);
    client.shaped.send(vec![1; HANDSHAKE].into()).unwrap();
    client.goes(Duration::from_millis(120)).await;
    assert_eq!(how(&client), [Reads::AtMost(17 << 10), Reads::All]);
}

#[tokio::test(start_paused = true)]
async fn what_a_server_says_later_is_read_in_part_too() {
    let mut trace = shape().traces()[0].clone();
    trace.push(step(5, false, 9000));
    trace.extend([step(6, false, 16_401), step(0, false, 16_401)]);
    trace.extend([step(0, false, 16_401); 3]);
    trace.push(step(9, false, 16_401));
    let mut client = End::follows(true, Arc::new(Shape::new(vec![trace]).unwrap()));
    client.shaped.send(vec![1; HANDSHAKE].into()).unwrap();
    client.goes(Duration::from_millis(3)).await;
    client.hears(payload(usize::from(ANSWERS) - RECORD));
    client.goes(Duration::from_millis(30)).await;
    client.told.lock().unwrap().clear();
    client.hears(payload(9000 - RECORD));
    client.goes(Duration::from_millis(2)).await;
    let how = |client: &End| -> Vec<_> {
        let told = client.told.lock().unwrap().clone();
        told.into_iter().map(|(_, reads)| reads).collect()
    };
    assert_eq!(how(&client), [Reads::AtMost(17 << 10)]);
    *client.heard.lock().unwrap() = Some(Instant::now());
    client.goes(Duration::from_millis(20)).await;
    assert_eq!(how(&client)[1..], [REST]);
}

#[tokio::test(start_paused = true)]
async fn what_follows_the_answer_that_opens_a_tunnel_counts_from_when_that_came() {
    let mut client = End::new(true);
    client.shaped.send(vec![1; HANDSHAKE].into()).unwrap();
    client.goes(Duration::from_millis(3)).await;
    // Its reading was held for four milliseconds.
    *client.heard.lock().unwrap() = Some(Instant::now());
    let came = client.shaped.began.elapsed();
    client.goes(Duration::from_millis(4)).await;
    client.hears(4900);
    client.goes(Duration::from_millis(30)).await;
    let left = client.left.lock().unwrap().clone();
    let next = left.iter().flatten().next().unwrap().0 - came;
    assert!(next <= Duration::from_millis(20), "{next:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_ends_reads_whatever_comes() {
    let mut trace = vec![step(0, true, ASKS), step(5, false, 16_401)];
    trace.extend([step(0, false, 16_401); 4]);
    trace.extend([step(9, false, 16_401); 2]);
    let mut client = End::follows(true, Arc::new(Shape::new(vec![trace]).unwrap()));
    client.shaped.send(vec![1; HANDSHAKE].into()).unwrap();
    client.goes(Duration::from_millis(2)).await;
    client.shaped.end();
    client.goes(Duration::from_millis(40)).await;
    let told = client.told.lock().unwrap().clone();
    let how: Vec<_> = told.iter().map(|(_, reads)| *reads).collect();
    assert_eq!(how, [Reads::AtMost(17 << 10), Reads::All]);
}
