//! Betanet sessions as a rust-libp2p transport: behaviours run unchanged over traffic that looks like a browser on a web site.
//!
//! **Promises.** The identity key in the libp2p PeerId authenticates the connection. It is encrypted end to end inside the
//! outer TLS, and multiplexed by the session's own streams (type 0x20): no upgrade follows. To everybody else a listener is a
//! web site.
//!
//! **Below:** `runtime`'s handles. **Above:** the application that builds a `Swarm`.
//! **Source:** profile chapter 4, "libp2p" (`spec-vectors/PROFILE.md`); the libp2p connection and peer-id specifications.
//!
//! # For embedders
//!
//! Addresses are `/ip4/…/tcp/…/tls/sni/NAME/certhash/HASH/p2p/ID` (`ip6`, `dns4` likewise). `sni` is optional. `certhash` is the
//! SHA-256 of the certificate's SubjectPublicKeyInfo; a listener with a self-signed certificate announces it, and without it web
//! PKI decides. `p2p` is needed to dial: an Ed25519 PeerId holds the key that the inner handshake proves.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use betanet_libp2p_htx::{Options, Transport, keypair};
//! use libp2p::{SwarmBuilder, ping};
//!
//! let identity = betanet_runtime::load_identity("node.pem".as_ref())?;
//! let options = Options::new("./site".into());
//! let mut swarm = SwarmBuilder::with_existing_identity(keypair(&identity)?)
//!     .with_tokio()
//!     .with_other_transport(|_| Ok(Transport::new(identity, options)?))?
//!     .with_behaviour(|_| ping::Behaviour::default())?
//!     .build();
//! swarm.listen_on("/ip4/0.0.0.0/tcp/443/tls/sni/site.example".parse()?)?;
//! # Ok(()) }
//! ```
//!
//! A `Transport` is one node: everything it dials and all its listeners have one identity. Sessions that only fetch over BAR
//! are answered 404. `examples/libp2p` of the repository runs identify, ping, kad, gossipsub and request-response.

mod address;
mod error;
mod muxer;
mod transport;

pub use address::{AddressError, keypair, peer_id};
pub use error::Error;
pub use muxer::{Muxer, Stream};
pub use transport::{Options, Transport};
