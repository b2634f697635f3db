//! Multiaddrs and PeerIds of this transport.

use std::net::IpAddr;

use betanet_keys::{Identity, Peer, PublicKey};
use libp2p_core::Multiaddr;
use libp2p_core::multiaddr::Protocol;
use libp2p_core::multihash::Multihash;
use libp2p_identity::{Keypair, PeerId, ed25519};

/// Multihash code of SHA-256.
const SHA2_256: u64 = 0x12;
/// Multihash code of a PeerId that contains the key itself.
const IDENTITY: u64 = 0;

/// Why an address or a key is not usable.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The address does not have this transport's form.
    #[error(
        "an address is /ip4/…/tcp/…/tls[/sni/NAME][/certhash/HASH][/p2p/ID], with ip6 or dns4 for ip4"
    )]
    Form,
    /// The address has no `/p2p/ID` to authenticate.
    #[error("the address names no /p2p/ID")]
    NoPeer,
    /// The PeerId is not that of an Ed25519 key, or betanet does not accept the key.
    #[error("the PeerId holds no usable Ed25519 key")]
    Key,
    /// The certhash is not a SHA-256.
    #[error("a certhash is the SHA-256 of the certificate's SubjectPublicKeyInfo")]
    Certhash,
}

/// Converts a betanet identity into a libp2p key pair.
///
/// # Errors
///
/// [`AddressError::Key`] when the seed cannot be decoded.
pub fn keypair(identity: &Identity) -> Result<Keypair, AddressError> {
    let secret = ed25519::SecretKey::try_from_bytes(&mut *identity.seed());
    let secret = secret.map_err(|_| AddressError::Key)?;
    Ok(ed25519::Keypair::from(secret).into())
}

/// The libp2p PeerId of a betanet key: the identity multihash of the protobuf-encoded key.
///
/// # Errors
///
/// [`AddressError::Key`]; cannot occur for a valid key.
pub fn peer_id(key: &PublicKey) -> Result<PeerId, AddressError> {
    let key = ed25519::PublicKey::try_from_bytes(key.as_bytes()).map_err(|_| AddressError::Key)?;
    Ok(libp2p_identity::PublicKey::from(key).to_peer_id())
}

/// The key in a PeerId.
fn key_of(peer: &PeerId) -> Result<PublicKey, AddressError> {
    let hash = peer.as_ref();
    if hash.code() != IDENTITY {
        return Err(AddressError::Key);
    }
    let key = libp2p_identity::PublicKey::try_decode_protobuf(hash.digest());
    let key = key.map_err(|_| AddressError::Key)?.try_into_ed25519();
    let key = key.map_err(|_| AddressError::Key)?;
    PublicKey::from_bytes(&key.to_bytes()).map_err(|_| AddressError::Key)
}

/// A parsed address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Target {
    /// `host:port`.
    pub(crate) address: String,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) sni: Option<String>,
    pub(crate) pin: Option<[u8; 32]>,
    pub(crate) peer: Option<PeerId>,
}

impl Target {
    pub(crate) fn of(addr: &Multiaddr) -> Result<Self, AddressError> {
        let mut parts = addr.iter().peekable();
        let (host, ip) = match parts.next() {
            Some(Protocol::Ip4(ip)) => (ip.to_string(), Some(IpAddr::V4(ip))),
            Some(Protocol::Ip6(ip)) => (format!("[{ip}]"), Some(IpAddr::V6(ip))),
            Some(Protocol::Dns4(name) | Protocol::Dns(name)) => (name.into_owned(), None),
            _ => return Err(AddressError::Form),
        };
        let Some(Protocol::Tcp(port)) = parts.next() else {
            return Err(AddressError::Form);
        };
        if parts.next() != Some(Protocol::Tls) {
            return Err(AddressError::Form);
        }
        let mut this = Self {
            address: format!("{host}:{port}"),
            ip,
            sni: None,
            pin: None,
            peer: None,
        };
        for part in parts {
            match part {
                Protocol::Sni(name) if this.sni.is_none() => this.sni = Some(name.into_owned()),
                Protocol::Certhash(hash) if this.pin.is_none() => {
                    let digest = hash
                        .digest()
                        .try_into()
                        .ok()
                        .filter(|_| hash.code() == SHA2_256);
                    this.pin = Some(digest.ok_or(AddressError::Certhash)?);
                }
                Protocol::P2p(peer) if this.peer.is_none() => this.peer = Some(peer),
                _ => return Err(AddressError::Form),
            }
        }
        Ok(this)
    }

    /// PeerId and connection data of the peer to dial.
    pub(crate) fn peer(&self) -> Result<(PeerId, Peer), AddressError> {
        let id = self.peer.ok_or(AddressError::NoPeer)?;
        let peer = Peer {
            key: key_of(&id)?,
            addrs: vec![self.address.clone()],
            pin: self.pin,
        };
        Ok((id, peer))
    }
}

/// The address to announce for a listener on `port`, with the hash of its certificate.
pub(crate) fn announced(asked: &Target, ip: IpAddr, port: u16, pin: Option<[u8; 32]>) -> Multiaddr {
    let mut addr = Multiaddr::from(ip)
        .with(Protocol::Tcp(port))
        .with(Protocol::Tls);
    if let Some(sni) = &asked.sni {
        addr = addr.with(Protocol::Sni(sni.clone().into()));
    }
    match pin.map(|pin| Multihash::wrap(SHA2_256, &pin)) {
        Some(Ok(hash)) => addr.with(Protocol::Certhash(hash)),
        _ => addr,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_id_holds_the_key_and_gives_it_back() {
        let identity = Identity::from_seed(&[7; 32]);
        let id = peer_id(identity.public()).unwrap();
        assert_eq!(key_of(&id).unwrap(), *identity.public());
        assert_eq!(keypair(&identity).unwrap().public().to_peer_id(), id);
    }

    #[test]
    fn addresses_read_and_others_are_refused() {
        let id = peer_id(Identity::from_seed(&[7; 32]).public()).unwrap();
        let pin = [9; 32];
        let asked =
            Target::of(&"/ip4/127.0.0.1/tcp/1/tls/sni/site.example".parse().unwrap()).unwrap();
        let addr = announced(&asked, "127.0.0.1".parse().unwrap(), 443, Some(pin));
        let target = Target::of(&addr.clone().with(Protocol::P2p(id))).unwrap();
        assert_eq!(
            (target.pin, target.sni.as_deref()),
            (Some(pin), Some("site.example"))
        );
        assert_eq!(target.peer().unwrap().1.addrs, ["127.0.0.1:443"]);
        assert_eq!(
            Target::of(&addr).unwrap().peer().err(),
            Some(AddressError::NoPeer)
        );
        for bad in [
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/127.0.0.1/udp/1/quic-v1",
            "/ip4/127.0.0.1/tcp/1/tls/ws",
            "/ip4/127.0.0.1/tcp/1/ws",
            "/ip4/127.0.0.1/tcp/1/tls/sni/a/sni/b",
        ] {
            assert_eq!(
                Target::of(&bad.parse().unwrap()),
                Err(AddressError::Form),
                "{bad}"
            );
        }
    }
}
