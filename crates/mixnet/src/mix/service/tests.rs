//! Exchanges over the mix, tested without a mix.

use std::sync::Mutex;
use std::time::Duration;

use betanet_bar::{Headers, Method, Request};
use betanet_machine::Time;
use betanet_mix::Via;

use super::*;
use betanet_session::{Call, Reply};

fn at(s: u64) -> Now {
    let mono = Time::ZERO + Duration::from_secs(s);
    Now::new(mono, mono.as_micros() / 1000)
}

fn piece(index: u16, count: u16, data: Vec<u8>) -> Delivered {
    let fragment = Fragment {
        kind: Kind::Request,
        message: [7; 8],
        index,
        count,
        surbs: Vec::new(),
        data,
    };
    Delivered {
        via: Via::default(),
        payload: Box::new(fragment.to_payload().unwrap()),
    }
}

fn head(method: Method) -> Vec<u8> {
    Request::new(method, "/", Headers::default())
        .to_message()
        .unwrap()
}

fn server(service: impl Service) -> (Server, mpsc::Receiver<Op>) {
    Server::new(Arc::new(service), Arc::new(()))
}

/// A server whose replies are dropped.
struct Alone<'a>(&'a mut Server, Now);

impl Io for Alone<'_> {
    type Machine = RecipientMachine;

    fn machine(&mut self) -> &mut RecipientMachine {
        &mut self.0.recipient
    }

    fn now(&self) -> Now {
        self.1
    }

    fn transmit(&mut self, _: betanet_mix::Reply) {}

    fn event(&mut self, event: RecipientEvent) {
        self.0.told(self.1, event);
    }
}

fn deliver(server: &mut Server, now: Now, payload: Delivered) {
    server.delivered(now, payload);
    drive(&mut Alone(server, now));
}

/// Signals when it is dropped.
struct Told(Option<oneshot::Sender<()>>);

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(told) = self.0.take() {
            let _ = told.send(());
        }
    }
}

#[tokio::test]
async fn an_exchange_that_is_given_up_drops_its_services_future() {
    let (tell, dropped) = oneshot::channel();
    let told = Mutex::new(Some(Told(Some(tell))));
    let waits = move |call: Call| {
        assert_eq!(call.client, Client::Anonymous);
        let told = told.lock().unwrap().take();
        async move {
            let _told = told;
            std::future::pending::<Reply>().await
        }
    };
    let (mut server, _asked) = server(waits);
    deliver(&mut server, at(0), piece(0, 1, head(Method::Get)));
    assert_eq!(server.serving.len(), 1);
    for _ in 0..9 {
        tokio::task::yield_now().await;
    }
    // Nothing arrives from its client for a minute.
    drive(&mut Alone(&mut server, at(60)));
    assert!(server.serving.is_empty() && server.streams.is_empty());
    let dropped = tokio::time::timeout(Duration::from_secs(20), dropped).await;
    dropped.unwrap().unwrap();
}

#[tokio::test]
async fn what_a_service_does_not_read_is_taken_for_lost_beyond_a_bound() {
    let never = |call: Call| async move {
        std::future::pending::<()>().await;
        drop(call);
        Reply::new(200)
    };
    let (mut server, _asked) = server(never);
    deliver(&mut server, at(0), piece(0, 0, head(Method::Put)));
    for index in 1..1000 {
        deliver(&mut server, at(1), piece(index, 0, vec![7; DATA_MAX]));
    }
    let held = server.unread;
    assert!(
        (UNREAD_MAX..UNREAD_MAX + 2 * DATA_MAX).contains(&held),
        "{held}"
    );
    drive(&mut Alone(&mut server, at(60)));
    assert_eq!(server.unread, 0);
}

#[tokio::test]
async fn an_answer_fills_its_pieces_and_ends() {
    let says = |_: Call| async { Reply::new(200).with_body(vec![9; 3 * DATA_MAX]) };
    let (mut server, mut asked) = server(says);
    deliver(&mut server, at(0), piece(0, 1, head(Method::Get)));
    let exchange = *server.streams.values().next().unwrap();
    while server.serving[&exchange].running.is_some() {
        let op = tokio::time::timeout(Duration::from_secs(20), asked.recv()).await;
        server.take(at(0), op.unwrap().unwrap());
        drive(&mut Alone(&mut server, at(0)));
    }
    let serving = &server.serving[&exchange];
    assert!(serving.fin && serving.rest.is_empty() && serving.piece.is_empty());
}
