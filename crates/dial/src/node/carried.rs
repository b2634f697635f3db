//! Sessions over carriers that the caller created.

use std::sync::Arc;

use betanet_carrier::{Carrier, Received};
use betanet_htx::ticket::EXPORTER_CONTEXT;
use betanet_htx::{By, Config, Secrets, Session};
use betanet_keys::{Identity, Peer, PublicKey};
use betanet_machine::Rng;
use betanet_session::{
    Clock, Controls, Driver, Error as SessionError, OuterFacts, Service, SessionHandle, native,
    seed,
};
use betanet_stack::Connection;
use betanet_wire::Code;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Node;
use super::connect::OPENS;
use crate::Error;

/// Maximum length of message 1, with ML-KEM.
const MESSAGE_1_MAX: usize = betanet_htx::handshake::MESSAGE_1[1];

fn outer(source: betanet_carrier::Error) -> Error {
    let address = "the carrier".to_owned();
    Error::Outer { address, source }
}

impl Node {
    /// Opens a session with `peer` over an open carrier. Both ends of the carrier must export the same keying material.
    ///
    /// # Errors
    ///
    /// The carrier is closed or exports no keying material, or a different peer is at its other end.
    pub async fn connect_carrier(
        &self,
        peer: &PublicKey,
        carrier: Box<dyn Carrier>,
    ) -> Result<SessionHandle, Error> {
        let ekm0 = carrier.export(EXPORTER_CONTEXT).map_err(outer)?;
        let secrets = Secrets::draw(&mut self.lock().rng);
        let session = Session::connect(
            self.clock.now(),
            self.config.clone(),
            &self.identity_for(peer)?,
            peer,
            &ekm0,
            secrets,
        )
        .map_err(|e| SessionError::Request(e.into()))?;
        let peer = Peer {
            key: *peer,
            addrs: Vec::new(),
            pin: None,
        };
        let facts = OuterFacts::default();
        self.run(session, carrier, &peer, facts, Some(OPENS)).await
    }
}

/// Serves the session on a carrier that the caller accepted, until it ends. Dropping the future cuts the session.
///
/// There is no admission control: the caller decides which carriers are served, and how many.
///
/// # Errors
///
/// No session begins: the carrier is closed, or message 1 is wrong or late.
pub async fn serve_carrier(
    identity: &Identity,
    service: Arc<dyn Service>,
    mut carrier: Box<dyn Carrier>,
) -> Result<(), Error> {
    let ekm0 = carrier.export(EXPORTER_CONTEXT).map_err(outer)?;
    let message = timeout(OPENS, message_1(&mut *carrier)).await;
    let message = message
        .map_err(|_| betanet_carrier::Error::Timeout(OPENS.as_secs()))
        .and_then(|received| received)
        .map_err(outer)?;
    let clock = Clock::start();
    let secrets = Secrets::draw(&mut Rng::new(&seed()?));
    let config = native(Config::default());
    let session = Session::accept(clock.now(), config, identity, &ekm0, &message, secrets);
    let session = session.map_err(|e| SessionError::Session {
        code: Code::AUTH_FAILED,
        reason: e.to_string(),
        by: By::Local,
    })?;
    let driver = Driver::new(
        Connection::new(session),
        carrier,
        clock,
        Controls::stop(CancellationToken::new()),
        None,
        Arc::new(()),
        None,
    );
    driver.serving(service).run().await;
    Ok(())
}

/// Reads message 1, without its length. A client sends nothing more before it is answered.
async fn message_1(carrier: &mut dyn Carrier) -> Result<Vec<u8>, betanet_carrier::Error> {
    let mut received = Vec::new();
    loop {
        match std::future::poll_fn(|cx| carrier.poll_receive(cx)).await? {
            Received::Bytes(bytes) => received.extend_from_slice(&bytes),
            Received::GoAway => continue,
            Received::End => return Err(betanet_carrier::Error::Gone),
        }
        if received.len() > 2 + MESSAGE_1_MAX {
            return Err(betanet_carrier::Error::Gone);
        }
        let Some((len, message)) = received.split_first_chunk::<2>() else {
            continue;
        };
        if message.len() >= usize::from(u16::from_be_bytes(*len)) {
            return Ok(message.to_vec());
        }
    }
}
