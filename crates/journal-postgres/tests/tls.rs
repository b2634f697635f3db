//! A connection by TCP with TLS: the server's certificate is verified.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

use betanet_journal::testkit::{lead, records};
use betanet_journal::{Error, Journal as _};
use betanet_journal_postgres::testkit::Cluster;
use betanet_journal_postgres::{PostgresJournal, Settings};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// A certificate authority, and a certificate of `localhost` in PEM with its key.
fn certificates() -> (String, String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    (authority.pem(), certificate.pem(), key.serialize_pem())
}

#[test]
fn the_certificate_is_verified() {
    let (authority, certificate, key) = certificates();
    let (other, ..) = certificates();
    let cluster = Cluster::start_tls(&certificate, &key);
    let port = cluster.port().unwrap();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(async {
        let settings = |host: &str, authority: &str| {
            let text = format!("host={host} hostaddr=127.0.0.1 port={port} user=fog dbname=postgres sslmode=require");
            Settings::new(&text)
                .unwrap()
                .with_authorities(authority.as_bytes())
                .unwrap()
        };
        let journal = PostgresJournal::open(settings("localhost", &authority)).await;
        let journal = journal.unwrap();
        lead(&journal).await;
        assert_eq!(journal.append(1, records(1..=3)).await.unwrap(), 3);
        // Another authority's certificate, and another server's name.
        for bad in [settings("localhost", &other), settings("db.example", &authority)] {
            match PostgresJournal::open(bad).await {
                Err(Error::Backend { action, .. }) => assert_eq!(action, "connect to PostgreSQL"),
                other => panic!("{other:?}"),
            }
        }
        // The server refuses a connection without TLS, which this URL asks for.
        let plain = format!("postgres://fog@127.0.0.1:{port}/postgres?sslmode=disable");
        let plain = PostgresJournal::open(Settings::new(&plain).unwrap()).await;
        assert!(plain.is_err());
    });
}
