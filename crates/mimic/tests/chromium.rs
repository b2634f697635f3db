//! Compares the hello with the browser's own, from its capture.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

use std::collections::BTreeSet;
use std::sync::Arc;

use betanet_carrier::client::{Trust, Way, connect, connect_quic};
use betanet_carrier::{
    CHROMIUM_156, Capture, Captured, CertSource, Certificate, Error, QuicCapture,
};
use betanet_mimic::Chromium;
use betanet_traffic::template::{Flight, Hello, Initial, Initials, Template, Transport};
use betanet_wire::text::unhex;
use tokio::net::{TcpListener, UdpSocket};

/// Hellos and first flights that the browser sent.
fn browser() -> (Vec<Hello>, Vec<Flight>) {
    let file: serde_json::Value = serde_json::from_str(CHROMIUM_156).unwrap();
    let list = |name: &str| -> Vec<Vec<u8>> {
        let list = file[name].as_array().unwrap().iter();
        list.map(|v| unhex(v.as_str().unwrap()).unwrap()).collect()
    };
    let hellos = list("hellos").into_iter();
    let flights = list("flights").into_iter();
    (
        hellos
            .map(|h| Hello::from_stream(&h).unwrap().unwrap())
            .collect(),
        flights
            .map(|f| Flight::from_stream(&f).unwrap().unwrap())
            .collect(),
    )
}

/// First bytes of visits with this fingerprint, each on its own connection to a site that is accepted without trust.
async fn sent(shape: &Chromium, visits: usize) -> Vec<Captured> {
    let certificate = Certificate::self_signed(&["localhost".into()]).unwrap();
    let pin = *certificate.pin();
    let capture = Capture::new(Arc::new(CertSource::fixed(certificate))).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("localhost:{}", listener.local_addr().unwrap().port());
    let mut all = Vec::new();
    for _ in 0..visits {
        let taking = async {
            let (tcp, _) = listener.accept().await.unwrap();
            capture.take(tcp).await.unwrap()
        };
        let visiting = async {
            let trust = Trust::Pin(pin);
            let outer = connect(&at, &trust, Way::default(), shape).await.unwrap();
            assert_eq!(outer.facts().version, "TLSv1_3");
            assert_eq!(outer.facts().group, "X25519MLKEM768");
            assert_eq!(outer.facts().alpn, "h2");
            assert_eq!(outer.visit().await.unwrap().0, 200);
        };
        all.push(tokio::join!(taking, visiting).0);
    }
    all
}

#[tokio::test]
async fn every_field_of_fifty_connections_is_chromiums() {
    let (theirs, their_flights) = browser();
    let captured = sent(&Chromium::new().unwrap(), 50).await;
    let read = |c: &Captured| Hello::from_stream(&c.hello).unwrap().unwrap();
    let hellos: Vec<Hello> = captured.iter().map(read).collect();
    for hello in &hellos {
        for browser in &theirs {
            assert_eq!(hello.fields(true), browser.fields(true));
        }
        let ja4 = hello.ja4(Transport::Tcp);
        assert_eq!(ja4, "t13d1517h2_8daaf6152771_cb7bf5808d99");
    }
    // The order differs each time, and the GREASE encrypted hello has one of four lengths.
    let orders: BTreeSet<Vec<u16>> = hellos.iter().map(Hello::extension_numbers).collect();
    assert!(orders.len() > 45, "{}", orders.len());
    let lengths: BTreeSet<usize> = captured.iter().map(|c| c.hello.len()).collect();
    assert!(
        lengths.is_subset(&BTreeSet::from([1917, 1949, 1981, 2013])),
        "{lengths:?}"
    );
    assert!(lengths.len() > 2, "{lengths:?}");
    let read = |c: &Captured| {
        Flight::from_stream(c.flight.as_ref().unwrap())
            .unwrap()
            .unwrap()
    };
    for flight in captured.iter().map(read) {
        assert_eq!(flight, their_flights[0]);
    }
    let ours = Template::of_client(&hellos, Some(&their_flights[0]));
    let browsers = Template::of_client(&theirs, Some(&their_flights[0]));
    assert!(ours.is_some() && ours == browsers);
}

#[tokio::test]
async fn a_certificate_that_is_not_the_one_meant_ends_it() {
    let shape = Chromium::new().unwrap();
    let certificate = Certificate::self_signed(&["localhost".into()]).unwrap();
    let capture = Capture::new(Arc::new(CertSource::fixed(certificate))).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("localhost:{}", listener.local_addr().unwrap().port());
    for trust in [Trust::Pin([7; 32]), Trust::web_pki()] {
        let taking = async {
            let (tcp, _) = listener.accept().await.unwrap();
            capture.take(tcp).await.unwrap()
        };
        let (captured, outer) = tokio::join!(taking, connect(&at, &trust, Way::default(), &shape));
        // No byte of HTTP was sent.
        assert_eq!(captured.flight, None);
        match (trust, outer.err()) {
            (Trust::Pin(_), Some(Error::Pin)) | (Trust::WebPki(_), Some(Error::Certificate(_))) => {
            }
            other => panic!("{other:?}"),
        }
    }
}

fn initial(datagrams: &[Vec<u8>]) -> Initial {
    let mut initials = Initials::default();
    let taken = datagrams.iter().map(|d| initials.take(d).unwrap());
    taken.last().unwrap().unwrap()
}

/// First packets of visits over QUIC.
async fn sent_quic(shape: &Chromium, visits: usize) -> Vec<Initial> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = format!("localhost:{}", socket.local_addr().unwrap().port());
    let mut capture = QuicCapture::new(socket);
    let mut all = Vec::new();
    for _ in 0..visits {
        // There is no answer; the visit ends with the capture.
        tokio::select! {
            datagrams = capture.take() => all.push(initial(&datagrams.unwrap().unwrap())),
            _ = connect_quic(&at, &Trust::Anything, Way::default(), shape) => panic!("answered"),
        }
    }
    all
}

#[tokio::test]
async fn every_field_of_fifty_connections_over_quic_is_chromiums() {
    let file: serde_json::Value = serde_json::from_str(CHROMIUM_156).unwrap();
    let visits = file["quic"].as_array().unwrap().iter();
    let theirs: Vec<Initial> = visits
        .map(|datagrams| {
            let datagrams = datagrams.as_array().unwrap().iter();
            let datagrams = datagrams.map(|d| unhex(d.as_str().unwrap()).unwrap());
            initial(&datagrams.collect::<Vec<_>>())
        })
        .collect();
    let ours = sent_quic(&Chromium::new().unwrap(), 50).await;
    assert_eq!((theirs.len(), ours.len()), (3, 50));
    for own in &ours {
        for browser in &theirs {
            assert_eq!(own.hello.fields(true), browser.hello.fields(true));
            assert_eq!(own.fields(), browser.fields());
            assert_eq!(own.datagrams, browser.datagrams);
        }
        let ja4 = own.hello.ja4(Transport::Quic);
        assert_eq!(ja4, "q13d0312h3_55b375c5d22e_178839b6cec1");
    }
    let orders: BTreeSet<Vec<u16>> = ours.iter().map(|i| i.hello.extension_numbers()).collect();
    assert!(orders.len() > 45, "{}", orders.len());
    let of = |i: &Initial| i.parameters.iter().map(|(id, _)| *id).collect::<Vec<_>>();
    let orders: BTreeSet<Vec<u64>> = ours.iter().map(of).collect();
    assert!(orders.len() > 45, "{}", orders.len());
    // Both yield the same template.
    let template = Template::of_quic_client(&ours).unwrap();
    assert_eq!(
        template.id(),
        Template::of_quic_client(&theirs).unwrap().id()
    );
    assert_eq!(template.quic.unwrap().0[&0x04], 15_728_640);
}
