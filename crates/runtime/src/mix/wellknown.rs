//! What a node of the mix answers under `/.bn/mix/`, before the handler that it serves with.

use std::sync::{Arc, Mutex};

use betanet_bar::{Client, Handler, Headers, Method, ReadFailed, Request, Response, status};
use betanet_machine::Time;
use betanet_mix::{BEACON_SIG, BeaconKey, DIRECTORY_MAX, KeyRing, epoch_at};
use betanet_wire::{NodeId, cbor, message, text};
use bytes::Bytes;

use super::PLACE;
use super::directories::{Directories, DirectoryProblem};
use super::keys::Proofs;
use super::plane::lock;
use crate::Clock;

message! {
    /// That a relay's own delays of an epoch were what its VRF fixed, as it publishes it.
    pub struct PublishedProof<'a> {
        /// Whose.
        req "node" node: NodeId,
        /// Of which epoch.
        req "epoch" epoch: u32,
        /// The VRF's proof.
        req "proof" proof: &'a [u8; 80],
    }
}

/// What a node has to say of the mix.
pub(crate) struct Faces {
    pub(crate) node: NodeId,
    pub(crate) ring: Mutex<KeyRing>,
    pub(crate) proofs: Mutex<Proofs>,
    /// The network's, where it has one.
    pub(crate) beacon_key: Option<BeaconKey>,
    /// What a seed keeps.
    pub(crate) directories: Option<Directories>,
    pub(crate) clock: Clock,
}

fn plain(status: u16, why: &str) -> Response {
    let mut response = Response::new(status);
    response.headers = Headers::default().with("content-type", "text/plain");
    response.body = why.as_bytes().to_vec();
    response
}

impl Faces {
    fn get(&self, what: &str) -> Response {
        let parts: Vec<&str> = what.split('/').collect();
        let found = match parts[..] {
            ["proof", epoch] => number(epoch).and_then(|epoch| self.proof(epoch)),
            ["layer", epoch, sig] => number(epoch).and_then(|epoch| self.layer(epoch, sig)),
            [epoch] => match number(epoch).zip(self.directories.as_ref()) {
                Some((epoch, directories)) => match directories.get(epoch) {
                    Ok(found) => found,
                    Err(problem) => return plain(status::CONFLICT, &problem.to_string()),
                },
                None => None,
            },
            _ => None,
        };
        match found {
            Some(bytes) => {
                let mut response = Response::new(status::OK);
                response.headers = Headers::default()
                    .with("content-type", "application/cbor")
                    .with("content-length", bytes.len().to_string());
                response.body = bytes;
                response
            }
            None => plain(status::NOT_FOUND, "not here"),
        }
    }

    fn proof(&self, epoch: u32) -> Option<Vec<u8>> {
        let proof = *lock(&self.proofs).get(&epoch)?;
        Some(cbor::to_vec(&PublishedProof {
            node: self.node,
            epoch,
            proof: &proof,
        }))
    }

    /// Proves where this relay stands, once the beacon is known.
    fn layer(&self, epoch: u32, sig: &str) -> Option<Vec<u8>> {
        let sig: [u8; BEACON_SIG] = text::unhex_array(sig)?;
        let beacon = self.beacon_key.as_ref()?.beacon(epoch, &sig)?;
        Some(lock(&self.ring).prove_layer(epoch, &beacon).to_vec())
    }

    fn put(&self, what: &str, body: &[u8]) -> Response {
        let Some(directories) = number(what).and(self.directories.as_ref()) else {
            return plain(status::NOT_FOUND, "this node keeps no directories");
        };
        let now = epoch_at(self.clock.now().unix_ms);
        match directories.put(body, now) {
            Ok(true) => Response::new(status::CREATED),
            Ok(false) => Response::new(status::NO_CONTENT),
            Err(problem @ DirectoryProblem::Equivocation(_)) => {
                plain(status::CONFLICT, &problem.to_string())
            }
            Err(problem) => plain(status::BAD_REQUEST, &problem.to_string()),
        }
    }
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

/// Answers under `/.bn/mix/` itself, where the node is one of the mix; all else is the handler's.
#[derive(Clone)]
pub(crate) struct WellKnown<H> {
    pub(crate) faces: Option<Arc<Faces>>,
    pub(crate) inner: H,
}

/// An exchange with it.
pub(crate) enum Exchange<X> {
    Own { request: Request, body: Vec<u8> },
    Inner(X),
}

impl<H: Handler> Handler for WellKnown<H> {
    type Exchange = Exchange<H::Exchange>;

    fn may_open(&mut self, now: Time, client: Client) -> bool {
        self.inner.may_open(now, client)
    }

    fn begin(&mut self, client: Client, request: Request) -> Result<Self::Exchange, Response> {
        if self.faces.is_none() || !request.path().starts_with(PLACE) {
            return self.inner.begin(client, request).map(Exchange::Inner);
        }
        match request.method {
            Method::Get | Method::Put => Ok(Exchange::Own {
                request,
                body: Vec::new(),
            }),
            Method::Post | Method::Del => Err(plain(status::FORBIDDEN, "GET or PUT")),
        }
    }

    fn body(&mut self, x: &mut Self::Exchange, bytes: &[u8]) -> Result<(), Response> {
        match x {
            Exchange::Own { body, .. } => {
                if body.len() + bytes.len() > DIRECTORY_MAX {
                    let long = DirectoryProblem::Long(body.len() + bytes.len());
                    return Err(plain(status::BAD_REQUEST, &long.to_string()));
                }
                body.extend_from_slice(bytes);
                Ok(())
            }
            Exchange::Inner(x) => self.inner.body(x, bytes),
        }
    }

    fn end(&mut self, x: &mut Self::Exchange) -> Response {
        match x {
            Exchange::Own { request, body } => {
                let what = request.path().strip_prefix(PLACE).unwrap_or_default();
                let Some(faces) = &self.faces else {
                    return Response::new(status::NOT_FOUND);
                };
                let mut response = match request.method {
                    Method::Put => faces.put(what, body),
                    _ => faces.get(what),
                };
                // A head has no room for a directory: its bytes follow.
                *body = std::mem::take(&mut response.body);
                response
            }
            Exchange::Inner(x) => self.inner.end(x),
        }
    }

    fn read(&mut self, x: &mut Self::Exchange, max: usize) -> Result<Bytes, ReadFailed> {
        match x {
            Exchange::Own { body, .. } => {
                let len = body.len().min(max);
                Ok(body.drain(..len).collect::<Vec<u8>>().into())
            }
            Exchange::Inner(x) => self.inner.read(x, max),
        }
    }
}
