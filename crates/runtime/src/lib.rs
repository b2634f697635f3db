//! Where the world gets in: the only clock, the only executor, the only system randomness.
//!
//! **Promises.** One task a session drives the layers over its carrier; what a peer sends is bounded by credit all the
//! way; keys reach the disk with mode 0600 and the logs never; a shutdown drains.
//!
//! **Below:** `stack`, `carrier`. **Above:** `cli`, and whoever embeds a node.
//! **Source:** profile chapters 2 and 8 (`spec-vectors/PROFILE.md`).
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use betanet_runtime::{Node, Method, Request, Headers};
//!
//! let node = Node::client()?;
//! let peer = "bnp1…".parse()?;
//! let session = node.connect(&peer).await?;
//! let mut answer = session.ask(Request::new(Method::Get, "/index.html", Headers::default())).await?;
//! while let Some(bytes) = answer.body.chunk().await? {
//!     println!("{} bytes", bytes.len());
//! }
//! # Ok(()) }
//! ```

mod admin;
mod admission;
mod alarm;
mod book;
mod clock;
mod config;
mod connection_limiter;
mod descriptors;
mod driver;
mod error;
mod exchange;
mod farewell;
mod files;
mod forward;
mod fronts;
mod gateway;
mod health;
mod listeners;
mod logs;
mod made;
mod mesh;
mod metrics;
mod mix;
mod network;
mod node;
mod panics;
mod reach;
mod service;
mod session;
mod shares;
mod standing;
mod status;
mod store;
mod streams;
mod templates;
mod trace_selector;
mod translate;
mod view;

pub use admin::{Admin, serve_admin};
pub use betanet_bar::{Access, Client, Headers, Method, Request, Response, status as code};
pub use betanet_carrier::client::{Facts as OuterFacts, Trust};
pub use betanet_carrier::{
    CHROMIUM_156, Capture, CaptureError, Captured, CertSource, Certificate, Cost, FIREFOX_153,
    Fingerprint, OriginProxy, Plain, QuicCapture,
};
pub use betanet_htx::pace::{Padding, PaddingError};
pub use betanet_htx::shape::Shape;
pub use betanet_htx::template::front::{
    FrontOrigin as FrontRecord, Fronts, Profile, TemplateStatus,
};
pub use betanet_keys::{Identity, Name, Peer, PublicKey};
pub use betanet_mesh::{Role, Roles};
pub use betanet_mix::{ClientStats as MixStats, Cover};
pub use betanet_wire::NodeId;
pub use book::Book;
pub use clock::{Clock, seed};
pub use config::{
    Compat11, CoverSite, FolderSettings, Form, GatewayConfig, Given, JITTER, Kind, Knob,
    LegacySettings, LimitSettings, ListenerSettings, Looked, MeshSettings, MixSettings,
    NodeSettings, OperatorSettings, Origins, Problem, Problems, ReadSettings, RelaySettings,
    Server11, SettingsError, SiteSettings, TlsSettings, TrafficSettings,
};
pub use driver::{OnSilence, Silence};
pub use error::Error;
pub use exchange::{Answer, Body, ExchangeError};
pub use farewell::farewell;
pub use files::{load_identity, new_identity, read_secret, state_dir, write_private, write_secret};
pub use fronts::FrontRules;
pub use gateway::{Gateway, GatewayBuilder, Listening};
pub use health::Fault;
pub use logs::{LogFormat, init_logs, readable_log, write_aside};
pub use mesh::Mesh;
pub use metrics::Metrics;
pub use mix::{
    Directories, DirectoryPlan, DirectoryProblem, LeftOut, LotteryWeight, MixClient, MixOptions,
    PLACE as MIX_PLACE, PublishedProof, build_directory, check_directory, publish_directory,
};
pub use network::{LEAST, MixNetwork, Network, NetworkError};
pub use node::{Node, Transport, calibrate_origin, visit};
pub use panics::{count_panics, panics};
pub use service::{
    BodyError, Call, CallBody, FolderService, HandlerService, Reply, ReplyBody, Router, Service,
    ServiceFuture, Tower, TowerService,
};
pub use session::{SessionFacts, SessionHandle, Upload};
pub use store::FolderStore;
pub use streams::{PeerSession, Streams, Substream};
pub use templates::{Calibrated, Templates};
pub use trace_selector::TraceSelector;
pub use view::{PeerInfo, View};

/// The README's example, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
