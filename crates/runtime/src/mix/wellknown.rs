//! What a node of the mix answers under `/.bn/mix/`, before the handler that it serves with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use betanet_bar::{Client, Handler, Headers, Method, ReadFailed, Request, Response, status};
use betanet_keys::VRF_PROOF;
use betanet_machine::Time;
use betanet_mix::{BEACON_SIG, BeaconKey, DIRECTORY_MAX, KeyRing, epoch_at};
use betanet_wire::{ChargeTo, NodeId, cbor, message, text};
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::PLACE;
use super::arithmetic::{Arithmetic, Rests};
use super::directories::{Directories, DirectoryProblem};
use super::keys::Proofs;
use super::plane::lock;
use super::uploads::{Seat, Unfit, Uploads};
use crate::Clock;
use crate::alarm::{Alarm, OfSession};
use crate::streams::session_id;

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

/// Epochs whose layers' proofs are kept.
const LAYERS_MAX: usize = 4;

/// The one signature that an epoch's beacon has, and the proof of the layer that it gives.
type Layer = ([u8; BEACON_SIG], [u8; VRF_PROOF]);

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

/// An answer's head, and the body that follows it: a head has no room for a directory.
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

/// What is answered at once, or worked out.
enum Said {
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

/// Whose session it is.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    session: u64,
    charge: ChargeTo,
    alarm: Alarm,
}

impl Faces {
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

    fn get(self: &Arc<Self>, what: &str, asker: &Asker) -> Said {
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

    /// Proves where this relay stands, once the beacon is known.
    fn layer(self: &Arc<Self>, epoch: u32, sig: [u8; BEACON_SIG], asker: &Asker) -> Said {
        let now = self.epoch();
        let near = now.saturating_sub(1)..=now.saturating_add(1);
        let Some(key) = self.beacon_key.filter(|_| near.contains(&epoch)) else {
            return Said::Now(not_here());
        };
        // An epoch's beacon has one signature: any other one is wrong.
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
        Said::Later(turn.run(asker.alarm.clone(), move || {
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

    /// Whether a directory of this size may be put here, by the request's head alone; then its place.
    fn may_put(&self, request: &Request, asker: &Asker) -> Result<Seat, Response> {
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

    fn put(self: &Arc<Self>, body: Vec<u8>, asker: &Asker) -> Said {
        let Some(directories) = &self.directories else {
            return Said::Now(not_here());
        };
        // One that is there already costs no arithmetic.
        if let Some(known) = directories.known(&body) {
            return Said::Now(refusal(outcome(known)));
        }
        let turn = match self.arithmetic.begin(self.clock.now().mono, asker.charge) {
            Ok(turn) => turn,
            Err(why) => return Said::Now(refusal(rests(why))),
        };
        let this = Arc::clone(self);
        Said::Later(turn.run(asker.alarm.clone(), move || {
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

/// Answers under `/.bn/mix/` itself, where the node is one of the mix; all else is the handler's.
#[derive(Clone)]
pub(crate) struct WellKnown<H> {
    faces: Option<Arc<Faces>>,
    asker: Asker,
    inner: H,
}

impl<H> WellKnown<H> {
    pub(crate) fn new(faces: Option<Arc<Faces>>, inner: H) -> Self {
        let asker = Asker {
            session: session_id(),
            charge: ChargeTo::Unknown,
            alarm: Alarm::default(),
        };
        Self {
            faces,
            asker,
            inner,
        }
    }

    /// Rings when an answer is there that was worked out.
    pub(crate) fn alarm(&self) -> Alarm {
        self.asker.alarm.clone()
    }
}

impl<H: Clone> OfSession for WellKnown<H> {
    fn of_session(&self, charge: ChargeTo, alarm: Alarm) -> Self {
        let asker = Asker {
            session: session_id(),
            charge,
            alarm,
        };
        Self {
            faces: self.faces.clone(),
            asker,
            inner: self.inner.clone(),
        }
    }
}

/// An exchange with it.
pub(crate) enum Exchange<X> {
    Own(Own),
    Inner(X),
}

/// One that this node answers itself.
pub(crate) enum Own {
    Get(Request),
    Put(Seat),
    Worked(oneshot::Receiver<Answer>),
    Body(Bytes),
}

impl<H: Handler> Handler for WellKnown<H> {
    type Exchange = Exchange<H::Exchange>;

    fn may_open(&mut self, now: Time, client: Client) -> bool {
        self.inner.may_open(now, client)
    }

    fn begin(&mut self, client: Client, request: Request) -> Result<Self::Exchange, Response> {
        let own = request.path().starts_with(PLACE);
        let Some(faces) = self.faces.as_ref().filter(|_| own) else {
            return self.inner.begin(client, request).map(Exchange::Inner);
        };
        match request.method {
            Method::Get => Ok(Exchange::Own(Own::Get(request))),
            Method::Put => {
                let seat = faces.may_put(&request, &self.asker)?;
                Ok(Exchange::Own(Own::Put(seat)))
            }
            Method::Post | Method::Del => Err(plain(status::FORBIDDEN, "GET or PUT")),
        }
    }

    fn body(&mut self, x: &mut Self::Exchange, bytes: &[u8]) -> Result<(), Response> {
        match x {
            Exchange::Own(Own::Put(seat)) => {
                let Some(faces) = &self.faces else {
                    return Ok(());
                };
                let now = faces.clock.now().mono;
                seat.push(now, bytes).map_err(unfit)
            }
            // A GET has no use for a body.
            Exchange::Own(_) => Ok(()),
            Exchange::Inner(x) => self.inner.body(x, bytes),
        }
    }

    fn end(&mut self, x: &mut Self::Exchange) -> Response {
        // Whoever asks only once is not waited for.
        let busy = || plain(status::UNAVAILABLE, "not worked out yet: ask again");
        self.poll_end(x).unwrap_or_else(busy)
    }

    fn poll_end(&mut self, x: &mut Self::Exchange) -> Option<Response> {
        let own = match x {
            Exchange::Inner(x) => return self.inner.poll_end(x),
            Exchange::Own(own) => own,
        };
        let Some(faces) = &self.faces else {
            return Some(Response::new(status::NOT_FOUND));
        };
        let said = match own {
            Own::Get(request) => {
                let what = request.path().strip_prefix(PLACE).unwrap_or_default();
                faces.get(what, &self.asker)
            }
            Own::Put(seat) => match seat.take(faces.clock.now().mono) {
                Ok(body) => faces.put(body, &self.asker),
                Err(why) => Said::Now(refusal(unfit(why))),
            },
            Own::Worked(answer) => match answer.try_recv() {
                Ok(answer) => Said::Now(answer),
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Closed) => Said::Now(refusal(Response::new(status::INTERNAL))),
            },
            Own::Body(_) => return Some(Response::new(status::INTERNAL)),
        };
        match said {
            Said::Now((response, body)) => {
                *own = Own::Body(body);
                Some(response)
            }
            Said::Later(answer) => {
                *own = Own::Worked(answer);
                None
            }
        }
    }

    fn read(&mut self, x: &mut Self::Exchange, max: usize) -> Result<Bytes, ReadFailed> {
        match x {
            Exchange::Own(Own::Body(body)) => Ok(body.split_to(body.len().min(max))),
            Exchange::Own(_) => Ok(Bytes::new()),
            Exchange::Inner(x) => self.inner.read(x, max),
        }
    }
}

#[cfg(test)]
mod tests {
    use betanet_bar::{Access, MemoryStore, Service};
    use betanet_keys::{Envelope, Identity, Maintainers, PublicKey, VrfSecret};
    use betanet_mix::{BeaconSecret, Directory};

    use super::*;

    type Node = WellKnown<Service<MemoryStore>>;

    /// A node, as a seed where there is a folder, and the epoch of now.
    fn node(secret: &BeaconSecret, folder: Option<&std::path::Path>) -> (Node, u32) {
        let ring = KeyRing::new(VrfSecret::from_seed(&[1; 32]));
        let key = secret.public();
        let kept = folder.map(|f| Directories::open(f, maintainers(), key).unwrap());
        let clock = Clock::start();
        let faces = Faces::new(NodeId([1; 20]), ring, Some(key), kept, clock);
        let inner = Service::new(MemoryStore::new(0), Access::Nobody);
        let epoch = faces.epoch();
        (WellKnown::new(Some(Arc::new(faces)), inner), epoch)
    }

    fn signers() -> Vec<Identity> {
        (1..=5).map(|n| Identity::from_seed(&[n; 32])).collect()
    }

    fn maintainers() -> Maintainers {
        let keys: Vec<PublicKey> = signers().iter().map(|i| *i.public()).collect();
        Maintainers::new(&keys)
    }

    fn session(node: &Node, n: u8) -> Node {
        node.of_session(ChargeTo::V4([192, 0, 2, n]), Alarm::default())
    }

    fn begin(
        node: &mut Node,
        method: Method,
        what: &str,
    ) -> Result<Exchange<<Service<MemoryStore> as Handler>::Exchange>, Response> {
        let request = Request::new(method, &format!("{PLACE}{what}"), Headers::default());
        node.begin(Client::Direct(NodeId([9; 20])), request)
    }

    /// The status of a request, and whether it was worked out.
    async fn ask(node: &mut Node, method: Method, what: &str, body: &[u8]) -> (u16, bool) {
        let mut x = match begin(node, method, what) {
            Ok(x) => x,
            Err(response) => return (response.status, false),
        };
        if let Err(response) = node.body(&mut x, body) {
            return (response.status, false);
        }
        let mut worked = false;
        loop {
            if let Some(response) = node.poll_end(&mut x) {
                return (response.status, worked);
            }
            worked = true;
            let alarm = node.alarm();
            std::future::poll_fn(|cx| alarm.poll(cx)).await;
        }
    }

    #[tokio::test]
    async fn a_node_without_directories_refuses_one_at_its_head() {
        let secret = BeaconSecret::from_seed(&[9; 32]).unwrap();
        let (node, epoch) = node(&secret, None);
        let mut client = session(&node, 1);
        for _ in 0..50 {
            let refused = begin(&mut client, Method::Put, &epoch.to_string());
            assert_eq!(refused.err().unwrap().status, status::NOT_FOUND);
        }
        let post = begin(&mut client, Method::Post, "1");
        assert_eq!(post.err().unwrap().status, status::FORBIDDEN);
    }

    #[tokio::test]
    async fn a_seed_looks_at_the_head_and_holds_few_bodies() {
        let secret = BeaconSecret::from_seed(&[9; 32]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (node, epoch) = node(&secret, Some(folder.path()));
        let mut client = session(&node, 1);
        for far in [
            "x".to_owned(),
            (epoch + 3).to_string(),
            (epoch - 9).to_string(),
        ] {
            assert!(begin(&mut client, Method::Put, &far).is_err(), "{far}");
        }
        let place = format!("{PLACE}{epoch}");
        let long = Headers::default().with("content-length", "1048577");
        let request = Request::new(Method::Put, &place, long);
        let refused = client.begin(Client::Anonymous, request);
        assert_eq!(refused.err().unwrap().status, status::BAD_REQUEST);
        let mut sessions: Vec<Node> = (0..6).map(|_| session(&node, 1)).collect();
        let mut begun = Vec::new();
        for one in &mut sessions {
            for _ in 0..20 {
                begun.extend(begin(one, Method::Put, &epoch.to_string()));
            }
        }
        assert_eq!(begun.len(), 2, "of one address");
        assert!(begin(&mut session(&node, 2), Method::Put, &epoch.to_string()).is_ok());
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
        let mut seat = session(&node, 1);
        assert_eq!(
            ask(&mut seat, Method::Put, &what, &signed).await,
            (201, true)
        );
        // The same again, from anybody: no arithmetic.
        let mut other = session(&node, 2);
        for _ in 0..9 {
            assert_eq!(
                ask(&mut other, Method::Put, &what, &signed).await,
                (204, false)
            );
        }
        assert_eq!(ask(&mut other, Method::Get, &what, b"").await, (200, false));
        for _ in 0..4 {
            assert_eq!(
                ask(&mut other, Method::Put, &what, b"none").await,
                (400, true)
            );
        }
        let rests = ask(&mut other, Method::Put, &what, b"none").await;
        assert_eq!(rests, (status::TOO_MANY, false));
        assert_eq!(
            ask(&mut seat, Method::Put, &what, &signed).await,
            (204, false)
        );
    }

    #[tokio::test]
    async fn a_layer_is_proved_once_an_epoch_and_wrong_beacons_cost_their_asker_the_next() {
        let secret = BeaconSecret::from_seed(&[9; 32]).unwrap();
        let (node, epoch) = node(&secret, None);
        let what = |epoch: u32, sig: &[u8]| format!("layer/{epoch}/{}", text::hex(sig));
        let other = BeaconSecret::from_seed(&[8; 32]).unwrap();
        let wrong = what(epoch, &other.sign(epoch));
        let right = what(epoch, &secret.sign(epoch));
        let mut attacker = session(&node, 1);
        for _ in 0..4 {
            assert_eq!(
                ask(&mut attacker, Method::Get, &wrong, b"").await,
                (404, true)
            );
        }
        let rests = ask(&mut attacker, Method::Get, &wrong, b"").await;
        assert_eq!(rests, (status::TOO_MANY, false));
        let mut maintainer = session(&node, 2);
        assert_eq!(
            ask(&mut maintainer, Method::Get, &right, b"").await,
            (200, true)
        );
        for (asked, status) in [(&right, 200), (&wrong, 404), (&right, 200)] {
            let said = ask(&mut maintainer, Method::Get, asked, b"").await;
            assert_eq!(said, (status, false), "no arithmetic");
        }
        let far = what(epoch + 2, &secret.sign(epoch + 2));
        assert_eq!(
            ask(&mut maintainer, Method::Get, &far, b"").await,
            (404, false)
        );
    }
}
