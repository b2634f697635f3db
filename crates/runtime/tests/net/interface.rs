//! Compiles an embedder's code that depends on `betanet-runtime` alone: each type of its interface must be exported there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use betanet_runtime as rt;

/// Functions of an embedder, which only have to compile.
mod signatures {
    use super::*;

    pub(super) fn node(
        identity: Option<rt::Identity>,
        mut config: rt::SessionConfig,
    ) -> Result<rt::Node, rt::DialError> {
        config.pq = rt::Pq::Offer;
        rt::Node::new(identity, config)
    }

    pub(super) fn trust(pem: &[u8]) -> Result<rt::Trust, rt::CarrierError> {
        rt::Roots::from_pem(pem).map(rt::Trust::WebPki)
    }

    pub(super) async fn over(
        node: &rt::Node,
        key: &rt::PublicKey,
        carrier: Box<dyn rt::Carrier>,
    ) -> Result<rt::SessionHandle, rt::DialError> {
        node.connect_carrier(key, carrier).await
    }

    pub(super) async fn put(
        session: &rt::SessionHandle,
        request: rt::Request,
        bytes: rt::Bytes,
    ) -> Result<rt::Answer, rt::Error> {
        let upload: rt::Upload = session.upload(request).await?;
        upload.send(bytes).await?;
        Ok(upload.finish().await?)
    }

    pub(super) fn payer(session: &rt::PeerSession) -> rt::ChargeTo {
        session.charge()
    }

    pub(super) fn network(network: &rt::Network) -> (&[rt::SeedPeer], &rt::Policy) {
        (&network.seeds, &network.policy)
    }

    pub(super) fn mesh(
        node: Arc<rt::Node>,
        network: &rt::Network,
        identity: rt::Identity,
        draft: Option<rt::Draft>,
    ) -> Result<rt::Mesh, rt::RelayError> {
        rt::Mesh::start(node, network, identity, draft, Vec::new(), None)
    }

    pub(super) fn directory(
        bytes: &[u8],
        maintainers: &rt::Maintainers,
        key: &rt::BeaconKey,
    ) -> Result<(rt::Envelope, rt::Directory), rt::DirectoryProblem> {
        rt::check_directory(bytes, maintainers, key)
    }

    pub(super) fn template(templates: &rt::Templates, now: rt::Now) -> Option<rt::Template> {
        templates.known("node.example:443", now.unix_ms)
    }

    pub(super) fn handler<H: rt::Handler + Send + 'static>(handler: H) -> rt::HandlerService<H>
    where
        H::Exchange: Send,
    {
        rt::HandlerService::new(handler)
    }

    pub(super) fn traffic(view: &rt::View) -> rt::MeshStats {
        view.stats
    }

    pub(super) async fn serve(
        storage: Arc<dyn rt::Storage>,
        streams: impl rt::Streams,
    ) -> Result<rt::Gateway, Box<dyn std::error::Error>> {
        let config = rt::GatewayConfig::in_state("node");
        let identity = rt::load_or_new_identity(&config.node.key)?;
        let kind: Result<rt::StreamType, rt::StreamTypeError> = rt::StreamType::new(0x80, "own");
        let builder: rt::GatewayBuilder = rt::Gateway::builder(identity, &config)
            .service("/", async |_: rt::Call| rt::Reply::new(204))
            .stream_type(kind?, streams)
            .with_storage(storage);
        Ok(builder.start().await?)
    }

    pub(super) fn storages(folder: &Path) -> Result<[Arc<dyn rt::Storage>; 2], rt::StorageError> {
        let state: rt::State = rt::State::open(folder)?;
        Ok([Arc::new(state), Arc::new(rt::MemoryStorage::default())])
    }

    pub(super) fn entry(
        storage: &dyn rt::Storage,
        kind: rt::StorageKind,
    ) -> Result<Option<rt::Loaded>, rt::StorageError> {
        storage.load(kind, "entry")
    }

    pub(super) fn book(folder: rt::SharedFolder) -> Result<rt::Book, rt::DialError> {
        rt::Book::in_state(folder)
    }

    /// Every error in an [`rt::Error`] is exported.
    pub(super) fn cause(error: &rt::Error) -> Option<String> {
        Some(match error {
            rt::Error::Session(e) => return in_session(e),
            rt::Error::Dial(e) => return dialling(e),
            rt::Error::Mixnet(e) => return in_mix(e),
            rt::Error::Network(e) => text::<rt::NetworkProblem>(&e.why),
            rt::Error::State(e) => text::<rt::StorageError>(e),
            rt::Error::File(e) => text::<rt::FileError>(e),
            rt::Error::Relay(e) => text::<rt::RelayError>(e),
            rt::Error::Legacy(e) => text::<rt::LegacyError>(e),
            _ => return None,
        })
    }

    fn in_session(error: &rt::SessionError) -> Option<String> {
        Some(match error {
            rt::SessionError::Session { code, by, .. } => session(*code, *by),
            rt::SessionError::Request(e) => text::<rt::StackError>(e),
            rt::SessionError::Asked(e) => text::<rt::MixError>(e),
            rt::SessionError::Exchange(rt::ExchangeError::Mix { why, .. }) => text::<rt::Lost>(why),
            _ => return None,
        })
    }

    fn dialling(error: &rt::DialError) -> Option<String> {
        Some(match error {
            rt::DialError::Outer { source, .. } => text::<rt::CarrierError>(source),
            rt::DialError::Path(e) => text::<rt::PathError>(e),
            rt::DialError::PathEnded { why, .. } => format!("{:?}", ended(*why)),
            rt::DialError::Book { why, .. } => text::<rt::TomlError>(why),
            rt::DialError::Front { why, .. } => text::<rt::FrontProblem>(why),
            _ => return None,
        })
    }

    fn in_mix(error: &rt::MixnetError) -> Option<String> {
        Some(match error {
            rt::MixnetError::Mix(e) => text::<rt::MixClientError>(e),
            rt::MixnetError::NoDirectory { why, .. } => text::<rt::SeedFailure>(why),
            _ => return None,
        })
    }

    const fn ended(why: rt::PathFailure) -> rt::PathFailure {
        why
    }

    fn text<T: std::fmt::Display>(cause: &T) -> String {
        cause.to_string()
    }

    fn session(code: rt::Code, by: rt::By) -> String {
        format!("{code} {by:?}")
    }
}

#[test]
fn what_an_embedder_needs_has_a_name_in_this_crate() {
    let node = signatures::node(None, rt::SessionConfig::default()).unwrap();
    let other = rt::Identity::from_seed(&[1; 32]);
    drop(signatures::over(&node, other.public(), Box::new(Gone)));
    let error = rt::Error::Session(rt::SessionError::Session {
        code: rt::Code::OK,
        reason: String::new(),
        by: rt::By::Peer,
    });
    assert_eq!(error.kind(), rt::ErrorKind::Peer);
    assert!(signatures::cause(&error).is_some());
    assert!(signatures::trust(b"").is_err());
    let folder = tempfile::tempdir().unwrap();
    let [state, memory] = signatures::storages(&folder.path().join("new")).unwrap();
    for storage in [&*state, &*memory] {
        let loaded = signatures::entry(storage, rt::StorageKind::new("test", 1));
        assert!(loaded.unwrap().is_none());
    }
    drop(signatures::serve(memory, |_: &rt::PeerSession, _, _| {}));
    // Use the functions, so that they are not dead code.
    let _ = (
        signatures::book,
        signatures::payer,
        signatures::network,
        signatures::mesh,
        signatures::directory,
        signatures::template,
        signatures::traffic,
        signatures::handler::<betanet_bar::Service<betanet_bar::MemoryStore>>,
    );
    let _ = |s: rt::SessionHandle, r: rt::Request| drop(signatures::put(&s, r, rt::Bytes::new()));
    let options = rt::MixOptions {
        patience: Duration::from_secs(1),
        ..rt::MixOptions::default()
    };
    assert_eq!(options.cover, rt::Cover::default());
    let weights: BTreeMap<rt::NodeId, rt::LotteryWeight> = BTreeMap::new();
    assert!(weights.is_empty() && !rt::state_dir().starts_with(Path::new("/nowhere")));
}

/// A carrier whose peer is gone.
struct Gone;

impl rt::Carrier for Gone {
    fn poll_receive(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<rt::Received, rt::CarrierError>> {
        std::task::Poll::Ready(Err(rt::CarrierError::Gone))
    }

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), rt::CarrierError>> {
        std::task::Poll::Ready(Err(rt::CarrierError::Gone))
    }

    fn send(&mut self, _: rt::Bytes) -> Result<(), rt::CarrierError> {
        Err(rt::CarrierError::Gone)
    }

    fn push(&mut self, _: &mut std::task::Context<'_>) {}
    fn end(&mut self) {}
    fn reset(&mut self) {}
    fn go_away(&mut self) {}

    fn export_as(&self, _: &str, _: &[u8], _: &mut [u8]) -> Result<(), rt::CarrierError> {
        Err(rt::CarrierError::Export)
    }

    fn poll_flushed(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        std::task::Poll::Ready(())
    }
}

#[tokio::test]
async fn a_carrier_that_is_gone_gives_no_session() {
    let node = rt::Node::client().unwrap();
    let key = *rt::Identity::from_seed(&[1; 32]).public();
    let refused = signatures::over(&node, &key, Box::new(Gone)).await;
    let refused = refused.err().unwrap();
    assert!(matches!(
        refused,
        rt::DialError::Outer {
            source: rt::CarrierError::Export,
            ..
        }
    ));
}
