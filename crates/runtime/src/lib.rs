//! Runs nodes: listeners, admission, configuration, the builder of a gateway, its folder, health and admin address.
//!
//! **Promises.** One task per session drives the layers over its carrier. Credit bounds the data that a peer can send, end to
//! end. Keys reach the disk with mode 0600, and never the logs. A shutdown drains open streams.
//!
//! **Below:** `dial`, `relay`, `mixnet`, `legacy`, `session`. **Above:** `cli`, and programs that embed a node.
//! **Source:** profile chapters 2 and 8 (`spec-vectors/PROFILE.md`).
//!
//! A node that serves an async function:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use betanet_runtime::{Call, Gateway, GatewayConfig, Reply, load_or_new_identity};
//!
//! async fn hello(call: Call) -> Reply {
//!     Reply::text(200, format!("hello from {}", call.request.path()))
//! }
//!
//! let mut config = GatewayConfig::in_state("./node"); // the folder of its key and state
//! config.listener.listen = vec!["0.0.0.0:443".into()];
//! let identity = load_or_new_identity(&config.node.key)?;
//! let gateway = Gateway::builder(identity, &config)
//!     .service("/hello/", hello)
//!     .start()
//!     .await?;
//! println!("peer {}", gateway.listening().peer());
//! # Ok(()) }
//! ```
//!
//! [`GatewayBuilder`] also registers stream types and storage of your own. [`Call`] has the client's identity and the request's
//! body, and [`Reply`] may stream its own. Without a folder or a front origin in [`SiteSettings`], visitors see pages that the
//! node generates beside its key. Log lines go to `tracing`, and [`init_logs`] prints them.
//!
//! A client that fetches from it, with an identity that is new for each peer ([`Node::new`] takes your own):
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use betanet_runtime::{Headers, Method, Node, Request};
//!
//! let node = Node::client()?;
//! let peer = "bnp1…".parse()?; // the string that the node printed
//! let session = node.connect(&peer).await?;
//! let mut answer = session.ask(Request::new(Method::Get, "/hello/you", Headers::default())).await?;
//! while let Some(bytes) = answer.body.chunk().await? {
//!     println!("{} bytes", bytes.len());
//! }
//! # Ok(()) }
//! ```

mod admin;
mod admission;
mod alarm;
mod config;
mod connection_limiter;
mod descriptors;
mod error;
mod extension;
mod folder;
mod gateway;
mod health;
mod listeners;
mod logs;
mod made;
mod metrics;
mod panics;
mod process;
mod reach;
mod standing;
mod status;
mod store;

pub use admin::{Admin, is_for_here, serve_admin};
pub use betanet_bar::{
    Access, Client, Handler, Headers, Method, Request, Response, status as code,
};
pub use betanet_carrier::client::{Facts as OuterFacts, Trust};
pub use betanet_carrier::{
    CHROMIUM_156, Capture, CaptureError, Captured, Carrier, CertSource, Certificate, Cost,
    Error as CarrierError, FIREFOX_153, Fingerprint, OriginProxy, Plain, QuicCapture, Received,
    Roots,
};
pub use betanet_dial::{
    Book, Calibrated, Error as DialError, FileError, FrontProblem, FrontRules, LEAST, LedgerNode,
    MixNetwork, Network, NetworkError, NetworkProblem, Node, SeedSource, SeedsFuture, Templates,
    TomlError, TraceSelector, Transport, calibrate_origin, farewell, load_identity,
    load_or_new_identity, new_identity, read_secret, serve_carrier, state_dir, visit,
    write_private, write_secret,
};
pub use betanet_htx::pace::{Padding, PaddingError};
pub use betanet_htx::{Aes, By, Config as SessionConfig, Pq};
pub use betanet_keys::{
    Envelope, Identity, KeyError, Maintainers, Name, NameError, Peer, PublicKey, RegistryError,
};
pub use betanet_legacy::Error as LegacyError;
pub use betanet_machine::{Now, Seed, Time};
pub use betanet_mesh::{
    Addr, AddrError, BOOTSTRAP_TYPE, Bootstrap, BootstrapError, Draft, Policy, Record, Role, Roles,
    SeedPeer, Stats as MeshStats,
};
pub use betanet_mix::{
    BeaconKey, ClientError as MixClientError, ClientStats as MixStats, Cover, Directory,
    DirectoryError as MixDirectoryError, Lost,
};
pub use betanet_mixnet::{
    Directories, DirectoryPlan, DirectoryProblem, Error as MixnetError, LeftOut, LotteryWeight,
    MixClient, MixOptions, MixSession, PLACE as MIX_PLACE, PublishedProof, SeedFailure,
    build_directory, check_directory, publish_directory,
};
pub use betanet_path::{BuildError as PathError, Failure as PathFailure};
pub use betanet_relay::{CountPeers, Error as RelayError, Mesh, PeerInfo, View, multiaddr};
pub use betanet_session::{
    Answer, Body, BodyError, BodySource, Broken, Call, CallBody, Clock, Error as SessionError,
    ErrorKind, ExchangeError, HandlerService, NativeCiphers, Next, OnSilence, Outcome, PeerSession,
    RawStream, Reply, ReplyBody, Router, Service, ServiceFuture, SessionFacts, SessionHandle,
    Silence, StreamType, StreamTypeError, Streams, Substream, Tower, TowerService, Upload, seed,
};
pub use betanet_stack::{Error as StackError, MixError};
pub use betanet_store::{
    Damage, Error as StorageError, Kind as StorageKind, Loaded, MemoryStorage, SharedFolder, State,
    Storage,
};
pub use betanet_traffic::shape::Shape;
pub use betanet_traffic::template::Template;
pub use betanet_traffic::template::front::{
    FrontError, FrontOrigin as FrontRecord, Fronts, Profile, TemplateStatus,
};
pub use betanet_wire::{ChargeTo, Code, NodeId};
pub use bytes::Bytes;
pub use config::{
    Compat11, CoverSite, FolderSettings, Form, GatewayConfig, Given, JITTER, Kind, Knob,
    LegacySettings, LimitSettings, ListenerSettings, Looked, MeshSettings, MixSettings,
    NodeSettings, OperatorSettings, Origins, Problem, Problems, ReadSettings, RelaySettings,
    Server11, SettingsError, SiteSettings, TlsSettings, TrafficSettings,
};
pub use error::Error;
pub use extension::{
    AdminBody, AdminFuture, AdminReply, AdminRequest, Extension, Measure, MeasureKind,
};
pub use folder::FolderService;
pub use gateway::{Gateway, GatewayBuilder, Listening};
pub use health::Fault;
pub use logs::{LogFormat, init_logs, readable_log, write_aside};
pub use metrics::Metrics;
pub use panics::{count_panics, panics};
pub use store::FolderStore;

/// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
