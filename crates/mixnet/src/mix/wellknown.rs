//! Resources of a mix node under `/.bn/mix/`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use betanet_bar::{Headers, Method, Request, Response, status};
use betanet_keys::VRF_PROOF;
use betanet_mix::{BEACON_SIG, BeaconKey, DIRECTORY_MAX, KeyRing, epoch_at};
use betanet_session::{Call, CallBody, Clock, Reply, RequestSource, Service, ServiceFuture};
use betanet_wire::{NodeId, cbor, message, text};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::PLACE;
use super::arithmetic::{Arithmetic, Rests};
use super::directories::{Directories, DirectoryProblem};
use super::keys::Proofs;
use super::plane::lock;
use super::uploads::{Seat, Unfit, Uploads};

message! {
    /// A relay's published proof that its VRF determined its own delays of an epoch.
    pub struct PublishedProof<'a> {
        /// NodeID of the relay.
        req "node" node: NodeId,
        /// Epoch of the delays.
        req "epoch" epoch: u32,
        /// The VRF proof.
        req "proof" proof: &'a [u8; 80],
    }
}

/// Maximum number of epochs whose layer proofs are kept.
const LAYERS_MAX: usize = 4;

/// The unique beacon signature of an epoch, and the proof of the layer that it determines.
type Layer = ([u8; BEACON_SIG], [u8; VRF_PROOF]);

/// The mix resources that a node serves.
pub(crate) struct MixResources {
    pub(crate) node: NodeId,
    pub(crate) ring: Mutex<KeyRing>,
    pub(crate) proofs: Mutex<Proofs>,
    /// The network's beacon key, if it has one.
    pub(crate) beacon_key: Option<BeaconKey>,
    /// The directories of a seed.
    pub(crate) directories: Option<Directories>,
    pub(crate) clock: Clock,
    layers: Mutex<BTreeMap<u32, Layer>>,
    uploads: Uploads,
    arithmetic: Arithmetic,
}

fn plain(status: u16, why: &str) -> Response {
    let mut response = Response::new(status);
    response.headers = Headers::default().with("content-type", "text/plain");
    response.body = why.as_bytes().to_vec();
    response
}

/// Head and body of an answer. The body is separate because a head has no room for a directory.
type Answer = (Response, Bytes);

fn refusal(response: Response) -> Answer {
    (response, Bytes::new())
}

fn found(bytes: Bytes) -> Answer {
    let mut response = Response::new(status::OK);
    response.headers = Headers::default()
        .with("content-type", "application/cbor")
        .with("content-length", bytes.len().to_string());
    (response, bytes)
}

fn not_here() -> Answer {
    refusal(plain(status::NOT_FOUND, "not here"))
}

/// An answer that is immediate, or has to be computed.
pub(super) enum Said {
    Now(Answer),
    Later(oneshot::Receiver<Answer>),
}

fn rests(why: Rests) -> Response {
    match why {
        Rests::Wrong => plain(
            status::TOO_MANY,
            "4 requests of this address in a minute were wrong: ask again in a minute",
        ),
        Rests::Busy => plain(
            status::UNAVAILABLE,
            "as many such requests as are worked on at once: ask again",
        ),
    }
}

impl MixResources {
    pub(crate) fn new(
        node: NodeId,
        ring: KeyRing,
        beacon_key: Option<BeaconKey>,
        directories: Option<Directories>,
        clock: Clock,
    ) -> Self {
        Self {
            node,
            ring: Mutex::new(ring),
            proofs: Mutex::default(),
            beacon_key,
            directories,
            clock,
            layers: Mutex::default(),
            uploads: Uploads::default(),
            arithmetic: Arithmetic::default(),
        }
    }

    fn epoch(&self) -> u32 {
        epoch_at(self.clock.now().unix_ms)
    }

    fn get(self: &Arc<Self>, what: &str, asker: &RequestSource) -> Said {
        let parts: Vec<&str> = what.split('/').collect();
        Said::Now(match parts[..] {
            ["proof", epoch] => {
                let proof = number(epoch).and_then(|epoch| self.proof(epoch));
                proof.map_or_else(not_here, |p| found(p.into()))
            }
            ["layer", epoch, sig] => {
                let sig = text::unhex_array(sig);
                return match number(epoch).zip(sig) {
                    Some((epoch, sig)) => self.layer(epoch, sig, asker),
                    None => Said::Now(not_here()),
                };
            }
            [epoch] => match number(epoch).zip(self.directories.as_ref()) {
                Some((epoch, directories)) => match directories.get(epoch) {
                    Ok(directory) => directory.map_or_else(not_here, found),
                    Err(problem) => refusal(plain(status::CONFLICT, &problem.to_string())),
                },
                None => not_here(),
            },
            _ => not_here(),
        })
    }

    fn proof(&self, epoch: u32) -> Option<Vec<u8>> {
        let proof = *lock(&self.proofs).get(&epoch)?;
        Some(cbor::to_vec(&PublishedProof {
            node: self.node,
            epoch,
            proof: &proof,
        }))
    }

    /// Proves the layer of this relay, once the beacon is known.
    fn layer(self: &Arc<Self>, epoch: u32, sig: [u8; BEACON_SIG], asker: &RequestSource) -> Said {
        let now = self.epoch();
        let near = now.saturating_sub(1)..=now.saturating_add(1);
        let Some(key) = self.beacon_key.filter(|_| near.contains(&epoch)) else {
            return Said::Now(not_here());
        };
        // An epoch's beacon has exactly one valid signature.
        if let Some((right, proof)) = lock(&self.layers).get(&epoch) {
            return Said::Now(if *right == sig {
                found(proof.to_vec().into())
            } else {
                not_here()
            });
        }
        let turn = match self.arithmetic.begin(self.clock.now().mono, asker.charge) {
            Ok(turn) => turn,
            Err(why) => return Said::Now(refusal(rests(why))),
        };
        let this = Arc::clone(self);
        Said::Later(turn.run(move || {
            let Some(beacon) = key.beacon(epoch, &sig) else {
                return (not_here(), true);
            };
            let proof = lock(&this.ring).prove_layer(epoch, &beacon);
            let mut layers = lock(&this.layers);
            layers.insert(epoch, (sig, proof));
            while layers.len() > LAYERS_MAX {
                layers.pop_first();
            }
            (found(proof.to_vec().into()), false)
        }))
    }

    /// Decides from the request's head whether a directory of this size may be uploaded. Returns its place.
    fn may_put(&self, request: &Request, asker: &RequestSource) -> Result<Seat, Response> {
        let what = request.path().strip_prefix(PLACE).unwrap_or_default();
        let keeps = self.directories.is_some();
        let Some(epoch) = number(what).filter(|_| keeps) else {
            return Err(plain(status::NOT_FOUND, "this node keeps no directories"));
        };
        let bad = |problem: DirectoryProblem| plain(status::BAD_REQUEST, &problem.to_string());
        Directories::timely(epoch, self.epoch()).map_err(bad)?;
        let length = request.headers.text("content-length");
        if let Some(long) = length.and_then(|l| l.parse().ok())
            && long > DIRECTORY_MAX
        {
            return Err(bad(DirectoryProblem::Long(long)));
        }
        let now = self.clock.now().mono;
        self.arithmetic.check(now, asker.charge).map_err(rests)?;
        let seat = self.uploads.begin(now, asker.session, asker.charge);
        let seat = seat.ok_or_else(|| {
            plain(
                status::UNAVAILABLE,
                "as many directories are put as may be: ask again",
            )
        })?;
        self.uploads.watch(self.clock);
        Ok(seat)
    }

    fn put(self: &Arc<Self>, body: Vec<u8>, asker: &RequestSource) -> Said {
        let Some(directories) = &self.directories else {
            return Said::Now(not_here());
        };
        // A stored directory costs no arithmetic.
        if let Some(known) = directories.known(&body) {
            return Said::Now(refusal(outcome(known)));
        }
        let turn = match self.arithmetic.begin(self.clock.now().mono, asker.charge) {
            Ok(turn) => turn,
            Err(why) => return Said::Now(refusal(rests(why))),
        };
        let this = Arc::clone(self);
        Said::Later(turn.run(move || {
            let Some(directories) = &this.directories else {
                return (not_here(), false);
            };
            let put = directories.put(&body, this.epoch());
            let wrong = !matches!(put, Ok(_) | Err(DirectoryProblem::Equivocation(_)));
            (refusal(outcome(put)), wrong)
        }))
    }
}

fn outcome(put: Result<bool, DirectoryProblem>) -> Response {
    match put {
        Ok(true) => Response::new(status::CREATED),
        Ok(false) => Response::new(status::NO_CONTENT),
        Err(problem @ DirectoryProblem::Equivocation(_)) => {
            plain(status::CONFLICT, &problem.to_string())
        }
        Err(problem) => plain(status::BAD_REQUEST, &problem.to_string()),
    }
}

fn unfit(why: Unfit) -> Response {
    match why {
        Unfit::Long(len) => plain(
            status::BAD_REQUEST,
            &DirectoryProblem::Long(len).to_string(),
        ),
        Unfit::Late => plain(
            status::BAD_REQUEST,
            "the directory did not come within 10 s",
        ),
    }
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

/// Answers requests under `/.bn/mix/`.
#[derive(Clone)]
pub struct WellKnown(Arc<MixResources>);

impl WellKnown {
    pub(crate) fn new(resources: Arc<MixResources>) -> Self {
        Self(resources)
    }

    /// Answers a request. Reads an uploaded directory to its end.
    async fn said(
        &self,
        request: &Request,
        from: &RequestSource,
        body: CallBody,
    ) -> Result<Said, Answer> {
        match request.method {
            Method::Get => {
                let what = request.path().strip_prefix(PLACE).unwrap_or_default();
                Ok(self.0.get(what, from))
            }
            Method::Put => {
                let seat = self.0.may_put(request, from).map_err(refusal)?;
                let body = self.body(&seat, body).await.map_err(refusal)?;
                Ok(self.0.put(body, from))
            }
            Method::Post | Method::Del => Err(refusal(plain(status::FORBIDDEN, "GET or PUT"))),
        }
    }

    async fn body(&self, seat: &Seat, mut body: CallBody) -> Result<Vec<u8>, Response> {
        let now = || self.0.clock.now().mono;
        loop {
            match body.chunk().await {
                Ok(Some(bytes)) => seat.push(now(), &bytes).map_err(unfit)?,
                Ok(None) => return seat.take(now()).map_err(unfit),
                Err(_) => return Err(Response::new(status::BAD_REQUEST)),
            }
        }
    }

    async fn answer(&self, request: &Request, from: &RequestSource, body: CallBody) -> Answer {
        match self.said(request, from, body).await {
            Ok(Said::Now(answer)) | Err(answer) => answer,
            // The panic hook has already reported a panic.
            Ok(Said::Later(answer)) => answer
                .await
                .unwrap_or_else(|_| refusal(Response::new(status::INTERNAL))),
        }
    }
}

impl Service for WellKnown {
    fn call(&self, call: Call) -> ServiceFuture {
        let this = self.clone();
        Box::pin(async move {
            let (head, body) = this.answer(&call.request, &call.from, call.body).await;
            Reply::from(head).with_body(body)
        })
    }
}

#[cfg(test)]
mod tests {
    use betanet_keys::{Envelope, Identity, Maintainers, PublicKey, VrfSecret};
    use betanet_mix::{BeaconSecret, Directory};
    use betanet_wire::ChargeTo;

    use super::*;

    /// A node and one of its sessions.
    struct Node {
        service: WellKnown,
        from: RequestSource,
    }

    /// Creates a node, which is a seed if `folder` is given. Also returns the current epoch.
    fn node(secret: &BeaconSecret, folder: Option<&std::path::Path>) -> (Node, u32) {
        let ring = KeyRing::new(VrfSecret::from_seed(&[1; 32]));
        let key = secret.public();
        let kept = folder.map(|f| Directories::open(f, maintainers(), key).unwrap());
        let clock = Clock::start();
        let resources = MixResources::new(NodeId([1; 20]), ring, Some(key), kept, clock);
        let epoch = resources.epoch();
        let service = WellKnown::new(Arc::new(resources));
        let from = RequestSource::of(ChargeTo::Unknown);
        (Node { service, from }, epoch)
    }

    fn signers() -> Vec<Identity> {
        (1..=5).map(|n| Identity::from_seed(&[n; 32])).collect()
    }

    fn maintainers() -> Maintainers {
        let keys: Vec<PublicKey> = signers().iter().map(|i| *i.public()).collect();
        Maintainers::new(&keys)
    }

    fn session(node: &Node, n: u8) -> Node {
        Node {
            service: node.service.clone(),
            from: RequestSource::of(ChargeTo::V4([192, 0, 2, n])),
        }
    }

    fn request(method: Method, what: &str) -> Request {
        Request::new(method, &format!("{PLACE}{what}"), Headers::default())
    }

    /// Begins the upload of a directory, with the request's head.
    fn begin(node: &Node, what: &str) -> Result<Seat, Response> {
        node.service
            .0
            .may_put(&request(Method::Put, what), &node.from)
    }

    /// Returns the status of a request, and whether it needed arithmetic.
    async fn ask(node: &Node, method: Method, what: &str, body: &[u8]) -> (u16, bool) {
        let body = CallBody::whole(Bytes::copy_from_slice(body));
        let request = request(method, what);
        match node.service.said(&request, &node.from, body).await {
            Ok(Said::Now((response, _))) | Err((response, _)) => (response.status, false),
            Ok(Said::Later(answer)) => (answer.await.unwrap().0.status, true),
        }
    }

    #[tokio::test]
    async fn a_node_without_directories_refuses_one_at_its_head() {
        let secret = BeaconSecret::from_seed(&[9; 32]).unwrap();
        let (node, epoch) = node(&secret, None);
        let client = session(&node, 1);
        for _ in 0..50 {
            let refused = begin(&client, &epoch.to_string());
            assert_eq!(refused.err().unwrap().status, status::NOT_FOUND);
        }
        let post = ask(&client, Method::Post, "1", b"").await;
        assert_eq!(post, (status::FORBIDDEN, false));
    }

    #[tokio::test]
    async fn a_seed_looks_at_the_head_and_holds_few_bodies() {
        let secret = BeaconSecret::from_seed(&[9; 32]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (node, epoch) = node(&secret, Some(folder.path()));
        let client = session(&node, 1);
        for far in [
            "x".to_owned(),
            (epoch + 3).to_string(),
            (epoch - 9).to_string(),
        ] {
            assert!(begin(&client, &far).is_err(), "{far}");
        }
        let place = format!("{PLACE}{epoch}");
        let long = Headers::default().with("content-length", "1048577");
        let request = Request::new(Method::Put, &place, long);
        let refused = client.service.0.may_put(&request, &client.from);
        assert_eq!(refused.err().unwrap().status, status::BAD_REQUEST);
        let sessions: Vec<Node> = (0..6).map(|_| session(&node, 1)).collect();
        let mut begun = Vec::new();
        for one in &sessions {
            for _ in 0..20 {
                begun.extend(begin(one, &epoch.to_string()));
            }
        }
        assert_eq!(begun.len(), 2, "of one address");
        assert!(begin(&session(&node, 2), &epoch.to_string()).is_ok());
    }

    #[tokio::test]
    async fn a_directory_is_checked_once_and_who_puts_wrong_ones_rests() {
        let secret = BeaconSecret::from_seed(&[9; 32]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (node, epoch) = node(&secret, Some(folder.path()));
        let directory = Directory {
            epoch,
            seq: 1,
            list: maintainers().hash(),
            layers: 1,
            poisson: false,
            beacon_sig: secret.sign(epoch),
            relays: Vec::new(),
        };
        let mut envelope = Envelope::new(directory.to_record()).unwrap();
        signers().iter().for_each(|id| envelope.sign(id));
        let (signed, what) = (envelope.to_bytes(), epoch.to_string());
        let seat = session(&node, 1);
        assert_eq!(ask(&seat, Method::Put, &what, &signed).await, (201, true));
        // Anyone may repeat it without causing arithmetic.
        let other = session(&node, 2);
        for _ in 0..9 {
            assert_eq!(ask(&other, Method::Put, &what, &signed).await, (204, false));
        }
        assert_eq!(ask(&other, Method::Get, &what, b"").await, (200, false));
        for _ in 0..4 {
            assert_eq!(ask(&other, Method::Put, &what, b"none").await, (400, true));
        }
        let rests = ask(&other, Method::Put, &what, b"none").await;
        assert_eq!(rests, (status::TOO_MANY, false));
        assert_eq!(ask(&seat, Method::Put, &what, &signed).await, (204, false));
    }

    #[tokio::test]
    async fn a_layer_is_proved_once_an_epoch_and_wrong_beacons_cost_their_asker_the_next() {
        let secret = BeaconSecret::from_seed(&[9; 32]).unwrap();
        let (node, epoch) = node(&secret, None);
        let what = |epoch: u32, sig: &[u8]| format!("layer/{epoch}/{}", text::hex(sig));
        let other = BeaconSecret::from_seed(&[8; 32]).unwrap();
        let wrong = what(epoch, &other.sign(epoch));
        let right = what(epoch, &secret.sign(epoch));
        let attacker = session(&node, 1);
        for _ in 0..4 {
            assert_eq!(ask(&attacker, Method::Get, &wrong, b"").await, (404, true));
        }
        let rests = ask(&attacker, Method::Get, &wrong, b"").await;
        assert_eq!(rests, (status::TOO_MANY, false));
        let maintainer = session(&node, 2);
        assert_eq!(
            ask(&maintainer, Method::Get, &right, b"").await,
            (200, true)
        );
        for (asked, status) in [(&right, 200), (&wrong, 404), (&right, 200)] {
            let said = ask(&maintainer, Method::Get, asked, b"").await;
            assert_eq!(said, (status, false), "no arithmetic");
        }
        let far = what(epoch + 2, &secret.sign(epoch + 2));
        assert_eq!(ask(&maintainer, Method::Get, &far, b"").await, (404, false));
    }
}
